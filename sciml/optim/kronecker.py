"""Direct solution of linear equations that are sums of operators in one coordinate each, on a tensor product.

    Σ_d (… ⊗ D_d ⊗ …) W + c W = F,      D_d = Q_dᵀ L_d T_d,      F = (Q_1ᵀ ⊗ … ⊗ Q_Dᵀ) f

Φ_d T_d = Q_d are the functions of a coordinate made orthonormal on Gauss–Legendre points by the singular value
decomposition of their values, L_d their image under the coordinate's derivatives. Coordinates whose D_d has
well-conditioned eigenvectors become numbers, the others (a first derivative from one end) Schur's triangular form and
back-substitution. What this solves is a spectral Galerkin method: classical numerics.

Source: Lynch, Rice, Thomas (1964), doi:10.1007/BF01386067; Bartels and Stewart (1972), doi:10.1145/361573.361582, for
the triangular form. Here for any number of coordinates and any constant coefficients, in complex arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from scipy.linalg import schur
from torch import Tensor

from ..errors import NonFiniteError, ProblemError
from ..flat import move

CONDITION = 1e6            # of eigenvectors; above, what they lose is more than rounding


class Functions(Protocol):
    """Functions of a coordinate: `fields.axes.Axis`."""

    def jets(self, x: Tensor, order: int) -> Tensor:
        """Their derivatives up to an order at x (N,), shape (order + 1, N, m)."""


class Separable:
    """One linear equation Σ_d Σ_k a_dk ∂_d^k u + c u = q on a grid of Gauss–Legendre points.

    Args:
        axes: The functions of each coordinate.
        rules: Points and weights of each, shape (N_d,).
        symbols: a_dk by order k, for each coordinate.
        constant: c.
        residual: What the equation leaves at the current coefficients, shape (N_1, …, N_D).
    """

    def __init__(self, axes: Sequence[Functions], rules: Sequence[tuple[Tensor, Tensor]],
                 symbols: Sequence[Mapping[int, float]], constant: float, residual: Tensor):
        self.axes, self.rules, self.symbols = axes, rules, symbols
        self.constant, self.residual = constant, residual

    def correction(self, rcond: float, guard: float) -> tuple[Tensor, int]:
        """−A⁻¹ r in the coefficients, shape (m_1, …, m_D), and how many denominators were left out.

        Args:
            rcond, guard: As in `Kronecker`.
        """
        F, maps, operators = -self.residual, [], []
        for d, (axis, (x, w), symbol) in enumerate(zip(self.axes, self.rules, self.symbols, strict=True)):
            T, Q, D = projected(axis, x, w, symbol, rcond)
            F = torch.tensordot(w.sqrt()[:, None] * Q, F, dims=([0], [d])).movedim(0, d)
            maps.append(T)
            operators.append(D)
        W, left_out = solve_sum(operators, self.constant, F, guard)
        for d, T in enumerate(maps):
            W = torch.tensordot(T, W, dims=([1], [d])).movedim(0, d)
        return W, left_out


def projected(axis: Functions, x: Tensor, w: Tensor, symbol: Mapping[int, float], rcond: float
              ) -> tuple[Tensor, Tensor, Tensor]:
    """T, Q and D of one coordinate.

    Args:
        axis: m functions φ.
        x, w: N points and weights.
        symbol: a_k by order k.
        rcond: Singular values below this share of the largest are left out.

    Returns:
        T (m, r); Q = √w φ(x) T, orthonormal, (N, r); D = Qᵀ √w Σ_k a_k φ^(k)(x) T, (r, r).
    """
    with torch.no_grad():
        jets = axis.jets(x, max(symbol, default=0))
    root = w.sqrt()[:, None]
    U, S, Vh = torch.linalg.svd(root * jets[0], full_matrices=False)
    rank = int((S > rcond * S[0]).sum())
    T = Vh[:rank].T / S[:rank]
    L = sum((a * jets[k] for k, a in symbol.items()), torch.zeros_like(jets[0]))
    return T, U[:, :rank], U[:, :rank].T @ ((root * L) @ T)


def solve_sum(operators: Sequence[Tensor], constant: float, F: Tensor, guard: float) -> tuple[Tensor, int]:
    """W with Σ_d (… ⊗ D_d ⊗ …) W + c W = F.

    Args:
        operators: D_d, shape (m_d, m_d), real.
        constant: c.
        F: Shape (m_1, …, m_D).
        guard: Denominators below this share of the largest are left out: that part of W is zero.

    Returns:
        W, and the number of denominators that were left out.
    """
    forms = [_form(D.numpy()) for D in operators]
    G = F.numpy()
    for d, (_, into, _, _) in enumerate(forms):
        G = _along(into, G, d)
    shift = np.full((1,) * F.ndim, constant)
    triangles = []
    for d, (R, _, _, diagonal) in enumerate(forms):
        if diagonal:
            shift = shift + np.diagonal(R).reshape([-1 if k == d else 1 for k in range(F.ndim)])
        else:
            triangles.append((d, R))
    size = abs(constant) + sum(float(np.abs(np.diagonal(R)).max()) for R, *_ in forms)
    W, left_out = _back(triangles, shift, G, guard * size)
    for d, (_, _, out, _) in enumerate(forms):
        W = _along(out, W, d)
    return torch.from_numpy(np.ascontiguousarray(W.real)), left_out


Array = np.ndarray


def _form(D: Array) -> tuple[Array, Array, Array, bool]:
    """R, U⁻¹, U with D = U R U⁻¹ and whether R is diagonal; otherwise it is upper triangular and U unitary."""
    values, E = np.linalg.eig(D)
    if np.linalg.cond(E) < CONDITION:
        return np.diag(values), np.linalg.inv(E), E, True
    R, U = schur(D, output="complex")
    return R, U.conj().T, U, False


def _along(M: Array, W: Array, d: int) -> Array:
    return np.moveaxis(np.tensordot(M, W, axes=(1, d)), 0, d)


def _back(triangles: list[tuple[int, Array]], shift: Array, F: Array, smallest: float) -> tuple[Array, int]:
    """Back-substitution along the triangular coordinates, all others at once."""
    if not triangles:
        small = np.broadcast_to(np.abs(shift) <= smallest, F.shape)
        return np.where(small, 0, F / np.where(small, 1, shift)), int(small.sum())
    (d, R), rest = triangles[0], triangles[1:]
    W, total = np.zeros(F.shape, np.result_type(F, R, shift)), 0
    row = lambda k: (slice(None),) * d + (slice(k, k + 1),)
    for k in reversed(range(len(R))):
        after = (slice(None),) * d + (slice(k + 1, None),)
        right = F[row(k)] - np.expand_dims(np.tensordot(R[k, k + 1:], W[after], axes=(0, d)), d)
        W[row(k)], left_out = _back(rest, shift + R[k, k], right, smallest)
        total += left_out
    return W, total


class Kronecker(torch.optim.Optimizer):
    """One direct solution for all coefficients of a tensor product; a second step refines it.

    Args:
        params: The coefficients, one tensor.
        rcond: Functions of a coordinate whose singular values lie below this share of the largest are left out.
        guard: Denominators below this share of the largest are left out, as at a resonance, where the equation has no
            solution or many; the report says how many (`left_out`).

    Raises:
        ProblemError: An option makes no sense.
    """

    needs = "operator"
    name = "kronecker"

    def __init__(self, params, rcond: float = 1e-13, guard: float = 1e-13):
        for option, value in (("rcond", rcond), ("guard", guard)):
            if not 0 < value < 1:
                raise ProblemError(f"kronecker.{option}={value} must lie between 0 and 1")
        super().__init__(params, dict(rcond=rcond, guard=guard))
        self.left_out = 0

    @torch.no_grad()
    def step(self, separated: Callable[[], Separable]) -> None:  # type: ignore[override]
        """Adds the correction that makes the projected residual vanish.

        Args:
            separated: The equation with its residual at the current coefficients.

        Raises:
            NonFiniteError: The solution is not finite; the coefficients are those from before.
        """
        group: dict[str, Any] = self.param_groups[0]
        W, self.left_out = separated().correction(group["rcond"], group["guard"])
        if not bool(torch.isfinite(W).all()):
            raise NonFiniteError("solution")
        (weight,) = group["params"]
        move([weight], [weight.clone()], W.reshape(-1).to(weight))

    def extras(self) -> dict[str, float]:
        """Numbers for the reports."""
        return {"left_out": float(self.left_out)} if self.left_out else {}
