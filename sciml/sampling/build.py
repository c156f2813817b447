"""Samplers by name."""

from __future__ import annotations

from .density import ResidualDensity
from .pinnacle import PinnacleK, PinnacleS
from .sampler import Sampler
from .static import Fixed, Grid, Halton, LatinHypercube, Sobol, Uniform

SAMPLERS: dict[str, type[Sampler]] = {c.name: c for c in (
    Uniform, Fixed, Sobol, Halton, LatinHypercube, Grid, ResidualDensity, PinnacleS, PinnacleK,
)}
