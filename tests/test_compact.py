"""Gaussians that end at a radius: pairs, closed-form derivatives, sparse Jacobians, least squares."""

from math import pi

import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Equation, Initial, Integral, Periodic, Problem, ProblemError, laplacian
from sciml.calculus.compact import half_widths, pair_streams, profile, squares, widened
from sciml.calculus.compact_sums import compact_sums, near_pairs
from sciml.calculus.engines import NestedReverse, TaylorForward
from sciml.calculus.indices import IndexSet
from sciml.calculus.jacobian import taped_jacobian, vmapped_jacobian
from sciml.calculus.pairs import Pairs, find_pairs
from sciml.calculus.sparse import SparseJacobian, sparse_rows
from sciml.fields.gaussian import COVARIANCES, GaussianField, covariances
from sciml.objective import build_objective, make_recipe
from sciml.optim import LeastSquares
from sciml.optim.least_squares import _Triangle
from sciml.optim.sparse import SparseEquations

KINDS = [(d, kind) for d in (1, 2, 3) for kind in COVARIANCES if d > 1 or kind != "full"]
CUTOFF = 3.0


def gaussians(d, kind, generator, outputs=1, train="amplitudes", periods=None, cutoff=CUTOFF, M=9):
    centres = torch.rand(M, d, generator=generator, dtype=torch.float64)
    scales = 0.05 + 0.3 * torch.rand(M, d, generator=generator, dtype=torch.float64)
    field = GaussianField(centres, scales, outputs, kind, train, periods, cutoff=cutoff)
    with torch.no_grad():
        field.amplitudes.copy_(torch.randn(outputs, M, generator=generator, dtype=torch.float64))
        if field.rotations is not None:
            field.rotations.copy_(torch.randn(field.rotations.shape, generator=generator, dtype=torch.float64))
    return field


class Plain(torch.nn.Module):
    """The same field by the definition, for autograd."""

    def __init__(self, field):
        super().__init__()
        self.field = field

    def forward(self, X):
        field = self.field
        log_s = field.log_scales.expand(-1, field.dimension)
        Sigma = torch.diag_embed(torch.exp(2 * log_s)) if field.rotations is None else \
            covariances(log_s, field.rotations)
        Sigma = Sigma * (1 + 8 / field.cutoff**2)
        delta = X[:, None, :] - field.centres
        q = torch.einsum("nmj,mjk,nmk->nm", delta, torch.linalg.inv(Sigma), delta)
        return (torch.exp(-q / 2) * (1 - q / field.cutoff**2).clamp(min=0) ** 4) @ field.amplitudes.T


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_derivatives_to_order_three_are_those_of_nested_autograd(d, kind, generator, monkeypatch):
    monkeypatch.setattr("sciml.calculus.pairs.CANDIDATES", 20)                       # a few points at a time
    field = gaussians(d, kind, generator, outputs=2)
    X = 3 * torch.rand(30, d, generator=generator, dtype=torch.float64) - 1          # many see nothing
    top = [a for a in IndexSet.closure([(3,) * d], d).indices if sum(a) <= 3]
    ours = TaylorForward().derivatives(field, X, {"u": set(top), "v": set(top)}, ("u", "v"))
    nested = NestedReverse().derivatives(Plain(field), X, {"u": set(top), "v": set(top)}, ("u", "v"))
    for key, values in nested.items():
        assert torch.allclose(ours[key], values, rtol=1e-9, atol=1e-9 * float(values.detach().abs().max())), key


def test_the_fourth_derivative_is_right_on_both_sides_of_its_jump():
    q = torch.linspace(0.1, 12, 200, dtype=torch.float64).requires_grad_()
    here = torch.exp(-q / 2) * (1 - q / 9).clamp(min=0) ** 4
    for m, ours in enumerate(profile(q.detach(), 3.0, 6)):
        assert torch.allclose(ours, 2**m * here.detach(), atol=1e-12), m
        here = torch.autograd.grad(here.sum(), q, create_graph=True)[0]


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_sums_have_the_first_and_second_gradients_of_finite_differences(d, kind, generator, monkeypatch):
    monkeypatch.setattr("sciml.calculus.pairs.CANDIDATES", 10)
    field = gaussians(d, kind, generator, outputs=2, M=4)
    X = torch.rand(4, d, generator=generator, dtype=torch.float64)
    indices = IndexSet.closure([(2,) + (0,) * (d - 1)], d)
    given = [t.detach().clone().requires_grad_() for t in (X, field.centres, field.shape(), field.amplitudes)]
    even = (lambda s: s) if given[2].ndim == 2 else (lambda s: (s + s.mT) / 2)
    sums = lambda X, mu, s, a: compact_sums(X, mu, even(s), a, indices, 4.0)
    assert torch.autograd.gradcheck(sums, given, atol=1e-5, rtol=1e-5)
    assert torch.autograd.gradgradcheck(sums, given, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_pairs_are_those_of_brute_force(d, generator, device, monkeypatch):
    monkeypatch.setattr("sciml.calculus.pairs.CANDIDATES", 3000)
    X = (2 * torch.rand(400, d, generator=generator, dtype=torch.float64) - 0.5).to(device)
    mu = torch.rand(200, d, generator=generator, dtype=torch.float64).to(device)
    log_s = torch.log(0.02 + 0.2 * torch.rand(200, d, generator=generator, dtype=torch.float64) ** 3).to(device)
    found, last = [], 0
    for rows, pairs in near_pairs(X, mu, log_s, CUTOFF):
        assert rows.start == last and bool((pairs.rows.diff() >= 0).all())
        found += [(rows.start + n, i) for n, i in zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True)]
        last = rows.stop
    q = ((X[:, None] - mu) / log_s.exp()).square().sum(2)
    assert last == len(X) and len(found) == len(set(found))
    assert set(found) == {(n, i) for n, i in torch.nonzero(q < CUTOFF**2).tolist()}


def test_points_that_no_gaussian_reaches_see_zero(device):
    field = GaussianField(torch.zeros(3, 2, dtype=torch.float64), torch.ones(3), cutoff=3.0).to(device)
    X = torch.full((5, 2), 1e6, dtype=torch.float64, device=device)
    X[1] = -1e300
    assert not field(X).any() and field(X).shape == (5, 1)
    assert field(X[:0]).shape == (0, 1)


def test_sums_over_pairs_are_adjoint_and_the_same_bits_every_time(generator, device):
    field = gaussians(2, "diagonal", generator, train="shapes", M=200).to(device)
    X = torch.rand(3000, 2, generator=generator, dtype=torch.float64).to(device)

    def gradients():
        field.zero_grad()
        value = field(X).square().sum()
        value.backward()
        return [value.detach(), *(p.grad.clone() for p in field.parameters())]

    for a, b in zip(gradients(), gradients(), strict=True):
        assert torch.equal(a, b)
    pairs = Pairs.all(3, 4, X.device)
    v, w = torch.randn(12, 2, dtype=X.dtype, device=device), torch.randn(4, 2, dtype=X.dtype, device=device)
    assert torch.allclose((pairs.over_points(v) * w).sum(), (v * pairs.at_gaussians(w)).sum())
    assert torch.allclose(pairs.over_gaussians(v), v.reshape(3, 4, 2).sum(1))


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_jacobians_by_entries_and_by_columns_are_those_of_reverse_mode(d, kind, generator):
    second, zero = (2,) + (0,) * (d - 1), (0,) * d
    X = torch.rand(6, d, generator=generator, dtype=torch.float64)
    residual = lambda u: u["unknown", "u", second] * u["unknown", "u", zero]

    class Wrapper(torch.nn.Module):
        def __init__(self, field):
            super().__init__()
            self.field = field

        def forward(self, X):
            return residual(TaylorForward().derivatives(self.field, X, {"u": {second, zero}}, ("u",)))

    for train in ("amplitudes", "shapes"):
        field = gaussians(d, kind, generator, train=train)
        tape: list = []
        u = TaylorForward().derivatives(field, X, {"u": {second, zero}}, ("u",), tape)
        parameters = [p for p in field.parameters() if p.requires_grad]
        ours = taped_jacobian(residual(u)[:, None], tape, parameters)[:, 0]
        oracle = vmapped_jacobian(lambda values, x, field=field: torch.func.functional_call(
            Wrapper(field), {f"field.{k}": v for k, v in values.items()}, (x[None],)), field, X)[:, 0]
        assert torch.allclose(ours, oracle, rtol=1e-8, atol=1e-10 * float(oracle.abs().max()))
        if train == "amplitudes":
            by_entries = sparse_rows(residual(u)[:, None], tape, parameters)
            assert abs(by_entries.toarray() - oracle.numpy()).max() < 1e-10 * float(oracle.abs().max())
            assert by_entries.nnz < oracle.numel()


def wave(x, y):
    return torch.sin(2 * pi * x) * torch.sin(pi * y)


MEMBRANE = dict(domain=Box(x=(-1, 1), y=(-1, 1)), unknowns="u", reference=dict(u=wave), conditions=[
    Equation(lambda u, x, y: laplacian(u) + 5 * pi**2 * wave(x, y)), Dirichlet(u=0.0)])
CASES = {
    "nonlinear": dict(MEMBRANE, conditions=[Equation(lambda u, x, y: laplacian(u) + u**3 - x), Dirichlet(u=0.0),
                                            Integral(lambda u: u, equals=0.3)]),
    "periodic": dict(domain=Box(x=(0, 1), t=(0, 1)), unknowns=("u", "v"), conditions=[
        Equation(lambda u, v: (u.t - v.x, v.t - u.x + u**2)), Periodic("x"),
        Initial(u=lambda x: torch.sin(2 * pi * x), v=0.0)]),
    "inverse": dict(domain=Box(x=(0, 1)), unknowns="u", parameters=dict(k=sciml.Unknown(0.2)), conditions=[
        Equation(lambda u, x, k: k * u.xx + x), Dirichlet(u=0.0)]),
}


@pytest.mark.parametrize("mode", ["soft", "auto"])
@pytest.mark.parametrize("case", CASES)
def test_the_jacobian_of_a_problem_by_its_entries_is_the_matrix(case, mode, monkeypatch):
    problem = Problem(**CASES[case])
    model = dict(name="gaussian", centres=16 if len(problem.coordinates) == 1 else 8, cutoff=CUTOFF, polynomial=1)
    objective, _ = build_objective(problem, make_recipe({}, {"model": model, "constraints": mode, "points": 60}))
    generator = torch.Generator().manual_seed(0)
    for block in objective.blocks:
        if block.name not in objective.points:
            objective.points[block.name] = block.region.sample(60, generator=generator).reorder(problem.coordinates)
    with torch.no_grad():
        for p in objective.trainable:
            p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype))
    r, J = objective.linearize()
    s, S = objective.linearizer.sparse()
    monkeypatch.setattr("sciml.objective.linearize.FEW", 9.0)                # small fields see all of themselves
    assert objective.linearizer.sees_few() and torch.equal(r, s) and torch.allclose(r, objective.residual())
    dense = torch.from_numpy(S.matrix.toarray())
    assert torch.allclose(dense, J, rtol=1e-9, atol=1e-11 * float(J.abs().max()))
    v, w = torch.randn(J.shape[1], dtype=J.dtype), torch.randn(J.shape[0], dtype=J.dtype)
    assert torch.allclose(S @ v, J @ v) and torch.allclose(S.transposed(w), J.T @ w)


@pytest.mark.parametrize("full", [0, 3])
@pytest.mark.parametrize("damping", [1e-24, 1e-3])
def test_sparse_equations_are_solved_as_by_orthogonal_factorisation(damping, full, generator):
    from scipy import sparse
    P, R = 200, 700
    centre = torch.linspace(0, 1, P)[None]
    x = torch.rand(R, 1, generator=generator, dtype=torch.float64)
    J = torch.exp(-0.5 * ((x - centre) * P / 1.2) ** 2) * ((x - centre).abs() * P < 6)
    J = torch.cat([J * 10.0 ** (torch.arange(P) % 5), torch.cos(3 * x * torch.arange(1, full + 1)),
                   torch.zeros(R, 1)], dim=1)[:, torch.randperm(P + full + 1, generator=generator)]
    b = torch.randn(R, generator=generator, dtype=torch.float64)
    dense, ours = _Triangle(J), SparseEquations(SparseJacobian(sparse.csr_matrix(J.numpy()), b))
    assert ours.factor(damping) and dense.factor(damping)
    want, found = dense.solve(b), ours.solve(b)
    assert torch.allclose(found, want, rtol=1e-7, atol=1e-9 * float(want.abs().max()))
    assert ours.banded and ours.band < 60 and bool(torch.isinf(ours.scale).sum() == 1)
    assert 1 <= ours.condition < 1e8


def test_a_least_squares_step_takes_either_form_of_the_jacobian(generator):
    from scipy import sparse
    J = torch.randn(40, 8, generator=generator, dtype=torch.float64)
    b = torch.randn(40, generator=generator, dtype=torch.float64)
    found = []
    for form in (lambda: J, lambda: SparseJacobian(sparse.csr_matrix(J.numpy()), b)):
        theta = torch.nn.Parameter(torch.zeros(8, dtype=torch.float64))
        optimizer, residual = LeastSquares([theta]), lambda theta=theta: (J @ theta - b).detach()
        optimizer.step(lambda form=form, residual=residual: (residual(), form()), residual)
        assert optimizer.converged
        found.append(theta.detach())
    assert torch.allclose(*found, rtol=1e-10)


def solve(**options):
    return sciml.solve(Problem(**MEMBRANE), **{"model": "gaussian", "seed": 0, "constraints": "soft", **options,
                                               "model.overlap": 1.2, "points": 1800})


def test_a_radius_costs_no_accuracy_and_ghosts_that_nothing_sees_no_numbers():
    dense = solve(**{"model.centres": 22}).relative_l2()["u"]
    ends = solve(**{"model.centres": 22, "model.cutoff": 5.0})
    assert ends.status == "ok" and ends.relative_l2()["u"] < 3 * dense < 1e-4
    short = solve(**{"model.centres": 22, "model.cutoff": 3.0, "model.ghosts": 5})             # corners see no row
    assert short.status == "ok" and short.relative_l2()["u"] < 1e-2


def test_values_and_slopes_pass_the_radius_without_a_jump():
    field = GaussianField(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1), cutoff=4.0)
    with torch.no_grad():
        field.amplitudes.fill_(1.0)
    r = 4.0 * widened(4.0) + torch.linspace(-1e-4, 1e-4, 4001, dtype=torch.float64)
    X = torch.stack([0.6 * r, 0.8 * r], 1).requires_grad_()
    u = field(X)
    slope = torch.autograd.grad(u.sum(), X)[0]
    u = u.detach()
    assert bool(u[0] > 0) and not u[-1].any()
    for values in (u, slope):
        assert float(values.diff(dim=0).abs().max()) < 1e-14


def test_refinement_keeps_the_radius():
    from sciml.fields import gaussians_of
    solution = sciml.solve("peak", set={"model.cutoff": 5.0, "refine.most": 500, "refine.rounds": 3})
    found = gaussians_of(solution.field)
    assert found.cutoff == 5.0 and found.count > 196 and solution.relative_l2()["u"] < 0.3


@pytest.mark.parametrize("cutoff", [1.0, float("nan"), -4.0])
def test_a_radius_that_makes_no_sense_is_refused(cutoff):
    with pytest.raises(ProblemError, match="at least 2 scales"):
        sciml.solve(Problem(**MEMBRANE), model="gaussian", set={"model.cutoff": cutoff})


def test_half_widths_bound_the_supports(generator):
    field = gaussians(2, "full", generator)
    shape = field.shape().detach()
    X = field.centres.detach()[:, None] + half_widths(shape, 3.0)[:, None] * \
        (4 * torch.rand(9, 400, 2, generator=generator, dtype=torch.float64) - 2)
    delta = X - field.centres.detach()[:, None]
    inside = torch.stack([squares(d, torch.linalg.inv(shape)[i].expand(400, 2, 2)) < 9 for i, d in enumerate(delta)])
    assert inside.any() and bool((delta.abs() <= half_widths(shape, 3.0)[:, None])[inside].all())


def test_streams_of_chosen_pairs_are_columns_of_all(generator):
    field = gaussians(2, "diagonal", generator)
    X, shape = torch.rand(5, 2, generator=generator, dtype=torch.float64), field.shape().detach()
    indices = IndexSet.closure([(1, 1)], 2)
    whole = pair_streams(X, field.centres, shape, Pairs.all(5, 9), indices, 3.0).reshape(-1, 5, 9)
    for rows, pairs in find_pairs(X, field.centres, half_widths(shape, 3.0), lambda d, c: c >= 0):
        some = pair_streams(X[rows], field.centres, shape, pairs, indices, 3.0)
        assert torch.equal(some, whole[:, pairs.rows + rows.start, pairs.columns])


@pytest.mark.parametrize("option", [{"model.cutoff": 5.0}, {"model.slabs": 2}])
def test_passes_that_depend_on_the_points_are_not_compiled(option):
    problem = Problem(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: u.t - u.xx), Initial(u=0.0), Dirichlet(u=1.0)])
    with pytest.raises(ProblemError, match=f"compile .* {next(iter(option))}"):
        sciml.solve(problem, model="gaussian", optimizer="adam", compile=True, steps=1, set=option, constraints="soft")


def test_what_is_not_finite_shows(generator):
    field = gaussians(2, "diagonal", generator, train="shapes")
    X = torch.rand(100, 2, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        field.log_scales[3, 0] = torch.nan
    assert not torch.isfinite(field(X)).all()
    field = gaussians(2, "diagonal", generator)
    X[7, 1] = torch.nan
    found = field(X)
    assert torch.isnan(found[7]).all() and torch.isfinite(found[8:]).all()


def test_a_residual_that_is_not_finite_is_named():
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u, x: u.x + torch.sqrt(u - u * (1 + 0 * x)) - 1), Dirichlet(u=0.0)])
    found = sciml.solve(problem, model="gaussian", set={"model.cutoff": 5.0})
    assert "not finite" in found.status


def test_equations_without_any_entry_have_the_solution_zero():
    from scipy import sparse
    b = torch.ones(3, dtype=torch.float64)
    ours = SparseEquations(SparseJacobian(sparse.csr_matrix((3, 2)), b))
    assert ours.factor(1e-3) and torch.equal(ours.solve(b), torch.zeros(2, dtype=torch.float64))


def test_rows_that_see_most_of_the_field_take_the_dense_way():
    cube = Problem(domain=Box(x=(0, 1), y=(0, 1), z=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: laplacian(u) - 1), Dirichlet(u=0.0)])
    few = {}
    for cutoff in (5.0, 2.0):
        model = dict(name="gaussian", centres=10, cutoff=cutoff, overlap=1.0)
        objective, _ = build_objective(cube, make_recipe({}, {"model": model, "constraints": "soft"}))
        for block in objective.blocks:
            objective.points[block.name] = block.region.sample(100, generator=torch.Generator().manual_seed(0))
        few[cutoff] = objective.linearizer.sees_few()
    assert few == {5.0: False, 2.0: True}


def test_a_jacobian_that_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("sciml.optim.memory.free_memory", lambda device: 2**20)
    found = sciml.solve(Problem(**MEMBRANE), model="gaussian", set={"model.cutoff": 4.0, "model.centres": 40})
    assert "entries needs" in found.status
