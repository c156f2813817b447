"""Architectures: MLP, modified MLP, PirateNet, SIREN; the Fourier series is in `fourier.py`.

Each maps the embedded inputs to C outputs. Widths, depths and activations are options; see `build.py` for the names
a user types.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import nn

from ..calculus.jet import Jet, add, multiply, scale, subtract
from ..errors import ProblemError
from .field import Field
from .fourier import FourierSeries
from .layers import Activate, Dense
from .shape import Shape


class Headed(Field):
    """What all of these share: a last layer without activation."""

    last: nn.Module
    collapses = True

    @property
    def head(self):
        """Weight and bias of the last layer; empty if it is factorised, for then it is not linear."""
        return (self.last.weight, self.last.bias) if isinstance(self.last, Dense) else ()


class MLP(Headed):
    """h ← σ(W h + b), depth times, then a linear layer."""

    def __init__(self, embedding: nn.Module, shape: Shape):
        super().__init__()
        self.embedding = embedding
        widths = [shape.inputs, *[shape.width] * shape.depth]
        self.hidden = nn.ModuleList(shape.dense(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.sigmas = nn.ModuleList(shape.sigma() for _ in self.hidden)
        self.last = shape.dense(widths[-1], shape.outputs)

    def jet(self, x: Jet) -> Jet:
        h = self.embedding(x)
        for layer, sigma in zip(self.hidden, self.sigmas, strict=True):
            h = sigma(layer(h))
        return self.last(h)


class ModifiedMLP(Headed):
    """h ← f ⊙ U + (1 − f) ⊙ V with f = σ(W h + b) and two encoders U, V of the input.

    Source: Wang, Teng, Perdikaris (2021), eqs. 2.33–2.36, doi:10.1137/20M1318043.
    """

    def __init__(self, embedding: nn.Module, shape: Shape):
        super().__init__()
        self.embedding = embedding
        self.u = shape.dense(shape.inputs, shape.width)
        self.v = shape.dense(shape.inputs, shape.width)
        widths = [shape.inputs, *[shape.width] * shape.depth]
        self.hidden = nn.ModuleList(shape.dense(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.sigmas = nn.ModuleList(shape.sigma() for _ in range(shape.depth + 2))
        self.last = shape.dense(shape.width, shape.outputs)

    def jet(self, x: Jet) -> Jet:
        h = self.embedding(x)
        U, V = self.sigmas[-1](self.u(h)), self.sigmas[-2](self.v(h))
        difference = subtract(U, V)
        for layer, sigma in zip(self.hidden, self.sigmas, strict=False):
            h = add(V, multiply(sigma(layer(h)), difference))
        return self.last(h)


class PirateNet(Headed):
    """Residual blocks that start as the identity: h ← α g(h) + (1 − α) h, α trainable, 0 at the start.

    Source: Wang, Li, Chen, Perdikaris (2024), eqs. 4.1–4.8, arXiv:2402.00326. The physics-informed initialisation of
    the last layer by least squares is not done here.
    """

    def __init__(self, embedding: nn.Module, shape: Shape):
        super().__init__()
        self.embedding = embedding
        W = shape.width
        self.u, self.v = shape.dense(shape.inputs, W), shape.dense(shape.inputs, W)
        self.lift = None if shape.inputs == W else shape.dense(shape.inputs, W)
        self.blocks = nn.ModuleList(
            nn.ModuleList(shape.dense(W, W) for _ in range(3)) for _ in range(shape.depth))
        self.sigmas = nn.ModuleList(nn.ModuleList(shape.sigma() for _ in range(3)) for _ in range(shape.depth))
        self.encoders = nn.ModuleList(shape.sigma() for _ in range(2))
        self.alphas = nn.ParameterList(torch.zeros((), dtype=shape.dtype) for _ in range(shape.depth))
        self.last = shape.dense(W, shape.outputs)

    def jet(self, x: Jet) -> Jet:
        h = self.embedding(x)
        U, V = self.encoders[0](self.u(h)), self.encoders[1](self.v(h))
        difference = subtract(U, V)
        h = h if self.lift is None else self.lift(h)
        for block, sigmas, alpha in zip(self.blocks, self.sigmas, self.alphas, strict=True):
            assert isinstance(block, nn.ModuleList) and isinstance(sigmas, nn.ModuleList)
            first, second, third = block
            f = add(V, multiply(sigmas[0](first(h)), difference))
            f = add(V, multiply(sigmas[1](second(f)), difference))
            f = sigmas[2](third(f))
            h = add(h, scale(subtract(f, h), alpha))
        return self.last(h)


class Siren(Headed):
    """h ← sin(ω₀ (W h + b)) in the first layer, sin(W h + b) after it.

    Source: Sitzmann et al. (2020), arXiv:2006.09661: W uniform in ±1/n first, ±√(6/n) after it (their ω₀ inside the
    later layers is folded into W).
    """

    def __init__(self, embedding: nn.Module, shape: Shape, omega: float = 10.0):
        super().__init__()
        if shape.factorized or shape.activation not in ("tanh", "sin"):    # tanh: what comes if nobody says anything
            raise ProblemError("siren has sine activations and weights of its own: it takes no model.activation and no "
                               "model.factorized; use model=mlp for them")
        self.embedding = embedding
        widths = [shape.inputs, *[shape.width] * shape.depth]
        bounds = [omega / shape.inputs, *[sqrt(6.0 / shape.width)] * (shape.depth - 1)]
        make = lambda a, b, bound: Dense(a, b, shape.generator, shape.dtype, bound)
        self.hidden = nn.ModuleList(
            make(a, b, bound) for a, b, bound in zip(widths, widths[1:], bounds, strict=False))
        self.sigmas = nn.ModuleList(Activate("sin", shape.adaptive, shape.dtype) for _ in self.hidden)
        self.last = make(shape.width, shape.outputs, sqrt(6.0 / shape.width))

    def jet(self, x: Jet) -> Jet:
        h = self.embedding(x)
        for layer, sigma in zip(self.hidden, self.sigmas, strict=True):
            h = sigma(layer(h))
        return self.last(h)


NETWORKS: dict[str, Callable[..., Field]] = {
    "mlp": MLP, "modified-mlp": ModifiedMLP, "piratenet": PirateNet, "siren": Siren,
    "fourier": FourierSeries,
}
