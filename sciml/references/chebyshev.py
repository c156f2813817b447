"""Chebyshev collocation on an interval: nodes, differentiation and interpolation matrices."""

from __future__ import annotations

import numpy as np


def nodes(n: int, interval: tuple[float, float] = (-1.0, 1.0)) -> np.ndarray:
    """The n + 1 increasing Chebyshev-Lobatto points −cos(jπ/n), mapped to the interval."""
    left, right = interval
    return (left + right) / 2 + (right - left) / 2 * np.sin(
        np.pi * (2 * np.arange(n + 1) - n) / (2 * n)
    )


def _weights(n: int) -> np.ndarray:
    w = (-1.0) ** np.arange(n + 1)
    w[[0, -1]] /= 2
    return w


def differentiation(n: int, interval: tuple[float, float] = (-1.0, 1.0)) -> np.ndarray:
    """Matrix of the derivative of the interpolant at the nodes, shape (n + 1, n + 1).

    Source: Trefethen (2000), Spectral Methods in MATLAB, ch. 6; the diagonal is minus the sum
    of the rest of its row (Baltensperger & Trummer 2003), and differences of nodes use sin(a)
    sin(b) for full digits.
    """
    left, right = interval
    w = _weights(n)
    theta = np.pi * np.arange(n + 1) / (2 * n)
    # x_i − x_j = cos(2θ_j) − cos(2θ_i) = 2 sin(θ_i + θ_j) sin(θ_i − θ_j), without cancellation.
    gap = 2 * np.sin(theta[:, None] + theta) * np.sin(theta[:, None] - theta)
    np.fill_diagonal(gap, 1.0)
    D = (w / w[:, None]) / gap
    np.fill_diagonal(D, 0.0)
    np.fill_diagonal(D, -D.sum(axis=1))
    return D * 2 / (right - left)


def interpolation(
    n: int, points: np.ndarray, interval: tuple[float, float] = (-1.0, 1.0)
) -> np.ndarray:
    """Matrix from values at the nodes to values at N `points`, shape (N, n + 1).

    Source: Berrut & Trefethen (2004), the barycentric formula, doi:10.1137/S0036144502417715.
    """
    gap = np.asarray(points, float)[:, None] - nodes(n, interval)
    hit = np.abs(gap) < 1e-14 * (interval[1] - interval[0])
    ratio = _weights(n) / np.where(hit, 1.0, gap)
    matrix = ratio / ratio.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit.astype(float), matrix)
