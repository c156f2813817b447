"""Samplers that do not look at the solution: point sets, quadrature rules, and shares of time."""

import logging
import math

import pytest
import torch
from scipy.special import roots_legendre

import sciml
from sciml import Ball, Box, Dirichlet, Disk, Equation, Initial, Interval, Polygon, Problem, ProblemError
from sciml.geometry import unit_points
from sciml.objective import make_recipe
from sciml.points import Points
from sciml.sampling import SAMPLERS
from sciml.sampling.stock import apart
from sciml.sampling.stratified import apportioned
from sciml.training import Training


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mirrored(i, base):
    """Digits of i mirrored at the point, one by one."""
    value, scale = 0.0, 1.0
    while i:
        scale /= base
        i, digit = divmod(i, base)
        value += scale * digit
    return value


# ---- rules in the cube -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 8, 100, 1000])
def test_halton_and_hammersley_points_are_mirrored_digits_up_to_a_shift(n):
    halton = unit_points(n, 3, "halton", seeded())
    want = torch.tensor([[mirrored(i, b) for b in (2, 3, 5)] for i in range(1, n + 1)], dtype=torch.float64)
    shift = (halton - want) % 1.0
    assert float(((shift - shift[0] + 0.5) % 1.0 - 0.5).abs().max()) < 1e-14  # one shift for all, modulo 1
    hammersley = unit_points(n, 3, "hammersley", seeded())
    steps = torch.arange(n, dtype=torch.float64)[:, None] / n
    shift = (hammersley - torch.cat([steps, want[:, :2]], 1)) % 1.0
    assert float(((shift - shift[0] + 0.5) % 1.0 - 0.5).abs().max()) < 1e-14
    assert not torch.allclose(unit_points(n, 3, "hammersley", seeded(1)), hammersley)


def test_hammersley_integrates_better_than_halton_and_both_better_than_uniform():
    f = lambda U: (U[:, 0] * U[:, 1]) + torch.sin(6 * U[:, 0])
    exact = 0.25 + (1 - math.cos(6)) / 6
    rms = {rule: math.sqrt(sum(float(f(unit_points(256, 2, rule, seeded(s))).mean() - exact) ** 2
                               for s in range(40)) / 40) for rule in ("hammersley", "halton", "uniform")}
    assert rms["hammersley"] < rms["halton"] < rms["uniform"] / 5


@pytest.mark.parametrize("rule", ["hammersley", "lhs"])
def test_a_set_that_belongs_to_its_number_is_not_cut_off_where_points_are_rejected(rule):
    region = Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2)
    for seed in range(3):
        x = region.sample(3000, generator=seeded(seed), rule=rule).X[:, 0]
        counts = torch.histc(x, 10, 0, 1)
        strips = torch.histc(region.sample(2**18, generator=seeded(9), rule="sobol").X[:, 0], 10, 0, 1) / 2**18 * 3000
        assert float((counts - strips).abs().max()) < 45  # a prefix of n out of 1.2 n would empty two strips of 300


# ---- Gauss -----------------------------------------------------------------------------------------------------

WITH_GAUSS = {
    "interval": (lambda: Interval(x=(-1, 2)), 7, 7),
    "box": (lambda: Box(x=(-1, 1), t=(0, 3)), 50, 49),
    "box in 3-D": (lambda: Box(x=(0, 1), y=(0, 2), z=(0, 1)), 63, 27),
    "face": (lambda: Box(x=(0, 1), t=(0, 2), y=(0, 1)).region("t+"), 20, 16),
    "end": (lambda: Interval(x=(0, 1)).region("x-"), 5, 1),
    "boundary": (lambda: Box(x=(0, 3), y=(0, 1)).region("boundary"), 40, 40),
    "polygon": (lambda: Polygon([(0, 0), (2, 0), (2, 1), (1, 0.3), (0, 1)]), 50, 48),
    "edges": (lambda: Polygon([(0, 0), (2, 0), (2, 1)]).region("boundary"), 60, None),
    "disk": (lambda: Disk((1, 0), 0.5), 80, 75),
    "circle": (lambda: Disk((1, 0), 0.5).region("boundary"), 33, 33),
    "ball": (lambda: Ball((0, 0, 1), 2.0), 100, 81),
    "sphere": (lambda: Ball((0, 0, 1), 2.0).region("boundary"), 60, 50),
    "product": (lambda: Disk((0, 0), 1.0) * Box(t=(0, 2)), 300, None),
    "wall of a product": (lambda: (Disk((0, 0), 1.0) * Box(t=(0, 2))).region("circle"), 100, 100),
    "initial of a product": (lambda: (Disk((0, 0), 1.0) * Box(t=(0, 2))).region("initial"), 100, 75),
    "hole": (lambda: (Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2)).region("disk"), 30, 30),
}


@pytest.mark.parametrize("key", WITH_GAUSS)
def test_a_gauss_rule_has_the_measure_the_size_and_the_moments_of_its_region(key):
    make, n, size = WITH_GAUSS[key]
    where = make()
    assert where.gaussian
    points = SAMPLERS["gauss"]().start(where, n, seeded(), torch.float64)
    assert len(points) == size if size else n / 3 < len(points) <= n
    assert bool(where.contains(points.X).all()) and float(points.weights.min()) > 0
    assert float(points.weights.sum()) == pytest.approx(where.measure, rel=1e-13)
    dense = where.sample(2**17, generator=seeded(3), rule="sobol")
    for f in (lambda X: X[:, 0] ** 2, lambda X: X[:, 0] * X[:, -1], lambda X: 1 + X[:, -1] ** 2):
        found, want = (float((p.weights * f(p.X)).sum()) for p in (points, dense))
        assert found == pytest.approx(want, abs=3e-4 * where.measure * 8)  # Sobol's; a wrong rule is off by tenths
    if dense.normals is not None:
        length = 0.0 if where.label == "t+" or where.label == "t-" else 1.0  # normals live in space
        assert float((points.normals.norm(dim=1) - length).abs().max()) < 1e-12
        for c in range(points.X.shape[1]):  # ∫ n · x over a whole boundary and over a face alike
            f = lambda p, c=c: float((p.weights * p.normals[:, c] * p.X[:, c]).sum())
            assert f(points) == pytest.approx(f(dense), abs=3e-4 * where.measure * 8)


def test_box_nodes_are_those_of_legendre():
    points = SAMPLERS["gauss"]().start(Box(x=(-1, 1), y=(0, 4)), 30, seeded(), torch.float64)
    x, w = (torch.from_numpy(a) for a in roots_legendre(5))
    X = torch.cartesian_prod(x, 2 + 2 * x)
    torch.testing.assert_close(points.X, X, rtol=0, atol=1e-14)
    torch.testing.assert_close(points.weights, 2 * torch.outer(w, w).reshape(-1), rtol=1e-13, atol=0)
    f = lambda X: X[:, 0] ** 8 * X[:, 1] ** 9
    assert float((points.weights * f(points.X)).sum()) == pytest.approx(2 / 9 * 4**10 / 10, rel=1e-12)


def test_cut_regions_have_no_gauss_rule_and_products_need_two():
    holed = Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2)
    cut = Box(x=(0, 1), y=(0, 1)) - Disk((0, 0), 0.3)
    for region in (holed, cut, cut.region("x-"), cut.region("boundary"), holed.where(lambda c: c["x"] < 0.5),
                   Box(x=(0, 1)) * Ball((0,) * 4, 1.0, ("a", "b", "c", "d")), holed * Box(t=(0, 1))):
        assert not region.gaussian
    assert holed.region("boundary").gaussian and cut.region("x+").gaussian


def smooth_problem(domain, **options):
    return Problem(domain=domain, unknowns="u", conditions=[Equation(lambda u: u.xx + u.yy - u), Dirichlet(u=0.0)],
                   **options)


def training(problem, **options):
    return Training(problem, make_recipe({}, dict(model=dict(width=6, depth=2), constraints="soft", optimizer="adam",
                                                  steps=4, **options)))


def test_the_loss_on_gauss_points_is_a_quadrature_of_the_squared_residual():
    run = training(smooth_problem(Disk((0, 0), 1.0)), sampler="gauss", points=300)
    objective = run.objective
    dense = training(smooth_problem(Disk((0, 0), 1.0)), sampler="sobol", points=2**15).objective
    with torch.no_grad():
        found, want = objective.losses(), dense.losses()
    for name in found:
        assert float(found[name]) == pytest.approx(float(want[name]), rel=2e-3)  # of 2¹⁵ Sobol points
        points = objective.points[name]
        squares = objective.magnitudes()[name].square()
        block = next(b for b in objective.blocks if b.name == name)
        direct = (points.weights * squares).sum() / block.region.measure
        assert float(found[name]) == pytest.approx(float(direct), rel=1e-12)
        assert float(direct) != pytest.approx(float(squares.mean()), rel=1e-3) or block.kind != "equation"


def test_between_interfaces_every_piece_has_a_rule_of_its_own():
    def problem():
        return Problem(domain=Interval(x=(0, 1)), unknowns="u",
                       conditions=[Equation(lambda u, x: u.xx - torch.where(x < 0.3, 1.0, 2.0)), Dirichlet(u=0.0),
                                   sciml.Interface(at=dict(x=0.3), u=0.0)])
    run = training(problem(), sampler="gauss", points=40)
    points = run.objective.points["equation"]
    x, w = points.X[:, 0], points.weights
    assert len(points) == 40 and not bool((x == 0.3).any())
    assert float(w[x < 0.3].sum()) == pytest.approx(0.3, rel=1e-13)


def test_a_region_without_a_gauss_rule_is_named_and_its_points_count_alike(caplog):
    holed = Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2)
    with caplog.at_level(logging.WARNING):
        run = training(smooth_problem(holed), sampler="gauss", points=200)
    (line,) = [r.getMessage() for r in caplog.records if "sampler=gauss" in r.getMessage()]
    assert "has no Gauss rule" in line and "dirichlet" not in line
    shares = run.objective.shares[next(b.name for b in run.objective.blocks if b.kind == "equation")]
    torch.testing.assert_close(shares, torch.ones_like(shares))


@pytest.mark.parametrize("name", ["gauss", "grid", "fixed"])
def test_what_never_moves_refuses_an_interval(name):
    with pytest.raises(ProblemError, match=f"{name}.every=5 must be 0"):
        SAMPLERS[name](every=5)


# ---- stratified in time ----------------------------------------------------------------------------------------


def moving():
    """A box in space × time without a triangle in (x, t): x < 1 − t."""
    return Box(x=(0, 1), t=(0, 1)) - Polygon([(1, 0), (1, 1), (0, 1)], names=("x", "t"))


WITH_TIME = {
    "box": lambda: Box(x=(-1, 1), t=(0, 3)),
    "box with time first": lambda: Box(t=(2, 3), x=(-1, 1), y=(0, 1)),
    "product": lambda: Disk((0, 0), 1.0) * Box(t=(0, 3)),
    "product with a hole": lambda: (Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2)) * Box(t=(0, 3)),
    "walls": lambda: Box(x=(-1, 1), t=(0, 3)).region("boundary"),
    "wall": lambda: Box(x=(-1, 1), t=(0, 3)).region("x-"),
    "walls of a product": lambda: (Disk((0, 0), 1.0) * Box(t=(0, 3))).region("circle"),
}


@pytest.mark.parametrize("key", WITH_TIME)
@pytest.mark.parametrize("n, M", [(200, 10), (37, 10), (6, 10), (100, 1)])
def test_every_slice_of_time_has_its_share_exactly(key, n, M):
    where, sampler = WITH_TIME[key](), SAMPLERS["stratified"](slices=M)
    low, high = (2, 3) if key.endswith("first") else (0, 3)
    generator = seeded()
    first = sampler.start(where, n, generator, torch.float64)
    taken = []
    for points in (first, *(sampler.redraw(first, where, generator, None) for _ in range(20))):
        counts = torch.histc(points.column("t"), M, low, high)
        assert len(points) == n and bool(where.contains(points.X).all())
        assert set(counts.tolist()) <= {n // M, -(-n // M)}
        assert float(points.weights.sum()) == pytest.approx(where.measure)
        taken.append(counts)
    if n % M:
        assert bool((torch.stack(taken).amax(0) == -(-n // M)).all())  # the rest goes to another slice each time


def test_shares_follow_the_measure_of_a_domain_that_changes_in_time():
    points = SAMPLERS["stratified"](slices=4).start(moving(), 1600, seeded(), torch.float64)
    assert torch.histc(points.column("t"), 4, 0, 1).tolist() == [700, 500, 300, 100]  # ∫ (1 − t) over quarters
    assert float(points.X[:, 0].mean()) == pytest.approx(1 / 3, abs=4 * math.sqrt(1 / 18 / 1600))


def test_within_a_slice_points_are_uniform():
    points = SAMPLERS["stratified"](slices=5).start(Box(x=(0, 1), t=(0, 5)), 10000, seeded(), torch.float64)
    cells = torch.histogramdd(points.X, bins=[4, 20], range=[0.0, 1.0, 0.0, 5.0]).hist
    chi = float(((cells - 125).square() / 125).sum())
    assert chi < 75 + 4 * math.sqrt(150)  # 80 cells, 5 sums given


def test_stratified_times_estimate_a_mean_in_time_better():
    f = lambda p: torch.exp(p.column("t")).mean()
    where = Box(x=(0, 1), t=(0, 1))
    spread = {name: torch.stack([f(SAMPLERS[name]().start(where, 100, seeded(s), torch.float64))
                                 for s in range(100)]).std() for name in ("stratified", "uniform")}
    assert spread["stratified"] < spread["uniform"] / 5  # a tenth, for ten slices of a smooth function


def test_regions_at_one_time_or_without_time_are_uniform():
    for where in (Box(x=(0, 1), t=(0, 1)).region("initial"), Interval(x=(0, 1)), Interval(x=(0, 1)).region("x-")):
        points = SAMPLERS["stratified"]().start(where, 33, seeded(), torch.float64)
        assert len(points) == 33 and bool(where.contains(points.X).all())


def test_a_number_is_apportioned_by_the_largest_remainders():
    shares = torch.tensor([0.41, 0.33, 0.26], dtype=torch.float64)
    assert apportioned(10, shares, seeded()).tolist() == [4, 3, 3]
    assert apportioned(1, shares, seeded()).tolist() == [1, 0, 0]
    assert all(int(apportioned(n, shares, seeded(n)).sum()) == n for n in range(50))


def test_slices_must_be_a_number():
    with pytest.raises(ProblemError, match="stratified.slices=0 must be at least 1"):
        SAMPLERS["stratified"](slices=0)


def test_a_run_trains_on_gauss_and_on_stratified_points():
    problem = Problem(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u",
                      conditions=[Equation(lambda u: u.t - u.xx), Initial(u=lambda x: torch.sin(math.pi * x)),
                                  Dirichlet(u=0.0, on=["x-", "x+"])])
    for sampler in ("gauss", "stratified", "hammersley"):
        run = training(problem, sampler=sampler, points=60)
        reports = list(run.run())
        assert reports[-1].step == 4 and math.isfinite(reports[-1].loss)


# ---- points for several redraws at once ------------------------------------------------------------------------


def laid_out(n=12, k=4):
    """k n points of two faces, one face after the other, weighted by a measure of 2."""
    X = torch.arange(n * k, dtype=torch.float64)[:, None]
    normals = torch.where(X < n * k / 2, -1.0, 1.0)
    return Points(X, ("x",), torch.full((n * k,), 2.0 / (n * k), dtype=torch.float64), normals)


def test_sets_that_were_drawn_together_share_nothing_and_leave_nothing_out():
    sets = apart(laid_out(), 4)
    assert [len(s) for s in sets] == [12] * 4
    assert sorted(x for s in sets for x in s.X[:, 0].tolist()) == list(range(48))


def test_each_of_them_has_its_share_of_every_face_and_the_weights_of_a_whole_set():
    for points in apart(laid_out(), 4):
        assert points.normals.sum() == 0 and points.weights.sum() == pytest.approx(2.0)
        assert torch.equal(points.normals, torch.where(points.X < 24, -1.0, 1.0))


def test_uniform_points_of_consecutive_steps_differ_and_fill_the_region():
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u.xx), Dirichlet(u=0.0)])
    training = Training(problem, make_recipe(problem.defaults, dict(
        optimizer="adam", sampler="uniform", points=50, constraints="soft", steps=60, **{"uniform.every": 1})))
    seen = []
    for _ in range(40):
        training.advance(1)
        seen.append(training.objective.points["equation"].X)
        assert set(training.objective.points["dirichlet"].X[:, 0].tolist()) == {0.0, 1.0}
    X = torch.cat(seen)
    assert len(X.unique()) == 40 * 50                      # stock of 16 redraws: it ran out twice
    counts = torch.histc(X, 10, 0.0, 1.0)
    assert float(((counts - 200) ** 2 / 200).sum()) < 27.9  # χ² with 9 degrees of freedom at 1e-3
