"""Preconditioning by the discretised operator: z = A⁻¹ r, A a difference matrix of the linearised problem on a grid.

With the error e = u − u*, a linear problem's residual is r = 𝒜 e, so that z ≈ e on the nodes: the loss becomes that of
a regression, with its conditioning. An incomplete factorisation in place of LU is cheaper and does part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from ..calculus import Program
from ..errors import ProblemError, look_up
from .coefficients import coefficients, field_leaves, is_linear, other_leaves
from .differences import difference_matrix
from .grid import axes_of, place
from .layout import Layout, lay_out
from .preconditioner import Linearized, View, incomplete
from .transform import Transform

LARGEST = 1e8


class Solve(Transform):
    """z = P⁻¹ r, or z = P⁻¹ (A u − b) for rows that are values u, by sparse factors on the CPU in float64.

    Its adjoint is r̄ = P⁻ᵀ z̄, or ū = Aᵀ P⁻ᵀ z̄.

    Args:
        blocks: As in `Transform`.
        factors: With `solve(r, trans)` as SuperLU's; None: P = 1.
        matrix: A, for rows that are values.
        offset: P⁻¹ b.
    """

    def __init__(self, blocks: tuple[str, ...], factors: Any, matrix: sparse.csr_matrix | None = None,
                 offset: Tensor | None = None):
        super().__init__(blocks)
        self.factors, self.matrix, self.offset = factors, matrix, offset

    def solve(self, r: np.ndarray, trans: str = "N") -> np.ndarray:
        """P⁻¹ r or P⁻ᵀ r."""
        return r if self.factors is None else self.factors.solve(r, trans)

    def apply(self, r):
        x = _array(r)
        return _tensor(self.solve(x if self.matrix is None else self.matrix @ x), r)

    def transpose(self, z):
        x = self.solve(_array(z), "T")
        return _tensor(x if self.matrix is None else self.matrix.T @ x, z)


class Balanced:
    """Factors of S A, S = 1/max|row|: conditions and equations differ by 1/h², which incomplete factors do not take.

    Args:
        A: Square.
        factorize: Makes factors with SuperLU's `solve`.
    """

    def __init__(self, A: sparse.csc_matrix, factorize: Callable[[sparse.csc_matrix], Any]):
        size = abs(A).max(axis=1).toarray().reshape(-1)
        self.S = 1 / np.where(size > 0, size, 1.0)
        self.factors = factorize((sparse.diags(self.S) @ A).tocsc())

    def solve(self, r: np.ndarray, trans: str = "N") -> np.ndarray:
        """A⁻¹ r or A⁻ᵀ r, shape (R,) or (R, P)."""
        S = self.S if r.ndim == 1 else self.S[:, None]
        return self.factors.solve(S * r) if trans == "N" else S * self.factors.solve(r, "T")


def _array(r: Tensor) -> np.ndarray:
    return np.asfortranarray(r.detach().cpu().double().numpy())


def _tensor(x: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(x)).to(like)


class Discretized(Linearized):
    """What LU and ILU share.

    Args:
        residual: "equation": the residual of the equation, by automatic differentiation, so that its zeros stay what
            they are; "differences": A u_θ − b, which takes no derivatives of the field, and whose zero is the solution
            by finite differences.
        nodes: Interior nodes per coordinate, a number or one for each; None: from `points`.
        every: Steps between linearisations about the field; linear problems need one only.
    """

    name = "lu"

    def __init__(self, residual: str, nodes: object, every: int):
        look_up(f"{self.name}.residual", residual, dict.fromkeys(("equation", "differences")))
        super().__init__(every)
        self.residual, self.nodes = residual, nodes
        self._matrices: dict = {}

    def factorize(self, A: sparse.csc_matrix) -> Any:
        """Factors of A with SuperLU's `solve`."""
        raise NotImplementedError

    def start(self, view, ansatz, points):
        what = self.name
        self.axes = axes_of(view.problem, ansatz, points, self.nodes, what)
        self.grid = place(self.axes, [a.nodes for a in self.axes], view.dtype, view.device)
        self.layout: Layout = lay_out(view.problem, view.blocks, ansatz, self.grid, what)
        values = self.residual == "differences"
        self._check_orders(values)
        self.linear = True
        for part in self.layout.parts:
            view.points[part.block.name] = part.points
            self.linear = self.linear and is_linear(view, part.block, part.points)
            if values:
                leaves = {u: view.problem.setting.frame.leaf("unknown", u) for u in part.unknowns}
                view.stand_ins[part.block.name] = replace(part.block, program=Program(leaves), components=part.unknowns)
        self.transform = Solve(tuple(s.block.name for s in self.layout.parts), None)
        view.transforms.append(self.transform)
        self.refresh(view)
        return self.transform.blocks

    def _check_orders(self, values: bool) -> None:
        """Raises where one condition per face, or nothing before the first time, would not be enough."""
        for i, axis in enumerate(self.axes):
            order = max((alpha[i] for s in self.layout.parts for alphas in s.block.program.requests.values()
                         for alpha in alphas), default=0)
            if axis.kind == "ends" and order > 2:
                raise ProblemError(f"precondition={self.name} takes derivatives up to the second in a coordinate with "
                                   f"ends, and {axis.name} has one of order {order}; take pseudo-time or none")
            if axis.kind == "time" and order > 1 and (
                    values or any(s.block.kind == "initial" for s in self.layout.parts)):
                raise ProblemError(f"precondition={self.name} takes time derivatives of order {order} with initial "
                                   f"data that are built in and {self.name}.residual=equation only; set "
                                   "constraints=hard, or take none")

    def refresh(self, view):
        U = None
        if self.residual == "differences":
            with torch.no_grad():
                U = view.field(self.grid.X).double().cpu()
        parts = []
        for part in self.layout.parts:
            leaves = field_leaves(view, part.block, part.points) if U is None else self._differenced(view, part, U)
            parts.append(coefficients(part.block, leaves, other_leaves(view, part.block, part.points),
                                      part.points.X[:, 0]))
        self._state = {"residuals": [f for f, _ in parts], "coefficients": [c for _, c in parts], "values": U}
        self.build(view)

    def _differenced(self, view: View, part, U: Tensor) -> dict:
        """Difference quotients of values at all nodes, where a part's rows are."""
        unknowns, leaves = view.problem.setting.unknowns, {}
        for key in part.block.program.leaves:
            kind, name, alpha = key
            if kind == "unknown":
                column = (self._matrix(alpha)[part.nodes] @ U[:, unknowns.index(name)].numpy())
                leaves[key] = torch.as_tensor(column).to(part.points.X)
        return leaves

    def _matrix(self, alpha) -> sparse.csr_matrix:
        if alpha not in self._matrices:
            self._matrices[alpha] = difference_matrix(self.axes, alpha)
        return self._matrices[alpha]

    def assemble(self, view: View) -> sparse.csr_matrix:
        """A = Σ_α diag(c_α) D_α on the nodes that are not built in, rows and columns by block, node and component."""
        unknowns = view.problem.setting.unknowns
        rows = []
        for part, found in zip(self.layout.parts, self._state["coefficients"], strict=True):
            K = len(part.block.components)
            total = sparse.csr_matrix((len(part.nodes) * K, self.layout.size))
            for (k, name, alpha), c in found.items():
                D = self._matrix(alpha)[part.nodes] @ self.layout.columns(unknowns.index(name))
                spread = sparse.csr_matrix((c.double().cpu().numpy(), (np.arange(len(c)) * K + k, np.arange(len(c)))),
                                           shape=(len(c) * K, len(c)))
                total = total + spread @ D
            rows.append(total)
        return sparse.vstack(rows, format="csr")

    def build(self, view):
        A = self.assemble(view)
        try:
            factors = Balanced(A.tocsc(), self.factorize)
        except RuntimeError as error:
            raise ProblemError(f"precondition={self.name} cannot factorise the difference matrix of the problem "
                               f"({error}): a condition seems to be missing, or the linearised equation has no unique "
                               "solution; take pseudo-time or none") from error
        gain = float(np.abs(factors.solve(np.ones(self.layout.size))).max())
        if not gain < LARGEST:
            raise ProblemError(f"precondition={self.name} finds that the linearised problem amplifies residuals by "
                               f"{gain:.1e} (is it unstable, or has it no unique solution?); take pseudo-time or none")
        self.transform.factors = factors
        if self.residual == "differences":
            U, size = self._state["values"].cpu(), self.layout.size   # a resumed state may lie on the device
            live = np.concatenate([U[part.nodes][:, [view.problem.setting.unknowns.index(u) for u in part.unknowns]]
                                   .numpy().reshape(-1) for part in self.layout.parts])
            f = np.concatenate([f.double().cpu().numpy().reshape(-1) for f in self._state["residuals"]])
            assert live.shape == f.shape == (size,)
            self.transform.matrix = A
            self.transform.offset = torch.as_tensor(self.transform.solve(A @ live - f)).to(self.grid.X)


class LU(Discretized):
    """Residuals through the inverse of a difference matrix of the linearised problem: the loss of a regression.

    All at once in time; Dirichlet, Neumann, Robin and initial conditions that are not built in are joined. A is
    central, of second order, with BDF2 in time.

    Args:
        residual, nodes, every: See `Discretized`; "equation" keeps the minimiser, "differences" is the paper's.

    Raises:
        ProblemError: The domain is no Box, conditions and unknowns do not match node by node, or A is singular.

    Source: Liu, Su, Yao, Hao, Su, Wu, Zhu (2024), "Preconditioning for physics-informed neural networks",
        arXiv:2402.00531, which has residual="differences" with meshes and incomplete factors.

    Note:
        With exact factors, residual="differences" is the regression of u_θ on the finite-difference solution A⁻¹b: a
        classical solver has then done the work. With residual="equation" z ≈ u_θ − u*, but r is still the equation's,
        and so is the limit. For few dimensions only: the factors of a grid in 3-D are large.
    """

    name = "lu"

    def __init__(self, residual: str = "equation", nodes: object = None, every: int = 200):
        super().__init__(residual, nodes, every)

    def factorize(self, A):
        return splu(A)


class ILU(Discretized):
    """Residuals through incomplete factors of a difference matrix: cheaper than LU, and part of its effect.

    Args:
        drop: Entries of the factors below this share are dropped.
        fill: How many times more entries than A the factors may have.
        residual, nodes, every: As of LU.

    Raises:
        ProblemError: As LU.

    Source: As LU.
    """

    name = "ilu"

    def __init__(self, drop: float = 1e-4, fill: float = 10.0, residual: str = "equation", nodes: object = None,
                 every: int = 200):
        super().__init__(residual, nodes, every)
        self._incomplete = incomplete(self.name, drop, fill)

    def factorize(self, A):
        return self._incomplete(A)
