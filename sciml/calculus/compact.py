"""Gaussians that end at a radius, smoothly: their derivatives by closed formulas, for pairs of points and Gaussians.

    φ(q) = e^{−q/2} (1 − q/κ²)₊⁴,    q = (x − μ)ᵀ P (x − μ),   y = P (x − μ),   P = Σ⁻¹

With F_m = 2^m φ^(m)(q), of which each is the next one's antiderivative (F_m′ = F_{m+1}/2),

    ∂_k F_m = y_k F_{m+1}
    D^{α+e_k} F_m = y_k D^α F_{m+1} + Σ_j α_j P_jk D^{α−e_j} F_{m+1}           one order after the other
    ∂(D^α F_m)/∂μ_k = −D^{α+e_k} F_m
    ∂(D^α F_m)/∂log s_k = D^α F_m − s_k² D^{α+2e_k} F_{m−1}                    Σ = diag s²
    ∂(D^α F_m)/∂Σ_jk = ½ (P_jk D^α F_m − D^{α+e_j+e_k} F_{m−1})                any Σ

so that the Jacobian and reverse passes of any order are the same streams again. (Without the taper F_m = (−1)^m G, and
these are the formulas of `gaussian.py`.) Below m = 0 only derivatives are ever asked for that contain no F_{−1}.

φ has three continuous derivatives at the radius κ; the fourth jumps there, along x by 384 e^{−κ²/2} / (κ⁴ s⁴), where at
the centre that of a Gaussian is 3/s⁴: a part in a million of it at κ = 5.

A taper narrows a Gaussian. Widened by √(1 + 8/κ²) it has its curvature at the centre again.

Source: our notes, A3 (radial profiles) and A6 (taper and its compensation).
"""

from __future__ import annotations

from math import comb, factorial

import torch
from torch import Tensor

from .gaussian import extended, raised
from .indices import IndexSet, MultiIndex
from .pairs import Pairs

POWER = 4


def widened(cutoff: float) -> float:
    """√(1 + 2·4/κ²), the factor on scales that makes up for the taper."""
    return (1 + 2 * POWER / cutoff**2) ** 0.5


def profile(q: Tensor, cutoff: float, order: int) -> list[Tensor]:
    """F_0 … F_order at q, each of its shape.

    Args:
        q: Squared distances in scales.
        cutoff: κ.
        order: The highest.
    """
    inside = (1 - q / cutoff**2).clamp(min=0)
    e = torch.exp(-0.5 * q)
    powers = [torch.ones_like(q)]
    for _ in range(POWER):
        powers.append(powers[-1] * inside)
    slopes = [(-2 / cutoff**2) ** j * factorial(POWER) / factorial(POWER - j) * powers[POWER - j] * e
              for j in range(min(order, POWER) + 1)]                       # 2^j w^(j) e^{−q/2}
    if order >= POWER:
        slopes[POWER] = torch.where(inside > 0, slopes[POWER], 0)
    found = []
    for m in range(order + 1):
        total = torch.zeros_like(q)
        for j in range(min(m, POWER) + 1):
            total = torch.add(total, slopes[j], alpha=(-1) ** (m - j) * comb(m, j))
        found.append(total)
    return found


def pair_streams(X: Tensor, centres: Tensor, shape: Tensor, pairs: Pairs, indices: IndexSet, cutoff: float,
                 level: int = 0) -> Tensor:
    """D^α F_level of the pairs for a closed set of α, shape (S, P).

    Args:
        X: Points, shape (N, D).
        centres: μ, shape (M, D).
        shape: log s, shape (M, D), or Σ, shape (M, D, D).
        pairs: Which are looked at.
        indices: The set.
        cutoff: κ.
        level: m; below zero the first −2m orders, which nothing asks for, are not right.
    """
    return _PairStreams.apply(X, centres, shape, pairs, indices, cutoff, level)


def squares(delta: Tensor, inverse: Tensor) -> Tensor:
    """q of pairs (P,), from x − μ (P, D) and 1/s (P, D) or P (P, D, D)."""
    if inverse.ndim == 2:
        return (delta * inverse).square().sum(1)
    return torch.einsum("pj,pjk,pk->p", delta, inverse, delta)


def half_widths(shape: Tensor, cutoff: float) -> Tensor:
    """κ √Σ_kk: how far supports reach along the axes, shape (M, D)."""
    return cutoff * (torch.exp(shape) if shape.ndim == 2 else shape.diagonal(dim1=1, dim2=2).sqrt())


def plain_streams(X: Tensor, centres: Tensor, shape: Tensor, pairs: Pairs, indices: IndexSet, cutoff: float,
                  level: int) -> Tensor:
    """`pair_streams` without a graph: a triangle of D^α F_m with |α| + m fixed at most."""
    D = X.shape[1]
    delta = [X[pairs.rows, k] - centres[pairs.columns, k] for k in range(D)]
    if shape.ndim == 2:
        inverse = torch.exp(-2 * shape)
        P: list[list[Tensor | None]] = [[inverse[pairs.columns, k] if j == k else None for k in range(D)]
                                        for j in range(D)]
    else:
        inverse = torch.linalg.inv(shape)
        P = [[inverse[pairs.columns, j, k] for k in range(D)] for j in range(D)]
    y = [torch.stack([d * p for d, p in zip(delta, (P[j][k] for j in range(D)), strict=True) if p is not None]).sum(0)
         for k in range(D)]
    q = torch.stack([d * z for d, z in zip(delta, y, strict=True)]).sum(0)
    order = max(sum(alpha) for alpha in indices.indices)
    values = profile(q, cutoff, max(level + order, 0))
    zero = torch.zeros_like(q)
    triangle: dict[tuple[MultiIndex, int], Tensor] = {
        ((0,) * D, m): values[m] if m >= 0 else zero for m in range(level, level + order + 1)}
    for alpha in indices.indices:
        if not any(alpha):
            continue
        k = next(i for i, a in enumerate(alpha) if a)
        lower = tuple(a - (i == k) for i, a in enumerate(alpha))
        for m in range(level, level + order + 1 - sum(alpha)):
            total = y[k] * triangle[lower, m + 1]
            for j, a in enumerate(lower):
                p = P[j][k]
                if a and p is not None:
                    below = triangle[tuple(b - (i == j) for i, b in enumerate(lower)), m + 1]
                    total = torch.addcmul(total, p, below, value=a)
            triangle[alpha, m] = total
    return torch.stack([triangle[alpha, level] for alpha in indices.indices])


class _PairStreams(torch.autograd.Function):
    """`pair_streams`; its reverse pass is made of streams too, and so differentiable to any order."""

    @staticmethod
    def forward(ctx, X, centres, shape, pairs, indices, cutoff, level):
        ctx.pairs, ctx.indices, ctx.cutoff, ctx.level = pairs, indices, cutoff, level
        ctx.save_for_backward(X, centres, shape)
        return plain_streams(X, centres, shape, pairs, indices, cutoff, level)

    @staticmethod
    def backward(ctx, adjoint):
        X, centres, shape = ctx.saved_tensors
        pairs, indices = ctx.pairs, ctx.indices
        need_x, need_mu, need_shape = ctx.needs_input_grad[:3]
        of_x = of_mu = of_shape = None
        if need_x or need_mu:
            slopes = moved(X, centres, shape, pairs, indices, ctx.cutoff, ctx.level, adjoint)
            of_x = pairs.over_gaussians(slopes) if need_x else None
            of_mu = -pairs.over_points(slopes) if need_mu else None
        if need_shape:
            of_shape = pairs.over_points(shaped(X, centres, shape, pairs, indices, ctx.cutoff, ctx.level, adjoint))
            of_shape = of_shape.reshape(shape.shape)
        return of_x, of_mu, of_shape, None, None, None, None


def moved(X: Tensor, centres: Tensor, shape: Tensor, pairs: Pairs, indices: IndexSet, cutoff: float, level: int,
          adjoint: Tensor) -> Tensor:
    """Σ_α g_α D^{α+e_k} F_m of the pairs, shape (P, D), for adjoints g of shape (S, P): what a point's motion does."""
    wide = extended(indices, 1)
    more = pair_streams(X, centres, shape, pairs, wide, cutoff, level)
    return torch.stack([torch.stack([adjoint[i] * more[wide.position(raised(alpha, k))]
                                     for i, alpha in enumerate(indices.indices)]).sum(0)
                        for k in range(indices.dimension)], dim=1)


def shaped(X: Tensor, centres: Tensor, shape: Tensor, pairs: Pairs, indices: IndexSet, cutoff: float, level: int,
           adjoint: Tensor) -> Tensor:
    """Σ_α g_α ∂(D^α F_m) by log s_k, shape (P, D), or by Σ_jk, shape (P, D²)."""
    D, wide = indices.dimension, extended(indices, 2)
    here = pair_streams(X, centres, shape, pairs, indices, cutoff, level)
    more = pair_streams(X, centres, shape, pairs, wide, cutoff, level - 1)
    squares_of = pairs.at_gaussians(torch.exp(2 * shape) if shape.ndim == 2 else torch.linalg.inv(shape))
    columns = []
    for j in range(D):
        for k in range(D):
            if shape.ndim == 2 and j != k:
                continue
            parts = []
            for i, alpha in enumerate(indices.indices):
                beyond = more[wide.position(raised(alpha, j, k))]
                parts.append(adjoint[i] * (here[i] - squares_of[:, k] * beyond if shape.ndim == 2
                                           else 0.5 * (squares_of[:, j, k] * here[i] - beyond)))
            columns.append(torch.stack(parts).sum(0))
    return torch.stack(columns, dim=1)
