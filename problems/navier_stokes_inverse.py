"""Two coefficients of the Navier–Stokes equations from noisy velocities, the pressure unknown.

    u_t + λ₁ (u u_x + v u_y) = −p_x + λ₂ Δu,   v_t + λ₁ (u v_x + v v_y) = −p_y + λ₂ Δv,   u_x + v_y = 0

Given are 400 velocities at random places and times of (0, 2)² × (0, 1) with Gaussian noise of 1 % of the largest;
λ₁ = 1 and λ₂ = 0.05 made them. No boundary or initial values; p = 0 at the origin chooses among the pressures. The flow
is a street of decaying vortices that drifts with (a, b): their own inertia is a pressure gradient, so λ₁ shows in the
drift and λ₂ in the decay.

Reference: exact (Taylor 1923), ψ = e^(−2π²λ₂t) (sin πξ sin πη + ½ cos √2 πξ), ξ = x − at, η = y − bt, u = a + ψ_y,
v = b − ψ_x, p = −½ (ψ_x² + ψ_y²) − π² ψ². After Raissi et al. (2019), doi:10.1016/j.jcp.2018.10.045.
"""
from math import pi, sqrt

import numpy as np
import torch

from sciml import Box, Equation, Observations, Pin, Problem, Unknown, laplacian

viscosity, a, b, k = 0.05, 0.5, 0.3, sqrt(2) * pi


def flow(x, y, t, lib=torch):
    xi, eta, size = pi * (x - a * t), pi * (y - b * t), lib.exp(-2 * pi**2 * viscosity * t)
    psi = lib.sin(xi) * lib.sin(eta) + 0.5 * lib.cos(sqrt(2) * xi)
    psi_x = pi * lib.cos(xi) * lib.sin(eta) - 0.5 * k * lib.sin(sqrt(2) * xi)
    psi_y = pi * lib.sin(xi) * lib.cos(eta)
    return a + size * psi_y, b - size * psi_x, -0.5 * size**2 * (psi_x**2 + psi_y**2 + k**2 * psi**2)


rng = np.random.default_rng(2024)
places = dict(zip("xyt", rng.uniform(0, 1, (3, 400)) * [[2], [2], [1]], strict=True))
u_data, v_data = (c + 0.01 * abs(c).max() * rng.standard_normal(400) for c in flow(**places, lib=np)[:2])


def momentum(u, v, p, l1, l2):
    return {
        "x": u.t + l1 * (u * u.x + v * u.y) + p.x - l2 * laplacian(u),
        "y": v.t + l1 * (u * v.x + v * v.y) + p.y - l2 * laplacian(v),
        "continuity": u.x + v.y,
    }


problem = Problem(
    domain=Box(x=(0, 2), y=(0, 2), t=(0, 1)),
    unknowns="u v p",
    parameters=dict(l1=Unknown(0.5), l2=Unknown(0.2)),
    conditions=[Equation(momentum), Observations(at=places, u=u_data, v=v_data, weight=100),
                Pin(at=dict(x=0, y=0), p=0.0)],
    reference=dict(u=lambda x, y, t: flow(x, y, t)[0], v=lambda x, y, t: flow(x, y, t)[1],
                   p=lambda x, y, t: flow(x, y, t)[2] - flow(0 * x, 0 * y, t)[2], l1=1.0, l2=viscosity),
    defaults=dict(model=dict(width=16, depth=3), points=800, sampler="sobol", time=60),
)
