"""Every sampler on a scene, on every kind of region: measure shares, fresh tensors, one seed, one sequence, resume."""

from copy import deepcopy

import pytest
import torch
from scipy.stats import chi2
from stage import play, stage
from test_sampling import REGIONS

from sciml import Box
from sciml.errors import ProblemError
from sciml.sampling import SAMPLERS

SHOWN = [n for n in SAMPLERS if not n.startswith("pinnacle")]  # that one reads Jacobians, which a stage has none of
SPREAD = [pytest.param(s, r, id=f"{s}-{r}") for s in SHOWN for r in REGIONS if s != "gauss"]  # weights: test_static
STILL = {"fixed", "grid", "gauss"}
DENSE: dict[str, torch.Tensor] = {}


def moving(name):
    """The sampler, with points that change every other step."""
    return SAMPLERS[name]() if name in STILL else SAMPLERS[name](every=2)


def begun(name, region, **options):
    """A scene on which the sampler agrees to work."""
    scene = stage({"equation": REGIONS[region]()}, 400, **options)
    try:
        SAMPLERS[name]().check(scene)
    except ProblemError as error:
        pytest.skip(str(error))
    return scene


def cells_of(X, low, high):
    """The cell of each point: three parts per coordinate of a box, one where it is flat."""
    parts = torch.where(high - low > 1e-9, 3, 1)
    at = ((X - low) / (high - low).clamp_min(1e-9) * parts).long().clamp(torch.zeros_like(parts), parts - 1)
    return (at * parts.cumprod(0).roll(1).index_fill(0, torch.tensor(0), 1)).sum(1), int(parts.prod())


@pytest.mark.parametrize("name, region", SPREAD)
def test_points_have_the_shares_of_the_measure_where_the_residual_is_the_same_everywhere(name, region):
    scene, where = begun(name, region), REGIONS[region]()
    if region not in DENSE:
        DENSE[region] = where.sample(2**16, generator=torch.Generator().manual_seed(9), rule="sobol").X
    dense = DENSE[region]
    low, high = dense.amin(0), dense.amax(0)
    reference, count = cells_of(dense, low, high)
    shares = torch.bincount(reference, minlength=count) / len(dense)
    *_, points = play(moving(name), scene, 0 if name == "causal-r3" else 6)  # a gate is not the same everywhere
    assert bool(where.contains(points.X).all())
    weights = scene.view.shares.get("equation", torch.ones_like(points.X[:, 0]))
    assert float(weights.mean()) == pytest.approx(1, abs=1e-9)
    found = torch.zeros(count, dtype=torch.float64).scatter_add_(0, cells_of(points.X, low, high)[0], weights)
    N, real = len(points), shares * len(points) > 3
    statistic = float(((found - N * shares).square() / (N * shares))[real].sum())
    assert statistic < chi2.ppf(0.999, max(int(real.sum()) - 1, 1))


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("region", ["space-time box", "product", "boundary"])
def test_points_are_replaced_by_new_tensors_and_one_seed_gives_one_sequence(name, region):
    global_state = torch.get_rng_state()

    def sequence(seed):
        scene = begun(name, region, seed=seed, size=lambda p: 1 + p.X.square().sum(1))
        return [(p.X, p.X.clone(), dict(scene.view.shares)) for p in play(moving(name), scene, 5)]

    one, again, other = sequence(1), sequence(1), sequence(2)
    assert all(torch.equal(X, kept) for X, kept, _ in one)  # a graph that holds them stays valid
    for (X, _, shares), (Y, _, weights) in zip(one, again, strict=True):
        assert torch.equal(X, Y) and all(torch.equal(shares[k], weights[k]) for k in shares)
    if name not in STILL:
        assert not torch.equal(one[0][0], one[-1][0]) or len(one[0][0]) != len(one[-1][0])
    if name not in {"grid", "gauss"}:
        assert not torch.equal(one[-1][0], other[-1][0])
    assert torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize("name", SHOWN)
def test_points_change_at_their_steps_only_and_never_with_zero(name):
    if name == "causal-r3":
        return  # its own tests: it refuses zero
    still = SAMPLERS[name](every=0)
    assert len({id(p) for p in play(still, begun(name, "space-time box"), 30)}) == 1
    if name in STILL:
        return
    options = dict(redraw=3) if name == "importance" else {}
    seen = list(play(SAMPLERS[name](every=3, **options), begun(name, "space-time box"), 8))
    changed = [i - 1 for i in range(1, len(seen)) if seen[i] is not seen[i - 1]]
    assert changed == ([0, 3, 6] if name == "importance" else [3, 6])


@pytest.mark.parametrize("name", SHOWN)
def test_a_state_that_is_loaded_goes_on_bit_by_bit(name):
    size = lambda p: 1 + p.X.square().sum(1)
    first, scene = moving(name), begun(name, "space-time box", size=size)
    *_, _ = play(first, scene, 5)
    points, shares, gates = (dict(getattr(scene.view, k)) for k in ("points", "shares", "point_weights"))
    state, dice = deepcopy(first.state_dict()), scene.generator.get_state()
    second, other = moving(name), begun(name, "space-time box", size=size, seed=7)
    second.check(other)
    second.begin(other)
    other.view.points, other.view.shares, other.view.point_weights = points, shares, gates
    other.generator.set_state(dice)
    second.load_state_dict(other, state)
    for step in range(5, 9):
        for sampler, here in ((first, scene), (second, other)):
            sampler.update(here, step, step / 10)
        a, b = (here.points(here.blocks[0]) for here in (scene, other))
        assert torch.equal(a.X, b.X)
        assert all(torch.equal(scene.view.shares[k], other.view.shares[k]) for k in scene.view.shares)


@pytest.mark.parametrize("name", SHOWN)
def test_columns_are_in_the_order_of_the_problem_whatever_that_of_a_region(name):
    scene = stage({"equation": Box(x=(0, 1), t=(2, 3)), "other": Box(t=(2, 3), x=(0, 1))}, 40)
    for _ in play(moving(name), scene, 5):
        for block in scene.blocks:
            X = scene.points(block).X
            assert scene.points(block).names == ("x", "t") and bool((X[:, 1] >= 2).all()) and bool((X[:, 0] <= 1).all())


@pytest.mark.parametrize("name", SHOWN)
def test_float32_points_stay_float32(name):
    scene = begun(name, "space-time box", dtype=torch.float32)
    for points in play(moving(name), scene, 5):
        assert points.X.dtype == torch.float32
        assert all(s.dtype == torch.float32 for s in scene.view.shares.values())
