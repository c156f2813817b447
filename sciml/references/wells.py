"""One-dimensional quantum wells with piecewise constant potential.

    −ψ″ + V(x) ψ = E ψ,   ∫ψ² = 1

Within a piece ψ is a combination of cos kx and sin kx (or cosh and sinh), so (ψ, ψ′) passes
through it by a 2×2 transfer matrix, and the levels are the roots of one scalar function of E.
The ends are walls (ψ = 0) or open (ψ decays). Levels are found to rounding; ψ is positive next
to the left end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ..errors import ProblemError
from .reference import Grid, relative_l2


@dataclass(frozen=True)
class Potential:
    """Piecewise constant V: values[i] on [breaks[i], breaks[i+1]].

    Args:
        breaks: Increasing positions, one more than values; the first and last are the ends.
        values: Heights of V, one per piece.
        outside: V beyond the ends; infinite for walls (ψ = 0 there).
    """

    breaks: tuple[float, ...]
    values: tuple[float, ...]
    outside: float = np.inf

    def __post_init__(self):
        if len(self.breaks) != len(self.values) + 1 or np.any(np.diff(self.breaks) <= 0):
            raise ProblemError(
                f"potential has {len(self.breaks)} breaks and {len(self.values)} values; "
                f"expected increasing breaks, "
                "one more than values."
            )

    def mirrored(self) -> Potential:
        """V(−x)."""
        return Potential(tuple(-b for b in self.breaks[::-1]), self.values[::-1], self.outside)


def transfer(E: float, V: float, d) -> np.ndarray:
    """Matrix from (ψ, ψ′) at one place to (ψ, ψ′) a distance d further, shape (..., 2, 2).

        [ cos kd     sin(kd)/k ]
        [ −k sin kd  cos kd    ],   k² = E − V, hyperbolic for E < V

    Args:
        E: Energy.
        V: Potential, constant over the distance.
        d: Distance, any shape.
    """
    d = np.asarray(d, float)
    k = np.emath.sqrt(E - V)
    if abs(k) < 1e-9:
        c, s, m = np.ones_like(d), d, np.zeros_like(d)
    else:
        c, s = np.real(np.cos(k * d)), np.real(np.sin(k * d) / k)
        m = -(E - V) * s
    return np.stack([np.stack([c, s], -1), np.stack([m, c], -1)], -2)


def _start(E: float, outside: float) -> np.ndarray:
    """(ψ, ψ′) at the left end: (0, 1) at a wall, (1, κ) before an open side."""
    return np.array([0.0, 1.0]) if np.isinf(outside) else np.array([1.0, np.sqrt(outside - E)])


def mismatch(E: float, potential: Potential) -> float:
    """Function whose roots are the levels: ψ at the right wall, or ψ′ + κψ before an open
    side."""
    state = _start(E, potential.outside)
    for V, d in zip(potential.values, np.diff(potential.breaks), strict=True):
        state = transfer(E, V, d) @ state
    return (
        state[0]
        if np.isinf(potential.outside)
        else state[1] + np.sqrt(potential.outside - E) * state[0]
    )


def levels(potential: Potential, count: int, step: float = 0.2) -> np.ndarray:
    """The lowest levels E₁ < E₂ < …, shape (count,).

    Args:
        potential: The well.
        count: How many.
        step: Step of the scan in E that brackets roots; each is then found by Brent's method to
            rounding.

    Raises:
        ProblemError: An open well holds fewer levels, or the scan missed one (the n-th state
            must have n − 1 nodes); a smaller step separates them.
    """
    found: list[float] = []
    top = potential.outside
    e = min(potential.values)
    before = mismatch(e + 1e-12, potential)
    while len(found) < count and e < top:
        upper = min(e + step, top - 1e-12)
        after = mismatch(upper, potential)
        if before * after < 0:
            found.append(
                brentq(
                    mismatch,
                    e if found else e + 1e-12,
                    upper,
                    args=(potential,),
                    xtol=1e-13,
                    rtol=1e-15,
                )
            )
        e, before = e + step, after
    if len(found) < count:
        raise ProblemError(
            f"this well holds {len(found)} bound states below V = {top:g}; {count} were asked "
            f"for."
        )
    for n, E in enumerate(found):
        x = np.linspace(potential.breaks[0], potential.breaks[-1], 4001)[1:-1]
        nodes = np.count_nonzero(np.diff(np.sign(_shape(E, potential, x))))
        if nodes != n:
            raise ProblemError(
                f"the scan missed a level: state {n + 1} has {nodes} nodes; use a step below "
                f"{step:g}."
            )
    return np.array(found)


def _shape(E: float, potential: Potential, x: np.ndarray) -> np.ndarray:
    """ψ(x) from the left end on, not normalised."""
    b = potential.breaks
    psi, state = np.zeros_like(x), _start(E, potential.outside)
    open_side = not np.isinf(potential.outside)
    if open_side:
        kappa = np.sqrt(potential.outside - E)
        psi[x < b[0]] = np.exp(kappa * (x[x < b[0]] - b[0]))
    for V, left, right in zip(potential.values, b[:-1], b[1:], strict=True):
        inside = (x >= left) & (x <= right)
        psi[inside] = transfer(E, V, x[inside] - left)[:, 0] @ state
        state = transfer(E, V, right - left) @ state
    if open_side:
        psi[x > b[-1]] = state[0] * np.exp(-kappa * (x[x > b[-1]] - b[-1]))
    return psi


def state(E: float, potential: Potential, x: np.ndarray) -> np.ndarray:
    """Normalised ψ of level E at x, positive next to the left end, shape (N,).

    The norm is taken over the whole line: Gauss quadrature per piece, exponential tails in
    closed form.
    """
    z, w = np.polynomial.legendre.leggauss(48)
    norm = 0.0
    for left, right in zip(potential.breaks[:-1], potential.breaks[1:], strict=True):
        half = (right - left) / 2
        norm += half * w @ _shape(E, potential, left + half * (z + 1)) ** 2
    if not np.isinf(potential.outside):
        ends = _shape(E, potential, np.array([potential.breaks[0], potential.breaks[-1]]))
        norm += (ends**2).sum() / (2 * np.sqrt(potential.outside - E))
    return _shape(E, potential, np.asarray(x, float)) / np.sqrt(norm)


def bands(
    qa: float, well: float, barrier: float, V0: float, count: int, step: float = 0.05
) -> np.ndarray:
    """Lowest Kronig-Penney levels at Bloch phase qa, shape (count,).

        cos qa = ½ tr M(E),   M the transfer matrix of one period

    Args:
        qa: Phase of ψ from one period to the next.
        well: Width with V = 0.
        barrier: Width with V = V0.
        V0: Height of the barrier.
        count: How many levels.
        step: Step of the scan in E; levels closer than it (closed gaps) are missed.
    """

    def gap(E):
        return np.trace(transfer(E, V0, barrier) @ transfer(E, 0.0, well)) / 2 - np.cos(qa)

    found: list[float] = []
    e, before = 0.0, gap(0.0)
    while len(found) < count:
        after = gap(e + step)
        if before * after < 0:
            found.append(brentq(gap, e, e + step, xtol=1e-13, rtol=1e-15))
        e, before = e + step, after
    return np.array(found)


def _states(potential: Potential, x: np.ndarray, count: int, name: str) -> Grid:
    """The lowest states as unknowns psi1, psi2, …, checked by shooting from the other end."""
    E = levels(potential, count)
    mirror = levels(potential.mirrored(), count)
    psi, worst = {}, float(np.max(np.abs(mirror / E - 1)))
    for n in range(count):
        psi[f"psi{n + 1}"] = state(E[n], potential, x)
        back = state(mirror[n], potential.mirrored(), -x)
        worst = max(
            worst, relative_l2(back * np.sign(back @ psi[f"psi{n + 1}"]), psi[f"psi{n + 1}"])
        )
    return Grid(
        {"x": x},
        psi,
        "grid",
        max(worst, 1e-12),
        f"{name}: transfer matrices and Brent's method, checked by shooting from the other end",
        {f"E{n + 1}": float(E[n]) for n in range(count)},
    )


def well_infinite(points: int = 401, count: int = 3) -> Grid:
    """Infinite well on [0, 1]: Eₙ = n²π², ψₙ = √2 sin nπx."""
    return _states(
        Potential((0.0, 1.0), (0.0,)),
        np.linspace(0, 1, points),
        count,
        "infinite well on [0, 1]",
    )


def well_finite(
    V0: float = 50.0, reach: float = 2.5, points: int = 501, count: int = 2
) -> Grid:
    """Well of width 1 and depth V0, V = 0 on [−½, ½] and V0 outside, stored on [−reach, reach].

    Note: ψ is that of the whole line; what is cut off is e^(−√(V0−E)(reach−½)), 1.7e-6 of the
    ground state and 3e-5 of the second for the defaults.
    """
    potential = Potential((-0.5, 0.5), (0.0,), outside=V0)
    return _states(
        potential,
        np.linspace(-reach, reach, points),
        count,
        f"finite well, width 1, V0 = {V0:g}",
    )


def well_barrier(
    V0: float = 50.0, left: float = 0.4, right: float = 0.6, points: int = 401, count: int = 2
) -> Grid:
    """Box [0, 1] with walls and a barrier of height V0 on [left, right]."""
    potential = Potential((0.0, left, right, 1.0), (0.0, V0, 0.0))
    return _states(
        potential,
        np.linspace(0, 1, points),
        count,
        f"box [0, 1] with V0 = {V0:g} on [{left:g}, {right:g}]",
    )
