"""Kinds of cells: reference shapes with their Lagrange functions, facets and quadrature.

A kind is a shape (line, triangle, quadrilateral, tetrahedron, hexahedron) with the nodes of a polynomial space on it.
It serves twice: for the geometry x(ξ) = Σ_a x_a N_a(ξ) of a mesh, and for the functions of a finite-element space.
Simplices have ξ_i ≥ 0, Σ ξ_i ≤ 1, the others ξ ∈ [0, 1]^d. Nodes are numbered as in VTK and meshio: corners, middles
of edges, of faces, of the cell. Functions are found from monomials, N = m(ξ) M⁻¹ with M_ab = m_b(ξ_a), in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from ..errors import ProblemError
from .rules import cube_rule, simplex_rule

Node = tuple[float, ...]


@dataclass(frozen=True)
class Shape:
    """A reference polytope.

    Args:
        name: Also the name of its linear kind in meshio.
        dim: Dimension d.
        corners: Coordinates of its corners.
        edges: Pairs of corners, in the order of the nodes that quadratic kinds have on them.
        facets: Corners of each facet; by the right-hand rule its normal points outwards.
        simplex: Whether it is one, rather than a cube.
    """

    name: str
    dim: int
    corners: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]
    facets: tuple[tuple[int, ...], ...]
    simplex: bool

    @property
    def volume(self) -> float:
        """Measure: 1 for a cube, 1/d! for a simplex."""
        return {0: 1.0, 1: 1.0, 2: 0.5, 3: 1 / 6}[self.dim] if self.simplex else 1.0

    def rule(self, degree: int) -> tuple[Tensor, Tensor]:
        """Points (Q, d) and weights (Q,) exact for polynomials of a degree; weights sum to the volume.

        On cubes the degree is that in each coordinate.
        """
        return (simplex_rule if self.simplex else cube_rule)(self.dim, degree)


VERTEX = Shape("vertex", 0, ((),), (), (), True)
LINE = Shape("line", 1, ((0.0,), (1.0,)), ((0, 1),), ((0,), (1,)), True)
TRIANGLE = Shape("triangle", 2, ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), ((0, 1), (1, 2), (2, 0)),
                 ((0, 1), (1, 2), (2, 0)), True)
QUAD = Shape("quad", 2, ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)), ((0, 1), (1, 2), (2, 3), (3, 0)),
             ((0, 1), (1, 2), (2, 3), (3, 0)), False)
TETRA = Shape("tetra", 3, ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
              ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)), ((0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)), True)
HEXAHEDRON = Shape(
    "hexahedron", 3, tuple((x, y, z) for z in (0.0, 1.0) for x, y in QUAD.corners),
    ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)),
    ((0, 4, 7, 3), (1, 2, 6, 5), (0, 1, 5, 4), (3, 7, 6, 2), (0, 3, 2, 1), (4, 5, 6, 7)), False)


@dataclass(frozen=True)
class CellKind:
    """A shape with the nodes of a space of polynomials.

    Args:
        name: As in meshio, e.g. "triangle6".
        shape: The reference shape.
        order: Of the polynomials: 1 or 2.
        extra: Which nodes there are besides corners: "edges", "faces", "middle".
    """

    name: str
    shape: Shape
    order: int
    extra: tuple[str, ...] = ()

    @property
    def dim(self) -> int:
        """Dimension d of the shape."""
        return self.shape.dim

    @property
    def corners(self) -> int:
        """Number of corners; they are the first nodes."""
        return len(self.shape.corners)

    @cached_property
    def supports(self) -> tuple[tuple[int, ...], ...]:
        """By node, the corners whose mean it is: one, an edge's two, a face's four, or all."""
        found: list[tuple[int, ...]] = [(i,) for i in range(self.corners)]
        if "edges" in self.extra:
            found += self.shape.edges
        if "faces" in self.extra:
            found += self.shape.facets
        if "middle" in self.extra:
            found.append(tuple(range(self.corners)))
        return tuple(found)

    @property
    def size(self) -> int:
        """Number of nodes k."""
        return len(self.supports)

    @cached_property
    def nodes(self) -> Tensor:
        """Their coordinates, shape (k, d)."""
        corners = torch.tensor(self.shape.corners, dtype=torch.float64).reshape(self.corners, self.dim)
        return torch.stack([corners[list(s)].mean(0) for s in self.supports])

    @cached_property
    def powers(self) -> tuple[tuple[int, ...], ...]:
        """Exponents of the monomials that span the space: degree ≤ order on simplices, in each coordinate on cubes.

        Kinds without middle nodes on faces (serendipity) have the monomials of superlinear degree ≤ 2 (Arnold and
        Awanou 2011, doi:10.1007/s10208-011-9087-3).
        """
        found = [p for p in product(range(self.order + 1), repeat=self.dim)
                 if not self.shape.simplex or sum(p) <= self.order]
        if self.name in ("quad8", "hexahedron20"):
            found = [p for p in found if sum(k for k in p if k > 1) <= 2]
        return tuple(found)

    @cached_property
    def coefficients(self) -> Tensor:
        """M⁻¹, shape (k, k)."""
        return (64 * torch.linalg.inv(_monomials(self.nodes, self.powers))).round() / 64    # quarters at the finest

    def values(self, xi: Tensor) -> Tensor:
        """N_a at points ξ of shape (Q, d): shape (Q, k)."""
        return _monomials(xi, self.powers) @ self.coefficients.to(xi)

    def gradients(self, xi: Tensor) -> Tensor:
        """∂N_a/∂ξ_i at points ξ of shape (Q, d): shape (Q, k, d)."""
        found = []
        for i in range(self.dim):
            factor = xi.new_tensor([p[i] for p in self.powers])
            lower = tuple(tuple(max(k - (j == i), 0) for j, k in enumerate(p)) for p in self.powers)
            found.append((_monomials(xi, lower) * factor) @ self.coefficients.to(xi))
        return torch.stack(found, 2) if found else xi.new_zeros(len(xi), self.size, 0)

    @cached_property
    def facets(self) -> tuple[tuple[int, ...], ...]:
        """Nodes of each facet, in the order of the facet's own kind."""
        position = {frozenset(s): a for a, s in enumerate(self.supports)}
        found = []
        for corners in self.shape.facets:
            kind = self.facet_kind
            found.append(tuple(position[frozenset(corners[i] for i in s)] for s in kind.supports))
        return tuple(found)

    @property
    def facet_kind(self) -> CellKind:
        """Kind of the facets; those of one cell are alike."""
        return KINDS[_FACET[self.name]]

    @property
    def affine(self) -> bool:
        """Whether x(ξ) is affine for every position of the nodes: simplices of order 1."""
        return self.shape.simplex and self.order == 1


def _monomials(xi: Tensor, powers: Sequence[tuple[int, ...]]) -> Tensor:
    """ξ^p by point and monomial, shape (Q, k)."""
    columns = []
    for p in powers:
        column = torch.ones(len(xi), dtype=xi.dtype, device=xi.device)
        for i, k in enumerate(p):
            for _ in range(k):
                column = column * xi[:, i]
        columns.append(column)
    return torch.stack(columns, 1)


KINDS: dict[str, CellKind] = {k.name: k for k in (
    CellKind("vertex", VERTEX, 1), CellKind("line", LINE, 1), CellKind("line3", LINE, 2, ("edges",)),
    CellKind("triangle", TRIANGLE, 1), CellKind("triangle6", TRIANGLE, 2, ("edges",)),
    CellKind("quad", QUAD, 1), CellKind("quad8", QUAD, 2, ("edges",)), CellKind("quad9", QUAD, 2, ("edges", "middle")),
    CellKind("tetra", TETRA, 1), CellKind("tetra10", TETRA, 2, ("edges",)),
    CellKind("hexahedron", HEXAHEDRON, 1), CellKind("hexahedron20", HEXAHEDRON, 2, ("edges",)),
    CellKind("hexahedron27", HEXAHEDRON, 2, ("edges", "faces", "middle")))}
_FACET = {"line": "vertex", "line3": "vertex", "triangle": "line", "triangle6": "line3", "quad": "line",
          "quad8": "line3", "quad9": "line3", "tetra": "triangle", "tetra10": "triangle6", "hexahedron": "quad",
          "hexahedron20": "quad8", "hexahedron27": "quad9"}
_FULL = {("quad", 2): "quad9", ("hexahedron", 2): "hexahedron27", ("line", 2): "line3", ("triangle", 2): "triangle6",
         ("tetra", 2): "tetra10"}


def lagrange(shape: Shape, order: int) -> CellKind:
    """The kind whose functions are all polynomials of an order on a shape (in each coordinate on cubes).

    Raises:
        ProblemError: The order is neither 1 nor 2.
    """
    if order not in (1, 2):
        raise ProblemError(f"finite elements of order {order} do not exist here; choose 1 or 2")
    return KINDS[shape.name if order == 1 else _FULL[shape.name, 2]]
