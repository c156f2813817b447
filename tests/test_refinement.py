"""Samplers that choose from a pool: refinement keeps and adds, L∞ takes the maxima, vRBA draws by a potential."""

import math

import pytest
import torch
from small import SMALL, inverse
from stage import play, stage

import sciml
from sciml import Box, Disk, Interval, ProblemError, TrainingError
from sciml.balance.attention import earned
from sciml.objective import make_recipe
from sciml.optim import memory
from sciml.sampling import SAMPLERS
from sciml.sampling.refinement import unseen
from sciml.training import Training

RAR = ["rar-g", "rar-d"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def peak(points):
    """exp(−200 |x − 0.3|²) of the first coordinate."""
    return torch.exp(-200 * (points.X[:, 0] - 0.3) ** 2)


# ---- refinement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RAR)
def test_old_points_stay_and_a_fixed_number_is_added_until_all_are_there(name):
    scene = stage({"equation": Box(x=(0, 1), y=(0, 1))}, 100, size=peak)
    seen = list(play(SAMPLERS[name](every=2, add=15), scene, 13))
    assert [len(p) for p in seen] == [50, 50, 50, 65, 65, 80, 80, 95, 95, 100, 100, 100, 100, 100]
    for old, new in zip(seen, seen[1:], strict=False):
        assert torch.equal(new.X[: len(old)], old.X)
    assert len(seen[-1].X.unique(dim=0)) == 100


def test_conditions_with_fewer_points_add_in_proportion_and_are_complete_at_once():
    domain = Box(x=(0, 1), y=(0, 1))
    scene = stage({"equation": domain, "wall": domain.region("boundary")}, {"equation": 200, "wall": 60}, size=peak)
    sizes = []
    for _ in play(SAMPLERS["rar-g"](every=1, add=10), scene, 13):
        sizes.append((len(scene.points(scene.blocks[0])), len(scene.points(scene.blocks[1]))))
    assert sizes[2:4] == [(110, 33), (120, 36)] and sizes[-1] == (200, 60)
    assert scene.points(scene.blocks[1]).normals.shape == (60, 2)


def test_the_greedy_one_adds_the_largest_residuals_of_its_pool_and_the_other_draws():
    where, pools = Interval(x=(0, 1)), {}

    def size(points):
        pools["last"] = points.X[:, 0].clone()
        return points.X[:, 0]

    points = SAMPLERS["rar-g"]().start(where, 20, seeded(), torch.float64)
    added = SAMPLERS["rar-g"](pool=50, add=8).redraw(points, where, seeded(1), size).X[20:, 0]
    assert torch.equal(added.sort().values, pools["last"].sort().values[-8:]) and len(pools["last"]) == 400
    drawn = SAMPLERS["rar-d"](pool=100, add=50, k=2).redraw(points, where, seeded(1), size).X[20:, 0]
    # p = 3x²: mean 3/4, variance 3/80; 1 % of the pool drawn without replacement shifts little
    assert float(drawn.mean()) == pytest.approx(0.75, abs=4 * math.sqrt(3 / 80 / 50) + 0.005)


def test_random_refinement_follows_its_density():
    where, sampler = Interval(x=(0, 1)), SAMPLERS["rar-d"](add=100, k=1, c=1)
    points = sampler.start(where, 1, seeded(), torch.float64)
    generator = seeded()
    x = torch.cat([sampler.redraw(points, where, generator, lambda p: torch.where(p.X[:, 0] < 0.5, 3.0, 1.0).double())
                   .X[1:, 0] for _ in range(40)])
    want = 2.5 / 4  # 3/2 + 1 against 1/2 + 1
    assert float((x < 0.5).double().mean()) == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / 4000) + 0.005)


@pytest.mark.parametrize("name", RAR)
def test_no_candidate_is_a_point_already(name):
    scene = stage({"equation": Interval(x=(0, 1)).region("boundary")}, 40)
    *_, points = play(SAMPLERS[name](every=1), scene, 10)
    assert len(points) == 20 and len(points.X.unique()) == 2  # both ends are there, and there is nothing else
    X = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    candidates = torch.tensor([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0], [5.0, 5.0], [3.0, 2.0]])
    assert unseen(candidates, X).tolist() == [False, True, True, False, True]


@pytest.mark.parametrize("name", RAR)
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_residuals_without_contrast_add_points_all_the_same(name, value):
    scene = stage({"equation": Disk((0, 0), 1.0)}, 60, size=lambda p: torch.full_like(p.X[:, 0], value))
    *_, points = play(SAMPLERS[name](every=1), scene, 6)
    assert len(points) == 60 and bool(torch.isfinite(points.X).all())


@pytest.mark.parametrize("option, value, what", [("add", 0, "at least 1"), ("start", 0, "the share of the points"),
                                                 ("start", 1.5, "the share of the points"), ("pool", 2, "at least 5")])
def test_options_of_refinement_are_checked(option, value, what):
    with pytest.raises(ProblemError, match=f"rar-g.{option}={value} must be .*{what}"):
        SAMPLERS["rar-g"](**{option: value})


@pytest.mark.parametrize("name", RAR)
def test_compilation_is_refused_where_points_are_added(name):
    with pytest.raises(ProblemError, match=f"sampler={name} adds points as it goes.*leave compile out"):
        make_recipe({}, dict(sampler=name, compile=True))


@pytest.mark.parametrize("name", RAR)
def test_memory_is_demanded_for_the_final_number_of_points(name, monkeypatch):
    options = {**SMALL, "optimizer": "gauss-newton", "sampler": name, "constraints": "soft", "steps": 2, "points": 400}
    run = Training(inverse(), make_recipe({}, options))
    objective = run.objective
    P = sum(p.numel() for p in objective.trainable)
    rows = {b.name: (objective.row_count(b), objective.most_rows(b)) for b in objective.blocks}
    assert rows["equation"] == (200, 400) and rows["observations"] == (20, 20)
    now, last = (sum(pair[i] for pair in rows.values()) for i in (0, 1))
    need = sum(memory.matrix_bytes(now, P, torch.float64)) + 1000
    assert need < sum(memory.matrix_bytes(last, P, torch.float64))
    monkeypatch.setattr(memory, "free_memory", lambda device: need)
    with pytest.raises(TrainingError, match=f"Jacobian of {last:,} residuals"):
        objective.linearize()


@pytest.mark.parametrize("optimizer", ["gauss-newton", "spring", "adam", "lbfgs", "gauss-newton-cg"])
def test_optimizers_take_a_growing_number_of_points(optimizer):
    options = {**SMALL, "optimizer": optimizer, "sampler": "rar-d", "rar-d.every": 1, "rar-d.add": 7, "steps": 8}
    run = Training(inverse(), make_recipe({}, options))
    reports = list(run.run())
    assert math.isfinite(reports[-1].loss) and len(run.objective.points["equation"]) == 60


# ---- the largest residuals -------------------------------------------------------------------------------------


def test_l_inf_takes_the_maxima_of_a_fresh_pool():
    where, pools = Interval(x=(0, 1)), []

    def size(points):
        pools.append(points.X[:, 0])
        return peak(points)

    sampler, generator = SAMPLERS["l-inf"](pool=20), seeded()
    points = sampler.start(where, 30, generator, torch.float64)
    for _ in range(2):
        points = sampler.redraw(points, where, generator, size)
        assert len(pools[-1]) == 600
        nearest = (pools[-1] - 0.3).abs().sort().values[:30]
        torch.testing.assert_close((points.X[:, 0] - 0.3).abs().sort().values, nearest, rtol=0, atol=0)
    assert not set(pools[0].tolist()) & set(pools[1].tolist())


def test_rad_tends_to_the_largest_residuals_with_its_exponent_and_to_uniform_with_its_constant():
    where = Interval(x=(0, 1))

    def drawn(name, **options):
        sampler, generator = SAMPLERS[name](pool=10, **options), seeded()
        points = sampler.start(where, 100, generator, torch.float64)
        return sampler.redraw(points, where, generator, lambda p: p.X[:, 0]).X[:, 0].sort().values

    assert float((drawn("rad", k=1000, c=0)[0] - drawn("l-inf")[0]).abs()) < 0.01
    even = drawn("rad", k=1, c=1e6)
    assert float((even - (torch.arange(100) + 0.5) / 100).abs().max()) < 1.95 / math.sqrt(100)  # Kolmogorov, 1e-3


# ---- vRBA's density --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("potential", ["quadratic", "exponential", "lp", "cosh"])
def test_points_are_drawn_in_proportion_to_the_derivative_of_the_potential(potential):
    sampler, where, generator = SAMPLERS["vrba-density"](potential=potential, pool=100), Interval(x=(0, 1)), seeded()
    sampler.redraws = 20
    size = lambda p: torch.where(p.X[:, 0] < 0.5, 3.0, 1.0).double()
    points = sampler.start(where, 100, generator, torch.float64)
    x = torch.cat([sampler.redraw(points, where, generator, size).X[:, 0] for _ in range(40)])
    a = torch.tensor([3.0, 1.0], dtype=torch.float64)
    q = {"quadratic": a, "exponential": torch.exp((a - 3) * math.log(22) / 3), "lp": a**3}.get(potential)
    if q is None:                                  # sinh(3 s) + sinh(s) = 2, by bisection
        low, high = 0.0, 3.0
        for _ in range(80):
            s = (low + high) / 2
            low, high = (s, high) if math.sinh(3 * s) + math.sinh(s) < 2 else (low, s)
        q = torch.sinh(a * low)
    want = float(q[0] / q.sum())
    assert float((x < 0.5).double().mean()) == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / 4000) + 0.006)


def test_the_exponential_density_sharpens_from_redraw_to_redraw_and_phi_mixes_in_a_uniform_part():
    scene = stage({"equation": Interval(x=(0, 1))}, 500, size=lambda p: p.X[:, 0])
    sampler = SAMPLERS["vrba-density"](every=1)
    means = [float(p.X.mean()) for p in play(sampler, scene, 200)]
    assert sampler.redraws == 199 and means[-1] > means[3] + 0.1  # p ∝ 200^x: mean 0.82; 5^x: 0.63
    assert means[-1] == pytest.approx(1 / (1 - 1 / 201) - 1 / math.log(201), abs=0.05)
    flat = SAMPLERS["vrba-density"](phi=0.0)
    points = flat.start(Interval(x=(0, 1)), 1000, seeded(), torch.float64)
    x = flat.redraw(points, Interval(x=(0, 1)), seeded(), lambda p: p.X[:, 0]).X
    assert float(x.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12000))


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300, math.nan, math.inf])
@pytest.mark.parametrize("potential", ["quadratic", "exponential", "lp", "cosh"])
def test_a_residual_without_contrast_gives_uniform_points(value, potential):
    sampler, where = SAMPLERS["vrba-density"](potential=potential), Interval(x=(0, 1))
    points = sampler.start(where, 500, seeded(), torch.float64)
    x = sampler.redraw(points, where, seeded(), lambda p: torch.full_like(p.X[:, 0], value)).X
    assert float(x.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * 500))


def test_the_density_is_the_one_that_weighs_points_in_the_balance():
    r = torch.rand(50, generator=seeded(), dtype=torch.float64)
    q = earned(r, "exponential", 5, 1.0, 4.0)
    torch.testing.assert_close(q, torch.exp((r / r.max() - 1) * math.log(7)))


@pytest.mark.parametrize("options, sentence", [(dict(potential="cubic"), "potential='cubic' must be one of quadratic"),
                                               (dict(phi=2), "phi=2"), (dict(c=0), "c=0"), (dict(p=1), "p=1")])
def test_options_of_the_density_are_checked(options, sentence):
    with pytest.raises(ProblemError, match=f"vrba-density.{sentence}"):
        SAMPLERS["vrba-density"](**options)


def test_a_run_from_the_top_trains_on_each(tmp_path):
    for name in ("rar-g", "rar-d", "l-inf", "vrba-density", "importance"):
        solution = sciml.solve(inverse(), sampler=name, steps=4, optimizer="adam", **{f"{name}.every": 2}, **SMALL)
        assert solution.steps == 4 and math.isfinite(solution.history[-1]["loss"])
