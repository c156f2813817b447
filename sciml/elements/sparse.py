"""Sparse matrices in compressed rows, differentiable in their values, and direct solves with adjoints.

    y_i = Σ_j A_ij x_j,   x = A⁻¹ b,   b̄ = A⁻ᵀ x̄,   Ā_ij = −b̄_i x_j   on the pattern of A

A `Structure` says where entries are and is shared by all matrices of one pattern, so that what depends on positions
alone (rows, the transpose, blocks) is found once. Values carry torch's graph; the derivative of a product or a solve
is made of products and solves again, so that higher derivatives exist too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from ..errors import ProblemError, TrainingError


@dataclass(frozen=True, eq=False)
class Structure:
    """Positions of the entries of sparse matrices.

    Args:
        rowptr: Where each row's entries begin, shape (R + 1,).
        col: Column of each entry, increasing within a row, shape (nnz,).
        shape: (R, C).
    """

    rowptr: Tensor
    col: Tensor
    shape: tuple[int, int]

    @cached_property
    def row(self) -> Tensor:
        """Row of each entry, shape (nnz,)."""
        counts = self.rowptr.diff()
        return torch.arange(self.shape[0], device=self.col.device).repeat_interleave(counts)

    @cached_property
    def transposed(self) -> tuple[Structure, Tensor]:
        """The structure of Aᵀ, and the entry of A at each of its entries."""
        order = torch.argsort(self.col, stable=True)
        counts = torch.bincount(self.col, minlength=self.shape[1])
        return Structure(_pointers(counts), self.row[order], (self.shape[1], self.shape[0])), order

    @cached_property
    def diagonal(self) -> Tensor:
        """Entries on the diagonal, shape (R,).

        Raises:
            ProblemError: Some row has none.
        """
        here = (self.row == self.col).nonzero()[:, 0]
        if len(here) != self.shape[0]:
            raise ProblemError(f"the matrix has {len(here)} entries on its diagonal of {self.shape[0]}; "
                               "expected a square matrix with all of them")
        return here

    def block(self, rows: Tensor, cols: Tensor) -> tuple[Structure, Tensor]:
        """The structure of A[rows][:, cols], numbers increasing, and the entry of A at each of its entries."""
        R, C = (torch.full((n,), -1, device=self.col.device) for n in self.shape)
        R[rows] = torch.arange(len(rows), device=self.col.device)
        C[cols] = torch.arange(len(cols), device=self.col.device)
        kept = ((R[self.row] >= 0) & (C[self.col] >= 0)).nonzero()[:, 0]
        counts = torch.bincount(R[self.row[kept]], minlength=len(rows))
        return Structure(_pointers(counts), C[self.col[kept]], (len(rows), len(cols))), kept


def _pointers(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


@dataclass(frozen=True, eq=False)
class Sparse:
    """A sparse matrix: `A @ x`, `A.T`, `A + B`, `2.0 * A`.

    Args:
        structure: Where its entries are.
        values: The entries, shape (nnz,).
    """

    structure: Structure
    values: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.structure.shape

    def __repr__(self) -> str:
        return f"Sparse {self.shape[0]:,} × {self.shape[1]:,} with {len(self.values):,} entries"

    def __matmul__(self, x: Tensor) -> Tensor:
        """A x for x of shape (C,) or (C, K)."""
        if x.shape[0] != self.shape[1]:
            raise ProblemError(f"a matrix of shape {self.shape} times a tensor of shape {tuple(x.shape)}; "
                               f"expected ({self.shape[1]},) or ({self.shape[1]}, K)")
        return _Product.apply(self.values, x, self.structure)

    def __add__(self, other: Sparse) -> Sparse:
        if other.structure is not self.structure:
            same = self.shape == other.shape and torch.equal(self.structure.col, other.structure.col)
            if not same or not torch.equal(self.structure.rowptr, other.structure.rowptr):
                raise ProblemError(f"{self} and {other} have entries in different places; "
                                   "add matrices of one space, assembled by one pattern")
        return Sparse(self.structure, self.values + other.values)

    def __mul__(self, factor: float | Tensor) -> Sparse:
        return Sparse(self.structure, self.values * factor)

    __rmul__ = __mul__

    @property
    def T(self) -> Sparse:
        """Aᵀ."""
        structure, order = self.structure.transposed
        return Sparse(structure, self.values[order])

    def diagonal(self) -> Tensor:
        """A_ii, shape (R,)."""
        return self.values[self.structure.diagonal]

    def block(self, rows: Tensor, cols: Tensor) -> Sparse:
        """A[rows][:, cols] for increasing numbers."""
        structure, kept = self.structure.block(rows, cols)
        return Sparse(structure, self.values[kept])

    def to_scipy(self) -> csr_matrix:
        """The same matrix in scipy, without a copy where it is on the CPU already."""
        values, col, rowptr = (t.detach().cpu().numpy() for t in (self.values, self.structure.col,
                                                                  self.structure.rowptr))
        return csr_matrix((values, col, rowptr), shape=self.shape)

    @cached_property
    def factor(self) -> Factor:
        """LU factors, found once."""
        return Factor(self.to_scipy())


class Factor:
    """P_r A P_c = L U by SuperLU.

    Columns are ordered by minimum degree on A + Aᵀ, and the diagonal is the pivot unless it is small against its
    column: fill as in a Cholesky factorisation, also for saddle points (flow in 8,000 unknowns: 0.2 s and 1.0 million
    entries; 1.5 s and 4.4 million with columns ordered by AᵀA and full pivots). Where that loses accuracy, the latter.

    Args:
        A: Square matrix.

    Raises:
        TrainingError: It is singular.

    Source: Li (2005), doi:10.1145/1089014.1089017.
    """

    def __init__(self, A: csr_matrix):
        self.shape = A.shape
        columns = csc_matrix(A)
        columns.indices, columns.indptr = columns.indices.astype(np.int32), columns.indptr.astype(np.int32)
        b = np.cos(np.arange(A.shape[0]) ** 2 * 0.37)
        options = dict(permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=1e-2, options={"SymmetricMode": True})
        for choice in (options, {}):
            try:
                self.lu: SuperLU = splu(columns, **choice)
            except RuntimeError as error:
                if choice:
                    continue
                raise _singular(A.shape[0], str(error)) from error
            x = self.lu.solve(b)
            size = float(abs(A.data).max()) * float(np.linalg.norm(x))
            if np.linalg.norm(columns @ x - b) <= 1e-12 * (size + float(np.linalg.norm(b))):
                break
        # Rounding hides zero pivots; then the solution of any right-hand side is as large as 1/rounding.
        grown = size / float(np.linalg.norm(b))
        if not grown < 1e14:
            raise _singular(A.shape[0], f"their condition number is above {grown:.0e}")

    def solve(self, b: Tensor, transposed: bool = False) -> Tensor:
        """A⁻¹ b or A⁻ᵀ b for b of shape (N,) or (N, K)."""
        found = self.lu.solve(np.ascontiguousarray(b.detach().cpu().numpy()), "T" if transposed else "N")
        return torch.from_numpy(found).to(b)


def _singular(size: int, reason: str) -> TrainingError:
    return TrainingError(f"the {size:,} equations of the elements are singular ({reason}); is some unknown, or a rigid "
                         "motion, left without Dirichlet data?")


def solve(A: Sparse, b: Tensor) -> Tensor:
    """x with A x = b by LU factors, differentiable in the values of A and in b, any number of times.

    Args:
        A: Square matrix; its factors are kept for further right-hand sides.
        b: Shape (N,) or (N, K).

    Returns:
        Shape of b.

    Raises:
        ProblemError: Shapes do not fit.
        TrainingError: A is singular.
    """
    if A.shape[0] != A.shape[1] or b.shape[0] != A.shape[0]:
        raise ProblemError(f"a system with a matrix of shape {A.shape} and a right-hand side of shape "
                           f"{tuple(b.shape)}; expected a square matrix and ({A.shape[0]},) or ({A.shape[0]}, K)")
    return _Solve.apply(A.values, b, A, False)


def product(A: Sparse) -> Callable[[Tensor], Tensor]:
    """x ↦ A x without a graph, for iterations."""
    if A.values.device.type == "cpu":
        S = A.to_scipy()
        return lambda x: torch.from_numpy(S @ x.detach().numpy()).to(x)
    C = torch.sparse_csr_tensor(A.structure.rowptr, A.structure.col, A.values.detach(), A.shape)
    return lambda x: C @ x


class _Product(torch.autograd.Function):
    """A x, with derivatives in the values of A and in x."""

    @staticmethod
    def forward(ctx, values: Tensor, x: Tensor, structure: Structure) -> Tensor:
        ctx.save_for_backward(values, x)
        ctx.structure = structure
        return product(Sparse(structure, values))(x)

    @staticmethod
    def backward(ctx, g: Tensor):
        values, x = ctx.saved_tensors
        A = Sparse(ctx.structure, values)
        return (_outer(g, x, ctx.structure) if ctx.needs_input_grad[0] else None,
                A.T @ g if ctx.needs_input_grad[1] else None, None)


class _Solve(torch.autograd.Function):
    """A⁻¹ b or A⁻ᵀ b; the factors of A serve both, and the derivative."""

    @staticmethod
    def forward(ctx, values: Tensor, b: Tensor, A: Sparse, transposed: bool) -> Tensor:
        x = A.factor.solve(b, transposed)
        ctx.save_for_backward(values, x)
        ctx.A, ctx.transposed = A, transposed
        return x

    @staticmethod
    def backward(ctx, g: Tensor):
        values, x = ctx.saved_tensors
        adjoint = _Solve.apply(values, g, ctx.A, not ctx.transposed)
        grad = None
        if ctx.needs_input_grad[0]:
            pair = (x, adjoint) if ctx.transposed else (adjoint, x)
            grad = -_outer(*pair, ctx.A.structure)
        return grad, adjoint if ctx.needs_input_grad[1] else None, None, None


def _outer(left: Tensor, right: Tensor, structure: Structure) -> Tensor:
    """left_i right_j at the entries, summed over columns of right-hand sides."""
    found = left[structure.row] * right[structure.col]
    return found.sum(1) if found.ndim > 1 else found
