"""Point location, distance and winding numbers: against scipy, formulas, and sums over all facets."""

from math import pi

import pytest
import torch
from scipy.spatial import Delaunay

from sciml.errors import ProblemError
from sciml.geometry import Disk, Polygon
from sciml.mesh import KINDS, Cells, Complex, tree
from sciml.mesh.bernstein import boxes, largest_measure
from sciml.mesh.charts import CellChart
from sciml.mesh.enclosed import Enclosed, turned
from sciml.mesh.geometry import mapped
from sciml.mesh.locate import Locator
from sciml.mesh.structured import box, quadratic, refined
from sciml.mesh.surface import Surface
from sciml.mesh.tree import hilbert_order

KINDS_OF_BOX = [(1, "line"), (2, "triangle"), (2, "quad"), (3, "tetra"), (3, "hexahedron")]
ARROW = [(0, 0), (2, 0), (2, 1), (1, 0.3), (0, 1)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def uniform(N, D, low=0.0, high=1.0, seed=0):
    return low + (high - low) * torch.rand(N, D, generator=seeded(seed), dtype=torch.float64)


def delaunay(X):
    """The mesh that scipy makes, and its own."""
    theirs = Delaunay(X.numpy())
    nodes = torch.from_numpy(theirs.simplices.astype("int64"))
    kind = KINDS["triangle" if X.shape[1] == 2 else "tetra"]
    J = mapped(X, Cells(kind, nodes), torch.zeros(1, X.shape[1], dtype=torch.float64)).measure[:, 0]
    nodes[J < 0] = nodes[J < 0][:, [1, 0, *range(2, X.shape[1] + 1)]]
    return Complex(X, (Cells(kind, nodes),)), theirs


def wavy(dim, kind, cells=3):
    """A box of curved quadratic cells, which keeps its outline."""
    made = quadratic(box([(0, 1)] * dim, [cells] * dim, kind))
    X = made.X
    bump = 0.06 * (pi * X).sin().prod(1, keepdim=True) * (5 * X + torch.arange(dim)).cos()
    return made.moved(X + bump)


def polyline(vertices):
    P = torch.tensor(vertices, dtype=torch.float64)
    i = torch.arange(len(P))
    return Complex(P, (Cells(KINDS["line"], torch.stack([i, i.roll(-1)], 1)),))


def ring(N, order=1):
    """A circle of N segments, or of N arcs of parabolas."""
    count = N * order
    angle = torch.arange(count, dtype=torch.float64) * (2 * pi / count)
    X = torch.stack([angle.cos(), angle.sin()], 1)
    i = torch.arange(0, count, order)
    nodes = [i, (i + order) % count] + ([i + 1] if order == 2 else [])
    return Complex(X, (Cells(KINDS["line" if order == 1 else "line3"], torch.stack(nodes, 1)),))


@pytest.mark.parametrize("D", [2, 3])
def test_points_are_found_in_the_simplices_that_scipy_finds(D):
    made, theirs = delaunay(uniform(300, D))
    X = uniform(5000, D, -0.2, 1.2, seed=1)
    found = Locator(made).find(X)
    assert torch.equal(found.cell, torch.from_numpy(theirs.find_simplex(X.numpy()).astype("int64")))
    inside = found.cell >= 0
    P = made.X[made.blocks[0].nodes[found.cell[inside]]]
    back = torch.einsum("na,nad->nd", made.blocks[0].kind.values(found.xi[inside]), P)
    assert torch.allclose(back, X[inside], atol=1e-13)
    assert found.xi[~inside].isnan().all()


def test_points_are_found_in_cells_a_thousand_times_smaller_than_others():
    fine = 10 ** uniform(3000, 2, -4.0, 0.0)                    # logarithmic towards the corner (0, 0)
    corners = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.float64)
    made, theirs = delaunay(torch.cat([corners, fine]))
    sizes = CellChart(made.X, made.blocks).measures.sqrt()
    assert sizes.max() / sizes.min() > 1000
    X = torch.cat([10 ** uniform(4000, 2, -4.5, 0.0, seed=1), uniform(1000, 2, -0.1, 1.1, seed=2)])
    assert torch.equal(Locator(made).find(X).cell, torch.from_numpy(theirs.find_simplex(X.numpy()).astype("int64")))


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("dim, kind", KINDS_OF_BOX)
def test_positions_in_cells_of_every_kind_lead_back_to_the_point(dim, kind, curved):
    made = wavy(dim, kind) if curved else box([(0, 1)] * dim, [3] * dim, kind)
    X = uniform(2000, dim, -0.2, 1.2)
    inside = ((X >= 0) & (X <= 1)).all(1)
    locator = Locator(made)
    assert torch.equal(locator.find(X).cell >= 0, inside)
    back = locator.interpolate(made.X, X)
    assert torch.allclose(back[inside], X[inside], atol=1e-12) and back[~inside].isnan().all()
    assert torch.allclose(locator.interpolate(made.X[:, 0], X)[inside], X[inside, 0], atol=1e-12)


@pytest.mark.parametrize("dim, kind", KINDS_OF_BOX)
def test_points_on_facets_and_nodes_are_found_in_the_cell_of_lowest_number(dim, kind):
    made = box([(0.1, 1)] * dim, [3] * dim, kind)
    locator = Locator(made)
    cells = made.blocks[0].nodes
    first = torch.full((len(made.X),), len(made)).scatter_reduce_(
        0, cells.reshape(-1), torch.arange(len(made)).repeat_interleave(cells.shape[1]), "amin")
    assert torch.equal(locator.find(made.X).cell, first)
    (facets,) = made.facets
    middles = made.X[facets.nodes].mean(1)
    lowest = torch.where(facets.cells[:, 1] < 0, facets.cells[:, 0], facets.cells.amin(1))
    assert torch.equal(locator.find(middles).cell, lowest)
    assert torch.equal(locator.find(middles.float()).cell >= 0, lowest >= 0)


def test_cells_of_two_kinds_are_searched_together():
    X = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0.5]], dtype=torch.float64)
    made = Complex(X, (Cells(KINDS["quad"], torch.tensor([[0, 1, 2, 3]])),
                       Cells(KINDS["triangle"], torch.tensor([[1, 4, 2]]))))
    points = torch.tensor([[0.5, 0.5], [1.5, 0.5], [1.9, 0.9], [1.0, 0.3]], dtype=torch.float64)
    locator = Locator(made)
    assert locator.find(points).cell.tolist() == [0, 1, -1, 0]
    near, distance = locator.nearest(points)
    assert near.cell.tolist() == [0, 1, 1, 0] and (distance > 0).tolist() == [False, False, True, False]


def test_points_outside_get_the_nearest_point_of_the_boundary():
    for made in (box([(0, 1)] * 3, [3] * 3), wavy(2, "quad")):
        D = made.dim
        X = uniform(500, D, -1.0, 2.0)
        near, distance = Locator(made).nearest(X)
        foot = X.clamp(0, 1)
        assert torch.allclose(distance, (X - foot).norm(dim=1), atol=1e-12)
        block = made.blocks[0]
        back = torch.einsum("na,nad->nd", block.kind.values(near.xi), made.X[block.nodes[near.cell]])
        # Newton's stops at 1e-15 in ξ, where the square of the distance no longer changes: half the digits.
        assert torch.allclose(back, foot, atol=1e-7)


def test_interpolation_of_a_quadratic_by_quadratic_cells_is_exact():
    made = refined(box([(0, 1)] * 2, [2, 2]))
    made = quadratic(made)
    f = lambda X: X[:, 0] ** 2 - 3 * X[:, 0] * X[:, 1] + X[:, 1]
    X = uniform(500, 2)
    assert torch.allclose(Locator(made).interpolate(f(made.X), X), f(X), atol=1e-13)


@pytest.mark.parametrize("vertices", [ARROW, [(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3)]])
def test_distance_and_winding_of_an_outline_are_those_of_the_polygon(vertices):
    X = uniform(3000, 2, -1.0, 4.0)
    inside = Enclosed(polyline(vertices))
    d = inside.surface.distance(X)
    assert torch.allclose(torch.where(inside.inside(X), -d, d), Polygon(vertices).distance(X), atol=1e-13)
    assert inside.volume == pytest.approx(Polygon(vertices).measure, rel=1e-14)
    backwards = Enclosed(polyline(vertices[::-1]))
    assert torch.equal(backwards.inside(X), inside.inside(X))


def test_distance_to_parabolas_tends_to_that_of_the_circle_with_their_order():
    X = uniform(2000, 2, -1.5, 1.5)
    exact = Disk((0, 0), 1.0).distance(X).abs()
    error = [(Surface(ring(N, 2)).distance(X) - exact).abs().max().item() for N in (8, 16, 32)]
    # The arc of a parabola through three points of a circle deviates by O(h⁴) (the cubic term is odd and tangential).
    assert error[0] / error[1] > 11 and error[1] / error[2] > 11 and error[2] < 4e-6


@pytest.mark.parametrize("kind", ["tetra", "hexahedron"])
def test_distance_to_curved_facets_is_the_least_over_a_fine_net(kind):
    made = wavy(3, kind, 2)
    X_ = made.X.clone()
    X_[:, 2] += 0.2 * (3 * X_[:, 0]).sin() * X_[:, 1]           # the outline is curved too
    surface = Surface(made.moved(X_).surface())
    X = uniform(60, 3, -0.3, 1.3)
    net = []
    for block in surface.complex.blocks:
        steps = torch.linspace(0, 1, 41, dtype=torch.float64)
        xi = torch.cartesian_prod(steps, steps)
        xi = xi[xi.sum(1) <= 1 + 1e-12] if block.kind.shape.simplex else xi
        net.append(mapped(surface.complex.X, block, xi).x.flatten(0, 1))
    least = torch.cdist(X, torch.cat(net)).amin(1)
    near = surface.nearest(X)
    assert (near.distance <= least + 1e-12).all()
    # Nodes of the net are at most 0.01 apart: d' ≤ √(d² + 0.01²).
    assert (least <= (near.distance.square() + 0.01**2).sqrt() + 1e-3).all()
    assert torch.allclose((near.point - X).norm(dim=1), near.distance, atol=1e-14)
    normal = surface.normals(near)
    away = (near.xi > 1e-3).all(1) & (near.xi < 0.999).all(1) & (near.xi.sum(1) < 0.999)
    across = torch.linalg.cross(normal, (X - near.point) / near.distance[:, None]).norm(dim=1)
    assert away.any() and across[away].max() < 1e-6            # inside of a facet, the shortest way is perpendicular


def test_the_winding_number_is_one_inside_and_zero_outside():
    for made in (box([(0, 1)] * 3, [6] * 3), box([(0, 1)] * 2, [20] * 2), wavy(3, "tetra")):
        surface = Surface(made.surface())
        X = uniform(1000, made.dim, -0.5, 1.5)
        inside = ((X > 0) & (X < 1)).all(1).double()
        assert torch.allclose(surface.winding(X, dipoles=False), inside, atol=1e-12)
        # The next term of the expansion of clusters at twice their radius; they partly cancel.
        assert (surface.winding(X) - inside).abs().max() < 0.06


def test_the_winding_number_of_a_cube_without_a_triangle_misses_its_solid_angle():
    made = box([(0, 1)] * 3, [2] * 3).surface()
    block = made.blocks[0]
    open_ = Surface(Complex(made.X, (Cells(block.kind, block.nodes[1:]),)))
    lost = made.X[block.nodes[0]]
    X = uniform(500, 3, -0.2, 1.2)
    a, b, c = (lost[i] - X for i in range(3))
    u, v, w = (r / r.norm(dim=1, keepdim=True) for r in (a, b, c))
    # Solid angle by the angles of the spherical triangle (Girard), an independent formula.
    corner = lambda p, q, r: torch.acos(
        (torch.nn.functional.normalize(torch.linalg.cross(p, q), dim=1)
         * torch.nn.functional.normalize(torch.linalg.cross(p, r), dim=1)).sum(1).clamp(-1, 1))
    angle = corner(u, v, w) + corner(v, w, u) + corner(w, u, v) - pi
    sign = torch.sign((a * torch.linalg.cross(b, c)).sum(1))
    inside = ((X > 0) & (X < 1)).all(1).double()
    assert torch.allclose(open_.winding(X, dipoles=False), inside - sign * angle / (4 * pi), atol=1e-6)
    deep = ((X > 0.25) & (X < 0.75)).all(1)
    assert (open_.winding(X)[deep] > 0.5).all()


def test_the_volume_of_a_surface_is_that_of_its_cells_whatever_way_it_turns():
    for made in (wavy(3, "hexahedron"), wavy(3, "tetra"), wavy(2, "triangle")):
        surface = made.surface()
        assert Enclosed(surface).volume == pytest.approx(1.0, rel=1e-12)
        again = Enclosed(turned(surface))
        assert again.volume == pytest.approx(1.0, rel=1e-12)
        middle = torch.full((1, made.dim), 0.5, dtype=torch.float64)
        assert again.surface.winding(middle).item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("kind", ["line3", "triangle6", "quad8", "quad9", "tetra10", "hexahedron20", "hexahedron27"])
def test_boxes_and_bounds_of_curved_cells_hold_for_all_their_points(kind):
    kind = KINDS[kind]
    D = kind.dim
    P = kind.nodes + 0.15 * torch.randn(20, kind.size, D, generator=seeded(), dtype=torch.float64)
    cells = Cells(kind, torch.arange(20 * kind.size).view(20, -1))
    X = P.reshape(-1, D)
    xi = uniform(3000, D)
    xi = xi[xi.sum(1) < 1] if kind.shape.simplex else xi
    image = mapped(X, cells, torch.cat([xi, kind.nodes]))
    low, high = boxes(X, cells)
    assert (image.x >= low[:, None] - 1e-12).all() and (image.x <= high[:, None] + 1e-12).all()
    assert (image.measure <= largest_measure(X, cells)[:, None] + 1e-12).all()


def test_neighbours_along_a_hilbert_curve_are_neighbours_in_space():
    for D, n in ((2, 16), (3, 8)):
        axis = torch.arange(n, dtype=torch.float64)
        X = torch.cartesian_prod(*[axis] * D)[torch.randperm(n**D, generator=seeded())]
        steps = X[hilbert_order(X)].diff(dim=0).abs().sum(1)
        assert torch.equal(steps, torch.ones_like(steps))


def test_points_are_halved_until_their_pairs_fit_into_memory(monkeypatch):
    made = box([(0, 1)] * 2, [8, 8])
    X = uniform(300, 2)
    locator = Locator(made)
    expected, near = locator.find(X), locator.hull.nearest(X)
    monkeypatch.setitem(tree.LIMIT, "cpu", 50)
    assert torch.equal(locator.find(X).cell, expected.cell)
    assert torch.allclose(locator.hull.nearest(X).distance, near.distance, rtol=1e-13)


@pytest.mark.parametrize("call, sentence", [
    (lambda: Locator(box([(0, 1)] * 3, [1] * 3).surface()), "cells that fill their space, got cells of dimension 2"),
    (lambda: Surface(box([(0, 1)] * 2, [1] * 2)), "one dimension less than its 2 coordinates"),
    (lambda: Enclosed(Complex(uniform(3, 3), (Cells(KINDS["triangle"], torch.tensor([[0, 1, 2]])),))),
     "3 of its 3 edges have no neighbour that continues them; close its holes"),
])
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ProblemError, match=sentence):
        call()
