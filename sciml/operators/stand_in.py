"""A spectral layer with the signature of `spectral.SpectralConv`, until that one is merged; then this file goes."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from torch import Generator, Tensor, nn

from .nudft import mixing


class SpectralConv(nn.Module):
    """y = Σ_k s_k W_k v̂_k e^{2πik·x}: a truncated real Fourier transform, channels mixed mode by mode, and back.

    Kept are k = 0…m−1 on the last axis and |k| ≤ m−1 on the others.

    Args:
        inputs, outputs: Channels.
        modes: m per axis.
        generator: Source of the weights.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], generator: Generator | None = None):
        super().__init__()
        self.modes = tuple(modes)
        M = self.modes[-1]
        for m in self.modes[:-1]:
            M *= 2 * m - 1
        self.weight = nn.Parameter(torch.randn(2, M, inputs, outputs, generator=generator) / inputs)

    def forward(self, v: Tensor) -> Tensor:
        """(B, n_1, …, n_d, inputs) → (B, n_1, …, n_d, outputs)."""
        d, grid = len(self.modes), v.shape[1:-1]
        tables = [_waves(n, m, axis == d - 1, v) for axis, (n, m) in enumerate(zip(grid, self.modes, strict=True))]
        re, im = v, torch.zeros_like(v)
        for axis in reversed(range(d)):                      # (C − iS) on every axis
            C, S = tables[axis]
            along = lambda T, a, axis=axis: torch.tensordot(T, a.movedim(1 + axis, 0), 1).movedim(0, 1 + axis)
            re, im = (along(C, re) + along(S, im)) / grid[axis], (along(C, im) - along(S, re)) / grid[axis]
        shape, (B, C_in) = re.shape[1:-1], (v.shape[0], v.shape[-1])
        mixed = torch.bmm(torch.cat([re.reshape(B, -1, C_in), im.reshape(B, -1, C_in)], -1).transpose(0, 1),
                          mixing(self.weight)).transpose(0, 1)
        re, im = (a.reshape(B, *shape, -1) for a in mixed.chunk(2, -1))
        for axis in range(d):                                # (C + iS), the half spectrum counted twice
            C, S = tables[axis]
            if axis == d - 1:
                twice = torch.full_like(C[:, :1], 2.0)
                twice[0] = 1.0
                C, S = twice * C, twice * S
            along = lambda T, a, axis=axis: torch.tensordot(T.t(), a.movedim(1 + axis, 0), 1).movedim(0, 1 + axis)
            re, im = along(C, re) - along(S, im), along(C, im) + along(S, re)
        return re


def _waves(n: int, m: int, half: bool, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2πjk/n, each (K, n)."""
    k = torch.arange(m, dtype=torch.float64, device=like.device)
    if not half:
        k = torch.cat([k, torch.arange(1 - m, 0, dtype=torch.float64, device=like.device)])
    theta = 2 * pi / n * torch.outer(k, torch.arange(n, dtype=torch.float64, device=like.device))
    return torch.cos(theta).to(like.dtype), torch.sin(theta).to(like.dtype)
