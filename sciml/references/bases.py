"""Bases in which −Δ is diagonal: Fourier (periodic) and sine (zero at the ends), 1-D and 2-D.

A basis maps values on its nodes to coefficients and back, and knows its wave numbers and the
modes that survive the 2/3 rule. All arrays may carry leading axes (several unknowns); the last
D axes are space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft


@dataclass(frozen=True)
class Basis:
    """Products of one function per direction, on a box.

    Args:
        shape: n per direction.
        lengths: Side lengths Lᵢ.
        start: Left end points x₀.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    start: tuple[float, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.shape), 0))


@dataclass(frozen=True)
class Fourier(Basis):
    """Periodic functions of period Lᵢ in direction i.

        u(x) = Σ_k û_k exp(i k·(x − x₀)),   k_i = 2π m_i / L_i

    Args:
        shape: Nodes per direction, even; the left end point is a node, the right one is not.
        lengths: Periods.
        start: Left end points x₀.
    """

    @cached_property
    def nodes(self) -> list[np.ndarray]:
        """One axis of nodes per direction."""
        return [
            a + length * np.arange(n) / n
            for n, length, a in zip(self.shape, self.lengths, self.start, strict=True)
        ]

    @cached_property
    def _orders(self) -> list[np.ndarray]:
        last = len(self.shape) - 1
        orders = [
            np.arange(n // 2 + 1) if i == last else np.fft.fftfreq(n, 1 / n)
            for i, n in enumerate(self.shape)
        ]
        return list(np.meshgrid(*orders, indexing="ij", sparse=True))

    @cached_property
    def wave_numbers(self) -> list[np.ndarray]:
        """k per direction, broadcastable to the coefficients; the Nyquist mode has k = n/2."""
        return [
            2 * np.pi * m / length for m, length in zip(self._orders, self.lengths, strict=True)
        ]

    @cached_property
    def derivative(self) -> list[np.ndarray]:
        """Symbols i k of ∂ᵢ, zero on the Nyquist mode (its derivative is not real)."""
        return [
            1j * k * (2 * np.abs(m) < n)
            for k, m, n in zip(self.wave_numbers, self._orders, self.shape, strict=True)
        ]

    @cached_property
    def laplacian(self) -> np.ndarray:
        """Symbol −|k|² of Δ."""
        return -np.asarray(sum(k**2 for k in self.wave_numbers))

    @cached_property
    def keep(self) -> np.ndarray:
        """Modes of the 2/3 rule: |m| < n/3 in every direction."""
        return np.logical_and.reduce(
            np.broadcast_arrays(
                *[3 * np.abs(m) < n for m, n in zip(self._orders, self.shape, strict=True)]
            )
        )

    def forward(self, u: np.ndarray) -> np.ndarray:
        """Coefficients of real values on the nodes."""
        return fft.rfftn(u, axes=self.axes)

    def inverse(self, u_hat: np.ndarray) -> np.ndarray:
        """Values on the nodes of coefficients."""
        return fft.irfftn(u_hat, s=self.shape, axes=self.axes)


@dataclass(frozen=True)
class Sine(Basis):
    """Functions that vanish at both ends of every direction.

        u(x) = Σ_m û_m Πᵢ sin(mᵢ π (xᵢ − x₀ᵢ) / Lᵢ),   m ≥ 1

    Args:
        shape: Cells per direction; the n − 1 interior nodes carry values.
        lengths: Side lengths.
        start: Left end points.
    """

    @cached_property
    def nodes(self) -> list[np.ndarray]:
        """One axis of interior nodes per direction."""
        return [
            a + length * np.arange(1, n) / n
            for n, length, a in zip(self.shape, self.lengths, self.start, strict=True)
        ]

    @cached_property
    def _orders(self) -> list[np.ndarray]:
        return list(
            np.meshgrid(*[np.arange(1, n) for n in self.shape], indexing="ij", sparse=True)
        )

    @cached_property
    def laplacian(self) -> np.ndarray:
        """Symbol −Σᵢ (mᵢ π / Lᵢ)² of Δ."""
        squares = (
            (m * np.pi / length) ** 2
            for m, length in zip(self._orders, self.lengths, strict=True)
        )
        return -np.asarray(sum(squares))

    @cached_property
    def keep(self) -> np.ndarray:
        """Modes of the 2/3 rule: m < 2n/3 in every direction."""
        return np.logical_and.reduce(
            np.broadcast_arrays(
                *[3 * m < 2 * n for m, n in zip(self._orders, self.shape, strict=True)]
            )
        )

    def forward(self, u: np.ndarray) -> np.ndarray:
        """Coefficients of values on the interior nodes (DST-I)."""
        return fft.dstn(u, type=1, axes=self.axes)

    def inverse(self, u_hat: np.ndarray) -> np.ndarray:
        """Values on the interior nodes of coefficients."""
        return fft.idstn(u_hat, type=1, axes=self.axes)
