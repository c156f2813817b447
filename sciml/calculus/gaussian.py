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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .indices import IndexSet, MultiIndex
from .tape import Contribution

FARTHEST = {torch.float64: 900.0, torch.float32: 110.0}        # q beyond which e^{−q/2}, some 1e-24, stands still
CACHED = 2**17           # numbers of a table of points by Gaussians that are worked on at a time


def raised(alpha: MultiIndex, *axes: int) -> MultiIndex:
    """α with some of its entries raised by one."""
    found = list(alpha)
    for axis in axes:
        found[axis] += 1
    return tuple(found)


def extended(indices: IndexSet, order: int) -> IndexSet:
    """The closed set with all α + β, |β| ≤ order, for Σ; with diagonal shapes it holds more than is needed."""
    found = set(indices.indices)
    for _ in range(order):
        found |= {raised(alpha, k) for alpha in found for k in range(indices.dimension)}
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
    G = torch.exp(-0.5 * q.clamp(max=FARTHEST[X.dtype]))
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
    delta = [X[:, k, None] - centres[:, k] for k in range(X.shape[1])]
    y = [sum(d * P[:, j, k] for j, d in enumerate(delta)) for k in range(len(delta))]
    found: dict[MultiIndex, Tensor] = {}
    for alpha in indices.indices:
        if not any(alpha):
            found[alpha] = torch.exp(-0.5 * sum(d * z for d, z in zip(delta, y, strict=True)))
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
            yield torch.addcmul(here, torch.exp(2 * shape[:, k]), more[wide.position(raised(alpha, k, k))])
        return
    P = torch.linalg.inv(shape)
    for j in range(D):
        for k in range(D):
            yield 0.5 * (more[wide.position(raised(alpha, j, k))] + P[:, j, k] * here)


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
        first = [torch.stack([adjoint[i] * more[wide.position(raised(alpha, k))]
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
        A = amplitudes.t()
        out = X.new_empty(len(indices), X.shape[0], A.shape[1])
        for rows in _pieces(len(X), len(centres)):
            for i, stream in enumerate(_each(X[rows], centres, shape, indices)):
                torch.mm(stream, A, out=out[i, rows])
        return out

    @staticmethod
    def backward(ctx, adjoint):
        needs, indices = ctx.needs_input_grad[:4], ctx.indices
        if torch.is_grad_enabled() or needs[0]:           # another derivative may follow: by the differentiable way
            with torch.enable_grad():
                given = [t.detach().requires_grad_(n) if not torch.is_grad_enabled() or not n else t
                         for t, n in zip(ctx.saved_tensors, needs, strict=True)]
                out = streams(given[0], given[1], given[2], indices) @ given[3].t()
            wanted = [t for t, n in zip(given, needs, strict=True) if n]
            found = iter(torch.autograd.grad(out, wanted, adjoint, create_graph=torch.is_grad_enabled()))
            return *(next(found) if n else None for n in needs), None
        X, centres, shape, amplitudes = ctx.saved_tensors
        reverse = _reverse_diagonal if shape.ndim == 2 else _reverse_full
        totals = [torch.zeros_like(t) for t in (centres, shape, amplitudes)]
        for rows in _pieces(len(X), len(centres)):
            for total, part in zip(totals, reverse(X[rows], centres, shape, amplitudes, indices, adjoint[:, rows]),
                                   strict=True):
                total += part
        return None, *(t if n else None for t, n in zip(totals, needs[1:], strict=True)), None


def _each(X: Tensor, centres: Tensor, shape: Tensor, indices: IndexSet) -> Sequence[Tensor]:
    """The streams one by one, each (N, M), without a graph."""
    if shape.ndim == 3:
        return _full(X, centres, shape, indices).unbind()
    inverse, D = torch.exp(-2 * shape), X.shape[1]
    tables: list[list[Tensor]] = []
    q = X.new_zeros(len(X), len(centres))
    for k in range(X.shape[1]):
        y = X[:, k, None] - centres[:, k]
        p = inverse[:, k]
        q.addcmul_(y, y * p)
        y.mul_(-p)                                          # h_1 = −y, h_{a+1} = h_1 h_a − a p h_{a−1}
        factors = [y]
        for a in range(1, max(alpha[k] for alpha in indices.indices)):
            factors.append(y * y - p if a == 1 else torch.addcmul(y * factors[-1], factors[-2], p, value=-a))
        tables.append(factors)
    G = q.clamp_(max=FARTHEST[X.dtype]).mul_(-0.5).exp_()              # subnormal numbers would slow a core tenfold
    made: dict[MultiIndex, Tensor] = {}
    for alpha in indices.indices:
        last = next((i for i in reversed(range(len(alpha))) if alpha[i]), None)
        made[alpha] = G if last is None else made[alpha[:last] + (0,) * (D - last)] * tables[last][alpha[last] - 1]
    return list(made.values())


def _reverse_diagonal(X: Tensor, centres: Tensor, log_scales: Tensor, amplitudes: Tensor, indices: IndexSet,
                      adjoint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of Σ g_α,nc a_ci D^α G_i(x_n) in μ, log s and a, from moments of the streams.

    With V = Σ_α g_α D^α G and V_k = Σ_α α_k g_α D^{α−e_k} G the sums over points are

        in μ_k:   Σ y_k V + p_k V_k              in log s_k:   s_k² Σ (y_k² V + p_k y_k V_k) − Σ α_k g_α D^α G

    and y_k = p_k (x_k − μ_k) makes them the moments 1, x_k, x_k² of V and 1, x_k of V_k, a matrix product each.
    """
    D, C = X.shape[1], amplitudes.shape[0]
    middle = X.mean(0)
    x, mu = X - middle, centres - middle
    made = dict(zip(indices.indices, _each(X, centres, log_scales, indices), strict=True))
    powers = torch.cat([torch.ones_like(x[:, :1]), x, x * x], dim=1)               # (N, 1 + 2 D)
    M = len(centres)
    V = X.new_zeros(1 + 2 * D, C, M)
    lower, counted = X.new_zeros(D, 2, C, M), X.new_zeros(D, C, M)
    of_a = torch.zeros_like(amplitudes)
    for alpha, g in zip(indices.indices, adjoint, strict=True):
        if g.device.type == "cpu" and not bool(g.any()):
            continue
        moments = ((powers[:, :, None] * g[:, None]).flatten(1).t() @ made[alpha]).unflatten(0, (-1, C))
        V += moments
        of_a += moments[0]
        for k, a in enumerate(alpha):
            if a:
                counted[k] += a * moments[0]
                below = made[tuple(b - (i == k) for i, b in enumerate(alpha))]
                weights = torch.stack([a * g, a * g * x[:, k, None]], dim=1).flatten(1)
                lower[k] += (weights.t() @ below).unflatten(0, (2, C))
    V, lower = (V * amplitudes).sum(1), (lower * amplitudes).sum(2)
    counted = (counted * amplitudes).sum(1)
    p = torch.exp(-2 * log_scales).t()
    m = mu.t()
    first, second = V[1:1 + D] - m * V[0], V[1 + D:] - 2 * m * V[1:1 + D] + m * m * V[0]
    of_mu = p * (first + lower[:, 0])
    of_log = p * (second + lower[:, 1] - m * lower[:, 0]) - counted
    return of_mu.t(), of_log.t(), of_a


def _reverse_full(X: Tensor, centres: Tensor, covariance: Tensor, amplitudes: Tensor, indices: IndexSet,
                  adjoint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in μ, Σ and a, through `streams`."""
    with torch.enable_grad():
        mu, Sigma = centres.detach().requires_grad_(), covariance.detach().requires_grad_()
        G = streams(X, mu, Sigma, indices)
    of_mu, of_sigma = torch.autograd.grad(G, (mu, Sigma), adjoint @ amplitudes)
    return of_mu, of_sigma, torch.einsum("snc,snm->cm", adjoint, G.detach())


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
            first = [torch.stack([adjoint[i] * more[wide.position(raised(alpha, k))]
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
