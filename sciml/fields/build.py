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
from .gaussian import COVARIANCES, TRAINED, GaussianField
from .known import Features
from .lattice import ghosts_of
from .layers import Embedding, FourierFeatures, random_features
from .mixture import KERNELS
from .networks import MLP, NETWORKS
from .nodal import Nodal
from .piecewise import Piecewise
from .pig import PIG
from .shape import Shape
from .tensor import TensorField

MODELS: dict[str, Callable[..., Field]] = {**NETWORKS, "nodal": Nodal, "gaussian": GaussianField,
                                           "gaussian-lattice": TensorField, "gaussian-lines": TensorField,
                                           "gp": TensorField, "pig": PIG}
SUMMARIES = {                                   # of models that share a class
    "gaussian-lattice": "Tensor products of Gaussians on a lattice of a box; solved for directly (kronecker).",
    "gaussian-lines": "Gaussians on a lattice in space, cubic pieces in time: the method of lines (lines).",
    "gp": "Tensor products of the functions of a Gaussian process with a spectral-mixture kernel (GP-HM)."}
USUAL, FEWEST = {1: 64, 2: 28, 3: 12}, 7          # centres along a coordinate, by dimension
PER_CHANNEL = 100                                 # centres of model=pig


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
        centres: Of model=gaussian and gaussian-lattice: Gaussians along each coordinate, ghosts included; of model=gp:
            nodes; of model=gaussian-lines: those in space; one number, or one for each; None: 64 in one dimension, 28
            in two, 12 in three. Of model=pig: in each channel; None: 100.
        overlap: c, their scale over their distance.
        ghosts: How many lie beyond either end, one number or one for each coordinate; None: round(3.3 c), fewer where
            there are few centres.
        covariance: Of model=gaussian: "isotropic", "diagonal" or "full".
        cutoff: Of model=gaussian: κ, the radius in scales at which Gaussians end smoothly, 4 to 6, so that rows see few
            of them and large fields are solved for by sparse matrices; None: they end nowhere.
        train: Of model=gaussian: "amplitudes", or "shapes": centres, scales and rotations as well.
        rings: Of model=gaussian: around each disk or ball that is cut out of the domain, Gaussians on circles that grow
            from it, this many on each, as 16; 0: none.
        slabs: Of model=gaussian: intervals of time with `centres` Gaussians each, which least-squares solves for one
            after the other.
        polynomial: Of model=gaussian: the degree of polynomials that are added; None: none are.
        kernel: Of model=gp: "student-t" (Matérn-5/2) or "gaussian".
        components: Q of its mixture.
        frequencies: The highest of its frequencies, in cycles per unit of a coordinate.
        rate: One over the length over which an oscillation keeps its phase.
        pieces: Of model=gaussian-lines: cubic pieces along t.
        channels: Of model=pig: K sums of `centres` Gaussians each, before a decoder of `width` and `depth`.
        start, extent: Of model=pig: scales at the start, in coordinates that run from 0 to `extent`.
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
    centres: int | tuple | None = None
    overlap: float = 1.5
    ghosts: int | tuple | None = None
    covariance: str = "diagonal"
    cutoff: float | None = None
    train: str = "amplitudes"
    rings: int = 0
    slabs: int = 1
    polynomial: int | None = None
    kernel: str = "student-t"
    components: int = 30
    frequencies: float = 20.0
    rate: float = 1.0
    pieces: int = 64
    channels: int = 4
    start: float = 0.5
    extent: float = 2.0

    def __post_init__(self):
        check_types(self, "model.")
        look_up("activation", self.activation, ACTIVATIONS)
        look_up("init", self.init, dict.fromkeys(("glorot", "random-features")))
        if not self.spread > 0:
            raise ProblemError(f"model.spread={self.spread} must be positive")
        for name in ("width", "depth", "harmonics", "pieces", "channels", "slabs"):
            if getattr(self, name) < 1:
                raise ProblemError(f"model.{name}={getattr(self, name)} must be at least 1")
        if self.rings and not 6 <= self.rings <= 200:
            raise ProblemError(f"model.rings={self.rings} must be 0 or from 6 to 200 Gaussians on a circle")
        look_up("model.scale", self.scale, dict.fromkeys(("none", "inverse-symbol")))
        if not self.gamma > 0:
            raise ProblemError(f"model.gamma={self.gamma} must be positive, or the modes it scales could not move")
        look_up("model.covariance", self.covariance, dict.fromkeys(COVARIANCES))
        look_up("model.train", self.train, dict.fromkeys(TRAINED))
        look_up("model.kernel", self.kernel, KERNELS)
        for name, least in (("centres", 2), ("ghosts", 0)):
            given = getattr(self, name)
            counts = given if isinstance(given, tuple | list) else (given,)
            if not all(n is None or (isinstance(n, int) and not isinstance(n, bool) and n >= least) for n in counts):
                raise ProblemError(f"model.{name}={given!r} must be a whole number of at least {least}, or one for "
                                   "each coordinate, as in (28, 7, 7)")
        if not 0.3 <= self.overlap <= 5:
            raise ProblemError(f"model.overlap={self.overlap} must be a scale over a distance from 0.3 to 5")
        if self.polynomial is not None and not 0 <= self.polynomial <= 12:
            raise ProblemError(f"model.polynomial={self.polynomial} must be a degree from 0 to 12")
        if not (self.components >= 1 and self.frequencies > 0 and self.rate > 0):
            raise ProblemError(f"model.components={self.components} must be at least 1, model.frequencies="
                               f"{self.frequencies} and model.rate={self.rate} positive")
        if self.fourier < 0:
            raise ProblemError(f"model.fourier={self.fourier} must be 0 (none) or a number of features")

    def counts(self, coordinates: int) -> list[int]:
        """`centres` of each coordinate.

        Raises:
            ProblemError: They are others than the coordinates in number.
        """
        return self._each("centres", coordinates) or [USUAL.get(coordinates, FEWEST)] * coordinates

    def beyond(self, coordinates: int) -> list[int]:
        """`ghosts` of each coordinate."""
        return self._each("ghosts", coordinates) or [ghosts_of(self.overlap, n) for n in self.counts(coordinates)]

    def _each(self, name: str, coordinates: int) -> list[int] | None:
        given = getattr(self, name)
        if given is None:
            return None
        counts = [given] * coordinates if isinstance(given, int) else list(given)
        if len(counts) != coordinates:
            raise ProblemError(f"model.{name}={given!r} has {len(counts)} numbers, and the problem {coordinates} "
                               "coordinates; give one number, or one for each")
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
        name: One of `NETWORKS`, or "pig".
        bounds: (low, high) per coordinate.
        outputs: C.
        periods: Period by column of periodic coordinates.
        breaks: Positions by column of coordinates where the field may have kinks and jumps.
        features: Known functions that enter beside the coordinates, and the coordinates that they are written in.
    """
    if name == "pig":
        return _pig(bounds, outputs, options, generator, dtype, bool(periods or breaks or (features and features[1])))
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


def _pig(bounds, outputs: int, options: FieldOptions, generator: Generator, dtype: torch.dtype, more: bool) -> PIG:
    """Physics-Informed Gaussians; `more` is anything that their inputs have no place for."""
    if more or options.fourier:
        raise ProblemError("model=pig takes coordinates as they are, without features, interfaces or periods; take "
                           "constraints=soft for periodic data, or another model")
    if options.centres is not None and not isinstance(options.centres, int):
        raise ProblemError(f"model.centres={options.centres!r} must be one number for model=pig, the Gaussians of each "
                           "channel")
    shape = Shape(options.channels, outputs, options.width, options.depth, options.activation, options.adaptive,
                  options.factorized, generator, dtype)
    return PIG(bounds, options.centres or PER_CHANNEL, options.start, options.extent, shape)
