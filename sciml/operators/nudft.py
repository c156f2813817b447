"""Fourier transforms between scattered points and modes, by tables of cosines and sines.

    type 1   V_k = Σ_j w_j v_j e^{−2πik·x_j},   Σ w_j = 1          points → modes
    type 2   v(x) = Re Σ_k s_k V_k e^{2πik·x}                      modes → points

Points are on the unit torus. Kept are k = 0…m−1 of the last coordinate and |k| ≤ m−1 of the others; the other half of
the spectrum of a real function is the conjugate of this one, hence s_k = 1 where the last k is zero and 2 elsewhere.
(Building it by flipping the axis, as in public code, pairs k with −k−1.) On a uniform grid type 1 is the FFT divided by
its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import pi

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError
from ..kept import Kept
from .pointwise import Constant, shares

KEPT = 2**15, 2**16                        # points of a set, and of all: tables are 2M numbers per point


class Waves:
    """The modes of a transform, and cos 2πk·x, sin 2πk·x at points, kept for point sets that stand still.

    Args:
        modes: m per coordinate.

    Raises:
        ProblemError: No modes, or fewer than one along a coordinate.

    Attributes:
        vectors: The M wave vectors, the last coordinate's k fastest.
    """

    def __init__(self, modes: Sequence[int]):
        self.modes = tuple(int(m) for m in modes)
        if not self.modes or min(self.modes) < 1:
            raise ProblemError(f"modes={tuple(modes)} must be one whole number per coordinate, at least 1")
        *others, last = self.modes
        axes = [[*range(m), *range(1 - m, 0)] for m in others] + [list(range(last))]
        self.vectors = tuple(product(*axes))
        self._vectors = Constant(self.vectors)
        self._twice = Constant([1.0 if k[-1] == 0 else 2.0 for k in self.vectors])
        self._kept: Kept[tuple[Tensor, Tensor]] = Kept(*KEPT)

    def __len__(self) -> int:
        return len(self.vectors)

    def tables(self, X: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos 2πk·x and sin 2πk·x at points X (…, N, D), each (…, N, M), computed in float64 and rounded once."""
        flat = X.reshape(-1, X.shape[-1])
        C, S = self._kept((flat,), lambda: self._make(flat, dtype), dtype)
        return C.reshape(*X.shape[:-1], -1), S.reshape(*X.shape[:-1], -1)

    def _make(self, X: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        phase = (2 * pi) * (X.to(torch.float64) @ self._vectors.to(torch.float64, X.device).t())
        return torch.cos(phase).to(dtype), torch.sin(phase).to(dtype)

    def to_modes(self, v: Tensor, X: Tensor, weights: Tensor | None = None) -> Tensor:
        """Type 1: values (B, N, C) at X (N, D) or (B, N, D) → real and imaginary parts, shape (2, B, M, C)."""
        C, S = self.tables(X, v.dtype)
        wv = shares(weights, v) * v
        return torch.stack([C.mT @ wv, -(S.mT @ wv)])

    def to_points(self, V: Tensor, X: Tensor) -> Tensor:
        """Type 2: parts (2, B, M, C) → values (B, N, C) at X (N, D) or (B, N, D)."""
        C, S = self.tables(X, V.dtype)
        V = V * self._twice.to(V.dtype, V.device)[:, None]
        return C @ V[0] - S @ V[1]

    def __deepcopy__(self, memo) -> Waves:
        return Waves(self.modes)


class NUDFT(nn.Module):
    """A spectral layer between point sets: type 1, a complex matrix per mode, type 2.

        u(y) = Re Σ_k s_k (W_k V_k) e^{2πik·y},   V_k = Σ_j w_j v_j e^{−2πik·x_j}

    Args:
        inputs: C_in.
        outputs: C_out.
        modes: m per coordinate, or `Waves` to share the tables of another layer.
        generator: Source of the weights; None: torch's own.

    Source: Li et al. (2023), Geo-FNO, arXiv:2207.05209, with quadrature weights and without the flipped half.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int] | Waves,
                 generator: Generator | None = None):
        super().__init__()
        self.waves = modes if isinstance(modes, Waves) else Waves(modes)
        self.weight = nn.Parameter(torch.randn(2, len(self.waves), inputs, outputs, generator=generator,
                                               dtype=torch.float32) / inputs)

    def forward(self, v: Tensor, X: Tensor, weights: Tensor | None = None, Y: Tensor | None = None) -> Tensor:
        """Values at other points.

        Args:
            v: Values, shape (B, N, C_in).
            X: Their points on the unit torus, shape (N, D) or (B, N, D).
            weights: Quadrature weights, shape (N,) or (B, N); they are divided by their sum. None: equal ones.
            Y: Points of the output, shape (N′, D) or (B, N′, D); None: X.

        Returns:
            Shape (B, N′, C_out).
        """
        V = self.waves.to_modes(v, X, weights)
        B = v.shape[0]
        pair = V.permute(2, 1, 0, 3).reshape(len(self.waves), B, -1)               # (M, B, [re | im])
        mixed = torch.bmm(pair, mixing(self.weight).to(pair.dtype))
        V = mixed.reshape(len(self.waves), B, 2, -1).permute(2, 1, 0, 3)
        return self.waves.to_points(V, X if Y is None else Y)


def mixing(weight: Tensor) -> Tensor:
    """The real form [[Wr, Wi], [−Wi, Wr]] of complex matrices (2, M, C_in, C_out), shape (M, 2 C_in, 2 C_out)."""
    re, im = weight[0], weight[1]
    return torch.cat([torch.cat([re, im], -1), torch.cat([-im, re], -1)], -2)
