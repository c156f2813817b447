"""Samplers by name."""

from __future__ import annotations

from .density import LargestResiduals, ResidualDensity, RollingDensity, VariationalDensity
from .importance import Importance
from .pinnacle import PinnacleK, PinnacleS
from .r3 import R3, CausalR3
from .refinement import GreedyRefinement, RandomRefinement
from .sampler import Sampler
from .static import Fixed, Gauss, Grid, Halton, Hammersley, LatinHypercube, Sobol, Uniform
from .stratified import Stratified

SAMPLERS: dict[str, type[Sampler]] = {c.name: c for c in (
    Uniform, Fixed, Sobol, Halton, Hammersley, LatinHypercube, Grid, Gauss, Stratified,
    ResidualDensity, RollingDensity, VariationalDensity, LargestResiduals, GreedyRefinement, RandomRefinement,
    Importance, R3, CausalR3, PinnacleS, PinnacleK,
)}
