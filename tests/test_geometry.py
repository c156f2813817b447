"""Every domain keeps one contract, checked against exact measures, polynomials and autograd."""

import functools
import math
import operator

import pytest
import torch

from sciml.errors import ProblemError
from sciml.geometry import Ball, Box, Disk, Interval, Mesh, Polygon, Product, unit_points
from sciml.mesh import Complex
from sciml.mesh.structured import box as box_mesh
from sciml.mesh.structured import quadratic

torch.set_num_threads(1)

RULES = ["uniform", "sobol", "halton", "lhs", "grid"]
ARROW = [(0, 0), (2, 0), (2, 1), (1, 0.3), (0, 1)]  # one reflex vertex, area 1.3
COMB = [
    (0, 0),
    (5, 0),
    (5, 3),
    (4, 3),
    (4, 1),
    (3, 1),
    (3, 2.5),
    (2, 2.5),
    (2, 1),
    (1, 1),
    (1, 3),
    (0, 3),
]


def channel():
    return (
        Box(x=(0, 2.2), y=(0, 0.41)) - Disk((0.2, 0.2), 0.05, name="hole") - Disk((1, 0.2), 0.1)
    )


def bulging():
    """The unit square of curved cells, its top the parabola y = 1 + x (1 − x): area 7/6."""
    made = quadratic(box_mesh([(0, 1), (0, 1)], (4, 4), "quad"))
    X = made.X.clone()
    X[:, 1] += X[:, 1] ** 2 * X[:, 0] * (1 - X[:, 0])
    return made.moved(X)


def tetrahedra():
    """A box of tetrahedra with two groups that overlap and facets in no group."""
    made = box_mesh([(0, 1), (0, 2), (0, 1)], (3, 4, 3))
    faces = made.surfaces
    walls = torch.cat([faces["x-"], faces["x+"], faces["y-"]])
    return Complex(made.X, made.blocks, surfaces={"walls": walls, "inlet": faces["x-"]})


ARC = math.asinh(1) / 2 + math.sqrt(2) / 2  # length of y = x (1 − x): ∫√(1 + (1 − 2x)²)

# domain, exact measure, exact measures of some regions
DOMAINS = {
    "interval": (Interval(x=(-1, 2)), 3.0, {"x-": 1.0, "boundary": 2.0}),
    "box in space": (Box(x=(-1, 1), y=(0, 2), z=(0, 3)), 12.0, {"x-": 6.0, "boundary": 32.0}),
    "box in space-time": (
        Box(x=(-1, 1), y=(0, 1), t=(0, 0.1)),
        0.2,
        {"initial": 2.0, "boundary": 0.6},
    ),
    "disk": (Disk((1, 2), 0.5), math.pi / 4, {"circle": math.pi}),
    "ball": (Ball((0, 0, 1), 2.0), 32 * math.pi / 3, {"sphere": 16 * math.pi}),
    "ball in 4-D": (
        Ball((0, 0, 0, 0), 1.0, names="a b c d"),
        math.pi**2 / 2,
        {"boundary": 2 * math.pi**2},
    ),
    "arrow": (Polygon(ARROW), 1.3, {"edge1": 2.0, "boundary": 4 + 2 * math.sqrt(1.49)}),
    "comb": (Polygon(COMB[::-1]), 10.5, {"edge1": 1.0, "boundary": 23.0}),
    "channel": (
        channel(),
        0.902 - 0.0125 * math.pi,
        {"hole": 0.1 * math.pi, "x-": 0.41, "boundary": 5.22 + 0.3 * math.pi},
    ),
    "frame": (
        Box(x=(0, 3), y=(0, 3)) - Box(x=(1, 2), y=(0.5, 2), name="hole"),
        7.5,
        {"hole.x-": 1.5, "hole": 5.0, "boundary": 17.0},
    ),
    "notch": (
        Box(x=(0, 2), y=(0, 2)) - Box(x=(1, 2), y=(1, 2)),
        3.0,
        {"x+": 1.0, "y-": 2.0, "box.x-": 1.0, "boundary": 8.0},
    ),
    "crossing boxes": (
        Box(x=(0, 2), y=(0, 1)) | Box(x=(0.5, 1), y=(-1, 3)),
        3.5,
        {"x-": 1.0, "y-": 1.5, "box.x-": 3.0, "boundary": 12.0},
    ),
    "stacked boxes": (
        Box(x=(0, 2), y=(0, 1)) | Box(x=(1, 3), y=(0.5, 2)),
        4.5,
        {"boundary": 10.0},
    ),
    "overlapping disks": (
        Disk((0, 0), 1.0) | Disk((1, 0), 1.0),
        4 * math.pi / 3 + math.sqrt(3) / 2,
        {"disk": 4 * math.pi / 3, "disk2": 4 * math.pi / 3},
    ),
    "box minus crescent": (
        Box(x=(-2, 2), y=(-2, 2)) - (Disk((0, 0), 1.0) - Disk((1, 0), 1.0)),
        16 - (math.pi / 3 + math.sqrt(3) / 2),
        {"boundary": 16 + 2 * math.pi},
    ),
    "box minus lens": (
        Box(x=(-2, 2), y=(-2, 2)) - (Disk((0, 0), 1.0) & Disk((1, 0), 1.0)),
        16 - (2 * math.pi / 3 - math.sqrt(3) / 2),
        {"boundary": 16 + 4 * math.pi / 3},
    ),
    "lens": (
        Disk((0, 0), 1.0) & Disk((1, 0), 1.0),
        2 * math.pi / 3 - math.sqrt(3) / 2,
        {"disk": 2 * math.pi / 3, "boundary": 4 * math.pi / 3},
    ),
    "cylinder": (
        Disk() * Interval(t=(0, 2)),
        2 * math.pi,
        {"circle": 4 * math.pi, "initial": math.pi, "boundary": 4 * math.pi},
    ),
    "channel over time": (
        channel() * Interval(t=(0, 2)),
        1.804 - 0.025 * math.pi,
        {"hole": 0.2 * math.pi},
    ),
    "box with parameter": (
        Product(Box(x=(0, 1), t=(0, 2)), Box(nu=(0.01, 0.1)), space="x"),
        0.18,
        {"x-": 0.18, "nu-": 2.0, "boundary": 0.36},
    ),
    "box minus polygon": (
        Box(x=(-1, 3), y=(-1, 2)) - Polygon(ARROW, name="arrow"),
        10.7,
        {"arrow.edge1": 2.0, "arrow": 4 + 2 * math.sqrt(1.49)},
    ),
    "mesh of a line": (Mesh(box_mesh([(0, 3)], (7,))), 3.0, {"x-": 1.0, "boundary": 2.0}),
    "mesh of triangles": (
        Mesh(box_mesh([(0, 2), (0, 1)], (6, 5))),
        2.0,
        {"x-": 1.0, "y+": 2.0, "boundary": 6.0},
    ),
    "mesh of curved quadrilaterals": (
        Mesh(bulging()),
        7 / 6,
        {"y+": ARC, "boundary": 3 + ARC},
    ),
    "mesh of tetrahedra": (
        Mesh(tetrahedra()),
        2.0,
        {"inlet": 2.0, "walls": 5.0, "unnamed": 5.0, "boundary": 10.0},
    ),
    "inside of a surface mesh": (
        Mesh(box_mesh([(0, 2), (0, 1), (0, 1)], (4, 2, 2)).surface()),
        2.0,
        {"boundary": 10.0},
    ),
    "mesh over time": (
        Mesh(box_mesh([(0, 2), (0, 1)], (4, 3), "quad")) * Interval(t=(0, 2)),
        4.0,
        {"x-": 2.0, "boundary": 12.0, "initial": 2.0},
    ),
    "mesh minus disk": (
        Mesh(box_mesh([(0, 2), (0, 1)], (6, 5))) - Disk((1, 0.5), 0.25),
        2 - math.pi / 16,
        {"disk": math.pi / 2, "x-": 1.0, "boundary": 6 + math.pi / 2},
    ),
}
contract = pytest.mark.parametrize("key", list(DOMAINS))
# A mesh's smooth distance has no sign outside of it; clouds have none.
smooth = pytest.mark.parametrize("key", [key for key in DOMAINS if "mesh" not in key])
# Curved facets are followed by chords, and a mesh on a line has no smooth distance.
graded = pytest.mark.parametrize("key", [key for key in DOMAINS if "mesh of a line" not in key and "curved" not in key])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def regions(domain):
    return [(name, domain.region(name)) for name in domain.faces]


def is_spatial(domain, region):
    return set(region.across) <= set(domain.space)


def coords(X, names):
    return {name: X[:, i] for i, name in enumerate(names)}


def away_from_corners(domain, name, X):
    """Points of a piece that are on no other piece, by a margin: there the level is smooth."""
    others = [domain.pieces[p] for p in domain.pieces if p != name]
    near = torch.zeros(len(X), dtype=torch.bool)
    step = 1e-4 * min(hi - lo for lo, hi in domain.bounds)
    for axis in range(X.shape[1]):
        for sign in (-1, 1):
            Y = X.clone()
            Y[:, axis] += sign * step
            for other in others:
                near |= other.contains(X) | other.contains(Y)
    return ~near


@contract
@pytest.mark.parametrize("rule", RULES)
def test_a_sample_has_exactly_n_points_inside_with_weights_that_sum_to_the_measure(key, rule):
    domain, measure, _ = DOMAINS[key]
    points = domain.sample(333, generator=seeded(), rule=rule)
    assert points.X.shape == (333, len(domain.names)) and points.names == domain.names
    assert domain.contains(points.X).all()
    assert (domain.distance(points.X) <= 1e-9).all()
    # Sobol estimates of the curved combinations are good to 2e-4; the rest is exact.
    assert points.weights.sum().item() == pytest.approx(measure, rel=2e-4)


@contract
def test_measures_of_regions_agree_with_formulas(key):
    domain, measure, faces = DOMAINS[key]
    assert domain.measure == pytest.approx(measure, rel=2e-4)
    for name, value in faces.items():
        # Lines are estimated from 2^18 points of one coordinate: good to 1e-5.
        assert domain.region(name).measure == pytest.approx(value, rel=1e-4), name


@contract
@pytest.mark.parametrize("rule", ["uniform", "sobol"])
def test_points_fall_into_cells_in_proportion_to_measure(key, rule):
    """χ² against the shares of cells that an independent rejection from the box gives."""
    domain, _, _ = DOMAINS[key]
    lo, hi = torch.tensor(domain.bounds, dtype=torch.float64).T
    cell = lambda X: (
        ((X - lo) / (hi - lo) * 2.999).long().clamp(0, 2)[:, :3]
        * torch.tensor([1, 3, 9])[: X.shape[1]]
    ).sum(1)
    box = lo + (hi - lo) * torch.rand(2**16, len(lo), generator=seeded(1), dtype=torch.float64)
    inside = box[domain.contains(box)]
    share = cell(inside).bincount(minlength=27) / len(inside)
    N = 4000
    count = cell(domain.sample(N, generator=seeded(2), rule=rule).X).bincount(minlength=27)
    used = share > 1e-3
    # Both samples are random: the variance is that of N plus that of the reference.
    variance = N * share[used] * (1 + N / len(inside))
    chi2 = ((count[used] - N * share[used]) ** 2 / variance).sum().item()
    freedom = used.sum().item() - 1
    # 5 standard deviations of χ² with that many degrees of freedom: not by chance.
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom) + 5
    assert count[share == 0].sum() == 0


@contract
def test_draws_differ_and_a_seed_repeats_them(key):
    domain, _, _ = DOMAINS[key]
    for patch in (domain, domain.region(domain.faces[0])):
        if patch.chart_dim == 0:
            continue  # a face of an interval is one point
        for rule in ("uniform", "sobol", "halton", "lhs"):
            g = seeded(3)
            first, second = (patch.sample(20, generator=g, rule=rule).X for _ in range(2))
            assert not torch.equal(first, second)
            assert torch.equal(first, patch.sample(20, generator=seeded(3), rule=rule).X)


@contract
def test_a_region_has_points_on_itself_and_normals_that_point_out(key):
    domain, _, _ = DOMAINS[key]
    for name, region in regions(domain):
        points = region.sample(200, generator=seeded(), rule="uniform")
        X, n = points.X, points.normals
        assert len(points) == 200 and region.contains(X).all()
        assert points.weights.sum().item() == pytest.approx(region.measure, rel=1e-12)
        assert domain.distance(X).abs().max() < 1e-9
        if not is_spatial(domain, region):
            assert (n == 0).all()
            continue
        time = [i for i, c in enumerate(domain.names) if c not in domain.space]
        assert (n[:, time] == 0).all()
        assert torch.allclose(n.norm(dim=1), torch.ones(200, dtype=torch.float64))
        eps = 1e-6
        # Within eps of a corner another piece may lie behind: allow one in a hundred.
        assert (~domain.contains(X + eps * n)).double().mean() >= 0.99
        assert domain.contains(X - eps * n).double().mean() >= 0.99
        assert (
            torch.allclose(region.normal(X) * (n != 0), n, atol=1e-9)
            or name not in domain.pieces
        )


@graded
def test_a_level_is_zero_on_its_region_with_unit_gradient_and_positive_inside(key):
    domain, _, _ = DOMAINS[key]
    inside = domain.sample(2000, generator=seeded(), rule="sobol").X
    inside = inside[domain.distance(inside) < -1e-6]
    for name, region in regions(domain):
        X = region.sample(200, generator=seeded()).X
        if name in domain.pieces:
            X = X[away_from_corners(domain, name, X)]
        X.requires_grad_(True)
        phi = region.level(coords(X, domain.names))
        # √(τ² + 1e-30) rounds to 1e-15 of the size: zero up to rounding.
        assert phi.abs().max() < 1e-12, name
        (gradient,) = torch.autograd.grad(phi.sum(), X)
        assert torch.isfinite(gradient).all()
        close = (gradient.norm(dim=1) - 1).abs() < 1e-5
        # An aggregate is not smooth at its corners; single pieces are kept away from them.
        assert close.double().mean() >= (0.97 if name not in domain.pieces else 1.0), name
        assert (region.level(coords(inside, domain.names)) > 0).all(), name


@smooth
def test_a_level_of_a_domain_has_the_sign_of_its_distance(key):
    domain, _, _ = DOMAINS[key]
    lo, hi = torch.tensor(domain.bounds, dtype=torch.float64).T
    X = (
        lo
        - 0.2
        + (hi - lo + 0.4) * torch.rand(4000, len(lo), generator=seeded(), dtype=torch.float64)
    )
    d = domain.distance(X)
    X, d = X[d.abs() > 1e-9], d[d.abs() > 1e-9]
    assert (torch.sign(domain.level(coords(X, domain.names))) == -torch.sign(d)).all()
    assert torch.equal(domain.contains(X), d < 0)


@contract
def test_a_quadrature_integrates_a_quadratic(key):
    domain, measure, _ = DOMAINS[key]
    points = domain.quadrature(2000)
    assert domain.contains(points.X).all()
    assert points.weights.sum().item() == pytest.approx(domain.measure, rel=1e-12)
    f = lambda X: 1 + X[:, 0] + X[:, -1] ** 2
    reference = domain.sample(2**16, generator=seeded(5), rule="sobol")
    exact = (reference.weights * f(reference.X)).sum()
    # The reference is a Sobol sum, good to 1e-3. Of 2000 points a product over time gives its
    # quasi-random factor only 159, which are good to 1e-2.
    assert (points.weights * f(points.X)).sum().item() == pytest.approx(exact.item(), rel=1e-2)


def test_gauss_rules_are_exact_for_polynomials():
    disk = Disk((1, 0), 2.0).quadrature(100)
    # ∫ x² over a disk at (1, 0) with radius 2: π R² (1 + R²/4) = 8π
    assert (disk.weights * disk.X[:, 0] ** 2).sum().item() == pytest.approx(
        8 * math.pi, rel=1e-13
    )
    ball = Ball((0, 0, 0), 1.0).quadrature(400)
    assert (ball.weights * ball.X[:, 2] ** 2).sum().item() == pytest.approx(
        4 * math.pi / 15, rel=1e-13
    )
    triangle = Polygon([(0, 0), (1, 0), (0, 1)]).quadrature(16)
    assert (triangle.weights * triangle.column("x") ** 2).sum().item() == pytest.approx(
        1 / 12, rel=1e-13
    )
    box = Box(x=(0, 1), y=(0, 2)).quadrature(25)
    assert (box.weights * box.column("x") ** 9 * box.column("y")).sum().item() == pytest.approx(
        0.2, rel=1e-13
    )


def test_the_global_generator_stays_untouched():
    before = torch.get_rng_state()
    domain = channel()
    for rule in RULES:
        domain.sample(50, generator=seeded(), rule=rule)
        domain.region("boundary").sample(50, generator=seeded(), rule=rule)
    assert domain.measure and domain.quadrature(50)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("rule", RULES)
def test_unit_points_fill_the_half_open_cube_evenly(rule):
    U = unit_points(1000, 3, rule, seeded(), dtype=torch.float32)
    assert (
        U.shape == (1000, 3) and U.dtype == torch.float32 and (U >= 0).all() and (U < 1).all()
    )
    # The mean of 1000 random numbers deviates by 0.009; four times that.
    assert (U.mean(0) - 0.5).abs().max() < 0.037
    assert (U.var(0) - 1 / 12).abs().max() < 0.01


def test_latin_hypercubes_hit_every_slice_once():
    U = unit_points(64, 4, "lhs", seeded())
    assert torch.equal((U * 64).long().sort(0).values, torch.arange(64)[:, None].expand(64, 4))


def test_a_grid_of_a_perfect_power_is_the_tensor_grid_of_midpoints():
    X = Box(x=(0, 1), y=(0, 2)).sample(16, generator=seeded(), rule="grid").X
    axis = (torch.arange(4, dtype=torch.float64) + 0.5) / 4
    assert torch.equal(X, torch.cartesian_prod(axis, 2 * axis))


def test_low_discrepancy_points_integrate_better_than_random_ones():
    exact = (1 - math.exp(-1)) ** 2
    error = lambda rule: max(
        abs(torch.exp(-unit_points(2048, 2, rule, seeded(s)).sum(1)).mean() - exact)
        for s in range(5)
    )
    assert max(error("sobol"), error("halton")) < error("uniform") / 3


def test_polygon_triangles_cover_it_and_edges_keep_the_users_numbers():
    for vertices in (COMB, COMB[::-1], ARROW):
        polygon = Polygon(vertices)
        assert sum(polygon.areas).item() == pytest.approx(polygon.measure, rel=1e-14)
        for k, a in enumerate(vertices):
            b = vertices[(k + 1) % len(vertices)]
            middle = torch.tensor([[(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]], dtype=torch.float64)
            assert polygon.region(f"edge{k + 1}").contains(middle).all()
    assert len(Polygon([*ARROW, ARROW[0]]).vertices) == 5


def test_faces_and_aliases_follow_the_time_convention():
    assert Box(x=(0, 1), t=(0, 1)).faces == (
        "x-",
        "x+",
        "t-",
        "t+",
        "boundary",
        "initial",
        "final",
    )
    assert "initial" not in Box(x=(0, 1)).faces
    assert (Disk() * Interval(t=(0, 1))).faces == (
        "circle",
        "t-",
        "t+",
        "boundary",
        "initial",
        "final",
    )
    assert Interval(t=(0, 1)).faces == ("t-", "t+", "initial", "final")
    product = Product(Box(x=(0, 1), t=(0, 1)), Box(nu=(1, 2)), space=["x"])
    assert product.region("boundary").across == ("x",)
    assert Box(x=(0, 1), nu=(1, 2)).with_space(["x"]).region("boundary").across == ("x",)
    assert Box(x=(0, 1), y=(0, 1)).opposite("x-") == "x+"
    assert (Interval(t=(0, 1)) * Box(x=(0, 1))).opposite("x+") == "x-"
    assert (Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.1)).opposite("y-") == "y+"


def test_pieces_of_combinations_are_named():
    box, disk = Box(x=(0, 4), y=(0, 4)), Disk((1, 1), 0.5)
    both = box - disk - Disk((3, 3), 0.5) - Disk((3, 1), 0.2, name="pipe")
    assert both.faces == ("x-", "x+", "y-", "y+", "disk", "disk2", "pipe", "boundary")
    assert (disk | Disk((1.5, 1), 0.5)).faces == ("disk", "disk2", "boundary")
    inner = Box(x=(1, 2), y=(1, 2), name="inner")
    assert (box - inner).faces[4:] == (
        "inner.x-",
        "inner.x+",
        "inner.y-",
        "inner.y+",
        "inner",
        "boundary",
    )
    assert (box - (disk | Disk((1.5, 1), 0.5))).faces[4:6] == ("disk", "disk2")
    # A face that the other operand swallows is no longer there.
    assert "x-" not in (box - Box(x=(-1, 1), y=(-1, 5))).faces


def test_faces_that_both_operands_have_are_counted_once():
    ell = Box(x=(0, 2), y=(0, 1)) | Box(x=(0, 1), y=(0, 3))
    assert ell.measure == pytest.approx(4.0, rel=1e-4)
    # Lengths of cut faces come from 2^18 points of one coordinate.
    assert ell.region("boundary").measure == pytest.approx(10.0, rel=1e-4)
    assert ell.region("x-").measure == pytest.approx(1.0) and "box.y-" not in ell.faces
    side_by_side = Box(x=(0, 1), y=(0, 1)) | Box(x=(1, 3), y=(0, 1))
    assert side_by_side.region("boundary").measure == pytest.approx(8.0, rel=1e-4)
    assert "x+" not in side_by_side.faces


def test_a_predicate_selects_part_of_a_domain_or_a_region():
    box = Box(x=(0, 1), y=(0, 1))
    left = box.where(lambda c: c["x"] < 0.25)
    assert left.measure == pytest.approx(0.25, rel=1e-4)
    assert left.sample(100, generator=seeded()).X[:, 0].max() < 0.25
    inlet = box.where(lambda c: (c["x"] < 1e-9) & (c["y"] > 0.5), of="boundary")
    points = inlet.sample(50, generator=seeded())
    assert inlet.measure == pytest.approx(0.5, rel=1e-3) and (points.X[:, 1] > 0.5).all()
    assert (points.normals == torch.tensor([-1.0, 0.0], dtype=torch.float64)).all()
    assert (left * Interval(t=(0, 2))).measure == pytest.approx(0.5, rel=1e-4)


class Symbol:
    """A value that is only known later: it records operators and torch functions."""

    def __init__(self, evaluate):
        self.evaluate = evaluate

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        value = lambda a, env: a.evaluate(env) if isinstance(a, Symbol) else a
        evaluate = lambda env: function(*(value(a, env) for a in args), **(kwargs or {}))
        return cls(functools.cache(evaluate))  # a shared subexpression is evaluated once

    def _binary(function, swap=False):
        def method(self, other):
            pair = (other, self) if swap else (self, other)
            return Symbol.__torch_function__(function, (), pair)

        return method

    __add__, __radd__ = _binary(operator.add), _binary(operator.add, True)
    __sub__, __rsub__ = _binary(operator.sub), _binary(operator.sub, True)
    __mul__, __rmul__ = _binary(operator.mul), _binary(operator.mul, True)
    __truediv__ = _binary(operator.truediv)

    def __neg__(self):
        return -1.0 * self


@smooth
def test_a_level_of_symbols_is_the_level_of_their_values(key):
    domain, _, _ = DOMAINS[key]
    X = domain.sample(20, generator=seeded()).X
    symbols = {name: Symbol(lambda X, i=i: X[:, i]) for i, name in enumerate(domain.names)}
    for name, region in regions(domain):
        value = region.level(symbols).evaluate(X)
        assert torch.equal(value, region.level(coords(X, domain.names))), name


def test_levels_are_finite_with_their_first_two_derivatives_at_corners():
    for dtype in (torch.float32, torch.float64):
        X = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=dtype, requires_grad=True)
        for domain in (Box(x=(0, 1), y=(0, 1)), Polygon([(0, 0), (1, 0), (1, 1), (0.4, 0.5)])):
            phi = domain.region("boundary").level(coords(X, ("x", "y")))
            (first,) = torch.autograd.grad(phi.sum(), X, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), X)
            assert (
                torch.isfinite(phi).all()
                and torch.isfinite(first).all()
                and torch.isfinite(second).all()
            )


def test_float32_points_stay_in_the_closed_set():
    for key in ("channel over time", "ball", "comb", "frame"):
        domain, _, _ = DOMAINS[key]
        points = domain.sample(500, generator=seeded(), dtype=torch.float32)
        assert points.X.dtype == torch.float32 and domain.contains(points.X).all()
        boundary = domain.region("boundary").sample(
            500, generator=seeded(), dtype=torch.float32
        )
        assert domain.region("boundary").contains(boundary.X).all()


def test_domains_are_immutable():
    box = Box(x=(0, 1))
    with pytest.raises(AttributeError, match="immutable"):
        box.bounds = ((0, 2),)
    assert box.named("a").name == "a" and box.name is None


UNIT = Box(x=(0, 1), y=(0, 1))
ERRORS = {
    "box without coordinates": (lambda: Box(), "at least one coordinate"),
    "lo above hi": (lambda: Box(x=(1, 0)), "expected lo < hi"),
    "infinite bounds": (lambda: Box(x=(0, math.inf)), "finite"),
    "bounds that are not a pair": (lambda: Box(x=3), "two numbers"),
    "interval of two": (lambda: Interval(x=(0, 1), y=(0, 1)), "one coordinate"),
    "radius of zero": (lambda: Disk((0, 0), 0.0), "positive radius"),
    "center of the wrong size": (lambda: Ball((0, 0), 1.0), "center has 2 numbers, expected 3"),
    "ball in one dimension": (lambda: Ball((0,), 1.0, names=["x"]), "at least two"),
    "disk in three dimensions": (lambda: Disk((0, 0, 0), 1, names="x y z"), "two coordinates"),
    "repeated names": (lambda: Disk(names=("x", "x")), "repeated: x"),
    "a name that is no word": (lambda: Disk(names=("x", "y z")), "cannot name a coordinate"),
    "two vertices": (lambda: Polygon([(0, 0), (1, 1)]), "at least 3"),
    "a flat polygon": (lambda: Polygon([(0, 0), (1, 1), (2, 2)]), "zero area"),
    "a bow tie": (
        lambda: Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]),
        "edges 1 and 3 of the Polygon meet",
    ),
    "coinciding vertices": (
        lambda: Polygon([(0, 0), (1, 0), (1, 0), (0, 1)]),
        "vertices 2 and 3",
    ),
    "an infinite vertex": (lambda: Polygon([(0, 0), (1, 0), (math.nan, 1)]), "not finite"),
    "vertices that are not pairs": (lambda: Polygon([1, 2, 3]), "pairs of numbers"),
    "a polygon in space": (lambda: Polygon(ARROW, names="x y z"), "two coordinates"),
    "different coordinates": (lambda: UNIT - Disk(names=("x", "z")), "same coordinates"),
    "shared coordinates": (lambda: UNIT * Interval(x=(0, 1)), "share x"),
    "space that is no coordinate": (lambda: UNIT.with_space(["z"]), "unknown coordinate 'z'"),
    "empty difference": (
        lambda: UNIT - Disk((0.5, 0.5), 2.0),
        "is empty: the second covers the first",
    ),
    "empty intersection": (lambda: UNIT & Disk((5, 5), 1.0), "is empty: no point"),
    "empty intersection in one box": (
        lambda: Disk((0, 0), 1.0) & Disk((1.5, 1.5), 1.0),
        "is empty",
    ),
    "unknown region": (
        lambda: UNIT.region("x_"),
        "unknown region 'x_'.*did you mean.*Valid: boundary, x",
    ),
    "unknown opposite": (lambda: UNIT.opposite("z-"), "unknown region 'z-'"),
    "no opposite": (lambda: Disk().opposite("circle"), "no opposite face"),
    "unknown rule": (
        lambda: UNIT.sample(5, generator=seeded(), rule="sobel"),
        "did you mean 'sobol'",
    ),
    "no points": (lambda: UNIT.sample(0, generator=seeded()), "at least 1"),
    "no unit points": (lambda: unit_points(0, 1, "sobol", seeded()), "at least 1"),
    "predicate without a match": (lambda: UNIT.where(lambda c: c["x"] > 2), "matches no point"),
    "predicate without a match on the boundary": (
        lambda: UNIT.where(lambda c: c["x"] > 2, of="boundary"),
        "matches no point of boundary",
    ),
    "predicate without a mask": (
        lambda: UNIT.where(lambda c: c["x"]),
        "expected a boolean tensor",
    ),
    "level of a part": (
        lambda: UNIT.where(lambda c: c["x"] < 0.5, of="boundary").level({}),
        "no smooth level",
    ),
    "distance of a part": (
        lambda: UNIT.where(lambda c: c["x"] < 0.5).distance(torch.zeros(1, 2)),
        "no signed distance",
    ),
    "level of a part of the inside": (
        lambda: UNIT.where(lambda c: c["x"] < 0.5).level({}),
        "no level function",
    ),
    "faces that touch inside": (
        lambda: (
            (UNIT | Box(x=(1, 2), y=(0, 2)))
            .region("boundary")
            .level({"x": torch.zeros(1), "y": torch.zeros(1)})
        ),
        "share a part of this face",
    ),
}


@pytest.mark.parametrize("key", list(ERRORS))
def test_a_mistake_gets_a_sentence(key):
    mistake, sentence = ERRORS[key]
    with pytest.raises(ProblemError, match=sentence):
        mistake()


def test_rejection_gives_up_with_a_sentence():
    sliver = UNIT.where(lambda c: c["x"] < 0.5)
    sliver._set(measure=0.25, predicate=lambda c: c["x"] < -1)  # as if it had become empty
    with pytest.raises(ProblemError, match="found only 0 of 10 points"):
        sliver.sample(10, generator=seeded())
