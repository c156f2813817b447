"""Burgers' equation u_t + u u_x = ν u_xx with u(x, 0) = −sin πx, by the Cole-Hopf transform.

    u(x, t) = −∫ sin π(x−η) w(η) dη / ∫ w(η) dη,   w = exp(−cos π(x−η) / (2πν) − η² / (4νt))

The integrand is entire and decays like a Gaussian, so the trapezoid rule converges faster than
any power; the exponent is shifted by its maximum (log-sum-exp), so that no ν under- or
overflows. u is a mean of −sin under a positive weight: there is no cancellation, also not in
the front at x = 0.
"""

from __future__ import annotations

import numpy as np

from ..errors import ProblemError
from .reference import Grid, relative_l2


def burgers_exact(x: np.ndarray, t: float, nu: float, spacing: float = 0.04) -> np.ndarray:
    """u(x, t) at one time.

    Args:
        x: Positions, shape (N,).
        t: Time ≥ 0.
        nu: Viscosity > 0.
        spacing: Trapezoid step in s = η / √(4νt); 0.04 is converged to rounding for t ≤ 1.

    Returns:
        Shape (N,).

    Source: Basdevant et al. (1986), doi:10.1016/0045-7930(86)90036-8.
    """
    if nu <= 0 or t < 0:
        raise ProblemError(f"Cole-Hopf needs nu > 0 and t >= 0, got nu = {nu} and t = {t}.")
    x = np.asarray(x, float)
    if t == 0:
        return -np.sin(np.pi * x)
    # Beyond this reach the Gaussian is below e^-45 times the largest weight, whatever the
    # cosine does.
    reach = np.sqrt(1 / (np.pi * nu) + 45)
    s = spacing * np.arange(-int(reach / spacing) - 1, int(reach / spacing) + 2)
    y = np.pi * (x[:, None] - np.sqrt(4 * nu * t) * s)
    exponent = -np.cos(y) / (2 * np.pi * nu) - s**2
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(np.sin(y) * weight).sum(axis=1) / weight.sum(axis=1)


def _table(x, t, nus, spacing):
    return np.stack(
        [np.stack([burgers_exact(x, ti, nu, spacing) for ti in t], axis=1) for nu in nus],
        axis=2,
    )


def _axes(points, outputs):
    x = np.linspace(-1, 1, points)
    # linspace is symmetric only to rounding, and the front at x = 0 is steep (slope 150): make
    # it odd exactly.
    return (x - x[::-1]) / 2, np.linspace(0, 1, outputs)


def burgers(nu: float = 0.01 / np.pi, points: int = 257, outputs: int = 101) -> Grid:
    """Burgers 1d-C of the suite: x ∈ [−1, 1], t ∈ [0, 1], u(±1, t) = 0, on a uniform grid.

    Args:
        nu: Viscosity.
        points: Nodes in x, both ends included.
        outputs: Times, both ends included.
    """
    x, t = _axes(points, outputs)
    fine, coarse = (_table(x, t, [nu], spacing)[:, :, 0] for spacing in (0.04, 0.08))
    return Grid(
        {"x": x, "t": t},
        {"u": fine},
        "grid",
        max(relative_l2(coarse, fine), 1e-13),
        f"Cole-Hopf transform, trapezoid rule with step 0.04 √(4νt) (checked with 0.08), nu = "
        f"{nu:.12g}",
    )


def burgers_nu(
    low: float = 0.01 / np.pi,
    high: float = 0.1 / np.pi,
    count: int = 5,
    points: int = 129,
    outputs: int = 51,
) -> Grid:
    """Burgers 1d-C with viscosity as a third coordinate, geometric from low to high."""
    x, t = _axes(points, outputs)
    nus = np.geomspace(low, high, count)
    fine, coarse = (_table(x, t, nus, spacing) for spacing in (0.04, 0.08))
    return Grid(
        {"x": x, "t": t, "nu": nus},
        {"u": fine},
        "grid",
        max(relative_l2(coarse, fine), 1e-13),
        f"Cole-Hopf transform, trapezoid rule with step 0.04 √(4νt) (checked with 0.08), "
        f"{count} viscosities from {low:.6g} to {high:.6g}",
    )
