"""Pairs of points and Gaussians that are near: found through cells, summed in a fixed order.

Supports are boxes of half widths e_i (along the axes) around centres μ_i. Those whose half widths lie in the same
octaves share a grid of cells as wide as the widest of them, so that what reaches a point lies in its cell or a
neighbour of it. Cells are never stored: centres are sorted by the number of theirs, and a run of neighbours along the
last axis is found by two binary searches. The same operations on CPU and CUDA, and no k nearest neighbours, whose sets
jump.

Sums over the pairs of a point or of a Gaussian go through their runs in one order, so that they give the same bits
every time, also on CUDA, where scattered additions would not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

CANDIDATES = 2**19               # pairs of a point with a neighbour of its cell that are looked at at a time


class Pairs:
    """Which Gaussians (0 … M − 1) reach which points (0 … N − 1).

    Args:
        rows: The point of each pair, ascending, shape (P,).
        columns: Its Gaussian, shape (P,).
        N, M: Points and Gaussians.
    """

    def __init__(self, rows: Tensor, columns: Tensor, N: int, M: int):
        self.rows, self.columns, self.N, self.M = rows, columns, N, M

    @cached_property
    def per_point(self) -> Tensor:
        """Pairs of each point, shape (N,)."""
        return torch.bincount(self.rows, minlength=self.N)

    @cached_property
    def per_gaussian(self) -> Tensor:
        """Pairs of each Gaussian, shape (M,)."""
        return torch.bincount(self.columns, minlength=self.M)

    @cached_property
    def order(self) -> Tensor:
        """Pairs by Gaussian, by point within it, shape (P,)."""
        return torch.argsort(self.columns, stable=True)

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def all(N: int, M: int, device: torch.device | None = None) -> Pairs:
        """Every point with every Gaussian."""
        rows = torch.arange(N, device=device).repeat_interleave(M)
        return Pairs(rows, torch.arange(M, device=device).repeat(N), N, M)

    def at_points(self, values: Tensor) -> Tensor:
        """Values of points, shape (N, …), of each pair's point, shape (P, …)."""
        return _Across.apply(values, self, True, False)

    def at_gaussians(self, values: Tensor) -> Tensor:
        """Values of Gaussians, shape (M, …), of each pair's Gaussian, shape (P, …)."""
        return _Across.apply(values, self, False, False)

    def over_gaussians(self, values: Tensor) -> Tensor:
        """Σ over the Gaussians of each point of values of pairs (P, …), shape (N, …)."""
        return _Across.apply(values, self, True, True)

    def over_points(self, values: Tensor) -> Tensor:
        """Σ over the points of each Gaussian of values of pairs (P, …), shape (M, …)."""
        return _Across.apply(values, self, False, True)

    def take(self, values: Tensor, points: bool) -> Tensor:
        """`at_points` or `at_gaussians`, without a graph."""
        return values[self.rows if points else self.columns]

    def sum(self, values: Tensor, points: bool) -> Tensor:
        """`over_gaussians` or `over_points`, without a graph."""
        lengths = self.per_point if points else self.per_gaussian
        ordered = values if points else values[self.order]
        if not len(ordered):
            return values.new_zeros(len(lengths), *values.shape[1:])
        flat = ordered.reshape(len(ordered), -1).contiguous()
        found = torch.segment_reduce(flat, "sum", lengths=lengths, axis=0, unsafe=True)
        return found.reshape(len(lengths), *values.shape[1:])


class _Across(torch.autograd.Function):
    """Values at pairs, or sums over pairs: each is the other's adjoint."""

    @staticmethod
    def forward(ctx, values, pairs, points, summed):
        ctx.pairs, ctx.points, ctx.summed = pairs, points, summed
        return pairs.sum(values, points) if summed else pairs.take(values, points)

    @staticmethod
    def backward(ctx, adjoint):
        return _Across.apply(adjoint, ctx.pairs, ctx.points, not ctx.summed), None, None, None


@torch.no_grad()
def find_pairs(X: Tensor, centres: Tensor, widths: Tensor, near: Callable[[Tensor, Tensor], Tensor]
               ) -> Iterator[tuple[slice, Pairs]]:
    """Pairs of points with the Gaussians that reach them, as many points at a time as memory is meant for.

    Args:
        X: Points, shape (N, D).
        centres: μ, shape (M, D).
        widths: e, half widths of the supports along the axes, shape (M, D).
        near: (x − μ of candidates (P, D), their Gaussians (P,)) ↦ which of them are pairs, (P,).

    Yields:
        Consecutive points, and their pairs, whose rows are numbered from the first of these points.
    """
    levels = [_Level(centres, widths, index) for index in _octaves(widths)]
    count = X.new_zeros(len(X), dtype=torch.long)
    for level in levels:
        count += level.counts(X)
    total, start, N = torch.cumsum(count, 0), 0, len(X)
    while start < N:
        before = total[start] - count[start]
        stop = max(int(torch.searchsorted(total, before + CANDIDATES, right=True)), start + 1)
        rows, columns = [], []
        for level in levels:
            r, c = level.candidates(X[start:stop])
            keep = near(X[start:stop][r] - centres[c], c)
            rows.append(r[keep])
            columns.append(c[keep])
        r, c = torch.cat(rows), torch.cat(columns)
        if len(levels) > 1:
            order = torch.argsort(r, stable=True)
            r, c = r[order], c[order]
        yield slice(start, stop), Pairs(r, c, stop - start, len(centres))
        start = stop


def _octaves(widths: Tensor) -> list[Tensor]:
    """Numbers of the Gaussians whose half widths lie in the same octaves, for each combination that there is."""
    octaves = torch.log2(widths).floor().long()
    code = torch.zeros_like(octaves[:, 0])
    for column in (octaves - octaves.amin(0)).unbind(1):
        code = code * (int(column.max()) + 1) + column
    kinds, kind = torch.unique(code, return_inverse=True)
    return [torch.nonzero(kind == k).flatten() for k in range(len(kinds))]


class _Level:
    """Gaussians of like size in cells as wide as the widest of them."""

    def __init__(self, centres: Tensor, widths: Tensor, index: Tensor):
        D = centres.shape[1]
        self.size = widths[index].amax(0)
        mu = centres[index]
        self.low = mu.amin(0)
        cells = ((mu - self.low) / self.size).floor().long() + 2      # of points: two free layers below, three above
        counts = cells.amax(0) + 3
        self.most = counts - 1
        strides = [1]
        for n in counts.tolist()[:0:-1]:
            strides.insert(0, strides[0] * n)
        self.strides = torch.tensor(strides, device=centres.device)
        ids, order = torch.sort((cells * self.strides).sum(1), stable=True)
        self.ids, self.index = ids, index[order]
        around = [(*o, 0) for o in product((-1, 0, 1), repeat=D - 1)]
        self.around = (torch.tensor(around, device=centres.device) * self.strides).sum(1)

    def runs(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """First and last of the neighbours' runs in `index`, shape (N, 3^{D−1})."""
        cells = ((X - self.low) / self.size).floor().clamp(min=-2, max=float(self.most.max())).long() + 2
        cells = torch.minimum(cells, self.most).clamp(min=0)
        far = (cells < 1) | (cells >= self.most)                      # no Gaussian lies that far out
        middle = (cells.clamp(min=1) * self.strides).sum(1)[:, None] + self.around
        first = torch.searchsorted(self.ids, middle - 1)
        last = torch.searchsorted(self.ids, middle + 1, right=True)
        return first, torch.where(far.any(1)[:, None], first, last)

    def counts(self, X: Tensor) -> Tensor:
        """Candidates of each point, shape (N,)."""
        first, last = self.runs(X)
        return (last - first).sum(1)

    def candidates(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Points, ascending, and the Gaussians of the cells around them, each shape (P,)."""
        first, last = self.runs(X)
        lengths = (last - first).flatten()
        runs = torch.arange(len(lengths), device=X.device).repeat_interleave(lengths)
        begins = torch.cumsum(lengths, 0) - lengths
        place = torch.arange(len(runs), device=X.device) - begins[runs] + first.flatten()[runs]
        return runs // first.shape[1], self.index[place]
