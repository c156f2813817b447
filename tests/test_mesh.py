"""Cell complexes: kinds of cells, maps, facets, quadrature and refinement, against exact integrals and counts."""

from itertools import product
from math import factorial

import pytest
import torch

from sciml.errors import ProblemError
from sciml.mesh import KINDS, Cells, Complex, facet_quadrature, lagrange, quadrature, volumes
from sciml.mesh.complex import identify
from sciml.mesh.geometry import inverse, mapped
from sciml.mesh.structured import box, edges, quadratic, refined

CURVED = [k for k in KINDS.values() if k.dim > 0]
BOXES = [(1, "line"), (2, "triangle"), (2, "quad"), (3, "tetra"), (3, "hexahedron")]
SIDES = [(0.0, 1.0), (-1.0, 1.0), (0.5, 3.5)]


def a_box(dim, kind, cells=(3, 2, 2)):
    return box(SIDES[:dim], cells[:dim], kind)


@pytest.mark.parametrize("kind", CURVED, ids=lambda k: k.name)
def test_functions_of_a_kind_are_one_at_their_node_and_zero_at_the_others(kind):
    assert torch.equal(kind.values(kind.nodes), torch.eye(kind.size, dtype=torch.float64))


@pytest.mark.parametrize("kind", CURVED, ids=lambda k: k.name)
def test_gradients_of_a_kind_are_those_of_its_functions(kind):
    xi = torch.rand(5, kind.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    by_autograd = torch.stack([torch.autograd.grad(kind.values(xi)[:, a].sum(), xi)[0] for a in range(kind.size)], 1)
    assert torch.allclose(kind.gradients(xi), by_autograd, atol=1e-13)


@pytest.mark.parametrize("kind", CURVED, ids=lambda k: k.name)
def test_facet_nodes_of_a_kind_lie_where_the_facets_own_kind_puts_them(kind):
    facet = kind.facet_kind
    for nodes, corners in zip(kind.facets, kind.shape.facets, strict=True):
        ends = kind.nodes[list(corners)]
        expected = KINDS[facet.shape.name].values(facet.nodes) @ ends
        assert torch.allclose(kind.nodes[list(nodes)], expected, atol=1e-15)


@pytest.mark.parametrize("degree", range(1, 8))
@pytest.mark.parametrize("shape", ["line", "triangle", "quad", "tetra", "hexahedron"])
def test_rules_integrate_all_monomials_of_their_degree(shape, degree):
    shape = KINDS[shape].shape
    xi, w = shape.rule(degree)
    assert (w > 0).all()
    for p in product(range(degree + 1), repeat=shape.dim):
        if shape.simplex and sum(p) > degree:
            continue
        if shape.simplex:
            exact = 1.0 / factorial(sum(p) + shape.dim)
            for k in p:
                exact *= factorial(k)
        else:
            exact = 1.0
            for k in p:
                exact /= k + 1
        found = (w * (xi ** torch.tensor(p)).prod(1)).sum()
        assert abs(found - exact) < 1e-14, p


@pytest.mark.parametrize("dim, kind", BOXES)
def test_a_box_has_its_volume_and_its_facets_turn_outwards(dim, kind):
    made = a_box(dim, kind)
    volume = torch.tensor([hi - lo for lo, hi in SIDES[:dim]]).prod()
    for complex_ in (made, refined(made), quadratic(made)):
        assert (volumes(complex_) > 0).all()
        assert abs(volumes(complex_).sum() - volume) < 1e-12 * volume
        rule = facet_quadrature(complex_, 2)
        for i in range(dim):                     # ∮ x_i n_i = |Ω|, and ∮ n_i = 0
            assert abs((rule.weights * rule.normals[:, i] * rule.X[:, i]).sum() - volume) < 1e-12 * volume
        assert ((rule.weights[:, None] * rule.normals).sum(0).abs() < 1e-12).all()


@pytest.mark.parametrize("dim, kind", BOXES)
def test_faces_of_a_box_survive_refinement(dim, kind):
    complex_ = refined(refined(a_box(dim, kind)))
    for i, (lo, hi) in enumerate(SIDES[:dim]):
        for sign, end, way in (("-", lo, -1.0), ("+", hi, 1.0)):
            rule = facet_quadrature(complex_, 1, complex_.surfaces[f"{'xyz'[i]}{sign}"])
            assert torch.allclose(rule.X[:, i], torch.tensor(end, dtype=torch.float64))
            assert torch.allclose(rule.normals[:, i], torch.tensor(way, dtype=torch.float64))
            others = [hi - lo for j, (lo, hi) in enumerate(SIDES[:dim]) if j != i]
            assert abs(rule.weights.sum() - torch.tensor([1.0, *others]).prod()) < 1e-12


def test_every_inner_facet_has_two_cells_with_opposite_normals():
    complex_ = a_box(3, "tetra")
    (facets,) = complex_.facets
    inner = facets.cells[:, 1] >= 0
    assert len(facets) * 2 - len(complex_.boundary) == 4 * len(complex_)
    nodes = complex_.blocks[0].nodes
    for f in inner.nonzero()[:, 0].tolist():
        for side in (0, 1):
            local = KINDS["tetra"].facets[facets.local[f, side]]
            assert set(nodes[facets.cells[f, side]][list(local)].tolist()) == set(facets.nodes[f].tolist())


def test_cell_groups_are_inherited():
    made = a_box(2, "triangle")
    left = (made.X[made.blocks[0].nodes].mean(1)[:, 0] < 0.3).nonzero()[:, 0]
    complex_ = refined(Complex(made.X, made.blocks, {"left": left}))
    assert torch.isclose(volumes(complex_)[complex_.volumes["left"]].sum(), volumes(made)[left].sum())


def test_cells_of_two_kinds_share_facets():
    X = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0.5]], dtype=torch.float64)
    complex_ = Complex(X, (Cells(KINDS["quad"], torch.tensor([[0, 1, 2, 3]])),
                           Cells(KINDS["triangle"], torch.tensor([[1, 4, 2]]))))
    assert len(complex_.boundary) == 5 and complex_.facet_count == 6
    assert abs(quadrature(complex_, 2).weights.sum() - 1.5) < 1e-15
    assert len(edges(complex_)[0]) == 6


def test_a_curved_cell_has_the_area_under_its_parabolas():
    complex_ = quadratic(box([(0, 1), (0, 1)], (1, 1), "quad"))
    X = complex_.X.clone()
    top = (X[:, 1] == 1).nonzero()[:, 0]
    X[top, 1] += X[top, 0] * (1 - X[top, 0])
    assert abs(volumes(complex_.moved(X)).sum() - (1 + 1 / 6)) < 1e-14


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_inverses_by_adjugates_are_those_by_elimination(dim):
    J = torch.randn(7, dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(inverse(J), torch.linalg.inv(J), rtol=1e-10)


def test_a_surface_in_space_has_an_area_without_sign():
    surface = a_box(3, "tetra").surface()
    assert surface.dim == 2 and surface.X.shape[1] == 3
    a, b, c = (hi - lo for lo, hi in SIDES)
    assert abs(volumes(surface).sum() - 2 * (a * b + b * c + c * a)) < 1e-12
    assert mapped(surface.X, surface.blocks[0], torch.zeros(1, 2, dtype=torch.float64)).J.shape[-2:] == (3, 2)


def test_rows_are_identified_whatever_their_order_and_size():
    rows = torch.tensor([[1, 2, 3], [3, 1, 2], [1, 2, 4], [4, 2, 1]])
    for count in (5, 2**40):                                   # the second does not fit into one integer
        key = identify(rows, count)
        assert key[0] == key[1] and key[2] == key[3] and key[0] != key[2]


@pytest.mark.parametrize("dim", [2, 3])
def test_edges_of_a_kuhn_mesh_are_as_many_as_eulers_formula_says(dim):
    complex_ = a_box(dim, "")
    V, M, F, E = len(complex_.X), len(edges(complex_)[0]), complex_.facet_count, len(complex_)
    assert V - M + (F if dim == 3 else E) - (E if dim == 3 else 0) == 1


@pytest.mark.parametrize("call, sentence", [
    (lambda: box([(0, 1)], [2], "triangle"), "cannot be cut into cells of kind 'triangle'"),
    (lambda: quadratic(quadratic(a_box(2, "quad"))), "quadratic already"),
    (lambda: lagrange(KINDS["triangle"].shape, 3), "order 3 do not exist"),
])
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ProblemError, match=sentence):
        call()


def test_tetrahedra_keep_their_shape_however_often_they_are_refined():
    X = torch.tensor([[0, 0, 0], [1, 0.1, 0], [0.2, 0.9, 0.1], [0.1, 0.2, 1.3]], dtype=torch.float64)
    complex_ = Complex(X, (Cells(KINDS["tetra"], torch.tensor([[0, 1, 2, 3]])),))
    shapes = []
    for _ in range(4):
        complex_ = refined(complex_)
        corners = complex_.X[complex_.blocks[0].nodes]
        lengths = (corners[:, :, None] - corners[:, None]).norm(dim=-1).flatten(1)
        sizes = volumes(complex_)
        assert bool((sizes > 0).all())
        shapes.append(float((sizes / lengths.amax(1) ** 3).min()))
    assert shapes[1:] == pytest.approx(shapes[:1] * 3, rel=1e-9)          # Bey: three classes of shapes at most


@pytest.mark.parametrize("dim", [2, 3])
def test_a_refined_box_is_the_box_of_twice_as_many_cells(dim):
    fine = [refined(a_box(dim, "")), a_box(dim, "", (6, 4, 4))]
    cells = []
    for complex_ in fine:
        corners = complex_.X[complex_.blocks[0].nodes].mul(120).round().long()
        cells.append({frozenset(map(tuple, c)) for c in corners.tolist()})
    assert cells[0] == cells[1]
