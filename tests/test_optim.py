"""Optimizers reach what theory says: least-squares solutions, quadratic convergence, exact resumption."""

import pytest
import torch

from sciml.errors import ProblemError
from sciml.flat import gram
from sciml.optim import LBFGS, OPTIMIZERS, GaussNewton, build_optimizer, optimizer_name
from sciml.optim.gauss_newton import _NormalEquations


def random(*shape, seed=0, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)


def _normal_equations(r, J):
    """μ ↦ (JᵀJ + μ)⁻¹ Jᵀ r, None where it cannot be factored."""
    normal = _NormalEquations(J)
    return lambda damping: normal.solve(r) if normal.factor(damping) else None


def linear_problem(R, P, device="cpu", **options):
    """r = A θ − b with θ in two tensors, and the optimizer on it."""
    A, b = random(R, P, device=device), random(R, seed=1, device=device)
    theta = [
        torch.nn.Parameter(random(2, 2, seed=2, device=device)),
        torch.nn.Parameter(random(P - 4, seed=3, device=device)),
    ]
    flat = lambda: torch.cat([p.detach().reshape(-1) for p in theta])
    linearize = lambda: (A @ flat() - b, A)
    residual = lambda: A @ flat() - b
    return A, b, flat, linearize, residual, GaussNewton(theta, **options)


# ---- Gauss–Newton ----------------------------------------------------------------------------------------------


def test_one_step_without_damping_solves_linear_least_squares(device):
    A, b, flat, linearize, loss, optimizer = linear_problem(30, 8, device, damping=1e-14)
    after = optimizer.step(linearize, loss)
    want = torch.linalg.lstsq(A.cpu(), b.cpu()[:, None]).solution[:, 0].to(device)
    torch.testing.assert_close(flat(), want, rtol=0, atol=1e-11)  # condition of AᵀA ≈ 1e2 times rounding
    assert after == pytest.approx(float((A @ want - b).square().sum()), rel=1e-12)


def test_one_step_with_fewer_residuals_than_parameters_is_the_smallest_step_that_solves(device):
    A, b, flat, linearize, loss, optimizer = linear_problem(5, 12, device, damping=1e-13)
    start = flat()
    assert optimizer.step(linearize, loss) < 1e-20
    smallest = torch.linalg.pinv(A) @ (b - A @ start)
    torch.testing.assert_close(flat() - start, smallest, rtol=0, atol=1e-10)


@pytest.mark.parametrize("R, P", [(5, 12), (12, 5), (7, 7)])
@pytest.mark.parametrize("damping", [1e-6, 1.0, 1e3])
def test_the_direction_solves_the_damped_normal_equations_in_both_forms(R, P, damping):
    r, J = random(R), random(R, P, seed=1)
    want = torch.linalg.solve(J.T @ J + damping * torch.eye(P, dtype=torch.float64), J.T @ r)
    torch.testing.assert_close(_normal_equations(r, J)(damping), want, rtol=1e-9, atol=1e-9)  # cond ≤ 1e7 at μ = 1e-6


def test_the_wide_and_the_tall_form_agree():
    r, J = random(6), random(6, 9, seed=1)
    zeros = torch.zeros(10, 9, dtype=torch.float64)  # padding makes the same problem tall
    tall = _normal_equations(torch.cat([r, zeros[:, 0]]), torch.cat([J, zeros]))
    torch.testing.assert_close(tall(1e-2), _normal_equations(r, J)(1e-2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", [1, 3, 4, 100])
def test_gram_is_the_lower_triangle_of_the_normal_matrix(block, device):
    J = random(9, 10, device=device)
    torch.testing.assert_close(gram(J, block).tril(), (J.T @ J).tril(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gram(J.T, block).tril(), (J @ J.T).tril(), rtol=1e-13, atol=1e-13)


def rosenbrock(start=(-1.2, 1.0)):
    x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    residual = lambda: torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def linearize():
        a = float(x.detach()[0])
        return residual().detach(), torch.tensor([[-20 * a, 10.0], [-1.0, 0.0]], dtype=torch.float64)

    return x, linearize, lambda: residual().detach(), residual


def test_the_loss_never_increases_and_reaches_the_minimum_of_rosenbrock():
    x, linearize, loss, _ = rosenbrock()
    optimizer = GaussNewton([x])
    losses = [float(loss().square().sum())] + [optimizer.step(linearize, loss) for _ in range(60)]
    assert all(b <= a for a, b in zip(losses, losses[1:], strict=False))
    assert losses[-1] < 1e-28 and torch.allclose(x.detach(), torch.ones(2, dtype=torch.float64), atol=1e-12)


def test_geodesic_acceleration_follows_the_valley_of_rosenbrock_in_fewer_steps():
    def steps(acceleration):
        x, linearize, residual, _ = rosenbrock()
        optimizer = GaussNewton([x], acceleration=acceleration)
        return next(k for k in range(1, 200) if optimizer.step(linearize, residual) < 1e-20)

    assert steps(0.75) < steps(0.0)


def test_the_acceleration_is_the_second_derivative_of_the_residual_along_the_step():
    x, linearize, residual, graph = rosenbrock()
    optimizer = GaussNewton([x], acceleration=1e9, difference=1e-3)
    r, J = linearize()
    normal = _NormalEquations(J)
    assert normal.factor(1e-2)
    v = -normal.solve(r)
    curvature = torch.stack([-20 * v[0] ** 2, torch.zeros_like(v[0])])  # r₁ = 10 (y − x²)
    with torch.no_grad():
        half = optimizer._acceleration([x.detach().clone()], r, J, normal, v, residual)
    # The quotient is exact for a quadratic residual; rounding is 1e-16 |r| / h² = 1e-9.
    torch.testing.assert_close(half, -0.5 * normal.solve(curvature), rtol=1e-6, atol=1e-8)


def test_damping_falls_after_an_accepted_step_and_stays_in_its_bounds():
    *_, linearize, loss, optimizer = linear_problem(30, 8, damping=1e-2)
    optimizer.step(linearize, loss)
    assert optimizer.damping == pytest.approx(1e-2 / 3) and optimizer.refused == 0
    x, linearize, loss, _ = rosenbrock()
    optimizer = GaussNewton([x], smallest=1e-3)
    for _ in range(30):
        optimizer.step(linearize, loss)
        assert optimizer.damping >= 1e-3


def test_a_step_that_helps_nothing_is_refused_counted_and_leaves_the_parameters():
    x, linearize, loss, _ = rosenbrock()
    optimizer = GaussNewton([x], damping=1.0, tries=5, largest=20.0)
    start, never = x.detach().clone(), lambda: torch.full((2,), 1e9, dtype=torch.float64)
    before = float(loss().square().sum())
    assert optimizer.step(linearize, never) == before and optimizer.refused == 1
    assert torch.equal(x.detach(), start) and optimizer.damping == 20.0
    assert optimizer.step(linearize, never) == before and optimizer.refused == 2
    optimizer.step(linearize, loss)
    assert optimizer.refused == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_trial_loss_is_refused(bad):
    x, linearize, _, _ = rosenbrock()
    optimizer, start = GaussNewton([x]), x.detach().clone()
    optimizer.step(linearize, lambda: torch.full((2,), bad, dtype=torch.float64))
    assert optimizer.refused == 1 and torch.equal(x.detach(), start)


def test_a_failed_cholesky_factorisation_raises_the_damping_until_it_succeeds():
    r, J = torch.ones(3, dtype=torch.float64), torch.full((3, 3), -1e8, dtype=torch.float64)  # rank one
    assert _normal_equations(r, J)(1e-16) is None  # 3e16 + 1e-16 is 3e16: singular to rounding
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = GaussNewton([theta], damping=1e-16, raise_=10.0, tries=40)
    optimizer.step(lambda: (r, J), lambda: torch.zeros(3, dtype=torch.float64))
    assert bool(torch.isfinite(theta).all()) and optimizer.refused == 0 and optimizer.damping > 1e-3


def test_directions_that_are_not_finite_are_not_taken():
    r = torch.ones(3, dtype=torch.float64)
    assert _normal_equations(r, torch.full((3, 3), torch.nan, dtype=torch.float64))(1.0) is None


def test_gauss_newton_refuses_what_it_cannot_use():
    x = [torch.nn.Parameter(torch.zeros(2))]
    with pytest.raises(ProblemError, match="damping=0 must be positive"):
        GaussNewton(x, damping=0)
    with pytest.raises(ProblemError, match="lower ≥ 1, raise_ > 1 and tries ≥ 1"):
        GaussNewton(x, raise_=1.0)
    with pytest.raises(ProblemError, match="one group"):
        GaussNewton([{"params": x}, {"params": [torch.nn.Parameter(torch.zeros(1))]}])


# ---- L-BFGS ----------------------------------------------------------------------------------------------------


def minimise(optimizer, x, f, steps):
    def closure():
        optimizer.zero_grad()
        value = f()
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(closure)
    return closure


def test_lbfgs_finds_the_minimum_of_a_quadratic():
    A = random(6, 6)
    A, x = A @ A.T + torch.eye(6, dtype=torch.float64), torch.nn.Parameter(random(6, seed=1))
    b = random(6, seed=2)
    minimise(LBFGS([x]), x, lambda: 0.5 * x @ A @ x - b @ x, 3)
    torch.testing.assert_close(
        x.detach(), torch.linalg.solve(A, b), rtol=0, atol=1e-7
    )  # √ε: a line search sees values only to rounding


def test_lbfgs_converges_superlinearly_on_rosenbrock():
    x, _, _, residual = rosenbrock()
    optimizer = LBFGS([x], max_iter=1)
    errors = []
    for _ in range(60):
        minimise(optimizer, x, lambda: residual().square().sum(), 1)
        errors.append(float((x.detach() - 1).norm()))
        if errors[-1] < 1e-12:
            break
    assert errors[-1] < 1e-9
    late = [b / a for a, b in zip(errors, errors[1:], strict=False) if 1e-8 < a < 1e-1]
    assert min(late[-2:]) < 0.1, late  # a linear method has a constant ratio


def test_lbfgs_says_when_it_is_stuck_and_only_then():
    x = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = LBFGS([x])
    minimise(optimizer, x, lambda: (x * 0).sum() + 1.0, 1)
    assert optimizer.stuck and optimizer.restarts == 1
    with torch.no_grad():
        x += 1
    minimise(optimizer, x, lambda: x.square().sum(), 1)
    assert not optimizer.stuck


def test_lbfgs_restarts_from_steepest_descent_when_its_history_has_gone_bad():
    x = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = LBFGS([x], max_iter=2)
    f = lambda: (x - torch.arange(3)).pow(4).sum()
    minimise(optimizer, x, f, 1)
    optimizer.state[x]["d"] = torch.full((3,), torch.nan, dtype=torch.float64)
    optimizer.state[x]["old_dirs"] = [torch.zeros(3, dtype=torch.float64)]
    optimizer.state[x]["old_stps"] = [torch.zeros(3, dtype=torch.float64)]
    optimizer.state[x]["ro"] = [torch.tensor(0.0, dtype=torch.float64)]
    optimizer.state[x]["H_diag"] = torch.tensor(0.0, dtype=torch.float64)  # the next direction is 0
    optimizer.state[x]["prev_flat_grad"] = torch.zeros(3, dtype=torch.float64)
    before = float(f().detach())
    minimise(optimizer, x, f, 1)
    assert optimizer.restarts == 1 and not optimizer.stuck and float(f().detach()) < before


def test_forgetting_the_history_starts_from_steepest_descent():
    x, _, _, residual = rosenbrock()
    optimizer = LBFGS([x], max_iter=3)
    minimise(optimizer, x, lambda: residual().square().sum(), 2)
    other = torch.nn.Parameter(x.detach().clone())
    optimizer.forget()
    fresh = LBFGS([other], max_iter=3)
    minimise(optimizer, x, lambda: residual().square().sum(), 1)
    minimise(fresh, other, lambda: 100 * (other[1] - other[0] ** 2) ** 2 + (1 - other[0]) ** 2, 1)
    torch.testing.assert_close(x.detach(), other.detach(), rtol=1e-9, atol=1e-9)  # two spellings of one function


# ---- by name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_built_by_name(name):
    parameter = torch.nn.Parameter(random(3, 2))
    optimizer = build_optimizer(name, iter([parameter]), {})
    assert isinstance(optimizer, OPTIMIZERS[name]) and optimizer.param_groups[0]["params"] == [parameter]


@pytest.mark.parametrize(
    "alias, name",
    [
        ("lm", "gauss-newton"),
        ("GN", "gauss-newton"),
        ("L-BFGS", "lbfgs"),
        ("Levenberg-Marquardt", "gauss-newton"),
        ("Adam", "adam"),
        ("SGD", "sgd"),
    ],
)
def test_aliases_and_capitals_mean_the_same_optimizer(alias, name):
    assert optimizer_name(alias) == name


def test_our_lbfgs_replaces_the_one_of_torch():
    assert OPTIMIZERS["lbfgs"] is LBFGS


@pytest.mark.parametrize(
    "name, options, sentence",
    [
        ("addam", {}, "unknown optimizer 'addam'; did you mean 'adam'"),
        ("adam", {"learning_rate": 1}, "unknown option of adam 'learning_rate'"),
        ("gauss-newton", {"dampin": 1}, "did you mean 'damping'"),
        ("gn", {"damping": -1.0}, "must be positive"),
        ("adam", {"lr": -1.0}, "adam: Invalid learning rate"),
        ("adam", {"betas": (2.0, 0.9)}, "adam: Invalid beta"),
        ("sgd", {"lr": "fast"}, "sgd.lr=.fast. must be a number"),
    ],
)
def test_a_wrong_name_or_option_gets_a_sentence(name, options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(2))], options)


def test_muon_is_refused_for_fields_with_vectors():
    with pytest.raises(ProblemError, match="matrices only"):
        build_optimizer("muon", [torch.nn.Parameter(torch.zeros(2))], {})


# ---- resumption ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gauss-newton", "lbfgs", "adam"])
def test_an_optimizer_goes_on_bit_for_bit_from_its_state_dict(name, tmp_path):
    def advance(x, optimizer, steps):
        residual = lambda: torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])
        for _ in range(steps):
            if name == "gauss-newton":
                a = float(x.detach()[0])
                J = torch.tensor([[-20 * a, 10.0], [-1.0, 0.0]], dtype=torch.float64)
                optimizer.step(
                    lambda r=residual, J=J: (r().detach(), J), lambda r=residual: r().detach().square().sum()
                )
            else:
                minimise(optimizer, x, lambda r=residual: r().square().sum(), 1)

    options = {"max_iter": 2} if name == "lbfgs" else {}
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    x = torch.nn.Parameter(start.clone())
    optimizer = build_optimizer(name, [x], options)
    advance(x, optimizer, 4)
    torch.save({"x": x.detach(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    advance(x, optimizer, 4)

    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    again = torch.nn.Parameter(kept["x"])
    resumed = build_optimizer(name, [again], options)
    resumed.load_state_dict(kept["optimizer"])
    advance(again, resumed, 4)
    assert torch.equal(again.detach(), x.detach())
