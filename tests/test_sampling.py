"""Every sampler keeps one contract on every kind of region; the residual-adapted density is checked statistically."""

import math

import pytest
import torch

from sciml import Ball, Box, Disk, Interval, Polygon, ProblemError
from sciml.objective import make_recipe
from sciml.objective.recipe import sampler_options
from sciml.sampling import SAMPLERS, RegionSampler
from sciml.sampling.density import ResidualDensity, RollingDensity

REGIONS = {
    "interval": lambda: Interval(x=(-1, 2)),
    "space-time box": lambda: Box(x=(-1, 1), t=(0, 3)),
    "cube": lambda: Box(x=(0, 1), y=(0, 2), z=(0, 1)),
    "disk": lambda: Disk((1, 0), 0.5),
    "ball": lambda: Ball((0, 0, 0), 2.0),
    "polygon": lambda: Polygon([(0, 0), (2, 0), (2, 1), (1, 0.3), (0, 1)]),
    "difference": lambda: Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2),
    "product": lambda: Disk((0, 0), 1.0) * Box(t=(0, 2)),
    "face": lambda: Box(x=(0, 1), t=(0, 1)).region("x-"),
    "boundary": lambda: (Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2)).region("boundary"),
    "initial": lambda: Box(x=(0, 1), t=(0, 1)).region("initial"),
}
BY_REGION = [n for n, cls in SAMPLERS.items() if issubclass(cls, RegionSampler) and not cls.grows]
STILL = {"grid", "gauss"}  # the same at every redraw
KEEPERS = {"r3", "causal-r3", "rolling"}
CASES = [pytest.param(s, r, id=f"{s}-{r}") for s in BY_REGION for r in REGIONS]


def seeded(seed=0, device="cpu"):
    return torch.Generator(device=device).manual_seed(seed)


def steep(points):
    return 1 + points.X.square().sum(1)


@pytest.mark.parametrize("name, region", CASES)
def test_a_sampler_gives_exactly_n_points_of_the_region_in_the_dtype_asked_for(name, region, device):
    sampler, where = SAMPLERS[name](), REGIONS[region]()
    for dtype in (torch.float64, torch.float32):
        generator = seeded(device=device)
        first = sampler.start(where, 50, generator, dtype)
        N = len(first) if name == "gauss" else 50  # the largest rule up to 50, or about 50 where there is none
        assert N == 50 or 24 <= N < 50 or (not where.gaussian and N < 60)
        for points in (first, sampler.redraw(first, where, generator, steep)):
            assert points.X.shape == (N, len(where.names)) and points.names == tuple(where.names)
            assert points.X.dtype == dtype and points.X.device.type == device.type
            assert bool(where.contains(points.X).all())
            assert (points.normals is None) == (first.normals is None)


@pytest.mark.parametrize("name, region", CASES)
def test_a_redraw_gives_other_points_but_for_fixed_rules(name, region):
    sampler, where, generator = SAMPLERS[name](), REGIONS[region](), seeded()
    first = sampler.start(where, 40, generator, torch.float64)
    kept = first.X.clone()
    second = sampler.redraw(first, where, generator, steep)
    assert torch.equal(first.X, kept) and second.X.data_ptr() != first.X.data_ptr()
    new = float((torch.cdist(first.X, second.X).min(1).values > 1e-9).double().mean())
    if name in STILL:
        assert torch.equal(first.X, second.X)
    elif name in KEEPERS:
        assert 0.1 < new < 0.9
    else:
        assert new > 0.9


@pytest.mark.parametrize("name, region", CASES)
def test_one_seed_gives_one_sequence_and_the_global_generator_is_left_alone(name, region):
    sampler, where = SAMPLERS[name](), REGIONS[region]()
    state = torch.get_rng_state()

    def sequence(seed):
        generator = seeded(seed)
        first = sampler.start(where, 20, generator, torch.float64)
        return first.X, sampler.redraw(first, where, generator, steep).X

    a, b, c = sequence(5), sequence(5), sequence(6)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    if name not in STILL:
        assert not torch.equal(a[1], c[1])


@pytest.mark.parametrize("name", BY_REGION)
def test_points_cover_a_region_in_proportion_to_its_measure(name):
    where = Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.3)
    points = SAMPLERS[name]().start(where, 2000, seeded(), torch.float64)
    share = float((points.X[:, 0] < 0.25).double().mean())
    holes = 0.09 * (math.acos(0.25 / 0.3) - 0.25 / 0.3 * math.sqrt(1 - (0.25 / 0.3) ** 2))  # of the disk at x < 1/4
    want = (0.25 - holes) / (1 - math.pi * 0.09)
    assert share == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / 2000))  # 4σ of uniform points


def test_every_zero_keeps_the_points_and_negative_numbers_are_refused():
    assert all(SAMPLERS[name](every=0).every == 0 for name in SAMPLERS if name != "causal-r3")  # its gate must move
    for name in SAMPLERS:
        with pytest.raises(ProblemError, match="every=-1"):
            SAMPLERS[name](every=-1)


# ---- residual-adapted density ----------------------------------------------------------------------------------


def drawn(magnitude, rounds=40, n=100, dtype=torch.float64, **options):
    sampler, where, generator = ResidualDensity(**options), Interval(x=(0, 1)), seeded()
    points = sampler.start(where, n, generator, dtype)
    return torch.cat([sampler.redraw(points, where, generator, magnitude).X[:, 0] for _ in range(rounds)])


def share_left(x):
    return float((x < 0.5).double().mean())


@pytest.mark.parametrize("k, c", [(1, 1), (2, 1), (1, 0), (0.5, 2)])
def test_points_are_drawn_in_proportion_to_the_power_of_the_residual_plus_a_constant(k, c):
    # |r| = 3 left and 1 right; a pool of 100 n makes drawing without replacement as good as with
    x = drawn(lambda p: torch.where(p.X[:, 0] < 0.5, 3.0, 1.0).double(), k=k, c=c, pool=100)
    mean = (3**k + 1) / 2
    left, right = 3**k / mean + c, 1 / mean + c
    want = left / (left + right)
    # 4σ of 4000 draws, plus what 1 % of the pool drawn without replacement can shift
    assert share_left(x) == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / len(x)) + 0.005)


def test_a_smooth_density_has_the_right_moments():
    x = drawn(lambda p: p.X[:, 0], pool=100)  # p ∝ 2x + 1: mean 7/12, variance 11/144
    assert float(x.mean()) == pytest.approx(7 / 12, abs=4 * math.sqrt(11 / 144 / len(x)) + 0.005)


@pytest.mark.parametrize("value", [0.0, 1e-300, 1.0, 1e300, math.nan, math.inf])
@pytest.mark.parametrize("c", [0.0, 1.0])
def test_a_residual_without_contrast_gives_uniform_points(value, c):
    x = drawn(lambda p: torch.full_like(p.X[:, 0], value), c=c)
    assert bool(torch.isfinite(x).all())
    assert float(x.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * len(x)))
    assert share_left(x) == pytest.approx(0.5, abs=2 / math.sqrt(len(x)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_points_with_a_non_finite_residual_do_not_drive_the_density(value):
    bad = lambda p: torch.where(p.X[:, 0] > 0.9, value, torch.where(p.X[:, 0] < 0.5, 3.0, 1.0)).double()
    x = drawn(bad)
    assert bool(torch.isfinite(x).all()) and float((x > 0.9).double().mean()) < 0.15  # a tenth, not all points


def test_the_density_works_in_float32_and_never_repeats_a_point():
    x = drawn(lambda p: p.X[:, 0] ** 4, rounds=1, n=300, dtype=torch.float32)
    assert x.dtype == torch.float32 and len(x.unique()) == 300


def test_redrawn_boundary_points_keep_their_normals():
    where, generator = Disk((0, 0), 2.0).region("boundary"), seeded()
    sampler = ResidualDensity()
    points = sampler.redraw(sampler.start(where, 30, generator, torch.float64), where, generator, steep)
    torch.testing.assert_close(points.normals, points.X / 2.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options, sentence",
    [(dict(pool=2), "rad.pool=2 must be at least 5"), (dict(k=-1), "rad.k=-1"), (dict(c=-1), "rad.c=-1")],
)
def test_options_that_make_no_density_are_refused(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        ResidualDensity(**options)


# ---- rolling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.8, 0.99])
def test_rolling_keeps_its_share_and_draws_the_rest_by_rads_density(keep):
    where, generator, n = Interval(x=(0, 1)), seeded(), 100
    sampler, left = RollingDensity(keep=keep, pool=200), []
    first = where.sample(n, generator=generator)
    for _ in range(60):
        second = sampler.redraw(first, where, generator, lambda p: torch.where(p.X[:, 0] < 0.5, 3.0, 1.0).double())
        stays = torch.isin(second.X[:, 0], first.X[:, 0])
        assert len(second) == n and int(stays.sum()) == min(round(keep * n), n - 1)
        left.append((second.X[~stays, 0] < 0.5).double())
    left = torch.cat(left)
    want = (1.5 + 1) / (1.5 + 1 + 0.5 + 1)                # p ∝ |r| / mean + 1
    assert float(left.mean()) == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / len(left)) + 0.005)
    with pytest.raises(ProblemError, match="rolling.keep=1"):
        RollingDensity(keep=1)


@pytest.mark.parametrize("options, every", [
    (dict(optimizer="adam"), 50), (dict(optimizer="m-config"), 50), (dict(optimizer="gauss-newton"), 10),
    (dict(optimizer="adam:10,gauss-newton"), 10), (dict(), 10), ({"optimizer": "adam", "rad.every": 7}, 7),
    ({"optimizer": "adam", "sampler": "sobol"}, 10), ({"optimizer": "adam", "sampler": "rar-d"}, 10),
    ({"optimizer": "adam", "sampler": "pinnacle-k"}, 100), ({"optimizer": "lbfgs", "sampler": "pinnacle-s"}, 10)])
def test_pools_are_scored_less_often_where_steps_are_cheap(options, every):
    recipe = make_recipe({}, options)
    assert SAMPLERS[recipe.sampler](**sampler_options(recipe)).every == every


@pytest.mark.parametrize("optimizer, pool", [("adam", 4), ("gauss-newton", 20), ("adam:10,gauss-newton", 20)])
def test_pinnacle_has_more_candidates_where_steps_are_dear(optimizer, pool):
    recipe = make_recipe({}, {"optimizer": optimizer, "sampler": "pinnacle-k"})
    chooser = SAMPLERS["pinnacle-k"](**sampler_options(recipe))
    assert chooser.pool == pool and chooser.rows == "weighted"


def test_batches_by_importance_last_longer_where_steps_learn_from_each_other():
    of = lambda **options: sampler_options(make_recipe({}, {"sampler": "importance", **options}))
    assert of(optimizer="adam") == {} and of(optimizer="gauss-newton") == {"redraw": 10}
    assert of(optimizer="lbfgs", **{"importance.redraw": 3}) == {"redraw": 3}
