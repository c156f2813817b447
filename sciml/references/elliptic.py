"""Shortley-Weller differences for −Δu + c u = f on a box minus holes, with Dirichlet data.

A five-point stencil whose arms are cut at the hole walls:

    u_xx ≈ 2/(h₁(h₁+h₂)) u_L + 2/(h₂(h₁+h₂)) u_R − 2/(h₁h₂) u_C

The error is O(h²) up to the walls. `solve` is one grid, `extrapolated` combines two grids by
Richardson.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve

from ..errors import ProblemError
from .reference import Grid, relative_l2

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Hole:
    """Part of the box that is cut out, with Dirichlet data on its wall.

    Args:
        level: Function of (x, y), positive outside the hole, negative in it, zero on the wall.
        value: Dirichlet data on the wall, function of (x, y).
    """

    level: Function
    value: Function


def disk(x: float, y: float, r: float, value: Function | float) -> Hole:
    """Disk of radius r around (x, y); a number as value stands for a constant."""
    data = value if callable(value) else lambda a, b: np.full_like(a, value)
    return Hole(lambda a, b: np.hypot(a - x, b - y) - r, data)


@dataclass(frozen=True)
class Elliptic:
    """−Δu + c u = f in a box minus holes, u = outer on the box, u = hole.value on a hole.

    Args:
        box: ((x₀, x₁), (y₀, y₁)).
        holes: The holes.
        f: Source, function of (x, y).
        outer: Dirichlet data on the sides of the box, function of (x, y).
        c: Constant coefficient, ≥ 0.
    """

    box: tuple[tuple[float, float], tuple[float, float]]
    holes: Sequence[Hole]
    f: Function
    outer: Function
    c: float = 0.0

    def level(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Least level of all holes, positive in the domain."""
        if not self.holes:
            return np.ones(np.broadcast(x, y).shape)
        return np.minimum.reduce([hole.level(x, y) for hole in self.holes])


def _wall(problem: Elliptic, x, y, dx, dy) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of the arm (dx, dy) from (x, y) up to a hole wall, and the data there, (K,)."""
    low, high = np.zeros(len(x)), np.ones(len(x))
    for _ in range(52):
        middle = (low + high) / 2
        outside = problem.level(x + middle * dx, y + middle * dy) > 0
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    a, b = x + high * dx, y + high * dy
    nearest = np.argmin([hole.level(a, b) for hole in problem.holes], axis=0)
    data = np.choose(nearest, [hole.value(a, b) for hole in problem.holes])
    return high, data


class _Arm:
    """One of the four arms of every unknown: length fraction, neighbour or −1, wall data."""

    def __init__(self, problem, X, Y, number, inside, i, j, di, dj, h):
        ni, nj = i + di, j + dj
        self.theta = np.ones(len(i))
        self.neighbour = np.where(inside[ni, nj], number[ni, nj], -1)
        self.data = np.zeros(len(i))
        edge = (ni == 0) | (ni == X.shape[0] - 1) | (nj == 0) | (nj == X.shape[1] - 1)
        cut = problem.level(X[ni, nj], Y[ni, nj]) <= 1e-9 * min(h)
        on_box = edge & ~cut
        self.data[on_box] = problem.outer(X[ni, nj][on_box], Y[ni, nj][on_box])
        if cut.any():
            x, y = X[i, j][cut], Y[i, j][cut]
            self.theta[cut], self.data[cut] = _wall(problem, x, y, di * h[0], dj * h[1])


def solve(
    problem: Elliptic, cells: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodal values on one grid.

    Args:
        problem: The problem.
        cells: Cells of the box in x and y.

    Returns:
        Axis x (nx+1,), axis y (ny+1,), u (nx+1, ny+1) with NaN inside the holes.

    Note: A hole that an arm enters and leaves between two nodes is not seen; its depth is then
    O(h²).

    Source: Shortley & Weller (1938), doi:10.1063/1.1710426.
    """
    (x0, x1), (y0, y1) = problem.box
    x, y = np.linspace(x0, x1, cells[0] + 1), np.linspace(y0, y1, cells[1] + 1)
    h = ((x1 - x0) / cells[0], (y1 - y0) / cells[1])
    X, Y = np.meshgrid(x, y, indexing="ij")
    # Nodes within rounding of a wall belong to it, else an arm of length zero divides by zero.
    inside = problem.level(X, Y) > 1e-9 * min(h)
    inside[[0, -1]] = False
    inside[:, [0, -1]] = False
    i, j = np.nonzero(inside)
    if not len(i):
        raise ProblemError(
            f"no node of the {cells[0]} × {cells[1]} grid lies in the domain; use more cells."
        )
    number = np.full(X.shape, -1)
    number[i, j] = np.arange(len(i))
    rhs = np.asarray(problem.f(X[i, j], Y[i, j]), float).copy()
    diagonal = np.full(len(i), float(problem.c))
    rows, columns, entries = [], [], []
    for axis, (di, dj) in enumerate(((1, 0), (0, 1))):
        ahead = _Arm(problem, X, Y, number, inside, i, j, di, dj, h)
        behind = _Arm(problem, X, Y, number, inside, i, j, -di, -dj, h)
        diagonal += 2 / (ahead.theta * behind.theta * h[axis] ** 2)
        for arm in (ahead, behind):
            weight = 2 / (arm.theta * (ahead.theta + behind.theta) * h[axis] ** 2)
            known = arm.neighbour < 0
            rhs[known] += (weight * arm.data)[known]
            rows.append(np.nonzero(~known)[0])
            columns.append(arm.neighbour[~known])
            entries.append(-weight[~known])
    k = np.arange(len(i))
    matrix = csc_matrix(
        (
            np.concatenate([*entries, diagonal]),
            (np.concatenate([*rows, k]), np.concatenate([*columns, k])),
        )
    )
    u = np.where(problem.level(X, Y) > 0, problem.outer(X, Y), np.nan)
    u[i, j] = spsolve(matrix, rhs, permc_spec="COLAMD")
    return x, y, _fill_walls(problem, X, Y, inside, u)


def _fill_walls(problem, X, Y, inside, u):
    """Data on nodes that lie on a hole's wall to rounding."""
    on = ~inside & (np.abs(problem.level(X, Y)) <= 1e-9 * (X[1, 0] - X[0, 0]))
    if on.any():
        a, b = X[on], Y[on]
        nearest = np.argmin([hole.level(a, b) for hole in problem.holes], axis=0)
        u[on] = np.choose(nearest, [hole.value(a, b) for hole in problem.holes])
    return u


def extrapolated(
    problem: Elliptic, cells: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Richardson's (4 u_h − u_2h)/3 on the nodes of the coarser grid; arguments and results as
    `solve`."""
    coarse = (cells[0] // 2, cells[1] // 2)
    x, y, u2 = solve(problem, coarse)
    u1 = solve(problem, (2 * coarse[0], 2 * coarse[1]))[2][::2, ::2]
    return x, y, (4 * u1 - u2) / 3


def scattered(
    problem: Elliptic, cells: tuple[int, int], points: tuple[int, int], how: str
) -> Grid:
    """Extrapolated solution at the nodes of a coarser grid that lie in the domain, as a
    scattered `Grid`.

    Args:
        problem: The problem.
        cells: Cells of the finest grid; a multiple of 4 (points − 1).
        points: Stored nodes in x and y, both ends included.
        how: Start of the sentence that says what was solved.
    """
    if any(n % (4 * (p - 1)) for n, p in zip(cells, points, strict=True)):
        raise ProblemError(
            f"cells {tuple(cells)} must be multiples of 4 (points − 1), points = "
            f"{tuple(points)}."
        )
    pick = lambda result, n: result[2][:: n[0] // (points[0] - 1), :: n[1] // (points[1] - 1)]
    half, quarter = (cells[0] // 2, cells[1] // 2), (cells[0] // 4, cells[1] // 4)
    u, check = (
        pick(extrapolated(problem, cells), half),
        pick(extrapolated(problem, half), quarter),
    )
    (x0, x1), (y0, y1) = problem.box
    X, Y = np.meshgrid(
        np.linspace(x0, x1, points[0]), np.linspace(y0, y1, points[1]), indexing="ij"
    )
    keep = np.isfinite(u) & np.isfinite(check)
    return Grid(
        {"x": X[keep], "y": Y[keep]},
        {"u": u[keep]},
        "scattered",
        relative_l2(check[keep], u[keep]),
        f"{how}: Shortley-Weller {cells[0]}² with Richardson (checked with half the cells)",
    )


def poisson_boltzmann(cells: int = 640, points: int = 81) -> Grid:
    """Poisson 2d-CG of the suite (section 3).

    −Δu + 64u = 10 (17 + x² + y²) sin πx sin 4πy on [−1, 1]² minus four disks,
    u = 0.2 on the square, u = 1 on the circles
    """
    circles = ((0.5, 0.5, 0.2), (0.4, -0.4, 0.4), (-0.2, -0.7, 0.1), (-0.6, 0.5, 0.3))
    source = lambda x, y: 10 * (17 + x**2 + y**2) * np.sin(np.pi * x) * np.sin(4 * np.pi * y)
    problem = Elliptic(
        ((-1.0, 1.0), (-1.0, 1.0)),
        [disk(*c, 1.0) for c in circles],
        source,
        lambda x, y: np.full_like(x, 0.2),
        64.0,
    )
    return scattered(
        problem, (cells, cells), (points, points), "Poisson-Boltzmann with four disks"
    )
