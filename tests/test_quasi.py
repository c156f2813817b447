"""Dense quasi-Newton methods are what their formulas say, and converge as theory says."""

import numpy as np
import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml.errors import NonFiniteError, ProblemError
from sciml.optim import build_optimizer, memory
from sciml.optim.broyden import BFGS, SSBFGS, SSBroyden, broyden_factors, rank_two
from sciml.optim.wolfe import Trial, Wolfe, cubic_minimiser, strong_wolfe

METHODS = {
    "bfgs": (BFGS, {}), "ssbfgs ab": (SSBFGS, {}), "ssbfgs ol": (SSBFGS, {"scaling": "ol"}),
    "ssbroyden2": (SSBroyden, {}), "ssbroyden1": (SSBroyden, {"variant": 1}),
}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def minimise(optimizer, f, steps):
    def closure():
        optimizer.zero_grad()
        value = f()
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(closure)
        if optimizer.stuck:
            break


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


# ---- line search -----------------------------------------------------------------------------------------------


def line(f):
    """A function of one number as trials, with derivatives by autograd."""
    def evaluate(alpha):
        a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        value = f(a)
        (slope,) = torch.autograd.grad(value, a)
        return Trial(alpha, float(value.detach()), float(slope), slope.reshape(1))

    return evaluate


FUNCTIONS = {
    "a parabola": lambda a: (a - 3) ** 2,
    "a far minimum": lambda a: (a / 1e4 - 1) ** 2,
    "a near minimum": lambda a: (1e4 * a - 1) ** 2,
    "More and Thuente 1": lambda a: -a / (a**2 + 2),
    "More and Thuente 2": lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
    "a ripple": lambda a: (a - 4) ** 2 + torch.sin(7 * a),
    "a wall": lambda a: -torch.log(1 - a) - 3 * a,             # not a number beyond 1
    "an overflow": lambda a: torch.exp(a**2) - 5 * a,
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_line_search_ends_where_both_wolfe_conditions_hold(name, first):
    evaluate = line(FUNCTIONS[name])
    start = evaluate(0.0)
    found = strong_wolfe(evaluate, Wolfe(start, noise=0.0), first)
    assert found is not None
    assert found.value <= start.value + 1e-4 * found.alpha * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)
    again = evaluate(found.alpha)
    assert (again.value, again.slope) == (found.value, found.slope) and torch.equal(again.gradient, found.gradient)


def test_the_cubic_through_two_trials_is_exact_for_a_cubic_on_either_side():
    evaluate = line(lambda a: a**3 - 3 * a + 2)                # minimum at 1
    for a, b in [(0.5, 2.0), (2.0, 0.5), (0.2, 0.6)]:
        assert cubic_minimiser(evaluate(a), evaluate(b)) == pytest.approx(1.0, abs=1e-12)
    falling = line(lambda a: -a - a**3)
    assert np.isnan(cubic_minimiser(falling(0.0), falling(1.0)))


def test_values_that_are_level_but_for_noise_are_judged_by_their_slopes():
    """A parabola whose decrease, 1e-14, is below the rounding of its values, 1e-10, but whose slopes are exact."""
    calls = []

    def evaluate(alpha):
        calls.append(alpha)
        slope = 2e-14 * (alpha - 3)
        return Trial(alpha, 1.0 + 1e-10 * (-1) ** len(calls), slope, torch.tensor([slope], dtype=torch.float64))

    start = Trial(0.0, 1.0, -6e-14, torch.tensor([-6e-14], dtype=torch.float64))
    found = strong_wolfe(evaluate, Wolfe(start, noise=1e-6), 100.0)
    assert found is not None and abs(found.slope) <= 0.9 * 6e-14 and len(calls) < 10
    calls.clear()
    strict = strong_wolfe(evaluate, Wolfe(start, noise=0.0), 100.0)
    assert strict is None or strict.value < 1.0                # without noise it can only trust a lucky value


def test_a_line_without_descent_gives_nothing():
    evaluate = line(lambda a: a.abs())
    start = Trial(0.0, 0.0, -1.0, torch.ones(1))               # a gradient that is wrong
    assert strong_wolfe(evaluate, Wolfe(start, noise=0.0), 1.0) is None


# ---- the update ------------------------------------------------------------------------------------------------


def textbook_bfgs(H, s, y):
    """(Id − ρ s yᵀ) H (Id − ρ y sᵀ) + ρ s sᵀ, Nocedal and Wright (2006), eq. 6.17."""
    rho = 1 / (y @ s)
    E = np.eye(len(s)) - rho * np.outer(s, y)
    return E @ H @ E.T + rho * np.outer(s, s)


def pair(n=7, seed=0):
    """An SPD H and a pair with yᵀs > 0."""
    A = random(n, n, seed=seed)
    H = A @ A.T + torch.eye(n, dtype=torch.float64)
    B = random(n, n, seed=seed + 1)
    s = random(n, seed=seed + 2)
    return H, s, (B @ B.T + torch.eye(n, dtype=torch.float64)) @ s


def numbers(H, s, y):
    z = H @ y
    q, rho = float(y @ z), float(1 / (y @ s))
    return z, q, rho, rho * q, float(s @ torch.linalg.solve(H, s)) * rho


def test_the_update_without_scaling_is_textbook_bfgs():
    H, s, y = pair()
    z, q, rho, *_ = numbers(H, s, y)
    want = textbook_bfgs(H.numpy(), s.numpy(), y.numpy())
    rank_two(H, z, s, q, rho, 1.0, 1.0)
    assert np.abs(H.numpy() - want).max() <= 1e-14 * np.abs(want).max() * 10  # a few roundings of the largest entry


@pytest.mark.parametrize("tau, phi", [(1.0, 1.0), (0.3, 1.0), (0.5, 0.4), (0.9, 1.3), (1.0, 0.0)])
def test_the_update_in_place_is_the_formula_with_v_and_keeps_the_secant_equation(tau, phi):
    H, s, y = pair()
    z, q, rho, *_ = numbers(H, s, y)
    v = rho * s - z / q
    want = (H - torch.outer(z, z) / q + phi * q * torch.outer(v, v)) / tau + rho * torch.outer(s, s)
    rank_two(H, z, s, q, rho, tau, phi)
    scale = float(want.abs().max())
    torch.testing.assert_close(H, want, rtol=0, atol=1e-14 * scale)
    torch.testing.assert_close(H @ y, s, rtol=0, atol=1e-13 * scale * float(y.norm()))
    torch.testing.assert_close(H, H.T, rtol=0, atol=1e-15 * scale)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_self_scaled_broyden_keeps_the_matrix_positive_definite(variant, seed):
    H, s, y = pair(seed=3 * seed)
    s = s * 10.0 ** (seed % 7 - 3)                             # b from 1e-3 to 1e3 and more
    z, q, rho, h, b = numbers(H, s, y)
    tau, phi, _ = broyden_factors(h, b, 7, variant)
    rank_two(H, z, s, q, rho, tau, phi)
    assert float(torch.linalg.eigvalsh(H)[0]) > 0


def reference_factors(h, b, n, variant):
    """The formulas of the method as they are written, in numpy."""
    a = max(h * b - 1, 0)
    c = np.sqrt(a / (1 + a))
    low = min(1, h * (1 - c))
    minus = (low - 1) / a
    plus, star = max(1, b * (1 + c)), (np.inf if b == 1 else 1 / (1 - b))
    theta = max(minus, min(1 / low, (1 - b) / b)) if variant == 2 else \
        (minus if b == 1 else max(minus, star) if b > 1 else min(plus, star))
    sigma, rk = 1 + theta * a, min(1, 1 / b)
    e = abs(sigma) ** (-1 / (n - 1))
    return (min(rk * e, sigma) if theta <= 0 else rk * min(e, 1 / theta)), (1 - theta) / sigma, sigma


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("b", [0.05, 0.7, 0.999, 1.0, 1.001, 3.0, 40.0])
@pytest.mark.parametrize("a", [1e-6, 0.1, 1.0, 30.0])
def test_the_factors_of_self_scaled_broyden_are_those_of_the_formulas(a, b, variant):
    h = (1 + a) / b
    got, want = broyden_factors(h, b, 129, variant), reference_factors(h, b, 129, variant)
    np.testing.assert_allclose(got, want, rtol=1e-8)           # a = hb − 1 loses ε/a ≈ 1e-10


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("b", [1e-12, 1e-3, 1 - 1e-15, 1.0, 1 + 1e-15, 1e3, 1e12])
@pytest.mark.parametrize("a", [0.0, 1e-16, 1e-14, 1e-13, 1e-8, 1e12])
def test_the_factors_are_finite_in_their_limits(a, b, variant):
    for n in (1, 2, 1000):
        tau, phi, sigma = broyden_factors((1 + a) / b, b, n, variant)
        assert np.isfinite([tau, phi, sigma]).all() and tau > 0 and sigma > 0


def test_without_curvature_to_correct_self_scaled_broyden_is_a_scaled_bfgs():
    assert broyden_factors(0.5, 2.0, 10) == (0.5, 1.0, 1.0)    # a = 0: θ = 0, φ = 1, τ = min(1, 1/b)
    assert broyden_factors(2.0, 0.5, 10) == (1.0, 1.0, 1.0)


def test_an_update_with_negative_curvature_is_skipped():
    x = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = BFGS([x], max_iter=1)
    minimise(optimizer, lambda: rosenbrock(x), 3)
    H = optimizer.inverse_hessian.clone()
    g = optimizer.state[x]["gradient"]
    optimizer._update(Trial(1.0, 0.0, 0.0, 2 * g), -(H @ g), -float(g @ H @ g))    # y = g: yᵀs = −gᵀHg
    assert torch.equal(optimizer.inverse_hessian, H)


# ---- convergence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
@pytest.mark.parametrize("name", METHODS)
def test_a_quadratic_is_solved_to_rounding(name, transform):
    A = random(6, 6)
    A, x, b = A @ A.T + torch.eye(6, dtype=torch.float64), torch.nn.Parameter(random(6, seed=1)), random(6, seed=2)
    solution = torch.linalg.solve(A, b)
    cls, options = METHODS[name]
    optimizer = cls([x], transform=transform, **options)
    minimise(optimizer, lambda: (x - solution) @ A @ (x - solution) + 1e-3, 10)
    torch.testing.assert_close(x.detach(), solution, rtol=0, atol=1e-9)  # beyond √ε: slopes decide where values cannot


@pytest.mark.parametrize("name", [n for n in METHODS if n != "ssbfgs ol"])
def test_rosenbrock_in_ten_dimensions_converges_superlinearly(name):
    cls, options = METHODS[name]
    x = torch.nn.Parameter(torch.linspace(-1.2, 1, 10, dtype=torch.float64))
    optimizer = cls([x], max_iter=1, **options)
    errors = []
    for _ in range(300):
        minimise(optimizer, lambda: rosenbrock(x), 1)
        errors.append(float((x.detach() - 1).norm()))
        if errors[-1] < 1e-11:
            break
    assert errors[-1] < 1e-11
    late = [b / a for a, b in zip(errors, errors[1:], strict=False) if 1e-9 < a < 1e-2]
    assert min(late) < 0.2, late          # steepest descent stays above 0.99; self-scaled BFGS reaches 0.1


def test_bfgs_takes_the_steps_of_an_independent_bfgs():
    """The same iterates as scipy's BFGS as long as both accept the first trial of every line search."""
    A = np.diag([1.0, 4.0, 9.0])
    x = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64))
    optimizer = BFGS([x], max_iter=1)
    position, H = np.ones(3), np.eye(3)
    f = lambda p: 0.5 * p @ A @ p
    old = f(position) + 0.5 * np.linalg.norm(A @ position)
    for _ in range(5):
        minimise(optimizer, lambda: 0.5 * x @ torch.as_tensor(A) @ x, 1)
        g = A @ position
        p = -H @ g
        first = min(1.0, 2.02 * (f(position) - old) / (g @ p))
        first = first if first > 0 else 1.0
        s = x.detach().numpy() - position
        alpha = (s @ p) / (p @ p)
        np.testing.assert_allclose(s, alpha * p, atol=1e-12)   # along −Hg with a textbook H
        new = position + first * p
        if f(new) <= f(position) + 1e-4 * first * (g @ p) and abs(A @ new @ p) <= 0.9 * abs(g @ p):
            assert alpha == pytest.approx(first, rel=1e-12)    # the first trial is right, so it is taken
        old, y = f(position), A @ s
        H, position = textbook_bfgs(H, s, y), x.detach().numpy().copy()


@pytest.mark.parametrize("name", METHODS)
def test_everything_stays_in_float32_and_independent_of_the_default_dtype(name):
    cls, options = METHODS[name]
    for dtype, default, tolerance in [(torch.float32, torch.float64, 1e-3), (torch.float64, torch.float32, 1e-9)]:
        torch.set_default_dtype(default)
        try:
            x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=dtype))
            optimizer = cls([x], **options)
            minimise(optimizer, lambda x=x: rosenbrock(x), 20)
        finally:
            torch.set_default_dtype(torch.float32)
        assert optimizer.inverse_hessian.dtype == x.dtype == dtype
        assert float((x.detach() - 1).norm()) < tolerance


def test_a_scaled_identity_follows_the_curvature_of_the_first_pair():
    for cls in (BFGS, SSBroyden):
        x = torch.nn.Parameter(random(5))
        optimizer = cls([x], max_iter=1, initial_scaling=True)
        minimise(optimizer, lambda x=x: 50 * x.square().sum(), 1)
        torch.testing.assert_close(optimizer.inverse_hessian, torch.eye(5, dtype=torch.float64) / 100)


# ---- what a run needs ------------------------------------------------------------------------------------------


def test_forgetting_keeps_the_matrix_and_drops_what_belongs_to_points():
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = SSBroyden([x], max_iter=5)
    minimise(optimizer, lambda: rosenbrock(x), 2)
    assert optimizer.evaluated
    H = optimizer.inverse_hessian.clone()
    optimizer.forget()
    assert not optimizer.evaluated and torch.equal(optimizer.inverse_hessian, (H + H.T) / 2)
    optimizer.state[x]["H"] -= 2 * torch.eye(2, dtype=torch.float64) * float(H.diagonal().max())
    optimizer.forget()
    assert optimizer.inverse_hessian is None                   # not positive definite: the identity again


def test_a_matrix_that_has_gone_bad_is_dropped_and_steepest_descent_goes_on():
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = BFGS([x], max_iter=2)
    minimise(optimizer, lambda: rosenbrock(x), 1)
    before = float(rosenbrock(x.detach()))
    optimizer.state[x]["H"].mul_(-1)
    minimise(optimizer, lambda: rosenbrock(x), 1)
    assert optimizer.restarts == 1 and not optimizer.stuck and float(rosenbrock(x.detach())) < before


def test_it_says_when_it_is_stuck_and_only_then():
    x = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = BFGS([x])
    minimise(optimizer, lambda: (x * 0).sum() + 1.0, 1)
    assert optimizer.stuck
    optimizer.forget()
    with torch.no_grad():
        x += 1
    minimise(optimizer, lambda: x.square().sum(), 1)
    assert not optimizer.stuck and float(x.detach().norm()) < 1e-6


def test_values_that_are_not_finite_are_turned_back_from_and_a_bad_start_is_an_error():
    x = torch.nn.Parameter(torch.tensor([0.1], dtype=torch.float64))
    optimizer = BFGS([x])
    minimise(optimizer, lambda: (x - torch.log(3 * x)).sum(), 3)          # −g goes far beyond … the log of a negative
    assert float(x.detach()) == pytest.approx(1.0, abs=1e-8)
    with pytest.raises(NonFiniteError):
        minimise(BFGS([torch.nn.Parameter(x.detach() * torch.nan)]), lambda: (x * torch.nan).sum(), 1)


def test_an_interrupted_line_search_leaves_the_last_finished_iterate():
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = BFGS([x], max_iter=1)
    minimise(optimizer, lambda: rosenbrock(x), 3)
    kept, calls = x.detach().clone(), []

    def closure():
        calls.append(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert calls and torch.equal(x.detach(), kept)


def test_parameters_without_a_gradient_stand_still():
    x, idle = (torch.nn.Parameter(random(2, 2, seed=s)) for s in (0, 1))
    start, optimizer = idle.detach().clone(), SSBroyden([x, idle])
    minimise(optimizer, lambda: x.square().sum(), 3)
    assert torch.equal(idle.detach(), start) and float(x.detach().norm()) < 1e-7


@pytest.mark.parametrize("name", ["bfgs", "ssbfgs", "ssbroyden"])
def test_its_state_goes_on_bit_for_bit(name, tmp_path):
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0, 0.3], dtype=torch.float64))
    optimizer = build_optimizer(name, [x], {"max_iter": 2})
    minimise(optimizer, lambda: rosenbrock(x), 3)
    torch.save({"x": x.detach(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    minimise(optimizer, lambda: rosenbrock(x), 3)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    again = torch.nn.Parameter(kept["x"])
    resumed = build_optimizer(name, [again], {"max_iter": 2})
    resumed.load_state_dict(kept["optimizer"])
    minimise(resumed, lambda: rosenbrock(again), 3)
    assert torch.equal(again.detach(), x.detach())
    assert torch.equal(resumed.inverse_hessian, optimizer.inverse_hessian)


def test_a_run_keeps_the_matrix_over_redraws():
    from sciml.objective import make_recipe
    from sciml.training import Training

    training = Training(inverse(), make_recipe({}, {**SMALL, "optimizer": "ssbroyden", "ssbroyden.max_iter": 2,
                                                    "rad.every": 2, "steps": 5}))
    kept = []
    forget = training.driver.optimizer.forget

    def watched():
        forget()
        kept.append(training.driver.optimizer.inverse_hessian)

    training.driver.optimizer.forget = watched
    losses = [r.loss for r in training.run()]
    assert [H is not None for H in kept] == [False, True, True]     # at the start there is none; redraws after 2 and 4
    assert losses[-1] < losses[0]


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    x = [torch.nn.Parameter(torch.zeros(1000, 100, dtype=torch.float64))]
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**30)
    with pytest.raises(ProblemError, match=r"ssbroyden needs 149 GiB .* 1 GiB free; optimizer=lbfgs needs 154 MiB"):
        SSBroyden(x)
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**21)
    with pytest.raises(ProblemError, match="optimizer=adam needs 1.53 MiB"):
        SSBroyden(x)
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    with pytest.raises(ProblemError, match="use a smaller field"):
        SSBroyden(x)
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    SSBroyden(x)                                               # a system that does not say is trusted


def test_the_free_memory_of_this_machine_is_a_plausible_number():
    free = memory.free_memory(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50


def test_a_number_of_bytes_is_readable():
    assert [memory.size_text(n) for n in (10, 2048, 3 * 2**30, 5000 * 2**30)] == \
        ["10 bytes", "2 KiB", "3 GiB", "5,000 GiB"]


@pytest.mark.parametrize("cls, options, sentence", [
    (BFGS, {"max_iter": 0}, "bfgs.max_iter=0 must be at least 1"),
    (SSBFGS, {"scaling": "xy"}, "unknown ssbfgs.scaling 'xy'"),
    (SSBroyden, {"variant": 3}, "ssbroyden.variant=3 must be 1 or 2"),
    (SSBroyden, {"transform": "root"}, "unknown ssbroyden.transform 'root'"),
])
def test_a_wrong_option_gets_a_sentence(cls, options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        cls([torch.nn.Parameter(torch.zeros(2))], **options)


def test_two_groups_of_parameters_are_refused():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))]} for _ in range(2)]
    with pytest.raises(ProblemError, match="one group"):
        BFGS(groups)


def test_surgery_on_gradients_is_refused_with_every_quasi_newton_method():
    for name in ("bfgs", "ssbfgs", "ssbroyden", "lbfgs"):
        with pytest.raises(ProblemError, match=f"balance=config .* {name}"):
            sciml.solve(inverse(), optimizer=name, balance="config", constraints="soft", **SMALL)


def test_a_small_problem_is_solved_by_every_dense_method():
    for name in ("bfgs", "ssbfgs", "ssbroyden"):
        solution = sciml.solve(inverse(), optimizer=name, steps=6, **SMALL)
        assert solution.history[-1]["loss"] < 1e-4 * solution.history[0]["loss"], name
