"""Weights of conditions and of points against plain implementations of their formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from small import SMALL

from sciml import Box, Dirichlet, Equation, Initial, Problem
from sciml.balance import build_balance
from sciml.balance.attention import earned
from sciml.objective import make_recipe
from sciml.points import Points
from sciml.training import Training

CLOSE = dict(rtol=1e-11, atol=1e-14)     # float64, sums over some hundred terms in another order


def heat() -> Problem:
    """u_t = u_xx / 10."""
    return Problem(
        domain=Box(x=(0, 1), t=(0, 1)), unknowns="u",
        conditions=[Equation(lambda u: u.t - 0.1 * u.xx), Initial(u=lambda x: torch.sin(torch.pi * x)),
                    Dirichlet(u=0.0, on=["x-", "x+"], weight=3.0)],
        reference=dict(u=lambda x, t: torch.exp(-0.1 * torch.pi**2 * t) * torch.sin(torch.pi * x)))


def options(balance: str, **more) -> dict:
    return {**SMALL, "constraints": "soft", "optimizer": "adam", "balance": balance, "sampler.every": 0, **more}


def trained(balance: str = "fixed", steps: int = 0, **more) -> Training:
    training = Training(heat(), make_recipe({}, options(balance, steps=max(steps, 1), **more)))
    if steps:
        list(training.run())
    return training


def drift(objective, k: int) -> None:
    """Moves the parameters the same way whatever is tested."""
    generator = torch.Generator().manual_seed(k)
    with torch.no_grad():
        for p in objective.trainable:
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)


def autograd_gradients(objective, names) -> list[list[torch.Tensor]]:
    """∇ of the mean square of every block by plain autograd, by parameter."""
    losses = objective.losses()
    grads = lambda loss: torch.autograd.grad(loss, objective.trainable, retain_graph=True, allow_unused=True)
    return [[torch.zeros_like(p) if g is None else g
             for g, p in zip(grads(losses[n]), objective.trainable, strict=True)] for n in names]


NAMES = ["equation", "initial", "dirichlet"]
flat = lambda gradient: torch.cat([g.reshape(-1) for g in gradient]).numpy()


def part_of(balance: str, **given):
    return build_balance(balance, {balance: given}).parts[balance]


# ---- from gradients ----------------------------------------------------------------------------------------------


def test_grad_norm_gives_every_condition_the_mean_length_of_the_gradients():
    objective, part, want = trained().objective, part_of("grad-norm"), np.ones(3)
    for k in range(3):
        objective.weights["initial"] = 7.0                    # gradients must not see it
        n = np.array([np.linalg.norm(flat(g)) for g in autograd_gradients(objective, NAMES)])
        want = 0.9 * want + 0.1 * n.mean() / (n + 1e-5 * n.mean())
        found = part.update(objective, k)
        np.testing.assert_allclose([float(found[b]) for b in NAMES], want, **CLOSE)
        assert objective.weights["initial"] == 7.0
        drift(objective, k)
    part = part_of("grad-norm", alpha=0.0)
    pulls = [float(w) * n for w, n in zip(part.update(objective, 0).values(), [
        np.linalg.norm(flat(g)) for g in autograd_gradients(objective, NAMES)], strict=True)]
    assert max(pulls) / min(pulls) < 1 + 1e-3                 # equal up to ε = 1e-5 times a ratio of lengths


def annealed(variant: str, gradients, old: np.ndarray) -> np.ndarray:
    """λ̂ of the conditions after the first, from gradients by parameter."""
    if variant == "reference":
        matrices = [[np.abs(g.numpy()) for g in gradient if g.ndim > 1] for gradient in gradients]
        top = max(g.max() for g in matrices[0])
        return top / (old * np.array([np.mean([g.mean() for g in gradient]) for gradient in matrices[1:]]))
    sizes = [np.abs(flat(g)) for g in gradients]
    means = np.array([s.mean() for s in sizes])
    top = means[0] if variant == "mean" else sizes[0].max()
    return top / (means[1:] if variant == "unweighted" else old * means[1:])


@pytest.mark.parametrize("variant", ["reference", "pooled", "unweighted", "mean"])
def test_annealing_follows_its_formula_in_every_variant(variant):
    objective, part, want = trained().objective, part_of("lra", variant=variant), np.ones(2)
    for k in range(3):
        want = 0.9 * want + 0.1 * annealed(variant, autograd_gradients(objective, NAMES), want)
        found = part.update(objective, k)
        assert set(found) == {"initial", "dirichlet"}         # equations keep theirs
        np.testing.assert_allclose([float(found[b]) for b in NAMES[1:]], want, **CLOSE)
        drift(objective, k)


class Gradients:
    """A view of which only gradients and traces are seen: an equation and another condition, two parameters."""

    def __init__(self, equation, other, dtype=torch.float64):
        self.G = torch.tensor([equation, other], dtype=dtype)
        self.blocks = [SimpleNamespace(name=n, kind=n, weight=1.0) for n in ("equation", "other")]
        self.weights = dict.fromkeys(("equation", "other"), 1.0)
        self.trainable = [torch.nn.Parameter(torch.zeros(1, 2, dtype=dtype))]

    def gradients(self, groups=None):
        return self.G.square().sum(1), self.G, {}

    def traces(self, count=None):
        return dict(zip(("equation", "other"), self.G.square().sum(1), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["grad-norm", "lra", "ntk", "vrba-blocks"])
def test_a_gradient_that_vanishes_leaves_weights_finite_and_positive(name, dtype):
    for rows in (([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, 0.0])):
        found = part_of(name).update(Gradients(*rows, dtype), 0)
        assert all(bool(torch.isfinite(w)) and float(w) > 0 and w.dtype == dtype for w in found.values()), rows


def test_annealing_is_capped():
    found = part_of("lra", cap=50.0, alpha=1.0).update(Gradients([1.0, 2.0], [1e-9, 0.0]), 0)
    assert float(found["other"]) == 50.0


def test_ntk_is_the_sum_of_squared_rows_of_the_jacobian_and_not_the_square_of_their_sum():
    objective = trained().objective
    objective.weights["equation"] = 5.0                       # residuals must not see it
    traces, sums = [], []
    for block in objective.blocks:
        r = objective.rows(block, objective.points[block.name])[:, 0]
        rows = [flat([torch.zeros_like(p) if g is None else g for g, p in zip(
            torch.autograd.grad(x, objective.trainable, retain_graph=True, allow_unused=True), objective.trainable,
            strict=True)]) for x in r]
        traces.append(np.mean([row @ row for row in rows]))
        sums.append(np.sum(rows, axis=0) @ np.sum(rows, axis=0) / len(rows))
    found = part_of("ntk", alpha=0.0, rows=None).update(objective, 0)
    np.testing.assert_allclose([float(found[b]) for b in NAMES], np.mean(traces) / traces, **CLOSE)
    assert not np.allclose([float(found[b]) for b in NAMES], np.mean(sums) / np.array(sums), rtol=0.2)
    few = part_of("ntk", alpha=0.0, rows=5).update(objective, 0)
    assert all(0.2 < float(few[b]) / float(found[b]) < 5 for b in NAMES)      # 5 of 15 or 60 points
    again = part_of("ntk", rows=None)
    for k in range(2):
        last = again.update(objective, k)
    want = 0.81 + 0.19 * np.mean(traces) / np.array(traces)
    np.testing.assert_allclose([float(last[b]) for b in NAMES], want, **CLOSE)


def test_the_trace_of_few_points_reads_rows_spread_over_all():
    objective = trained().objective
    whole = objective.points["equation"]
    few = objective.traces(4)["equation"]
    objective.points["equation"] = whole[torch.tensor([0, 15, 30, 45])]
    torch.testing.assert_close(objective.traces()["equation"], few, rtol=1e-13, atol=0)


def test_weights_of_vrba_follow_moving_averages_of_lengths():
    objective, part, want = trained().objective, part_of("vrba-blocks", alpha=0.5, beta=0.25), np.full(2, 100.0)
    ema = None
    for k in range(3):
        n = np.array([np.linalg.norm(flat(g)) for g in autograd_gradients(objective, NAMES)])
        ema = n if ema is None else 0.25 * ema + 0.75 * n
        want = 0.5 * want + 0.5 * ema[0] / ema[1:]
        found = part.update(objective, k)
        np.testing.assert_allclose([float(found[b]) for b in NAMES[1:]], want, **CLOSE)
        drift(objective, k)


# ---- from losses -------------------------------------------------------------------------------------------------


class Losses:
    """A view of which only losses are seen, given step by step."""

    def __init__(self, table, dtype=torch.float64):
        self.table, self.dtype, self.step = table, dtype, 0
        self.blocks = [SimpleNamespace(name=f"b{i}", kind="condition", weight=1.0) for i in range(len(table[0]))]

    def losses(self):
        found = torch.tensor(self.table[self.step], dtype=self.dtype, requires_grad=True)
        self.step += 1
        return {b.name: x for b, x in zip(self.blocks, found, strict=True)}


def run(part, table, dtype=torch.float64) -> np.ndarray:
    """Weights after every row of losses, shape (steps, m)."""
    view = Losses(table, dtype)
    return np.array([[float(w) for w in part.update(view, k).values()] for k in range(len(table))])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


FALLING = [[1.0 / (1 + k), 0.3 / (1 + k) ** 2 + 0.01 * np.sin(k) ** 2, 0.7 * 0.9**k] for k in range(70)]


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_relobralo_follows_its_formula(rho):
    L, alpha, T = np.array(FALLING[:12]), 0.8, 0.5
    generator, weights, want = torch.Generator().manual_seed(4), np.ones(3), [np.ones(3)]
    S = lambda t, s: 3 * softmax(L[t] / (T * L[s] + 1e-12))
    for t in range(1, 12):
        kept = float(torch.rand((), generator=generator, dtype=torch.float64)) < rho
        weights = alpha * (weights if kept else S(t, 0)) + (1 - alpha) * S(t, t - 1)
        want.append(weights)
    part = part_of("relobralo", alpha=alpha, temperature=T, rho=rho, seed=4)
    np.testing.assert_allclose(run(part, FALLING[:12]), want, **CLOSE)


def test_dwa_compares_two_windows_and_starts_after_both():
    L, W, T = np.array(FALLING), 25, 2.0
    found = run(part_of("dwa"), FALLING)
    for t in range(len(L)):
        want = np.ones(3) if t < 2 * W else 3 * softmax(L[t - W:t].mean(0) / L[t - 2 * W:t - W].mean(0) / T)
        np.testing.assert_allclose(found[t], want, **CLOSE)
    assert abs(found[-1] - 1).max() > 1e-2


def test_dwa_can_smooth_the_losses():
    L = np.array(FALLING[:9])
    for t in range(1, 9):
        L[t] = 0.6 * L[t - 1] + 0.4 * L[t]
    found = run(part_of("dwa", window=2, smoothing=0.6), FALLING[:9])
    np.testing.assert_allclose(found[8], 3 * softmax(L[6:8].mean(0) / L[4:6].mean(0) / 2), **CLOSE)


def test_minmax_climbs_with_adam_and_returns_the_softmax():
    logits = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    adam, want = torch.optim.Adam([logits], lr=0.05, maximize=True), []
    for row in FALLING[:30]:
        adam.zero_grad()
        (3 * torch.softmax(logits, 0) * torch.tensor(row, dtype=torch.float64)).sum().backward()
        adam.step()
        want.append(3 * torch.softmax(logits.detach(), 0).numpy())
    found = run(part_of("minmax", lr=0.05), FALLING[:30])
    np.testing.assert_allclose(found, want, **CLOSE)
    np.testing.assert_allclose(found.sum(1), 3.0, rtol=1e-13)      # logits sum to zero
    assert found[-1, 0] > found[-1, 1]                             # the larger loss weighs more


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["relobralo", "dwa", "minmax"])
def test_losses_that_start_at_zero_or_are_huge_overflow_nothing(name, dtype, caplog):
    part = part_of(name, **({"window": 2} if name == "dwa" else {}))
    table = [[0.0, 1.0], [1e-3, 0.5], [1e30, 1e30], [0.0, 0.0], [0.0, 0.0], [1e-30, 1e30], [1.0, 0.0], [0.0, 0.0]]
    found = run(part, table, dtype)
    assert np.isfinite(found).all() and (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 2.0, rtol=1e-5)       # float32
    assert ("that of b0 is zero there" in caplog.text) == (name == "relobralo")


# ---- of points ---------------------------------------------------------------------------------------------------


class Residuals:
    """A view of which only residual magnitudes and times are seen."""

    def __init__(self, sizes, times=None, kinds=None):
        kinds = kinds or dict.fromkeys(sizes, "equation")
        self.sizes = {n: torch.as_tensor(r) for n, r in sizes.items()}
        self.blocks = [SimpleNamespace(name=n, kind=kinds[n], combine="each", whole=False, weight=1.0) for n in kinds]
        self.points = {n: Points(torch.as_tensor(t)[:, None], ("t",)) for n, t in (times or {}).items()}
        self.weights, self.point_weights = dict.fromkeys(kinds, 1.0), {}

    def magnitudes(self, names=None):
        return {n: r for n, r in self.sizes.items() if names is None or n in names}


def random(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(n)


@pytest.mark.parametrize("mask", ["square", "sigmoid"])
def test_self_adaptive_multipliers_climb_the_weighted_loss(mask):
    m = torch.square if mask == "square" else torch.sigmoid
    multiplier = torch.nn.Parameter(torch.full((7,), 1.0 if mask == "square" else 0.0, dtype=torch.float64))
    adam, part = torch.optim.Adam([multiplier], lr=0.1, maximize=True), part_of("sa", mask=mask, lr=0.1)
    for k in range(5):
        r = random(7, k)
        adam.zero_grad()
        (m(multiplier) * torch.as_tensor(r).square()).sum().backward()
        adam.step()
        found = part.update(Residuals({"a": r}), k)["a"]
        torch.testing.assert_close(found.square(), m(multiplier.detach()), rtol=1e-12, atol=0)
    assert float(found.min()) > (1.0 if mask == "square" else 0.5**0.5)     # they only climb


def test_self_adaptive_multipliers_stop_at_their_cap():
    part = part_of("sa", lr=1.0, cap=3.0)
    for k in range(10):
        w = part.update(Residuals({"a": 1 + random(5)}), k)["a"]
    assert w.tolist() == [3.0] * 5


def test_residual_attention_follows_its_formula_by_block_and_stays_below_its_bound():
    part, want = part_of("rba", gamma=0.9, eta=0.2), {"a": np.ones(6), "b": np.ones(4)}
    for k in range(50):
        r = {"a": random(6, k), "b": 1e-3 * random(4, 100 + k)}
        want = {n: 0.9 * w + 0.2 * r[n] / r[n].max() for n, w in want.items()}
        found = part.update(Residuals(r), k)
        for n, w in want.items():
            np.testing.assert_allclose(found[n], w, **CLOSE)
            assert float(found[n].max()) <= 2.0 + 1e-12             # η / (1 − γ)
    default = part_of("rba")
    for k in range(3000):
        w = default.update(Residuals({"a": np.array([1.0, 0.5])}), k)["a"]
    assert 9.5 < float(w[0]) <= 10.0                                # η/(1−γ) = 10, approached from 1 as 1 − e^−3


def q_of(potential: str, r: np.ndarray, t: int) -> np.ndarray:
    """q / max q from the formulas as they are written, on residuals of order one."""
    top = r.max()
    if potential == "exponential":
        q = np.exp((r - top) / (2.0 * top / np.log(t + 2)))
    elif potential == "cosh":
        q = np.sinh(r / brentq(lambda e: np.sinh(r / e).mean() - 1, top / np.log(4 * len(r)), 100 * top, xtol=1e-15))
    else:
        q = r if potential == "quadratic" else r**3.0
    return q / q.max()


@pytest.mark.parametrize("potential", ["quadratic", "exponential", "lp", "cosh"])
def test_variational_attention_follows_its_formula(potential):
    part, want = part_of("vrba", potential=potential, c=2.0, phi=0.8, eta=0.5, lambda_max=4.0), np.full(30, 0.1)
    for k in range(6):
        r = random(30, k)
        want = (1 - 0.125) * want + 0.5 * (0.8 * q_of(potential, r, k) + 0.2)
        found = part.update(Residuals({"a": r}), k)["a"]
        np.testing.assert_allclose(found, want, rtol=1e-9)          # brentq's tolerance
        assert float(found.max()) <= 4.0
    r = random(30, 9)
    np.testing.assert_allclose(part.renew(Residuals({"a": r}), 6)["a"], 4 * (0.8 * q_of(potential, r, 6) + 0.2),
                               rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("potential", ["quadratic", "exponential", "lp", "cosh"])
def test_what_a_point_earns_does_not_depend_on_the_scale_and_is_finite(potential, dtype):
    r = torch.as_tensor(random(1000)).to(dtype)
    want = earned(r, potential, 3, 1.0, 4.0)
    for scale in (1e3, 1e-12):
        torch.testing.assert_close(earned(scale * r, potential, 3, 1.0, 4.0), want, rtol=1e-4, atol=1e-30)
    assert float(want.max()) == 1.0 and float(want.min()) >= 0
    for edge in (torch.zeros(5, dtype=dtype), torch.ones(5, dtype=dtype), torch.ones(1, dtype=dtype)):
        assert bool(torch.isfinite(earned(edge, potential, 0, 1.0, 4.0)).all())


def test_batches_of_variational_attention_are_drawn_by_its_weights():
    part = part_of("vrba", kappa=2.0, c0=0.5)
    assert part.density("a") is None
    w = part.update(Residuals({"a": random(9)}), 0)["a"].numpy()
    np.testing.assert_allclose(part.density("a"), w**2 / np.mean(w**2) + 0.5, **CLOSE)
    training = trained("vrba", steps=3, batch=10)
    part = training.balance.points
    part.multipliers["equation"] = torch.zeros_like(part.multipliers["equation"])
    part.multipliers["equation"][7] = 1.0
    assert set(training.driver._draw(60, 10, "equation").tolist()) == {7}


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_weights_that_are_no_probabilities_draw_uniform_batches(value):
    training = trained("vrba", steps=1, batch=10)
    part = training.balance.points
    part.multipliers = {name: torch.full_like(w, value) for name, w in part.multipliers.items()}
    assert part.density("equation").tolist() == [1.0] * 60
    assert len(training.driver._draw(60, 10, "equation")) == 10


@pytest.mark.parametrize("N", [3, 64, 101])
def test_causal_weights_fall_with_time_from_one(N):
    t, r = random(N), 3 * random(N, 1)
    order, M = np.argsort(t), min(8, N)
    parts = np.array_split(order, M)                                 # whole points, sorted in time
    losses = [np.mean(r[p] ** 2) for p in parts]
    want = np.empty(N)
    for i, p in enumerate(parts):
        want[p] = np.exp(-0.7 * sum(losses[:i]))
    view = Residuals({"a": r}, {"a": t})
    part = part_of("causal", epsilon=0.7, chunks=8)
    w = part.update(view, 0)["a"].square().numpy()
    np.testing.assert_allclose(w, want, **CLOSE)
    assert w[order[0]] == 1.0 and (np.diff(w[order]) <= 0).all() and w[order[-1]] < 0.9
    mixed = np.random.default_rng(5).permutation(N)
    again = part.update(Residuals({"a": r[mixed]}, {"a": t[mixed]}), 0)["a"].square().numpy()
    np.testing.assert_allclose(again, w[mixed], **CLOSE)             # the order of points means nothing


def test_points_of_one_time_have_one_causal_weight():
    t = np.repeat([0.0, 0.25, 0.5, 1.0], 10)                         # a grid: 4 times for 16 chunks
    w = part_of("causal").update(Residuals({"a": 1 + random(40)}, {"a": t}), 0)["a"].reshape(4, 10)
    assert (w == w[:, :1]).all() and float(w[0, 0]) == 1.0 and (np.diff(w[:, 0].numpy()) < 0).all()


def test_several_equations_share_the_smallest_causal_weight_of_a_time():
    times = {"a": random(50), "b": random(50, 1), "wall": np.array([0.0, 0.5, 1.0])}
    sizes = {"a": np.where(times["a"] < 0.5, 0.1, 5.0), "b": np.full(50, 1.0), "wall": np.ones(3)}
    curves = []
    for n in ("a", "b"):
        parts = np.array_split(np.argsort(times[n]), 4)
        before = np.cumsum([0.0, *(np.mean(sizes[n][p] ** 2) for p in parts[:-1])])
        curves.append((np.array([times[n][p[-1]] for p in parts[:-1]]), np.exp(-before)))
    view = Residuals(sizes, times, {"a": "equation", "b": "equation", "wall": "dirichlet"})
    found = part_of("causal", chunks=4, conditions="all").update(view, 0)
    for name, t in times.items():
        want = np.minimum(*(w[(t[:, None] > ends).sum(1)] for ends, w in curves))
        np.testing.assert_allclose(found[name].square(), want, **CLOSE)
    assert float(found["wall"][0]) == 1.0 > float(found["wall"][1]) > float(found["wall"][2])
    assert set(part_of("causal", chunks=4).update(view, 0)) == {"a", "b"}
