"""Samplers that refine: they keep the points they have and add some where the residual is large."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from math import ceil

import torch
from torch import Generator, Tensor

from ..points import Points, concatenate
from .density import PoolSampler, power_density
from .sampler import draw_without_replacement, finite

TABLE = 2**22


class Refinement(PoolSampler):
    """Begins with a part of the points and adds some from a fresh pool at a time, until all are there.

    `points` of the recipe is the final number. Conditions with fewer points add in proportion, so that all are
    complete together. What is a point already, as at the ends of an interval, is never added.

    Args:
        every: Steps between additions.
        add: Points that the condition with most of them gets at a time.
        start: Share of the final number to begin with, in (0, 1].
        pool: Candidates as a multiple of what is added, at least 5.
    """

    grows = True
    cheap: Mapping[str, int] = {}

    def __init__(self, every: int = 10, add: int = 10, start: float = 0.5, pool: float = 100.0):
        super().__init__(every, pool)
        self.demand(add >= 1, "add", add, "at least 1")
        self.demand(0 < start <= 1, "start", start, "in (0, 1]: the share of the points to begin with")
        self.add, self.share = int(add), float(start)

    def begin(self, scene):
        for block in scene.blocks:
            n = scene.counts[block.name]
            scene.view.ceilings[block.name] = n
            scene.place(block, self.start(block.region, ceil(self.share * n), scene.generator, scene.view.dtype))

    def update(self, scene, step, progress):
        if not self.due(step):
            return False
        changed, largest = False, max(scene.counts.values(), default=1)
        for block in scene.blocks:
            old, n = scene.points(block), scene.counts[block.name]
            m = min(ceil(self.add * n / largest), n - len(old))
            if m > 0:
                grown = self.grown(old, m, block.region, scene.generator, scene.magnitude(block))
                if len(grown) > len(old):
                    scene.place(block, grown)
                    changed = True
        return changed

    def redraw(self, points, region, generator, magnitude):
        return self.grown(points, self.add, region, generator, magnitude)

    def grown(self, points: Points, m: int, region, generator: Generator, magnitude) -> Points:
        """The points and m more, fewer where the region has no other candidates."""
        pool = region.sample(int(self.pool * m), generator=generator, dtype=points.X.dtype, device=generator.device)
        chosen = pool[self.choose(finite(magnitude(pool)), m, generator)].reorder(points.names)
        both = concatenate([points, chosen[unseen(chosen.X, points.X)]])
        return Points(both.X, both.names, None, both.normals)

    @abstractmethod
    def choose(self, sizes: Tensor, m: int, generator: Generator) -> Tensor:
        """Positions of m of the candidates, from their |r|, shape (N,)."""


class GreedyRefinement(Refinement):
    """RAR-G: adds the points of a fresh pool where |r| is largest.

    Args:
        every: Steps between additions.
        add: Points that the condition with most of them gets at a time.
        start: Share of the final number of points to begin with.
        pool: Candidates as a multiple of what is added.

    Source: Lu, Meng, Mao, Karniadakis (2021), doi:10.1137/19M1274067; named by Wu, Zhu, Tan, Kartha, Lu (2023),
        doi:10.1016/j.cma.2022.115671, whose pool is 10⁴ times what is added.
    """

    name = "rar-g"

    def choose(self, sizes, m, generator):
        return torch.topk(sizes, m).indices


class RandomRefinement(Refinement):
    """RAR-D: adds points of a fresh pool drawn with probability p ∝ |r|ᵏ / mean |r|ᵏ + c.

    Args:
        every: Steps between additions.
        k, c: Exponent and uniform share.
        add: Points that the condition with most of them gets at a time.
        start: Share of the final number of points to begin with.
        pool: Candidates as a multiple of what is added.

    Source: Wu, Zhu, Tan, Kartha, Lu (2023), algorithm 3, doi:10.1016/j.cma.2022.115671; its pool is 10⁴ times what is
        added.
    """

    name = "rar-d"

    def __init__(self, every: int = 10, k: float = 2.0, c: float = 0.0, add: int = 10, start: float = 0.5,
                 pool: float = 100.0):
        super().__init__(every, add, start, pool)
        for option, value in (("k", k), ("c", c)):
            self.demand(value >= 0, option, value, "at least 0")
        self.k, self.c = float(k), float(c)

    def choose(self, sizes, m, generator):
        return draw_without_replacement(power_density(sizes, self.k, self.c), m, generator)


def unseen(candidates: Tensor, points: Tensor) -> Tensor:
    """Mask (M,) of the candidates (M, D) that are no points (N, D), and of equal ones of the first."""
    old = [(part[:, None] == points).all(2).any(1) for part in candidates.split(max(TABLE // len(points), 1))]
    twice = [(part[:, None] == candidates).all(2) for part in candidates.split(max(TABLE // len(candidates), 1))]
    return ~(torch.cat(old) | torch.cat(twice).tril(-1).any(1))
