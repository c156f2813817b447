"""Operators on meshes and clouds by slices: nodes are gathered into a few tokens, tokens talk, nodes take from them.

Only matrix products and softmax: no neighbours are searched, batches may be padded (padding has weight zero), and with
quadrature weights in every sum over nodes the map is one of functions: it does not depend on how they are sampled.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError, look_up
from .pointwise import Bounds, Box, Dense, Perceptron, check_points, shares, with_coordinates

EMPTY = 1e-7                               # share of the domain below which a slice counts as empty


class SliceAttention(nn.Module):
    """Attention among G slices of the nodes, for each of H heads of width d = width/H.

        w_ng = softmax_g(W_s (W_x x)_n / τ),   z_g = Σ_n a_n w_ng (W_f x)_n / Σ_n a_n w_ng,   z′ = attention(z),
        out_n = W_o Σ_g w_ng z′_g,             a_n quadrature weights of sum one,  τ learnt, within [0.1, 5]

    Args:
        width: Channels; a multiple of `heads`.
        heads: H.
        slices: G.
        attention: "tokens": softmax attention among the tokens, w_ng back as forth; "none": z′ = z, and nodes take from
            slices by weights of their own, softmax_g(W_t (W_x x)_n / τ).
        generator: Source of the weights; None: torch's own.

    Source: Wu et al. (2024), arXiv:2402.02366 (Transolver), which has no a_n. "none" after the observation that the
        tokens' attention can be left out if both sets of weights are free (LinearNO).
    """

    def __init__(self, width: int, heads: int = 4, slices: int = 32, attention: str = "tokens",
                 generator: Generator | None = None):
        super().__init__()
        look_up("attention", attention, dict.fromkeys(("tokens", "none")))
        if width % heads:
            raise ProblemError(f"width={width} must be a multiple of heads={heads}")
        self.heads, d = heads, width // heads
        self.where, self.what = Dense(width, width, generator), Dense(width, width, generator)
        self.gather = nn.Parameter(_orthogonal(slices, d, generator))
        self.spread = nn.Parameter(_orthogonal(slices, d, generator)) if attention == "none" else None
        self.tokens = nn.ModuleList(Dense(d, d, generator) for _ in range(3)) if attention == "tokens" else None
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), 0.5))
        self.last = Dense(width, width, generator)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """x (B, N, width) with shares a (1 or B, N, 1) → (B, N, width)."""
        B, N, width = x.shape
        split = lambda h: h.reshape(B, N, self.heads, width // self.heads).transpose(1, 2)
        where = split(self.where(x)) / self.temperature.clamp(0.1, 5.0).to(x.dtype)
        w = torch.softmax(where @ self.gather.t(), -1)                               # (B, H, N, G)
        wa = w * a[:, None]
        tokens = wa.transpose(-1, -2) @ split(self.what(x))
        tokens = tokens / (wa.sum(-2)[..., None] + EMPTY)
        if self.tokens is not None:
            q, k, v = (layer(tokens) for layer in self.tokens)
            tokens = nn.functional.scaled_dot_product_attention(q, k, v)
        if self.spread is not None:
            w = torch.softmax(where @ self.spread.t(), -1)
        return self.last((w.to(tokens.dtype) @ tokens).transpose(1, 2).reshape(B, N, width))


class MeshOperator(nn.Module):
    """A mesh operator of Transolver's kind: x ← x + A(LN x), x ← x + MLP(LN x), with quadrature weights.

    Args:
        inputs: C_in.
        outputs: C_out.
        bounds: (low, high) per coordinate of the box that the points lie in; the coordinates, scaled to [−1, 1], enter
            beside the values.
        width: Channels.
        layers: Blocks.
        heads, slices, attention: See `SliceAttention`.
        ratio: Hidden channels of the MLP over width.
        generator: Source of the weights; None: torch's own.

    Raises:
        ProblemError: width is no multiple of heads, or an unknown attention.

    Source: Wu et al. (2024), arXiv:2402.02366; defaults of their elasticity script (3 × 64 channels, 4 heads, 32
        slices).
    """

    def __init__(self, inputs: int, outputs: int, bounds: Bounds = ((0.0, 1.0), (0.0, 1.0)), width: int = 64,
                 layers: int = 3, heads: int = 4, slices: int = 32, ratio: int = 1, attention: str = "tokens",
                 generator: Generator | None = None):
        super().__init__()
        self.inputs, self.box = inputs, Box(bounds)
        self.lift = Perceptron([inputs + self.box.dimension, 2 * width, width], generator)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers + 1))
        self.mixers = nn.ModuleList(SliceAttention(width, heads, slices, attention, generator) for _ in range(layers))
        self.locals = nn.ModuleList(Perceptron([width, ratio * width, width], generator) for _ in range(layers))
        self.last = Dense(width, outputs, generator)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Values at the points.

        Args:
            v: Shape (B, N, C_in).
            X: Points, shape (N, D) or (B, N, D).
            weights: Quadrature weights, shape (N,) or (B, N), zero where a batch is padded; None: equal ones.

        Returns:
            Shape (B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit.
        """
        X = check_points(v, X, weights, self.inputs, self.box.dimension)
        a = shares(weights, v)
        x = self.lift(with_coordinates(v, self.box.centred(X)))
        for i, (mixer, local) in enumerate(zip(self.mixers, self.locals, strict=True)):
            x = x + mixer(self.norms[2 * i](x), a)
            x = x + local(self.norms[2 * i + 1](x))
        return self.last(self.norms[-1](x))


def _orthogonal(rows: int, columns: int, generator: Generator | None) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer."""
    A = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    Q = torch.linalg.qr(A)[0].to(torch.float32)
    return (Q if rows >= columns else Q.t()).contiguous()
