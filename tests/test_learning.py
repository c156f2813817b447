"""Learning of solution operators: residuals on grids, norms, symmetries, training, resume, errors at the door."""

from dataclasses import replace
from math import pi

import h5py
import numpy as np
import pytest
import torch

import sciml
from sciml import (
    Box,
    Dirichlet,
    Equation,
    FromFile,
    GaussianRandomField,
    Initial,
    Periodic,
    Problem,
    ProblemError,
    RandomNumber,
)
from sciml.learning import OperatorSolution, OperatorTraining, make_operator_recipe
from sciml.learning.march import rollout
from sciml.learning.models import Normaliser, relative_errors
from sciml.learning.samples import draw, solve_samples
from sciml.learning.symmetry import find_symmetries

DARCY = {"data.grid": 17, "data.train": 12, "data.test": 6, "model.width": 6, "model.modes": 4, "batch": 4,
         "dtype": "float64"}
BURGERS = {"data.grid": (32, 17), "data.train": 6, "data.test": 4, "model.width": 6, "model.modes": 4, "batch": 3,
           "dtype": "float64", "loss": "residual"}


def training(name, **options):
    problem = name if isinstance(name, Problem) else sciml.load_problem(name)
    return OperatorTraining(problem, make_operator_recipe(problem.defaults, options))


@pytest.fixture(scope="module")
def darcy():
    return training("darcy", loss="residual", epochs=1, **DARCY)


# --- residuals and their norms ---------------------------------------------------------------------------------------


def test_the_solver_of_a_family_makes_its_residual_on_the_grid_vanish(darcy):
    test = darcy.test
    assert float(darcy._residual_loss(test.outputs, test.inputs)) < 1e-9          # conjugate gradients stop at 1e-10
    assert float(darcy._residual_loss(0 * test.outputs, test.inputs)) == pytest.approx(1.0, abs=1e-14)


def test_the_preconditioned_residual_is_the_energy_of_the_inverse_laplacian(darcy):
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(2, 15, 15, 1, generator=generator, dtype=torch.float64)
    T = 2 * torch.eye(15) - torch.diag(torch.ones(14), 1) - torch.diag(torch.ones(14), -1)
    T = T.double() * 16**2
    A = torch.kron(T, torch.eye(15).double()) + torch.kron(torch.eye(15).double(), T)
    expected = [float(v.flatten() @ torch.linalg.solve(A, v.flatten())) for v in r[..., 0]]
    found = darcy.norms["darcy"](r)
    assert np.allclose(found, expected, rtol=1e-12)


def test_the_preconditioned_residual_bounds_the_energy_of_the_error_by_the_contrast(darcy):
    generator = torch.Generator().manual_seed(1)
    test = darcy.test
    e = torch.randn(test.outputs.shape, generator=generator, dtype=torch.float64)
    e = e * darcy.equations.bubble(darcy.layout, test.inputs)
    u = test.outputs
    loss = [float(darcy._residual_loss((u + 1e-3 * e)[i:i + 1], {"a": test.inputs["a"][i:i + 1]})) for i in range(6)]
    a = test.inputs["a"]

    def energy(v):
        parts = [(0.5 * (a[:, 1:] + a[:, :-1]) * (v[:, 1:] - v[:, :-1]) ** 2).flatten(1).sum(1),
                 (0.5 * (a[:, :, 1:] + a[:, :, :-1]) * (v[:, :, 1:] - v[:, :, :-1]) ** 2).flatten(1).sum(1)]
        return (parts[0] + parts[1]).sqrt()

    ratio = np.array(loss) / (energy(1e-3 * e[..., 0]) / energy(u[..., 0])).numpy()
    assert ((ratio > 0.5) & (ratio < 2)).all()                                     # √(12/3) either way


def heat(nu=0.05):
    return Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u: u.t - nu * u.xx), Initial(u=lambda u0: u0), Periodic(on="x")],
        inputs=dict(u0=GaussianRandomField(kind="periodic", sigma=25.0, tau=5.0, alpha=2.0, over="x")))


def test_the_preconditioned_residual_of_a_linear_evolution_is_the_error_itself():
    run = training(heat(), model="fno", epochs=1, **BURGERS)
    generator = torch.Generator().manual_seed(0)
    G = run.equations.lift(run.layout, run.train.inputs)
    x, t = run.layout.axes[0].nodes()[:, None], run.layout.axes[1].nodes()
    e = (torch.randn(6, 1, 1, generator=generator, dtype=torch.float64) * torch.sin(2 * pi * x) * t**2)[..., None]
    norm = run.norms["equation"]
    residuals = lambda u: run.equations.residuals(run.layout, u, run.train.inputs)[0].values
    found = norm(residuals(G + e) - residuals(G)).sqrt()
    expected = e[:, :, 1:].square().flatten(1).mean(1).sqrt()
    # σ is fitted to the eigenvalues of −Δ_h, of which the Fourier derivative differs by (2πh)²/12 of itself
    assert np.allclose(found, expected, rtol=1e-2)


def test_burgers_in_space_and_time_is_solved_by_its_reference_to_the_order_of_the_differences():
    problem = sciml.load_problem("burgers_operator")
    losses = []
    for n in (9, 17):
        run = training(problem, **{**BURGERS, "data.grid": (256, n)}, epochs=1)
        losses.append(float(run._residual_loss(run.test.outputs, run.test.inputs)))
    assert losses[1] < losses[0] / 2                # order 2 in time where u is smooth; the first steps see more modes


def test_initial_data_are_built_in_for_every_input():
    run = training("burgers_operator", epochs=1, **BURGERS)
    u = run.evaluate(run.test)
    assert torch.allclose(u[:, :, 0, 0], run.test.inputs["u0"], atol=1e-12)


def test_data_that_disagree_in_a_corner_for_some_inputs_are_refused():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u: u.t - u.xx), Initial(u=lambda u0: u0), Dirichlet(u=0.0, on=["x-", "x+"])],
        inputs=dict(u0=GaussianRandomField(kind="neumann", tau=3.0, alpha=2.0, over="x")))
    with pytest.raises(ProblemError, match="initial|dirichlet"):
        training(problem, model="fno", epochs=1, **BURGERS)


# --- symmetries ------------------------------------------------------------------------------------------------------


def test_symmetries_are_found_by_test(darcy):
    few = {n: v[:4] for n, v in darcy.exact_inputs.items()}
    found = find_symmetries(darcy.equations, darcy.layout, few)
    assert (found.flips, found.swaps, found.shifts) == (("x", "y"), (("x", "y"),), ())
    run = training("burgers_operator", epochs=1, **BURGERS)
    found = find_symmetries(run.equations, run.layout, run.exact_inputs)
    assert (found.flips, found.swaps, found.shifts) == ((), (), ((("x", 1),),))            # x → −x turns u into −u


def test_a_random_symmetry_maps_solutions_to_solutions(darcy):
    few = {n: v[:4] for n, v in darcy.exact_inputs.items()}
    found = find_symmetries(darcy.equations, darcy.layout, few)
    for seed in range(8):
        one = found.random(torch.Generator().manual_seed(seed))
        u, a = one(darcy.test.outputs, ("x", "y")), one(darcy.test.inputs["a"], ("x", "y"))
        assert float(darcy._residual_loss(u.contiguous(), {"a": a.contiguous()})) < 1e-9


def test_a_flow_with_a_diagonal_forcing_may_be_shifted_along_its_crests():
    small = {"data.grid": 16, "data.train": 4, "data.test": 2, "model.width": 4, "model.modes": 4, "batch": 2,
             "data.times": 4, "data.history": 2, "dtype": "float64"}
    run = training("vorticity", epochs=1, augment="symmetry", **small)
    found = run.symmetries
    assert (found.flips, found.swaps, found.shifts) == ((), (), ((("x", 1), ("y", -1)),))
    w0 = run.exact_inputs["w0"]
    times = torch.tensor([2.0], dtype=torch.float64)
    solver, nodes = run.problem.reference, run.layout.nodes
    shifted = solver.solve({"w0": w0.roll((3, -3), (1, 2))}, nodes, times=times)["w"]
    assert torch.allclose(shifted, solver.solve({"w0": w0}, nodes, times=times)["w"].roll((3, -3), (1, 2)), atol=1e-10)


def test_a_problem_without_symmetries_says_so():
    problem = Problem(Box(x=(0, 1), y=(0, 2)), "u", [
        Equation(lambda u, x, y, f: u.xx + u.yy - (1 + x + y * y) * f), Dirichlet(u=0.0)],
        inputs=dict(f=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)))
    with pytest.raises(ProblemError, match="invariant under no reflection"):
        training(problem, model="fno", epochs=1, augment="symmetry", **{**DARCY, "loss": "residual"})


def test_changes_of_the_coordinate_keep_the_form_of_an_elliptic_family():
    few = {"data.grid": 65, "data.train": 8, "data.test": 2, "dtype": "float64", "epochs": 1, "model.width": 4}
    run = training("elliptic", **few, loss="both")
    assert run.covariance.powers == {"a": -1, "f": 1}
    errors = []
    for n in (129, 513):
        layout = run.layout.at(n)
        samples = solve_samples(run.problem, layout, 4, 0)
        moved = replace(run.covariance, layout=layout).random(samples, torch.Generator().manual_seed(3))
        r = run.equations.residuals(layout, moved.outputs, moved.inputs)[0].values
        errors.append(float(r.norm() / moved.inputs["f"][:, 1:-1].norm()))
    assert errors[1] < errors[0] / 3 and errors[1] < 0.05              # at the level of the differences, and smaller


def test_changes_of_the_coordinate_are_refused_where_the_form_changes():
    with pytest.raises(ProblemError, match="one coordinate"):
        training("darcy", augment="covariance", epochs=1, **DARCY)
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, f: u.xx + u - f), Dirichlet(u=0.0)],
                      inputs=dict(f=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)))
    with pytest.raises(ProblemError, match="keep their form"):
        training(problem, model="fno", augment="covariance", epochs=1, **{**DARCY, "loss": "residual", "data.grid": 65})


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["data", "residual", "both"])
def test_every_loss_is_brought_down_and_the_error_with_it(loss):
    run = training("darcy", **{**DARCY, "data.train": 32, "batch": 8, "epochs": 25, "adamw.lr": 1e-2, "loss": loss})
    reports = list(run.run())
    assert reports[-1].losses[loss] < 0.6 * reports[0].losses[loss]
    assert reports[-1].errors["u"] < 0.6 * reports[0].errors["u"]


def test_one_seed_gives_one_operator_and_another_seed_another():
    runs = [training("darcy", seed=s, epochs=1, **DARCY) for s in (0, 0, 1)]
    ends = [list(run.run())[-1].loss for run in runs]
    assert ends[0] == ends[1] != ends[2]
    assert torch.equal(runs[0].train.inputs["a"], runs[2].train.inputs["a"])       # the data have a seed of their own


@pytest.mark.parametrize("options", [
    {"augment": "symmetry", "loss": "data"}, {"loss": "residual", "data.fresh": True}], ids=str)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(options, tmp_path):
    options = {**DARCY, **options, "epochs": 4, "report": 0.0}
    whole = sciml.solve("darcy", out=tmp_path / "whole", **options)
    stop = iter([""] * 5 + ["enough"] * 50)
    part = sciml.solve("darcy", out=tmp_path / "part", stop=lambda: next(stop), **options)
    assert part.steps == 5 and "enough" in part.status
    resumed = sciml.solve("darcy", out=tmp_path / "part", resume=True, **options)
    for one, other in zip(whole.training.operator.state_dict().values(),
                          resumed.training.operator.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    loaded = OperatorSolution.load(tmp_path / "part")
    assert loaded.relative_l2() == resumed.relative_l2()
    with pytest.raises(ProblemError, match="OperatorSolution.load"):
        sciml.Solution.load(tmp_path / "part")


def test_snapshots_are_predicted_from_earlier_ones():
    run = training("vorticity", epochs=1, **{"data.grid": 16, "data.train": 4, "data.test": 2, "model.width": 4,
                                             "model.modes": 4, "batch": 2, "data.times": 4, "data.history": 2})
    assert run.channels(run.train).shape == (4, 16, 16, 2) and run.targets(run.train).shape == (4, 16, 16, 2)
    solved = run.problem.reference.solve({"w0": run.exact_inputs["w0"]}, run.layout.nodes,
                                         times=torch.tensor([5.0, 10, 15, 20]).double())["w"]
    assert torch.allclose(run.targets(run.train).double(), solved[..., 2:], rtol=1e-4, atol=1e-5)   # float32


@pytest.mark.parametrize("pushforward", [False, True])
def test_an_operator_of_one_step_is_marched_over_all_later_snapshots(pushforward):
    options = {"data.grid": 16, "data.train": 4, "data.test": 2, "model.width": 4, "model.modes": 4, "batch": 2,
               "data.times": 6, "data.history": 2, "data.unroll": 3, "data.pushforward": pushforward,
               "dtype": "float64"}
    run = training("vorticity", epochs=2, **options)
    list(run.run())
    u = run.evaluate(run.test)
    window = run.channels(run.test)
    for k in range(4):
        out = run.operator(window, run.layout.coordinates(window))
        assert torch.allclose(u[..., k:k + 1], out, atol=1e-12)
        window = torch.cat([window[..., 1:], out], -1)
    with pytest.raises(ProblemError, match="unroll"):
        training("vorticity", epochs=1, **{**options, "data.unroll": 5})


def test_push_forward_keeps_the_gradient_of_the_last_step_only():
    weight = torch.tensor(2.0, requires_grad=True)
    start = torch.ones(1, 3, 1)
    for pushforward, slope in ((False, 3 * 2.0**2), (True, 2.0**2)):               # ŵ₃ = weight³, or weight · 4
        out = rollout(lambda w: weight * w, start, 3, pushforward)[..., -1]
        (found,) = torch.autograd.grad(out.mean(), weight)
        assert float(found) == slope


def test_samples_are_kept_on_a_file_and_read_again(tmp_path):
    options = {**DARCY, "epochs": 1, "data.file": str(tmp_path / "darcy.h5")}
    first = training("darcy", **options)
    made = (tmp_path / "darcy.h5").stat().st_mtime_ns
    again = training("darcy", **options)
    assert (tmp_path / "darcy.h5").stat().st_mtime_ns == made
    assert torch.equal(first.train.outputs, again.train.outputs) and torch.equal(first.test.outputs, again.test.outputs)
    exact = first.problem.reference.solve({"a": first.test.inputs["a"]}, first.layout.nodes)["u"]
    assert torch.allclose(first.test.outputs[..., 0], exact, rtol=1e-8)
    with pytest.raises(ProblemError, match="darcy.h5"):
        training("darcy", **{**options, "data.train": 20})


def test_functions_of_a_file_are_trained_on_or_tested_never_both(tmp_path):
    a = 3 + np.random.default_rng(0).random((9, 17, 17))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = a
    problem = Problem(Box(x=(0, 1), y=(0, 1)), "u", [Equation(lambda u, a: u.xx + u.yy + a), Dirichlet(u=0.0)],
                      inputs=dict(a=FromFile(tmp_path / "a.h5", "a")))
    run = training(problem, model="fno", epochs=1, **{**DARCY, "loss": "residual", "data.train": 6, "data.test": 3})
    tested = draw(problem, run.layout, 3, run.data.seed, test=True)["a"]
    seen = torch.cat([run.train.inputs["a"], tested])
    assert sorted(float(f.sum()) for f in seen) == pytest.approx(sorted(float(f.sum()) for f in a))
    with pytest.raises(ProblemError, match="9 functions"):
        training(problem, model="fno", epochs=1, **{**DARCY, "loss": "residual", "data.train": 7, "data.test": 3})


def test_random_numbers_are_inputs_too():
    problem = Problem(Box(x=(0, 1), y=(0, 1)), "u", [
        Equation(lambda u, k, f: u.xx + u.yy - k * u + f), Dirichlet(u=0.0)],
        inputs=dict(k=RandomNumber(1.0, 10.0), f=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)))
    run = training(problem, model="fno", epochs=1, **{**DARCY, "loss": "residual"})
    assert run.channels(run.train).shape == (12, 17, 17, 2)
    assert float(run.advance()) == pytest.approx(1.0, abs=0.5)


# --- solutions -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solution():
    return sciml.solve("darcy", loss="residual", epochs=2, **DARCY)


def test_an_operator_is_called_with_arrays_on_any_grid(solution):
    a = np.full((21, 21), 5.0)
    u = solution(a=a)["u"]
    assert u.shape == (21, 21) and np.abs(u[0]).max() == np.abs(u[:, -1]).max() == 0.0
    assert solution(a=np.stack([a, 2 * a]))["u"].shape == (2, 21, 21)
    assert np.allclose(solution(a=np.stack([a, 2 * a]))["u"][0], u, atol=1e-12)


@pytest.mark.parametrize("inputs, words", [
    (dict(), "'a' is missing"), (dict(b=np.ones((5, 5))), "input"), (dict(a=np.ones(5)), r"shape \(5,\)"),
    (dict(a=np.ones((2, 2, 9, 9))), "shape")])
def test_an_operator_called_with_something_else_says_what_it_takes(solution, inputs, words):
    with pytest.raises(ProblemError, match=words):
        solution(**inputs)


def test_test_time_optimisation_lowers_the_error_and_leaves_the_operator(solution):
    test = solution.training.test.part(slice(0, 2))
    before = {k: v.clone() for k, v in solution.training.operator.state_dict().items()}
    plain = solution(a=test.inputs["a"].numpy())["u"]
    tuned = solution.tune(seconds=3.0, a=test.inputs["a"].numpy())["u"]
    exact = test.outputs[..., 0].numpy()
    assert np.linalg.norm(tuned - exact) < 0.5 * np.linalg.norm(plain - exact)
    assert all(torch.equal(v, before[k]) for k, v in solution.training.operator.state_dict().items())


def test_errors_are_relative_per_sample_and_never_divided_by_the_prediction():
    truth = torch.tensor([[1.0, 1.0], [2.0, 0.0]])[..., None]
    prediction = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[..., None]
    assert relative_errors(prediction, truth)[:, 0].tolist() == [0.0, 1.0]


def test_a_table_of_nodes_is_interpolated_to_other_grids():
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    values = torch.stack([k * x for k in range(5)])[..., None]
    table = Normaliser(values, True, (False,))
    fine = torch.linspace(0, 1, 33, dtype=torch.float64)
    assert torch.allclose(table.decode(torch.zeros(1, 33, 1, dtype=torch.float64))[0, :, 0], 2 * fine, atol=1e-12)


# --- at the door -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, words", [
    ({"model": "fnoo"}, "did you mean|Valid"), ({"model.widht": 3}, "width"), ({"data.gird": 3}, "grid"),
    ({"loss": "dat"}, "data"), ({"optimizer": "lbfgs"}, "first order"), ({"sampler": "rad"}, "option"),
    ({"data.train": 0}, "data.train"), ({"data.times": 3}, "no time"), ({"augment": "rotate"}, "symmetry"),
    ({"model.modes": 3, "data.grid": (9, 9, 9)}, "3 numbers")])
def test_an_option_that_makes_no_sense_gets_a_sentence(options, words):
    with pytest.raises(ProblemError, match=words):
        sciml.solve("darcy", epochs=1, **{**DARCY, **options})


def test_a_problem_without_inputs_has_no_operator_and_a_rough_one_no_field():
    with pytest.raises(ProblemError, match="no random inputs"):
        sciml.solve("poisson", model="fno", epochs=1)
    with pytest.raises(ProblemError, match="'a', which jumps"):
        sciml.solve("darcy", model="mlp", steps=1)


def test_a_smooth_member_of_a_family_is_solved_as_a_field():
    problem = Problem(Box(x=(0, 1), y=(0, 1)), "u", [
        Equation(lambda u, f: u.xx + u.yy + f), Dirichlet(u=0.0)],
        inputs=dict(f=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.5, modes=4)))
    solution = sciml.solve(problem, model="gaussian")
    drawn = problem.setting.inputs["f"]
    k = np.arange(1, 5)
    x = np.array([0.3, 0.7])
    modes = drawn.family._weights(drawn.coefficients)[0].numpy() * 2.0             # sines are normalised on (0, 1)²
    waves = np.sin(pi * np.outer(x, k))
    exact = np.einsum("ni,ij,nj->n", waves, modes / (pi**2 * (k[:, None] ** 2 + k**2)), waves)
    assert np.allclose(solution(x=x, y=x)["u"], exact, rtol=1e-4)


# --- DeepONets -------------------------------------------------------------------------------------------------------

DEEP = {**BURGERS, "model": "deeponet", "model.width": 8, "model.depth": 2, "model.functions": 6, "data.points": 40}
del DEEP["model.modes"]


def test_the_residual_through_the_trunk_is_that_of_the_equation():
    run = training("burgers_operator", epochs=1, **DEEP)
    X = torch.rand(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = run.operator.encoder.encode(run.channels(run.train))
    coefficients = run._coefficients
    found = run.trunk(run.operator.model.stream(v, X, run.trunk.alphas), X, coefficients)["burgers"][..., 0]
    drawn = run.problem.setting.inputs["u0"].family

    for i in (0, 3):
        t = X[:, 1].clone().requires_grad_()
        x = X[:, 0].clone().requires_grad_()
        N = run.operator.model(v[i:i + 1], torch.stack([x, t], -1))[0, :, 0]
        part = run.operator.scale * t * N
        slope = lambda f, c: torch.autograd.grad(f.sum(), c, create_graph=True)[0]
        u0, ux0, uxx0 = (drawn.at(coefficients["u0"][i:i + 1], X[:, :1], (k,))[0] for k in range(3))
        ux = ux0 + slope(part, x)
        expected = slope(part, t) + (u0 + part) * ux - 0.1 * (uxx0 + slope(slope(part, x), x))
        assert torch.allclose(found[i], expected, rtol=1e-9, atol=1e-9)


def test_a_deeponet_is_asked_on_other_grids():
    found = sciml.solve("burgers_operator", epochs=1, **DEEP)
    u0 = found.training.test.inputs["u0"].numpy()
    assert found(u0=u0)["u"].shape == (4, 32, 17)
    assert found.error_on((64, 9), 2)["u"] > 0
    with pytest.raises(ProblemError, match="deeponet"):
        training("burgers_operator", epochs=1, residual="trunk", **BURGERS)
