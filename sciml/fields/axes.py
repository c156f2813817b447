"""Functions of one coordinate, of whose products a `TensorField` is made, with closed-form derivatives.

    φ_j(x) = Σ_i g_i(x) T_ij,   i = 1 … n,   j = 1 … m

The columns of T span what vanishes at the ends where data are built in, a null space, so that those hold exactly for
all coefficients; within it T makes the φ_j orthonormal in L² (`GaussianAxis`) or draws of the prior (`MixtureAxis` in
`mixture.py`), so that coefficients of size one are functions of size one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import roots_legendre
from torch import Tensor, nn

from ..errors import ProblemError
from .lattice import lattice

if TYPE_CHECKING:
    from .build import FieldOptions

TAIL = 9.0                 # scales at which a Gaussian has fallen to 3e-18
FLOOR = 1e-13              # of the largest singular value: smaller ones are rounding, and are not blown up


@lru_cache(maxsize=8)
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return roots_legendre(count)


def legendre(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre points and weights on [low, high], each of shape (count,), float64."""
    x, w = (torch.as_tensor(a) for a in _legendre(count))
    return (low + high) / 2 + (high - low) / 2 * x, (high - low) / 2 * w


def null_space(B: Tensor) -> Tensor:
    """Z, shape (n, n − r), orthonormal with B Z = 0 for r independent rows B, shape (r, n)."""
    if not len(B):
        return torch.eye(B.shape[1], dtype=B.dtype, device=B.device)
    Q, _ = torch.linalg.qr((B / B.norm(dim=1, keepdim=True)).T, mode="complete")
    return Q[:, len(B):]


class Axis(nn.Module, ABC):
    """m functions of a coordinate on [low, high].

    Args:
        low, high: The ends.
        held: Derivatives that vanish at either end: (1, 1) for values, (2, 0) for value and slope at the lower one.
    """

    transform: Tensor

    def __init__(self, low: float, high: float, held: tuple[int, int] = (0, 0)):
        super().__init__()
        self.low, self.high, self.held = float(low), float(high), held

    @abstractmethod
    def raw(self, x: Tensor, order: int) -> Tensor:
        """g and its derivatives up to an order at x (N,), shape (order + 1, N, n)."""

    def jets(self, x: Tensor, order: int) -> Tensor:
        """φ and its derivatives up to an order at x (N,), shape (order + 1, N, m)."""
        return self.raw(x, order) @ self.transform

    @property
    def size(self) -> int:
        """m."""
        return self.transform.shape[1]

    def quadrature(self) -> tuple[Tensor, Tensor]:
        """Points and weights, 2n of them, that resolve products of two functions."""
        return legendre(self.low, self.high, 2 * self.transform.shape[0])

    def rows_held(self) -> Tensor:
        """g's values and derivatives that must vanish, shape (r, n)."""
        ends = self.transform.new_tensor([self.low, self.high])
        found = self.raw(ends, max(max(self.held) - 1, 0))
        return torch.cat([found[:self.held[0], 0], found[:self.held[1], 1]])


class GaussianAxis(Axis):
    """Gaussians on a lattice of centres, orthonormal in L²(low, high) and zero where data are built in.

        g_i(x) = exp(−z²/2),   z = (x − μ_i)/s,   ∂^k g = (−1)^k s^{−k} He_k(z) g

    Args:
        low, high, held: As in `Axis`.
        n: Centres, ghosts included.
        overlap: c = s/h.
        ghosts: Centres beyond either end; None: `lattice.ghosts_of` the overlap.
        periodic: n centres in one period, each with its images, and no ghosts.
        dtype: Of what is returned; the functions are made in float64.

    Raises:
        ProblemError: There are too few centres, or data at the ends of a periodic coordinate.

    Note:
        T divides by singular values of the values at 2n Gauss–Legendre points, not below 1e-13 of the largest:
        functions under that floor are shorter than one instead of rounding blown up, and m does not depend on rounding.
        He_{k+1} = z He_k − k He_{k−1} gives any order.
    """

    centres: Tensor
    images: Tensor

    def __init__(self, low: float, high: float, n: int, overlap: float = 1.5, ghosts: int | None = None,
                 held: tuple[int, int] = (0, 0), periodic: bool = False, dtype: torch.dtype = torch.float64):
        super().__init__(low, high, held)
        if periodic:
            if any(held):
                raise ProblemError("a periodic coordinate has no ends, and data are given there; leave Periodic or "
                                   "the data out")
            if n < 3:
                raise ProblemError(f"{n} Gaussians along a periodic coordinate are too few; take 3 or more")
            h = (high - low) / n
            centres, self.scale = low + h * torch.arange(n, dtype=torch.float64), overlap * h
            count = ceil(TAIL * self.scale / (high - low))
            images = (high - low) * torch.arange(-count, count + 1, dtype=torch.float64)
        else:
            centres, self.scale = lattice(low, high, n, overlap, ghosts)
            images = torch.zeros(1, dtype=torch.float64)
        for name, value in (("centres", centres), ("images", images), ("transform", torch.eye(n).double())):
            self.register_buffer(name, value, persistent=False)
        Z = null_space(self.rows_held())
        x, w = self.quadrature()
        _, S, Vh = torch.linalg.svd(w.sqrt()[:, None] * (self.raw(x, 0)[0] @ Z), full_matrices=False)
        self.transform = (Z @ Vh.T) / S.clamp(min=FLOOR * float(S[0]))
        self.to(dtype)

    def raw(self, x: Tensor, order: int) -> Tensor:
        total: Tensor | None = None
        for shift in self.images:
            z = (x[:, None] - self.centres - shift) / self.scale
            g = torch.exp(-0.5 * z * z)
            before, here, streams = torch.zeros_like(z), torch.ones_like(z), [g]
            for k in range(order):
                before, here = here, z * here - k * before
                streams.append(here * g * (-1 / self.scale) ** (k + 1))
            part = torch.stack(streams)
            total = part if total is None else total + part
        assert total is not None
        return total


def gaussian_axes(bounds: Sequence[tuple[float, float]], options: FieldOptions, held: Sequence[tuple[int, int]],
                  periodic: Sequence[bool], dtype: torch.dtype) -> list[GaussianAxis]:
    """The functions of each coordinate of `model=gaussian-lattice`.

    Args:
        bounds: (low, high) by coordinate.
        options: Its `centres`, `overlap` and `ghosts`.
        held: Derivatives that vanish at either end, by coordinate.
        periodic: Which coordinates are.
        dtype: Of the functions.
    """
    D = len(bounds)
    return [GaussianAxis(low, high, n, options.overlap, g, ends, images, dtype) for (low, high), n, g, ends, images
            in zip(bounds, options.counts(D), options.beyond(D), held, periodic, strict=True)]
