"""Samples of operators: stores in HDF5, made by generators or loaded from users' files."""

from .make import make_samples
from .samples import ArraySamples, Samples
from .store import SampleStore

__all__ = ["ArraySamples", "SampleStore", "Samples", "make_samples"]
