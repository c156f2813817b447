"""Least squares with a sparse Jacobian: Cholesky's factor of the normal equations, and conjugate gradients after it.

    A = J S⁻¹,  S = diag |J e_j|,        M = AᵀA + max(μ, ε) Id = L Lᵀ
    min |A x − b|² + μ |x|²              by conjugate gradients (CGLS), preconditioned by M

The normal equations square the condition of A, and ε is the least shift with which they are definite in floating
point. Conjugate gradients on A itself give back what that loses: with products of A, not of AᵀA, a few iterations
bring the solution to where QR has it as long as κ(A) is below 1e9 or so (Gaussians of an overlap up to 1.5).

Parameters are reordered by reverse Cuthill–McKee, so that L is a band, or, where that saves nothing, a full
triangle. Columns that most rows see (polynomials, unknown parameters) border the band and are eliminated last.

Source: Björck (1996), Numerical Methods for Least Squares Problems, 7.4 (preconditioned CGLS); Cuthill and McKee
(1969), doi:10.1145/800195.805928, for the order.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg, sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor

from ..calculus.sparse import SparseJacobian
from ..errors import TrainingError
from ..memory import free_memory, size_text

LEAST, MOST = 1e-15, 1e-9            # of ε
FULL = 0.5                           # share of the rows from which on a column belongs to the border
BORDER = 400                         # such columns at most; with more of them nothing is a band
ITERATIONS = 60                      # of conjugate gradients
ROUNDING = 1e-14                     # share of the first gradient, in M's norm, at which they end

Array = np.ndarray


class SparseEquations:
    """(JᵀJ + μ S²)⁻¹ Jᵀ b for several μ and b, S the norms of the columns of J.

    Args:
        J: With R ≥ 1 rows.

    Attributes:
        diagonal: Norms of columns, shape (P,).
        scale: The same, ∞ where no row sees a parameter.
        shift: max(μ, ε) of the factor.
        iterations: Of the last solution.

    Raises:
        TrainingError: The factor does not fit into memory.
    """

    def __init__(self, J: SparseJacobian):
        self.like = J.like
        norms = np.sqrt(np.asarray(J.matrix.multiply(J.matrix).sum(0)).ravel())
        self.diagonal = torch.from_numpy(norms)
        if not np.isfinite(norms).all():
            return                                       # whoever looks at the diagonal says where
        seen = norms > 1e-10 * norms.max(initial=0)
        self.scale = torch.from_numpy(np.where(seen, norms, np.inf)).to(self.like)
        self.P, self.seen = len(norms), np.nonzero(seen)[0]
        if not len(self.seen):
            return
        A = (J.matrix[:, self.seen] @ sparse.diags(1 / norms[self.seen])).tocsr()
        A.sum_duplicates()
        count = np.diff(A.tocsc().indptr)
        wide = count > FULL * A.shape[0]
        wide = wide if wide.sum() <= BORDER and not wide.all() else np.zeros_like(wide)
        slim = np.nonzero(~wide)[0]
        N = (A[:, slim].T @ A[:, slim]).tocsr()
        order = np.asarray(reverse_cuthill_mckee(N, symmetric_mode=True))
        self.slim = len(slim)
        self.A = A[:, np.concatenate([slim[order], np.nonzero(wide)[0]])].tocsr()
        self.seen = self.seen[np.concatenate([slim[order], np.nonzero(wide)[0]])]
        self.N = N[order][:, order].tocoo()
        self.band = int(np.abs(self.N.row - self.N.col).max(initial=0))
        self.banded = 3 * self.band < self.slim
        self.beside = (self.A[:, :self.slim].T @ self.A[:, self.slim:]).toarray()
        self.corner = (self.A[:, self.slim:].T @ self.A[:, self.slim:]).toarray()
        self.shift, self.damping, self.iterations = 0.0, 0.0, 0
        self._demand_memory()

    def _demand_memory(self) -> None:
        size, free = 16 * self.slim * (self.band + 1 if self.banded else self.slim), free_memory(torch.device("cpu"))
        if free is not None and size > free:
            raise TrainingError(f"the factor of {self.slim:,} parameters, each of which shares rows with others up to "
                                f"{self.band:,} away, needs {size_text(size)}, and {size_text(free)} are free; take "
                                "fewer Gaussians, or a smaller model.cutoff or model.overlap")

    def factor(self, damping: float) -> bool:
        """Sets μ; False where no ε makes the equations definite."""
        self.damping = damping if damping > 1e-20 else 0.0
        if not len(self.seen):
            return True
        shift = max(self.damping, LEAST)
        while not self._factored(shift):
            shift *= 10
            if shift > max(MOST, 1e3 * self.damping):
                return False
        self.shift = shift
        return True

    def _factored(self, shift: float) -> bool:
        i, j, n = self.N.row, self.N.col, self.slim
        low = i >= j
        try:
            if self.banded:
                ab = np.zeros((self.band + 1, n), order="F")
                ab[(i - j)[low], j[low]] = self.N.data[low]
                ab[0] += shift
                self.L = linalg.cholesky_banded(ab, overwrite_ab=True, lower=True, check_finite=False)
            else:
                full = self.N.toarray()
                full.flat[::n + 1] += shift
                self.L = linalg.cholesky(full, lower=True, overwrite_a=True, check_finite=False)
            self.through = self._triangles(self.beside)
            schur = self.corner + shift * np.eye(len(self.corner)) - self.beside.T @ self.through
            self.last = linalg.cholesky(schur, lower=True) if len(schur) else schur
        except linalg.LinAlgError:
            return False
        return bool(np.isfinite(self.L[0] if self.banded else np.diagonal(self.L)).all())

    def _triangles(self, g: Array) -> Array:
        solve = linalg.cho_solve_banded if self.banded else linalg.cho_solve
        return solve((self.L, True), g, check_finite=False)

    def precondition(self, g: Array) -> Array:
        """M⁻¹ g, in the order of the factor."""
        x = self._triangles(g[:self.slim])
        if not len(self.corner):
            return x
        y = linalg.cho_solve((self.last, True), g[self.slim:] - self.beside.T @ x)
        return np.concatenate([x - self.through @ y, y])

    @property
    def condition(self) -> float:
        """An estimate of κ(A), from the diagonal of the factor: no more than 1/√ε is seen."""
        d = np.abs(self.L[0] if self.banded else np.diagonal(self.L))
        return float(d.max() / d.min())

    def solve(self, b: Tensor) -> Tensor:
        """The solution, shape (P,), for b of shape (R,)."""
        if not len(self.seen):
            return torch.zeros_like(self.scale)
        A, mu = self.A, self.damping
        left = b.detach().cpu().double().numpy()
        x = np.zeros(A.shape[1])
        g = A.T @ left
        z = self.precondition(g)
        p, rho = z, float(g @ z)
        first, best, found = rho, rho, x
        for self.iterations in range(1, ITERATIONS + 1):
            if not rho > 0:
                break
            Ap = A @ p
            curvature = float(Ap @ Ap) + mu * float(p @ p)
            if not curvature > 0:
                break
            step = rho / curvature
            x = x + step * p
            left = left - step * Ap
            g = A.T @ left - mu * x
            z = self.precondition(g)
            rho, before = float(g @ z), rho
            if rho < best:
                best, found = rho, x
            if rho <= ROUNDING**2 * first or rho > 1e4 * best:
                break
            p = z + (rho / before) * p
        whole = np.zeros(self.P)
        whole[self.seen] = found
        return torch.from_numpy(whole).to(self.like) / self.scale
