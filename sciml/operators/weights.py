"""Weights of spectral layers: one complex matrix for each mode, kept as real numbers, whole or in Tucker form.

Modes are numbered k_d = 0…m_d−1 on the last axis and 0…m−1, −(m−1)…−1 on every other, in row-major order. Where a grid
carries fewer modes, the block of low ones is cut out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError
from .tables import along


def seeded(generator: Generator | None) -> Generator:
    """The generator, or a new one with seed 0: torch's own state is never touched."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def dense(inputs: int, outputs: int, generator: Generator, dtype: torch.dtype) -> nn.Linear:
    """h Wᵀ + b over the last axis; W and b uniform in (−1, 1)/√inputs."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=dtype)
    for p in (layer.weight, layer.bias):
        p.data = (2 * torch.rand(p.shape, generator=generator, dtype=dtype) - 1) / sqrt(inputs)
    return layer


def counts(modes: Sequence[int]) -> tuple[int, ...]:
    """Modes along each axis: 2m − 1 of both signs, and m on the last one."""
    return (*(2 * m - 1 for m in modes[:-1]), modes[-1])


def low(modes: Sequence[int], kept: Sequence[int], axis: int, device: torch.device) -> Tensor:
    """Numbers of the modes |k| < kept on an axis, in the order of the axis."""
    below = torch.arange(kept[axis], device=device)
    if axis == len(modes) - 1:
        return below
    return torch.cat([below, torch.arange(2 * modes[axis] - kept[axis], 2 * modes[axis] - 1, device=device)])


def complex_product(X: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """(x + iy)(A + iB) for each mode, in real numbers.

    Args:
        X: (M, 2, B, I), real part and imaginary part.
        real, imaginary: A and B, (M, I, O).

    Returns:
        (M, 2, B, O).
    """
    M, _, B, C = X.shape
    rows = X.reshape(M, 2 * B, C)
    P = torch.bmm(rows, real).view(M, 2, B, -1)
    Q = torch.bmm(rows, imaginary).view(M, 2, B, -1)
    return torch.stack([P[:, 0] - Q[:, 1], P[:, 1] + Q[:, 0]], 1)


class ModeWeights(nn.Module):
    """One matrix for each mode: Y_k = X_k W_k with W_k complex, (C_in, C_out).

    Its one parameter `weight` is real, (2, M, C_in, C_out), real part first; it starts at randn/C_in.

    Args:
        inputs, outputs: Channels.
        modes: (m_1, …, m_d).
        signs: Every axis but the last has modes of both signs.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.modes = tuple(modes)
        size = (2, prod(counts(modes)), inputs, outputs)
        self.weight = nn.Parameter(torch.randn(size, generator=generator, dtype=dtype) / inputs)

    def forward(self, X: Tensor, kept: Sequence[int]) -> Tensor:
        """Mixes channels, (M, 2, B, C_in) to (M, 2, B, C_out); M is the number of modes below `kept`."""
        weight = self.weight
        if tuple(kept) != self.modes:
            weight = weight.unflatten(1, counts(self.modes))
            for axis in range(len(self.modes)):
                if kept[axis] != self.modes[axis]:
                    weight = weight.index_select(axis + 1, low(self.modes, kept, axis, weight.device))
            weight = weight.flatten(1, len(self.modes))
        real, imaginary = weight.unbind(0)
        return complex_product(X, real, imaginary)


def tucker_ranks(sizes: Sequence[int], rank: float) -> tuple[int, ...]:
    """Ranks r_j = max(1, round(f n_j)) with the largest f for which the core and the factors have at most `rank` times
    as many numbers as the tensor of `sizes` (two of each, as the core is complex, are counted)."""
    whole = 2 * prod(sizes)

    def ranks(f: float) -> tuple[int, ...]:
        return tuple(max(1, min(n, round(f * n))) for n in sizes)

    def size(r: Sequence[int]) -> int:
        return 2 * prod(r) + sum(a * b for a, b in zip(sizes, r, strict=True))

    below, above = 0.0, 1.0
    if size(ranks(above)) <= rank * whole:
        return ranks(above)
    for _ in range(50):
        middle = (below + above) / 2
        below, above = (middle, above) if size(ranks(middle)) <= rank * whole else (below, middle)
    return ranks(below)


class TuckerWeights(nn.Module):
    """Weights of all modes in Tucker form, with real factors and a complex core.

        W[k_1, …, k_d, i, o] = Σ G[r_1, …, r_d, p, q] U¹[k_1, r_1] … Uᵈ[k_d, r_d] U[i, p] V[o, q]

    The factors of the channels are applied to the values, so that only a (M, R_in, R_out) tensor is made. Every entry
    of W starts with the variance of dense weights, 1/C_in².

    Args:
        inputs, outputs: Channels.
        modes: (m_1, …, m_d).
        rank: Number of parameters as a fraction of that of dense weights, in (0, 1].

    Raises:
        ProblemError: `rank` is outside (0, 1].

    Source: the tensorised FNO of Kossaifi, Kovachki, Azizzadenesheli, Anandkumar (2023), arXiv:2310.00120; there the
    factors are complex.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], rank: float, generator: Generator,
                 dtype: torch.dtype):
        super().__init__()
        if not 0 < rank <= 1:
            raise ProblemError(f"rank={rank} must be a fraction of the dense weights' parameters, in (0, 1]")
        self.modes = tuple(modes)
        sizes = (*counts(modes), inputs, outputs)
        ranks = tucker_ranks(sizes, rank)
        normal = lambda *size: torch.randn(size, generator=generator, dtype=dtype)
        self.core = nn.Parameter(normal(2, *ranks) / inputs)
        self.factors = nn.ParameterList([normal(n, r) / sqrt(r) for n, r in zip(sizes, ranks, strict=True)])

    def forward(self, X: Tensor, kept: Sequence[int]) -> Tensor:
        """Mixes channels, (M, 2, B, C_in) to (M, 2, B, C_out); M is the number of modes below `kept`."""
        *axes, U, V = self.factors
        W: Tensor = self.core
        for axis, whole in enumerate(axes):
            factor: Tensor = whole
            if kept[axis] != self.modes[axis]:
                factor = factor.index_select(0, low(self.modes, kept, axis, factor.device))
            W = along(factor, W, axis + 1)
        real, imaginary = W.flatten(1, len(axes)).unbind(0)
        return complex_product(X @ U, real, imaginary) @ V.t()
