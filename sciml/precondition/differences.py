"""Difference matrices on tensor grids."""

from __future__ import annotations

from functools import reduce

import numpy as np
from scipy import sparse

from ..calculus.indices import MultiIndex
from .grid import Axis


def stencil(offsets: np.ndarray, order: int) -> np.ndarray:
    """Weights w with Σ w_i f(x_i) ≈ f^(order)(0), exact for polynomials of degree < len(offsets).

    Source: Fornberg (1988), doi:10.1090/S0025-5718-1988-0935077-0, the recursion for one point.
    """
    n = len(offsets)
    c = np.zeros((n, order + 1))
    c[0, 0] = 1.0
    product, last = 1.0, offsets[0]
    for i in range(1, n):
        x = offsets[i]
        gaps = 1.0
        for j in range(i):
            gap = x - offsets[j]
            gaps *= gap
            if j == i - 1:
                for k in range(min(i, order), -1, -1):
                    c[i, k] = product / gaps * ((k * c[i - 1, k - 1] if k else 0.0) - last * c[i - 1, k])
            for k in range(min(i, order), -1, -1):
                c[j, k] = (x * c[j, k] - (k * c[j, k - 1] if k else 0.0)) / gap
        product, last = gaps, x
    return c[:, order]


def line_matrix(axis: Axis, order: int) -> sparse.csr_matrix:
    """∂^order along an axis on all of its nodes, shape (n, n).

    Central, of second order; near ends one-sided with the same number of nodes, around a period cyclic. In time
    backward: BDF2 for ∂_t, with a first step of BDF1; ∂_t^k, k ≥ 2, of first order, where nodes before t₀ count as
    zero, which an error that vanishes initially with k − 1 derivatives is.
    """
    n, h = len(axis.nodes), axis.step
    if order == 0:
        return sparse.identity(n, format="csr")
    rows, columns, values = [], [], []
    radius = (order + 1) // 2
    for i in range(n):
        if axis.kind == "time":
            width = 2 if order == 1 and i >= 2 else order
            offsets = np.arange(-width, 1) if i or order > 1 else np.arange(2)
            w = stencil(offsets.astype(float), order)
            keep = i + offsets >= 0
            where, w = (i + offsets)[keep], w[keep]
        elif axis.kind == "periodic":
            offsets = np.arange(-radius, radius + 1)
            where, w = (i + offsets) % n, stencil(offsets.astype(float), order)
        else:
            start = min(max(i - radius, 0), n - 2 * radius - 1)
            where = np.arange(start, start + 2 * radius + 1)
            w = stencil((where - i).astype(float), order)
        rows += [i] * len(w)
        columns += list(where)
        values += list(w / h**order)
    return sparse.csr_matrix((values, (rows, columns)), shape=(n, n))


def difference_matrix(axes: tuple[Axis, ...], alpha: MultiIndex) -> sparse.csr_matrix:
    """∂^α on a tensor grid, the last axis running fastest."""
    parts = [line_matrix(a, k) for a, k in zip(axes, alpha, strict=True)]
    return reduce(lambda A, B: sparse.kron(A, B, format="csr"), parts)
