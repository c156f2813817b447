"""The smooth distance to facets: zero on them, of slope one there, smooth elsewhere."""

from math import pi

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from torch.func import jvp

from sciml import Box, Dirichlet, Disk, Equation, Mesh, Points, Problem, Weak, laplacian
from sciml.calculus import Program
from sciml.geometry.meshing import mesh_of
from sciml.mesh import Complex
from sciml.mesh.smooth import SmoothDistance, between_corners, joined, straight_pieces
from sciml.mesh.structured import box, quadratic, refined
from sciml.objective import build_objective, make_recipe
from sciml.problem.hard import build


def of_box(dim, cells=3):
    complex_ = box([(0, 1)] * dim, [cells] * dim)
    return SmoothDistance(complex_.X[complex_.chosen(complex_.boundary)[0].nodes])


def circle(n):
    t = torch.arange(n + 1, dtype=torch.float64) * 2 * pi / n
    P = torch.stack([t.cos(), t.sin()], 1)
    P[-1] = P[0]
    return SmoothDistance(torch.stack([P[:-1], P[1:]], 1))


def along(f, X, v):
    return jvp(lambda *c: f(*c), tuple(X.unbind(1)), tuple(v.expand_as(X).unbind(1)))[1]


def test_it_is_half_of_one_minus_r_squared_in_a_disk():
    r = torch.linspace(0, 0.9, 10, dtype=torch.float64)
    found = circle(400)(r * 0.6, r * 0.8)
    assert torch.allclose(found, (1 - r**2) / 2, atol=1e-3)              # the polygon's area is 4e-5 off, φ first order


def test_it_is_the_distance_from_a_plane_that_is_seen_under_half_the_world():
    far = torch.tensor([[[1e6, 0], [-1e6, 0]]], dtype=torch.float64)
    y = torch.tensor([1e-9, 1e-3, 1.0, 20.0], dtype=torch.float64)
    assert torch.allclose(SmoothDistance(far)(0 * y, -y), y, rtol=1e-4)


@pytest.mark.parametrize("dim", [2, 3])
def test_it_vanishes_on_facets_with_slope_one(dim):
    phi = of_box(dim)
    X = 0.05 + 0.9 * torch.rand(40, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inside = phi(*X.unbind(1))
    assert (inside > 0).all() and (inside <= torch.minimum(X, 1 - X).amin(1) + 1e-12).all()
    inward = torch.eye(dim, dtype=torch.float64)[0]
    for depth, tolerance in ((0.0, 1e-12), (1e-9, 1e-7), (1e-4, 1e-2)):
        X[:, 0] = depth
        assert torch.allclose(phi(*X.unbind(1)), torch.full((40,), depth, dtype=torch.float64), rtol=1e-2, atol=1e-14)
        assert torch.allclose(along(phi, X, inward), torch.ones(40, dtype=torch.float64), atol=max(tolerance, 1e-10))


@pytest.mark.parametrize("dim", [2, 3])
def test_derivatives_are_those_of_differences(dim):
    phi = of_box(dim)
    X = 0.1 + 0.8 * torch.rand(20, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v, h = torch.full((dim,), 0.7, dtype=torch.float64), 1e-4
    at = lambda s: phi(*(X + s * v).unbind(1))
    first = (at(h) - at(-h)) / (2 * h)
    second = (at(h) - 2 * at(0) + at(-h)) / h**2
    slope = lambda *c: jvp(lambda *c: phi(*c), c, tuple(v.expand_as(X).unbind(1)))[1]
    assert torch.allclose(along(phi, X, v), first, atol=1e-5)
    found = jvp(slope, tuple(X.unbind(1)), tuple(v.expand_as(X).unbind(1)))[1]
    assert torch.allclose(found, second, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dim", [2, 3])
def test_cutting_facets_does_not_change_it(dim):
    complex_ = box([(0, 1)] * dim, [2] * dim)
    fine = refined(complex_)
    X = torch.rand(30, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    both = [SmoothDistance(c.X[c.chosen(c.boundary)[0].nodes])(*X.unbind(1)) for c in (complex_, fine)]
    assert torch.allclose(*both, rtol=1e-10)


@pytest.mark.parametrize("dim", [2, 3])
def test_it_is_zero_and_finite_at_corners(dim):
    phi = of_box(dim)
    X = box([(0, 1)] * dim, [3] * dim).surface().X
    assert (phi(*X.unbind(1)).abs() < 1e-60).all()
    assert torch.isfinite(along(phi, X, torch.ones(dim, dtype=torch.float64))).all()


def test_equations_may_use_it_with_derivatives():
    phi = of_box(2)
    problem = Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u, x, y: u - laplacian(phi(x, y)))])
    (block,) = problem.blocks
    assert {leaf[0] for leaf in block.program.leaves} == {"unknown", "coordinate"}


@pytest.mark.parametrize("make, count", [
    (lambda: box([(0, 1), (0, 1)], (4, 3)), 4),                                    # four sides
    (lambda: quadratic(box([(0, 1), (0, 1)], (2, 2))), 4),
    (lambda: box([(0, 1)] * 3, [2] * 3), 48), (lambda: box([(0, 1)] * 3, [2] * 3, "hexahedron"), 48)])
def test_facets_become_straight_pieces(make, count):
    complex_ = make()
    pieces = straight_pieces(complex_.X, complex_.chosen(complex_.boundary))
    sides = between_corners(pieces)
    assert len(sides) == 2 * complex_.dim and sum(map(len, sides)) == len(pieces)
    pieces = joined(pieces) if complex_.dim == 2 else pieces
    assert len(pieces) == count
    X = torch.rand(20, complex_.X.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(SmoothDistance(pieces)(*X.unbind(1)), of_box(X.shape[1])(*X.unbind(1)), rtol=1e-9)


def test_curved_facets_are_followed():
    complex_ = quadratic(box([(0, 1), (0, 1)], (1, 1), "quad"))
    X = complex_.X.clone()
    top = (X[:, 1] == 1).nonzero()[:, 0]
    X[top, 1] += X[top, 0] * (1 - X[top, 0])
    pieces = straight_pieces(X, complex_.chosen(complex_.surfaces["y+"]), 8)
    x = torch.linspace(0.05, 0.95, 8, dtype=torch.float64)
    assert (SmoothDistance(pieces)(x, 1 + x * (1 - x)).abs() < 1.1 / 8**2 / 4).all()    # height of the chords


def test_a_circle_has_no_corners_and_a_hole_is_a_part_of_its_own():
    n = 24
    t = torch.arange(n + 1, dtype=torch.float64) * 2 * pi / n
    ring = torch.stack([torch.stack([r * t.cos(), r * t.sin()], 1) for r in (1.0, 0.3)])
    pieces = torch.stack([ring[:, :-1], ring[:, 1:]], 2).reshape(-1, 2, 2)
    assert [len(p) for p in between_corners(pieces)] == [n, n]


def test_a_bubble_is_a_product_at_corners():
    mesh = Mesh(box([(0, 1), (0, 1)], (3, 3)))
    B = mesh.region("boundary").bubble
    r = torch.tensor([1e-2, 1e-3, 1e-4], dtype=torch.float64)
    ratio = B(dict(x=r, y=r)) / r**2
    assert torch.allclose(ratio, ratio[-1:], rtol=0.1)                        # like x y
    middle = B(dict(x=torch.tensor([0.5], dtype=torch.float64), y=torch.tensor([0.5], dtype=torch.float64)))
    assert 0.05 < float(middle) < 1


def test_dirichlet_data_on_a_mesh_are_built_in():
    mesh = Mesh(box([(0, 1), (0, 1)], (3, 3)))
    problem = Problem(domain=mesh, unknowns="u", conditions=[
        Equation(lambda u: laplacian(u)), Dirichlet(u=lambda x, y: x * y, on=["x-", "x+", "y-"]),
        Dirichlet(u=lambda x, y: x * y + 0 * y, on="y+")])
    objective, ansatz = build_objective(problem, make_recipe({}, dict(constraints="hard")))
    assert len(ansatz.satisfied) == 2 and [b.name for b in objective.blocks] == ["equation"]
    points = mesh.region("boundary").sample(50, generator=torch.Generator().manual_seed(0))
    values = objective.field(points.X)[:, 0]
    assert torch.allclose(values, points.X.prod(1), atol=1e-9)
    inside = mesh.sample(20, generator=torch.Generator().manual_seed(1)).X
    rows = objective.values(objective.blocks[0], Points(inside, ("x", "y")))
    assert torch.isfinite(rows).all()


def planes_and_arcs(region):
    planes = [p for p in region._parts if isinstance(p, tuple)]
    return len(planes), len(region._parts) - len(planes)


def test_parts_on_a_plane_that_the_mesh_only_touches_have_the_distance_from_that_plane():
    plate = Mesh("plate_hole.msh")
    X = plate.sample(50, generator=torch.Generator().manual_seed(0)).X
    ((n, c),) = plate.region("top")._parts
    assert torch.allclose(X @ n + c, 2 - X[:, 1], atol=1e-12)
    assert planes_and_arcs(plate.region("hole")) == (0, 1)                   # the mesh is on both sides of its chords
    assert planes_and_arcs(Mesh("lshape.msh").region("wall")) == (4, 2)      # the sides of the re-entrant corner cut it
    assert planes_and_arcs(Mesh(mesh_of(Disk((0, 0), 1), 0.2)).region("boundary")) == (0, 1)
    assert planes_and_arcs(Mesh(box([(0, 1)] * 3, [2] * 3)).region("boundary")) == (6, 0)


def test_what_is_built_in_on_a_part_of_a_side_leaves_the_rest_of_it_free():
    made = box([(0, 1), (0, 1)], (4, 4))
    left, (facets,) = made.surfaces["x-"], made.facets
    middle = made.X[facets.nodes[left]].mean(1)[:, 1]
    halves = {"low": left[middle < 0.5], "high": left[middle > 0.5], "rest": torch.cat(
        [numbers for name, numbers in made.surfaces.items() if name != "x-"])}
    mesh = Mesh(Complex(made.X, made.blocks, surfaces=halves))
    assert planes_and_arcs(mesh.region("low")) == (0, 1)
    B = lambda y: float(mesh.region("low").bubble({"x": torch.zeros(1).double(), "y": torch.full((1,), y).double()}))
    assert abs(B(0.2)) < 1e-12 and B(0.8) > 0.1


def test_built_in_data_of_a_mesh_do_not_grow_with_the_distance_from_a_small_hole():
    domain = Mesh("cylinder.msh")
    problem = Problem(domain, "u", [
        Weak(lambda u, v: u.x * v.x + u.y * v.y), Dirichlet(u=lambda y: y * (0.41 - y), on="inlet"),
        Dirichlet(u=0.0, on=["walls", "cylinder"])])
    ansatz = build(problem)
    names = [leaf for leaf in Program({"b": ansatz.bubbles["u"]}).leaves]
    X = domain.sample(200, generator=torch.Generator().manual_seed(0)).X
    (bubble,) = Program({"b": ansatz.bubbles["u"]})({n: X[:, "xy".index(n[1])] for n in names}, X[:, 0])
    assert (bubble > -1e-5).all()                                # arcs as chords
    assert (bubble < 1).all() and bubble.max() > 0.05
    lift, inlet = Program({"g": ansatz.lifts["u"]}), torch.tensor([0.0, 0.1, 0.41], dtype=torch.float64)
    (values,) = lift({n: inlet if n[1] == "y" else 0 * inlet for n in lift.leaves}, inlet)
    assert torch.allclose(values, inlet * (0.41 - inlet), atol=1e-12)      # also where inlet and walls meet


@pytest.mark.parametrize("cuts", [2, 4, 7])
def test_pieces_of_curved_edges_enclose_the_area_of_the_curve(cuts):
    complex_ = mesh_of(Disk((0.3, 0.1), 0.5), 0.3, order=2)
    facets = complex_.chosen(complex_.boundary)
    edges = torch.cat([complex_.X[f.nodes] for f in facets])                      # (E, 3, 2): ends, middle
    t, w = (torch.as_tensor(a) for a in leggauss(4))                              # x × x′ is of degree 3 in t
    t = t[:, None]
    x = sum(N * edges[:, i, None] for i, N in enumerate((t * (t - 1) / 2, t * (t + 1) / 2, 1 - t * t)))
    slope = sum(N * edges[:, i, None] for i, N in enumerate((t - 0.5, t + 0.5, -2 * t)))
    area = 0.5 * ((x[..., 0] * slope[..., 1] - x[..., 1] * slope[..., 0]) * w).sum()
    a, b = straight_pieces(complex_.X, facets, cuts).unbind(1)
    found = 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    assert torch.isclose(found, area, rtol=1e-13) and abs(float(area) - pi / 4) < 1e-2
    assert torch.isclose(a[::cuts], edges[:, 0]).all() and torch.isclose(b[cuts - 1::cuts], edges[:, 1]).all()
