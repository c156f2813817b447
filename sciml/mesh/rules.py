"""Quadrature on reference cells: symmetric rules of low degree on simplices, products of Gauss's above and on cubes."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.special import roots_jacobi, roots_legendre
from torch import Tensor

_A, _B = 0.44594849091596488632, 0.09157621350977074346      # Strang and Fix (1973), degree 4 on triangles
_WA, _WB = 0.22338158967801146570, 0.10995174365532186764
_C, _D = (5 - 5**0.5) / 20, (5 + 3 * 5**0.5) / 20            # Hammer and Stroud (1956), degree 2 on tetrahedra


@cache
def simplex_rule(dim: int, degree: int) -> tuple[Tensor, Tensor]:
    """Points (Q, d) and weights (Q,) on {ξ_i ≥ 0, Σ ξ_i ≤ 1}, exact for polynomials of a total degree.

    Symmetric rules with 1 (degree 1), 3 or 4 (degree 2) and 6 points (degree 4, triangle); else the conical product of
    Gauss–Jacobi rules (Stroud 1971) with ⌈(degree + 1)/2⌉^d points. All weights are positive.
    """
    if dim == 0:
        return torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    volume = 1.0 / float(np.prod(range(1, dim + 1)))
    orbit = _symmetric(dim, degree) if dim > 1 else None
    if orbit is not None:
        xi = torch.tensor(orbit[0], dtype=torch.float64)
        w = torch.tensor(orbit[1], dtype=torch.float64)
        return xi, w * volume / w.sum()
    n = degree // 2 + 1
    axes = []
    for i in range(dim):                                 # t_i ∈ (0, 1) with weight (1 − t)^(dim−1−i)
        x, w = roots_jacobi(n, dim - 1 - i, 0)
        axes.append(((x + 1) / 2, w / w.sum()))
    grids = np.stack(np.meshgrid(*[a[0] for a in axes], indexing="ij"), -1).reshape(-1, dim)
    shares = np.stack(np.meshgrid(*[a[1] for a in axes], indexing="ij"), -1).reshape(-1, dim).prod(1)
    points, rest = np.empty_like(grids), np.ones(len(grids))
    for i in range(dim):
        points[:, i] = rest * grids[:, i]
        rest = rest * (1 - grids[:, i])
    return torch.from_numpy(points), torch.from_numpy(shares * volume)


def _symmetric(dim: int, degree: int):
    if degree <= 1:
        return [[1 / (dim + 1)] * dim], [1.0]
    if degree == 2 and dim == 2:
        return [[1 / 6, 1 / 6], [2 / 3, 1 / 6], [1 / 6, 2 / 3]], [1.0] * 3
    if degree == 2 and dim == 3:
        return [[_C, _C, _C], [_D, _C, _C], [_C, _D, _C], [_C, _C, _D]], [1.0] * 4
    if degree <= 4 and dim == 2:
        a, b = _A, _B
        points = [[a, a], [1 - 2 * a, a], [a, 1 - 2 * a], [b, b], [1 - 2 * b, b], [b, 1 - 2 * b]]
        return points, [_WA] * 3 + [_WB] * 3
    return None


@cache
def cube_rule(dim: int, degree: int) -> tuple[Tensor, Tensor]:
    """Points (Q, d) and weights (Q,) of Gauss and Legendre on [0, 1]^d, exact up to a degree in each coordinate."""
    x, w = roots_legendre(degree // 2 + 1)
    axis = torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2)
    grids = torch.stack(torch.meshgrid(*[axis[0]] * dim, indexing="ij"), -1).reshape(-1, dim)
    weights = torch.stack(torch.meshgrid(*[axis[1]] * dim, indexing="ij"), -1).reshape(-1, dim).prod(1)
    return grids, weights
