"""Solutions evaluate, score, draw, save and load what was trained."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from small import SMALL, command, inverse, write

import sciml
from sciml import Box, Dirichlet, Equation, Mesh, Problem, ProblemError, laplacian
from sciml.cli.show import errors_table
from sciml.geometry.meshing import mesh_of
from sciml.objective import build_objective, make_recipe
from sciml.optim import OPTIMIZERS
from sciml.solution.truth import resolve
from sciml.training import Training, keeping


@pytest.fixture(scope="module")
def solution(tmp_path_factory):
    """A short run of the heat equation."""
    return sciml.solve(str(write(tmp_path_factory.mktemp("heat"))), steps=5)


def test_numbers_give_numbers_and_arrays_broadcast(solution):
    u = solution(x=0.3, t=0.5)["u"]
    assert np.ndim(u) == 0
    table = solution(x=np.linspace(0, 1, 4)[:, None], t=torch.tensor([0.2, 0.5]))["u"]
    assert table.shape == (4, 2)
    assert solution(x=[0.3, 0.3], t=0.5)["u"] == pytest.approx([u, u], abs=0)
    assert solution(x=np.zeros((0,)), t=0.5)["u"].shape == (0,)


@pytest.mark.parametrize(("given", "message"), [
    (dict(x=0.3), "'t' is missing"), (dict(x=0.3, t=0.1, y=1), "coordinate 'y'"),
    (dict(x="a", t=0.1), "must be numbers"),
    (dict(x=[1, 2], t=[1, 2, 3]), "do not broadcast"),
])
def test_wrong_coordinates_are_one_sentence(solution, given, message):
    with pytest.raises(ProblemError, match=message):
        solution(**given)


def test_an_expression_is_evaluated_with_its_derivatives(solution):
    h, x, t = 1e-5, np.array([0.2, 0.6]), 0.3
    u = lambda x, t: solution(x=x, t=t)["u"]
    found = solution.evaluate(lambda u, x: dict(slope=u.x, heating=u.t - x * u), x=x, t=t)
    assert found["slope"] == pytest.approx((u(x + h, t) - u(x - h, t)) / (2 * h), rel=1e-7)
    assert found["heating"] == pytest.approx((u(x, t + h) - u(x, t - h)) / (2 * h) - x * u(x, t), rel=1e-7)
    assert np.ndim(solution.evaluate(lambda u: u.xx, x=0.2, t=0.3)) == 0
    pair = solution.evaluate(lambda u: (u, 2 * u), x=x[:, None], t=[0.1, 0.2, 0.3])
    assert isinstance(pair, tuple) and pair[1].shape == (2, 3) and (pair[1] == 2 * pair[0]).all()
    outwards = solution.evaluate(lambda u, normal: u.x * normal[0], on="x-", x=0.0, t=0.3)
    assert outwards == pytest.approx(-solution.evaluate(lambda u: u.x, x=0.0, t=0.3))


def test_the_integral_of_a_flux_over_the_boundary_is_that_of_its_divergence():
    domain = sciml.Disk((0, 0), 1) - sciml.Box(x=(-0.3, 0.4), y=(-0.2, 0.5)).named("hole")
    problem = Problem(domain, "u", [Equation(lambda u: laplacian(u) + 1, name="poisson")])
    for region in (problem, Problem(Mesh(mesh_of(domain, 0.2, order=2)), "u", problem.conditions)):
        found = sciml.solve(region, steps=1, points=50, model=dict(width=5, depth=2))
        inside = found.integral(laplacian_of)
        outside = found.integral(lambda u, normal: u.x * normal[0] + u.y * normal[1], on="boundary")
        # The curved domain is filled by low-discrepancy points, the mesh by Gauss's rule; parabolas for the circle.
        assert outside == pytest.approx(inside, rel=2e-2 if region is problem else 1e-3)
        parts = found.integral(lambda u: dict(one=1.0 + 0 * u, u=u))
        assert parts["one"] == pytest.approx(np.pi - 0.49, rel=1e-3) and set(parts) == {"one", "u"}


def laplacian_of(u):
    return laplacian(u)


@pytest.mark.parametrize(("given", "message"), [
    (dict(expression=lambda w: w, x=0.3, t=0.1), "argument 'w'"), (dict(expression="u.x", x=0.3, t=0.1), "a function"),
    (dict(expression=lambda u, normal: normal[0], x=0.3, t=0.1), "boundaries only"),
    (dict(expression=lambda u: u.x, on="hole", x=0.3, t=0.1), "region 'hole'"),
    (dict(expression=lambda u: u.x, x=0.3), "'t' is missing"),
])
def test_an_expression_that_makes_no_sense_is_one_sentence(solution, given, message):
    with pytest.raises(ProblemError, match=message):
        solution.evaluate(**given)


def test_initial_and_boundary_data_hold_exactly_where_they_are_built_in(solution):
    x = np.linspace(0, 1, 9)
    # Built in up to rounding.
    assert np.abs(solution(x=x, t=0.0)["u"] - np.sin(np.pi * x)).max() < 1e-14
    assert np.abs(solution(x=0.0, t=x)["u"]).max() < 1e-14


def test_errors_are_those_of_the_formula(solution):
    x, t = (a.reshape(-1) for a in np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101), indexing="ij"))
    exact = np.exp(-0.1 * np.pi**2 * t) * np.sin(np.pi * x)
    error = np.linalg.norm(solution(x=x, t=t)["u"] - exact) / np.linalg.norm(exact)
    assert solution.relative_l2()["u"] == pytest.approx(error, rel=1e-10)
    null = np.linalg.norm(exact - exact.mean()) / np.linalg.norm(exact)
    assert solution.null_score()["u"] == pytest.approx(null, rel=1e-10)
    mean = np.abs(solution(x=x, t=t)["u"] - exact).mean()
    assert solution.mean_absolute()["u"] == solution.result()["mean_absolute"]["u"] == pytest.approx(mean, rel=1e-10)


def test_a_saved_solution_loads_with_the_same_predictions(solution, tmp_path):
    solution.save(tmp_path / "kept")
    loaded = sciml.Solution.load(tmp_path / "kept")
    X = np.random.default_rng(0).uniform(size=(50, 2))
    assert np.array_equal(loaded.predict(X)["u"], solution.predict(X)["u"])
    assert loaded.relative_l2() == solution.relative_l2()
    assert (loaded.steps, loaded.seconds, loaded.status, loaded.loss) == (
        solution.steps, solution.seconds, solution.status, solution.loss)
    assert loaded.history == solution.history
    loaded.save(tmp_path / "again")
    again = sciml.Solution.load(tmp_path / "again")
    assert np.array_equal(again.predict(X)["u"], solution.predict(X)["u"])


def test_a_run_folder_holds_the_residual_of_the_inside_where_the_prediction_is(solution, tmp_path):
    solution.save(tmp_path)
    with h5py.File(tmp_path / "solution.h5") as file:
        found, x, t = file["residual/heat"][:], file["coordinates/x"][:], file["coordinates/t"][:]
    h = 1e-4
    i, j = [20, 50, 70], [30, 60, 90]                     # nodes inside, by central differences of the prediction
    u = lambda dx, dt: solution(x=x[i] + dx, t=t[j] + dt)["u"]
    want = (u(0, h) - u(0, -h)) / (2 * h) - 0.1 * (u(h, 0) - 2 * u(0, 0) + u(-h, 0)) / h**2
    assert found.shape == (len(x), len(t))
    assert found[i, j] == pytest.approx(abs(want), abs=1e-5)     # h² u_xxxx / 12 and rounding 1e-16 / h²


def test_a_saved_solution_can_be_trained_on(solution, tmp_path, capsys):
    solution.save(tmp_path / "kept")
    assert command("solve", "--resume", tmp_path / "kept", "--steps", 7, "--no-figures") == 0
    longer = sciml.solve(solution.problem, steps=7)
    assert sciml.Solution.load(tmp_path / "kept").relative_l2() == longer.relative_l2()


def test_a_solution_of_a_problem_made_in_python_loads_with_that_problem(tmp_path):
    problem = inverse()
    solution = sciml.solve(problem, steps=3, out=tmp_path / "run", **SMALL)
    with pytest.raises(ProblemError, match="give it as problem="):
        sciml.Solution.load(tmp_path / "run")
    loaded = sciml.Solution.load(tmp_path / "run", problem=problem)
    assert loaded.parameters == solution.parameters
    assert loaded.parameters["k"] != 0.2
    assert loaded(x=1.0)["u"] == solution(x=1.0)["u"]


def test_a_network_of_the_users_own_is_trained_saved_and_loaded(tmp_path):
    def network():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(1, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))

    solution = sciml.solve(inverse(), network=network(), steps=3, points=30, out=tmp_path / "run")
    assert solution.status == "ok"
    loaded = sciml.Solution.load(tmp_path / "run", problem=inverse(), network=network())
    assert loaded(x=1.0)["u"] == solution(x=1.0)["u"]
    with pytest.raises(ProblemError, match="network="):
        sciml.Solution.load(tmp_path / "run", problem=inverse())


def test_a_network_of_the_wrong_shape_is_refused():
    with pytest.raises(ProblemError, match=r"network= maps \(3, 1\) to \(3, 2\), expected \(3, 1\)"):
        sciml.solve(inverse(), network=torch.nn.Linear(1, 2), steps=1)
    with pytest.raises(ProblemError, match="network= fails on points of shape"):
        sciml.solve(inverse(), network=torch.nn.Linear(4, 1), steps=1)


def well(E1, E2):
    """A solution of the infinite well with these energies and a field that nobody has trained."""
    problem = sciml.load_problem("well_infinite")
    objective, _ = build_objective(problem, make_recipe(problem.defaults, {}))
    for name, value in (("E1", E1), ("E2", E2)):
        unit = problem.parameters[name].initial
        objective.parameters_.trained(name).data.fill_(value / unit)
    return sciml.Solution(problem, objective, resolve(problem), [], {})


@pytest.mark.parametrize(("levels", "others"), [
    ((1, 4), []), ((1.1, 3.7), []), ((4, 4), ["E1"]), ((4, 1), ["E1", "E2"]), ((1, 9), [])])
def test_an_eigenvalue_that_is_that_of_another_known_state_is_called_so(levels, others, capsys):
    solution = well(*(n * np.pi**2 for n in levels))
    found = solution.result()["other_states"]
    assert [sentence.split(" = ")[0] for sentence in found] == others
    assert all("is that of another state, E" in sentence and "bounds=" in sentence for sentence in found)
    errors_table(solution)
    assert capsys.readouterr().err.count("another state") == len(others)


def test_a_parameter_that_is_no_eigenvalue_has_no_other_state(solution):
    assert solution.result()["other_states"] == []


def test_a_solution_is_drawn_to_a_file(solution, tmp_path):
    path = solution.plot(tmp_path / "new" / "heat.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["heat.png"]


def test_a_solution_of_the_last_good_state_counts_the_steps_of_that_state(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: torch.sqrt(6 - u) + u.x - 20), Dirichlet(u=0.0, on="x-")])
    solution = sciml.solve(problem, optimizer="adam", steps=500, schedule="constant", constraints="soft", report=0.0,
                           out=tmp_path, **{"adam.lr": 0.3}, **SMALL)
    assert "not finite" in solution.status
    assert f"the state of step {solution.steps}" in solution.status
    assert 0 < solution.steps < 500
    assert np.isfinite(solution.loss)
    assert solution.loss == next(r["loss"] for r in solution.history if r["step"] == solution.steps)
    assert solution.result()["steps"] == solution.state["step"]


def plain(name: str) -> bool:
    """Whether an optimizer takes vectors and dense gradients, of any field."""
    return name not in ("muon", "kronecker", "evidence", "lines")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [o for o in OPTIMIZERS if plain(o)])
def test_every_optimizer_works_in_both_precisions(optimizer, dtype):
    solution = sciml.solve(inverse(), optimizer=optimizer, dtype=dtype, steps=2, points=20,
                           model=dict(width=4, depth=1))
    assert solution.status == "ok" or solution.status.startswith("stopped")
    assert {p.dtype for p in solution.objective.trainable} == {getattr(torch, dtype)}
    assert {p.X.dtype for p in solution.objective.points.values()} == {getattr(torch, dtype)}


def test_points_of_a_region_with_another_order_of_coordinates_mean_the_same():
    def lopsided(on):
        return Problem(Box(x=(0, 1), y=(0, 2)), "u", [
            Equation(lambda u, x, y: u - x * y**2, on=on, points=40), Dirichlet(u=0.0, on="x-")])

    recipe = make_recipe({}, dict(steps=60, constraints="soft", model=dict(width=8, depth=2)))
    for on in (Box(x=(0, 1), y=(0, 2)), Box(y=(0, 2), x=(0, 1))):
        training = Training(lopsided(on), recipe)
        list(training.run())
        X = np.random.default_rng(0).uniform(size=(100, 2)) * [1, 2]
        error = np.abs(training.predict(X)["u"] - X[:, 0] * X[:, 1] ** 2).max()
        assert error < 0.1, on                          # of values up to 4; with x and y exchanged it is about 1
