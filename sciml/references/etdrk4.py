"""ETDRK4: stiff semilinear equations û′ = L û + N(û) with a diagonal L, to fourth order in
time.

The linear part is integrated exactly, so that the step is bounded by N alone. One function for
any basis, dimension and number of unknowns: it sees only arrays of coefficients (see
`bases.py`); the problems built on it are in `evolution.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..errors import ProblemError, TrainingError


class Weights(NamedTuple):
    """Coefficients of one ETDRK4 step: e^{hL}, e^{hL/2} and the three φ-combinations times
    h."""

    full: np.ndarray
    half: np.ndarray
    stage: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def weights(symbol: np.ndarray, h: float, contour: int = 32) -> Weights:
    """Weights of the scheme, as means over circles of radius 1 around hL.

        φ-combinations f(z) = (1/M) Σⱼ f(z + e^{2πi(j+½)/M})

    The direct formulas lose all digits for small z by cancellation. The circle is taken whole,
    which is right for complex symbols such as KdV's; for a real symbol the imaginary part
    vanishes and is dropped.

    Args:
        symbol: Diagonal L, real or complex.
        h: Time step.
        contour: Points M on the circle.

    Source: Kassam & Trefethen (2005), eqs. 2.5-2.6, 3.1, doi:10.1137/S1064827502410633.
    """
    centre = h * np.asarray(symbol)
    sums = [np.zeros(centre.shape, complex) for _ in range(4)]
    for j in range(contour):
        z = centre + np.exp(2j * np.pi * (j + 0.5) / contour)
        e = np.exp(z)
        sums[0] += (np.exp(z / 2) - 1) / z
        sums[1] += (-4 - z + e * (4 - 3 * z + z**2)) / z**3
        sums[2] += (2 + z + e * (z - 2)) / z**3
        sums[3] += (-4 - 3 * z - z**2 + e * (4 - z)) / z**3
    means = [h * s / contour for s in sums]
    if not np.iscomplexobj(symbol):
        means = [m.real for m in means]
    return Weights(np.exp(centre), np.exp(centre / 2), *means)


def step(
    u: np.ndarray, nonlinear: Callable[[np.ndarray], np.ndarray], w: Weights
) -> np.ndarray:
    """One step of Cox & Matthews' fourth-order exponential Runge-Kutta scheme, on coefficients
    u."""
    n_u = nonlinear(u)
    a = w.half * u + w.stage * n_u
    n_a = nonlinear(a)
    b = w.half * u + w.stage * n_a
    n_b = nonlinear(b)
    c = w.half * a + w.stage * (2 * n_b - n_u)
    return w.full * u + w.first * n_u + 2 * w.middle * (n_a + n_b) + w.last * nonlinear(c)


def etdrk4(
    symbol: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    u0_hat: np.ndarray,
    times: np.ndarray,
    steps_per_output: int,
) -> np.ndarray:
    """Solution of û′ = L û + N(û) at the given times.

    Args:
        symbol: Diagonal L, broadcastable to `u0_hat`.
        nonlinear: N, from coefficients to coefficients; autonomous, already dealiased.
        u0_hat: Coefficients at times[0].
        times: Increasing output times, the first is the initial one, shape (T,).
        steps_per_output: Equal steps between two outputs.

    Returns:
        Coefficients, shape (T, *u0_hat.shape).

    Raises:
        TrainingError: The numbers blew up; use more steps.

    Source: Cox & Matthews (2002), eqs. 26-29; Kassam & Trefethen (2005).
    """
    times = np.asarray(times, float)
    if times.ndim != 1 or np.any(np.diff(times) <= 0):
        raise ProblemError("output times of etdrk4 must increase strictly.")
    if steps_per_output < 1:
        raise ProblemError(f"steps_per_output is {steps_per_output}, expected at least 1.")
    out, cache, u = [u0_hat], {}, u0_hat
    for start, stop in zip(times[:-1], times[1:], strict=True):
        h = (stop - start) / steps_per_output
        # Steps from linspace differ in the last digits; one set of weights serves them all.
        key = float(f"{h:.10e}")
        if key not in cache:
            cache[key] = weights(symbol, h)
        for _ in range(steps_per_output):
            u = step(u, nonlinear, cache[key])
        if not np.all(np.isfinite(u)):
            raise TrainingError(
                f"etdrk4 blew up before t = {stop:g} with step {h:.3g}; raise steps_per_output."
            )
        out.append(u)
    return np.stack(out)
