"""Method of lines on an interval: Chebyshev collocation in x, an implicit solver in t.

    u_t = F(t, x, u, u_x, u_xx)
    a u + b u_x = g(t)   at each end

The two end values are eliminated through the end conditions, so that only interior values are
integrated and the conditions hold exactly at all times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from ..errors import TrainingError
from . import chebyshev
from .reference import Grid, difference

Rate = Callable[..., np.ndarray]


@dataclass(frozen=True)
class End:
    """Condition a u + b u_x = g(t) at one end (u_x, not the outward normal derivative)."""

    a: float
    b: float
    g: Callable[[float], float]


def dirichlet(g: Callable[[float], float] | float = 0.0) -> End:
    """u = g(t) at one end; a number stands for a constant."""
    return End(1.0, 0.0, g if callable(g) else lambda t: g)


def neumann(g: Callable[[float], float] | float = 0.0) -> End:
    """u_x = g(t) at one end (x-derivative at both ends); a number stands for a constant."""
    return End(0.0, 1.0, g if callable(g) else lambda t: g)


def solve_once(
    rate: Rate,
    initial: Callable[[np.ndarray], np.ndarray],
    interval: tuple[float, float],
    times: np.ndarray,
    left: End,
    right: End,
    n: int,
    tolerance: float,
) -> np.ndarray:
    """Values at the n + 1 Chebyshev nodes, shape (n + 1, T); arguments as `lines`."""
    x, D = chebyshev.nodes(n, interval), chebyshev.differentiation(n, interval)
    D2 = D @ D
    ends = [0, n]
    rows = np.stack([end.b * D[i] for end, i in ((left, 0), (right, n))])
    rows[0, 0] += left.a
    rows[1, n] += right.a
    solve_ends = np.linalg.inv(rows[:, ends])
    inner = rows[:, 1:-1]

    def full(t, v):
        u = np.empty(n + 1)
        u[1:-1] = v
        u[ends] = solve_ends @ (np.array([left.g(t), right.g(t)]) - inner @ v)
        return u

    def velocity(t, v):
        u = full(t, v)
        return np.asarray(rate(t, x, u, D @ u, D2 @ u))[1:-1]

    times = np.asarray(times, float)
    run = solve_ivp(
        velocity,
        (times[0], times[-1]),
        initial(x)[1:-1],
        method="BDF" if tolerance > 1e-8 else "Radau",
        t_eval=times,
        rtol=tolerance,
        atol=tolerance,
    )
    if not run.success:
        raise TrainingError(
            f"method of lines stopped at t = {run.t[-1] if len(run.t) else times[0]:g}: "
            f"{run.message}"
        )
    u = np.stack([full(t, v) for t, v in zip(run.t, run.y.T, strict=True)], axis=1)
    u[:, 0] = initial(x)
    return u


def lines(
    rate: Rate,
    initial: Callable[[np.ndarray], np.ndarray],
    interval: tuple[float, float],
    times: np.ndarray,
    left: End,
    right: End,
    points: int = 101,
    n: int = 48,
    tolerance: float = 1e-9,
) -> Grid:
    """Solution on a uniform grid in (x, t), checked by a second, coarser run.

    Args:
        rate: F(t, x, u, u_x, u_xx) → u_t, all arrays (n + 1,) but t.
        initial: u at times[0], from x.
        interval: The two ends.
        times: Increasing output times, shape (T,).
        left: Condition at the left end.
        right: Condition at the right end.
        points: Nodes of the stored grid, both ends included.
        n: Chebyshev degree of the finer run.
        tolerance: Relative and absolute tolerance of the finer run.

    Raises:
        TrainingError: The integrator gave up.

    Note: Fronts need n of about 10 per width; data that break the end conditions at the initial
    time cost accuracy near that corner.
    """
    x = np.linspace(*interval, points)

    def run(n, tolerance):
        values = solve_once(rate, initial, interval, times, left, right, n, tolerance)
        return {"u": chebyshev.interpolation(n, x, interval) @ values}

    fine = run(n, tolerance)
    accuracy = difference(run(max(4, 2 * n // 3), 30 * tolerance), fine)
    return Grid(
        {"x": x, "t": np.asarray(times, float)},
        fine,
        "grid",
        accuracy,
        f"method of lines: Chebyshev degree {n}, implicit in time with tolerance {tolerance:g} "
        "(checked with two thirds of the degree and 30 times the tolerance)",
    )
