"""Cell complexes: nodes, cells of one or several kinds, their facets, and named groups of both.

What a mesh file says, once read; finite elements, quadrature, point location and the `Mesh` domain work on it. Cells
are numbered through, kind after kind; so are facets. A facet belongs to one cell (the boundary) or to two; its nodes
are in the order of the first one's, so that its normal points out of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from .kinds import KINDS, CellKind


@dataclass(frozen=True, eq=False)
class Cells:
    """E cells of one kind.

    Args:
        kind: Their kind.
        nodes: Numbers of their nodes, shape (E, k).
    """

    kind: CellKind
    nodes: Tensor

    def __len__(self) -> int:
        return self.nodes.shape[0]

    @property
    def corners(self) -> Tensor:
        """Nodes at the corners, shape (E, c)."""
        return self.nodes[:, :self.kind.corners]


@dataclass(frozen=True, eq=False)
class Facets:
    """F facets of one kind.

    Args:
        kind: Their kind.
        nodes: Numbers of their nodes, shape (F, k), in the order of the first cell.
        cells: The cell they belong to and the one on the other side, or −1: shape (F, 2).
        local: Their number in each of these cells, or −1, shape (F, 2).
    """

    kind: CellKind
    nodes: Tensor
    cells: Tensor
    local: Tensor

    def __len__(self) -> int:
        return self.nodes.shape[0]

    def __getitem__(self, index) -> Facets:
        return Facets(self.kind, self.nodes[index], self.cells[index], self.local[index])


@dataclass(frozen=True, eq=False)
class Complex:
    """Nodes and cells.

    Args:
        X: Coordinates of V nodes, shape (V, D), float64.
        blocks: Cells by kind, all of one dimension d ≤ D.
        volumes: Numbers of cells by group.
        surfaces: Numbers of facets by group, as in `facets`.
    """

    X: Tensor
    blocks: tuple[Cells, ...]
    volumes: Mapping[str, Tensor] = field(default_factory=dict)
    surfaces: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of cells."""
        return sum(len(b) for b in self.blocks)

    def __repr__(self) -> str:
        cells = ", ".join(f"{len(b):,} of kind {b.kind.name}" for b in self.blocks)
        return f"Complex of {cells} on {len(self.X):,} nodes"

    @property
    def dim(self) -> int:
        """Dimension d of the cells."""
        return self.blocks[0].kind.dim

    @property
    def order(self) -> int:
        """The highest order of the cells' geometry."""
        return max(b.kind.order for b in self.blocks)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Number of the first cell of each block."""
        return _starts([len(b) for b in self.blocks])

    @cached_property
    def facets(self) -> tuple[Facets, ...]:
        """All facets, boundary and inner, by kind."""
        kinds = dict.fromkeys(b.kind.facet_kind.name for b in self.blocks)
        return tuple(self._facets_of(KINDS[name]) for name in kinds)

    @cached_property
    def facet_starts(self) -> tuple[int, ...]:
        """Number of the first facet of each kind."""
        return _starts([len(f) for f in self.facets])

    @property
    def facet_count(self) -> int:
        """Number of facets."""
        return sum(len(f) for f in self.facets)

    @cached_property
    def boundary(self) -> Tensor:
        """Numbers of the facets on the boundary."""
        return torch.cat([(f.cells[:, 1] < 0).nonzero()[:, 0] + s
                          for f, s in zip(self.facets, self.facet_starts, strict=True)])

    def chosen(self, numbers: Tensor) -> list[Facets]:
        """The facets with some numbers, by kind; kinds without any are left out."""
        found = []
        for facets, start in zip(self.facets, self.facet_starts, strict=True):
            here = numbers[(numbers >= start) & (numbers < start + len(facets))] - start
            if len(here):
                found.append(facets[here])
        return found

    def chosen_cells(self, numbers: Tensor) -> list[Cells]:
        """The cells with some numbers, by kind; kinds without any are left out."""
        found = []
        for block, start in zip(self.blocks, self.starts, strict=True):
            here = numbers[(numbers >= start) & (numbers < start + len(block))] - start
            if len(here):
                found.append(Cells(block.kind, block.nodes[here]))
        return found

    def surface(self, numbers: Tensor | None = None) -> Complex:
        """The facets with some numbers (None: the boundary) as a complex of their own, nodes renumbered."""
        parts = self.chosen(self.boundary if numbers is None else numbers)
        used, flat = torch.unique(torch.cat([f.nodes.reshape(-1) for f in parts]), return_inverse=True)
        blocks, at = [], 0
        for f in parts:
            blocks.append(Cells(f.kind, flat[at:at + f.nodes.numel()].view_as(f.nodes)))
            at += f.nodes.numel()
        return Complex(self.X[used], tuple(blocks))

    def to(self, device: torch.device | str) -> Complex:
        """The same on another device; what is derived from it, spaces and their matrices too, is made there."""
        blocks = tuple(Cells(b.kind, b.nodes.to(device)) for b in self.blocks)
        volumes, surfaces = ({name: n.to(device) for name, n in groups.items()}
                             for groups in (self.volumes, self.surfaces))
        return Complex(self.X.to(device), blocks, volumes, surfaces)

    def moved(self, X: Tensor) -> Complex:
        """The same cells with nodes at X, shape (V, D)."""
        new = replace(self, X=X)
        for name in ("facets", "facet_starts", "boundary", "starts"):        # they do not depend on positions
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name]
        return new

    def _facets_of(self, kind: CellKind) -> Facets:
        """Facets of one kind, those of two cells joined."""
        nodes, cells, local = [], [], []
        for block, start in zip(self.blocks, self.starts, strict=True):
            if block.kind.facet_kind is not kind:
                continue
            numbers = torch.arange(start, start + len(block), device=self.X.device)
            for i, facet in enumerate(block.kind.facets):
                nodes.append(block.nodes[:, list(facet)])
                cells.append(numbers)
                local.append(torch.full_like(numbers, i))
        N, C, L = torch.cat(nodes), torch.cat(cells), torch.cat(local)
        group = identify(N[:, :kind.corners], len(self.X))
        order = torch.argsort(group, stable=True)
        sorted_ = group[order]
        first = torch.ones_like(sorted_, dtype=torch.bool)
        first[1:] = sorted_[1:] != sorted_[:-1]
        heads = order[first]
        # Of a facet with more than two cells, which is no manifold, the second is kept here; `check` counts them.
        second = torch.zeros_like(first)
        second[1:] = first[:-1] & ~first[1:]
        position = first.cumsum(0) - 1
        found = Facets(kind, N[heads], C.new_full((len(heads), 2), -1), C.new_full((len(heads), 2), -1))
        found.cells[:, 0], found.local[:, 0] = C[heads], L[heads]
        at = position[second]
        found.cells[at, 1], found.local[at, 1] = C[order[second]], L[order[second]]
        return found


def identify(tuples: Tensor, count: int) -> Tensor:
    """A number by row of node numbers below `count`, equal for rows with the same nodes in any order: shape (N,)."""
    rows = tuples.sort(dim=1).values
    key, bound = rows[:, 0].clone(), count
    for i in range(1, rows.shape[1]):
        if bound * count >= 2**62:                            # ranks of prefixes, when one integer does not hold more
            key, bound = torch.unique(key, return_inverse=True)[1], len(rows)
        key, bound = key * count + rows[:, i], bound * count
    return key


def _starts(sizes: list[int]) -> tuple[int, ...]:
    return tuple(sum(sizes[:i]) for i in range(len(sizes)))
