"""Diffusion on grids in flux form, and its preconditioner by sine transforms: generators and residuals share them.

    (A u)_i = −Σ_d [a_{i+½} (u_{i+1} − u_i) − a_{i−½} (u_i − u_{i−1})] / h_d²,   u = 0 on the boundary

Nodes include the boundary; a face has the mean of its two nodes' coefficients. A₀ is A for a = 1. With a₋ ≤ a ≤ a₊ the
operators satisfy a₋ A₀ ≤ A ≤ a₊ A₀, so that A₀⁻¹ A has a condition number of at most a₊/a₋ on any grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import ProblemError, TrainingError


def apply_diffusion(a: Tensor, u: Tensor, h: Sequence[float]) -> Tensor:
    """A u at interior nodes.

    Args:
        a: Coefficient at all nodes, shape (B, n_1, …, n_d) or (1, …).
        u: At interior nodes, shape (B, n_1 − 2, …, n_d − 2).
        h: Spacing by axis.

    Returns:
        Shape of u; differentiable in both.
    """
    d = len(h)
    padded = torch.nn.functional.pad(u, (1, 1) * d)
    found = torch.zeros_like(u)
    for axis in range(1, d + 1):
        upper, lower = _ends(axis, d, slice(1, None)), _ends(axis, d, slice(None, -1))
        flux = (a[upper] + a[lower]) / 2 * (padded[upper] - padded[lower])
        found = found - flux.diff(dim=axis) / h[axis - 1] ** 2
    return found


def _ends(axis: int, d: int, along: slice) -> tuple[slice, ...]:
    """Index of all but one end of an axis, at inner nodes of the others."""
    index = [slice(None), *[slice(1, -1)] * d]
    index[axis] = along
    return tuple(index)


class SineLaplacian:
    """A₀ on the interior nodes of a box, diagonal in sines.

        A₀ = S diag(Σ_d λ^d) S,   S_jk = √(2/(m+1)) sin(πjk/(m+1)),   λ_j = (2 − 2cos(πj/(m+1)))/h²,   j = 1…m

    Args:
        sizes: Interior nodes m by axis.
        h: Spacing by axis.
        dtype, device: Of the matrices.
    """

    def __init__(self, sizes: Sequence[int], h: Sequence[float], dtype: torch.dtype,
                 device: torch.device | str = "cpu"):
        parts = []
        self.matrices: list[Tensor] = []
        for m, step in zip(sizes, h, strict=True):
            j = torch.arange(1, m + 1, dtype=torch.float64)
            angle = math.pi / (m + 1) * torch.remainder(j[:, None] * j, 2 * (m + 1))
            self.matrices.append((math.sqrt(2 / (m + 1)) * angle.sin()).to(device, dtype))
            parts.append((2 * (math.pi * j / (2 * (m + 1))).sin() / step) ** 2)
        total = parts[0]
        for part in parts[1:]:
            total = total[..., None] + part
        self.eigenvalues = total.to(device, dtype)

    def transform(self, r: Tensor) -> Tensor:
        """S r along every axis, orthonormal and its own inverse; shape (B, m_1, …, m_d)."""
        for axis, S in enumerate(self.matrices, 1):
            r = torch.movedim(r.movedim(axis, -1) @ S, -1, axis)
        return r

    def solve(self, r: Tensor) -> Tensor:
        """A₀⁻¹ r."""
        return self.transform(self.transform(r) / self.eigenvalues)

    def energy(self, r: Tensor) -> Tensor:
        """rᵀ A₀⁻¹ r of each instance, shape (B,)."""
        return (self.transform(r) ** 2 / self.eigenvalues).flatten(1).sum(1)


@lru_cache(maxsize=8)
def sine_laplacian(
    sizes: tuple[int, ...], h: tuple[float, ...], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> SineLaplacian:
    """`SineLaplacian`, kept for the next call."""
    return SineLaplacian(sizes, h, dtype, device)


def solve_diffusion(
    a: Tensor, f: Tensor, h: Sequence[float], tolerance: float = 1e-10, most: int = 500
) -> tuple[Tensor, int]:
    """u with A u = f by conjugate gradients preconditioned with A₀, all instances at once.

    Args:
        a: Coefficients > 0 at all nodes, shape (B, n_1, …, n_d).
        f: Right sides at interior nodes, shape (B, n_1 − 2, …, n_d − 2).
        h: Spacing by axis.
        tolerance: Of the largest relative residual |f − A u|/|f| of the batch.
        most: Iterations.

    Returns:
        u at interior nodes, and the number of iterations.

    Raises:
        ProblemError: A coefficient that is not positive.
        TrainingError: No convergence.
    """
    if not bool((a > 0).all()):
        raise ProblemError(f"the coefficient of a diffusion must be above 0 everywhere, but its smallest value is "
                           f"{float(a.min()):g}; take positive='exp', or values=(low, high) above 0")
    laplacian = sine_laplacian(tuple(f.shape[1:]), tuple(h), f.dtype, f.device)
    dot = lambda x, y: (x * y).flatten(1).sum(1).view(-1, *(1,) * (f.ndim - 1))
    u, r, size = torch.zeros_like(f), f, dot(f, f)
    z = p = laplacian.solve(r)
    rz = dot(r, z)
    for count in range(1, most + 1):
        Ap = apply_diffusion(a, p, h)
        step = rz / dot(p, Ap).clamp(min=1e-300)
        u, r = u + step * p, r - step * Ap
        if bool((dot(r, r) <= tolerance**2 * size).all()):
            return u, count
        z = laplacian.solve(r)
        old, rz = rz, dot(r, z)
        p = z + rz / old.clamp(min=1e-300) * p
    worst = float((dot(r, r) / size).max().sqrt())
    raise TrainingError(f"conjugate gradients for the diffusion reached {worst:.1e} in {most} iterations, not "
                        f"{tolerance:g}: coefficients between {float(a.min()):g} and {float(a.max()):g} vary too much")
