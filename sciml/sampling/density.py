"""Samplers that draw all points anew from a density made of the residual."""

from __future__ import annotations

import torch
from torch import Tensor

from .sampler import RegionSampler, draw_without_replacement, finite


class PoolSampler(RegionSampler):
    """Chooses points from a fresh pool of candidates.

    Args:
        every: Steps between redraws.
        pool: Candidates as a multiple of the number of points, at least 5 (drawing without replacement from a small
            pool flattens the density).
    """

    rule = "sobol"

    def __init__(self, every: int = 10, pool: float = 8.0):
        super().__init__(every)
        self.demand(pool >= 5, "pool", pool, "at least 5: drawing without replacement from a small pool flattens the "
                    "density")
        self.pool = float(pool)

    def candidates(self, points, region, generator):
        """A fresh pool for these points."""
        return region.sample(int(self.pool * len(points)), generator=generator, rule="uniform", dtype=points.X.dtype,
                             device=generator.device)


class ResidualDensity(PoolSampler):
    """RAD: points drawn from a fresh pool with probability p ∝ |r|ᵏ / mean |r|ᵏ + c.

    Args:
        every: Steps between redraws.
        k, c: Exponent and uniform share; k = 1, c = 1 are the paper's for most problems.
        pool: Candidates as a multiple of the number of points, at least 5.

    Source: Wu, Zhu, Tan, Kartha, Lu (2023), eq. 2, doi:10.1016/j.cma.2022.115671.
    """

    name = "rad"

    def __init__(self, every: int = 10, k: float = 1.0, c: float = 1.0, pool: float = 8.0):
        super().__init__(every, pool)
        for option, value in (("k", k), ("c", c)):
            self.demand(value >= 0, option, value, "at least 0")
        self.k, self.c = float(k), float(c)

    def redraw(self, points, region, generator, magnitude):
        pool = self.candidates(points, region, generator)
        return pool[draw_without_replacement(power_density(magnitude(pool), self.k, self.c), len(points), generator)]


def power_density(sizes: Tensor, k: float, c: float) -> Tensor:
    """|r|ᵏ / mean |r|ᵏ + c of sizes (N,), one where all are zero; what is not finite counts as zero."""
    sizes = finite(sizes)
    tiny = torch.finfo(sizes.dtype).tiny
    power = (sizes / sizes.max().clamp_min(tiny)) ** k
    mean = power.mean()
    return torch.where(mean > 0, power / mean.clamp_min(tiny), 1.0) + c
