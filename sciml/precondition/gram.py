"""The robust variational loss: residuals tested with functions and measured in the dual norm of H¹₀.

    ρ_j = ∫ R v_j,     L = ρᵀ Γ⁻¹ ρ,     Γ_ij = ∫ ∇v_i · ∇v_j
"""

from __future__ import annotations

from math import pi, prod, sqrt

import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from ..geometry.unit import gauss
from .grid import Axis, axes_of, place
from .preconditioner import Preconditioner, inside
from .transform import Transform


def sines(length: float, m: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """m sines on (0, L), orthonormal in L², at x: values (m, len(x)) and the squared norms μ of their slopes."""
    j = np.arange(1, m + 1)
    return sqrt(2 / length) * np.sin(pi * np.outer(j, x) / length), (j * pi / length) ** 2


def hats(length: float, m: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The span of m hat functions on m + 1 equal cells, in the basis that diagonalises mass and stiffness.

    On equal cells both matrices have the eigenvectors sin(j l π/(m+1)), with θ_j = jπ/(m+1) and eigenvalues
    (h/3)(2 + cos θ_j) of the mass, (2/h)(1 − cos θ_j) of the stiffness. Returns as `sines`.
    """
    h = length / (m + 1)
    j = np.arange(1, m + 1)
    theta = j * pi / (m + 1)
    mass, stiffness = h / 3 * (2 + np.cos(theta)), 2 / h * (1 - np.cos(theta))
    Q = sqrt(2 / (m + 1)) * np.sin(np.outer(theta, j)) / np.sqrt(mass)[:, None]
    values = np.maximum(1 - np.abs(x[None, :] / h - j[:, None]), 0.0)
    return Q @ values, stiffness / mass


class Tested(Transform):
    """M = √(J K/|Ω|) L⁻¹ Vᵀ W, V tests at the quadrature points, W their weights, Γ = L Lᵀ.

    Tests are products of one-dimensional ones in which Γ is diagonal, so L⁻¹ = μ^{−½} and M is a product of small
    matrices, one per axis. J is the number of tests, K of components: with the rows' factor √(λ/(J K)) the loss is
    λ ρᵀ Γ⁻¹ ρ / |Ω|.

    Args:
        block: Its name.
        matrices: Bᵢ = Vᵢᵀ Wᵢ per axis, shape (mᵢ, nᵢ).
        scale: What multiplies the tested residual, shape (m₁, …, m_D).
        components: K.
    """

    def __init__(self, block: str, matrices: list[Tensor], scale: Tensor, components: int):
        super().__init__((block,))
        self.matrices, self.scale, self.components = matrices, scale, components

    def apply(self, r):
        z = r.reshape(*(B.shape[1] for B in self.matrices), self.components, -1)
        for dim, B in enumerate(self.matrices):
            z = torch.tensordot(B.to(z), z, dims=([1], [dim])).movedim(0, dim)
        return (z * self.scale.to(z)[..., None, None]).reshape(-1, *r.shape[1:])

    def transpose(self, z):
        r = z.reshape(*self.scale.shape, self.components, -1) * self.scale.to(z)[..., None, None]
        for dim, B in enumerate(self.matrices):
            r = torch.tensordot(B.to(r), r, dims=([0], [dim])).movedim(0, dim)
        return r.reshape(-1, *z.shape[1:])


class DualNorm(Preconditioner):
    """Residuals tested with sines or hats, in the dual norm by the inverse of the tests' Gram matrix (RVPINN).

    Args:
        tests: "sine" or "hat" functions of each space coordinate; in time, point by point.
        modes: Tests per space coordinate; None: a third of the quadrature points.
        nodes: Gauss points per coordinate, a number or one for each; None: from `points`. For hats, those of a cell
            are `nodes / (modes + 1)`, at least 2.

    Raises:
        ProblemError: The domain is no Box, a coordinate is periodic (h-minus-1 takes those), or points are too few.

    Source: Rojas, Maczuga, Muñoz-Matute, Pardo, Paszyński (2024), arXiv:2308.16910. Here R is the strong residual (no
        integration by parts), and L is diagonal in the sine basis instead of Cholesky's factor: ρᵀ Γ⁻¹ ρ is the same.

    Note:
        There are fewer tests than points, so L = 0 says that R vanishes against the tests only. Without Γ⁻¹ (VPINN)
        the loss is no measure of the error.
    """

    def __init__(self, tests: str = "sine", modes: int | None = None, nodes: object = None):
        look_up("gram.tests", tests, dict.fromkeys(("sine", "hat")))
        if modes is not None and (isinstance(modes, bool) or not isinstance(modes, int) or modes < 1):
            raise ProblemError(f"gram.modes={modes!r} must be a number of test functions per coordinate")
        self.tests, self.modes, self.nodes = tests, modes, nodes

    def _line(self, axis: Axis) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Quadrature points of an axis, its matrix B = Vᵀ W (m, n), and μ (m,)."""
        m = self.modes or max(axis.n // 3, 1)
        cells = m + 1 if self.tests == "hat" and axis.kind == "ends" else 1
        x, w = (a.numpy() for a in gauss(max(axis.n // cells, 2) if cells > 1 else axis.n))
        x = (np.arange(cells)[:, None] + x).reshape(-1) * axis.length / cells
        w = np.tile(w, cells) * axis.length / cells
        if axis.kind == "time":
            return axis.low + x, np.diag(np.sqrt(w)), np.zeros(len(w))
        if len(x) < 2 * m:
            raise ProblemError(f"gram.modes={m} test functions need at least {2 * m} quadrature points in {axis.name}, "
                               f"and there are {len(x)}; lower gram.modes or raise points")
        V, mu = (sines if self.tests == "sine" else hats)(axis.length, m, x)
        return axis.low + x, V * w, mu

    def start(self, view, ansatz, points):
        axes = axes_of(view.problem, ansatz, points, self.nodes, "gram")
        for a in axes:
            if a.kind == "periodic":
                raise ProblemError(f"precondition=gram has tests that vanish at the ends, and {a.name} is periodic; "
                                   "take h-minus-1")
        blocks = inside(view.problem, view.blocks)
        if not blocks or all(a.kind == "time" for a in axes):
            raise ProblemError("precondition=gram tests equations over space, and this problem has "
                               f"{'no equation inside' if not blocks else 'no space coordinate'}; take none")
        lines = [self._line(a) for a in axes]
        total = np.zeros(1)
        for i, (_, _, mu) in enumerate(lines):
            total = total + mu.reshape([-1 if i == j else 1 for j in range(len(axes))])
        measure = prod(a.length for a in axes)
        nodes = place(axes, [x for x, _, _ in lines], view.dtype, view.device)
        for b in blocks:
            scale = np.sqrt(total.size * len(b.components) / measure / total)
            view.points[b.name] = nodes
            view.transforms.append(Tested(b.name, [torch.as_tensor(B).to(nodes.X) for _, B, _ in lines],
                                          torch.as_tensor(scale).to(nodes.X), len(b.components)))
        return tuple(b.name for b in blocks)
