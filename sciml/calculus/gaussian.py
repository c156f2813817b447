"""Gaussians and all their derivatives by closed formulas, in the coordinates and in their own parameters.

    G_i(x) = exp(−½ (x − μ_i)ᵀ P_i (x − μ_i)),   P_i = Σ_i⁻¹,   y = P_i (x − μ_i)

    D^{α+e_k} G = −y_k D^α G − Σ_j α_j P_jk D^{α−e_j} G                     one order after the other
    ∂(D^α G)/∂x_k = D^{α+e_k} G,        ∂(D^α G)/∂μ_k = −D^{α+e_k} G
    ∂(D^α G)/∂log s_k = D^α G + s_k² D^{α+2e_k} G                           Σ = diag s²
    ∂(D^α G)/∂Σ_jk = ½ (D^{α+e_j+e_k} G + P_jk D^α G)                       any Σ, its entries taken one by one

so that nothing is ever differentiated through an exponential: a reverse pass, a second one and the Jacobian of
residuals are the same streams of higher order.

Source: our notes, A3; the recursion is that of Hermite polynomials in several variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .indices import IndexSet, MultiIndex
from .tape import Contribution

CACHED = 2**17           # numbers of a table of points by Gaussians that are worked on at a time


def _raised(alpha: MultiIndex, *axes: int) -> MultiIndex:
    """α with some of its entries raised by one."""
    found = list(alpha)
    for axis in axes:
        found[axis] += 1
    return tuple(found)


def extended(indices: IndexSet, order: int) -> IndexSet:
    """The closed set with all α + β, |β| ≤ order, for Σ; with diagonal shapes it holds more than is needed."""
    found = set(indices.indices)
    for _ in range(order):
        found |= {_raised(alpha, k) for alpha in found for k in range(indices.dimension)}
    return IndexSet.closure(found, indices.dimension)


def streams(X: Tensor, centres: Tensor, shape: Tensor, indices: IndexSet) -> Tensor:
    """D^α G_i(x_n) for a closed set of α, shape (S, N, M).

    Args:
        X: Points, shape (N, D).
        centres: μ, shape (M, D).
        shape: log s, shape (M, D), or Σ, shape (M, D, D).
        indices: The set.
    """
    if torch.compiler.is_compiling():
        return _diagonal(X, centres, shape, indices) if shape.ndim == 2 else _full(X, centres, shape, indices)
    return _Streams.apply(X, centres, shape, indices)


def _diagonal(X: Tensor, centres: Tensor, log_scales: Tensor, indices: IndexSet) -> Tensor:
    """Products of factors along the axes: h_{a+1} = −y h_a − a p h_{a−1}, D^α G = G Π_k h_{α_k}."""
    inverse = torch.exp(-2 * log_scales)
    tables: list[list[Tensor | None]] = []
    q: Tensor | None = None
    for k in range(X.shape[1]):
        delta = X[:, k, None] - centres[:, k]
        p = inverse[:, k]
        y = delta * p
        q = delta * y if q is None else torch.addcmul(q, delta, y)
        factors: list[Tensor | None] = [None]
        for a in range(max(alpha[k] for alpha in indices.indices)):
            last, before = factors[a], factors[a - 1] if a else None
            term = -y if last is None else -y * last
            if a:
                term = term - a * p if before is None else torch.addcmul(term, before, p, value=-a)
            factors.append(term)
        tables.append(factors)
    assert q is not None
    G = torch.exp(-0.5 * q)
    found = []
    for alpha in indices.indices:
        total = G
        for k, a in enumerate(alpha):
            factor = tables[k][a]
            if factor is not None:
                total = total * factor
        found.append(total)
    return torch.stack(found)


def _full(X: Tensor, centres: Tensor, covariance: Tensor, indices: IndexSet) -> Tensor:
    """The recursion of the module docstring."""
    P = torch.linalg.inv(covariance)
    delta = X[:, None, :] - centres
    y = torch.einsum("nmk,mkj->jnm", delta, P)
    found: dict[MultiIndex, Tensor] = {}
    for alpha in indices.indices:
        if not any(alpha):
            found[alpha] = torch.exp(-0.5 * torch.einsum("nmk,knm->nm", delta, y))
            continue
        k = next(i for i, a in enumerate(alpha) if a)
        lower = tuple(a - (i == k) for i, a in enumerate(alpha))
        total = -y[k] * found[lower]
        for j, a in enumerate(lower):
            if a:
                total = total - a * P[:, j, k] * found[tuple(b - (i == j) for i, b in enumerate(lower))]
        found[alpha] = total
    return torch.stack([found[alpha] for alpha in indices.indices])


def _of_shape(more: Tensor, indices: IndexSet, wide: IndexSet, shape: Tensor, i: int) -> Iterator[Tensor]:
    """∂(D^α G)/∂log s_k by k, or ∂(D^α G)/∂Σ_jk by j and k, each (N, M), for the i-th α, from the wider streams."""
    alpha, D = indices.indices[i], indices.dimension
    here = more[wide.position(alpha)]
    if shape.ndim == 2:
        for k in range(D):
            yield torch.addcmul(here, torch.exp(2 * shape[:, k]), more[wide.position(_raised(alpha, k, k))])
        return
    P = torch.linalg.inv(shape)
    for j in range(D):
        for k in range(D):
            yield 0.5 * (more[wide.position(_raised(alpha, j, k))] + P[:, j, k] * here)


class _Streams(torch.autograd.Function):
    """`streams`; its reverse pass is made of streams too, and so differentiable to any order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(X, centres, shape, indices):
        return _diagonal(X, centres, shape, indices) if shape.ndim == 2 else _full(X, centres, shape, indices)

    @staticmethod
    def setup_context(ctx, inputs, output):
        X, centres, shape, ctx.indices = inputs
        ctx.save_for_backward(X, centres, shape)

    @staticmethod
    def backward(ctx, adjoint):
        X, centres, shape = ctx.saved_tensors
        indices, D = ctx.indices, ctx.indices.dimension
        need_x, need_mu, need_shape = ctx.needs_input_grad[:3]
        wide = extended(indices, 2 if need_shape else 1)
        more = streams(X, centres, shape, wide)
        first = [torch.stack([adjoint[i] * more[wide.position(_raised(alpha, k))]
                              for i, alpha in enumerate(indices.indices)]).sum(0)
                 for k in range(D)] if need_x or need_mu else []
        of_x = torch.stack([f.sum(1) for f in first], dim=1) if need_x else None
        of_mu = torch.stack([-f.sum(0) for f in first], dim=1) if need_mu else None
        of_shape = None
        if need_shape:
            totals: list[Tensor] = []
            for i in range(len(indices)):
                parts = [(adjoint[i] * part).sum(0) for part in _of_shape(more, indices, wide, shape, i)]
                totals = parts if not totals else [t + p for t, p in zip(totals, parts, strict=True)]
            of_shape = torch.stack(totals, dim=1).reshape(shape.shape)
        return of_x, of_mu, of_shape, None


def sums(X: Tensor, centres: Tensor, shape: Tensor, amplitudes: Tensor, indices: IndexSet) -> Tensor:
    """Σ_i a_ci D^α G_i(x_n), shape (S, N, C), without keeping the streams of single Gaussians.

    Args:
        X, centres, shape, indices: As in `streams`.
        amplitudes: a, shape (C, M).
    """
    if torch.compiler.is_compiling():
        return streams(X, centres, shape, indices) @ amplitudes.t()
    return _Sums.apply(X, centres, shape, amplitudes, indices)


def _pieces(N: int, M: int) -> Iterator[slice]:
    """Rows of points whose tables with all Gaussians stay in a core's cache."""
    size = max(CACHED // M, 1)
    for start in range(0, N, size):
        yield slice(start, min(start + size, N))


class _Sums(torch.autograd.Function):
    """`sums`: piece by piece; the reverse pass makes the streams again instead of keeping them."""

    @staticmethod
    def forward(ctx, X, centres, shape, amplitudes, indices):
        ctx.indices = indices
        ctx.save_for_backward(X, centres, shape, amplitudes)
        evaluate = _diagonal if shape.ndim == 2 else _full
        A = amplitudes.t()
        out = X.new_empty(len(indices), X.shape[0], A.shape[1])
        for rows in _pieces(len(X), len(centres)):
            out[:, rows] = evaluate(X[rows], centres, shape, indices) @ A
        return out

    @staticmethod
    def backward(ctx, adjoint):
        saved = ctx.saved_tensors
        needs = ctx.needs_input_grad[:4]
        if torch.is_grad_enabled():                       # another derivative may follow: by the differentiable way
            X, centres, shape, amplitudes = given = [t if n else t.detach() for t, n in zip(saved, needs, strict=True)]
            out = streams(X, centres, shape, ctx.indices) @ amplitudes.t()
            wanted = [t for t, n in zip(given, needs, strict=True) if n]
            found = iter(torch.autograd.grad(out, wanted, adjoint, create_graph=True))
            return *(next(found) if n else None for n in needs), None
        X, centres, shape, amplitudes = saved
        totals = [torch.zeros_like(t) for t in saved]
        for rows in _pieces(len(X), len(centres)):
            a = adjoint[:, rows]
            with torch.enable_grad():
                piece = [t.detach().requires_grad_(n) for t, n in zip((X[rows], centres, shape), needs, strict=False)]
                G = streams(piece[0], piece[1], piece[2], ctx.indices)
            if any(needs[:3]):
                found = iter(torch.autograd.grad(G, [t for t in piece if t.requires_grad], a @ amplitudes))
                for i in range(3):
                    if needs[i]:
                        (totals[i][rows] if i == 0 else totals[i]).add_(next(found))
            if needs[3]:
                totals[3] += torch.einsum("snc,snm->cm", a, G.detach())
        return *(t if n else None for t, n in zip(totals, needs, strict=True)), None


@dataclass
class GaussianRecord:
    """Streams of Gaussians at points, with the tensors that centres and shapes were given as."""

    X: Tensor
    centres: Tensor
    shape: Tensor
    indices: IndexSet
    target: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """μ, and log s or Σ, where they are trained."""
        return tuple(t for t in (self.centres, self.shape) if t.requires_grad)

    @torch.no_grad()
    def contributions(self, adjoint: Tensor) -> Iterator[Contribution]:
        """Of μ and of log s or Σ: columns (N, M, …)."""
        moved, shaped = self.centres.requires_grad, self.shape.requires_grad
        if not (moved or shaped):
            return
        shape, indices = self.shape.detach(), self.indices
        wide = extended(indices, 2 if shaped else 1)
        more = streams(self.X.detach(), self.centres.detach(), shape, wide)
        if moved:
            first = [torch.stack([adjoint[i] * more[wide.position(_raised(alpha, k))]
                                  for i, alpha in enumerate(indices.indices)]).sum(0)
                     for k in range(indices.dimension)]
            yield Contribution(self.centres, -torch.stack(first, dim=-1), adjoint, None)
        if shaped:
            totals: list[Tensor] = []
            for i in range(len(indices)):
                parts = [adjoint[i] * part for part in _of_shape(more, indices, wide, shape, i)]
                totals = parts if not totals else [t + p for t, p in zip(totals, parts, strict=True)]
            columns = torch.stack(totals, dim=-1)
            yield Contribution(self.shape, columns.reshape(*columns.shape[:2], *shape.shape[1:]), adjoint, None)
