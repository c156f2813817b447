"""Points stratified in time: every slice has its share of them."""

from __future__ import annotations

import weakref
from math import ceil

import torch
from torch import Generator, Tensor

from ..balance.causal import TIME
from ..geometry.patch import MAX_CANDIDATES, Patch
from ..geometry.product import Product, ProductRegion
from ..geometry.region import Join
from ..geometry.unit import fixed_points
from ..points import Points, concatenate
from .static import Redrawn

ROUNDS = 16
PROFILE_POINTS = 2**16


class Stratified(Redrawn):
    """Uniform points with a fixed share in each of M equal slices of time; plain uniform points where there is no time.

    A slice's share is that of its measure, n/M in boxes and products, so that means stay unbiased where a domain
    changes in time. What rounding down leaves of n goes to the largest remainders, ties drawn at random. Slices divide
    a condition's own range of times.

    Args:
        every: Steps between redraws.
        slices: M, at least 1.

    Source: proportional allocation, Cochran (1977), Sampling Techniques, section 5.5. Measures of slices that no
        formula gives are shares of 2¹⁶ fixed points.
    """

    name = "stratified"

    def __init__(self, every: int = 10, slices: int = 10):
        super().__init__(every)
        self.demand(slices >= 1, "slices", slices, "at least 1")
        self.slices = int(slices)
        self._known: weakref.WeakKeyDictionary[Patch, tuple[Tensor, Tensor]] = weakref.WeakKeyDictionary()

    def start(self, region, n, generator, dtype):
        if TIME not in region.names:
            return super().start(region, n, generator, dtype)
        if region not in self._known:
            edges = torch.linspace(*time_range(region), self.slices + 1, dtype=torch.float64)
            self._known[region] = edges, time_shares(region, edges)
        edges, shares = self._known[region]
        device = generator.device
        missing, inner = apportioned(n, shares.to(device), generator), edges[1:-1].to(device, dtype)
        found: list[Points] = []
        for _ in range(ROUNDS):
            # three standard deviations more than the slice that is hardest to fill needs: one round is mostly enough
            enough = ((missing + 3 * missing.sqrt() + 3) / shares.to(device))[missing > 0].amax()
            points = super().start(region, min(ceil(float(enough)), MAX_CANDIDATES), generator, dtype)
            slot = torch.searchsorted(inner, points.column(TIME).contiguous(), right=True)
            order = slot.argsort(stable=True)
            slot, have = slot[order], torch.bincount(slot, minlength=self.slices)
            rank = torch.arange(len(slot), device=device) - (have.cumsum(0) - have)[slot]
            found.append(points[order[rank < missing[slot]]])
            missing = (missing - have).clamp_min(0)
            if not bool(missing.any()):
                break
        left = n - sum(map(len, found))
        found += [super().start(region, left, generator, dtype)] if left else []
        points = concatenate(found)
        return Points(points.X, points.names, points.X.new_full((n,), region.measure / n), points.normals)


def time_range(region: Patch) -> tuple[float, float]:
    """The first and the last time of a region, or of the shape that it is cut from; at least those of 2¹⁶ points."""
    U = fixed_points(PROFILE_POINTS, region.chart_dim)
    corners = torch.stack([torch.zeros_like(U[0]), torch.full_like(U[0], 1 - torch.finfo(U.dtype).eps)])
    t = region.chart(torch.cat([U, corners])).X[:, region.names.index(TIME)]
    return float(t.min()), float(t.max())


def time_shares(region: Patch, edges: Tensor) -> Tensor:
    """Shares of a region's measure in the M slices of time between M + 1 edges, shape (M,); the outer ones go on."""
    if isinstance(region, (Product, ProductRegion)):
        factors = (region.a, region.b) if isinstance(region, Product) else (region.piece, region.factor)
        return time_shares(next(f for f in factors if TIME in f.names), edges)
    if isinstance(region, Join):
        parts = torch.stack([p.measure * time_shares(p, edges) for p in region.pieces])
        return parts.sum(0) / region.measure
    low, high = time_range(region)
    if region.affine and high > low:                                       # time is uniform between its ends
        below = ((edges - low) / (high - low)).clamp(0, 1)
        shares = below.diff()
        return shares / shares.sum()
    X, _, keep = region.chart(fixed_points(PROFILE_POINTS, region.chart_dim))
    t = X[:, region.names.index(TIME)]
    slot = torch.searchsorted(edges[1:-1].contiguous(), (t if keep is None else t[keep]).contiguous(), right=True)
    found = torch.bincount(slot, minlength=len(edges) - 1).to(edges)
    return found / found.sum()


def apportioned(n: int, shares: Tensor, generator: Generator) -> Tensor:
    """n divided in proportion to shares that sum to one: whole numbers, shape (M,), by the largest remainders.

    Ties, up to rounding, are drawn at random.
    """
    quota = n * shares
    counts = (quota + 1e-9).floor()
    remainder = (quota - counts).clamp_min(0)
    tie = torch.rand(len(shares), generator=generator, dtype=shares.dtype, device=shares.device)
    left = n - int(counts.sum())
    counts[torch.topk(remainder + 1e-9 * tie, left).indices] += 1
    return counts.long()
