"""Preconditioning of weak forms by their own finite-element matrix: z = A⁻¹ r, A_ij = ∂r_i / ∂u_j.

A is the Galerkin matrix of the linearised weak form in the nodal functions of the mesh. For a linear problem r = A e
with e the error of the field against the finite-element solution, as far as the test functions see it: the loss becomes
the mean square of that error, whatever the coefficients, the mesh and the shape of the domain.
"""

from __future__ import annotations

import logging

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spilu, splu

from ..elements.functionals import Functionals, evaluations, lumped
from ..errors import ProblemError, look_up
from ..problem import Block
from .coefficients import coefficients, field_leaves, is_linear, other_leaves
from .operator import Balanced, Solve
from .preconditioner import Preconditioner, View

log = logging.getLogger(__name__)


class Scaled:
    """Factors of A with its solutions weighed by the volume of their nodes, so that |z|² is a mean over the domain.

    Args:
        factors: With SuperLU's `solve`.
        weights: √(R m_i / |Ω|), shape (R,).
    """

    def __init__(self, factors: Balanced, weights: np.ndarray):
        self.factors, self.weights = factors, weights

    def solve(self, r: np.ndarray, trans: str = "N") -> np.ndarray:
        """W A⁻¹ r or A⁻ᵀ W r."""
        w = self.weights if r.ndim == 1 else self.weights[:, None]
        return w * self.factors.solve(r) if trans == "N" else self.factors.solve(w * r, "T")


class Galerkin(Preconditioner):
    """Weak forms through the inverse of their finite-element matrix: the loss of a regression on the mesh.

    Args:
        solver: "lu": exact factors; "ilu": incomplete ones, cheaper in memory.
        drop, fill: Of "ilu", as in scipy.
        every: Steps between linearisations about the field; linear problems need one only.

    Raises:
        ProblemError: There is no weak form, or its matrix is singular.

    Source: Liu et al. (2024), arXiv:2402.00531, for the idea on meshes; here the rows are the field's own weak
        residuals and not A u − b at the nodes, so that the limit is the Petrov–Galerkin solution among the fields.
    """

    name = "galerkin"

    def __init__(self, solver: str = "lu", drop: float = 1e-4, fill: float = 10.0, every: int = 200):
        look_up("galerkin.solver", solver, dict.fromkeys(("lu", "ilu")))
        if not 0 <= drop < 1 or not fill >= 1:
            raise ProblemError(f"galerkin.drop={drop}, galerkin.fill={fill}: drop must lie in [0, 1) and fill be at "
                               "least 1")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ProblemError(f"galerkin.every={every!r} must be a number of steps between linearisations")
        self.solver, self.drop, self.fill, self.every = solver, float(drop), float(fill), every
        self._state: dict = {}

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
        self._refresh(view)
        return ()

    def update(self, view, step):
        if self.linear or not step or step % self.every:
            return False
        before = self._state
        try:
            self._refresh(view)
        except ProblemError as error:              # the field of this moment; the old matrix is still a good one
            log.warning("the linearisation at step %d is not used: %s", step, error)
            self._state = before
            return False
        return True

    def _refresh(self, view: View) -> None:
        self._state = {"coefficients": [
            coefficients(b, field_leaves(view, b, view.points[b.name]), other_leaves(view, b, view.points[b.name]),
                         view.points[b.name].X[:, 0])[1] for b, _ in self.weak]}
        self._build()

    def _build(self) -> None:
        A = self.matrix()
        try:
            factors = Balanced(A.tocsc(), self._factorize)
        except RuntimeError as error:
            raise ProblemError(f"precondition=galerkin cannot factorise the matrix of the weak form ({error}): a "
                               "condition seems to be missing, or the linearised problem has no unique "
                               "solution") from error
        shares = [lumped(tests.space) for _, tests in self.weak]
        weights = np.concatenate([np.sqrt(A.shape[0] * (m[tests.free] / m.sum()).numpy())
                                  for m, (_, tests) in zip(shares, self.weak, strict=True)])
        self.transform.factors = Scaled(factors, weights)

    def _factorize(self, A):
        return splu(A) if self.solver == "lu" else spilu(A, drop_tol=self.drop, fill_factor=self.fill)

    def matrix(self) -> sparse.csr_matrix:
        """A = ∂r/∂u for u in the spaces of the test functions, shape (R, R): blocks by test function and unknown."""
        return sparse.bmat([[galerkin_block(b, tests, found, other) for _, other in self.weak]
                            for (b, tests), found in zip(self.weak, self._state["coefficients"], strict=True)],
                           format="csr")

    def state_dict(self):
        return {} if self.linear else dict(self._state)

    def load_state_dict(self, view, state):
        if state:
            self._state = dict(state)
            self._build()


def galerkin_block(block: Block, tests: Functionals, found, trial: Functionals) -> sparse.csr_matrix:
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
        B = evaluations(trial.space, tests.where, alpha, trial.free)
        spread = sparse.csr_matrix((c.double().cpu().numpy(), (np.arange(N) * K + k, np.arange(N))), shape=(N * K, N))
        total = total + spread @ B
    return tests.matrix @ total


