"""Weak residuals as linear functionals of pointwise values.

    r_i = s_i Σ_q w_q [ Σ_α f_α(x_q) ∂^α φ_i(x_q) + Σ_Γ g_Γ(x_q) φ_i(x_q) ],   s_i² = R / (m_i |Ω|)

The form ∫ F(u, v) is linear in v, so that its values on all test functions φ_i are a sparse matrix times the values of
its coefficients f_α at quadrature points. With m_i the share of the volume that belongs to φ_i, the mean of the squares
of the R rows is Σ r_i² / (m_i |Ω|): the mean square of the strong residual, projected on the space.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .space import Elements, Space

Term = tuple[str | None, tuple[int, ...]]
"""Where a coefficient acts (None: inside; else a surface group) and on which derivative of the test function."""


class Places(NamedTuple):
    """Quadrature points of some functionals: inside, then group by group.

    Args:
        X: Shape (N, D).
        weights: Shape (N,).
        normals: Outward unit normals, zero inside, shape (N, D).
        parts: Elements and where they are, in the order of the points.
        groups, degree: What they were made of.
    """

    X: Tensor
    weights: Tensor
    normals: Tensor
    parts: tuple[tuple[str | None, Elements], ...]
    groups: tuple[str, ...]
    degree: int


def places(space: Space, groups: Sequence[str], degree: int) -> Places:
    """Where the forms of a condition are evaluated.

    Args:
        space: Of test functions.
        groups: Surface groups with forms of their own.
        degree: Of the quadrature.
    """
    parts: list[tuple[str | None, Elements]] = [(None, e) for e in space.cells(degree)]
    for name in groups:
        parts += [(name, e) for e in space.facets(degree, name)]
    D = space.complex.X.shape[1]
    flat = lambda a: a.reshape(-1, D)
    normals = [torch.zeros_like(flat(e.x)) if e.normals is None else flat(e.normals) for _, e in parts]
    return Places(torch.cat([flat(e.x) for _, e in parts]), torch.cat([e.weights.reshape(-1) for _, e in parts]),
                  torch.cat(normals), tuple(parts), tuple(groups), degree)


class Functionals:
    """Rows r (R,) of values f (N, K) at quadrature points, r = T f.

    Args:
        space: Of test functions.
        where: Quadrature points.
        terms: What each of the K components is multiplied with.
        free: Numbers of the test functions that count, shape (S,).
        unknown: The unknown that the test functions belong to.
        shares: Where the forms hold at M instants (or values of parameters), one after the other: their shares, shape
            (M,), of sum M. Then R = M S and N is M times the points of one instant. None: no other coordinates.
    """

    def __init__(self, space: Space, where: Places, terms: Sequence[Term], free: Tensor, unknown: str = "",
                 shares: Tensor | None = None):
        self.space, self.where, self.free, self.unknown = space, where, free, unknown
        M = 1 if shares is None else len(shares)
        self.instants = None if shares is None else M
        self.shape = len(free), len(where.X), len(terms)
        volumes = lumped(space)
        self.scale = (len(free) / (volumes[free] * volumes.sum())).sqrt()
        position = np.full(space.size, -1)
        position[free.numpy()] = np.arange(len(free))
        self.matrix = self._assemble(where, terms, position)
        if shares is not None:
            self.matrix = sparse.kron(sparse.diags(shares.sqrt().numpy()), self.matrix, format="csr")
        self.shape = M * len(free), M * len(where.X), len(terms)
        self._copies: dict[tuple, tuple[Tensor, Tensor]] = {}
        self._parts: dict[tuple, Tensor] = {}

    def _assemble(self, where: Places, terms: Sequence[Term], position: np.ndarray) -> sparse.csr_matrix:
        rows, columns, values, start = [], [], [], 0
        K = len(terms)
        for name, e in where.parts:
            E, Q = e.weights.shape
            k = e.dofs.shape[1]
            points = (start + np.arange(E * Q)).reshape(E, Q, 1)
            start += E * Q
            dofs = position[e.dofs.numpy()].reshape(E, 1, k)
            for c, (group, alpha) in enumerate(terms):
                if group != name:
                    continue
                found = e.weights[..., None] * _derivative(e, alpha)
                keep = np.broadcast_to(dofs >= 0, (E, Q, k)).reshape(-1)
                rows.append(np.broadcast_to(dofs, (E, Q, k)).reshape(-1)[keep])
                columns.append(np.broadcast_to(points * K + c, (E, Q, k)).reshape(-1)[keep])
                values.append(found.numpy().reshape(-1)[keep])
        R, N, _ = self.shape
        join = lambda parts: np.concatenate(parts) if parts else np.zeros(0, dtype=int)
        T = sparse.coo_matrix((join(values), (join(rows), join(columns))), shape=(R, N * K)).tocsr()
        return sparse.diags(self.scale.numpy()) @ T

    @cached_property
    def _by_column(self) -> sparse.csc_matrix:
        """T stored for being cut into columns."""
        return self.matrix.tocsc()

    def on(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """T and its transpose as sparse tensors on a device; copied there the first time only."""
        key = device, dtype
        if key not in self._copies:
            self._copies[key] = (_csr(self.matrix, device, dtype), _csr(self.matrix.T.tocsr(), device, dtype))
        return self._copies[key]

    def __call__(self, f: Tensor) -> Tensor:
        """T f, shape (R, …) from (N, K, …); differentiable."""
        T, transposed = self.on(f.device, f.dtype)
        flat = f.reshape(f.shape[0] * f.shape[1], -1)
        return _Product.apply(flat, T, transposed).reshape(self.shape[0], *f.shape[2:])

    def part(self, f: Tensor, start: int) -> Tensor:
        """What the points from `start` on add to the rows, without graph: of f (n, K, …), shape (R, …)."""
        K = self.shape[2]
        key = start, len(f), f.device, f.dtype
        if key not in self._parts:                            # the same pieces at every step
            self._parts[key] = _csr(self._by_column[:, start * K:(start + len(f)) * K].tocsr(), f.device, f.dtype)
        T = self._parts[key]
        return (T @ f.reshape(f.shape[0] * K, -1)).reshape(self.shape[0], *f.shape[2:])


class Total:
    """∫_Ω f dx + Σ_Γ ∫_Γ g_Γ ds of values (N, K) at quadrature points: one row.

    Args:
        where: Quadrature points.
        groups: By component, where it is integrated: None inside, else a surface group.
    """

    def __init__(self, where: Places, groups: Sequence[str | None]):
        sizes = [(name, e.weights.numel()) for name, e in where.parts]
        columns = [torch.cat([torch.full((n,), float(name == group), dtype=torch.float64) for name, n in sizes])
                   for group in groups]
        self.where = where
        self.weights = where.weights[:, None] * torch.stack(columns, 1)
        self.shape = 1, len(where.X), len(groups)

    def __call__(self, f: Tensor) -> Tensor:
        """Shape (1, …) from (N, K, …)."""
        return self.part(f, 0)

    def part(self, f: Tensor, start: int) -> Tensor:
        """What the points from `start` on add."""
        w = self.weights[start:start + len(f)].to(f)
        return torch.einsum("nk,nk...->...", w, f)[None]


class _Product(torch.autograd.Function):
    """y = T x with T sparse; differentiable to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, T: Tensor, transposed: Tensor) -> Tensor:
        ctx.T, ctx.transposed = T, transposed
        return T @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Product.apply(gradients[0], ctx.transposed, ctx.T), None, None


def evaluations(space: Space, where: Places, alpha: tuple[int, ...], free: Tensor) -> sparse.csr_matrix:
    """∂^α φ_j(x_n) of some functions of a space at quadrature points, shape (N, R).

    Args:
        space: On the complex of the points; any order.
        where: Points, which may have been made for another space.
        alpha: Of order 0 or 1.
        free: Numbers of the functions, shape (R,).
    """
    position = np.full(space.size, -1)
    position[free.numpy()] = np.arange(len(free))
    own = places(space, where.groups, where.degree)
    rows, columns, values, start = [], [], [], 0
    for _, e in own.parts:
        E, Q = e.weights.shape
        k = e.dofs.shape[1]
        dofs = np.broadcast_to(position[e.dofs.numpy()].reshape(E, 1, k), (E, Q, k)).reshape(-1)
        found = np.broadcast_to(_derivative(e, alpha).numpy(), (E, Q, k)).reshape(-1)
        points = np.broadcast_to((start + np.arange(E * Q)).reshape(E, Q, 1), (E, Q, k)).reshape(-1)
        start += E * Q
        keep = dofs >= 0
        rows.append(points[keep])
        columns.append(dofs[keep])
        values.append(found[keep])
    join = np.concatenate
    return sparse.coo_matrix((join(values), (join(rows), join(columns))), shape=(len(where.X), len(free))).tocsr()


def _derivative(e: Elements, alpha: tuple[int, ...]) -> Tensor:
    """∂^α φ at quadrature points, shape (E, Q, k) or one that broadcasts to it; α of order 0 or 1."""
    return e.gradients[..., alpha.index(1)] if any(alpha) else e.values


def _csr(matrix: sparse.csr_matrix, device: torch.device, dtype: torch.dtype) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                      # torch calls its sparse rows a beta, once per process
        return torch.sparse_csr_tensor(torch.from_numpy(matrix.indptr.astype(np.int64)),
                                       torch.from_numpy(matrix.indices.astype(np.int64)),
                                       torch.from_numpy(matrix.data), size=matrix.shape).to(device, dtype)


def lumped(space: Space) -> Tensor:
    """Share of the volume that belongs to each coefficient, shape (V,), all positive: Σ m = |Ω|.

    The diagonal of the mass matrix, scaled in each cell to the cell's volume (Hinton, Rock and Zienkiewicz 1976,
    doi:10.1002/eqe.4290040305); of quadratic elements, row sums would vanish.
    """
    m = torch.zeros(space.size, dtype=torch.float64)
    for e in space.cells(2 * space.order):
        diagonal = torch.einsum("eq,qa->ea", e.weights, e.values.square())
        diagonal = diagonal * (e.weights.sum(1) / diagonal.sum(1))[:, None]
        m.index_add_(0, e.dofs.reshape(-1), diagonal.reshape(-1))
    return m
