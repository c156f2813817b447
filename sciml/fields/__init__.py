"""Fields: neural networks from points to unknowns, with their derivatives."""

from .axes import Axis, GaussianAxis, gaussian_axes
from .build import MODELS, SUMMARIES, FieldOptions, build_network
from .clouds import from_density, from_map, from_mesh, from_points
from .constrained import Constrained, Lifted
from .field import Field, head_of, parameter_count
from .gaussian import GaussianField, gaussians_of
from .hermite import HermiteAxis
from .merging import merge
from .mixture import MixtureAxis, mixture_axes
from .networks import MLP, NETWORKS, ModifiedMLP, PirateNet, Siren
from .nodal import Nodal
from .piecewise import Piecewise
from .pig import PIG
from .tensor import TensorField

__all__ = [
    "MLP", "MODELS", "NETWORKS", "PIG", "SUMMARIES", "Axis", "Constrained", "Field", "FieldOptions", "GaussianAxis",
    "GaussianField", "HermiteAxis", "Lifted", "MixtureAxis", "ModifiedMLP", "Nodal", "Piecewise", "PirateNet", "Siren",
    "TensorField", "build_network", "from_density", "from_map", "from_mesh", "from_points", "gaussian_axes",
    "gaussians_of", "head_of", "merge", "mixture_axes", "parameter_count",
]
