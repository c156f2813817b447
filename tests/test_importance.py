"""Importance sampling: batches that are drawn where the loss is large, and a mean that stays what it was."""

import math

import pytest
import torch
from scipy.spatial import cKDTree
from stage import play, stage

from sciml import Box, Dirichlet, Disk, Equation, Interval, Problem, ProblemError
from sciml.objective import make_recipe
from sciml.sampling import SAMPLERS
from sciml.sampling.importance import by_table, draw_with_replacement, nearest
from sciml.training import Training


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def steep(points):
    return 0.01 + torch.exp(-30 * (points.X[:, 0] - 0.7) ** 2)


def test_over_many_batches_the_weighted_loss_is_the_mean_over_the_set():
    scene, n = stage({"equation": Box(x=(0, 1), y=(0, 2))}, 20, size=steep), 20
    sampler = SAMPLERS["importance"](set=25, seeds=5)
    found = []
    for i, points in enumerate(play(sampler, scene, 10**4)):
        if i:                                                # the first batch is uniform
            found.append((scene.view.shares["equation"] * steep(points).square()).mean())
    found = torch.stack(found)
    want = float(steep(sampler.sets["equation"]).square().mean())
    assert abs(float(found.mean()) - want) < 3 * float(found.std()) / 100
    uniform = torch.rand(10**4, n, generator=seeded(), dtype=torch.float64)
    plain = (0.01 + torch.exp(-30 * (uniform - 0.7) ** 2)).square().mean(1)
    assert float(found.std()) < 0.5 * float(plain.std())     # which is what it is for


def test_no_weight_exceeds_the_bound_of_the_floor():
    for floor in (0.1, 0.5, 1.0):
        scene = stage({"equation": Disk((0, 0), 1.0)}, 50, size=lambda p: torch.exp(-50 * p.X.square().sum(1)))
        for points in play(SAMPLERS["importance"](floor=floor, every=3), scene, 10):
            assert float(scene.view.shares["equation"].max()) <= 1 / floor * (1 + 1e-12)
            assert float(points.weights.max()) <= math.pi / 50 / floor * (1 + 1e-12)
    assert float((scene.view.shares["equation"] - 1).abs().max()) < 1e-12


def test_probabilities_are_the_losses_of_the_nearest_seeds_above_a_floor():
    scene, seen = stage({"equation": Box(x=(0, 1), y=(0, 50))}, 40), {}

    def size(points):
        seen["seeds"] = points.X.clone()
        return steep(points)

    scene.view.magnitude = lambda block: size
    sampler = SAMPLERS["importance"](set=20, seeds=0.75)
    list(play(sampler, scene, 1))
    X, seeds = sampler.sets["equation"].X, seen["seeds"]
    assert X.shape == (800, 2) and seeds.shape == (30, 2)
    assert all(bool((X == s).all(1).any()) for s in seeds)                     # seeds are points of the set
    low, high = X.amin(0), X.amax(0)
    scaled = lambda A: ((A - low) / (high - low)).numpy()
    owner = torch.from_numpy(cKDTree(scaled(seeds)).query(scaled(X))[1])
    losses = (0.01 + torch.exp(-30 * (seeds[:, 0] - 0.7) ** 2)).square()[owner]
    torch.testing.assert_close(sampler.q["equation"], 0.9 * losses / losses.sum() + 0.1 / 800, rtol=1e-12, atol=0)
    assert float(sampler.q["equation"].sum()) == pytest.approx(1, abs=1e-12)


def test_the_nearest_seed_is_that_of_a_tree_however_the_table_is_cut(monkeypatch):
    from sciml.sampling import importance

    X, S = torch.rand(500, 3, generator=seeded()), torch.rand(40, 3, generator=seeded(1))
    X[:, 2] = 1.0
    S[:, 2] = 1.0                                                               # a face: no extent
    X, S = X.double(), S.double()
    scaled = lambda A: ((A - X.amin(0)) / (X.amax(0) - X.amin(0)).clamp_min(1e-300))[:, :2].numpy()
    want = torch.from_numpy(cKDTree(scaled(S)).query(scaled(X))[1])
    for table in (40, 1000, 10**6):
        monkeypatch.setattr(importance, "TABLE", table)
        assert torch.equal(by_table(*(torch.from_numpy(scaled(A)) for A in (X, S))), want)
    assert torch.equal(nearest(X, S), want)


def test_points_are_drawn_with_their_probabilities():
    q = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.7, 0.0])
    counts = torch.bincount(draw_with_replacement(q.double().cumsum(0), 10**5, seeded()), minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    for i in (1, 2, 4):
        p = float(q[i])
        assert int(counts[i]) == pytest.approx(1e5 * p, abs=4 * math.sqrt(1e5 * p * (1 - p)))


def test_seeds_are_scored_at_their_steps_and_batches_drawn_at_theirs():
    calls = []
    scene = stage({"equation": Interval(x=(0, 1))}, 30, size=lambda p: calls.append(len(p)) or steep(p))
    seen = [p.X for p in play(SAMPLERS["importance"](every=4, redraw=2), scene, 9)]
    assert calls == [15, 15, 15]                                                # before steps 0, 4 and 8
    changed = [i - 1 for i in range(1, len(seen)) if seen[i] is not seen[i - 1]]
    assert changed == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e-300, 1e300])
def test_losses_without_contrast_give_uniform_batches(value):
    scene = stage({"equation": Interval(x=(0, 1))}, 30, size=lambda p: torch.full_like(p.X[:, 0], value))
    for _ in play(SAMPLERS["importance"](), scene, 3):
        torch.testing.assert_close(scene.view.shares["equation"], torch.ones(30, dtype=torch.float64))


@pytest.mark.parametrize("option, value", [("redraw", 0), ("set", 0.5), ("seeds", 0), ("floor", 0), ("floor", 2)])
def test_options_are_checked(option, value):
    with pytest.raises(ProblemError, match=f"importance.{option}={value} must be"):
        SAMPLERS["importance"](**{option: value})


def test_weights_of_points_are_refused_beside_it():
    with pytest.raises(ProblemError, match="balance=causal weighs points, and so does sampler=importance"):
        make_recipe({}, dict(sampler="importance", balance="causal", optimizer="adam"))


def test_the_expected_gradient_is_that_of_the_whole_set():
    problem = Problem(domain=Interval(x=(0, 1)), unknowns="u",
                      conditions=[Equation(lambda u, x: u.xx + torch.exp(-100 * (x - 0.5) ** 2)), Dirichlet(u=0.0)])
    run = Training(problem, make_recipe({}, dict(model=dict(width=5, depth=1), points=30, optimizer="adam", steps=1,
                                                 sampler="importance")))
    gradients = []
    for _ in range(1500):
        run.sampler._place(run.scene, run.scene.blocks[0])
        if not gradients:
            run.sampler.update(run.scene, 0, 0.0)
        gradients.append(run.objective.gradients()[1][0])
    block = run.scene.blocks[0]
    run.scene.place(block, run.sampler.sets[block.name])
    want = run.objective.gradients()[1][0]
    found = torch.stack(gradients[1:])
    error = (found.mean(0) - want).abs() / (found.std(0) / math.sqrt(len(found))).clamp_min(1e-12)
    assert float(error.max()) < 4.5                          # σ, the largest of some twenty
