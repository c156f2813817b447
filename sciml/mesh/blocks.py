"""Meshes of blocks: curved quadrilaterals round a hole, and blocks glued together.

Nodes of order 2 lie on circles, so that cells are curved as the walls are; graded towards the hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, pi

import torch
from torch import Tensor

from ..errors import ProblemError
from .complex import Cells, Complex, identify
from .structured import box, quadratic


def around(circle: tuple[float, float, float], bounds: Sequence[tuple[float, float]], along: int, across: int,
           grading: float = 1.0, hole: str = "hole") -> Complex:
    """The rectangle minus a disk: blocks from the circle to each side, of quadrilaterals of order 2.

    Args:
        circle: (x, y, r) of the disk, inside of the rectangle.
        bounds: (low, high) of x and of y.
        along: Cells along each side.
        across: Cells from the circle to a side.
        grading: How many times the outermost cells are longer, across, than the innermost.
        hole: Name of the circle; the sides are "x-", "x+", "y-" and "y+".

    Raises:
        ProblemError: The disk is not inside.
    """
    cx, cy, radius = circle
    (x0, x1), (y0, y1) = bounds
    if not (x0 < cx - radius and cx + radius < x1 and y0 < cy - radius and cy + radius < y1):
        raise ProblemError(f"the disk of radius {radius:g} round ({cx:g}, {cy:g}) is not inside of the rectangle "
                           f"{tuple(bounds[0])} × {tuple(bounds[1])}")
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    parts = []
    for name, a, b in zip(("y-", "x+", "y+", "x-"), corners, corners[1:] + corners[:1], strict=True):
        made = quadratic(box([(0, 1), (0, 1)], (across, along), "quad"))
        s, t = made.X.unbind(1)
        s = s if grading == 1.0 else (grading**s - 1) / (grading - 1)
        start, turn = atan2(a[1] - cy, a[0] - cx), 0.0
        turn = (atan2(b[1] - cy, b[0] - cx) - start) % (2 * pi)
        angle = start + turn * t
        inner = torch.stack([cx + radius * torch.cos(angle), cy + radius * torch.sin(angle)], 1)
        outer = torch.stack([a[i] + (b[i] - a[i]) * t for i in (0, 1)], 1)
        X = inner + s[:, None] * (outer - inner)
        parts.append(Complex(X, made.blocks, surfaces={hole: made.surfaces["x-"], name: made.surfaces["x+"]}))
    return glued(parts)


def glued(parts: Sequence[Complex]) -> Complex:
    """One complex of several that meet node to node; groups of the same name are joined.

    Facets that two parts share are inner ones afterwards and belong to no group.

    Args:
        parts: Of one dimension.
    """
    X = torch.cat([p.X for p in parts])
    size = float((X.amax(0) - X.amin(0)).max())
    number = _merged(X, 1e-9 * size)
    first = torch.full((int(number.max()) + 1,), len(X))
    first.scatter_reduce_(0, number, torch.arange(len(X)), "amin")
    kinds = dict.fromkeys(b.kind for p in parts for b in p.blocks)
    offsets = torch.tensor([0, *(len(p.X) for p in parts)]).cumsum(0).tolist()
    blocks = tuple(Cells(kind, torch.cat([number[b.nodes + at] for p, at in zip(parts, offsets, strict=False)
                                          for b in p.blocks if b.kind is kind])) for kind in kinds)
    made = Complex(X[first], blocks)
    surfaces: dict[str, list[Tensor]] = {}
    for p, at in zip(parts, offsets, strict=False):
        for name, numbers in p.surfaces.items():
            for facets in p.chosen(numbers):
                surfaces.setdefault(name, []).append(_found(made, number[facets.nodes + at], facets.kind.name))
    found = {name: torch.unique(torch.cat(numbers)) for name, numbers in surfaces.items()}
    outside = torch.zeros(made.facet_count, dtype=torch.bool)
    outside[made.boundary] = True
    return Complex(made.X, blocks, surfaces={n: f[outside[f]] for n, f in found.items() if bool(outside[f].any())})


def _merged(X: Tensor, tolerance: float) -> Tensor:
    """A number by point, equal for points closer than a tolerance in every coordinate."""
    number = torch.zeros(len(X), dtype=torch.long)
    for i in range(X.shape[1]):
        order = X[:, i].argsort()
        gaps = X[order, i].diff() > tolerance
        rank = torch.zeros(len(X), dtype=torch.long)
        rank[order] = torch.cat([gaps.new_zeros(1), gaps]).cumsum(0)
        number = torch.unique(number * len(X) + rank, return_inverse=True)[1]
    return number


def _found(complex_: Complex, nodes: Tensor, kind: str) -> Tensor:
    """Numbers of the facets with some nodes, shape (F, k)."""
    for facets, start in zip(complex_.facets, complex_.facet_starts, strict=True):
        if facets.kind.name == kind:
            key = lambda n, c=facets.kind.corners: identify(n[:, :c], len(complex_.X))      # noqa: B023
            keys, order = key(facets.nodes).sort()
            return order[torch.searchsorted(keys, key(nodes))] + start
    raise AssertionError(kind)
