"""Collocation sampling: where conditions are asked to hold."""

from .samplers import SAMPLERS, Grid, Halton, LatinHypercube, ResidualDensity, Sampler, Sobol, Uniform

__all__ = ["SAMPLERS", "Grid", "Halton", "LatinHypercube", "ResidualDensity", "Sampler", "Sobol", "Uniform"]
