"""Spaces of continuous piecewise polynomials on a complex: where their coefficients sit, and their functions' values.

    u(x) = Σ_a u_a φ_a(x),   φ_a(x(ξ)) = N_a(ξ)

P1 and P2 on simplices, Q1 and Q2 on cubes, also in mixed meshes. A coefficient belongs to a corner, an edge, a face
or a cell, and is the value of u there; the map x(ξ) is that of the mesh, whatever the order of the space. Vectors have
C columns of coefficients, shape (V, C).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from ..mesh.complex import Cells, Complex, Facets, identify
from ..mesh.geometry import inverse, line_normals, mapped, outward
from ..mesh.kinds import CellKind, lagrange


class Elements(NamedTuple):
    """Cells, or facets, of one kind with their functions at quadrature points.

    Args:
        dofs: Numbers of the coefficients of each, shape (E, k).
        cells: Numbers of the cells in the complex (of a facet: its first), shape (E,).
        x: Quadrature points, shape (E, Q, D).
        weights: Shape (E, Q); they sum to the measure.
        values: φ, shape (Q, k), or (E, Q, k) on facets whose cells turn differently.
        gradients: ∂φ/∂x, shape (E, Q, k, D).
        normals: Outward unit normals on facets, shape (E, Q, D); None for cells.
    """

    dofs: Tensor
    cells: Tensor
    x: Tensor
    weights: Tensor
    values: Tensor
    gradients: Tensor
    normals: Tensor | None = None


class Space:
    """Continuous Lagrange elements of one order on a complex.

    Args:
        complex_: The cells, which fill their space (d = D).
        order: 1 or 2.

    Raises:
        ProblemError: Another order, or a surface in space.
    """

    def __init__(self, complex_: Complex, order: int = 1):
        if complex_.dim != complex_.X.shape[1]:
            raise ProblemError(f"finite elements need cells that fill space; this mesh has cells of dimension "
                               f"{complex_.dim} in {complex_.X.shape[1]} coordinates")
        self.complex, self.order = complex_, order
        self.kinds = tuple(lagrange(b.kind.shape, order) for b in complex_.blocks)
        self.dofs, self.size = _numbering(complex_, self.kinds)

    def __repr__(self) -> str:
        return f"Space of order {self.order} with {self.size:,} coefficients"

    @cached_property
    def nodes(self) -> Tensor:
        """Where the coefficients sit, shape (V, D)."""
        X = self.complex.X.new_zeros(self.size, self.complex.X.shape[1])
        for block, kind, dofs in zip(self.complex.blocks, self.kinds, self.dofs, strict=True):
            X[dofs] = torch.einsum("qa,ead->eqd", block.kind.values(kind.nodes).to(X), self.complex.X[block.nodes])
        return X

    def interpolate(self, function: Callable[..., Tensor]) -> Tensor:
        """Coefficients of a function of D columns (V,): its values at the nodes."""
        found = torch.as_tensor(function(*self.nodes.unbind(1))).to(self.nodes)
        return found.expand(self.size).clone() if found.ndim == 0 else found

    def cells(self, degree: int, numbers: Tensor | None = None) -> list[Elements]:
        """Elements by kind, with a quadrature of some degree on the reference cells.

        Args:
            degree: Of polynomials in ξ that are integrated exactly.
            numbers: Of the cells; None: all.
        """
        found = []
        for i, block in enumerate(self.complex.blocks):
            start = self.complex.starts[i]
            rows = torch.arange(len(block), device=block.nodes.device)
            if numbers is not None:
                rows = numbers[(numbers >= start) & (numbers < start + len(block))] - start
            if not len(rows):
                continue
            xi, w = block.kind.shape.rule(degree)
            m = mapped(self.complex.X, Cells(block.kind, block.nodes[rows]), xi)
            kind = self.kinds[i]
            values, slopes, w = (a.to(m.x) for a in (kind.values(xi), kind.gradients(xi), w))
            gradients = torch.einsum("qai,eqij->eqaj", slopes, inverse(m.J, m.measure))
            found.append(Elements(self.dofs[i][rows], rows + start, m.x, m.measure * w, values, gradients))
        return found

    def facets(self, degree: int, on: str | Iterable[str] | Tensor | None = None) -> list[Elements]:
        """Elements on facets: functions of their first cells, so that gradients are complete.

        Args:
            degree: As in `cells`.
            on: Names of surface groups, or numbers of facets; None: the boundary.
        """
        found = []
        for facets in self.complex.chosen(self.facet_numbers(on)):
            xi, w = facets.kind.shape.rule(degree)
            m = mapped(self.complex.X, facets, xi)
            n = outward(m.J) if self.complex.dim > 1 else line_normals(self.complex, facets)
            for i, block in enumerate(self.complex.blocks):
                start = self.complex.starts[i]
                here = (facets.cells[:, 0] >= start) & (facets.cells[:, 0] < start + len(block))
                if block.kind.facet_kind is facets.kind and bool(here.any()):
                    found.append(self._traces(i, facets[here], m.x[here], (m.measure * w.to(m.x))[here], n[here], xi))
        return found

    def _traces(self, i: int, facets: Facets, x: Tensor, weights: Tensor, normals: Tensor, eta: Tensor) -> Elements:
        """Facets of cells of block i, at points η of the reference facet."""
        block, kind, rows = self.complex.blocks[i], self.kinds[i], facets.cells[:, 0] - self.complex.starts[i]
        linear = lagrange(facets.kind.shape, 1) if facets.kind.dim else facets.kind
        corners = block.kind.nodes[:block.kind.corners]
        # ξ of the points in the cell, which depends on the facet's number there only
        places = torch.stack([linear.values(eta) @ corners[list(f)] for f in block.kind.shape.facets])
        V, G, geometry = (torch.stack([f(p) for p in places]).to(x)[facets.local[:, 0]]
                          for f in (kind.values, kind.gradients, block.kind.gradients))
        J = torch.einsum("eqai,ead->eqdi", geometry, self.complex.X[block.nodes[rows]])
        gradients = torch.einsum("eqai,eqij->eqaj", G, inverse(J))
        return Elements(self.dofs[i][rows], facets.cells[:, 0], x, weights, V, gradients, normals)

    def facet_numbers(self, on: str | Iterable[str] | Tensor | None) -> Tensor:
        """Numbers of facets by names of groups ("boundary" is one).

        Raises:
            ProblemError: There is no such group; the sentence lists those that there are.
        """
        if on is None:
            return self.complex.boundary
        if isinstance(on, Tensor):
            return on
        names = [on] if isinstance(on, str) else list(on)
        table = {"boundary": self.complex.boundary, **self.complex.surfaces}
        return torch.unique(torch.cat([look_up("region", name, table) for name in names]))

    def on(self, on: str | Iterable[str] | Tensor | None = None) -> Tensor:
        """Numbers of the coefficients on facets (names, numbers, or None: the boundary), increasing."""
        found = []
        for facets in self.complex.chosen(self.facet_numbers(on)):
            for i, block in enumerate(self.complex.blocks):
                start = self.complex.starts[i]
                here = (facets.cells[:, 0] >= start) & (facets.cells[:, 0] < start + len(block))
                if block.kind.facet_kind is not facets.kind or not bool(here.any()):
                    continue
                table = torch.tensor(self.kinds[i].facets, device=here.device)
                local = table[facets.local[here, 0]]
                found.append(self.dofs[i][facets.cells[here, 0] - start].gather(1, local).reshape(-1))
        return torch.unique(torch.cat(found))


def _numbering(complex_: Complex, kinds: tuple[CellKind, ...]) -> tuple[tuple[Tensor, ...], int]:
    """Numbers of coefficients by block, shape (E, k) each, and how many there are.

    A node of a kind is the mean of some corners (`supports`); neighbours share a coefficient where they share those.
    """
    columns: list[list[Tensor]] = [[] for _ in kinds]
    size = 0
    for count in sorted({len(s) for kind in kinds for s in kind.supports}):
        wanted = [(i, s) for i, kind in enumerate(kinds) for s in kind.supports if len(s) == count]
        keys = torch.cat([identify(complex_.blocks[i].nodes[:, list(s)], len(complex_.X)) for i, s in wanted])
        names, number = torch.unique(keys, return_inverse=True)
        at = 0
        for i, _ in wanted:
            E = len(complex_.blocks[i])
            columns[i].append(number[at:at + E] + size)
            at += E
        size += len(names)
    # `supports` lists corners, edges, faces, the middle: in order of their number of corners but for hexahedra's
    # faces and quadrilaterals' middles, which have four each and never occur in one kind.
    return tuple(torch.stack(c, 1) for c in columns), size
