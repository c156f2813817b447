"""Periodic evolution problems of the suite, solved by ETDRK4 in Fourier modes.

Each function runs twice, at its resolution and at half of it in space and time, and states the
difference, which is the error of the coarser run and so bounds that of the one returned. Stored
axes include both ends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import ProblemError
from .bases import Fourier
from .etdrk4 import etdrk4
from .reference import Grid, difference

Run = Callable[[int, int], dict[str, np.ndarray]]


def _twice(run: Run, modes: int, steps: int) -> tuple[dict[str, np.ndarray], float]:
    fine = run(modes, steps)
    return fine, difference(run(modes // 2, max(1, steps // 2)), fine)


def _check_nodes(modes: int, points: int) -> None:
    """The coarser run must hold the stored nodes too."""
    if (modes // 2) % (points - 1) or modes % 2:
        raise ProblemError(
            f"modes = {modes} must be an even multiple of points − 1 = {points - 1}."
        )


def _closed(values: np.ndarray, stride: int, dimensions: int = 1) -> np.ndarray:
    """Every stride-th node of the last axes, with the left end repeated at the right."""
    for axis in range(-dimensions, 0):
        values = np.take(
            values, np.arange(0, values.shape[axis] + 1, stride) % values.shape[axis], axis=axis
        )
    return values


def _coefficients(
    initial: Callable[[np.ndarray], np.ndarray], basis: Fourier, oversample: int
) -> np.ndarray:
    """Fourier coefficients of a function by projection: a transform on a finer grid.

    x² cos πx has a kink at the period: interpolation aliases its 1/k² tail into the low modes
    and converges only like h²; the projection leaves them exact.
    """
    (n,) = basis.shape
    fine = Fourier((n * oversample,), basis.lengths, basis.start)
    coefficients = fine.forward(initial(fine.nodes[0]))[: n // 2 + 1] / oversample
    coefficients[-1] = 0
    return coefficients


def _one_dimensional(
    symbol, nonlinear, initial, interval, points, outputs, final, oversample=1
) -> Run:
    """Run (modes, steps) → u on (x, t); symbol and nonlinear are functions of the basis."""
    left, right = interval

    def run(modes: int, steps: int) -> dict[str, np.ndarray]:
        basis = Fourier((modes,), (right - left,), (left,))
        u0 = _coefficients(initial, basis, oversample)
        u_hat = etdrk4(
            symbol(basis), nonlinear(basis), u0, np.linspace(0, final, outputs), steps
        )
        u = _closed(basis.inverse(u_hat), modes // (points - 1)).T.copy()
        u[:, 0] = initial(np.linspace(left, right, points))
        return {"u": u}

    return run


def _grid(run, interval, points, outputs, final, modes, steps, name) -> Grid:
    _check_nodes(modes, points)
    unknowns, accuracy = _twice(run, modes, steps)
    dt = final / ((outputs - 1) * steps)
    return Grid(
        {
            "x": np.linspace(interval[0], interval[1], points),
            "t": np.linspace(0, final, outputs),
        },
        unknowns,
        "grid",
        accuracy,
        f"{name}: Fourier ETDRK4 with {modes} nodes and dt = {dt:.4g} (checked with half of "
        f"each)",
    )


def _burgers_term(speed: float):
    """N(u) = −½ speed (u²)_x, dealiased by the 2/3 rule."""

    def build(basis: Fourier):
        factor = -0.5 * speed * basis.derivative[0] * basis.keep
        return lambda u_hat: factor * basis.forward(basis.inverse(u_hat) ** 2)

    return build


def allen_cahn(
    points: int = 257, outputs: int = 101, modes: int = 4096, steps: int = 20
) -> Grid:
    """Allen-Cahn of the suite (section 7).

        u_t = 10⁻⁴ u_xx − 5u³ + 5u,   x ∈ [−1, 1] periodic, t ∈ [0, 1],   u(x, 0) = x² cos πx

    Args:
        points: Stored nodes in x, both ends included.
        outputs: Stored times.
        modes: Fourier nodes of the finer run.
        steps: Time steps between outputs of the finer run.

    Note: The initial state has a kink at x = ±1, which only diffusion resolves; see
    `_coefficients`.
    """

    def nonlinear(basis):
        return lambda u_hat: -5 * basis.keep * basis.forward(basis.inverse(u_hat) ** 3)

    run = _one_dimensional(
        lambda b: 1e-4 * b.laplacian + 5,
        nonlinear,
        lambda x: x**2 * np.cos(np.pi * x),
        (-1, 1),
        points,
        outputs,
        1.0,
        oversample=64,
    )
    return _grid(run, (-1, 1), points, outputs, 1.0, modes, steps, "Allen-Cahn")


def kdv(points: int = 257, outputs: int = 101, modes: int = 1024, steps: int = 100) -> Grid:
    """Korteweg-de Vries of the suite (section 7), Zabusky and Kruskal's solitons.

        u_t + u u_x + 0.022² u_xxx = 0,   x ∈ [−1, 1] periodic, t ∈ [0, 1],   u(x, 0) = cos πx

    Args: As `allen_cahn`.
    """
    run = _one_dimensional(
        lambda b: -(0.022**2) * b.derivative[0] ** 3,
        _burgers_term(1.0),
        lambda x: np.cos(np.pi * x),
        (-1, 1),
        points,
        outputs,
        1.0,
    )
    return _grid(run, (-1, 1), points, outputs, 1.0, modes, steps, "KdV")


def kuramoto_sivashinsky(
    points: int = 257,
    outputs: int = 101,
    modes: int = 1024,
    steps: int = 200,
    alpha: float = 100 / 16,
    beta: float = 100 / 16**2,
    gamma: float = 100 / 16**4,
) -> Grid:
    """Kuramoto-Sivashinsky of the suite (section 3), chaotic.

        u_t + α u u_x + β u_xx + γ u_xxxx = 0,   x ∈ [0, 2π] periodic, t ∈ [0, 1],
        u(x, 0) = cos x (1 + sin x)

    Args: As `allen_cahn`; alpha, beta, gamma are the coefficients.
    """
    run = _one_dimensional(
        lambda b: -beta * b.laplacian - gamma * b.laplacian**2,
        _burgers_term(alpha),
        lambda x: np.cos(x) * (1 + np.sin(x)),
        (0, 2 * np.pi),
        points,
        outputs,
        1.0,
    )
    return _grid(
        run, (0, 2 * np.pi), points, outputs, 1.0, modes, steps, "Kuramoto-Sivashinsky"
    )


def gray_scott(
    points: int = 65, outputs: int = 11, modes: int = 256, steps: int = 20, final: float = 200.0
) -> Grid:
    """Gray-Scott of the suite (GS, section 3, adopted: periodic).

        u_t = 10⁻⁵ Δu + 0.04(1 − u) − uv²,   v_t = 5·10⁻⁶ Δv − 0.1 v + uv²,   [−1, 1]² periodic

    Args: As `allen_cahn`, with `points` nodes and `modes` modes in each direction; final is the
    last time.
    """

    def run(modes: int, steps: int) -> dict[str, np.ndarray]:
        basis = Fourier((modes, modes), (2.0, 2.0), (-1.0, -1.0))
        x, y = np.meshgrid(*basis.nodes, indexing="ij")
        bump = lambda a, b: np.exp(-80 * ((x + a) ** 2 + (y + b) ** 2))
        u0 = basis.forward(np.stack([1 - bump(0.05, 0.02), bump(-0.05, -0.02)]))
        symbol = np.stack([1e-5 * basis.laplacian - 0.04, 5e-6 * basis.laplacian - 0.1])
        feed = 0.04 * modes**2

        def nonlinear(w_hat):
            u, v = basis.inverse(w_hat)
            reaction = basis.keep * basis.forward(u * v**2)
            out = np.stack([-reaction, reaction])
            out[0, 0, 0] += feed
            return out

        w = basis.inverse(etdrk4(symbol, nonlinear, u0, np.linspace(0, final, outputs), steps))
        w = np.moveaxis(_closed(w, modes // (points - 1), 2), 0, -1)
        return {"u": w[0].copy(), "v": w[1].copy()}

    _check_nodes(modes, points)
    unknowns, accuracy = _twice(run, modes, steps)
    axis = np.linspace(-1, 1, points)
    return Grid(
        {"x": axis, "y": axis, "t": np.linspace(0, final, outputs)},
        unknowns,
        "grid",
        accuracy,
        f"Gray-Scott: Fourier ETDRK4 with {modes}² nodes and dt = "
        f"{final / (outputs - 1) / steps:.4g} "
        "(checked with half of each)",
    )
