"""Random points of a domain or of a piece of its boundary within small boxes."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import Module

from ..calculus.pairs import find_pairs
from ..fields import gaussians_of
from ..fields.slabs import slabs_of
from ..geometry import Domain
from ..geometry.region import Region
from ..geometry.slices import Slices
from ..points import Points, concatenate
from ..sampling import Scene

POOL = 4096              # cells of a boundary to begin with
MOST = 2**16             # cells of a boundary looked at in one go
TOP = 1 - 1e-15
DRAWN = 20000            # points of a boundary of which those near close Gaussians are taken
CLOSER = 0.8             # share of the largest spacing under which Gaussians are close


def follow(scene: Scene, field: Module, each: int) -> None:
    """Adds points where Gaussians are closer than elsewhere: about `each` in the cell of every such Gaussian.

    Args:
        scene: With points of all conditions in place.
        field: With Gaussians.
        each: Points.
    """
    slabs = slabs_of(field)
    found = [gaussians_of(part) for part in ([field] if slabs is None else slabs.parts)]
    names, centres, halves = scene.view.problem.coordinates, [], []
    for own in (g for g in found if g is not None):
        h = own.log_scales.detach().exp().expand(-1, own.dimension) / own.overlap
        fine = (h < CLOSER * h.amax(0)).any(1)
        centres.append(own.centres.detach()[fine])
        halves.append(h[fine] / 2)
    if not centres or not any(map(len, centres)):
        return
    mu, half = torch.cat(centres), torch.cat(halves)
    for block in (b for b in scene.blocks if b.combine in ("each", "difference")):
        if isinstance(block.region, Slices):
            continue                                         # states at the ends of intervals have points enough
        if isinstance(block.region, Domain):
            order = [names.index(n) for n in block.region.names]
            more = within(block.region, mu[:, order], half[:, order], each, scene.generator)
        else:
            pool = scene.draw(block, DRAWN)
            more = pool[_first_of_each(pool.X, mu, half, each)]
        if len(more):
            points = scene.points(block)
            both = concatenate([points, more.reorder(names).to(points.X)])
            scene.place(block, Points(both.X, both.names, None, both.normals))


def _first_of_each(X: Tensor, centres: Tensor, halves: Tensor, each: int) -> Tensor:
    """Positions of the first `each` points in every box."""
    X, centres, halves = X.double(), centres.double(), halves.double()
    taken = torch.zeros(len(centres), dtype=torch.long, device=X.device)
    chosen = torch.zeros(len(X), dtype=torch.bool, device=X.device)
    for rows, pairs in find_pairs(X, centres, halves, lambda delta, box: (delta.abs() <= halves[box]).all(1)):
        box = pairs.columns[pairs.order]
        rank = torch.arange(len(box), device=X.device) - (pairs.per_gaussian.cumsum(0) - pairs.per_gaussian)[box]
        chosen[pairs.rows[pairs.order][taken[box] + rank < each] + rows.start] = True
        taken += pairs.per_gaussian
    return torch.nonzero(chosen).flatten()


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
        if not len(centres):
            return region.sample(1, generator=generator, dtype=centres.dtype, device=centres.device)[:0]
        size = halves.amin(1).log2().floor()               # boxes of a size together: their cells are halved as often
        groups = [size == s for s in size.unique()]
        parts = [_zoomed(region, centres[g], halves[g], each, generator) for g in groups]
        return concatenate([part for part in parts if len(part)] or parts[:1])
    assert isinstance(region, Domain)
    K, D = centres.shape
    U = torch.rand(K, each, D, generator=generator, dtype=centres.dtype, device=centres.device)
    X = (centres[:, None] + (2 * U - 1) * halves[:, None]).reshape(-1, D)
    return Points(X[region.contains(X)], region.names)


def _zoomed(region: Region, centres: Tensor, halves: Tensor, each: int, generator: Generator) -> Points:
    """Through the chart: the cells of the unit cube whose image comes near a box are halved until they are as small."""
    d, device = region.chart_dim, centres.device
    n = max(round(POOL ** (1 / max(d, 1))), 1)
    line = torch.arange(n, dtype=torch.float64, device=device) / n
    low, side = torch.cartesian_prod(*[line] * d).reshape(-1, d), 1 / n
    halving = torch.cartesian_prod(*[torch.tensor([0.0, 0.5], dtype=torch.float64, device=device)] * d).reshape(-1, d)
    stretch, smallest = _stretch(region, low + side / 2), float(halves.min())
    while True:
        reach = stretch * side
        # the ends as well as the middle: a cell may lie on two pieces, whose images are far apart
        near = [_near(region.chart((low + t * side).clamp(0, TOP)).X, centres, halves + reach) for t in (1e-9, 0.5, 1)]
        low = low[near[0] | near[1] | near[2]]
        if reach <= smallest or not len(low):
            break
        if len(low) > MOST // 2**d:
            low = low[torch.randperm(len(low), generator=generator, device=device)[:MOST // 2**d]]
        low, side = (low[:, None] + side * halving).reshape(-1, d), side / 2
    if not len(low):
        return region.sample(1, generator=generator, dtype=centres.dtype, device=device)[:0]
    low = low.repeat_interleave(4 * each, 0)
    U = low + side * torch.rand(*low.shape, generator=generator, dtype=torch.float64, device=device)
    found = region._points(region.chart(U.clamp(0, TOP)).kept())
    return found[_few(found.X, centres, halves, each, generator)]


def _stretch(region: Region, U: Tensor) -> float:
    """How far the chart moves a point for a small step in the cube, jumps between pieces left out."""
    step = 1e-6
    V = torch.where(U < 0.5, U + step, U - step)
    moved = (region.chart(V).X - region.chart(U).X).abs().amax(1) / step
    return 1.5 * float(moved.quantile(0.95))


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
