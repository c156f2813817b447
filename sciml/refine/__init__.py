"""Refinement: fields that grow between solves, where the residual says that they are too coarse."""

from .build import REFINERS, build_refiner
from .metric import Metric
from .refiner import Nothing, Refiner
from .splat import Splat

__all__ = ["REFINERS", "Metric", "Nothing", "Refiner", "Splat", "build_refiner"]
