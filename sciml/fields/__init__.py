"""Fields: neural networks from points to unknowns, with their derivatives."""

from .build import MODELS, FieldOptions, build_network
from .constrained import Constrained, Lifted
from .field import Field, head_of, parameter_count
from .gaussian import GaussianField
from .networks import MLP, NETWORKS, ModifiedMLP, PirateNet, Siren
from .nodal import Nodal
from .piecewise import Piecewise

__all__ = [
    "MLP", "MODELS", "NETWORKS", "Constrained", "Field", "FieldOptions", "GaussianField", "Lifted", "ModifiedMLP",
    "Nodal", "Piecewise", "PirateNet", "Siren", "build_network", "head_of", "parameter_count",
]
