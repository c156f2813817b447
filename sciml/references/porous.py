"""Diffusion in proportion to the density itself, on a square with walls that keep their values.

    u_t = α (|∇u|² + u Δu) = α/2 Δ(u²)   on (−1, 1)², t ∈ (0, final);   u = u₀ on the walls at all times

Chebyshev collocation of Δ(u²) in both directions, with the rates of the wall nodes zero, and an explicit Runge–Kutta
method of order eight. At t = 0 the equation asks the walls to move, and they do not: near them the solution is not
smooth at first, which is what limits the accuracy.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from ..errors import TrainingError
from . import chebyshev
from .reference import Grid, difference

BUMPS = ((0.25, 10.0, 0.2, 0.3), (0.4, 15.0, -0.1, -0.5), (0.3, 20.0, -0.5, 0.0))     # height, narrowness, place


def three_bumps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """u₀ = Σ h exp(−n |x − x₀|²) over `BUMPS`."""
    parts = [h * np.exp(-n * ((x - a) ** 2 + (y - b) ** 2)) for h, n, a, b in BUMPS]
    return np.sum(parts, axis=0)


def _run(n: int, times: np.ndarray, alpha: float, tolerance: float) -> np.ndarray:
    """Values at the (n + 1)² Chebyshev nodes, shape (n + 1, n + 1, T)."""
    x = chebyshev.nodes(n)
    D = chebyshev.differentiation(n)
    D2 = D @ D
    D2[[0, -1]] = 0.0
    inside = np.zeros((n + 1, n + 1))
    inside[1:-1, 1:-1] = 0.5 * alpha

    def rate(t, v):
        square = v.reshape(n + 1, n + 1) ** 2
        return (inside * (D2 @ square + square @ D2.T)).reshape(-1)

    start = three_bumps(x[:, None], x[None, :]).reshape(-1)
    with np.errstate(all="ignore"):                # a step that is too long is found out and taken back
        run = solve_ivp(rate, (times[0], times[-1]), start, "DOP853", times, rtol=tolerance, atol=tolerance)
    if not run.success:
        raise TrainingError(f"nonlinear diffusion stopped at t = {run.t[-1]:g}: {run.message}")
    return run.y.reshape(n + 1, n + 1, -1)


def nonlinear_diffusion(points: int = 41, outputs: int = 17, n: int = 128, final: float = 1.0, alpha: float = 0.05,
                        tolerance: float = 1e-9) -> Grid:
    """Three bumps that spread, after SPINN (Cho et al. 2023, arXiv:2306.15969) but with walls that keep their values.

    Args:
        points: Nodes of the stored grid in each direction, walls included.
        outputs: Stored times, both ends included.
        n: Chebyshev degree of the finer run.
        final: Last time.
        alpha: α.
        tolerance: Of the integrator.

    Raises:
        TrainingError: The integrator gave up.
    """
    x, times = np.linspace(-1, 1, points), np.linspace(0, final, outputs)

    def run(degree):
        to = chebyshev.interpolation(degree, x)
        u = np.einsum("ai,bj,ijt->abt", to, to, _run(degree, times, alpha, tolerance), optimize=True)
        u[:, :, 0] = three_bumps(x[:, None], x[None, :])
        return {"u": u}

    fine = run(n)
    return Grid({"x": x, "y": x, "t": times}, fine, "grid", difference(run(2 * n // 3), fine),
                f"Chebyshev collocation of degree {n} and DOP853 with tolerance {tolerance:g} (checked with two thirds "
                "of the degree)")
