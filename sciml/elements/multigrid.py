"""Algebraic multigrid by smoothed aggregation: a preconditioner whose cost per digit hardly grows with the mesh.

    P = (I − ω D⁻¹ A) T,   A_coarse = Pᵀ A P

T is constant on aggregates of nodes (one function per component for vectors); the levels are built on the CPU, once,
and the cycle runs on the device of the matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from .iterate import Linear, cg
from .sparse import Factor, Sparse, Structure, product, solve

COARSE = 1500         # unknowns that are solved for by factors
STRONG = 0.06         # |A_ij| ≥ θ √(A_ii A_jj) couples i and j
DEGREE = 2            # of the Chebyshev smoother


class _Level(NamedTuple):
    A: Linear
    down: Linear
    up: Linear
    inverse_diagonal: Tensor
    radius: float


class Multigrid:
    """r ↦ B r ≈ A⁻¹ r by one V-cycle, symmetric positive definite, as a preconditioner for `iterate.cg`.

    Args:
        A: Symmetric positive definite matrix.
        columns: Components per node, when unknown a·C + c is component c of node a.

    Source: Vaněk, Mandel and Brezina (1996), doi:10.1007/BF02238511; aggregates by independent sets of distance
    two: Bell, Dalton and Olson (2012), doi:10.1137/110838844; Chebyshev smoothing: Adams et al. (2003),
    doi:10.1016/S0021-9991(03)00194-3.
    """

    def __init__(self, A: Sparse, columns: int = 1):
        self.levels: list[_Level] = []
        device, dtype = A.values.device, A.values.dtype
        matrix = A.to_scipy()
        while matrix.shape[0] > COARSE:
            P, radius = _prolongation(matrix, columns)
            if P.shape[1] > 0.7 * matrix.shape[0]:            # nothing left to merge
                break
            put = lambda M: product(_torch(M, device))
            diagonal = torch.from_numpy(1 / matrix.diagonal()).to(device, dtype)
            self.levels.append(_Level(put(matrix), put(P.T.tocsr()), put(P), diagonal, radius))
            matrix = (P.T @ (matrix @ P)).tocsr()
        self.coarse = Factor(matrix)
        self.sizes = [level.inverse_diagonal.shape[0] for level in self.levels] + [matrix.shape[0]]

    def __call__(self, r: Tensor) -> Tensor:
        """B r, shape of r: (N,) or (N, K)."""
        return self._cycle(0, r)

    def _cycle(self, i: int, r: Tensor) -> Tensor:
        if i == len(self.levels):
            return self.coarse.solve(r)
        level = self.levels[i]
        x = _smooth(level, torch.zeros_like(r), r)
        x = x + level.up(self._cycle(i + 1, level.down(r - level.A(x))))
        return x + _smooth(level, torch.zeros_like(r), r - level.A(x))


def _smooth(level: _Level, x: Tensor, r: Tensor) -> Tensor:
    """Chebyshev's polynomial of D⁻¹A that damps the upper part of the spectrum, [ρ/10, 1.1 ρ]: x ≈ A⁻¹ r from x = 0."""
    high, low = 1.1 * level.radius, level.radius / 10
    theta, delta = (high + low) / 2, (high - low) / 2
    scale = level.inverse_diagonal if r.ndim == 1 else level.inverse_diagonal[:, None]
    d = scale * r / theta
    x, sigma = x + d, theta / delta
    rho = 1 / sigma
    for _ in range(DEGREE - 1):
        r = r - level.A(d)
        new = 1 / (2 * sigma - rho)
        d = new * rho * d + 2 * new / delta * scale * r
        x, rho = x + d, new
    return x


def _prolongation(A: csr_matrix, columns: int) -> tuple[csr_matrix, float]:
    """P, and the spectral radius of D⁻¹A."""
    N = A.shape[0]
    aggregate = _aggregates(_nodal(A, columns))
    count = int(aggregate.max()) + 1
    coarse = (aggregate[:, None] * columns + np.arange(columns)).reshape(-1)
    sizes = np.bincount(aggregate, minlength=count)[aggregate].repeat(columns)
    T = csr_matrix((1 / np.sqrt(sizes), coarse, np.arange(N + 1)), shape=(N, count * columns))
    scale = diags(1 / A.diagonal())
    x = np.cos(np.arange(N) ** 2 * 0.37)
    radius = 1.0
    for _ in range(12):                                       # the power method from below; 1.1 ρ is used for smoothing
        x = scale @ (A @ (x / np.linalg.norm(x)))
        radius = float(np.linalg.norm(x))
    return (T - (4 / 3 / radius) * (scale @ (A @ T))).tocsr(), radius


def _nodal(A: csr_matrix, columns: int) -> csr_matrix:
    """Strong couplings of nodes: |A_ij| against the diagonal, blocks of components by their norm."""
    C = A.tocoo()
    d = np.sqrt(np.abs(A.diagonal()))
    strong = np.abs(C.data) >= STRONG * d[C.row] * d[C.col]
    shape = (A.shape[0] // columns,) * 2
    pairs = (C.row[strong] // columns, C.col[strong] // columns)
    found = csr_matrix((np.ones(len(pairs[0]), dtype=np.int8), pairs), shape=shape)
    found.data[:] = 1
    return found


def _aggregates(S: csr_matrix) -> np.ndarray:
    """A number by node, (N,): nodes with the neighbours of each root; roots are an independent set of distance two."""
    rowptr, col = (torch.from_numpy(a.astype(np.int64)) for a in (S.indptr, S.indices))
    graph = Structure(rowptr, col, S.shape)
    N = S.shape[0]
    row, col = graph.row, graph.col
    # distinct ranks: those of a fixed pseudo-random permutation
    rank = torch.from_numpy(np.random.default_rng(0).permutation(N)) + 1

    def spread(v: Tensor) -> Tensor:
        return v.scatter_reduce(0, row, v[col], "amax")
    state = rank.clone()                                      # rank: open; N + rank: root; 0: covered
    while bool(((state > 0) & (state <= N)).any()):
        best = spread(spread(state))
        root = (best == state) & (state > 0) & (state <= N)
        state = torch.where(root, state + N, state)
        covered = (spread(spread(torch.where(state > N, state, 0))) > 0) & (state <= N)
        state = torch.where(covered, 0, state)
    roots = torch.where(state > N, state, 0)
    near = spread(roots)                                      # own root, or that of a neighbour
    far = spread(near)
    label = torch.where(near > 0, near, far)
    label = torch.where(label > 0, label, state + 2 * N + rank)
    return torch.unique(label, return_inverse=True)[1].numpy()


def _torch(M: csr_matrix, device: torch.device) -> Sparse:
    rowptr, col = (torch.from_numpy(a.astype(np.int64)).to(device) for a in (M.indptr, M.indices))
    return Sparse(Structure(rowptr, col, M.shape), torch.from_numpy(M.data).to(device))


def solve_by_multigrid(A: Sparse, b: Tensor, tolerance: float = 1e-10, columns: int = 1) -> Tensor:
    """x with A x = b by conjugate gradients under a V-cycle, for symmetric positive definite A; differentiable once.

    Args:
        A: The matrix.
        b: Shape (N,) or (N, K).
        tolerance: Of ‖b − A x‖ / ‖b‖.
        columns: Components per node; 1 if Dirichlet data cut nodes' components apart.
    """
    if A.shape[0] % columns:
        columns = 1
    cycle = Multigrid(A, columns)
    return _Iterated.apply(A.values, b, A, cycle, tolerance)


def solver_for(size: int, dim: int, columns: int = 1) -> Callable[[Sparse, Tensor], Tensor]:
    """How a symmetric positive definite system of elements is solved soonest: by factors, or by multigrid if large.

    Measured with one thread: 10⁵ unknowns in two dimensions take 1.9 s by factors and 1.6 s by multigrid; in three,
    24,000 take 9.7 s and 1.2 s, 97,000 by multigrid 4.7 s.

    Args:
        size: Number of unknowns.
        dim: D.
        columns: Components per node.
    """
    if size < (200_000 if dim < 3 else 8_000):
        return solve
    return lambda A, b: solve_by_multigrid(A, b, 1e-11, columns)


class _Iterated(torch.autograd.Function):
    """A⁻¹ b by iteration; the derivative by one more."""

    @staticmethod
    def forward(ctx, values: Tensor, b: Tensor, A: Sparse, cycle: Linear, tolerance: float) -> Tensor:
        x = cg(A, b, cycle, tolerance).x
        ctx.save_for_backward(x)
        ctx.A, ctx.cycle, ctx.tolerance = A, cycle, tolerance
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor):
        (x,) = ctx.saved_tensors
        adjoint = cg(ctx.A, g.contiguous(), ctx.cycle, ctx.tolerance).x
        products = adjoint[ctx.A.structure.row] * x[ctx.A.structure.col]
        return -(products if products.ndim == 1 else products.sum(1)), adjoint, None, None, None
