"""A Fourier neural operator on a latent grid, from channels to channels: the middle of operators on points."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from .pointwise import Dense
from .spectral import SpectralConv


class LatentFNO(nn.Module):
    """v ← GELU(W v + b + Spec(v)), `layers` times, without GELU after the last.

    Args:
        width: Channels.
        modes: m per axis; grids need 2m − 1 nodes along an axis at least.
        layers: Number of layers.
        padding: Nodes of zeros appended along every axis, for grids that are not periodic.
        generator: Source of the weights; None: torch's own.

    Source: Li et al. (2021), arXiv:2010.08895.
    """

    def __init__(self, width: int, modes: Sequence[int], layers: int, padding: int = 0,
                 generator: Generator | None = None):
        super().__init__()
        self.padding = padding
        self.spectral = nn.ModuleList(SpectralConv(width, width, modes, generator=generator) for _ in range(layers))
        self.local = nn.ModuleList(Dense(width, width, generator) for _ in range(layers))

    def forward(self, v: Tensor) -> Tensor:
        """(B, n_1, …, n_d, width) → the same shape."""
        grid = v.shape[1:-1]
        if self.padding:
            v = nn.functional.pad(v, (0, 0, *(0, self.padding) * len(grid)))
        for i, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
            v = spectral(v) + local(v)
            if i + 1 < len(self.spectral):
                v = nn.functional.gelu(v)
        if self.padding:
            for axis, n in enumerate(grid):
                v = v.narrow(1 + axis, 0, n)
        return v
