"""Systems of ordinary differential equations, integrated by an explicit Runge–Kutta method of order eight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp

from .reference import Grid, difference

TOLERANCE, COARSE = 1e-13, 1e-11


def lorenz(start: Sequence[float], final: float, outputs: int, sigma: float = 10.0, rho: float = 28.0,
           beta: float = 8 / 3) -> Grid:
    """x′ = σ (y − x),  y′ = x (ρ − z) − y,  z′ = x y − β z.

    Args:
        start: x, y, z at t = 0.
        final: T.
        outputs: Times, 0 and T included.
        sigma, rho, beta: σ, ρ, β.
    """
    rates = lambda t, u: [sigma * (u[1] - u[0]), u[0] * (rho - u[2]) - u[1], u[0] * u[1] - beta * u[2]]
    return _motion(rates, start, ("x", "y", "z"), final, outputs, "Lorenz")


def _motion(rates: Callable, start: Sequence[float], names: Sequence[str], final: float, outputs: int, title: str
            ) -> Grid:
    """By two tolerances; the accuracy is their difference."""
    times = np.linspace(0, final, outputs)
    runs = []
    for tolerance in (TOLERANCE, COARSE):
        found = solve_ivp(rates, (0, final), start, "DOP853", times, rtol=tolerance, atol=tolerance)
        runs.append(dict(zip(names, found.y, strict=True)))
    return Grid({"t": times}, runs[0], "grid", difference(runs[1], runs[0]),
                f"{title}: DOP853 with tolerance {TOLERANCE:g}, against {COARSE:g}")
