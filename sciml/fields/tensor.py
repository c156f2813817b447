"""Tensor products of functions of one coordinate each: fields on boxes that are linear in their coefficients.

    u_c(x) = Σ_j U[c, j₁, …, j_D] Π_d φ^d_{j_d}(x_d),      ∂^α u_c: φ^d replaced by its derivative of order α_d

A derivative of all of it is one matrix of values (N, m_d) per coordinate and order, and successive contractions with
U; no tensor of points × functions is made. Points of a grid, or of parts of one, are contracted coordinate by
coordinate. On smooth problems this is a spectral method, classical numerics, and is to be called so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..calculus.indices import IndexSet, MultiIndex
from ..calculus.jet import Jet, linear
from ..calculus.program import transformed
from ..errors import ProblemError
from .axes import Axis
from .field import Field

CELLS = 2**19              # numbers in the first contraction of a chunk of points: 4 MiB, what a cache holds
GRID = 4                   # a grid of this many times the points, or fewer, is worth being evaluated as one


class TensorField(Field):
    """u_c(x) = Σ_j U[c, j] Π_d φ^d_{j_d}(x_d).

    Args:
        axes: The functions of each of the D coordinates.
        outputs: C.
        dtype: Of the coefficients.

    Attributes:
        weight: The coefficients, shape (C, m₁ ⋯ m_D), zero at the start; the last coordinate is the fastest.

    Note:
        With a tape the features, row-wise Kronecker products of shape (S, N, m₁ ⋯ m_D), are made for the Jacobian:
        gauss-newton and varpro are for some thousand coefficients, `kronecker` for any number.
    """

    def __init__(self, axes: Sequence[Axis], outputs: int, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.axes = nn.ModuleList(axes)
        self.sizes = tuple(axis.size for axis in axes)
        self.weight = nn.Parameter(torch.zeros(outputs, prod(self.sizes), dtype=dtype))

    @property
    def head(self) -> tuple[nn.Parameter, ...]:
        """All coefficients."""
        return (self.weight,)

    @property
    def coefficients(self) -> Tensor:
        """U, shape (C, m₁, …, m_D)."""
        return self.weight.reshape(-1, *self.sizes)

    def jet(self, x: Jet) -> Jet:
        X = x.points
        if X is None:
            raise ProblemError("a tensor product reads coordinates as they are; it takes no features of them")
        if x.tape is not None:
            features = Jet(self.features(X, x.indices), x.indices, None, x.tape)
            return linear(features, self.weight)
        return Jet(self.streams(X, x.indices), x.indices)

    def factors(self, columns: Sequence[Tensor], indices: IndexSet) -> list[Tensor]:
        """Values of the axis functions and their derivatives, (order_d + 1, N_d, m_d) by coordinate."""
        orders = [max(alpha[d] for alpha in indices.indices) for d in range(len(self.sizes))]
        axes: Iterable[Any] = self.axes
        return [axis.jets(x, order) for axis, x, order in zip(axes, columns, orders, strict=True)]

    def features(self, X: Tensor, indices: IndexSet) -> Tensor:
        """∂^α Π_d φ^d at points, shape (S, N, m₁ ⋯ m_D)."""
        factors, streams = self.factors(X.unbind(1), indices), []
        for alpha in indices.indices:
            rows = factors[0][alpha[0]]
            for F, order in zip(factors[1:], alpha[1:], strict=True):
                rows = (rows[:, :, None] * F[order][:, None, :]).flatten(1)
            streams.append(rows)
        return torch.stack(streams)

    def streams(self, X: Tensor, indices: IndexSet) -> Tensor:
        """∂^α u at points, shape (S, N, C)."""
        if torch.compiler.is_compiling() or transformed() or X.requires_grad:    # numbers must not decide what is done
            return self._scattered(X, indices)
        if not torch.is_grad_enabled() and not bool(self.weight.any()):
            return X.new_zeros(len(indices), len(X), len(self.weight))
        found = [torch.unique(column, return_inverse=True) for column in X.detach().unbind(1)]
        ticks, places = [f[0] for f in found], [f[1] for f in found]
        if prod(len(t) for t in ticks) <= GRID * len(X):
            index = places[0]
            for t, place in zip(ticks[1:], places[1:], strict=True):
                index = index * len(t) + place
            return torch.stack([v.flatten(1).index_select(1, index).T for v in self.on_grid(ticks, indices)])
        size = max(CELLS // max(self.weight.numel() // self.sizes[0], 1), 16)
        return torch.cat([self._scattered(X[i:i + size], indices) for i in range(0, len(X), size)], dim=1)

    def on_grid(self, ticks: Sequence[Tensor], indices: IndexSet) -> list[Tensor]:
        """∂^α u on the grid of ticks (N_d,) by coordinate, each of shape (C, N₁, …, N_D)."""
        factors = self.factors(ticks, indices)
        partial: dict[MultiIndex, Tensor] = {(): self.coefficients}
        for d, F in enumerate(factors):
            heads = dict.fromkeys(alpha[:d + 1] for alpha in indices.indices)
            partial = {a: torch.tensordot(partial[a[:d]], F[a[d]], dims=([1], [1])) for a in heads}
        return [partial[alpha] for alpha in indices.indices]

    def _scattered(self, X: Tensor, indices: IndexSet) -> Tensor:
        """∂^α u at points that lie on no grid, shape (S, N, C)."""
        factors = self.factors(X.unbind(1), indices)
        C, N = len(self.weight), len(X)
        U = self.coefficients.movedim(0, -1).reshape(self.sizes[0], -1)
        partial = {a: factors[0][a[0]] @ U for a in dict.fromkeys(alpha[:1] for alpha in indices.indices)}
        for d, F in enumerate(factors[1:], start=1):
            heads = dict.fromkeys(alpha[:d + 1] for alpha in indices.indices)
            partial = {a: torch.bmm(F[a[d]][:, None], partial[a[:d]].reshape(N, self.sizes[d], -1))[:, 0]
                       for a in heads}
        return torch.stack([partial[alpha].reshape(N, C) for alpha in indices.indices])
