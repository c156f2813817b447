"""Samplers: which points a condition is asked to hold at, step after step.

A sampler draws points on a region and, every `every` steps, replaces them. Points are always new tensors, drawn with
the generator it is given, on the device of that generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ..errors import ProblemError
from ..points import Points

Magnitude = Callable[[Points], Tensor]


class Sampler(ABC):
    """Draws and redraws the points of one condition.

    Args:
        every: Steps between redraws; 0 keeps the first points.

    Note:
        Fixed points are a trap for second-order methods: on the wave equation 1,500 fixed points let Gauss–Newton drive
        the loss from 5e4 to 7e-3 with an error of 70 %, the residual hiding between the points. Hence the default
        of 10.
    """

    rule = "uniform"

    def __init__(self, every: int = 10):
        if every < 0:
            raise ProblemError(f"sampler.every={every} must be 0 (never) or a number of steps")
        self.every = int(every)

    def start(self, region, n: int, generator: Generator, dtype: torch.dtype) -> Points:
        """The first n points of a region."""
        return region.sample(n, generator=generator, rule=self.rule, dtype=dtype, device=generator.device)

    @abstractmethod
    def redraw(self, points: Points, region, generator: Generator, magnitude: Magnitude) -> Points:
        """The points that replace `points`; `magnitude` gives |r| at any points, shape (N,)."""


class Uniform(Sampler):
    """Independent uniform points."""

    def redraw(self, points, region, generator, magnitude):
        return self.start(region, len(points), generator, points.X.dtype)


class Sobol(Uniform):
    """A scrambled Sobol sequence, newly scrambled at each redraw."""

    rule = "sobol"


class Halton(Uniform):
    """A Halton sequence with a random shift."""

    rule = "halton"


class LatinHypercube(Uniform):
    """One point per stratum in every coordinate."""

    rule = "lhs"


class Grid(Uniform):
    """Cell midpoints of a regular grid, filled up to n with Sobol points; never redrawn."""

    rule = "grid"

    def __init__(self, every: int = 0):
        super().__init__(every)
        if every:
            raise ProblemError(f"grid.every={every}: a grid is the same at every redraw; use sobol or rad, or leave "
                               "every out")

    def redraw(self, points, region, generator, magnitude):
        return points.to(points.X.dtype, copy=True)


class ResidualDensity(Sampler):
    """RAD: points drawn from a fresh pool with probability p ∝ |r|ᵏ / mean |r|ᵏ + c.

    Args:
        every: Steps between redraws.
        k, c: Exponent and uniform share; k = 1, c = 1 are the paper's for most problems.
        pool: Pool size as a multiple of the number of points, at least 5 (sampling without replacement from a small
            pool flattens p).

    Source: Wu, Zhu, Tan, Kartha, Lu (2023), eq. 2, doi:10.1016/j.cma.2022.115671.
    """

    rule = "sobol"

    def __init__(self, every: int = 10, k: float = 1.0, c: float = 1.0, pool: float = 8.0):
        super().__init__(every)
        if pool < 5:
            raise ProblemError(f"rad.pool={pool} must be at least 5: drawing without replacement from a small pool "
                               "flattens the density")
        for name, value in (("k", k), ("c", c)):
            if not value >= 0:
                raise ProblemError(f"rad.{name}={value} must not be negative")
        self.k, self.c, self.pool = float(k), float(c), float(pool)

    def redraw(self, points, region, generator, magnitude):
        n = len(points)
        pool = region.sample(int(self.pool * n), generator=generator, rule="uniform", dtype=points.X.dtype,
                             device=generator.device)
        size = magnitude(pool)
        tiny = torch.finfo(size.dtype).tiny
        size = torch.where(torch.isfinite(size), size, 0.0)       # the loss reports them; here they must not win all
        power = (size / size.max().clamp_min(tiny)) ** self.k
        mean = power.mean()
        density = torch.where(mean > 0, power / mean.clamp_min(tiny), 1.0) + self.c
        keys = torch.log(density) - torch.log(-torch.log(torch.rand(
            len(pool), generator=generator, dtype=power.dtype, device=generator.device).clamp(1e-300, 1 - 1e-16)))
        chosen = torch.topk(keys, n).indices              # Gumbel top-n: n draws without replacement
        return Points(pool.X[chosen], pool.names, None, None if pool.normals is None else pool.normals[chosen])


SAMPLERS: dict[str, type[Sampler]] = {
    "uniform": Uniform, "sobol": Sobol, "halton": Halton, "lhs": LatinHypercube, "grid": Grid, "rad": ResidualDensity,
}
