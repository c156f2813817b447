"""Learning of operators at its limits: scales, signs, systems, other orders of axes, precision, samples at the door."""

from math import pi

import numpy as np
import pytest
import torch

import sciml
from sciml import (
    Box,
    Dirichlet,
    Equation,
    GaussianRandomField,
    Initial,
    Periodic,
    Problem,
    ProblemError,
    RandomNumber,
)
from sciml.calculus import GridAxis
from sciml.cli.main import main
from sciml.cli.show import Progress
from sciml.generators import Burgers
from sciml.learning import OperatorSolution, OperatorTraining, make_operator_recipe
from sciml.learning.norms import InverseLaplacian, Plain
from sciml.plot import plot_run

SMALL = {"model": "fno", "data.grid": 17, "data.train": 6, "data.test": 3, "model.width": 6, "model.modes": 4,
         "batch": 3, "dtype": "float64", "steps": 2}
SINES = GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)


def training(problem, **options):
    problem = problem if isinstance(problem, Problem) else sciml.load_problem(problem)
    return OperatorTraining(problem, make_operator_recipe(problem.defaults, {**SMALL, **options}))


def poisson(value=0.0):
    return Problem(Box(x=(0, 1)), "u", [Equation(lambda u, f: u.xx + f), Dirichlet(u=value)], inputs=dict(f=SINES))


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["fno", "deeponet"])
def test_an_input_of_order_one_is_seen_beside_one_of_order_1e9(model):
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, f, E: E * u.xx + f), Dirichlet(u=0.0)],
                      inputs=dict(E=RandomNumber(1e9, 2e9), f=SINES))
    options = {k: v for k, v in SMALL.items() if k != "model.modes"}
    run = OperatorTraining(problem, make_operator_recipe({}, {**options, "model": model}))
    encoded = run.operator.encoder.encode(run.channels(run.train))
    functions = encoded.unbind(-1) if model == "fno" else encoded[..., 0].split(17, 1)
    for values in functions:
        assert float(values.mean()) == pytest.approx(0.0, abs=1e-9)
        assert float(values.square().mean()) == pytest.approx(1.0, rel=1e-9)


# --- precision and state ---------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_weights_once():
    operator = training("darcy").operator
    assert sum(v.numel() for k, v in operator.state_dict().items() if k.split(".")[0] not in (
        "scale", "encoder", "decoder")) == sum(p.numel() for p in operator.model.parameters())


def test_with_bfloat16_the_residual_keeps_the_digits_of_the_run():
    run = training("darcy", loss="residual", dtype="float32", bfloat16=True)
    seen, residual_loss = [], run._residual_loss
    run._residual_loss = lambda u, *more: seen.append((u.detach(), *more)) or residual_loss(u, *more)
    assert float(run.advance()) == float(residual_loss(*seen[0]))           # as without autocast


def test_a_constant_lift_says_nothing_of_the_size_of_the_solution():
    scales = [float(training(poisson(0.1), dtype=d).operator.scale) for d in ("float64", "float32")]
    assert scales[0] == scales[1] >= 1e-4                  # in float32 the deviation of 0.1 is 7e-9, not 0


def test_a_zero_mode_weighs_no_more_than_the_smallest_other_one():
    for n in (31, 32, 33, 64):                             # rounding leaves its eigenvalue at ±1e-13
        weights = InverseLaplacian([GridAxis("x", 0.0, 1.0, n, True)], 1.0, torch.zeros(1).double()).weights
        assert float(weights.max()) == pytest.approx(1 / (4 * pi**2), rel=0.06)


# --- equations as they may be written --------------------------------------------------------------------------------


def heat(sign=1.0, box=None, **values):
    return Problem(box or Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u: sign * (u.t - 0.05 * u.xx)), Initial(u=lambda u0: u0), Periodic(on="x")],
        inputs=dict(u0=GaussianRandomField(kind="periodic", sigma=25.0, tau=5.0, alpha=2.0, over="x")), **values)


def loss_of(run):
    return float(run._loss(run.train).detach())


def test_the_sign_of_an_evolution_equation_does_not_matter():
    assert loss_of(training(heat(-1.0))) == pytest.approx(loss_of(training(heat())), rel=1e-9)


def test_the_order_of_the_coordinates_of_a_box_does_not_matter():
    runs = [training(heat(box=box)) for box in (Box(x=(0, 1), t=(0, 1)), Box(t=(0, 1), x=(0, 1)))]
    assert runs[1].layout.names == ("x", "t")
    assert loss_of(runs[0]) == pytest.approx(loss_of(runs[1]), rel=1e-12)
    deep = {**SMALL, "model": "deeponet", "data.points": 20, "data.grid": (32, 9)}
    del deep["model.modes"]
    deep = [OperatorTraining(heat(box=Box(**sides)), make_operator_recipe({}, deep))
            for sides in (dict(x=(0, 1), t=(0, 3)), dict(t=(0, 3), x=(0, 1)))]
    sent = []
    for run in deep:
        stream = run.operator.model.stream
        run.operator.model.stream = lambda v, X, alphas, go=stream: sent.append((X, set(alphas))) or go(v, X, alphas)
        run.advance()
        assert bool((sent[-1][0][:, 0] <= 1).all()) and float(sent[-1][0][:, 1].max()) > 1       # x, then t
    assert sent[0][1] == sent[1][1]


def test_an_equation_of_second_order_in_time_is_measured_plainly():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u: u.tt - u.xx), Initial(u=lambda u0: u0, u_t=0.0), Periodic(on="x")],
        inputs=dict(u0=GaussianRandomField(kind="periodic", sigma=25.0, tau=5.0, alpha=2.0, over="x")))
    run = training(problem)
    assert isinstance(run.norms["equation"], Plain) and 0.5 < loss_of(run) < 2


def test_an_equation_without_time_among_others_has_a_norm():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u p", [
        Equation(lambda u, p: u.t - 0.1 * u.xx + p.x), Equation(lambda u, p: p.xx - p + u), Initial(u=lambda u0: u0),
        Periodic(on="x")],
        inputs=dict(u0=GaussianRandomField(kind="periodic", sigma=25.0, tau=5.0, alpha=2.0, over="x")))
    run = training(problem)
    assert set(run.norms) == {"equation 1", "equation 2"} and 1 < loss_of(run) < 4
    assert bool(torch.isfinite(run.norms["equation 2"].inverse).all())


def test_an_equation_that_the_lift_solves_is_measured_by_what_the_network_does_to_it():
    problem = Problem(Box(x=(0, 1)), "u p", [
        Equation(lambda u, p: p - u.x), Equation(lambda p, f: p.x + f), Dirichlet(u=0.0)], inputs=dict(f=SINES))
    assert loss_of(training(problem)) < 10                 # it was 1e15: |r₀| = 0
    deep = {k: v for k, v in SMALL.items() if k != "model.modes"}
    run = OperatorTraining(problem, make_operator_recipe({}, {**deep, "model": "deeponet", "data.points": 20}))
    assert float(run.advance()) < 100


def test_conditions_that_share_a_label_are_built_in_each():
    problem = Problem(Box(x=(0, 1), y=(0, 2)), "u", [
        Equation(lambda u: u.xx + u.yy + 1), Dirichlet(u=lambda g: g, on="x-"),
        Dirichlet(u=0.0, on=["x+", "y-", "y+"])],
        inputs=dict(g=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0, over="y")))
    run = training(problem, **{"data.grid": (17, 12)})
    u = run.evaluate(run.train)[..., 0]
    assert torch.allclose(u[:, 0], run.train.inputs["g"], atol=1e-12) and float(u[:, -1].abs().max()) < 1e-12


def test_an_equation_holds_up_to_a_face_without_data():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u: u.t + u.x), Initial(u=lambda u0: u0), Dirichlet(u=0.0, on="x-")],
        inputs=dict(u0=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0, over="x")))
    run = training(problem)
    u = run.evaluate(run.train)
    moved = u.clone()
    moved[:, -1, 1:] += torch.tensor([1.0, -1.0] * 8, dtype=u.dtype)[:, None]
    r, s = (run.equations.residuals(run.layout, v, run.train.inputs)[0].values for v in (u, moved))
    assert r.shape[1:3] == (16, 16) and float((r - s)[:, -1].abs().min()) > 0


# --- data ------------------------------------------------------------------------------------------------------------


def test_solvers_count_time_from_the_start_of_the_box():
    ends = []
    for low in (0.0, 2.0):
        problem = heat(box=Box(x=(0, 1), t=(low, low + 1)), reference=Burgers(initial="u0", unknown="u", nu=0.05))
        ends.append([training(problem, loss="data", **{"data.times": times}).train.outputs
                     for times in ("final", 3, "axis")])
    for one, other in zip(*ends, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_symmetries_are_found_for_operators_without_an_axis_of_time():
    run = training("burgers_operator", loss="data", augment="symmetry", **{"data.times": "final"})
    assert run.symmetries.shifts == ((("x", 1),),) and run.symmetries.layout.names == ("x",)
    assert float(run.advance()) > 0
    run = training("vorticity", augment="symmetry", **{"data.grid": 16, "data.times": 4, "data.history": 2})
    assert run.symmetries.swaps == ()                                       # x ↔ y turns ψ into −ψ


def test_a_reference_that_gives_fewer_unknowns_than_the_equations_have_is_refused():
    with pytest.raises(ProblemError, match="does not give psi"):
        training("vorticity", loss="residual", **{"data.grid": (16, 16, 9), "data.times": "axis", "data.history": 0})


def test_options_of_the_model_count_wherever_they_stand():
    defaults = sciml.load_problem("darcy").defaults
    for given in ({"model.width": 6, "model": "uno"}, {"model": "uno", "model.width": 6}):
        assert make_operator_recipe(defaults, given).options["model"] == {"width": 6}


def test_one_function_beside_a_batch_of_others_is_taken_for_all_of_them():
    solution = sciml.solve(Problem(Box(x=(0, 1)), "u", [
        Equation(lambda u, f, g: u.xx + f - g * u), Dirichlet(u=0.0)], inputs=dict(f=SINES, g=SINES)), **SMALL)
    f, g = np.random.default_rng(0).random((3, 17)), np.ones(17)
    u = solution(f=f, g=g)["u"]
    assert u.shape == (3, 17) and np.allclose(u, solution(f=f, g=np.stack([g] * 3))["u"])


@pytest.mark.parametrize("options, words", [
    ({"data.seed": "abc"}, "whole number"), ({"data.order": "two"}, "whole number"), ({"data.file": 3}, "a name"),
    ({"data.fresh": "maybe"}, "True or False"), ({"h1": -1.0}, "h1"), ({"device": "cudaa"}, "device"),
    ({"data.file": "/proc/none/a.h5"}, "cannot be written")], ids=str)
def test_options_of_the_data_have_types(options, words):
    with pytest.raises(ProblemError, match=words):
        sciml.solve("darcy", **{**SMALL, **options})


X = np.linspace(0, 1, 33)
A = np.random.default_rng(0).standard_normal((20, 33))


@pytest.mark.parametrize("arrays, options, words", [
    (dict(a=A[:, :5], u=A), {}, "'u' has shape"), (dict(a=A, u=A, w=A[:, :5]), {}, "'w' has shape"),
    (dict(a=A, u=np.stack([A, A], -1)), {"axes": {"x": X}}, "several times as a field"),
    (dict(a=A, u=A), {"axes": {"x": X[:9]}}, "has shape"), (dict(a=A, u=A), {"axes": {"x": X**2}}, "equally spaced"),
    (dict(a=A, u=A), {"model": "deeponet"}, "needs one of")])
def test_arrays_that_are_no_functions_on_the_grid_are_refused(arrays, options, words):
    with pytest.raises(ProblemError, match=words):
        sciml.learn(arrays, inputs=["a"], **{"epochs": 1, **options})


def test_weights_of_another_model_are_not_restored(tmp_path):
    options = {"inputs": ["a"], "epochs": 1, "model.modes": 4}
    sciml.learn(dict(a=A, u=A), **options, **{"model.width": 6}).save(tmp_path)
    with pytest.raises(ProblemError, match="does not fit"):
        sciml.learn(dict(a=A, u=A), **options, **{"model.width": 9}, restore=tmp_path)


def test_a_deeponet_trains_on_the_residual_through_its_trunk():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, f: u.xx + f), Dirichlet(u=0.0)],
                      inputs=dict(f=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0, modes=3)))
    run = sciml.solve(problem, epochs=20, model="deeponet", batch=8, dtype="float64", **{
        "data.grid": 17, "data.train": 16, "data.points": 40, "model.width": 32, "model.depth": 2, "model.functions": 6,
        "adamw.lr": 1e-2})
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]          # 0.28 with seeds 0, 1 and 2


# --- command line ----------------------------------------------------------------------------------------------------


def test_a_resumed_run_takes_the_steps_that_it_is_given_beyond_its_epochs(tmp_path, capsys):
    sets = ["--set", *(f"{k}={v}" for k, v in SMALL.items() if "." in k)]
    assert main(["solve", "darcy", "--epochs", "1", "--batch", "3", "--out", str(tmp_path), "--no-figures", *sets]) == 0
    assert main(["solve", "--resume", str(tmp_path), "--steps", "5", "--no-figures"]) == 0
    assert OperatorSolution.load(tmp_path).steps == 5


def test_samples_are_not_all_made_once_the_user_asked_to_stop():
    problem = poisson()
    progress = Progress(problem, make_operator_recipe({}, SMALL), lambda: "interrupted by the user")
    with pytest.raises(ProblemError, match="interrupted by the user after 100 of 600 samples"):
        progress.solved(100, 600)


def test_a_family_in_three_coordinates_is_drawn(tmp_path):
    problem = Problem(Box(x=(0, 1), y=(0, 2), z=(-1, 1)), "u", [
        Equation(lambda u, f: u.xx + u.yy + u.zz + f), Dirichlet(u=0.0)], inputs=dict(f=SINES))
    sciml.solve(problem, out=tmp_path, **{**SMALL, "data.grid": (9, 8, 7), "model.modes": 3})
    assert "operator.png" in [f.name for f in plot_run(tmp_path)]
