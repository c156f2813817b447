"""Operator models: networks that map functions on grids, meshes and points to functions."""

from .fno import FFNO, FNO
from .spectral import SeparableConv, SpectralConv
from .t1 import T1
from .tables import resize
from .uno import UNO

__all__ = ["FFNO", "FNO", "SeparableConv", "SpectralConv", "T1", "UNO", "resize"]
from .deeponet import DeepONet
from .geo_fno import Deformation, GeoFNO
from .gno import GINO, GNO
from .neighbours import Pairs, near_pairs
from .nudft import NUDFT, Waves
from .nuno import NUNO
from .slices import MeshOperator, SliceAttention
from .subdomains import kd_boxes

__all__ = [
    "GINO", "GNO", "NUDFT", "NUNO", "DeepONet", "Deformation", "GeoFNO", "MeshOperator", "Pairs", "SliceAttention",
    "Waves", "kd_boxes", "near_pairs",
]
