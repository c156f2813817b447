"""Nyström–Newton–CG: Hessian products, sketches and Newton steps against matrices that are known."""

import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml.errors import NonFiniteError, ProblemError
from sciml.objective import make_recipe
from sciml.optim import NystromNewtonCG, build_optimizer, memory
from sciml.optim.nncg import conjugate_gradients, nystrom, precondition
from sciml.training import Training


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_spectrum(values, seed=0):
    """A symmetric matrix with these eigenvalues."""
    values = torch.as_tensor(values, dtype=torch.float64)
    Q = torch.linalg.qr(random(len(values), len(values), seed=seed)).Q
    return Q @ values.diag() @ Q.T


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


SPECTRUM = [10.0 ** (4 - 0.4 * k) for k in range(30)]          # 1e4 … 2e-8, as of a neural field


@pytest.mark.parametrize("negative", [False, True])
def test_the_sketch_finds_the_large_eigenvalues_with_orthonormal_vectors(negative):
    values = torch.tensor(SPECTRUM, dtype=torch.float64)
    if negative:
        values[-5:] = -1e-2
    A = with_spectrum(values)
    U, found = nystrom(lambda v: A @ v, A[0], 20, generator())
    torch.testing.assert_close(U.T @ U, torch.eye(20, dtype=torch.float64), rtol=0, atol=1e-13)
    assert bool((found >= 0).all()) and bool((found.diff() <= 0).all())
    torch.testing.assert_close(found[:8], values[:8], rtol=0.05, atol=0)     # the sketch errs by the tail it leaves out
    full, everything = nystrom(lambda v: A @ v, A[0], 100, generator())      # a rank of all of A, which is exact
    if not negative:
        torch.testing.assert_close(full @ everything.diag() @ full.T, A, rtol=0, atol=1e-9)


def test_a_sketch_of_nothing_is_nothing():
    U, values = nystrom(torch.zeros_like, random(6), 3, generator())
    assert bool(torch.isfinite(U).all()) and float(values.max()) < 1e-12


def test_the_sketch_lowers_the_condition_number():
    A, mu = with_spectrum(SPECTRUM), 1e-3
    U, values = nystrom(lambda v: A @ v, A[0], 20, generator())
    inverse_root = torch.stack([precondition(U, values, mu, e) for e in torch.eye(30, dtype=torch.float64)])
    torch.testing.assert_close(inverse_root, inverse_root.T, rtol=0, atol=1e-12)
    damped = A + mu * torch.eye(30, dtype=torch.float64)
    condition = lambda M: float((lambda e: e.max() / e.min())(torch.linalg.eigvals(M).real))
    assert condition(damped) > 1e6
    assert condition(inverse_root @ damped) < 100             # Frangella et al. expect 28 once s is twice d_eff(μ)


def test_the_preconditioner_is_the_formula():
    U, values, v, mu = torch.linalg.qr(random(9, 4)).Q, torch.tensor([5.0, 3.0, 2.0, 1.0]).double(), random(9), 0.3
    want = (1.0 + mu) * U @ ((U.T @ v) / (values + mu)) + v - U @ (U.T @ v)
    torch.testing.assert_close(precondition(U, values, mu, v), want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("warm", [False, True])
def test_conjugate_gradients_solve_what_is_positive_definite(warm):
    A, b = with_spectrum([1.0, 2.0, 5.0, 30.0, 100.0]), random(5)
    start = random(5, seed=1) if warm else None
    found = conjugate_gradients(lambda v: A @ v, b, start, lambda v: v, 1e-12, 100)
    torch.testing.assert_close(found.solution, torch.linalg.solve(A, b), rtol=0, atol=1e-11)
    assert not found.negative and found.iterations <= 8        # 5 in exact arithmetic
    assert conjugate_gradients(lambda v: A @ v, b, torch.linalg.solve(A, b), lambda v: v, 1e-8, 100).iterations == 0


def test_the_tolerance_is_relative():
    A, b = with_spectrum([1.0, 2.0, 5.0, 30.0, 100.0]), random(5)
    counts = {conjugate_gradients(lambda v: A @ v, s * b, None, lambda v: v, 1e-3, 100).iterations
              for s in (1e-12, 1.0, 1e12)}
    assert len(counts) == 1


def test_conjugate_gradients_use_fewer_products_with_the_sketch():
    A, b, mu = with_spectrum(SPECTRUM) + 1e-3 * torch.eye(30, dtype=torch.float64), random(30), 1e-3
    U, values = nystrom(lambda v: A @ v - mu * v, b, 20, generator())
    plain = conjugate_gradients(lambda v: A @ v, b, None, lambda v: v, 1e-6, 10000)
    fast = conjugate_gradients(lambda v: A @ v, b, None, lambda v: precondition(U, values, mu, v), 1e-6, 10000)
    assert 5 * fast.iterations < plain.iterations
    torch.testing.assert_close(fast.solution, torch.linalg.solve(A, b), rtol=0, atol=1e-2 * float(b.norm()) / mu * 1e-3)


def test_negative_curvature_ends_conjugate_gradients_with_a_descent_direction():
    A, b = with_spectrum([-1.0, 1.0, 2.0, 3.0]), random(4)
    found = conjugate_gradients(lambda v: A @ v, b, None, lambda v: v, 1e-12, 100)
    assert found.negative and float(found.solution @ b) > 0
    damped = conjugate_gradients(lambda v: A @ v + 1.5 * v, b, None, lambda v: v, 1e-12, 100)   # μ > |λ_min|
    assert not damped.negative
    torch.testing.assert_close((A + 1.5 * torch.eye(4, dtype=torch.float64)) @ damped.solution, b, rtol=0, atol=1e-10)
    first = conjugate_gradients(lambda v: -v, b, None, lambda v: v, 1e-12, 100)
    assert first.negative and torch.equal(first.solution, b)   # nothing yet: steepest descent


# ---- the optimizer ---------------------------------------------------------------------------------------------


def test_hessian_products_of_an_objective_are_those_of_its_dense_hessian():
    training = Training(inverse(), make_recipe({}, {**SMALL, "optimizer": "nncg", "points": 9}))
    objective, optimizer = training.objective, training.driver.optimizer
    parameters = objective.trainable
    slopes = torch.autograd.grad(objective.loss(), parameters, create_graph=True, allow_unused=True)
    flat = torch.cat([(torch.zeros_like(p) if s is None else s).reshape(-1)
                      for p, s in zip(parameters, slopes, strict=True)])
    v, h = random(len(flat)), 1e-5

    def gradient_at(scale):
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(base + scale * v, parameters)
        objective.zero_grad()
        objective.backward()
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])

    base = torch.nn.utils.parameters_to_vector(parameters).detach()
    got = optimizer._hessian_product(slopes, v)
    want = (gradient_at(h) - gradient_at(-h)) / (2 * h)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-7 * float(want.abs().max()))   # h² + ε/h


def quadratic(values, seed=0):
    A = with_spectrum(values, seed)
    x = torch.nn.Parameter(random(len(values), seed=seed + 1))
    return A, x, lambda: 0.5 * x @ A @ x


def test_one_step_is_the_damped_newton_step():
    A, x, loss = quadratic([0.1, 1.0, 5.0, 20.0])
    start = x.detach().clone()
    after = NystromNewtonCG([x], damping=0.05, rank=2, cg_tolerance=1e-13).step(loss, generator())
    want = start - torch.linalg.solve(A + 0.05 * torch.eye(4, dtype=torch.float64), A @ start)
    torch.testing.assert_close(x.detach(), want, rtol=0, atol=1e-11)
    assert after == pytest.approx(float(0.5 * want @ A @ want), rel=1e-9)


def test_newton_converges_on_rosenbrock_and_from_a_concave_start():
    for start in ([-1.2, 1.0], [0.0, 5.0]):                    # at the second ∂²f/∂x² = 2 − 400 y < 0
        x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        loss = lambda x=x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        optimizer = NystromNewtonCG([x], damping=1e-4, rank=2, refresh=1)
        losses = [optimizer.step(loss, generator(k)) for k in range(150)]
        assert all(b <= a for a, b in zip(losses, losses[1:], strict=False))
        torch.testing.assert_close(x.detach(), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_loss_that_cannot_fall_is_refused_and_leaves_the_parameters():
    x = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = NystromNewtonCG([x], halvings=3)
    start = x.detach().clone()
    for k in (1, 2, 3):
        assert optimizer.step(lambda: x.square().sum() + 1, generator()) == 1.0
        assert optimizer.refused == k
    assert torch.equal(x.detach(), start)


def test_a_linear_loss_has_a_hessian_of_zero():
    x = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    assert NystromNewtonCG([x], damping=1.0).step(lambda: x.sum(), generator()) == pytest.approx(0.0, abs=1e-12)


def test_parameters_that_the_loss_does_not_touch_stand_still():
    x, idle = torch.nn.Parameter(torch.ones(3, dtype=torch.float64)), torch.nn.Parameter(torch.ones(2).double())
    NystromNewtonCG([x, idle]).step(lambda: x.pow(4).sum(), generator())
    torch.testing.assert_close(idle.detach(), torch.ones(2).double(), rtol=0, atol=1e-12)   # U Uᵀ rounds
    assert float(x.detach().max()) < 0.9


def test_a_start_that_is_not_finite_is_an_error():
    x = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    with pytest.raises(NonFiniteError, match="loss"):
        NystromNewtonCG([x]).step(lambda: torch.log(x).sum(), generator())
    with pytest.raises(NonFiniteError, match="gradient"):
        NystromNewtonCG([x]).step(lambda: torch.sqrt(x).sum(), generator())


@pytest.mark.parametrize("dtype, default", [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_everything_has_the_dtype_of_the_parameters(dtype, default):
    torch.set_default_dtype(default)
    try:
        x = torch.nn.Parameter(random(5).to(dtype))
        optimizer = NystromNewtonCG([x], rank=3)
        optimizer.step(lambda: x.pow(4).sum() + x.square().sum(), generator())
    finally:
        torch.set_default_dtype(torch.float32)
    state = optimizer.state[x]
    assert x.dtype == state["basis"].dtype == state["values"].dtype == state["direction"].dtype == dtype


def test_it_goes_on_bit_for_bit_from_its_state_dict(tmp_path):
    def advance(x, optimizer, steps):
        rng = generator()
        for _ in range(steps):
            optimizer.step(lambda: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(), rng)

    x = torch.nn.Parameter(random(6))
    optimizer = build_optimizer("nncg", [x], {"refresh": 100, "rank": 3})
    advance(x, optimizer, 4)
    torch.save({"x": x.detach(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    advance(x, optimizer, 4)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    again = torch.nn.Parameter(kept["x"])
    resumed = build_optimizer("nncg", [again], {"refresh": 100, "rank": 3})
    resumed.load_state_dict(kept["optimizer"])
    advance(again, resumed, 4)
    assert torch.equal(again.detach(), x.detach())


@pytest.mark.parametrize("options, sentence", [
    ({"damping": 0.0}, "damping=0.0 must be positive"), ({"rank": 0}, "of at least 1"), ({"refresh": 0}, "at least 1"),
    ({"cg_tolerance": 0.0}, "cg_tolerance in"), ({"armijo": 0.7}, "armijo in"),
])
def test_a_wrong_option_gets_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        NystromNewtonCG([torch.nn.Parameter(torch.zeros(2))], **options)


def test_two_groups_and_too_little_memory_are_refused(monkeypatch):
    x = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    with pytest.raises(ProblemError, match="one group"):
        NystromNewtonCG([{"params": [p]} for p in x])
    monkeypatch.setattr(memory, "free_memory", lambda device: 2)
    with pytest.raises(ProblemError, match="nncg needs"):
        NystromNewtonCG(x)


def test_a_compiled_pass_is_refused_because_it_has_no_second_derivative():
    with pytest.raises(ProblemError, match="nncg .* compile"):
        make_recipe({}, {"optimizer": "nncg", "compile": True})


def test_it_polishes_what_first_order_left():
    options = {**SMALL, "optimizer": "adam:30,nncg"}
    solution = sciml.solve(inverse(), steps=50, report=0.0, **options)
    losses = [h["loss"] for h in solution.history if h["stage"] == "nncg"]
    assert solution.status == "ok" and losses[-1] < 0.1 * losses[0]
    assert all(b <= a for a, b in zip(losses[1:9], losses[2:10], strict=False))     # until the points are redrawn
    assert solution.history[-1]["cg_iterations"] > 0
