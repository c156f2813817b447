"""A U-shaped neural operator: spectral layers between grids of several sizes, with more channels on the coarse ones.

Fields change grids in Fourier space (`tables.resize`, and the grid that a spectral layer is asked for), so the path
down and up loses only the modes that the coarse grid cannot carry, and every block means the same at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..errors import ProblemError
from .fno import Frame, Projection, settings
from .spectral import convolution
from .tables import resize
from .weights import dense, seeded


class Block(nn.Module):
    """W v + b + S v between two grids and two numbers of channels."""

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], factorisation: str, rank: float, method: str,
                 generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.spectral = convolution(inputs, outputs, modes, factorisation=factorisation, rank=rank, method=method,
                                    generator=generator, dtype=dtype)
        self.pointwise = dense(inputs, outputs, generator, dtype)

    def forward(self, v: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, n_1, …, n_d, C_in) to (B, *shape, C_out)."""
        local = self.pointwise(v)
        return self.spectral(v, shape) + (local if tuple(shape) == tuple(v.shape[1:-1]) else resize(local, shape))


class UNO(Frame):
    """U-shaped neural operator.

        down:  v_{l+1} = GELU(B_l v_l),  grid n/2^{l+1}, width·2^{l+1} channels
        up:    w_l = GELU(B'_l [w_{l+1}, v_{l+1}]),  w_L = GELU(B v_L);     the last one without GELU

    Args:
        inputs, outputs: C_in and C_out.
        modes: (m_1, …, m_d) on the finest grid; level l has ⌈m/2^l⌉ of them.
        width: Channels on the finest grid.
        levels: L, how often the grid is halved.
        projection, periodic, padding, factorisation, rank, method, generator, dtype: As in `FNO`.

    Raises:
        ProblemError: `levels` below 1, or what `FNO` refuses.

    Source: Rahman, Ross, Azizzadenesheli (2023), arXiv:2204.11127. Our local path changes grids by Fourier series too,
    where theirs interpolates; modes are halved with the grid; each skip joins fields of one size.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], *, width: int = 32, levels: int = 2,
                 projection: int = 128, periodic: bool | Sequence[bool] = False, padding: float = 0.09,
                 factorisation: str = "dense", rank: float = 0.25, method: str = "auto",
                 generator: Generator | None = None, dtype: torch.dtype = torch.float32):
        config = settings(locals())
        super().__init__(inputs, modes, periodic, padding)
        if levels < 1:
            raise ProblemError(f"levels={levels} must be at least 1; without halving take FNO")
        self.config, self.levels = config, levels
        generator = seeded(generator)
        self.lift = dense(inputs, width, generator, dtype)
        at = lambda level: tuple(-(-m // 2**level) for m in self.modes)
        block = lambda a, b, level: Block(a, b, at(level), factorisation, rank, method, generator, dtype)
        wide = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(block(wide[i], wide[i + 1], i) for i in range(levels))
        self.bottom = block(wide[levels], wide[levels], levels)
        self.up = nn.ModuleList(block(2 * wide[i + 1], wide[i], i) for i in reversed(range(levels)))
        self.project = Projection(2 * width, projection, outputs, generator, dtype)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """(B, n_1, …, n_d, C_in) to (B, n_1, …, n_d, C_out); X and weights are those of points and not used."""
        self.check(v)
        shape = v.shape[1:-1]
        v = start = self.pad(self.lift(v))
        fine = v.shape[1:-1]
        sizes = [tuple(-(-n // 2**level) for n in fine) for level in range(self.levels + 1)]
        skips = []
        for level, block in enumerate(self.down, 1):
            v = functional.gelu(block(v, sizes[level]))
            skips.append(v)
        v = functional.gelu(self.bottom(v, sizes[-1]))
        for level, block in zip(reversed(range(self.levels)), self.up, strict=True):
            v = block(torch.cat([v, skips[level]], -1), sizes[level])
            v = functional.gelu(v) if level else v
        return self.project(self.crop(torch.cat([v, start], -1), shape))
