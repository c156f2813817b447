"""Samplers that draw all points anew from a density made of the residual."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..balance.attention import POTENTIALS, earned
from ..points import Points, concatenate
from .sampler import RegionSampler, draw_without_replacement, finite


class PoolSampler(RegionSampler):
    """Chooses points from a fresh pool of candidates.

    Args:
        every: Steps between redraws.
        pool: Candidates as a multiple of the number of points, at least 5 (drawing without replacement from a small
            pool flattens the density).

    Note:
        A candidate costs a third of a point of a first-order step, so that pools cost pool / (3 every) of such steps:
        a quarter with every=10, which suits Gauss–Newton (3 % there). With first-order methods alone the default of
        `every` is 50.
    """

    rule = "sobol"
    cheap: Mapping[str, int] = {"every": 50}

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


class RollingDensity(ResidualDensity):
    """Rolling RAD: a random share of the points stays, the others are drawn anew by RAD's density.

        P ← {⌊s N⌉ of the points, at random} ∪ {others from a fresh pool with p ∝ |r|ᵏ / mean |r|ᵏ + c}

    The population is an average of densities over the last 1 / (1 − s) redraws. A least-squares step lowers |r| where
    its points are, so that a density of |r| alone leaves these places at the next redraw, and |r| comes back there;
    points that stay keep it low until others are no worse. s = 0 is RAD.

    Args:
        every: Steps between redraws.
        keep: s, in [0, 1).
        k, c: Exponent and uniform share.
        pool: Candidates as a multiple of the number of points that are drawn, at least 5.

    Source: ours; random retention is after PINNACLE's thinning (Lau et al. 2024, arXiv:2404.07662).
    """

    name = "rolling"

    def __init__(self, every: int = 10, keep: float = 0.8, k: float = 1.0, c: float = 1.0, pool: float = 20.0):
        super().__init__(every, k, c, pool)
        self.demand(0 <= keep < 1, "keep", keep, "in [0, 1): the share of the points that stays at a redraw")
        self.keep = float(keep)

    def redraw(self, points, region, generator, magnitude):
        N = len(points)
        stay = torch.randperm(N, generator=generator, device=generator.device)[:min(round(self.keep * N), N - 1)]
        kept = points[stay.sort().values]
        fresh = super().redraw(points[:N - len(stay)], region, generator, magnitude)
        both = concatenate([kept, fresh])
        return Points(both.X, both.names, None, both.normals)


class LargestResiduals(PoolSampler):
    """L∞: the points of a fresh pool where |r| is largest.

    Args:
        every: Steps between redraws.
        pool: Candidates as a multiple of the number of points, at least 5; 50 in the paper.

    Source: Wu, Zhu, Tan, Kartha, Lu (2023), section 3, doi:10.1016/j.cma.2022.115671.
    """

    name = "l-inf"

    def redraw(self, points, region, generator, magnitude):
        pool = self.candidates(points, region, generator)
        return pool[torch.topk(finite(magnitude(pool)), len(points)).indices]


class VariationalDensity(PoolSampler):
    """vRBA's density: points drawn from a fresh pool by a potential Φ of the residual.

        p ∝ φ q / max q + 1 − φ,    q = Φ′(|r| / ε)

    with q as in `balance=vrba`: |r| for the "quadratic" potential, exp((|r| − max |r|) / ε) with ε = c max |r| /
    ln(t + 2) for the "exponential" one, t counting redraws, |r|^(p − 1) for "lp", sinh(|r| / ε) for "cosh". The loss
    is the plain mean. "quadratic" is RAD with k = 1 and c = 0.

    Args:
        every: Steps between redraws.
        potential: Φ.
        phi: Share φ in [0, 1] of the residual.
        c: Of "exponential".
        p: Of "lp", above 1.
        pool: Candidates as a multiple of the number of points, at least 5.

    Source: Toscano et al. (2025), arXiv:2509.14198, its quasi-Newton stage. There one pool is kept, whose weights
        remember a tenth of their last values (γ = 0.1, η = 0.9); here every pool is fresh and remembers nothing.
    """

    name = "vrba-density"

    def __init__(self, every: int = 10, potential: str = "exponential", phi: float = 1.0, c: float = 1.0,
                 p: float = 4.0, pool: float = 10.0):
        super().__init__(every, pool)
        self.demand(potential in POTENTIALS, "potential", repr(potential), f"one of {', '.join(POTENTIALS)}")
        self.demand(0 <= phi <= 1, "phi", phi, "in [0, 1]")
        self.demand(c > 0, "c", c, "positive")
        self.demand(p > 1, "p", p, "above 1")
        self.potential, self.phi, self.c, self.p = potential, float(phi), float(c), float(p)
        self.redraws = 0

    def update(self, scene, step, progress):
        changed = super().update(scene, step, progress)
        self.redraws += self.due(step)
        return changed

    def redraw(self, points, region, generator, magnitude):
        pool = self.candidates(points, region, generator)
        q = earned(finite(magnitude(pool)), self.potential, self.redraws, self.c, self.p)
        density = self.phi * q + 1 - self.phi
        density = torch.where(density.sum() > 0, density, 1.0)
        return pool[draw_without_replacement(density, len(points), generator)]

    def state_dict(self):
        return {"redraws": self.redraws}

    def load_state_dict(self, scene, state):
        self.redraws = int(state["redraws"])


def power_density(sizes: Tensor, k: float, c: float) -> Tensor:
    """|r|ᵏ / mean |r|ᵏ + c of sizes (N,), one where all are zero; what is not finite counts as zero."""
    sizes = finite(sizes)
    tiny = torch.finfo(sizes.dtype).tiny
    power = (sizes / sizes.max().clamp_min(tiny)) ** k
    mean = power.mean()
    return torch.where(mean > 0, power / mean.clamp_min(tiny), 1.0) + c
