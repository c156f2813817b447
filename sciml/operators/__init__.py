"""Operator models: networks that map functions on grids, meshes and points to functions."""

from .deeponet import DeepONet
from .fno import FFNO, FNO
from .geo_fno import Deformation, GeoFNO
from .gno import GINO, GNO
from .neighbours import Pairs, near_pairs
from .nudft import NUDFT, Waves
from .nuno import NUNO
from .slices import MeshOperator, SliceAttention
from .spectral import SeparableConv, SpectralConv
from .subdomains import kd_boxes
from .surroundings import surroundings
from .t1 import T1
from .tables import resize
from .uno import UNO

__all__ = [
    "FFNO", "FNO", "GINO", "GNO", "NUDFT", "NUNO", "T1", "UNO", "DeepONet", "Deformation", "GeoFNO", "MeshOperator",
    "Pairs", "SeparableConv", "SliceAttention", "SpectralConv", "Waves", "kd_boxes", "near_pairs", "resize",
    "surroundings",
]
