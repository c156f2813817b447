"""Operator models: networks that map functions on grids, meshes and points to functions."""

from .fno import FFNO, FNO
from .spectral import SeparableConv, SpectralConv
from .t1 import T1
from .tables import resize
from .uno import UNO

__all__ = ["FFNO", "FNO", "T1", "UNO", "SeparableConv", "SpectralConv", "resize"]
