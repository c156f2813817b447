"""Collocation sampling: where conditions are asked to hold."""

from .build import SAMPLERS
from .sampler import RegionSampler, Sampler
from .scene import Magnitude, Scene

__all__ = ["SAMPLERS", "Magnitude", "RegionSampler", "Sampler", "Scene"]
