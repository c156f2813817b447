"""Random points of a domain or of a piece of its boundary within small boxes."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..geometry import Domain
from ..geometry.region import Region
from ..points import Points

POOL = 4096              # points of a boundary to begin with
MOST = 2**16             # points of a boundary looked at in one go


def within(region, centres: Tensor, halves: Tensor, each: int, generator: Generator) -> Points:
    """About `each` random points of a patch in every box that reaches into it; none in the others.

    Args:
        region: A domain, or a piece of a boundary.
        centres: Of the boxes, shape (K, D), columns in the order of the patch's coordinates.
        halves: Half their edges, shape (K, D).
        each: Points to a box.
        generator: Of everything random.
    """
    if isinstance(region, Region):
        return _zoomed(region, centres, halves, each, generator)
    assert isinstance(region, Domain)
    K, D = centres.shape
    U = torch.rand(K, each, D, generator=generator, dtype=centres.dtype, device=centres.device)
    X = (centres[:, None] + (2 * U - 1) * halves[:, None]).reshape(-1, D)
    return Points(X[region.contains(X)], region.names)


def _zoomed(region: Region, centres: Tensor, halves: Tensor, each: int, generator: Generator) -> Points:
    """Through the chart: parts of the unit cube whose image is near a box are looked at more and more closely."""
    d, device = region.chart_dim, centres.device
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64, device=device)
    U, side = draw(POOL, d), POOL ** (-1 / max(d, 1))
    stretch = _stretch(region, U)
    smallest = float(halves.min())
    while True:
        reach = 2 * stretch * side
        U = U[_near(region.chart(U).X, centres, halves + reach)]
        if reach <= 0.5 * smallest or not len(U):
            break
        if len(U) > MOST // 2**d:
            U = U[torch.randperm(len(U), generator=generator, device=device)[:MOST // 2**d]]
        U = U.repeat_interleave(2**d, 0)
        U = (U + side * (draw(*U.shape) - 0.5)).clamp(0, 1 - 1e-15)
        side /= 2
    if len(U):                                    # of what lies near, enough to choose from
        U = U.repeat_interleave(max(4 * each, 1), 0)
        U = (U + 2 * side * (draw(*U.shape) - 0.5)).clamp(0, 1 - 1e-15)
    found = region._points(region.chart(U).kept()) if len(U) else region.sample(1, generator=generator)[:0]
    keep = _few(found.X, centres, halves, each, generator)
    return found[keep]


def _stretch(region: Region, U: Tensor) -> float:
    """How far the chart moves a point for a small step in the cube, jumps between pieces left out."""
    step = 1e-4
    V = torch.where(U < 0.5, U + step, U - step)
    moved = (region.chart(V).X - region.chart(U).X).abs().amax(1) / step
    return 1.5 * float(moved.quantile(0.9))


def _near(X: Tensor, centres: Tensor, halves: Tensor) -> Tensor:
    """Mask (N,) of the points that lie in some box."""
    rows = max(1, 2**22 // max(len(centres), 1))
    return torch.cat([((part[:, None] - centres).abs() <= halves).all(2).any(1) for part in X.split(rows)]) \
        if len(X) else torch.zeros(0, dtype=torch.bool, device=X.device)


def _few(X: Tensor, centres: Tensor, halves: Tensor, each: int, generator: Generator) -> Tensor:
    """Positions of at most `each` points of every box, chosen at random."""
    order = torch.randperm(len(X), generator=generator, device=X.device)
    chosen = torch.zeros(len(X), dtype=torch.bool, device=X.device)
    for i in range(0, len(centres), 256):
        inside = ((X[order][:, None] - centres[i:i + 256]).abs() <= halves[i:i + 256]).all(2)
        chosen |= (inside & (inside.cumsum(0) <= each)).any(1)
    return order[chosen]
