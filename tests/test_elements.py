"""Finite-element spaces: numbering, values, gradients and traces, against polynomials and scikit-fem."""

import pytest
import torch

from sciml.elements.space import Space
from sciml.errors import ProblemError
from sciml.mesh import KINDS, Cells, Complex
from sciml.mesh.structured import box, edges, quadratic, refined

BOXES = [(1, "line"), (2, "triangle"), (2, "quad"), (3, "tetra"), (3, "hexahedron")]
SIDES = [(0.0, 1.0), (-1.0, 1.0), (0.5, 3.5)]


def a_box(dim, kind, cells=(3, 2, 2)):
    return box(SIDES[:dim], cells[:dim], kind)


def mixed():
    X = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0.5]], dtype=torch.float64)
    return Complex(X, (Cells(KINDS["quad"], torch.tensor([[0, 1, 2, 3]])),
                       Cells(KINDS["triangle"], torch.tensor([[1, 4, 2]]))))


@pytest.mark.parametrize("dim, kind", BOXES)
@pytest.mark.parametrize("curved", [False, True])
def test_a_space_has_a_coefficient_per_corner_edge_face_and_middle(dim, kind, curved):
    straight = a_box(dim, kind)
    complex_ = quadratic(straight) if curved else straight
    assert Space(complex_, 1).size == len(straight.X)
    extra = len(edges(straight)[0]) + (straight.facet_count + len(straight) if kind == "hexahedron" else 0)
    extra += len(straight) if kind == "quad" else 0
    assert Space(complex_, 2).size == len(straight.X) + extra == len(quadratic(straight).X)


@pytest.mark.parametrize("dim, kind", BOXES)
@pytest.mark.parametrize("order", [1, 2])
def test_polynomials_of_the_order_are_in_the_space_with_their_gradients(dim, kind, order):
    space = Space(refined(a_box(dim, kind)), order)
    polynomial = lambda *x: sum((i + 1) * (c + 0.5) ** order for i, c in enumerate(x))
    u = space.interpolate(polynomial)
    for part in [*space.cells(3), *space.facets(3)]:
        values = torch.einsum("...a,ea->e...", part.values, u[part.dofs]) if part.values.ndim == 2 else \
            torch.einsum("eqa,ea->eq", part.values, u[part.dofs])
        assert torch.allclose(values, polynomial(*part.x.unbind(2)), atol=1e-12)
        gradient = torch.einsum("eqad,ea->eqd", part.gradients, u[part.dofs])
        exact = torch.stack([(i + 1) * order * (part.x[..., i] + 0.5) ** (order - 1) for i in range(dim)], -1)
        assert torch.allclose(gradient, exact, atol=1e-11)


@pytest.mark.parametrize("order", [1, 2])
def test_a_mixed_mesh_has_one_space(order):
    space = Space(mixed(), order)
    assert space.size == (5 if order == 1 else 5 + 6 + 1)
    u = space.interpolate(lambda x, y: 2 * x - y)
    for part in [*space.cells(2), *space.facets(2)]:
        gradient = torch.einsum("eqad,ea->eqd", part.gradients, u[part.dofs])
        assert torch.allclose(gradient, gradient.new_tensor([2.0, -1.0]).expand_as(gradient), atol=1e-13)


@pytest.mark.parametrize("dim, kind", BOXES)
@pytest.mark.parametrize("order", [1, 2])
def test_coefficients_of_a_face_are_those_whose_nodes_lie_on_it(dim, kind, order):
    space = Space(a_box(dim, kind), order)
    for i, (lo, hi) in enumerate(SIDES[:dim]):
        for sign, end in (("-", lo), ("+", hi)):
            there = (space.nodes[:, i] - end).abs() < 1e-12
            assert torch.equal(space.on(f"{'xyz'[i]}{sign}"), there.nonzero()[:, 0])


def test_traces_of_curved_cells_lie_on_the_curve():
    complex_ = quadratic(box([(0, 1), (0, 1)], (1, 1), "quad"))
    X = complex_.X.clone()
    top = (X[:, 1] == 1).nonzero()[:, 0]
    X[top, 1] += X[top, 0] * (1 - X[top, 0])
    space = Space(complex_.moved(X), 2)
    (part,) = space.facets(5, "y+")
    u = space.interpolate(lambda x, y: 3 * x + y)                    # linear: exact on isoparametric cells
    values = torch.einsum("eqa,ea->eq", part.values, u[part.dofs])
    assert torch.allclose(values, 3 * part.x[..., 0] + part.x[..., 1], atol=1e-13)
    slope = 1 - 2 * part.x[..., 0]
    normal = torch.stack([-slope, torch.ones_like(slope)], -1) / (1 + slope**2).sqrt()[..., None]
    assert torch.allclose(part.normals, normal, atol=1e-13)


def test_a_space_on_a_surface_and_an_unknown_group_are_refused():
    with pytest.raises(ProblemError, match="cells of dimension 2 in 3 coordinates"):
        Space(a_box(3, "tetra").surface())
    with pytest.raises(ProblemError, match="unknown region 'inlett'"):
        Space(Complex(mixed().X, mixed().blocks, surfaces={"inlet": torch.tensor([0])})).on("inlett")
