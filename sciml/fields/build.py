"""Fields by name and options: what `--model mlp --set model.width=64` means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

import torch
from torch import Generator

from ..calculus import ACTIVATIONS, Frame
from ..errors import ProblemError, check_types, look_up, unknown_name
from .field import Field
from .known import Features
from .layers import Embedding, FourierFeatures, random_features
from .mixture import KERNELS
from .networks import MLP, NETWORKS
from .nodal import Nodal
from .piecewise import Piecewise
from .shape import Shape
from .tensor import TensorField

MODELS: dict[str, Callable[..., Field]] = {**NETWORKS, "nodal": Nodal, "gaussian-lattice": TensorField,
                                           "gp": TensorField}


@dataclass(frozen=True)
class FieldOptions:
    """Options of a network, set as `model.width=64`.

    Args:
        width, depth: Hidden channels and layers.
        activation: One of `ACTIVATIONS`.
        adaptive: Trainable slopes of the activations.
        fourier, sigma: Number of random Fourier features (0: none) and their scale.
        factorized: Random weight factorisation.
        harmonics: Fourier modes per periodic coordinate; of model=fourier, per coordinate.
        init: "glorot", or "random-features" for the first layer of an mlp (see `random_features`).
        spread: a of the random features, for inputs in [−1, 1].
        scale: Of model=fourier: "none", or "inverse-symbol" to precondition its parameters by the equation.
        gamma: With it, the scale γ of modes that the equation does not see.
        order: Of model=nodal: of the finite elements, 1 or 2.
        centres: Of model=gaussian-lattice: Gaussians along each coordinate, ghosts included; of model=gp: nodes; one
            number, or one for each.
        overlap: c, their scale over their spacing.
        ghosts: How many lie beyond either end; None: 3.3 c.
        kernel: Of model=gp: "student-t" (Matérn-5/2) or "gaussian".
        components: Q of its mixture.
        frequencies: The highest of its frequencies, in cycles per unit of a coordinate.
        rate: One over the length over which an oscillation keeps its phase.
    """

    width: int = 20
    depth: int = 3
    activation: str = "tanh"
    adaptive: bool = False
    fourier: int = 0
    sigma: float = 1.0
    factorized: bool = False
    harmonics: int = 1
    init: str = "glorot"
    spread: float = 1.0
    scale: str = "none"
    gamma: float = 1.0
    order: int = 1
    centres: int | tuple[int, ...] = 28
    overlap: float = 1.5
    ghosts: int | None = None
    kernel: str = "student-t"
    components: int = 30
    frequencies: float = 20.0
    rate: float = 1.0

    def __post_init__(self):
        check_types(self, "model.")
        look_up("activation", self.activation, ACTIVATIONS)
        look_up("init", self.init, dict.fromkeys(("glorot", "random-features")))
        if not self.spread > 0:
            raise ProblemError(f"model.spread={self.spread} must be positive")
        for name in ("width", "depth", "harmonics"):
            if getattr(self, name) < 1:
                raise ProblemError(f"model.{name}={getattr(self, name)} must be at least 1")
        look_up("model.scale", self.scale, dict.fromkeys(("none", "inverse-symbol")))
        if not self.gamma > 0:
            raise ProblemError(f"model.gamma={self.gamma} must be positive, or the modes it scales could not move")
        if not self.overlap > 0:
            raise ProblemError(f"model.overlap={self.overlap} must be positive; 1.2 to 1.5 suits most problems")
        look_up("model.kernel", self.kernel, KERNELS)
        if not (self.components >= 1 and self.frequencies > 0 and self.rate > 0):
            raise ProblemError(f"model.components={self.components} must be at least 1, model.frequencies="
                               f"{self.frequencies} and model.rate={self.rate} positive")
        if self.ghosts is not None and self.ghosts < 0:
            raise ProblemError(f"model.ghosts={self.ghosts} must be 0 (none) or a number of centres")
        if self.fourier < 0:
            raise ProblemError(f"model.fourier={self.fourier} must be 0 (none) or a number of features")

    def counts(self, coordinates: int) -> list[int]:
        """`centres` of each coordinate.

        Raises:
            ProblemError: They are no whole numbers of at least 1, or others than the coordinates in number.
        """
        given = self.centres
        counts = list(given) if isinstance(given, (tuple, list)) else [given] * coordinates
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in counts) or len(counts) != coordinates:
            raise ProblemError(f"model.centres={given!r} must be a whole number, or {coordinates} of them, one for "
                               "each coordinate")
        return counts

    @staticmethod
    def from_mapping(options: Mapping[str, Any]) -> FieldOptions:
        """Options from a dict; unknown names are refused with the nearest valid one."""
        valid = {f.name: f.type for f in fields(FieldOptions)}
        for name in options:
            if name not in valid:
                raise ProblemError(unknown_name("model option", name, valid))
        return replace(FieldOptions(), **options)


def build_network(name: str, bounds, outputs: int, options: FieldOptions, generator: Generator,
                  dtype: torch.dtype = torch.float64, periods: Mapping[int, float] | None = None,
                  breaks: Mapping[int, Sequence[float]] | None = None,
                  features: tuple[Frame, Sequence] | None = None) -> Field:
    """A network of a named architecture with its input embedding.

    Args:
        name: One of `NETWORKS`.
        bounds: (low, high) per coordinate.
        outputs: C.
        periods: Period by column of periodic coordinates.
        breaks: Positions by column of coordinates where the field may have kinks and jumps.
        features: Known functions that enter beside the coordinates, and the coordinates that they are written in.
    """
    architecture = look_up("model", name, NETWORKS)
    coordinates = Embedding(bounds, dict(periods or {}), options.harmonics, dtype)
    embedding: torch.nn.Module = coordinates
    inputs = coordinates.outputs
    if features is not None and features[1]:
        if name == "fourier":
            raise ProblemError("model=fourier is a series in the coordinates and takes no features of a problem; use "
                               "model=mlp")
        embedding = Features(coordinates, *features)
        inputs = embedding.outputs
    if options.fourier:
        waves = FourierFeatures(inputs, options.fourier, options.sigma, generator, dtype)
        embedding = torch.nn.Sequential(embedding, waves)
        inputs = waves.outputs
    pieces = prod(len(places) + 1 for places in (breaks or {}).values())
    shape = Shape(inputs, outputs * pieces, options.width, options.depth, options.activation, options.adaptive,
                  options.factorized, generator, dtype)
    network = architecture(embedding, shape)
    if options.init == "random-features":
        if not isinstance(network, MLP) or options.factorized:
            raise ProblemError("model.init=random-features is for model=mlp without model.factorized; the other models "
                               "have initial weights of their own")
        random_features(network.hidden[0], options.spread, generator)
    return network if pieces == 1 else Piecewise(network, breaks or {}, outputs)
