"""Conditions that prescribe two values for one unknown at the same place, which no field can satisfy.

Where faces meet in a corner such data are usual (a lid that moves between fixed walls): a corner has no measure, and
points that are drawn at random never lie on it. What is drawn on both regions is on a piece that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from ..calculus import Program
from ..errors import ProblemError
from ..points import Points
from .block import Block

POINTS = 64
SHARED = 0.05            # of a region at least: less may be the sliver of a face that x < 0.01 holds
TOLERANCE = 1e-8         # for values of order one; formulas that should agree differ by rounding, sin(π) = 1e-16


def check_prescribed(blocks: Sequence[Block]) -> None:
    """Compares the prescribed values of every two conditions, each at points of the other.

    Raises:
        ProblemError: Two of them prescribe different values for one unknown on a piece that they share.
    """
    drawn = {b.name: _points(b) for b in blocks if b.prescribed}
    for one, other in combinations([b for b in blocks if b.prescribed], 2):
        for unknown, order in (key for key in one.prescribed if key in other.prescribed):
            for where, there in ((one, other), (other, one)):
                _compare(where, there, drawn[where.name], unknown, order)


def _points(block: Block) -> Points:
    if isinstance(block.region, Points):
        return block.region
    return block.region.sample(POINTS, generator=torch.Generator().manual_seed(0))


def _compare(one: Block, other: Block, points: Points, unknown: str, order: int) -> None:
    shared = points[_inside(points, other.region)]
    if len(shared) == 0 or len(shared) < SHARED * len(points):
        return
    program = Program({b.name: b.prescribed[unknown, order] for b in (one, other)})
    kinds = {kind for kind, _, _ in program.leaves}
    sources = {"coordinate": shared.X, "normal": shared.normals}
    if any(sources.get(kind) is None for kind in kinds):
        return                                            # what depends on unknowns may still come to agree
    leaves = {}
    for key in program.leaves:
        source = sources[key[0]]
        assert source is not None
        leaves[key] = source[:, shared.names.index(key[1])]
    a, b = program(leaves, shared.X[:, 0])
    gap = (a - b).abs() / (1 + torch.maximum(a.abs(), b.abs()))
    apart = gap > TOLERANCE
    if int(apart.sum()) < max(SHARED * len(points), 1):
        return
    i = int(gap.nan_to_num(0.0).argmax())
    what = unknown + ("_" + "t" * order if order else "")
    at = ", ".join(f"{n}={v:.3g}" for n, v in zip(shared.names, shared.X[i].tolist(), strict=True))
    raise ProblemError(f"conditions {one.name!r} and {other.name!r} contradict each other: they prescribe {what} = "
                       f"{float(a[i]):.4g} and {what} = {float(b[i]):.4g} at {at}, and on all of the piece that their "
                       "regions share; leave one out, or give them different regions")


def _inside(points: Points, region) -> Tensor:
    """Mask (N,) of the points that lie on a region, or are among given points."""
    if isinstance(region, Points):
        return (points.X[:, None] == region.reorder(points.names).X).all(2).any(1)
    return region.contains(points.reorder(region.names).X)
