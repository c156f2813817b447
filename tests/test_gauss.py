"""Natural gradients, matrix-free Gauss–Newton and variable projection do what their formulas say."""

import pytest
import torch
from test_objective import eigen, heat, inverse, objective_of
from test_optim import rosenbrock

import sciml
from sciml import Box, Dirichlet, Equation, Problem, laplacian
from sciml.calculus.factored import FactoredJacobian, FactoredRows
from sciml.errors import NonFiniteError, ProblemError, TrainingError
from sciml.fields import FieldOptions, build_network, head_of
from sciml.objective import build_objective, make_recipe
from sciml.optim import OPTIMIZERS, GaussNewton, memory
from sciml.optim.gauss_newton_cg import ConjugateGradients, GaussNewtonCG
from sciml.optim.natural import ENGD, ENGDW, SPRING
from sciml.optim.varpro import Range, VarPro

NATURAL = {"engd": ENGD, "engd-w": ENGDW, "spring": SPRING}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameter(size, seed=3):
    return torch.nn.Parameter(random(size, seed=seed))


def solve_damped(J, r, damping):
    """(JᵀJ + λ)⁻¹ Jᵀ r by its definition."""
    return torch.linalg.solve(J.T @ J + damping * torch.eye(J.shape[1], dtype=J.dtype), J.T @ r)


def curved():
    """Two tensors, R = 9 residuals that are not linear, and their views."""
    A, B = random(9, 6), random(9, 6, seed=1)
    theta = [torch.nn.Parameter(random(2, 2, seed=2)), torch.nn.Parameter(random(2, seed=3))]
    flat = lambda: torch.cat([p.reshape(-1) for p in theta])
    residual = lambda: A @ flat() + 0.3 * torch.sin(B @ flat()) - 1.0
    quiet = lambda: residual().detach()

    def linearize():
        x = flat().detach()
        return quiet(), A + 0.3 * torch.cos(B @ x)[:, None] * B

    return theta, linearize, quiet


def by_factors(linearize):
    def call():
        r, J = linearize()
        return r, FactoredJacobian.of_matrix(J)
    return call


# ---- natural gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("R, P", [(12, 5), (5, 12), (7, 7)])
def test_the_direction_of_engd_is_that_of_the_pseudo_inverse_in_both_forms(R, P):
    r, J = random(R), random(R, P, seed=1)
    J[:, -1] = J[:, 0]                                  # rank-deficient: the pseudo-inverse is what is asked for
    want = torch.linalg.lstsq(J, r[:, None], rcond=1e-10, driver="gelsd").solution[:, 0]
    for form in ("parameters", "kernel", "auto"):
        d, eta = ENGD([parameter(P)], form=form).direction(r, FactoredJacobian.of_matrix(J))
        assert eta is None
        torch.testing.assert_close(d, want, rtol=0, atol=1e-10)     # cond(JᵀJ) ≈ 1e3 on its range


def test_engd_leaves_out_what_lies_below_its_cutoff():
    U, V = torch.linalg.qr(random(8, 4))[0], torch.linalg.qr(random(4, 4, seed=1))[0]
    sigma = torch.tensor([1.0, 1e-1, 1e-2, 1e-3], dtype=torch.float64)
    r, J = random(8, seed=2), U * sigma @ V.T
    for form in ("parameters", "kernel"):
        d, _ = ENGD([parameter(4)], rcond=1e-5, form=form).direction(r, FactoredJacobian.of_matrix(J))
        kept = 3                                        # σ² > 1e-5: 1, 1e-2, 1e-4
        want = V[:, :kept] @ ((U[:, :kept].T @ r) / sigma[:kept])
        torch.testing.assert_close(d, want, rtol=0, atol=1e-9)      # rounding 1e-16 over the smallest σ², 1e-4


@pytest.mark.parametrize("jacobi", [False, True])
@pytest.mark.parametrize("R, P", [(12, 5), (5, 12)])
def test_the_forms_of_engd_w_agree_and_solve_the_damped_normal_equations(R, P, jacobi):
    r, J = random(R), random(R, P, seed=1)
    J[0] = 0                                            # a row that nothing touches must not divide by zero
    scale = torch.where(J.square().sum(1) > 0, J.square().sum(1), 1).rsqrt() if jacobi else torch.ones(R).double()
    want = solve_damped(scale[:, None] * J, scale * r, 1e-3)
    for form in ("parameters", "kernel", "auto"):
        d, _ = ENGDW([parameter(P)], damping=1e-3, jacobi=jacobi, form=form).direction(
            r, FactoredJacobian.of_matrix(J))
        torch.testing.assert_close(d, want, rtol=0, atol=1e-10)     # the condition is 1e4 at λ = 1e-3


def test_jacobi_scaling_makes_the_direction_blind_to_the_scale_of_rows():
    r, J, scale = random(6), random(6, 9, seed=1), torch.logspace(-2, 2, 6, dtype=torch.float64)
    of = lambda s, jacobi: ENGDW([parameter(9)], damping=1e-2, jacobi=jacobi).direction(
        s * r, FactoredJacobian.of_matrix(s[:, None] * J))[0]
    one = torch.ones_like(scale)
    torch.testing.assert_close(of(scale, True), of(one, True), rtol=1e-10, atol=1e-12)
    assert float((of(scale, False) - of(one, False)).norm()) > 1e-3


def test_spring_follows_its_recursion():
    theta = [parameter(12)]
    optimizer = SPRING(theta, lr=0.1, damping=1e-2, momentum=0.9, norm=1e-4)
    phi, x = torch.zeros(12, dtype=torch.float64), theta[0].detach().clone()
    for k in range(1, 5):
        r, J = random(5, seed=k), random(5, 12, seed=10 + k)
        K = J @ J.T + 1e-2 * torch.eye(5, dtype=torch.float64)
        phi = 0.9 * phi + J.T @ torch.linalg.solve(K, r - 0.9 * J @ phi)
        x = x - min(0.1, 1e-2 / float(phi.norm())) * phi / (1 - 0.9 ** (2 * k)) ** 0.5
        optimizer.step(lambda r=r, J=J: (r, FactoredJacobian.of_matrix(J)), lambda r=r: r)
        torch.testing.assert_close(theta[0].detach(), x, rtol=0, atol=1e-12)
        torch.testing.assert_close(optimizer.phi, phi, rtol=0, atol=1e-12)       # stored without the correction


@pytest.mark.parametrize("lr", [None, 0.3])
def test_spring_without_momentum_is_engd_w_bit_by_bit(lr):
    found = []
    for optimizer_of in (lambda p: SPRING(p, lr=lr, damping=1e-6, momentum=0.0, norm=1e9),
                         lambda p: ENGDW(p, lr=lr, damping=1e-6)):
        theta, linearize, residual = curved()
        optimizer = optimizer_of(theta)
        losses = [optimizer.step(by_factors(linearize), residual) for _ in range(5)]
        found.append((losses, [p.detach().clone() for p in theta]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


@pytest.mark.parametrize("name", NATURAL)
def test_with_a_search_the_loss_never_increases(name):
    x, linearize, residual, _ = rosenbrock()
    optimizer = NATURAL[name]([x])
    losses = [float(residual().square().sum())]
    losses += [optimizer.step(by_factors(linearize), residual) for _ in range(30)]
    assert all(b <= a for a, b in zip(losses, losses[1:], strict=False))
    assert losses[-1] == float(residual().square().sum()) < 0.5 * losses[0]


def test_engd_solves_linear_least_squares_in_one_step_of_length_one():
    A, b = random(20, 6), random(20, seed=1)
    x = parameter(6)
    optimizer = ENGD([x])
    residual = lambda: A @ x.detach() - b
    optimizer.step(lambda: (residual(), FactoredJacobian.of_matrix(A)), residual)
    assert optimizer.eta == 1.0
    want = torch.linalg.lstsq(A, b[:, None]).solution[:, 0]
    torch.testing.assert_close(x.detach(), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NATURAL)
def test_a_step_that_helps_nothing_is_not_taken_and_counted(name):
    x, linearize, residual, _ = rosenbrock()
    optimizer, start = NATURAL[name]([x]), x.detach().clone()
    before = float(residual().square().sum())
    nan = lambda: torch.full((2,), torch.nan, dtype=torch.float64)
    assert optimizer.step(by_factors(linearize), nan) == before
    assert optimizer.refused == 1 and optimizer.eta == 0 and torch.equal(x.detach(), start)
    optimizer.step(by_factors(linearize), residual)
    assert optimizer.refused == 0


@pytest.mark.parametrize("name", [*NATURAL, "gauss-newton-cg"])
def test_a_jacobian_or_residual_that_is_not_finite_is_refused_and_nothing_moves(name):
    x, linearize, residual, _ = rosenbrock()
    optimizer, start = OPTIMIZERS[name]([x]), x.detach().clone()
    r, J = linearize()
    bad = torch.full_like(J, torch.nan)
    with pytest.raises(NonFiniteError, match="gradient"):
        optimizer.step(lambda: (r, FactoredJacobian.of_matrix(bad)), residual)
    with pytest.raises(NonFiniteError, match="loss"):
        optimizer.step(lambda: (r * torch.inf, FactoredJacobian.of_matrix(J)), residual)
    assert torch.equal(x.detach(), start)


def test_a_damping_below_rounding_is_raised_until_the_kernel_can_be_factored():
    r, J = torch.ones(3, dtype=torch.float64), torch.full((3, 3), -1e8, dtype=torch.float64)     # rank one
    d, _ = ENGDW([parameter(3)], damping=1e-300).direction(r, FactoredJacobian.of_matrix(J))
    torch.testing.assert_close(J @ d, r, rtol=1e-6, atol=0)      # r lies in the range of J


@pytest.mark.parametrize("form, sentence", [("kernel", "4 × 4 residuals needs .* fewer points"),
                                            ("parameters", "7 × 7 parameters needs .* fewer parameters")])
def test_a_gram_matrix_that_does_not_fit_is_refused_before_it_is_taken(form, sentence, monkeypatch):
    x, J = parameter(7), random(4, 7)
    optimizer = ENGDW([x], form=form)
    linearize = lambda: (random(4, seed=1), FactoredJacobian.of_matrix(J))
    need = 8 * 2 * 4**2 if form == "kernel" else 8 * (2 * 7**2 + 4 * 7)
    monkeypatch.setattr(memory, "free_memory", lambda device: need)
    optimizer.step(linearize, lambda: random(4, seed=1))
    monkeypatch.setattr(memory, "free_memory", lambda device: need - 1)
    with pytest.raises(TrainingError, match=sentence):
        optimizer.step(linearize, lambda: random(4, seed=1))


@pytest.mark.parametrize("name", [*NATURAL, "gauss-newton-cg"])
def test_steps_keep_the_dtype_of_the_parameters(name):
    A, x = random(9, 4).float(), torch.nn.Parameter(random(4, seed=1).float())
    optimizer, residual = OPTIMIZERS[name]([x]), lambda: A @ x.detach() - 1
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        first = optimizer.step(lambda: (residual(), FactoredJacobian.of_matrix(A)), residual)
    finally:
        torch.set_default_dtype(before)
    assert x.dtype == torch.float32 and first <= float((A @ random(4, seed=1).float() - 1).square().sum())


# ---- matrix-free Gauss–Newton --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "units"])
@pytest.mark.parametrize("make", [heat, inverse, eigen])
def test_conjugate_gradients_solve_the_damped_normal_equations_of_an_objective(make, preconditioner):
    r, F = objective_of(make(), n=12).factored()
    J = F.dense()
    normal = ConjugateGradients(F, preconditioner, 1e-14, 5000)
    for damping in (1e-2, 1.0):
        assert normal.factor(damping)
        torch.testing.assert_close(normal.solve(r), solve_damped(J, r, damping), rtol=0,
                                   atol=1e-7 * float(r.norm()))    # rounding times the condition, up to 1e6


@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "units"])
def test_steps_with_converged_conjugate_gradients_are_those_of_gauss_newton(preconditioner):
    theta, linearize, residual = curved()
    other, same, again = curved()
    optimizer = GaussNewtonCG(theta, preconditioner=preconditioner, tolerance=1e-15, iterations=500)
    dense = GaussNewton(other)
    for _ in range(4):
        loss, want = optimizer.step(by_factors(linearize), residual), dense.step(same, again)
        assert loss == pytest.approx(want, rel=1e-9)
        dense.param_groups[0]["damping"] = optimizer.damping       # the gain ratio may leave it where it is
        for a, b in zip(theta, other, strict=True):
            torch.testing.assert_close(a.detach(), b.detach(), rtol=0, atol=1e-8)


def test_preconditioning_by_unit_blocks_is_exact_for_a_single_layer_without_bias():
    J = random(40, 6)
    F = FactoredJacobian([layer_of(J)], [J[0].view(1, 6)])
    normal = ConjugateGradients(F, "units", 1e-15, 50)
    assert normal.factor(1e-3)
    torch.testing.assert_close(normal.solve(J[:, 0]), solve_damped(J, J[:, 0], 1e-3), rtol=0, atol=1e-11)
    assert normal.done <= 2


def layer_of(J):
    return FactoredRows(len(J), 1, {0: [(torch.ones(1, len(J), 1, 1, dtype=J.dtype), J[None])]})


def test_the_stopping_rule_ends_a_solve_before_it_has_converged():
    J = random(200, 100) * torch.logspace(0, -4, 100, dtype=torch.float64)
    F, r = FactoredJacobian.of_matrix(J), random(200, seed=1)
    counts = []
    for tolerance in (5e-4, 1e-12):
        normal = ConjugateGradients(F, "none", tolerance, 2000)
        normal.factor(1e-10)
        normal.solve(r)
        counts.append(normal.done)
    assert 10 < counts[0] < counts[1] / 2


def test_the_damping_follows_the_gain_ratio():
    optimizer = GaussNewtonCG([parameter(2)], damping=1.0)
    J, r, v = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), -torch.ones(2, dtype=torch.float64)
    F = FactoredJacobian.of_matrix(J)                                  # predicted decrease: 2
    after = lambda decrease: r * (1 - decrease / 2) ** 0.5
    assert optimizer.lowered(1.0, r, F, v, after(1.9)) == pytest.approx(1 / 3)
    assert optimizer.lowered(1.0, r, F, v, after(1.0)) == 1.0
    assert optimizer.lowered(1.0, r, F, v, after(0.1)) == 2.0


def test_matrix_free_gauss_newton_reaches_the_minimum_of_rosenbrock_monotonically():
    x, linearize, residual, _ = rosenbrock()
    optimizer = GaussNewtonCG([x])
    losses = [float(residual().square().sum())] + [optimizer.step(by_factors(linearize), residual) for _ in range(80)]
    assert all(b <= a for a, b in zip(losses, losses[1:], strict=False)) and losses[-1] < 1e-20


# ---- variable projection -------------------------------------------------------------------------------------------


def poisson(nonlinear=False):
    source = lambda x, y: torch.sin(3 * x) * torch.exp(y)
    return Problem(Box(x=(0, 1), y=(0, 1)), "u", [
        Equation(lambda u, x, y: laplacian(u) - source(x, y) + (5 * u**3 if nonlinear else 0.0)),
        Dirichlet(u=0.3, weight=10.0)])


def projected(problem, width=6, **options):
    """An objective with a net of two layers, its body, its head, and the optimizer."""
    objective, _ = build_objective(problem, make_recipe({}, dict(constraints="soft", model=dict(width=width, depth=1))))
    for block in problem.blocks:
        objective.points[block.name] = block.region.sample(30, generator=torch.Generator().manual_seed(1))
    head = head_of(objective.field, problem.region.bounds)
    body = [p for p in objective.trainable if all(p is not h for h in head)]
    return objective, body, list(head), VarPro([{"params": body}, {"params": list(head)}], **options)


def test_the_head_is_the_least_squares_solution_of_linear_equations():
    objective, _, head, optimizer = projected(poisson(), body=False)
    r, A = objective.linearize(head)
    c = torch.cat([p.detach().reshape(-1) for p in head])
    want = torch.linalg.lstsq(A, (A @ c - r)[:, None], driver="gelsd").solution[:, 0]
    loss = optimizer.step(objective.linearize, objective.residual)
    have = torch.cat([p.detach().reshape(-1) for p in head])
    torch.testing.assert_close(have, want, rtol=1e-8, atol=1e-8)      # the condition of A is 1e5
    assert loss == pytest.approx(float((A @ (want - c) + r).square().sum()), rel=1e-9)


@pytest.mark.parametrize("nonlinear", [False, True])
def test_the_inner_loop_ends_where_the_gradient_by_the_head_vanishes(nonlinear):
    objective, _, head, optimizer = projected(poisson(nonlinear), inner=100)
    with torch.no_grad():
        before = objective.residual()
        r = optimizer.project(objective.linearize, objective.residual)
        residual, A = objective.linearize(head)
    torch.testing.assert_close(r, residual, rtol=0, atol=1e-13 * float(before.norm()))
    assert float((A.T @ r).norm()) < 1e-5 * float(A.norm() * r.norm()) and r @ r < before @ before
    # the loop ends where the loss falls by less than 1e-12, so the gradient by less than its root


def test_the_reduced_gradient_is_that_of_autograd_through_the_least_squares_solution():
    """F(w) = |A(w) c(w) − f|² with c(w) = lstsq(A(w), f), written by hand, differentiated as a whole."""
    objective, body, _, optimizer = projected(poisson())
    with torch.no_grad():
        optimizer.project(objective.linearize, objective.residual)
        r, J = optimizer.reduced(objective.linearize)
    W, b = body
    inside, edge = (2 * objective.points[name].X - 1 for name in ("equation", "dirichlet"))     # the net sees [−1, 1]²
    t = torch.tanh(inside @ W.T + b)
    curvature = -2 * t * (1 - t**2) * (2 * W).square().sum(1)
    top = torch.cat([curvature, torch.zeros(len(inside), 1, dtype=torch.float64)], dim=1)       # the bias is a column
    bottom = torch.cat([torch.tanh(edge @ W.T + b), torch.ones(len(edge), 1, dtype=torch.float64)], dim=1)
    weight = (10 / len(edge)) ** 0.5
    A = torch.cat([top / len(inside) ** 0.5, weight * bottom])
    x, y = objective.points["equation"].X.T
    source = torch.sin(3 * x) * torch.exp(y)
    f = torch.cat([source / len(inside) ** 0.5, torch.full((len(edge),), 0.3 * weight, dtype=torch.float64)])
    Q, T = torch.linalg.qr(A)
    loss = (A @ torch.linalg.solve_triangular(T, (Q.T @ f)[:, None], upper=True)[:, 0] - f).square().sum()
    want = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, body)])
    assert float(loss.detach()) == pytest.approx(float(r @ r), rel=1e-9)
    torch.testing.assert_close(2 * J.T @ r, want, rtol=0, atol=1e-9 * float(want.norm()))       # condition of A: 1e4


def test_kaufmans_jacobian_is_orthogonal_to_the_head():
    objective, body, head, optimizer = projected(poisson())
    with torch.no_grad():
        optimizer.project(objective.linearize, objective.residual)
        _, J = optimizer.reduced(objective.linearize)
        _, A = objective.linearize(head)
    P = sum(p.numel() for p in body)
    assert J.shape[1] == P
    assert float((A.T @ J).abs().max()) < 1e-11 * float(A.norm() * (1 + J.norm()))


@pytest.mark.parametrize("nonlinear", [False, True])
def test_variable_projection_lowers_the_loss_and_leaves_the_head_optimal(nonlinear):
    objective, _, head, optimizer = projected(poisson(nonlinear))
    losses = [optimizer.step(objective.linearize, objective.residual) for _ in range(8)]
    assert all(b <= a * (1 + 1e-9) for a, b in zip(losses, losses[1:], strict=False)) and losses[-1] < 0.3 * losses[0]
    assert float(objective.residual().square().sum()) == pytest.approx(losses[-1], rel=1e-12)
    r, A = objective.linearize(head)
    assert float((A.T @ r).norm()) < 1e-6 * float(A.norm() * r.norm())


def test_a_refused_step_leaves_body_and_head_where_the_head_was_solved():
    objective, body, _, optimizer = projected(poisson(), tries=1)
    optimizer.step(objective.linearize, objective.residual)
    start = [p.detach().clone() for p in body]
    before = float(objective.residual().square().sum())

    def never_better():
        moved = any(not torch.equal(p.detach(), s) for p, s in zip(body, start, strict=True))
        return objective.residual() * (1e9 if moved else 1.0)

    for count in (1, 2):
        assert optimizer.step(objective.linearize, never_better) == pytest.approx(before, rel=1e-9)
        assert optimizer.refused == count                 # solving for the head again gains by rounding only
    assert all(torch.equal(p.detach(), s) for p, s in zip(body, start, strict=True))
    assert float(objective.residual().square().sum()) == pytest.approx(before, rel=1e-9)


def test_an_error_in_a_step_leaves_all_parameters_as_they_were():
    objective, _, _, optimizer = projected(poisson())
    start = [p.detach().clone() for p in objective.trainable]
    calls = iter(range(100))

    def interrupted():
        if next(calls) == 3:
            raise KeyboardInterrupt
        return objective.residual()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(objective.linearize, interrupted)
    assert all(torch.equal(p.detach(), s) for p, s in zip(objective.trainable, start, strict=True))


def test_small_singular_values_are_left_out_of_the_range():
    U, V = torch.linalg.qr(random(9, 3))[0], torch.linalg.qr(random(3, 3, seed=1))[0]
    A = U * torch.tensor([1.0, 1e-3, 1e-15], dtype=torch.float64) @ V.T
    b, found = random(9, seed=2), Range(A, 1e-13)
    assert found.Q.shape == (9, 2)
    want = V[:, :2] @ ((U[:, :2].T @ b) / torch.tensor([1.0, 1e-3], dtype=torch.float64))
    torch.testing.assert_close(found.solve(b), want, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.complement(b[:, None])[:, 0], b - U[:, :2] @ (U[:, :2].T @ b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["mlp", "modified-mlp", "piratenet", "siren"])
def test_a_head_is_affine_in_every_network_and_through_constraints(model):
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx - 1), Dirichlet(u=0.5)])
    for constraints in ("hard", "soft"):
        objective, _ = build_objective(problem, make_recipe({}, dict(model=model, constraints=constraints)))
        head = head_of(objective.field, problem.region.bounds)
        assert [tuple(p.shape) for p in head] == [(1, 20), (1,)]


def test_a_head_is_affine_where_large_coefficients_cancel():
    class Cancelling(torch.nn.Module):
        """u = c₀ Σx/3 + c₁ Σx/7 with c = (3, −7)·10¹⁴: zero but for rounding errors of 0.01."""

        def __init__(self):
            super().__init__()
            self.c = torch.nn.Parameter(torch.tensor([3e14, -7e14], dtype=torch.float64))
            self.head = (self.c,)

        def forward(self, X):
            return (X * self.c[0]) / 3 + (X * self.c[1]) / 7

    field = Cancelling()
    assert head_of(field, [(0.0, 1.0)]) == (field.c,)
    assert field.c.tolist() == [3e14, -7e14]


@pytest.mark.parametrize("change, sentence", [
    (dict(model=dict(factorized=True)), "names none; use a model without model.factorized"),
    (dict(network="shared"), "affine in its head, and this one is not"),
    (dict(network="foreign"), "not one of its trainable parameters"),
    (dict(network="plain"), "names none"),
])
def test_a_field_without_a_linear_head_gets_a_sentence(change, sentence):
    change = dict(change)
    if "network" in change:
        change["network"] = _Module(change["network"])
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve(poisson(), optimizer="varpro", steps=1, constraints="soft", **change)


class _Module(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(2, 3).double(), torch.nn.Linear(3, 1).double()
        self.foreign = (torch.zeros(1),)
        self.kind = kind

    @property
    def head(self):
        return {"shared": tuple(self.last.parameters()), "foreign": self.foreign, "plain": ()}[self.kind]

    def forward(self, X):
        return self.last(torch.tanh(self.first(X))) ** 2


def test_random_features_bend_inside_the_domain():
    options = FieldOptions(width=200, depth=1, init="random-features", spread=3.0)
    field = build_network("mlp", [(0, 1), (2, 5)], 1, options, torch.Generator().manual_seed(0))
    W, b = field.hidden[0].weight.detach(), field.hidden[0].bias.detach()
    assert 2.9 < float(W.abs().max()) <= 3.0 and abs(float(W.mean())) < 0.2
    assert bool((b.abs() <= W.abs().sum(1)).all())      # W·x + b = 0 for some x in [−1, 1]²
    assert float(b.std()) > 1.0


def test_the_untrained_baseline_solves_poissons_equation_to_nine_digits():
    membrane = lambda x, y: torch.sin(torch.pi * x) * torch.sin(torch.pi * y)
    problem = Problem(Box(x=(0, 1), y=(0, 1)), "u", [
        Equation(lambda u, x, y: -laplacian(u) - 2 * torch.pi**2 * membrane(x, y)), Dirichlet(u=0.0, weight=1e4)],
        reference=dict(u=membrane))
    solution = sciml.solve(problem, constraints="soft", optimizer="varpro", steps=1, sampler="grid", points=900,
                           boundary_points=164, set={"varpro.body": False},
                           model=dict(width=200, depth=1, init="random-features", spread=1.0))
    assert solution.relative_l2()["u"] < 2e-9           # our notes: 8.7e-10; seeds 0 to 2: 1.8e-10 to 6.3e-10


# ---- by name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options, sentence", [
    ("engd", dict(rcond=2.0), "engd.rcond=2.0 must lie between 0 and 1"),
    ("engd", dict(form="primal"), "engd.form='primal' must be one of auto, parameters, kernel"),
    ("engd", dict(halvings=-1), "engd.halvings=-1 must be a number of halvings"),
    ("engd-w", dict(damping=0.0), "engd-w.damping=0.0 must be positive"),
    ("engd-w", dict(lr=-1.0), "engd-w.lr=-1.0 must be positive; leave it out for a search"),
    ("spring", dict(momentum=1.0), "spring.momentum=1.0 must lie in"),
    ("spring", dict(norm=0.0), "spring.norm=0.0 must be positive"),
    ("gauss-newton-cg", dict(preconditioner="ilu"), "gauss-newton-cg.preconditioner='ilu' must be one of none"),
    ("gauss-newton-cg", dict(iterations=0), "gauss-newton-cg needs tolerance > 0 and iterations ≥ 1"),
    ("gauss-newton-cg", dict(damping=0.0), "gauss-newton-cg.damping=0.0 must be positive"),
    ("varpro", dict(rcond=0.0), "varpro.rcond=0.0 must lie between 0 and 1"),
    ("varpro", dict(inner=0), "varpro.inner=0 must be at least 1"),
    ("model", dict(init="he"), "unknown init 'he'"),
    ("model", dict(spread=0.0), "model.spread=0.0 must be positive"),
])
def test_a_wrong_option_gets_a_sentence(name, options, sentence):
    given = {f"{name}.{k}": v for k, v in options.items()}
    with pytest.raises(ProblemError, match=sentence):
        make_recipe({}, given)


@pytest.mark.parametrize("options", [dict(model="siren"), dict(model=dict(factorized=True))])
def test_random_features_are_refused_where_they_have_no_meaning(options):
    options = {**options, "model.init": "random-features"}
    with pytest.raises(ProblemError, match="for model=mlp without model.factorized"):
        build_objective(poisson(), make_recipe({}, options))
