"""Samples of operators: stores in HDF5, made by generators or loaded from users' files."""

from .airfrans import AirfRANS
from .arrays import Array, load_arrays, load_pdebench
from .make import make_samples
from .samples import ArraySamples, Samples
from .store import SampleStore

__all__ = [
    "AirfRANS",
    "Array",
    "ArraySamples",
    "SampleStore",
    "Samples",
    "load_arrays",
    "load_pdebench",
    "make_samples",
]
