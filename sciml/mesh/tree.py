"""A tree of boxes around many small things (cells, facets), for finding those at or nearest to points.

Things are sorted along a Hilbert curve through their middles; every eight neighbours get a box, every eight boxes a
box, and so on. Points go down the tree together, as pairs (point, box) in plain tensors, so the same code serves CPU
and GPU. Nothing depends on a typical size: meshes may be graded as strongly as they like.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WIDTH = 8                                                      # children of a box
CHUNK = {"cpu": 2**12, "cuda": 2**17}                          # points that go down together
LIMIT = {"cpu": 2**19, "cuda": 2**23}                          # pairs (point, box); more of them are halved
BITS = {1: 48, 2: 24, 3: 16}                                   # of a coordinate along the curve


class Pairs(Exception):
    """More pairs than fit into the memory that is allowed."""


class BoxTree:
    """Boxes around M things, in a tree.

    Args:
        lower: Lower corners, shape (M, D), D = 1, 2 or 3.
        upper: Upper corners, shape (M, D).
        points: For `nearest`, a point of each thing, shape (M, D).
    """

    def __init__(self, lower: Tensor, upper: Tensor, points: Tensor | None = None):
        self.count, self.dim = lower.shape
        self.order = hilbert_order((lower + upper) / 2)
        self.rounding = 8e-15 * float(torch.maximum(lower.abs(), upper.abs()).max())
        boxes = torch.cat([lower, -upper], 1)[self.order]      # a point x is inside if (x, −x) ≥ (lower, −upper)
        levels = []
        while True:
            short = -len(boxes) % WIDTH
            boxes = torch.cat([boxes, boxes.new_full((short, boxes.shape[1]), torch.inf)])
            levels.append(boxes.view(-1, WIDTH, boxes.shape[1]))
            if len(levels[-1]) == 1:
                break
            boxes = levels[-1].amin(1)
        # From the top down, and for each a table (2 D, n / 8, 8): whole rows are compared.
        self.levels = [level.permute(2, 0, 1).contiguous() for level in reversed(levels)]
        # A point in the middle of what each box holds.
        self.points = [] if points is None else [
            points[self.order[(torch.arange(t.shape[1] * WIDTH) * WIDTH**k + WIDTH**k // 2).clamp(max=self.count - 1)]]
            for k, t in zip(range(len(levels) - 1, -1, -1), self.levels, strict=True)]

    @property
    def depth(self) -> int:
        """Number of levels; the last holds the things themselves."""
        return len(self.levels)

    def containing(self, X: Tensor, slack: float = 0.0) -> tuple[Tensor, Tensor]:
        """All pairs (point, thing) such that the point X (N, D) lies in the thing's box, widened by `slack`.

        Returns:
            Positions in X, ascending, and numbers of things, each of shape (P,).

        Raises:
            Pairs: There are too many of them; ask for fewer points (see `in_chunks`).
        """
        signed = torch.cat([X, -X], 1).T.contiguous() + slack
        point = torch.arange(len(X), device=X.device)
        node = torch.zeros_like(point)
        for table in self.levels:
            # Differences and minima run through vector units; comparisons joined by "and" took four times as long.
            depth = _row(signed[0], point) - _row(table[0], node)
            for side, row in zip(signed[1:], table[1:], strict=True):
                depth = torch.minimum(depth, _row(side, point).sub(_row(row, node)))
            at, child = (depth >= 0).nonzero(as_tuple=True)
            point, node = point[at], node[at] * WIDTH + child
            self._bounded(point, X)
        return point, self.order[node]

    def nearest(self, X: Tensor, exact: Callable[[Tensor, Tensor], Tensor],
                lower: Callable[[Tensor, Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The nearest thing to every point.

        Args:
            X: Points, shape (N, D).
            exact: Squared distances (P,) between points at positions (P,) in X and things with numbers (P,).
            lower: Cheap lower bounds of them, better than those of boxes.

        Returns:
            Squared distances (N,), and numbers of things (N,): the lowest among equals.
        """
        best = self._greedy(X, exact)
        point = torch.arange(len(X), device=X.device)
        node = torch.zeros_like(point)
        bound = torch.zeros(0)
        for table, middles in zip(self.levels, self.points, strict=True):
            square = self._squares(X, table, point, node)
            at, child = (square <= _row(self._loose(best), point)).nonzero(as_tuple=True)
            bound = square[at, child]
            point, node = point[at], node[at] * WIDTH + child
            self._bounded(point, X)
            # The nearest thing is no further than a point of any: without this, 370 boxes per point are left, not 20.
            r = _row(middles, node) - _row(X, point)
            middle = dots(r, r)
            best.scatter_reduce_(0, point, middle, "amin")
            keep = (bound <= self._loose(best)[point]).nonzero()[:, 0]
            point, node, bound = point[keep], node[keep], bound[keep]
        number = self.order[node]
        # Most boxes that reach closer than the first guess hold nothing closer: try the most promising one first.
        first = torch.full_like(best, torch.inf).scatter_reduce_(0, point, bound, "amin")
        trial = bound <= first[point]
        best.scatter_reduce_(0, point[trial], exact(point[trial], number[trial]), "amin")
        keep = (bound <= self._loose(best)[point]).nonzero()[:, 0]
        point, number = point[keep], number[keep]
        if lower is not None:
            keep = (lower(point, number) <= self._loose(best)[point]).nonzero()[:, 0]
            point, number = point[keep], number[keep]
        square = exact(point, number)
        best = torch.full_like(best, torch.inf).scatter_reduce_(0, point, square, "amin")
        tie = square <= best[point]
        nearest = torch.full_like(point.new_empty(len(X)), self.count).scatter_reduce_(
            0, point[tie], number[tie], "amin")
        return best, nearest

    def _greedy(self, X: Tensor, exact: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Squared distance (N,) to the thing at the end of the path through the nearest boxes: an upper bound."""
        point = torch.arange(len(X), device=X.device)
        node = torch.zeros_like(point)
        for table in self.levels:
            node = node * WIDTH + self._squares(X, table, point, node).argmin(1)
        return exact(point, self.order[node])

    def _loose(self, square: Tensor) -> Tensor:
        """A bound that rounding does not undercut."""
        return (square.sqrt() + self.rounding).square()

    @staticmethod
    def _squares(X: Tensor, table: Tensor, point: Tensor, node: Tensor) -> Tensor:
        """Squared distances (P, 8) between points and the boxes below nodes."""
        D, columns = X.shape[1], X.T.contiguous()
        square = torch.zeros(len(point), WIDTH, dtype=X.dtype, device=X.device)
        for i in range(D):
            x = _row(columns[i], point)
            square += torch.maximum(_row(table[i], node) - x, _row(table[D + i], node) + x).clamp_(min=0).square_()
        return square

    def _bounded(self, point: Tensor, X: Tensor) -> None:
        if len(point) > LIMIT[X.device.type] and len(X) > 1:
            raise Pairs

    def to(self, device) -> BoxTree:
        """The tree on another device."""
        new = object.__new__(BoxTree)
        new.__dict__.update(self.__dict__, order=self.order.to(device), levels=[t.to(device) for t in self.levels],
                            points=[p.to(device) for p in self.points])
        return new


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Products of rows, as far as `a` is wide; written out, because sums over short rows are slow."""
    total = a[:, 0] * b[:, 0]
    for i in range(1, a.shape[1]):
        total = torch.addcmul(total, a[:, i], b[:, i])
    return total


def _row(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table; entries of a vector as rows of one."""
    found = torch.index_select(table, 0, index)
    return found[:, None] if table.ndim == 1 else found


def in_chunks(X: Tensor, function: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """A function of points applied to N of them in the order of a Hilbert curve, a bounded number at a time.

    Args:
        X: Points, shape (N, D).
        function: Takes some of them and returns tensors with a row for each; it may raise `Pairs`.
    """
    size = CHUNK[X.device.type]
    if len(X) <= size:
        return _halving(X, function)
    order = hilbert_order(X)
    parts = [_halving(part, function) for part in X[order].split(size)]
    found = []
    for columns in zip(*parts, strict=True):
        column = torch.cat(columns)
        found.append(torch.empty_like(column).index_copy_(0, order, column))
    return tuple(found)


def _halving(X: Tensor, function: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    try:
        return function(X)
    except Pairs:
        half = len(X) // 2
        halves = _halving(X[:half], function), _halving(X[half:], function)
        return tuple(torch.cat(pair) for pair in zip(*halves, strict=True))


def hilbert_order(X: Tensor) -> Tensor:
    """Order (N,) of points X (N, D) along a Hilbert curve, on which neighbours are close together.

    Source: Skilling (2004), doi:10.1063/1.1751381, on all points at once.
    """
    D, bits = X.shape[1], BITS[X.shape[1]]
    low = X.amin(0)
    size = float((X.amax(0) - low).max()) or 1.0
    scaled = ((X - low) * ((2**bits - 1) / size)).nan_to_num(0.0)
    x = [column.long().clamp(0, 2**bits - 1) for column in scaled.unbind(1)]
    if D == 1:
        return torch.argsort(x[0], stable=True)
    size_ = len(X) if X.is_cuda else 2**13                     # in pieces that stay in a processor's cache
    key = torch.cat([_hilbert_key(list(part), bits) for part in zip(*[c.split(size_) for c in x], strict=True)])
    return torch.argsort(key, stable=True)


def _hilbert_key(x: list[Tensor], bits: int) -> Tensor:
    """Position along the curve of points with whole coordinates below 2^bits."""
    for bit in range(bits - 1, 0, -1):                         # undo rotations and reflections, from coarse to fine
        rest = (1 << bit) - 1
        for i in range(len(x)):
            on = -((x[i] >> bit) & 1)                          # all ones, or zero
            swap = (x[0] ^ x[i]) & rest & ~on
            x[0] = x[0] ^ swap ^ (on & rest)
            if i:
                x[i] = x[i] ^ swap
    for i in range(1, len(x)):                                 # Gray code
        x[i] = x[i] ^ x[i - 1]
    turn = torch.zeros_like(x[0])
    for bit in range(bits - 1, 0, -1):
        turn = turn ^ (-((x[-1] >> bit) & 1) & ((1 << bit) - 1))
    key = torch.zeros_like(x[0])
    x = [c ^ turn for c in x]
    for bit in range(bits - 1, -1, -1):
        for c in x:
            key = (key << 1) | ((c >> bit) & 1)
    return key

