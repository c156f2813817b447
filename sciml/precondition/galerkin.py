"""Preconditioning of weak forms by their own finite-element matrix: z = A⁻¹ r, A_ij = ∂r_i / ∂u_j.

A is the Galerkin matrix of the linearised weak form in the nodal functions of the mesh. For a linear problem r = A e
with e the error of the field against the finite-element solution, as far as the test functions see it: the loss becomes
the mean square of that error, whatever the coefficients, the mesh and the shape of the domain.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ..elements.functionals import Functionals, evaluations, lumped
from ..errors import ProblemError, look_up
from ..problem import Block
from .coefficients import coefficients, field_leaves, is_linear, other_leaves
from .operator import Balanced, Solve
from .preconditioner import Linearized, incomplete


class Measured:
    """Factors of A with their solutions in a norm, z = W A⁻¹ r, so that |z|² is a mean over the domain.

    Args:
        factors: With SuperLU's `solve`.
        norm: W, shape (R, R).
    """

    def __init__(self, factors: Balanced, norm: sparse.csr_matrix):
        self.factors, self.norm, self.transposed = factors, norm, norm.T.tocsr()

    def solve(self, r: np.ndarray, trans: str = "N") -> np.ndarray:
        """W A⁻¹ r or A⁻ᵀ Wᵀ r."""
        return self.norm @ self.factors.solve(r) if trans == "N" else self.factors.solve(self.transposed @ r, "T")


def root(K: sparse.csr_matrix) -> sparse.csr_matrix:
    """C with K = CᵀC for a sparse symmetric positive definite matrix, by SuperLU without pivoting: K = PᵀL D LᵀP.

    Raises:
        ProblemError: K is not positive definite.
    """
    lu = splu(K.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=dict(SymmetricMode=True))
    D = lu.U.diagonal()
    if not (D > 0).all() or (lu.perm_r != lu.perm_c).any():
        raise ProblemError("galerkin.norm=energy needs a positive form, which this one is not; take l2")
    P = sparse.eye(len(D), format="csc")[:, lu.perm_c]
    return (sparse.diags(np.sqrt(D)) @ lu.L.T @ P).tocsr()


class Galerkin(Linearized):
    """Weak forms through the inverse of their finite-element matrix: the loss of a regression on the mesh.

    Args:
        solver: "lu": exact factors; "ilu": incomplete ones, cheaper in memory.
        drop, fill: Of "ilu", as in scipy.
        every: Steps between linearisations about the field; linear problems need one only.
        norm: Of the error: "l2", the mean of its square; "energy": eᵀK e / |Ω| with K the symmetric part of the form's
            matrix, ∫ k |∇e|² for diffusion, for forms of one unknown whose matrix is positive.

    Raises:
        ProblemError: There is no weak form, its matrix is singular, or it makes no energy norm.

    Source: Liu et al. (2024), arXiv:2402.00531, for the idea on meshes; here the rows are the field's own weak
        residuals and not A u − b at the nodes, so that the limit is the Petrov–Galerkin solution among the fields.
    """

    name = "galerkin"

    def __init__(self, solver: str = "lu", drop: float = 1e-4, fill: float = 10.0, every: int = 200,
                 norm: str = "l2"):
        look_up("galerkin.solver", solver, dict.fromkeys(("lu", "ilu")))
        look_up("galerkin.norm", norm, dict.fromkeys(("l2", "energy")))
        super().__init__(every)
        self.norm = norm
        approximate = incomplete(self.name, drop, fill)
        self.factorize = splu if solver == "lu" else approximate
        self._bases: dict[tuple, sparse.csr_matrix] = {}

    def start(self, view, ansatz, points):
        self.weak = [(b, b.tests) for b in view.blocks if isinstance(b.tests, Functionals)]
        if not self.weak:
            raise ProblemError("precondition=galerkin needs a weak form: write Weak(…) on a Mesh, or take lu or ilu "
                               "for equations on a Box")
        if any(tests.instants is not None for _, tests in self.weak):
            raise ProblemError("precondition=galerkin is for problems on a Mesh alone; with time or ranged parameters "
                               "leave it out")
        unknowns = [tests.unknown for _, tests in self.weak]
        if len(set(unknowns)) < len(unknowns):
            raise ProblemError("precondition=galerkin needs one test function per unknown, got several for "
                               f"{', '.join(sorted({u for u in unknowns if unknowns.count(u) > 1}))}")
        self.linear = all(is_linear(view, b, view.points[b.name]) for b, _ in self.weak)
        self.transform = Solve(tuple(b.name for b, _ in self.weak), None)
        view.transforms.append(self.transform)
        self.refresh(view)
        return ()

    def refresh(self, view):
        self._state = {"coefficients": [
            coefficients(b, field_leaves(view, b, view.points[b.name]), other_leaves(view, b, view.points[b.name]),
                         view.points[b.name].X[:, 0])[1] for b, _ in self.weak]}
        self.build(view)

    def build(self, view):
        A = self.matrix()
        try:
            factors = Balanced(A.tocsc(), self.factorize)
        except RuntimeError as error:
            raise ProblemError(f"precondition=galerkin cannot factorise the matrix of the weak form ({error}): a "
                               "condition seems to be missing, or the linearised problem has no unique "
                               "solution") from error
        self.transform.factors = Measured(factors, self._energy(A) if self.norm == "energy" else self._mean())

    def _mean(self) -> sparse.csr_matrix:
        """W = diag √(R m_i / |Ω|), m_i the volume of node i."""
        shares = []
        for _, tests in self.weak:
            m = lumped(tests.space)
            shares.append((m[tests.free] / m.sum()).numpy())
        share = np.concatenate(shares)
        return sparse.diags(np.sqrt(len(share) * share)).tocsr()

    def _energy(self, A: sparse.csr_matrix) -> sparse.csr_matrix:
        """W with WᵀW = (R / |Ω|) K, K the symmetric part of the matrix whose rows are not scaled."""
        if len(self.weak) > 1:
            raise ProblemError("galerkin.norm=energy is for one unknown, whose units its energy has; take l2")
        (_, tests), = self.weak
        K = sparse.diags(1 / tests.scale.numpy()) @ A
        return root((K + K.T) * (0.5 * len(tests.free) / float(lumped(tests.space).sum())))

    def matrix(self) -> sparse.csr_matrix:
        """A = ∂r/∂u for u in the spaces of the test functions, shape (R, R): blocks by test function and unknown."""
        return sparse.bmat([[self._block(b, tests, found, other) for _, other in self.weak]
                            for (b, tests), found in zip(self.weak, self._state["coefficients"], strict=True)],
                           format="csr")

    def _block(self, block: Block, tests: Functionals, found: Mapping, trial: Functionals) -> sparse.csr_matrix:
        """∂r/∂u_j of one weak form for one unknown in the functions of `trial`, shape (R, R′).

        Args:
            block: With the form's program.
            tests: Its test functions.
            found: ∂f_k/∂(∂^α u) at the quadrature points, as `coefficients` gives them.
            trial: Whose space and free functions the unknown is expanded in.
        """
        N, K = tests.shape[1:]
        total = sparse.csr_matrix((N * K, len(trial.free)))
        for (k, name, alpha), c in found.items():
            if name != trial.unknown:
                continue
            if sum(alpha) > 1:
                raise ProblemError(f"precondition=galerkin takes first derivatives in weak forms, and that of "
                                   f"{block.name!r} has one of order {sum(alpha)}")
            key = block.name, name, alpha                    # the mesh stands still, whatever is linearised on it
            if key not in self._bases:
                self._bases[key] = evaluations(trial.space, tests.where, alpha, trial.free)
            spread = sparse.csr_matrix((c.double().cpu().numpy(), (np.arange(N) * K + k, np.arange(N))),
                                       shape=(N * K, N))
            total = total + spread @ self._bases[key]
        return tests.matrix @ total
