"""Maps from the unit cube to the cells or facets of a mesh that keep proportions of measure.

The first unit coordinate chooses the cell, by volume; the next d are a position in it. Where the volume that a unit of
reference volume takes varies inside of a cell (quadrilaterals, curved cells), one more coordinate rejects:

    a point is kept if u < m(ξ) / M,   m = det J (√det JᵀJ on surfaces),   M ≥ max m by Bernstein coefficients

and cells are chosen by M |reference cell|. What is kept is exactly uniform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .bernstein import largest_measure
from .complex import Cells, Facets
from .geometry import mapped, measure
from .kinds import Shape

CONSTANT = 1e-9                                                # excess of M over the mean of m that is rounding


class Landed(NamedTuple):
    """Images of N points of the unit cube.

    Args:
        x: Positions, shape (N, D).
        J: ∂x/∂ξ, shape (N, D, d).
        cell: Positions of their cells among those of the chart, shape (N,).
        keep: Which are kept, shape (N,); None: all.
    """

    x: Tensor
    J: Tensor
    cell: Tensor
    keep: Tensor | None


class CellChart:
    """The map for some cells or facets.

    Args:
        X: Nodes, shape (V, D).
        blocks: Cells or facets by kind.
    """

    def __init__(self, X: Tensor, blocks: Sequence[Cells | Facets]):
        self.X, self.blocks = X, tuple(blocks)
        self.measures = torch.cat([_measures(X, b) for b in blocks])
        bound = torch.cat([largest_measure(X, b) for b in blocks])
        volume = torch.cat([torch.full((len(b),), b.kind.shape.volume, dtype=X.dtype) for b in blocks])
        self.rejects = bool((bound * volume > self.measures * (1 + CONSTANT)).any())
        self.envelope = bound * volume if self.rejects else self.measures
        self.bound = bound
        d = blocks[0].kind.dim
        self.dim = 1 + d + self.rejects if d or len(self.measures) > 1 else 0    # a single point needs no choice
        self._on: dict[tuple[torch.device, torch.dtype], tuple] = {}

    @property
    def measure(self) -> float:
        """Volume of all cells, by quadrature."""
        return float(self.measures.sum())

    @property
    def envelope_measure(self) -> float:
        """Measure that the whole unit cube has."""
        return float(self.envelope.sum())

    def __call__(self, U: Tensor) -> Landed:
        """Images of points U (N, dim), in their dtype and on their device."""
        ends, X, nodes, starts, bound = self._tables(U)
        if not self.dim:
            return Landed(X[nodes[0][0]].expand(len(U), -1), U.new_zeros(len(U), X.shape[1], 0),
                          torch.zeros(len(U), dtype=torch.long, device=U.device), None)
        # Choosing in float64: in float32 the ends of a million cells are not told apart.
        cell = torch.searchsorted(ends, U[:, 0].double().contiguous() * ends[-1], right=True).clamp(max=len(ends) - 1)
        d = self.blocks[0].kind.dim
        if len(self.blocks) == 1:
            x, J = _image(self.blocks[0].kind, X, nodes[0][cell], U[:, 1:1 + d])
        else:
            x, J = U.new_zeros(len(U), X.shape[1]), U.new_zeros(len(U), X.shape[1], d)
            for block, table, start in zip(self.blocks, nodes, starts, strict=True):
                here = ((cell >= start) & (cell < start + len(block))).nonzero()[:, 0]
                x[here], J[here] = _image(block.kind, X, table[cell[here] - start], U[here, 1:1 + d])
        keep = U[:, -1] * bound[cell] < measure(J) if self.rejects else None
        return Landed(x, J, cell, keep)

    def _tables(self, U: Tensor):
        key = (U.device, U.dtype)
        if key not in self._on:
            starts = [sum(len(b) for b in self.blocks[:i]) for i in range(len(self.blocks))]
            nodes = [b.nodes.to(U.device) for b in self.blocks]
            self._on[key] = self.envelope.cumsum(0).to(U.device), self.X.to(U), nodes, starts, self.bound.to(U)
        return self._on[key]


def to_cell(shape: Shape, U: Tensor) -> Tensor:
    """Unit cube to reference cell, keeping proportions of volume: shape (N, d).

        triangle   ξ = √u (1 − v, v)              tetrahedron   r = ∛u, s = √v: ξ = r (1 − s, s (1 − w), s w)
    """
    d = shape.dim
    if not shape.simplex or d < 2:
        return U
    rest, columns = U[:, 0] ** (1 / d), []
    for i in range(1, d):
        inner = U[:, i] ** (1 / (d - i))
        columns.append(rest * (1 - inner))
        rest = rest * inner
    return torch.stack([*columns, rest], 1)


def _image(kind, X: Tensor, nodes: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
    """x and J at one position in each of N cells."""
    xi, P = to_cell(kind.shape, U), X[nodes]
    return torch.einsum("na,nad->nd", kind.values(xi), P), torch.einsum("nai,nad->ndi", kind.gradients(xi), P)


def _measures(X: Tensor, cells: Cells | Facets) -> Tensor:
    """Volumes (E,): exact where det J is a polynomial, Gauss's rule of degree 8 for curved surfaces."""
    kind = cells.kind
    d, D = kind.dim, X.shape[1]
    degree = 1 if kind.affine else 2 * d * kind.order if d == D else 8
    xi, w = kind.shape.rule(degree)
    return (mapped(X, cells, xi).measure * w).sum(1)
