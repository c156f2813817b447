"""Every mistake is met at the door with one sentence, and every failure seen in other packages is shut out."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from small import HEAT, SMALL, command, inverse, write

import sciml
from sciml import Box, Dirichlet, Disk, Equation, Initial, Neumann, Problem, ProblemError
from sciml.errors import NonFiniteError, check_types
from sciml.fields import FieldOptions
from sciml.metrics import relative_l2
from sciml.objective import Recipe, build_objective, make_recipe
from sciml.optim import OPTIMIZERS
from sciml.problem import find_problem
from sciml.sampling import SAMPLERS
from sciml.training import Training


def refused(capsys, *arguments) -> str:
    """The one line that a command prints when it refuses; it exits with 2 and without a traceback."""
    code = command(*arguments)
    out = capsys.readouterr()
    assert code == 2, (code, out)
    assert "Traceback" not in out.err
    lines = out.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("sciml: ")
    return lines[0]


BROKEN_FILES = {
    "syntax error": (HEAT + "\ndef (", "line 22"),
    "exception": (HEAT.replace("k = 0.1", "k = 1 / 0"), "line 9: ZeroDivisionError"),
    "missing import": (HEAT.replace("k = 0.1", "import no_such_module"), "no_such_module"),
    "exit in the file": ("raise SystemExit(0)", "SystemExit"),
    "no problem": ("x = 1", "no variable `problem`"),
    "problem by another name": (HEAT.replace("problem = ", "model = "), "'model'; name it problem"),
    "misspelt unknown": (HEAT.replace("heat(u)", "heat(v)").replace("u.t - k * u.xx", "v.t"), "argument 'v'"),
    "misspelt face": (HEAT.replace('"x-", "x+"', '"x_"'), "region 'x_'"),
    "misspelt derivative": (HEAT.replace("u.xx", "u.yy"), "no derivative or function 'yy'"),
    "misspelt unknown in a condition": (HEAT.replace("Dirichlet(u=0.0", "Dirichlet(uu=0.0"), "unknown 'uu'"),
    "empty list of faces": (HEAT.replace('["x-", "x+"]', "[]"), "on=[] names no region"),
    "a predicate that matches nothing": (HEAT.replace('["x-", "x+"]', "lambda x: x > 5"), "no point"),
    "a predicate of another coordinate": (HEAT.replace('["x-", "x+"]', "lambda y: y > 5"), "coordinate 'y'"),
    "a boundary function that mixes points": (
        HEAT.replace("u=0.0", "u=lambda t: t[:, None] - t[None, :]"), "cannot be indexed"),
    "a boundary function of the wrong length": (
        HEAT.replace("u=0.0", "u=lambda t: t + torch.zeros(3, dtype=torch.float64)"), "condition 'dirichlet'"),
    "a tensor that broadcasts to (N, N)": (
        HEAT.replace("u=0.0", "u=lambda t: t + torch.zeros(7, 1, dtype=torch.float64)"), "(7, 7)"),
    "branching on a value": (HEAT.replace("    return", "    if u > 0:\n        return u\n    return"), "torch.where"),
    "math instead of torch": (HEAT.replace("torch.sin(pi * x)),", "__import__('math').sin(pi * x)),"), "torch.sin"),
    "numpy instead of torch": (
        HEAT.replace("torch.sin(pi * x)),", "__import__('numpy').sin(pi * x)),"), "torch functions"),
    "an unknown that no condition contains": (HEAT.replace('unknowns="u"', 'unknowns="u v"'), "unknown 'v'"),
    "no conditions": ("from sciml import *\nproblem = Problem(Box(x=(0, 1)), 'u', [])", "no conditions"),
    "misspelt default": (HEAT.replace("points=60", "pionts=60"), "did you mean 'points'"),
    "a default of another type": (HEAT.replace("points=60", "points='many'"), "points='many' must be a whole number"),
    "a model option of another type": (HEAT.replace("width=6", "width='x'"), "model.width='x'"),
    "a reference for another unknown": (HEAT.replace("dict(u=lambda", "dict(w=lambda"), "unknown 'w'"),
    "a reference file that is not there": (HEAT.replace("reference=dict(", "reference='no.h5' or dict("), "no.h5"),
    "an equation without an unknown": (HEAT.replace("u.t - k * u.xx", "1.0 + 0 * u"), "does not contain any unknown"),
}


@pytest.mark.parametrize("what", BROKEN_FILES)
def test_a_broken_problem_file_is_one_sentence(what, tmp_path, capsys):
    text, expected = BROKEN_FILES[what]
    line = refused(capsys, "check", write(tmp_path, text))
    assert expected in line
    assert "heat.py" in line or "default" in what or "option" in what or "reference" in what


@pytest.mark.parametrize(("arguments", "expected"), [
    (["slove", "x"], "did you mean 'solve'"),
    (["solve", "no_such_problem"], "problem 'no_such_problem'"),
    (["solve", "no/such.py"], "no problem file"),
    (["solve", "no/burgers.py"], "no problem file"),
    (["solve", "/problems/burgers.py"], "no problem file"),
    (["check", "burgers", "--set", "nu=abc"], "nu='abc' must be a number"),
    (["solve", "{}", "--model", "siren", "--set", "model.factorized=True"], "siren has sine activations"),
    (["solve"], "name a problem"),
    (["solve", "{}", "--optimiser", "adam"], "did you mean '--optimizer'"),
    (["solve", "{}", "more"], "'more' is one argument too many"),
    (["solve", "{}", "--optimizer", "adm"], "did you mean 'adam'"),
    (["solve", "{}", "--optimizer", "adam,lbfgs"], "needs its steps"),
    (["solve", "{}", "--optimizer", "adam:x,lbfgs"], "number of steps"),
    (["solve", "{}", "--model", "mpl"], "did you mean 'mlp'"),
    (["solve", "{}", "--sampler", "uniforn"], "did you mean 'uniform'"),
    (["solve", "{}", "--dtype", "float16"], "dtype 'float16'"),
    (["solve", "{}", "--device", "cudda"], "unknown device 'cudda'"),
    (["solve", "{}", "--device", "meta"], "unknown device 'meta'"),
    (["solve", "{}", "--points", "many"], "invalid int value"),
    (["solve", "{}", "--points", "0"], "at least 1"),
    (["solve", "{}", "--steps", "-3"], "must be positive"),
    (["solve", "{}", "--seed", "-1"], "seed=-1"),
    (["solve", "{}", "--set", "kk=1"], "did you mean 'k'"),
    (["solve", "{}", "--set", "k"], "write KEY=VALUE"),
    (["solve", "{}", "--set", "model.widht=3"], "did you mean 'width'"),
    (["solve", "{}", "--set", "modle.width=3"], "did you mean 'model'"),
    (["solve", "{}", "--set", "rad.evry=3"], "did you mean 'every'"),
    (["solve", "{}", "--set", "gauss-newton.dampng=3"], "did you mean 'damping'"),
    (["solve", "{}", "--set", "adam.lr=fast"], "adam.lr='fast' must be a number, such as 0.001"),
    (["solve", "{}", "--set", "adam.lr=-1", "--optimizer", "gauss-newton:3,adam"], "learning rate"),
    (["solve", "{}", "--set", "rad.pool=1"], "at least 5"),
    (["solve", "{}", "--set", "sampler.every=-1"], "every=-1"),
    (["solve", "{}", "--set", "model.activation=tahn"], "did you mean 'tanh'"),
    (["solve", "{}", "--balance", "magic"], "unknown balancer 'magic'"),
    (["solve", "{}", "--balance", "config", "--optimizer", "gauss-newton"], "balance=config replaces the gradient"),
    (["solve", "{}", "--balance", "fixed+config"], "leave it out, or the other parts"),
    (["solve", "{}", "--balance", "rba", "--set", "sampler.every=0", "rba.gamma=x"], "rba.gamma='x' must be a number"),
    (["solve", "{}", "--set", "sampler.every=x"], "sampler.every='x' must be a number"),
    (["solve", "{}", "--optimizer", "auto:5"], "auto, in small letters, chooses all stages and stands alone"),
    (["solve", "{}", "--optimizer", "adam:5,auto"], "stands alone"),
    (["solve", "{}", "--optimizer", "Auto"], "in small letters"),
    (["solve", "{}", "--precondition", "LU"], "did you mean 'lu'"),
    (["compare", "{}", "--vary", "optimzer=adam"], "did you mean 'optimizer'"),
    (["compare", "{}", "--vary", "optimizer"], "write KEY=A,B"),
    (["compare", "{}", "--vary", "optimizer=adam,adam"], "adam comes twice"),
    (["compare", "{}", "--vary", "optimizer=adam", "--vary", "optimizer=soap"], "--vary optimizer comes twice"),
    (["compare", "{}", "--vary", "optimizer=adam,muon"], "muon takes matrices only"),
    (["compare", "{}", "--vary", "optimizer=adam", "--seeds", "0"], "--seeds 0"),
    (["plot", "no-run"], "no run folder"),
    (["solve", "--resume", "no-run"], "no run folder"),
    (["list", "problms"], "did you mean 'problems'"),
    (["reference", "{}", "--set", "kk=1"], "did you mean 'k'"),
])
def test_a_wrong_argument_is_one_sentence(arguments, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    line = refused(capsys, *[a.replace("{}", str(path)) for a in arguments])
    assert expected in line
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_one_sentence(tmp_path, capsys):
    assert "no CUDA device" in refused(capsys, "solve", write(tmp_path), "--device", "cuda")


def test_several_processes_are_refused_before_they_share_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one device" in refused(capsys, "solve", write(tmp_path))


def test_a_folder_of_something_else_is_not_overwritten(tmp_path, capsys):
    path = write(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "problem.py").write_text("precious")
    assert "no run folder" in refused_at_run(capsys, path, tmp_path / "mine")
    assert (tmp_path / "mine" / "problem.py").read_text() == "precious"


def refused_at_run(capsys, path, out) -> str:
    """Last line on stderr of a solve that is refused once its folder is opened."""
    assert command("solve", path, "--steps", 1, "--out", out) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    path = write(tmp_path)
    assert "cannot be written" in refused_at_run(capsys, path, path / "below")
    assert "is a file" in refused_at_run(capsys, path, path)


def test_a_reference_with_other_coordinates_is_refused(tmp_path, capsys):
    text = HEAT.replace("t=(0, 1)", "s=(0, 1)").replace("u.t -", "u.s -")
    text = text.replace("Initial(u=lambda x: torch.sin(pi * x)), ", "")
    text = text[:text.index("    reference=")] + "    reference='burgers.h5',\n)\n"
    assert "has the coordinates x, t, the problem x, s" in refused(capsys, "check", write(tmp_path, text))


def test_a_truncated_reference_is_refused(tmp_path, capsys):
    data = (sciml.solution.truth.find_data("burgers.h5", inverse())).read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[:len(data) // 2])
    text = HEAT[:HEAT.index("    reference=")] + "    reference='cut.h5',\n)\n"
    assert "truncated" in refused(capsys, "check", write(tmp_path, text))


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("config.json", b'{"model": "mlp', "config.json is damaged"),
    ("config.json", b"[1, 2]", "config.json is damaged"),
    ("config.json", b'{"modle": "mlp"}', "config.json is damaged"),
    ("config.json", b'{"points": "x"}', "points='x'"),
    ("config.json", b"{}", "which problem"),
    ("config.json", None, "no config.json"),
    ("checkpoint.pt", b"PK\x03\x04 cut", "checkpoint.pt cannot be read"),
    ("checkpoint.pt", "half", "checkpoint.pt cannot be read"),
    ("problem.py", None, "no problem.py"),
    ("problem.py", b"x = 1", "no variable `problem`"),
])
def test_a_damaged_run_folder_is_one_sentence(name, content, expected, tmp_path, capsys):
    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 1, "--no-figures", "--out", run) == 0
    capsys.readouterr()
    file = run / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:3000] if content == "half" else content)
    assert expected in refused(capsys, "solve", "--resume", run)


def test_a_truncated_solution_file_is_one_sentence(tmp_path, capsys):
    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 1, "--no-figures", "--out", run) == 0
    capsys.readouterr()
    file = run / "solution.h5"
    file.write_bytes(file.read_bytes()[:1000])
    assert "cut short" in refused(capsys, "plot", run)


def test_a_checkpoint_never_executes_code(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (print, ("executed",))

    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 1, "--no-figures", "--out", run) == 0
    torch.save({"step": Trap()}, run / "checkpoint.pt")
    capsys.readouterr()
    with pytest.raises(ProblemError, match="cannot be read"):
        sciml.Solution.load(run)
    assert "executed" not in capsys.readouterr().out


def test_options_are_checked_by_type():
    with pytest.raises(ProblemError, match="steps=True must be a whole number"):
        Recipe(steps=True)
    assert Recipe(points=200.0).points == 200
    check_types(FieldOptions(sigma=2), "model.")


# Failures of other packages, each shut out here -----------------------------------------------------------------------


def quick(**conditions) -> Problem:
    """u_xx = −1 on (0, 1), u = 0 on the boundary."""
    return Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx + 1), Dirichlet(u=0.0)],
                   reference=dict(u=lambda x: x * (1 - x) / 2))


def test_an_lbfgs_that_can_move_nothing_says_so():
    solution = sciml.solve(quick(), optimizer="lbfgs", dtype="float32", steps=400, **SMALL)
    assert solution.steps < 400
    assert "lbfgs moves nothing" in solution.status


def test_lbfgs_trains():
    solution = sciml.solve(quick(), optimizer="lbfgs", steps=10, **SMALL)
    # Ten calls of 20 iterations on a smooth one-dimensional problem.
    assert solution.history[-1]["loss"] < 1e-4 * solution.history[0]["loss"]


def test_a_boundary_that_matches_no_point_is_refused():
    with pytest.raises(ProblemError, match="condition 'wall'"):
        Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx), Dirichlet(on=lambda x: x > 2, u=0.0, name="wall")])


@pytest.mark.parametrize("condition", [Dirichlet(v=0.0), Neumann(v=0.0), Initial(v=0.0)])
def test_a_condition_on_a_component_that_does_not_exist_is_refused(condition):
    with pytest.raises(ProblemError, match="unknown 'v'"):
        Problem(Box(x=(0, 1), t=(0, 1)), "u", [Equation(lambda u: u.t - u.xx), condition])


def test_a_residual_that_broadcasts_to_n_by_n_is_refused():
    column = torch.zeros(7, 1, dtype=torch.float64)
    with pytest.raises(ProblemError, match=r"\(7, 7\).*one value per point"):
        Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx), Dirichlet(u=lambda x: x + column)])


KEEP = {"fixed", "grid", "gauss", "rar-g", "rar-d", "importance", "r3", "causal-r3", "rolling", "pinnacle-s",
        "pinnacle-k"}


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s not in KEEP])  # those that keep some have tests elsewhere
def test_resampling_returns_other_points(sampler):
    recipe = make_recipe({}, {**SMALL, "sampler": sampler, "sampler.every": 1, "optimizer": "adam", "steps": 3})
    training = Training(quick(), recipe)
    first = training.objective.points["equation"].X.clone()
    list(training.run())
    again = training.objective.points["equation"].X
    assert first.shape == again.shape
    assert not torch.isin(again, first).any()


def test_two_instances_of_one_problem_share_no_state():
    one, two = quick(), quick()
    alone = sciml.solve(two, steps=3, **SMALL).predict(np.linspace(0, 1, 9)[:, None])["u"]
    first = Training(one, make_recipe({}, {**SMALL, "steps": 3}))
    second = Training(two, make_recipe({}, {**SMALL, "steps": 3}))
    list(first.run())
    list(second.run())
    beside = second.predict(np.linspace(0, 1, 9)[:, None])["u"]
    assert np.array_equal(alone, beside)
    assert not {id(p) for p in first.objective.trainable} & {id(p) for p in second.objective.trainable}


def test_one_list_of_conditions_serves_two_problems():
    conditions = [Equation(lambda u: u.xx + 1), Dirichlet(u=0.0)]
    narrow, wide = Problem(Box(x=(0, 1)), "u", conditions), Problem(Box(x=(0, 3)), "u", conditions)
    generator = torch.Generator().manual_seed(0)
    ends = [p.blocks[1].region.sample(50, generator=generator).X.max() for p in (narrow, wide)]
    assert ends == [1.0, 3.0]
    assert narrow.setting.frame.leaves is not wide.setting.frame.leaves


def test_an_empty_difference_is_refused_and_does_not_hang():
    start = time.perf_counter()
    with pytest.raises(ProblemError):
        Problem(Disk((0, 0), 1.0) - Disk((0, 0), 2.0), "u", [Equation(lambda u: u.xx), Dirichlet(u=0.0)])
    # Not a measurement of speed: a loop that looks for points for ever is what this is about.
    assert time.perf_counter() - start < 60


def test_errors_are_divided_by_the_reference_and_not_by_the_prediction():
    reference = np.array([1.0, 2.0, 2.0])
    # ‖10 u − u‖/‖u‖ = 9; divided by the prediction it would be 0.9.
    assert relative_l2(10 * reference, reference) == pytest.approx(9.0, rel=1e-14)


def test_a_gradient_that_is_not_finite_never_reaches_the_parameters():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, x: torch.sqrt(u * 0 + torch.relu(x - 0.5)) + u.x)])
    for optimizer in ("adam", "lbfgs", "gauss-newton"):
        solution = sciml.solve(problem, optimizer=optimizer, steps=2, **SMALL)
        assert all(bool(torch.isfinite(p).all()) for p in solution.objective.trainable)


def test_a_loss_that_is_not_finite_stops_with_condition_step_and_point(tmp_path):
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: torch.sqrt(6 - u) + u.x - 20, name="root law"),
                                           Dirichlet(u=0.0, on="x-")])
    solution = sciml.solve(problem, optimizer="adam", steps=500, constraints="soft", schedule="constant",
                           out=tmp_path / "run", **{"adam.lr": 0.3}, **SMALL)
    assert "loss is not finite in step" in solution.status
    assert "condition 'root law' at x=" in solution.status
    assert "nan" in solution.status
    assert all(bool(torch.isfinite(p).all()) for p in solution.objective.trainable)
    loaded = sciml.Solution.load(tmp_path / "run", problem=problem)
    assert all(bool(torch.isfinite(p).all()) for p in loaded.objective.trainable)


@pytest.mark.parametrize("optimizer", ["lbfgs", "gauss-newton"])
def test_searches_step_back_from_where_the_loss_is_not_finite(optimizer):
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: torch.sqrt(6 - u) + u.x - 20), Dirichlet(u=0.0, on="x-")])
    solution = sciml.solve(problem, optimizer=optimizer, steps=20, constraints="soft", **SMALL)
    assert all(bool(torch.isfinite(p).all()) for p in solution.objective.trainable)
    assert np.isfinite(solution.loss) and solution.loss < solution.history[0]["loss"]


def test_gauss_newton_refuses_a_jacobian_that_is_not_finite():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = OPTIMIZERS["gauss-newton"]([parameter])
    with pytest.raises(NonFiniteError, match="gradient"):
        optimizer.step(lambda: (torch.ones(3), torch.full((3, 2), torch.nan)), lambda: torch.ones(3))
    assert torch.equal(parameter.detach(), torch.ones(2))


@pytest.mark.parametrize("name", ["gauss-newton", "lbfgs"])
def test_an_interrupted_step_leaves_the_parameters_of_before(name):
    objective, _ = build_objective(quick(), make_recipe({}, SMALL))
    start = [p.detach().clone() for p in objective.trainable]
    optimizer = OPTIMIZERS[name](objective.trainable)
    P = sum(p.numel() for p in objective.trainable)
    r, J = torch.ones(5, dtype=torch.float64), torch.ones(5, P, dtype=torch.float64)
    calls = iter(range(100))

    def interrupt():
        if next(calls) == 2:                    # by then the parameters have been moved on trial
            raise KeyboardInterrupt

    def closure():
        interrupt()
        objective.zero_grad()
        loss = sum((p**2).sum() for p in objective.trainable)
        loss.backward()
        return loss

    def residual():
        interrupt()
        return r * 2

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure) if name == "lbfgs" else optimizer.step(lambda: (r, J), residual)
    assert all(torch.equal(p.detach(), q) for p, q in zip(objective.trainable, start, strict=True))


def test_a_step_that_finds_no_memory_ends_the_run_with_a_sentence(monkeypatch):
    def full(self):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000000000000 bytes")

    monkeypatch.setattr(Training, "_advance", full)
    solution = sciml.solve(inverse(), steps=3, **SMALL)
    assert "not enough memory for a step" in solution.status and "step 0" in solution.status


def test_taylor_mode_needs_a_field_with_jets():
    with pytest.raises(ProblemError, match="needs a field with a method jet"):
        sciml.solve(inverse(), network=torch.nn.Linear(1, 1), engine="taylor", steps=1)


def test_a_file_in_problems_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_problem("problems/burgers.py") == find_problem("burgers.py") == find_problem("burgers")


@pytest.mark.parametrize(("layer", "expected"), [
    (torch.nn.BatchNorm1d(64), "batch normalisation"),
    (torch.nn.Dropout(0.5), "dropout"),
    (torch.nn.Flatten(0), "maps (3, 1) to"),
])
def test_a_network_whose_points_depend_on_each_other_or_on_chance_is_refused(layer, expected):
    network = torch.nn.Sequential(torch.nn.Linear(1, 64), layer, torch.nn.Linear(64, 1))
    with pytest.raises(ProblemError, match="network= ") as caught:
        sciml.solve(inverse(), network=network, steps=1, **SMALL)
    assert expected in str(caught.value) or "fails on points" in str(caught.value)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ProblemError, match="no trainable parameters"):
        sciml.solve(inverse(), network=torch.nn.Identity(), steps=1)


def test_a_network_without_the_derivatives_that_are_asked_for_is_refused():
    network = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    with pytest.raises(ProblemError, match="network= has u.xx = 0 everywhere"):
        sciml.solve(inverse(), network=network, steps=1, **SMALL)
