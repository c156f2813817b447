"""Tensor products on boxes: closed-form jets, ends where data are built in, and the direct solution by coordinates."""

import json
from math import pi

import numpy as np
import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Equation, Initial, Periodic, Problem, ProblemError, Unknown, laplacian
from sciml.calculus import IndexSet, NestedReverse, TaylorForward
from sciml.fields import GaussianAxis, TensorField
from sciml.fields.axes import legendre
from sciml.objective import build_objective, make_recipe
from sciml.objective.tensor import separated
from sciml.optim.kronecker import projected, solve_sum
from sciml.problem import load_problem
from sciml.training import Training

ORDERS = {1: {(4,), (3,)}, 2: {(4, 0), (0, 3), (2, 2), (1, 1)}, 3: {(2, 0, 0), (0, 2, 1), (1, 1, 1)}}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def field_of(D, outputs=2, seed=0):
    """A field with every kind of axis."""
    axes = [GaussianAxis(-1, 1, 15, 1.2, held=(1, 1)), GaussianAxis(0, 2, 9, 1.2, periodic=True),
            GaussianAxis(0, 0.5, 12, 1.1, held=(2, 0))][:D]
    field = TensorField(axes, outputs)
    with torch.no_grad():
        field.weight.copy_(random(*field.weight.shape, seed=seed))
    return field


def points(D, N=25, seed=1):
    low, high = torch.tensor([-1.0, 0.0, 0.0])[:D].double(), torch.tensor([1.0, 2.0, 0.5])[:D].double()
    return low + (high - low) * torch.rand(N, D, generator=generator(seed), dtype=torch.float64)


# ---- the field -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("D", [1, 2, 3])
def test_closed_form_jets_agree_with_nested_reverse_mode(D):
    field, X = field_of(D), points(D)
    requests = {"u": ORDERS[D], "v": {(0,) * D}}
    have = TaylorForward().derivatives(field, X, requests, ("u", "v"))
    want = NestedReverse().derivatives(field, X, requests, ("u", "v"))
    for key, values in want.items():
        # orthonormal functions are differences of Gaussians of up to 1e5 times their size
        assert torch.allclose(have[key], values, rtol=0, atol=1e-9 * float(values.detach().abs().max())), key


@pytest.mark.parametrize("D", [1, 2, 3])
def test_points_of_a_grid_scattered_points_and_the_tape_give_the_same_streams(D):
    field = field_of(D)
    indices = IndexSet.closure(ORDERS[D], D)
    ticks = [points(D, 4, seed).T[d] for d, seed in zip(range(D), (2, 3, 4), strict=False)]
    X = torch.cartesian_prod(*ticks).reshape(-1, D)
    X = X[torch.randperm(len(X), generator=generator())][: max(len(X) - 1, 3)]
    grid, scattered = field.streams(X, indices), field._scattered(X, indices)
    taped = field.features(X, indices) @ field.weight.T
    size = taped.detach().abs().amax((1, 2), keepdim=True)
    assert float(((grid - scattered) / size).detach().abs().max()) < 1e-12
    assert float(((grid - taped) / size).detach().abs().max()) < 1e-12


@pytest.mark.parametrize("held", [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)])
def test_functions_are_orthonormal_and_vanish_at_the_ends_that_are_held(held):
    axis = GaussianAxis(-0.5, 2.0, 20, 1.2, held=held)
    assert axis.size == 20 - sum(held)
    x, w = legendre(-0.5, 2.0, 97)                                        # other points than the ones they were made on
    phi = axis.jets(x, 0)[0]
    gram = phi.T @ (w[:, None] * phi)
    assert torch.allclose(gram, torch.eye(axis.size).double(), rtol=0, atol=1e-8)      # ε times condition 1e7
    ends = axis.jets(torch.tensor([-0.5, 2.0]).double(), 1)
    slopes = axis.jets(x, 1)[1].abs().max()
    for end, count in enumerate(held):
        for k in range(count):
            assert float(ends[k, end].abs().max()) < 1e-8 * float(slopes if k else phi.abs().max())


def test_a_periodic_axis_is_periodic_with_its_derivatives():
    ends = GaussianAxis(-1, 2, 8, 1.5, periodic=True).jets(torch.tensor([-1.0, 2.0]).double(), 3)
    for order in ends:
        assert torch.allclose(order[0], order[1], rtol=0, atol=1e-10 * float(order.abs().max()))


def test_its_jacobian_is_that_of_a_linear_field_and_gauss_newton_and_varpro_solve_with_it():
    problem = load_problem("helmholtz", {})
    found = {}
    for optimizer, steps in (("varpro", 1), ("gauss-newton", 12)):
        recipe = dict(model=dict(name="gaussian-lattice", centres=(20, 14), overlap=1.2), optimizer=optimizer,
                      points=1500, steps=steps, sampler="sobol", seed=1)
        found[optimizer] = sciml.solve(problem, **recipe)
    # 2.2 centres per half wave inside: what the lattice can do, by either method
    assert found["varpro"].relative_l2()["u"] < 5e-3
    assert found["gauss-newton"].relative_l2()["u"] == pytest.approx(found["varpro"].relative_l2()["u"], rel=0.1)


# ---- the direct solution ---------------------------------------------------------------------------------------------


def dense(D, first=1.0):
    """Matrices of which some have ill-conditioned eigenvectors, and one that is symmetric."""
    chain = torch.diag(torch.full((7,), 2.0)) + torch.diag(torch.full((6,), 30.0), 1)
    symmetric = random(5, 5)
    return [chain.double(), symmetric + symmetric.T + 9 * torch.eye(5).double(),
            (chain[:4, :4] + 0.5).double()][:D]


@pytest.mark.parametrize("D", [1, 2, 3])
def test_a_sum_of_operators_is_inverted_whether_or_not_they_have_eigenvectors(D):
    matrices, constant = dense(D), 0.7
    F = random(*[len(M) for M in matrices], seed=5)
    total = constant * torch.eye(F.numel()).double()
    for d in range(D):
        parts = [M if k == d else torch.eye(len(M)).double() for k, M in enumerate(matrices)]
        block = parts[0]
        for part in parts[1:]:
            block = torch.kron(block, part)
        total += block
    want = torch.linalg.solve(total, F.reshape(-1)).reshape(F.shape)
    W, left_out = solve_sum(matrices, constant, F, 1e-13)
    assert left_out == 0
    assert torch.allclose(W, want, rtol=1e-8, atol=1e-10 * float(want.abs().max()))


def galerkin(objective, ticks, weights, X):
    """Values at X of the coefficients for which Φᵀ ω r = 0, by a dense least-squares solution."""
    (block,) = objective.blocks
    field = getattr(objective.field, "network", objective.field)
    grid = sciml.Points(torch.cartesian_prod(*ticks).reshape(-1, len(ticks)), objective.problem.coordinates)
    omega = weights[0]
    for w in weights[1:]:
        omega = torch.kron(omega, w)
    with torch.no_grad():
        field.weight.zero_()
    r, J = objective.jacobian(block, grid)
    Phi = field.features(grid.X, IndexSet.closure((), len(ticks)))[0]
    test = (omega[:, None] * Phi).T
    W = torch.linalg.lstsq(test @ J[:, 0], -(test @ r[:, 0]), driver="gelsd").solution
    with torch.no_grad():
        field.weight.copy_(W[None])
        return objective.field(X)


LINEAR = {
    1: Problem(Box(x=(0, 2)), "u", [Equation(lambda u, x: u.xx + 0.5 * u.x - 3 * u - torch.exp(x)),
                                    Dirichlet(u=1.0, on="x-"), Dirichlet(u=-2.0, on="x+")]),
    2: Problem(Box(x=(0, 2), t=(0, 1)), "u", [
        Equation(lambda u, x, t: u.t + 2 * u.x - 0.1 * u.xx - torch.cos(x) * t), Initial(u=lambda x: x * (2 - x)),
        Dirichlet(u=0.0, on=["x-", "x+"])]),
    3: Problem(Box(x=(0, 1), y=(0, 1), z=(-1, 1)), "u", [
        Equation(lambda u, x, y, z: laplacian(u) + u.z + u - torch.exp(x * y) * z),
        Dirichlet(u=lambda x, y, z: x + y * z)])}


@pytest.mark.parametrize("D", LINEAR)
def test_the_solution_is_that_of_the_dense_galerkin_equations(D):
    centres = {1: 20, 2: (14, 13), 3: (10, 9, 11)}[D]
    problem = LINEAR[D]
    recipe = make_recipe({}, dict(model=dict(name="gaussian-lattice", centres=centres, overlap=1.0),
                                  optimizer="kronecker", points=50))
    training = Training(problem, recipe)
    rules = [axis.quadrature() for axis in separated(training.objective, evaluate=False).axes]
    X = problem.region.sample(40, generator=generator()).X
    list(training.run())
    have = training.objective.field(X).detach()
    want = galerkin(training.objective, [x for x, _ in rules], [w for _, w in rules], X)
    # both invert matrices of condition up to 1e6 in float64
    assert float((have - want).abs().max()) < 1e-9 * float(want.abs().max())


def test_the_projected_second_derivative_has_the_eigenvalues_of_a_string():
    axis = GaussianAxis(0, pi, 30, 1.5, held=(1, 1))
    _, Q, D = projected(axis, *axis.quadrature(), {2: 1.0}, 1e-13)
    assert torch.allclose(Q.T @ Q, torch.eye(len(D)).double(), rtol=0, atol=1e-12)
    values = np.sort(-np.linalg.eigvals(D.numpy()).real)[:8]
    assert np.allclose(values, np.arange(1, 9) ** 2, rtol=1e-7)


def lattice(problem, **options):
    given = {"optimizer": "kronecker", "constraints": "hard", "points": 200, **options}
    model = dict(name="gaussian-lattice", **{k: given.pop(k) for k in ("centres", "overlap", "ghosts") if k in given})
    return sciml.solve(problem, model=model, **given)


@pytest.mark.parametrize("name, centres, bound", [
    ("helmholtz", 28, 1e-8), ("poisson", 28, 1e-8), ("heat", 28, 1e-7), ("wave", 40, 1e-4), ("convection", 100, 1e-6)])
def test_linear_problems_with_constant_coefficients_are_solved_in_one_step(name, centres, bound):
    solution = lattice(name, centres=centres)
    assert solution.status == "ok" and solution.history[-1]["step"] == 1
    assert solution.relative_l2()["u"] < bound                    # some ten times what is found: 4e-10, …, 2e-7


def test_ghosts_beyond_the_ends_are_what_makes_a_lattice_accurate():
    without, with_them = (lattice("helmholtz", centres=28, ghosts=g).relative_l2()["u"] for g in (0, None))
    assert with_them < 1e-3 * without


def test_a_lift_takes_data_that_are_not_zero():
    exact = lambda x, y: torch.exp(x) * torch.sin(y) + x * y
    problem = Problem(Box(x=(0, 1), y=(0, 2)), "u", [Equation(lambda u: laplacian(u)), Dirichlet(u=exact)],
                      reference=dict(u=exact))
    assert lattice(problem, centres=24).relative_l2()["u"] < 1e-8


def test_at_a_resonance_what_has_no_solution_is_left_out_and_counted():
    exact = lambda x, y: torch.sin(x) * torch.cos(2 * y)
    problem = Problem(Box(x=(0, 2 * pi), y=(0, 2 * pi)), "u", [
        Equation(lambda u, x, y: laplacian(u) + 5 * exact(x, y)), Periodic(on="x"), Periodic(on="y")],
        reference=dict(u=exact))
    solution = lattice(problem, centres=20, **{"kronecker.guard": 1e-10})
    assert solution.history[-1]["left_out"] == 1                  # the constant
    assert solution.relative_l2()["u"] < 1e-7


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_of_one_step_resumes_to_the_second_and_keeps_its_results(tmp_path):
    options = dict(model=dict(name="gaussian-lattice", centres=18), optimizer="kronecker", points=60)
    whole = sciml.solve("helmholtz", steps=2, **options)
    first = sciml.solve("helmholtz", steps=1, out=tmp_path, **options)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "ok"
    second = sciml.solve("helmholtz", steps=2, out=tmp_path, resume=True, **options)
    assert second.history[-1]["step"] == 2 and first.history[-1]["step"] == 1
    assert torch.equal(second.objective.field.weight, whole.objective.field.weight)
    stored = sciml.Solution.load(tmp_path)
    assert stored.relative_l2() == pytest.approx(second.relative_l2(), rel=1e-12)


def test_a_budget_of_seconds_does_not_repeat_a_direct_solution():
    solution = lattice("helmholtz", centres=18, time=30)
    assert solution.status == "ok" and solution.history[-1]["step"] == 1


square = Box(x=(0, 1), y=(0, 1))
zero = Dirichlet(u=0.0)
REFUSED = {
    "not linear in u": (Problem(square, "u", [Equation(lambda u: laplacian(u) + u**2 - 1), zero]), {}),
    "has u.xy": (Problem(square, "u", [Equation(lambda u: u.xx + u.xy + u.yy - 1), zero]), {}),
    "that of u.xx in .* varies": (Problem(square, "u", [Equation(lambda u, y: y * u.xx + u.yy - 1), zero]), {}),
    "'dirichlet' is not": (Problem(square, "u", [Equation(lambda u: laplacian(u) - 1), zero]), {"constraints": "soft"}),
    "this problem has 2 and 0": (Problem(square, ["u", "v"], [Equation(lambda u, v: (laplacian(u) + v, laplacian(v))),
                                                           Dirichlet(u=0.0, v=0.0)]), {}),
    "has 1 and 1 parameters": (Problem(square, "u", [Equation(lambda u, k: k * laplacian(u) - 1), zero],
                                     parameters=dict(k=Unknown(1.0))), {}),
    "solves one equation, and this problem has 2": (Problem(square, "u", [
        Equation(lambda u: laplacian(u) - 1), Equation(lambda u: u.xx - 1, name="other"), zero]), {}),
    "needs dtype=float64": (Problem(square, "u", [Equation(lambda u: laplacian(u) - 1), zero]), {"dtype": "float32"}),
    "this field is none": (Problem(square, "u", [Equation(lambda u: laplacian(u) - 1), zero]), {"model": "mlp"}),
    "leave precondition= out": (Problem(square, "u", [Equation(lambda u: laplacian(u) - 1), zero]),
                                {"precondition": "lu"}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_not_separable_is_refused_in_a_sentence(sentence):
    problem, options = REFUSED[sentence]
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve(problem, **{"model": "gaussian-lattice", "optimizer": "kronecker", "points": 50, **options})


@pytest.mark.parametrize("options, sentence", [
    ({"model.overlap": 0.0}, "model.overlap=0.0 must be a scale over a distance"),
    ({"model.ghosts": -1}, "model.ghosts=-1 must be a whole number of at least 0"),
    ({"model.centres": 8, "model.ghosts": 5}, "take at least 12, a smaller overlap or fewer ghosts"),
    ({"model.centres": (20, 20, 20)}, "has 3 numbers, and the problem 2 coordinates"),
    ({"model.centres": 2.5}, "must be a whole number"),
    ({"kronecker.rcond": 0.0}, "kronecker.rcond=0.0 must lie between 0 and 1"),
    ({"kronecker.guard": 2.0}, "kronecker.guard=2.0 must lie between 0 and 1"),
])
def test_a_wrong_option_gets_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve("helmholtz", **{"model": "gaussian-lattice", "optimizer": "kronecker", **options})


def test_a_grid_that_does_not_fit_into_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr("sciml.objective.tensor.free_memory", lambda device: 10**6)
    with pytest.raises(ProblemError, match="for a grid of 36 × 36 points, and 977 KiB are free"):
        lattice("helmholtz", centres=18)


@pytest.mark.parametrize("problem, sentence", [
    (Problem(sciml.Disk(radius=1.0), "u", [Equation(lambda u: laplacian(u) - 1), zero]), "needs a problem on a Box"),
    (Problem(square, ["u", "v"], [Equation(lambda u, v: (laplacian(u) + v, laplacian(v))), Dirichlet(u=0.0)]),
     "data on different faces"),
])
def test_a_tensor_product_is_for_boxes_with_the_same_data_for_all_unknowns(problem, sentence):
    with pytest.raises(ProblemError, match=sentence):
        build_objective(problem, make_recipe({}, dict(model="gaussian-lattice", constraints="hard")))


def test_without_hard_constraints_such_data_stay_in_the_loss():
    problem = Problem(square, ["u", "v"], [Equation(lambda u, v: (laplacian(u) + v, laplacian(v))), Dirichlet(u=0.0)])
    objective, ansatz = build_objective(problem, make_recipe({}, dict(model="gaussian-lattice")))
    assert not ansatz.satisfied and "different faces" in ansatz.refused["u"]
    assert objective.field.sizes == (28, 28)


@pytest.mark.parametrize("options", [
    dict(engine="nested", optimizer="gauss-newton", steps=2), dict(optimizer="adam", steps=3, batch=20),
    dict(optimizer="ssbroyden", steps=3), dict(optimizer="engd-w", steps=2),
    dict(optimizer="gauss-newton-cg", steps=2)])
def test_it_trains_by_every_kind_of_method(options):
    solution = sciml.solve("helmholtz", model=dict(name="gaussian-lattice", centres=14), points=150, **options)
    assert solution.history[-1]["loss"] < solution.history[0]["loss"]


@pytest.mark.parametrize("model", ["gaussian-lattice", "gp"])
def test_its_pass_compiles_without_breaks(model):
    recipe = make_recipe({}, dict(model=dict(name=model, centres=14, components=3, frequencies=2.0), points=20))
    objective, _ = build_objective(load_problem("helmholtz", {}), recipe)
    with torch.no_grad():
        getattr(objective.field, "network", objective.field).weight.fill_(0.1)
    (block,) = objective.blocks
    points = objective.problem.region.sample(20, generator=generator())
    want = objective.values(block, points)
    objective.compile_pass(backend="eager")
    assert torch.allclose(objective._pass(block, points), want, rtol=1e-9)
