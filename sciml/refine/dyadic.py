"""Nested lattices of Gaussians: spacing h/2^l along every coordinate, each with its own level l.

    μ = a + k h 2^−l,   s = c h 2^−l,   k ∈ ℤ^D, l ∈ ℕ^D

A Gaussian is a pair of rows of whole numbers, so that none is ever made twice. A wider Gaussian is nearly a sum of
narrow ones; of a finer lattice the places between those of the coarser one complete its space, and the others would
only repeat what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

EXACT = 1e-6             # of h: how far off its place a centre may be


class Dyadic:
    """Nested lattices over the Gaussians that a field starts with.

    Args:
        anchor: a, shape (D,).
        spacing: h, shape (D,).
        overlap: c.
        periods: Period by column of periodic coordinates; places are taken modulo it.
    """

    def __init__(self, anchor: Tensor, spacing: Tensor, overlap: float, periods: Mapping[int, float]):
        self.anchor, self.spacing, self.overlap, self.periods = anchor, spacing, overlap, dict(periods)

    def centres(self, cells: Tensor) -> Tensor:
        """μ of cells (K, 2D), shape (K, D)."""
        D = len(self.anchor)
        return self.anchor + cells[:, D:] * self.spacings(cells[:, :D])

    def spacings(self, levels: Tensor) -> Tensor:
        """h 2^−l of levels (K, D), shape (K, D)."""
        return self.spacing * torch.exp2(-levels.to(self.spacing))

    def cells_of(self, centres: Tensor, scales: Tensor) -> Tensor:
        """The cells (levels and places) of Gaussians, shape (M, 2D); level −1 of those that lie on no lattice.

        Args:
            centres: μ, shape (M, D).
            scales: s, shape (M, D).
        """
        levels = torch.round(torch.log2(self.overlap * self.spacing / scales)).long()
        h = self.spacings(levels)
        places = torch.round((centres - self.anchor) / h)
        off = (centres - self.anchor - places * h).abs() > EXACT * h
        off |= (scales / (self.overlap * h) - 1).abs() > EXACT
        levels = torch.where((off | (levels < 0)).any(1, keepdim=True), -1, levels)
        return torch.cat([levels, places.long()], dim=1)

    def nearest(self, X: Tensor, levels: Tensor) -> Tensor:
        """The cells of given levels next to points X, 3^D to a point, without repetition, shape (K, 2D).

        Args:
            X: Points, shape (N, D).
            levels: l by point, shape (N, D).
        """
        N, D = X.shape
        around = torch.cartesian_prod(*[torch.arange(-1, 2, device=X.device)] * D).reshape(-1, D)
        places = torch.round((X - self.anchor) / self.spacings(levels)).long()
        places = (places[:, None] + around).reshape(-1, D)
        cells = torch.cat([levels[:, None].expand(N, len(around), D).reshape(-1, D), places], dim=1)
        for column, period in self.periods.items():
            count = torch.round(period / self.spacings(cells[:, :D])[:, column]).long()
            cells[:, D + column] %= count
        return torch.unique(cells, dim=0)

    def new(self, cells: Tensor, have: Tensor) -> Tensor:
        """Those of the cells (K, 2D) that are not among `have` (M, 2D), and no repetition of a coarser one that is."""
        known = {tuple(row) for row in have.tolist()}
        D = len(self.anchor)
        fresh = [tuple(row) not in known and _parent(row, D) not in known for row in cells.tolist()]
        return cells[torch.tensor(fresh, dtype=torch.bool, device=cells.device)]


def _parent(cell: Sequence[int], D: int) -> tuple[int, ...] | None:
    """The cell of the next coarser lattice with the same centre."""
    levels, places = cell[:D], cell[D:]
    if not all(l > 0 and k % 2 == 0 for l, k in zip(levels, places, strict=True)):
        return None
    return (*[l - 1 for l in levels], *[k // 2 for k in places])
