"""Flow next to a corner of the driven cavity, where a moving lid meets a fixed wall.

With (X, Y) measured from the corner (0, 1), r and θ the polar coordinates and θ the angle from
the lid, the stream function for a lid of speed s + mX is, to the order r² that matters,

    ψ = s ψ₁ + m ψ₂ + s² Re ψ₃ + …
    ψ₁ = b Y + (c X + d Y) θ,    c = 1/(1 − π²/4), d = −cπ/2, b = 1 − c   Taylor's scraper, r¹
    ψ₂ = π/4 Y² + r²θ/2 + XY/2                                           Stokes, r²
    ψ₃ = r² f(θ),   (f″ + 4f)″ = r² (ψ₁_y ∂x − ψ₁_x ∂y) Δψ₁              inertia of ψ₁, r²

all satisfying both walls of the corner. Vorticity is 1/r in ψ₁ and takes a different limit in
every direction in ψ₂ and ψ₃.

Source: Botella & Peyret (1998), doi:10.1016/S0045-7930(98)00002-4, sec. 3; ψ₂ is ours.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

C1 = 1 / (1 - np.pi**2 / 4)
D1 = -C1 * np.pi / 2
B1 = 1 - C1
WEDGE = (-np.pi / 2, 0.0)
ODD = ("psi_x", "L_x", "inertial_L_x", "pressure")


def _angle(X, Y):
    """θ, θ_x, θ_y, θ_xx, θ_xy: imaginary parts of iⁿ times the derivatives of log(X + iY)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = X + 1j * Y
        first, second = 1 / z, -1 / z**2
    return np.arctan2(Y, X), first.imag, first.real, second.imag, second.real


def _scraper(X, Y) -> dict[str, np.ndarray]:
    """ψ₁, its derivatives, L = Δψ and pressure/ν (the harmonic conjugate of L)."""
    theta, tx, ty, txx, txy = _angle(X, Y)
    arm = C1 * X + D1 * Y
    with np.errstate(invalid="ignore"):
        return {
            "psi": B1 * Y + arm * theta,
            "psi_x": C1 * theta + arm * tx,
            "psi_y": B1 + D1 * theta + arm * ty,
            "L": 2 * (C1 * tx + D1 * ty),
            "L_x": 2 * (C1 * txx + D1 * txy),
            "L_y": 2 * (C1 * txy - D1 * txx),
            "pressure": 2 * (C1 * ty - D1 * tx),
        }


def _sloped(X, Y) -> dict[str, np.ndarray]:
    """The same for ψ₂."""
    theta, tx, ty, _, _ = _angle(X, Y)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_r = np.log(np.hypot(X, Y))
    # r² θ_x = −Y and r² θ_y = X, also at the corner.
    return {
        "psi": np.pi / 4 * Y**2 + (X**2 + Y**2) * theta / 2 + X * Y / 2,
        "psi_x": X * theta,
        "psi_y": np.pi / 2 * Y + Y * theta + X,
        "L": np.pi / 2 + 2 * theta,
        "L_x": 2 * tx,
        "L_y": 2 * ty,
        "pressure": 2 * log_r,
    }


@cache
def _inertia() -> tuple[Chebyshev, Chebyshev]:
    """f and h = f″ + 4f of ψ₃, as polynomials in θ."""

    def forcing(theta):
        flow = _scraper(np.cos(theta), np.sin(theta))
        return flow["psi_y"] * flow["L_x"] - flow["psi_x"] * flow["L_y"]

    h = Chebyshev.interpolate(forcing, 24, WEDGE).integ(2)
    # A particular f from rest at θ = 0 by variation of constants; 1, θ, cos 2θ, sin 2θ then
    # meet the walls.
    fit = lambda g: Chebyshev.interpolate(g, 40, WEDGE)
    c, s = (
        fit(lambda t: h(t) * np.cos(2 * t)).integ(lbnd=0),
        fit(lambda t: h(t) * np.sin(2 * t)).integ(lbnd=0),
    )
    f = fit(lambda t: (np.sin(2 * t) * c(t) - np.cos(2 * t) * s(t)) / 2)
    free = [
        Chebyshev.interpolate(g, 30, WEDGE)
        for g in (np.ones_like, lambda t: t, lambda t: np.cos(2 * t), lambda t: np.sin(2 * t))
    ]
    walls = lambda g: [g(0.0), g.deriv()(0.0), g(WEDGE[0]), g.deriv()(WEDGE[0])]
    a = np.linalg.solve(np.array([walls(g) for g in free]).T, -np.array(walls(f)))
    f = f + sum(ai * g for ai, g in zip(a, free, strict=True))
    return f, h + 4 * a[0] * free[0] + 4 * a[1] * free[1]


def _inertial(X, Y) -> dict[str, np.ndarray]:
    """The same for ψ₃, without a pressure: it is no Stokes flow."""
    theta, tx, ty, _, _ = _angle(X, Y)
    f, h = _inertia()
    value, slope, bend = f(theta), f.deriv()(theta), h.deriv()(theta)
    with np.errstate(invalid="ignore"):
        return {
            "psi": (X**2 + Y**2) * value,
            "psi_x": 2 * X * value - Y * slope,
            "psi_y": 2 * Y * value + X * slope,
            "L": h(theta),
            "L_x": bend * tx,
            "L_y": bend * ty,
            "pressure": np.zeros_like(theta),
        }


def _left(x, y, speed: float, slope: float, inertia: float) -> dict[str, np.ndarray]:
    total = {
        key: np.zeros(np.broadcast(x, y).shape)
        for key in (
            "psi",
            "psi_x",
            "psi_y",
            "L",
            "L_x",
            "L_y",
            "pressure",
            "inertial_L",
            "inertial_L_x",
            "inertial_L_y",
        )
    }
    # A term with factor zero is skipped, not multiplied: 0 · ∞ at the corner.
    for factor, flow in ((speed, _scraper), (slope, _sloped), (inertia, _inertial)):
        if factor:
            for key, values in flow(x, y - 1.0).items():
                total[key] = total[key] + factor * values
                if flow is _inertial and key.startswith("L"):
                    total[f"inertial_{key}"] = factor * values
    return total


class Corners:
    """ψ_s of the cavity [0, 1]²: the left lid corner's flow plus the right one's mirror image.

    Args:
        lid: Lid speed as a polynomial in x.
        Re: Reynolds number.
    """

    def __init__(self, lid: Polynomial, Re: float):
        # The mirror image x → 1 − x of a flow to the right is one to the left: slope and
        # inertia change sign.
        self.left = (float(lid(0.0)), float(lid.deriv()(0.0)), Re * float(lid(0.0)) ** 2)
        self.right = (float(lid(1.0)), -float(lid.deriv()(1.0)), -Re * float(lid(1.0)) ** 2)

    def __call__(self, x, y, left: bool = True, right: bool = True) -> dict[str, np.ndarray]:
        """ψ_s, its derivatives, L = Δψ_s, ψ₃'s part of L, and the Stokes parts' pressure/ν."""
        rest = (0.0, 0.0, 0.0)
        a = _left(x, y, *(self.left if left else rest))
        b = _left(1.0 - x, y, *(self.right if right else rest))
        return {key: a[key] + (-b[key] if key in ODD else b[key]) for key in a}

    def on_lid(self, x: np.ndarray) -> np.ndarray:
        """ψ_y of ψ_s on y = 1."""
        return self.left[0] + self.left[1] * x + self.right[0] + self.right[1] * (1 - x)
