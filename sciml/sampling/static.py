"""Static samplers: points that do not depend on the solution."""

from __future__ import annotations

from .sampler import RegionSampler


class Uniform(RegionSampler):
    """Independent uniform points."""

    name = "uniform"

    def redraw(self, points, region, generator, magnitude):
        return self.start(region, len(points), generator, points.X.dtype)


class Fixed(Uniform):
    """Independent uniform points, drawn once."""

    name = "fixed"

    def __init__(self, every: int = 0):
        super().__init__(every)
        self.demand(every == 0, "every", every, "0: its points stay; uniform redraws them")


class Sobol(Uniform):
    """A scrambled Sobol sequence, newly scrambled at each redraw."""

    name = rule = "sobol"


class Halton(Uniform):
    """A Halton sequence with a random shift."""

    name = rule = "halton"


class LatinHypercube(Uniform):
    """One point per stratum in every coordinate."""

    name = rule = "lhs"


class Grid(Uniform):
    """Cell midpoints of a regular grid, filled up to n with Sobol points; never redrawn."""

    name = rule = "grid"

    def __init__(self, every: int = 0):
        super().__init__(every)
        self.demand(every == 0, "every", every, "0: a grid is the same at every redraw; sobol and rad are not")

    def redraw(self, points, region, generator, magnitude):
        return points.to(points.X.dtype, copy=True)
