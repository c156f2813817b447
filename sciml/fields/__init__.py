"""Fields: neural networks from points to unknowns, with their derivatives."""

from .build import FieldOptions, build_network
from .constrained import Constrained, Lifted
from .field import Field, head_of, parameter_count
from .networks import MLP, NETWORKS, ModifiedMLP, PirateNet, Siren
from .piecewise import Piecewise

__all__ = [
    "MLP", "NETWORKS", "Constrained", "Field", "FieldOptions", "Lifted", "ModifiedMLP", "Piecewise", "PirateNet",
    "Siren", "build_network", "head_of", "parameter_count",
]
