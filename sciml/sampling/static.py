"""Static samplers: points that do not depend on the solution."""

from __future__ import annotations

import logging

from ..geometry import Domain
from ..geometry.patch import Patch
from ..problem.integral import smooth_quadrature
from .sampler import RegionSampler
from .stock import Stock

log = logging.getLogger(__name__)


class Redrawn(RegionSampler):
    """Points of one rule, all of them drawn anew."""

    def redraw(self, points, region, generator, magnitude):
        return self.start(region, len(points), generator, points.X.dtype)


class Uniform(Redrawn):
    """Independent uniform points."""

    name = "uniform"

    def __init__(self, every: int = 10):
        super().__init__(every)
        self.stock = Stock(self.every)

    def renew(self, scene, block):
        return self.stock.draw(scene, block, len(scene.points(block)))

    def state_dict(self):
        return {"stock": self.stock.state_dict()}

    def load_state_dict(self, scene, state):
        self.stock.load_state_dict(state.get("stock", {}))


class Fixed(Redrawn):
    """Independent uniform points, drawn once."""

    name = "fixed"

    def __init__(self, every: int = 0):
        super().__init__(every)
        self.demand(every == 0, "every", every, "0: its points stay; uniform redraws them")


class Sobol(Redrawn):
    """A scrambled Sobol sequence, newly scrambled at each redraw."""

    name = rule = "sobol"


class Halton(Redrawn):
    """A Halton sequence with a random shift."""

    name = rule = "halton"


class Hammersley(Redrawn):
    """Hammersley's set for n points with a random shift."""

    name = rule = "hammersley"


class LatinHypercube(Redrawn):
    """One point per stratum in every coordinate."""

    name = rule = "lhs"


class Grid(Redrawn):
    """Cell midpoints of a regular grid, filled up to n with Sobol points; never redrawn."""

    name = rule = "grid"

    def __init__(self, every: int = 0):
        super().__init__(every)
        self.demand(every == 0, "every", every, "0: a grid is the same at every redraw; sobol and rad are not")

    def redraw(self, points, region, generator, magnitude):
        return points.to(points.X.dtype, copy=True)


class Gauss(RegionSampler):
    """Tensor Gauss–Legendre points with their weights: the loss is a quadrature of the squared residual.

        L_b = Σ_n w_n |r(x_n)|² / |Ω_b|,    Σ_n w_n = |Ω_b|

    The same at every redraw, hence never redrawn. The number of points is the largest of the rule's kind up to the one
    asked for: kᵈ in boxes, on faces and edges, T k² in polygons of T triangles, 3 kᴰ in disks and balls, products of
    these; boundaries share it among their pieces by measure. Between interfaces a box has a rule of its own in each
    piece. Differences, unions, predicates and what they cut out of faces have no Gauss rule: they get fixed Sobol
    points with equal weights, with a warning.

    Note:
        A residual that is not resolved by k points per axis hides between them as it does between any fixed points.
    """

    name = "gauss"

    def __init__(self, every: int = 0):
        super().__init__(every)
        self.demand(every == 0, "every", every, "0: a quadrature is the same at every redraw; sobol and rad are not")

    def check(self, scene):
        without = [b.name for b in scene.blocks if isinstance(b.region, Patch) and not b.region.gaussian]
        if without:
            log.warning("sampler=gauss: the region of %s has no Gauss rule, so that it gets quasi-random points with "
                        "equal weights; boxes, balls, polygons, their products and whole faces have one",
                        ", ".join(without))

    def begin(self, scene):
        setting = scene.view.problem.setting
        for block in scene.blocks:
            n = scene.counts[block.name]
            if isinstance(block.region, Domain) and setting.breaks:
                points = smooth_quadrature(setting, block.region, n).to(scene.generator.device, scene.view.dtype)
            else:
                points = self.start(block.region, n, scene.generator, scene.view.dtype)
            scene.place(block, points, weighted=True)

    def start(self, region, n, generator, dtype):
        return region.quadrature(n, dtype=dtype, device=generator.device)

    def redraw(self, points, region, generator, magnitude):
        return points.to(points.X.dtype, copy=True)
