"""Fourier series: fields that are linear in their parameters, for which preconditioning is exactly understood."""

from __future__ import annotations

from itertools import product
from math import pi, prod, sqrt

import torch
from torch import Tensor, nn

from ..calculus.activations import ACTIVATIONS
from ..calculus.jet import Jet, activate, channels, join, linear
from ..errors import ProblemError
from .field import Field
from .layers import Embedding, glorot_normal
from .shape import Shape


class FourierSeries(Field):
    """A truncated real Fourier series on the bounding box, periodic in every coordinate, time included.

        u_θ(x) = Σ_k P_k (θ_k⁺ √(2/|Ω|) cos κ·(x − x̄) + θ_k⁻ √(2/|Ω|) sin κ·(x − x̄)),   κ_d = 2π k_d/L_d,  |k_d| ≤ K,

    x̄ the box's centre, one of k and −k for each pair, and 1/√|Ω| for k = 0: (2K + 1)^D features, orthonormal in L²(Ω).
    P = 1 unless `rescale` is called: θ = P θ̂ changes the conditioning and not the fields that can be reached.

    Args:
        embedding: Of the coordinates: its box and K (`model.harmonics`) are used.
        shape: The number of unknowns, generator and dtype; width, depth and activation play no part.

    Raises:
        ProblemError: There are random Fourier features or factorised weights in the recipe.

    Source: De Ryck, Bonnet, Mishra, de Bézenac (2024), arXiv:2310.05801. Plane waves instead of products of
        one-dimensional modes, in which every operator with constant coefficients is diagonal up to pairs.
    """

    waves: Tensor
    centre: Tensor
    scale: Tensor
    collapses = True

    def __init__(self, embedding: nn.Module, shape: Shape):
        super().__init__()
        if not isinstance(embedding, Embedding) or shape.factorized:
            raise ProblemError("model=fourier has features and weights of its own: it takes no model.fourier and no "
                               "model.factorized, but model.harmonics; use model=mlp for them")
        K, bounds = embedding.harmonics, embedding.bounds
        lengths = [high - low for low, high in bounds]
        half = [k for k in product(range(-K, K + 1), repeat=len(bounds)) if k > (0,) * len(bounds)]
        waves = [[2 * pi * m / length for m, length in zip(k, lengths, strict=True)] for k in half]
        self.register_buffer("waves", torch.tensor(waves, dtype=shape.dtype), persistent=False)
        centre = torch.tensor([(a + b) / 2 for a, b in bounds], dtype=shape.dtype)
        self.register_buffer("centre", centre, persistent=False)
        self.measure = prod(lengths)
        self.register_buffer("scale", torch.ones(2 * len(waves) + 1, dtype=shape.dtype), persistent=False)
        self.weight = nn.Parameter(glorot_normal(shape.outputs, 2 * len(waves) + 1, shape.generator, shape.dtype))

    def wave_vectors(self) -> Tensor:
        """κ of every feature, shape (2 M + 1, D): zero first, then those of the cosines and those of the sines."""
        return torch.cat([torch.zeros_like(self.waves[:1]), self.waves, self.waves])

    def rescale(self, P: Tensor) -> None:
        """Sets P, shape (2 M + 1,), in the order of `wave_vectors`."""
        self.scale = P.to(self.scale)

    def jet(self, x: Jet) -> Jet:
        shift = torch.zeros(x.data.shape[0], 1, 1, dtype=x.data.dtype, device=x.data.device)
        shift[0].fill_(1)
        phase = x.with_data((x.data - shift * self.centre) @ self.waves.t())
        cosines, sines = activate(phase, ACTIVATIONS["cos"]), activate(phase, ACTIVATIONS["sin"])
        one = channels(cosines, torch.zeros(1, dtype=torch.long, device=x.data.device))
        first = torch.zeros(one.data.shape[0], 1, 1, dtype=x.data.dtype, device=x.data.device)
        first[0].fill_(sqrt(0.5))
        features = join([one.with_data(first.expand_as(one.data)), cosines, sines])
        features = features.with_data(features.data * (self.scale * sqrt(2 / self.measure)))
        return linear(features, self.weight)
