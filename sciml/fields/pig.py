"""Physics-Informed Gaussians as published: sums of Gaussians as features of a small network, all of it trained.

    f_k(x) = Σ_i w_ki exp(−½ Σ_d ((z_d − μ_kid)/s_kid)²),  z = R (x − low)/(high − low),  k = 1 … K
    u = W₂ tanh(W₁ f + b₁) + b₂

Each feature has Gaussians of its own. Derivatives are closed formulas through the Gaussians and Faà di Bruno's through
the decoder, and gradients come from moments (`calculus.gaussian.sums`), where the published code differentiates.

Source: Kang, Oh, Hong, Park (2025), Physics-Informed Gaussians, ICLR, arXiv:2412.05994; sizes and starting values after
    its three-dimensional cases. Here scales never reach zero: √(s² + 10⁻⁸) stands for |s|.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..calculus.gaussian import GaussianRecord, streams, sums
from ..calculus.jet import Jet, join, linear
from ..calculus.program import transformed
from ..errors import ProblemError
from .networks import Headed
from .shape import Shape

AMPLITUDE = 0.01           # standard deviation of w at the start
LEAST = 1e-8               # added to s²


class PIG(Headed):
    """K sums of M Gaussians each, and a decoder.

    Args:
        bounds: (low, high) by coordinate.
        centres: M.
        scale: s at the start, in the scaled coordinates.
        extent: R: coordinates are scaled to [0, R], centres drawn there uniformly.
        shape: Of the decoder; its inputs are K.

    Attributes:
        centres, scales: μ and s, shape (K, M, D), in the scaled coordinates.
        amplitudes: w, shape (K, M).

    Raises:
        ProblemError: Numbers make no sense.
    """

    low: Tensor
    unit: Tensor
    collapses = False          # its Gaussians are differentiated one multi-index after the other

    def __init__(self, bounds: Sequence[tuple[float, float]], centres: int, scale: float, extent: float, shape: Shape):
        super().__init__()
        if not (scale > 0 and extent > 0 and centres >= 1):
            raise ProblemError(f"model=pig needs centres of at least 1, model.start={scale} and model.extent={extent} "
                               "positive")
        K, D, dtype, generator = shape.inputs, len(bounds), shape.dtype, shape.generator
        low, high = torch.tensor(bounds, dtype=torch.float64).T
        self.register_buffer("low", low.to(dtype), persistent=False)
        self.register_buffer("unit", ((high - low) / extent).to(dtype), persistent=False)
        self.centres = nn.Parameter(extent * torch.rand(K, centres, D, generator=generator, dtype=dtype))
        self.scales = nn.Parameter(torch.full((K, centres, D), scale, dtype=dtype))
        self.amplitudes = nn.Parameter(AMPLITUDE * torch.randn(K, centres, generator=generator, dtype=dtype))
        widths = [K, *[shape.width] * shape.depth]
        self.hidden = nn.ModuleList(shape.dense(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.sigmas = nn.ModuleList(shape.sigma() for _ in self.hidden)
        self.last = shape.dense(widths[-1], shape.outputs)

    def features(self, x: Jet) -> Jet:
        """f and its derivatives, shape (S, N, K)."""
        X = x.points
        if X is None:
            raise ProblemError("model=pig reads coordinates as they are; it takes no features of them")
        centres = self.low + self.unit * self.centres
        log_scales = 0.5 * torch.log(self.scales.square() + LEAST) + torch.log(self.unit)
        parts = []
        for mu, log_s, w in zip(centres, log_scales, self.amplitudes, strict=True):
            if x.tape is None and not transformed():
                parts.append(Jet(sums(X, mu, log_s, w[None], x.indices), x.indices))
                continue
            G = streams(X, mu, log_s, x.indices)
            if x.tape is not None:
                x.tape.append(GaussianRecord(X, mu, log_s, x.indices, G))
            parts.append(linear(Jet(G, x.indices, None, x.tape), w[None]))
        return join(parts)

    def jet(self, x: Jet) -> Jet:
        h = self.features(x)
        for layer, sigma in zip(self.hidden, self.sigmas, strict=True):
            h = sigma(layer(h))
        return self.last(h)
