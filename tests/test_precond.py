"""Preconditioned losses: linear maps of residual rows against dense matrices, closed forms and finite differences."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch
from scipy import fft
from scipy.sparse.linalg import splu
from small import command

import sciml
from sciml import Box, Dirichlet, Disk, Equation, Initial, Neumann, Periodic, Problem, ProblemError, Robin, laplacian
from sciml.bench import preconditioning
from sciml.objective import make_recipe, spectrum, unused_options
from sciml.objective.auto import choose
from sciml.precondition import PRECONDITIONERS, build_preconditioner
from sciml.precondition.differences import line_matrix, stencil
from sciml.precondition.gram import hats, sines
from sciml.precondition.grid import Axis
from sciml.precondition.negative_norm import Spectral, hartley_transform, sine_transform
from sciml.precondition.operator import Solve
from sciml.training import Training

SMALL = dict(model=dict(width=6, depth=2), points=64, steps=2)


def poisson_1d(source=lambda x: pi**2 * torch.sin(pi * x), **options) -> Problem:
    """−u″ = f on (0, 1), u = 0 at the ends; u = sin πx."""
    return Problem(domain=Box(x=(0, 1)), unknowns="u",
                   conditions=[Equation(lambda u, x: -u.xx - source(x), name="poisson"), Dirichlet(u=0.0)],
                   reference=dict(u=lambda x: torch.sin(pi * x)), **options)


def poisson_2d() -> Problem:
    """−Δu = f on a rectangle, u = 0 around it."""
    exact = lambda x, y: torch.sin(pi * x) * torch.sin(pi * y / 2)
    return Problem(domain=Box(x=(0, 1), y=(0, 2)), unknowns="u",
                   conditions=[Equation(lambda u, x, y: -laplacian(u) - 1.25 * pi**2 * exact(x, y)), Dirichlet(u=0.0)],
                   reference=dict(u=exact))


def heat(**initial) -> Problem:
    """u_t = 0.1 u_xx."""
    return Problem(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u",
                   conditions=[Equation(lambda u: u.t - 0.1 * u.xx), Initial(u=lambda x: torch.sin(pi * x)),
                               Dirichlet(u=0.0, on=["x-", "x+"])],
                   reference=dict(u=lambda x, t: torch.exp(-0.1 * pi**2 * t) * torch.sin(pi * x)))


def burgers() -> Problem:
    """u_t + u u_x = 0.05 u_xx, periodic."""
    return Problem(domain=Box(x=(0, 2 * pi), t=(0, 0.5)), unknowns="u",
                   conditions=[Equation(lambda u: u.t + u * u.x - 0.05 * u.xx), Initial(u=lambda x: torch.sin(x)),
                               Periodic(on="x")])


def pair() -> Problem:
    """u″ = v + 1, v″ = u, zero at both ends: two unknowns, one block."""
    return Problem(domain=Box(x=(0, 1)), unknowns="u v",
                   conditions=[Equation(lambda u, v: dict(a=u.xx - v - 1, b=v.xx - u)), Dirichlet(u=0.0, v=0.0)])


CASES = {
    "poisson 1-D": (poisson_1d, {}), "poisson 1-D soft": (poisson_1d, dict(constraints="soft")),
    "poisson 2-D": (poisson_2d, {}), "heat": (heat, {}), "heat soft": (heat, dict(constraints="soft")),
    "burgers": (burgers, {}), "two unknowns": (pair, {}), "two unknowns soft": (pair, dict(constraints="soft")),
}
METHODS = {
    "h-minus-1": {}, "h-minus-2": {}, "h-minus-s": {"h-minus-s.s": 0.7}, "gram": {}, "gram hats": {"gram.tests": "hat"},
    "lu": {}, "ilu": {"ilu.drop": 1e-2}, "lu differences": {"lu.residual": "differences"},
    "ilu differences": {"ilu.residual": "differences"},
}


def training(problem: Problem, method: str, **options) -> Training:
    """A run at its start."""
    name = method.split()[0]
    return Training(problem, make_recipe(problem.defaults, {
        **SMALL, "optimizer": "gauss-newton", **METHODS.get(method, {}), "precondition": name, **options}))


ALL = [pytest.param(case, method, id=f"{case}, {method}") for case in CASES for method in METHODS
       if not (method.startswith("gram") and case == "burgers")]         # refused: its tests vanish at the ends


def dense(transform, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """M, and Mᵀ as `transpose` has it."""
    M = transform.apply(torch.eye(size, dtype=torch.float64))
    return M, transform.transpose(torch.eye(len(M), dtype=torch.float64))


def sizes(objective, transform) -> int:
    """Rows that a transform takes."""
    return sum(objective.row_count(b) * len(b.components) for b in objective.blocks_of(transform))


# ---- every map ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "method"), ALL)
def test_a_map_and_its_transpose_are_adjoint_and_the_zero_set_stays(case, method, generator):
    build, options = CASES[case]
    objective = training(build(), method, **options).objective
    assert objective.transforms
    for t in objective.transforms:
        R = sizes(objective, t)
        r = torch.randn(R, generator=generator, dtype=torch.float64)
        w = torch.randn(len(t.apply(r)), generator=generator, dtype=torch.float64)
        left, right = t.apply(r) @ w, r @ t.transpose(w)
        scale = t.apply(r).norm() * w.norm()
        assert abs(left - right) <= 1e-11 * scale             # sums of about 1e3 terms, and solves with κ < 1e5
        M, adjoint = dense(t, R)
        assert torch.allclose(M @ r, t.apply(r), rtol=0, atol=1e-11 * float(M.abs().sum(1).max()))
        assert torch.allclose(M.T, adjoint, rtol=0, atol=1e-11 * float(M.abs().max()))
        if not method.startswith("gram"):                     # which has fewer tests than points
            singular = torch.linalg.svdvals(M)
            assert M.shape[0] == M.shape[1]
            assert singular[-1] > 1e-9 * singular[0]          # 1e-5 and more, far above rounding


SOME = [p for p in ALL if p.values[0] in ("burgers", "heat soft", "two unknowns")]


@pytest.mark.parametrize(("case", "method"), SOME)
def test_gradient_jacobian_and_loss_go_through_the_map(case, method):
    build, options = CASES[case]
    objective = training(build(), method, **options).objective
    loss = objective.loss()
    want = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, objective.trainable)])
    for p in objective.trainable:
        p.grad = None
    total, _ = objective.backward()
    have = torch.cat([p.grad.reshape(-1) for p in objective.trainable])
    r, J = objective.linearize()
    scale = float(want.abs().max())
    assert torch.allclose(total, loss.detach(), rtol=1e-11)
    assert torch.allclose(have, want, rtol=0, atol=1e-10 * scale)
    assert torch.allclose(2 * J.T @ r, want, rtol=0, atol=1e-9 * scale)
    assert torch.allclose(r, objective.residual(), rtol=0, atol=1e-11 * float(r.abs().max()))


class Exact(torch.nn.Module):
    """A multiple c of sin πx: c = 1 solves Poisson's problem."""

    def __init__(self, c: float):
        super().__init__()
        self.c = torch.nn.Parameter(torch.tensor(c, dtype=torch.float64))

    def forward(self, X):
        return self.c * torch.sin(pi * X[:, :1])


@pytest.mark.parametrize("method", [m for m in METHODS if "differences" not in m])
def test_the_solution_stays_the_minimiser(method):
    problem = poisson_1d()
    recipe = make_recipe({}, {**SMALL, "optimizer": "gauss-newton", **METHODS[method], "steps": 5,
                              "precondition": method.split()[0]})
    for start in (0.3, 1.0):
        run = Training(problem, recipe, network=Exact(start))
        reports = list(run.run())
        assert abs(float(run.objective.field.c.detach()) - 1) < 1e-9           # a linear problem in one number
        assert reports[-1].loss < 1e-18                                        # rounding of u″ over 64 nodes, squared


# ---- H⁻ˢ ------------------------------------------------------------------------------------------------------------


def test_the_sine_transform_is_scipys(generator):
    z = torch.randn(7, 5, 3, generator=generator, dtype=torch.float64)
    for dim in range(3):
        want = fft.dst(z.numpy(), type=1, norm="ortho", axis=dim)
        assert np.allclose(sine_transform(z, dim), want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [6, 7])
def test_the_hartley_transform_is_orthogonal_and_keeps_waves_apart(n, generator):
    H = hartley_transform(torch.eye(n, dtype=torch.float64), 0)
    assert torch.allclose(H @ H, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-14)
    x = 2 * pi * torch.arange(n, dtype=torch.float64) / n
    z = H @ torch.cos(2 * x + 0.3)
    far = [k for k in range(n) if min(k, n - k) != 2]
    assert z[far].abs().max() < 1e-14


@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("s", [1.0, 2.0, 0.5])
def test_the_norm_of_a_sine_is_its_wave_number_to_the_minus_s(k, s):
    axis = Axis("x", "ends", 0.0, 1.0, 24)
    r = torch.sin(k * pi * torch.as_tensor(axis.interior))
    z = Spectral("r", (axis,), 1, s)(r)
    assert float(z.square().sum() / len(z)) == pytest.approx(0.5 / (k * pi) ** (2 * s), rel=1e-12)


def test_the_norm_in_two_dimensions_and_time_is_the_integral_of_the_closed_form():
    axes = (Axis("x", "ends", 0.0, 2.0, 15), Axis("y", "periodic", 0.0, 3.0, 12), Axis("t", "time", 0.0, 1.0, 5))
    x, y, t = (torch.as_tensor(m) for m in np.meshgrid(*(a.interior for a in axes), indexing="ij"))
    r = (torch.sin(2 * pi * x / 2) * torch.cos(2 * pi * 3 * y / 3 + 0.4) * t).reshape(-1)
    z = Spectral("r", axes, 1, 1.0)(r)
    symbol = (2 * pi / 2) ** 2 + (2 * pi * 3 / 3) ** 2
    want = 0.25 / symbol * float((torch.as_tensor(axes[2].interior) ** 2).mean())       # means of sin², cos², t²
    assert float(z.square().mean()) == pytest.approx(want, rel=1e-12)


def test_the_mean_of_a_periodic_residual_counts_like_the_longest_wave():
    axis = Axis("x", "periodic", 0.0, 1.0, 16)
    z = Spectral("r", (axis,), 1, 1.0)(torch.ones(16, dtype=torch.float64))
    assert float(z.square().mean()) == pytest.approx(1 / (2 * pi) ** 2, rel=1e-12)


def test_each_order_of_the_norm_takes_two_powers_of_the_wave_number_off_the_condition():
    """A loss in H⁻ˢ of −u″ over sines up to K has κ = K^{4 − 2s}."""
    K, axis = 8, Axis("x", "ends", 0.0, 1.0, 31)
    x = torch.as_tensor(axis.interior)
    J = torch.stack([(k * pi) ** 2 * torch.sin(k * pi * x) for k in range(1, K + 1)], dim=1)
    for s in (0.0, 1.0, 2.0):
        singular = torch.linalg.svdvals(Spectral("r", (axis,), 1, s)(J))
        assert float((singular[0] / singular[-1]) ** 2) == pytest.approx(K ** (4 - 2 * s), rel=1e-9)


# ---- the dual norm of tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tests", [sines, hats])
def test_the_tests_have_the_gram_matrix_that_is_said(tests):
    L, m = 1.7, 5
    cells = (m + 1) * 200
    x = (np.arange(cells) + 0.5) * L / cells
    V, mu = tests(L, m, x)
    step = 1e-7
    slope = (tests(L, m, x + step)[0] - tests(L, m, x - step)[0]) / (2 * step)
    assert np.allclose(V @ V.T * L / cells, np.eye(m), atol=1e-4)              # midpoint rule, 200 cells per hat
    assert np.allclose(slope @ slope.T * L / cells, np.diag(mu), atol=1e-4 * mu.max())


def test_hats_span_the_hats():
    x = np.linspace(0, 1, 301)
    V, _ = hats(1.0, 4, x)
    hat = np.maximum(1 - np.abs(x * 5 - 2), 0)
    c, *_ = np.linalg.lstsq(V.T, hat, rcond=None)
    assert np.abs(V.T @ c - hat).max() < 1e-12


@pytest.mark.parametrize("tests", ["sine", "hat"])
def test_the_robust_loss_of_a_hat_residual_is_rho_gamma_inverse_rho(tests):
    """Against dense matrices: Γ by exact stiffness or its diagonal, ρ by 20,000 midpoints."""
    run = training(poisson_1d(lambda x: torch.exp(x)), "gram", **{"gram.tests": tests, "gram.modes": 6}, points=70)
    objective = run.objective
    block, (transform,) = objective.blocks[0], objective.transforms
    with torch.no_grad():
        have = float(transform(objective.rows(block, objective.points[block.name]).reshape(-1)).square().mean())
        x = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
        R = objective.rows(block, sciml.points.Points(x[:, None], ("x",)))[:, 0].numpy()
    x = x.numpy()
    if tests == "sine":
        V = np.array([np.sin(j * pi * x) for j in range(1, 7)])
        gram = np.diag([(j * pi) ** 2 / 2 for j in range(1, 7)])
    else:
        h = 1 / 7
        V = np.array([np.maximum(1 - np.abs(x / h - j), 0) for j in range(1, 7)])
        gram = (2 * np.eye(6) - np.eye(6, k=1) - np.eye(6, k=-1)) / h
    rho = V @ R / len(x)
    assert have == pytest.approx(rho @ np.linalg.solve(gram, rho), rel=1e-6)          # midpoints: 1e-8; Gauss: less


# ---- the discretised operator ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_stencils_differentiate_polynomials_exactly(order):
    x = np.array([0.0, -1.3, 0.4, 2.0, 1.1])
    w = stencil(x, order)
    for degree in range(5):
        want = float(np.prod(range(1, order + 1))) if degree == order else 0.0
        assert w @ x**degree == pytest.approx(want, abs=1e-11)


@pytest.mark.parametrize(("kind", "order"), [("ends", 1), ("ends", 2), ("periodic", 1), ("periodic", 2),
                                             ("periodic", 3), ("periodic", 4), ("time", 1)])
def test_difference_matrices_converge_with_order_two(kind, order):
    errors = []
    for n in (40, 80):
        axis = Axis("x", kind, 0.0, 2 * pi, n)
        x = axis.nodes
        derivative = [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin][order - 1]
        gap = line_matrix(axis, order) @ np.sin(x) - derivative(x)
        inside = gap[2:-2] if kind == "ends" else gap[2:]                # one-sided u_xx at an end is of first order
        errors.append(np.abs(inside).max())
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2


def linear_problems():
    common = dict(unknowns="u")
    f = lambda x: torch.exp(x)
    yield "dirichlet", Problem(domain=Box(x=(0, 1)), **common, conditions=[
        Equation(lambda u, x: -u.xx + u.x + u - f(x)), Dirichlet(u=1.0, on="x-"), Dirichlet(u=2.0, on="x+")])
    yield "robin and neumann", Problem(domain=Box(x=(0, 1)), **common, conditions=[
        Equation(lambda u, x: -u.xx + u - f(x)), Robin(on="x-", u=1.0), Neumann(on="x+", u=0.5)])
    yield "inflow", Problem(domain=Box(x=(0, 1)), **common, conditions=[
        Equation(lambda u, x: u.x + 2 * u - f(x)), Dirichlet(u=1.0, on="x-")])
    yield "heat", heat()
    yield "pair", pair()


@pytest.mark.parametrize(("problem", "constraints"), [
    pytest.param(p, c, id=f"{n}, {c}") for n, p in linear_problems() for c in ("auto", "soft")])
def test_through_lu_the_residual_is_the_error(problem, constraints):
    """M r ≈ u_θ − u* at the nodes up to the difference scheme's error: twice the nodes, a quarter of the gap."""
    exact = sciml.solve(problem, optimizer="gauss-newton", points=200, steps=60, model=dict(width=12, depth=2),
                        sampler="grid")
    gaps = []
    for n in (10, 20):
        run = training(problem, "lu", constraints=constraints, **{"lu.nodes": n})
        objective, (t,) = run.objective, run.objective.transforms
        blocks = objective.blocks_of(t)
        with torch.no_grad():
            z = t(torch.cat([objective.rows(b, objective.points[b.name]).reshape(-1) for b in blocks]))
            want = []
            for part in run.preconditioner.layout.parts:
                columns = [problem.unknowns.index(u) for u in part.unknowns]
                X = part.points.X
                want.append((objective.field(X) - exact.field(X))[:, columns].reshape(-1))
            want = torch.cat(want)
        gaps.append(float((z - want).norm() / want.norm()))
    assert gaps[1] < 0.02
    assert gaps[0] / gaps[1] > 2.5                  # order two would be 4 (fewer at few nodes, one-sided ends)


@pytest.mark.parametrize("case", [c for c in CASES if c != "burgers"])
def test_the_residual_by_differences_vanishes_at_the_finite_difference_solution(case):
    """With P = 1 the loss is that of the scheme's own residual; its zero is what a linear solver finds."""
    build, options = CASES[case]
    run = training(build(), "lu differences", **options)
    (t,), pre = run.objective.transforms, run.preconditioner
    A = pre.assemble(run.objective)
    b = A @ t.offset.numpy()
    plain = Solve(t.blocks, None, A, torch.as_tensor(b))
    u = torch.randn(len(b), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert np.allclose(plain(u).numpy(), A @ u.numpy(), rtol=1e-12, atol=1e-12 * abs(A).max())
    solution = torch.as_tensor(splu(A.tocsc()).solve(b))
    assert float((plain(solution) - plain.offset).abs().max()) < 1e-9 * float(np.abs(b).max())
    assert float((t(solution) - t.offset).abs().max()) < 1e-9 * float(solution.abs().max())


def test_the_finite_difference_residual_is_the_textbook_one():
    """−(u_{i−1} − 2u_i + u_{i+1})/h² − f_i with u = 0 at the ends."""
    run = training(poisson_1d(), "lu differences", **{"lu.nodes": 9})
    (t,) = run.objective.transforms
    A = run.preconditioner.assemble(run.objective).toarray()
    want = (2 * np.eye(9) - np.eye(9, k=1) - np.eye(9, k=-1)) * 100
    assert np.allclose(A, want, rtol=0, atol=1e-9)
    x = np.arange(1, 10) / 10
    assert np.allclose(A @ t.offset.numpy(), pi**2 * np.sin(pi * x), rtol=1e-10)
    assert run.objective.stand_ins["poisson"].program.requests == {"u": {(0,)}}        # no derivatives of the field


@pytest.mark.parametrize("method", ["lu", "ilu", "lu differences", "ilu differences", "h-minus-1", "gram"])
def test_the_backward_pass_of_a_map_passes_gradcheck(method, generator):
    objective = training(poisson_1d(), method, points=12).objective
    (t,) = objective.transforms
    r = torch.randn(sizes(objective, t), generator=generator, dtype=torch.float64).requires_grad_()
    scale = 1 / float(t.apply(torch.eye(len(r), dtype=torch.float64)).abs().max())
    assert torch.autograd.gradcheck(lambda r: scale * t(r), (r,))
    assert torch.autograd.gradgradcheck(lambda r: (scale * t(r)).square(), (r,))


def test_the_matrix_of_a_nonlinear_problem_is_the_derivative_of_its_differences():
    """A of Burgers' equation against central differences of R(u) over single nodes."""
    run = training(burgers(), "lu differences", **{"lu.nodes": (6, 4)})
    pre, view = run.preconditioner, run.objective
    assert not pre.linear
    A, U = pre.assemble(view).toarray(), pre._state["values"].clone()
    (part,) = pre.layout.parts

    def residual(values):
        leaves = pre._differenced(view, part, values)
        return part.block.program(leaves, part.points.X[:, 0])[0]

    for column, node in enumerate(part.nodes[:9]):
        up, down = U.clone(), U.clone()
        up[node, 0] += 1e-5
        down[node, 0] -= 1e-5
        want = (residual(up) - residual(down)) / 2e-5
        assert np.allclose(A[:, column], want, rtol=0, atol=1e-8 * np.abs(A).max())


def test_a_nonlinear_problem_is_linearised_anew_and_a_linear_one_is_not():
    for problem, moves in ((burgers(), True), (heat(), False)):
        run = training(problem, "lu", **{"lu.every": 2}, steps=5)
        before = run.preconditioner.assemble(run.objective)
        list(run.run())
        after = run.preconditioner.assemble(run.objective)
        assert (abs(before - after).max() > 0) == moves


def test_a_linearisation_is_restored_from_a_state_on_a_device():
    """Checkpoints are loaded onto the run's device, where tensors have no arrays."""
    class OnDevice(torch.Tensor):
        def numpy(self):
            raise TypeError("on a device")

        def cpu(self):
            return self.as_subclass(torch.Tensor)

    run = training(burgers(), "lu", **{"lu.residual": "differences"})
    before, state = run.preconditioner.transform.offset, run.preconditioner.state_dict()
    run.preconditioner.load_state_dict(run.objective, {**state, "values": state["values"].as_subclass(OnDevice)})
    assert torch.equal(before, run.preconditioner.transform.offset)


def test_newtons_method_by_differences_reaches_the_scheme_of_a_nonlinear_problem():
    """−u″ + u³ = f: regression on the linearised scheme's solution, again and again, solves the nonlinear scheme."""
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u, x: -u.xx + u**3 - 40 * torch.sin(pi * x)), Dirichlet(u=0.0)])
    run = training(problem, "lu differences", **{"lu.nodes": 15, "lu.every": 20}, steps=100)
    list(run.run())
    pre = run.preconditioner
    (part,) = pre.layout.parts
    with torch.no_grad():
        U = run.objective.field(pre.grid.X)
    R = part.block.program({**pre._differenced(run.objective, part, U), ("coordinate", "x", (0,)): part.points.X[:, 0]},
                           part.points.X[:, 0])[0]
    assert float(R.abs().max()) < 1e-5 * 40                 # fifteen values from a network that can take them


def kappa(objective) -> float:
    _, J = objective.linearize()
    singular = torch.linalg.svdvals(J)
    return float((singular[0] / singular[-1]) ** 2)


def test_the_condition_of_a_series_becomes_that_of_a_regression():
    """For a Fourier series κ(JᵀMᵀMJ) through LU is that of its values, up to the scheme's error at the highest wave."""
    problem = Problem(domain=Box(x=(0, 2 * pi)), unknowns="u",
                      conditions=[Equation(lambda u, x: -u.xx + u - torch.cos(x)), Periodic(on="x")])
    options = dict(model=dict(name="fourier", harmonics=6), **{"lu.nodes": 200})
    plain = training(problem, "none", sampler="grid", points=200, model=options["model"])
    assert kappa(plain.objective) == pytest.approx((6**2 + 1) ** 2, rel=1e-6)
    assert kappa(training(problem, "lu", **options).objective) == pytest.approx(1.0, abs=0.02)      # (6h)²/12 = 3e-3


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "sentence"), [
    (dict(precondition="lux"), "unknown preconditioner 'lux'"),
    ({"precondition": "lu", "lu.fill": 3}, "option of preconditioner lu"),
    ({"precondition": "ilu", "ilu.drop": 2.0}, "drop must lie in"),
    ({"precondition": "lu", "lu.every": 0}, "lu.every=0"),
    ({"precondition": "lu", "lu.residual": "weak"}, "lu.residual"),
    ({"precondition": "h-minus-s", "h-minus-s.s": "one"}, "must be a number"),
    ({"precondition": "gram", "gram.tests": "bump"}, "gram.tests"),
    ({"precondition": "gram", "gram.modes": 0}, "gram.modes=0"),
    ({"precondition": "pseudo-time", "pseudo-time.every": 0}, "pseudo-time.every=0"),
    ({"precondition": "pseudo-time", "pseudo-time.weight": -1.0}, "must be positive"),
    (dict(precondition="lu", batch=10, optimizer="adam"), "leave batch out"),
    (dict(precondition="lu", balance="grad-norm", optimizer="adam"), "leave one of them out"),
    (dict(precondition="pseudo-time", optimizer="lbfgs"), "changes the loss at every step"),
    ({"model.gamma": 0.0}, "model.gamma=0.0"),
    ({"model.scale": "symbol"}, "model.scale"),
])
def test_a_recipe_that_makes_no_sense_is_refused_in_one_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make_recipe({}, options)


SCALED = dict(name="fourier", scale="inverse-symbol")


def test_auto_takes_no_line_search_in_pseudo_time():
    """100,000 rows and 1,000 parameters are too much for Gauss–Newton in a minute."""
    recipe = make_recipe({}, dict(precondition="pseudo-time", time=60.0))
    assert choose(1000, 100_000, recipe, 1e9)[0] == "soap"
    assert choose(1000, 100_000, make_recipe({}, dict(time=60.0)), 1e9)[0] == "soap:1000,ssbroyden"


def on_a_disk():
    return Problem(domain=Disk(), unknowns="u", conditions=[Equation(lambda u: laplacian(u) + 1),
                                                            Dirichlet(u=0.0, on="circle")])


def without_conditions():
    return Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u.xx + 1), Neumann(u=0.0)])


def overdetermined():
    return Problem(domain=Box(x=(0, 1)), unknowns="u v", conditions=[
        Equation(lambda u, v: u.xx + v), Dirichlet(u=0.0, v=0.0)])


def beam():
    return Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u.xxxx - 1), Dirichlet(u=0.0)])


def without_start():
    return Problem(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: u.t - u.xx), Dirichlet(u=0.0, on=["x-", "x+"])])


def unstable():
    return Problem(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: u.t - 0.1 * u.xx - 40 * u), Initial(u=lambda x: torch.sin(pi * x)),
        Dirichlet(u=0.0, on=["x-", "x+"])])


@pytest.mark.parametrize(("build", "method", "options", "sentence"), [
    (on_a_disk, "lu", {}, "needs a grid of nodes on a Box"),
    (on_a_disk, "h-minus-1", {}, "needs a grid of nodes on a Box"),
    (poisson_2d, "lu", {"lu.nodes": (4, 4, 4)}, "or one for each of x, y"),
    (without_conditions, "lu", {}, "cannot factorise|amplifies"),
    (overdetermined, "lu", {}, "as many equations as unknowns"),
    (overdetermined, "pseudo-time", {}, "1 equations inside for 2 unknowns"),
    (beam, "lu", {}, "one of order 4"),
    (without_start, "lu", {}, "needs initial data"),
    (unstable, "lu", {"lu.nodes": (4, 200)}, "amplifies residuals"),
    (burgers, "lu", {"constraints": "soft"}, "compares two faces"),
    (burgers, "gram", {}, "periodic"),
    (poisson_1d, "gram", {"gram.modes": 60}, "need at least 120 quadrature points"),
    (poisson_1d, "none", {"model.scale": "inverse-symbol"}, "is for model=fourier"),
    (poisson_1d, "none", {"model": SCALED}, "set constraints=soft"),
    (burgers, "none", {"model": SCALED, "constraints": "soft"}, "constant coefficients"),
    (pair, "none", {"model": SCALED, "constraints": "soft"}, "one equation of one unknown"),
    (poisson_1d, "none", {"model": dict(name="fourier", factorized=True)}, "model.harmonics"),
])
def test_a_problem_that_a_preconditioner_cannot_take_is_refused(build, method, options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        training(build(), method, **options)


@pytest.mark.parametrize("method, weight", [("lu", "weight=9 of condition 'walls'"), ("h-minus-1", "")])
def test_weights_and_points_that_a_preconditioner_leaves_no_room_for_are_named(method, weight):
    equation = lambda factor: Equation(lambda u: u.xx, name="flat", weight=factor, points=7)
    build = lambda factor: Problem(domain=Box(x=(0, 1)), unknowns="u",
                                   conditions=[equation(factor), Dirichlet(u=0.0, weight=9.0, name="walls")])
    runs = [training(build(factor), method, constraints="soft") for factor in (1.0, 4.0)]
    notes = unused_options(runs[0].problem, runs[0].objective)
    assert notes[0].startswith("points=7 of condition 'flat' does nothing") and len(notes) == 1 + bool(weight)
    assert not weight or notes[1].startswith(weight)
    losses = [float(run.objective.residual().square().sum()) for run in runs]
    assert (losses[0] == losses[1]) == (method == "lu")


@pytest.mark.parametrize("method", ["h-minus-1", "gram"])
def test_a_map_lies_where_its_rows_do(method):
    transform = training(poisson_1d(), method, dtype="float32", optimizer="adam").objective.transforms[0]
    assert all(t.dtype == torch.float32 for t in [transform.scale, *getattr(transform, "matrices", [])])


def test_every_preconditioner_has_a_name_that_builds_it():
    for name, cls in PRECONDITIONERS.items():
        assert type(build_preconditioner(name, {})) is cls


# ---- pseudo-time ----------------------------------------------------------------------------------------------------


def stepping(optimizer="adam", **options) -> Training:
    return training(burgers(), "pseudo-time", optimizer=optimizer, sampler="sobol", **{"sobol.every": 2, **options})


def test_pseudo_time_adds_w_times_the_change_of_u_and_no_gradient_of_the_old_one():
    run = stepping(**{"pseudo-time.weight": 2.5}, steps=3)
    list(run.run())
    objective, old = run.objective, run.preconditioner.previous
    run.preconditioner.update(objective, 3)                      # now θ′ are the parameters before the last step
    block, X = objective.blocks[0], objective.points[objective.blocks[0].name]
    now = [p.detach().clone() for p in objective.trainable]
    with torch.no_grad():
        for p, q in zip(objective.trainable, old, strict=True):
            p.copy_(q)
        before = objective.field(X.X)
        for p, q in zip(objective.trainable, now, strict=True):
            p.copy_(q)
    u, r = objective.field(X.X), objective.rows(block, X)
    assert (u - before).abs().max() > 1e-6
    loss = (r + 2.5 * (u - before)).square().mean()
    others = [b for b in objective.blocks if b is not block]
    assert not others
    want = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, objective.trainable)])
    for p in objective.trainable:
        p.grad = None
    total, _ = objective.backward()
    have = torch.cat([p.grad.reshape(-1) for p in objective.trainable])
    assert float(total) == pytest.approx(float(loss.detach()), rel=1e-12)
    assert torch.allclose(have, want, rtol=0, atol=1e-12 * float(want.abs().max()))
    r_, J = objective.linearize()
    assert torch.allclose(2 * J.T @ r_, want, rtol=0, atol=1e-11 * float(want.abs().max()))      # J_r + w J_u


def test_the_weights_of_pseudo_time_stay_in_their_range_and_follow_the_formula():
    run = stepping(**{"pseudo-time.every": 1, "adam.lr": 1e-3, "pseudo-time.shrink": False}, steps=40)
    pre, seen = run.preconditioner, []
    original = pre._adapt

    def adapt(now, before):
        w = dict(pre.weights)
        original(now, before)
        for name, ((u, r), (v, s)) in zip(w, [(now[b.name], before[b.name]) for b in pre.blocks], strict=True):
            raw = float((r - s).norm() / ((u - v).norm() + 1e-8))
            assert pre.weights[name] == pytest.approx(0.9 * w[name] + 0.1 * min(max(raw, 1e-2), 100.0), rel=1e-12)
            seen.append(pre.weights[name])

    pre._adapt = adapt
    list(run.run())
    assert len(seen) == 39 and all(1e-2 <= w <= 100 for w in seen) and len(set(seen)) > 1


def test_the_share_of_pseudo_time_fades_from_one_to_a_tenth_over_six_decades():
    pre = build_preconditioner("pseudo-time", {})
    shares = [pre._share(1.0, 10.0 ** -k) for k in (0, 2, 4, 6, 8)]
    assert shares == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])
    assert build_preconditioner("pseudo-time", {"pseudo-time": {"shrink": False}})._share(1.0, 1e-9) == 1.0


def test_pseudo_time_reports_the_plain_residual():
    run = stepping(**{"pseudo-time.weight": 50.0}, steps=4)
    report = list(run.run())[-1]
    block = run.objective.blocks[0]
    with torch.no_grad():
        plain = float(run.objective.rows(block, run.objective.points[block.name]).square().mean())
    assert report.losses[block.name] == pytest.approx(plain, rel=1e-12)
    assert report.loss != pytest.approx(plain, rel=1e-9)


# ---- Fourier coefficients -------------------------------------------------------------------------------------------


def test_the_features_of_a_series_are_orthonormal():
    problem = Problem(domain=Box(x=(-1, 2), t=(0, 5)), unknowns="u",
                      conditions=[Equation(lambda u: u - 1.0)])
    run = training(problem, "none", model=dict(name="fourier", harmonics=2), sampler="grid", points=144)
    _, J = run.objective.linearize()
    assert J.shape[1] == 25
    assert torch.allclose(15.0 * J.T @ J, torch.eye(25, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_symbol_of_an_equation_scales_its_waves():
    problem = Problem(domain=Box(x=(0, 2 * pi), t=(0, 2 * pi)), unknowns="u",
                      conditions=[Equation(lambda u: u.t + 10 * u.x), Initial(u=lambda x: torch.sin(x))])
    run = training(problem, "none", constraints="soft",
                   model=dict(name="fourier", harmonics=2, scale="inverse-symbol", gamma=0.25))
    field = run.objective.field
    for kappa_, scale in zip(field.wave_vectors().tolist(), field.scale.tolist(), strict=True):
        size = abs(kappa_[1] + 10 * kappa_[0])
        assert scale == pytest.approx(0.25 if size < 1e-9 else 1 / size)


# ---- tables and spectra ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "plain", "weight", "scaled"), [
    (4, 8.701e2, 3.2e1, {0.1: 47413, 0.3: 672.6, 1.0: 15.22, 3.0: 2.64}),
    (16, 2.051e5, 4.6e2, {0.1: 47718, 0.3: 676.6, 1.0: 15.28, 3.0: 2.64}),
    (64, 5.225e7, 8.3e3, {1.0: 15.28, 3.0: 2.64}),
])
def test_the_condition_of_a_fourier_series_for_poisson_is_the_tables(K, plain, weight, scaled):
    """To the digits that the notes give (three or four), and the closed form of the scaled ones to nine."""
    row = preconditioning.poisson_row(K, tuple(scaled))
    assert row["plain"] == pytest.approx(plain, rel=5e-4)
    assert row["weight"] == pytest.approx(weight, rel=2e-2)                      # two digits are given
    for gamma, want in scaled.items():
        w2 = 2 / gamma**2 * sum(k**-4 for k in range(1, K + 1))
        closed = (1 + w2 / 2 + (w2 + w2**2 / 4) ** 0.5) ** 2
        assert row["scaled"][gamma] == pytest.approx(want, rel=2e-3)
        assert row["scaled"][gamma] == pytest.approx(closed, rel=1e-8)           # κ times rounding


@pytest.mark.parametrize(("beta", "spread", "null"), [(1, 2.6e2, 17), (10, 7.7e3, 1), (50, 1.7e5, 1)])
def test_the_condition_of_advection_is_the_tables_and_its_scaled_one_does_not_know_the_speed(beta, spread, null):
    row = preconditioning.advection_row(beta)
    assert row["plain"] == pytest.approx((8 + 8 * beta) ** 2, rel=1e-9)
    assert row["plain"] == pytest.approx(spread, rel=3e-2)                       # two digits are given
    assert row["null"] == null
    assert row["scaled"] < 20


@pytest.mark.parametrize("gamma", [3.0, 10.0])
def test_gradient_descent_takes_the_steps_that_kappa_says(gamma):
    run = preconditioning.poisson(32, scale="inverse-symbol", gamma=gamma)
    weight = 2 * pi / gamma**2
    A = preconditioning.grams(run)
    condition = preconditioning.kappa(A["equation"] + weight * A["boundary"])
    taken = preconditioning.descend(run, {"boundary": weight})
    assert taken <= preconditioning.steps_of(condition) <= 2 * taken + 2         # the start is not the worst one
    assert taken <= 20


def test_plain_gradient_descent_needs_as_many_steps_as_its_table_says():
    run = preconditioning.poisson(2)
    A = preconditioning.grams(run)
    condition = preconditioning.kappa(A["equation"] + 8 * A["boundary"])
    taken = preconditioning.descend(run, {"boundary": 8.0})
    assert condition > 40
    assert 0.5 * preconditioning.steps_of(condition) < taken <= preconditioning.steps_of(condition)


def test_the_spectrum_of_known_singular_values():
    Q = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    found = spectrum(Q * torch.tensor([10.0, 5.0, 0.1, 0.0], dtype=torch.float64))
    assert (found.rows, found.parameters, found.rank) == (9, 4, 3)
    assert found.kappa == pytest.approx(1e4, rel=1e-10)
    p = np.array([100, 25, 0.01]) / 125.01
    assert found.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)


def test_check_prints_the_condition_before_and_after(capsys):
    assert command("check", "poisson1d_periodic", "--spectrum") == 0
    text = capsys.readouterr().out
    plain, scaled = (next(line for line in text.splitlines() if line.startswith(name + " ")).split("e+")[0].split()[-1]
                     for name in ("plain", "scaled"))
    assert float(scaled) == pytest.approx(2.64, abs=0.01)
    assert float(plain) >= 1
    assert command("check", "poisson", "--spectrum", "--precondition", "lu", "--points", 100) == 0
    text = capsys.readouterr().out
    assert "κ(JᵀJ)" in text and "plain" in text and "lu" in text


def test_a_sampler_that_has_nothing_to_draw_is_named(caplog):
    problem = sciml.load_problem("poisson")
    for sampler, said in (("r3", True), ("rad", False)):
        caplog.clear()
        Training(problem, make_recipe(problem.defaults, {"precondition": "ilu", "sampler": sampler, "points": 100,
                                                         "constraints": "soft"}))
        assert (f"sampler={sampler} does nothing: precondition=ilu" in caplog.text) == said
