"""Lid-driven cavity by a spectral Galerkin method, with its corner singularities taken out.

    ν Δ²ψ = div(u Δψ),   u = (ψ_y, −ψ_x),   on [0, 1]²
    ψ = 0 on the walls, ψ_y = lid(x) on y = 1, no slip elsewhere

Where the moving lid meets a fixed wall, vorticity and pressure grow like 1/r, and neither
polynomials nor differences converge there. So ψ = ψ_s + R, where ψ_s (`corner.py`) carries the
first terms of the flow at both corners and R is smooth enough for polynomials.

The inertia of ψ_s, of size 1/r², still ruins collocation (measured: errors of 5 % at degree
48). In the weak form it is multiplied by test functions that vanish like x²y², and nothing
singular is left:

    ν ∫ Δψ Δφ = −∫ Δψ u·∇φ   for all φ with φ = ∂_n φ = 0 on the walls

Source: Botella & Peyret (1998), doi:10.1016/S0045-7930(98)00002-4, for the subtraction; Shen
(1994), doi:10.1137/0915089, for the basis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import Polynomial, legendre

from ..errors import ProblemError, TrainingError
from . import chebyshev
from .corner import Corners
from .reference import Grid, relative_l2

UNIT = (0.0, 1.0)


class _Basis:
    """Values and derivatives k = 0..3 at given points of one direction.

    `plain[k]` acts on values of a polynomial at the n + 1 Chebyshev nodes. `clamped[k]` acts on
    coefficients of the n − 3 combinations of Legendre polynomials with double zeros at both
    ends, orthonormal in ∫φ″ψ″ on [−1, 1] (Shen 1994, eq. 2.1).
    """

    def __init__(self, n: int, points: np.ndarray):
        D = chebyshev.differentiation(n, UNIT)
        self.plain = [chebyshev.interpolation(n, points, UNIT)]
        k = np.arange(n - 3)
        coefficients = np.zeros((n + 1, n - 3))
        coefficients[k, k] = 1
        coefficients[k + 2, k] = -2 * (2 * k + 5) / (2 * k + 7)
        coefficients[k + 4, k] = (2 * k + 3) / (2 * k + 7)
        coefficients /= np.sqrt(2 * (2 * k + 3) ** 2 * (2 * k + 5))
        self.clamped = []
        for order in range(4):
            derived = 2**order * legendre.legder(coefficients, order)
            self.clamped.append(legendre.legvander(2 * points - 1, len(derived) - 1) @ derived)
            self.plain.append(self.plain[-1] @ D)


def _lift(n: int, lid: Polynomial, corners: Corners) -> np.ndarray:
    """Polynomial G at the Chebyshev nodes with R's wall values and normal derivatives.

    Cubic Hermite blending in both directions (a Coons patch). On its own two walls a corner
    flow is exact; only the other corner's flow must be cancelled there.
    """
    x = chebyshev.nodes(n, UNIT)
    D = chebyshev.differentiation(n, UNIT)
    zero, one = np.zeros_like(x), np.ones_like(x)
    hermite = np.stack(
        [(1 + 2 * x) * (1 - x) ** 2, x**2 * (3 - 2 * x), x * (1 - x) ** 2, x**2 * (x - 1)],
        axis=1,
    )
    west, east = corners(zero, x, left=False), corners(one, x, right=False)
    floor = corners(x, zero)
    in_x = -np.stack([west["psi"], east["psi"], west["psi_x"], east["psi_x"]])
    in_y = np.stack([-floor["psi"], zero, -floor["psi_y"], lid(x) - corners.on_lid(x)], axis=1)
    ends = np.stack([np.eye(n + 1)[0], np.eye(n + 1)[-1], D[0], D[-1]])
    twist = (ends @ in_y + in_x @ ends.T) / 2
    return hermite @ in_x + in_y @ hermite.T - hermite @ twist @ hermite.T


# The six bilinear terms of the linearised inertia: test derivative, trial derivative,
# coefficient.
INERTIA = (
    ((1, 0), (2, 0), "u"),
    ((1, 0), (0, 2), "u"),
    ((0, 1), (2, 0), "v"),
    ((0, 1), (0, 2), "v"),
    ((1, 0), (0, 1), "L"),
    ((0, 1), (1, 0), "-L"),
)


class Cavity:
    """Steady flow at one Reynolds number; `fields` and `pressure` evaluate it anywhere.

    Args:
        Re: Reynolds number, 1/ν.
        lid: Coefficients of the lid speed as a polynomial in x, lowest first:
            (1,) or (0, 4, −4).
        n: Polynomial degree in each direction.

    Raises:
        TrainingError: Newton's method did not converge; raise n, or lower Re.

    Note: Reynolds numbers above 150 are reached by doubling.
    """

    def __init__(self, Re: float, lid: Sequence[float] = (1.0,), n: int = 48):
        if Re <= 0 or n < 8:
            raise ProblemError(
                f"the cavity needs Re > 0 and n >= 8, got Re = {Re} and n = {n}."
            )
        self.Re, self.n, self.lid = Re, n, Polynomial(lid)
        self.v = np.zeros((n - 3, n - 3))
        # Twice the degree integrates the products of three fields well past their own error.
        s, w = legendre.leggauss(2 * n)
        self.weights = np.outer(w, w) / 4
        self.quadrature = _Basis(n, (s + 1) / 2)
        grid = np.meshgrid((s + 1) / 2, (s + 1) / 2, indexing="ij")
        one, second = np.ones((2 * n, 2 * n)), ((2, 0), (0, 2))
        self.biharmonic = sum(self._bilinear(a, b, one) for a in second for b in second)
        self.known: dict[str, np.ndarray] = {}
        self.G = np.zeros((n + 1, n + 1))
        steps = [Re]
        while steps[0] > 150:
            steps.insert(0, steps[0] / 2)
        for value in steps:
            self._set_reynolds(value, grid)
            self._newton(1 / value)

    def _set_reynolds(self, Re: float, grid) -> None:
        """Corner flows and lift for Re; ψ as a whole stays, as the guess for Newton."""
        P = self.quadrature.plain
        rest = lambda: (
            self.known["inertial_L"] + P[2] @ self.G @ P[0].T + P[0] @ self.G @ P[2].T
        )
        old = rest() if self.known else None
        self.corners = Corners(self.lid, Re)
        self.G = _lift(self.n, self.lid, self.corners)
        self.known = self.corners(*grid)
        if old is not None:
            # ψ₃ grows with Re and reaches across the cavity; the polynomials must follow.
            change = np.linalg.solve(self.biharmonic, self._laplacian_against(old - rest()))
            self.v = self.v + change.reshape(self.v.shape)

    def _laplacian_against(self, f: np.ndarray) -> np.ndarray:
        """∫ f Δφ for all test functions, shape (K²,)."""
        P, f = self.quadrature.clamped, self.weights * f
        return (P[2].T @ f @ P[0] + P[0].T @ f @ P[2]).ravel()

    def _remainder(self, bx: _Basis, by: _Basis) -> dict[str, np.ndarray]:
        """R and its derivatives on the tensor grid of two sets of points."""
        d = lambda a, b: (
            bx.plain[a] @ self.G @ by.plain[b].T + bx.clamped[a] @ self.v @ by.clamped[b].T
        )
        return {
            "psi": d(0, 0),
            "psi_x": d(1, 0),
            "psi_y": d(0, 1),
            "L": d(2, 0) + d(0, 2),
            "L_x": d(3, 0) + d(1, 2),
            "L_y": d(2, 1) + d(0, 3),
        }

    def _bilinear(self, test, trial, coefficient: np.ndarray) -> np.ndarray:
        """∫ coefficient ∂φᵢⱼ ∂φₖₗ as a matrix (ij, kl), by sum factorisation."""
        P, K = self.quadrature.clamped, self.n - 3
        pair = lambda a, b: (P[a][:, :, None] * P[b][:, None, :]).reshape(2 * self.n, K * K)
        matrix = (
            pair(test[0], trial[0]).T @ (self.weights * coefficient) @ pair(test[1], trial[1])
        )
        return matrix.reshape(K, K, K, K).transpose(0, 2, 1, 3).reshape(K * K, K * K)

    def _newton(self, nu: float, tolerance: float = 1e-11) -> None:
        P = self.quadrature.clamped
        test = lambda a, b, f: P[a].T @ (self.weights * f) @ P[b]
        for _ in range(20):
            r = self._remainder(self.quadrature, self.quadrature)
            L = r["L"] + self.known["L"]
            u, v = r["psi_y"] + self.known["psi_y"], -r["psi_x"] - self.known["psi_x"]
            # The Stokes parts have ∫ Δψ Δφ = 0 exactly; the viscous term sees the rest.
            residual = nu * self._laplacian_against(r["L"] + self.known["inertial_L"])
            residual += (test(1, 0, u * L) + test(0, 1, v * L)).ravel()
            values = {"u": u, "v": v, "L": L, "-L": -L}
            jacobian = nu * self.biharmonic + sum(
                self._bilinear(a, b, values[name]) for a, b, name in INERTIA
            )
            change = np.linalg.solve(jacobian, -residual).reshape(self.v.shape)
            self.v = self.v + change
            if np.abs(change).max() < tolerance:
                return
        raise TrainingError(
            f"cavity: Newton's method did not converge at Re = {1 / nu:g} with n = {self.n}; "
            f"raise n."
        )

    def fields(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """ψ, u, v and L = Δψ = −ω on the grid x (I,) × y (J,), and what the pressure needs.

        Not defined at the two lid corners.
        """
        r = self._remainder(_Basis(self.n, x), _Basis(self.n, y))
        s = self.corners(*np.meshgrid(x, y, indexing="ij"))
        total = {key: r[key] + s[key] for key in ("psi", "psi_x", "psi_y", "L")}
        return {
            "psi": total["psi"],
            "u": total["psi_y"],
            "v": -total["psi_x"],
            "L": total["L"],
            "rest_L_x": r["L_x"] + s["inertial_L_x"],
            "rest_L_y": r["L_y"] + s["inertial_L_y"],
            "pressure_s": s["pressure"] / self.Re,
        }

    def pressure(self, axis: np.ndarray) -> np.ndarray:
        """p on the grid axis × axis, axis = 0..1; p(0, 0) = 0, infinite at the lid corners.

        The momentum equations in Bernoulli form, P = p + |u|²/2,

            P_x = ν (Δψ)_y − v Δψ,   P_y = −ν (Δψ)_x + u Δψ

        are integrated from the middle of the cavity by Gauss quadrature in each cell, the
        Stokes part in closed form. Third derivatives of R are noisy along a wall, but not
        integrated across it: of the two paths, along x then y and along y then x, the one that
        ends towards the near wall has more weight.
        """
        z, w = legendre.leggauss(8)
        cells = np.diff(axis)
        inner = (axis[:-1, None] + cells[:, None] * (z + 1) / 2).ravel()
        middle = int(np.argmin(np.abs(axis - 0.5)))
        centre = axis[middle : middle + 1]

        def integral(f):  # from the middle, along the first axis
            parts = np.einsum("cqk,q,c->ck", f.reshape(len(cells), len(z), -1), w / 2, cells)
            total = np.concatenate([np.zeros((1, parts.shape[1])), np.cumsum(parts, axis=0)])
            return total - total[middle]

        def along_x(y):
            at = self.fields(inner, y)
            return integral(at["rest_L_y"] / self.Re - at["v"] * at["L"])

        def along_y(x):
            at = self.fields(x, inner)
            # u vanishes on the fixed walls; left to rounding it would meet Δψ → ∞ at the lid
            # corner.
            at["u"][(x == 0) | (x == 1)] = 0.0
            return integral((-at["rest_L_x"] / self.Re + at["u"] * at["L"]).T).T

        x_then_y = along_x(centre) + along_y(axis)
        y_then_x = along_y(centre) + along_x(axis)
        gap = axis * (1 - axis) + 1e-12
        weight = gap[:, None] ** 2 / (gap[:, None] ** 2 + gap**2)
        at = self.fields(axis, axis)
        P = weight * x_then_y + (1 - weight) * y_then_x
        p = P + at["pressure_s"] - (at["u"] ** 2 + at["v"] ** 2) / 2
        # Next to the floor corner p is flat and odd about the diagonal, so a mean there has no
        # bias above 2e-5 of the rms of p; the value at the corner itself is 20 times less
        # accurate and would shift all of p.
        p = p - p[np.hypot(axis[:, None], axis) < 0.05].mean()
        p[0, 0] = 0.0
        return p


def _on_grid(flow: Cavity, axis: np.ndarray) -> dict[str, np.ndarray]:
    at, p = flow.fields(axis, axis), flow.pressure(axis)
    u, v = at["u"], at["v"]
    for values in (u, v):
        values[[0, -1]] = 0.0
        values[:, [0, -1]] = 0.0
    u[:, -1] = flow.lid(axis)
    # The lid corners themselves, where p is infinite, take the mean of their neighbours.
    for i, j in ((0, 1), (-1, -2)):
        p[i, -1] = (p[i, -2] + p[j, -1]) / 2
    return {"u": u, "v": v, "p": p}


def cavity(
    Re: float = 100.0, lid: Sequence[float] = (1.0,), points: int = 129, n: int = 56
) -> Grid:
    """Lid-driven cavity on a uniform grid: u, v and p with p(0, 0) = 0.

    Args:
        Re: Reynolds number.
        lid: Lid speed as a polynomial in x, lowest coefficient first.
        points: Stored nodes per direction, both walls included.
        n: Chebyshev degree; the check uses three quarters of it.

    Note: u on the lid is lid(x) at the corners too. With a lid that moves at its corners, p
    grows like 1/r there and ∫p² diverges: the two corner nodes hold the mean of their
    neighbours, and `accuracy` counts p only outside the disks of radius 0.1 around the lid
    corners. Score p there as well.
    """
    axis = np.linspace(0, 1, points)
    fine, check = (_on_grid(Cavity(Re, lid, k), axis) for k in (n, 3 * n // 4))
    X, Y = np.meshgrid(axis, axis, indexing="ij")
    away = np.minimum(np.hypot(X, Y - 1), np.hypot(X - 1, Y - 1)) > 0.1
    error = {
        "u": relative_l2(check["u"], fine["u"]),
        "v": relative_l2(check["v"], fine["v"]),
        "p": relative_l2(check["p"][away], fine["p"][away]),
    }
    return Grid(
        {"x": axis, "y": axis},
        fine,
        "grid",
        max(error.values()),
        f"stream function by spectral Galerkin of degree {n} minus corner singularities, "
        f"Newton "
        f"(checked with degree {3 * n // 4}); p by quadrature, its accuracy outside r < 0.1 of "
        f"the lid corners",
        {f"accuracy_{name}": value for name, value in error.items()},
    )
