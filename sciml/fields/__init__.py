"""Fields: neural networks from points to unknowns, with their derivatives."""

from .build import MODELS, FieldOptions, build_network
from .clouds import from_density, from_map, from_mesh, from_points
from .constrained import Constrained, Lifted
from .field import Field, head_of, parameter_count
from .gaussian import GaussianField, gaussians_of
from .networks import MLP, NETWORKS, ModifiedMLP, PirateNet, Siren
from .nodal import Nodal
from .piecewise import Piecewise

__all__ = [
    "MLP", "MODELS", "NETWORKS", "Constrained", "Field", "FieldOptions", "GaussianField", "Lifted", "ModifiedMLP",
    "Nodal", "Piecewise", "PirateNet", "Siren", "build_network", "from_density", "from_map", "from_mesh", "from_points",
    "gaussians_of", "head_of", "parameter_count",
]
