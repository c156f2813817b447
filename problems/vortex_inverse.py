"""Inertia and viscosity from a few velocities, where most of the flow says nothing: a vortex carried by a stream.

    u_t + λ₁ (u u_x + v u_y) = −p_x + λ₂ Δu,   v_t + λ₁ (u v_x + v v_y) = −p_y + λ₂ Δv,   u_x + v_y = 0

Known are the flow at t = 0 and on the frame of (−2, 5/2) × (−2, 2), to 2e-4 the stream (a, b), and p = 0 in a corner;
measured are velocities at 1,000 random places and times of (0, 1), with Gaussian noise of 2 % of the largest. λ₁ = 1
shows in where the vortex has gone, λ₂ = 0.05 in how it has spread, and both only in the vortex, a tenth of the box, and
late: ten velocities can tell as much as a hundred at random. With λ₁ = λ₂ = 0 it would stand still, hence the bounds.

Reference: exact, Taylor's vortex (1918, Aeronautical Research Committee R & M 598) around (at, bt): it swirls at
B r/c² e^(−r²/2c) with c = c₀ + 2 λ₂ t, p = −B²/(2c³) e^(−r²/c). After Lau et al. (2024), arXiv:2404.07662, appendix J.
"""
from math import e, sqrt

import numpy as np
import torch

from sciml import Box, Dirichlet, Equation, Initial, Observations, Pin, Problem, Unknown, laplacian

viscosity, a, b, c0, noise = 0.05, 0.5, 0.1, 0.1, 0.02
B = sqrt(c0**3 * e)                                   # the fastest swirl at t = 0 is 1


def flow(x, y, t, lib=torch):
    c, xi, eta = c0 + 2 * viscosity * t, x - a * t, y - b * t
    swirl = B / c**2 * lib.exp(-(xi**2 + eta**2) / (2 * c))
    return a - eta * swirl, b + xi * swirl, -0.5 * c * swirl**2


rng = np.random.default_rng(2024)
places = dict(zip("xyt", rng.uniform(0, 1, (3, 1000)) * [[4.5], [4], [1]] - [[2], [2], [0]], strict=True))
u_data, v_data = (q + noise * rng.standard_normal(1000) for q in flow(**places, lib=np)[:2])


def momentum(u, v, p, l1, l2):
    return {
        "x": u.t + l1 * (u * u.x + v * u.y) + p.x - l2 * laplacian(u),
        "y": v.t + l1 * (u * v.x + v * v.y) + p.y - l2 * laplacian(v),
        "continuity": u.x + v.y,
    }


problem = Problem(
    title="A vortex carried by a stream",
    domain=Box(x=(-2, 2.5), y=(-2, 2), t=(0, 1)),
    unknowns="u v p",
    parameters=dict(l1=Unknown(0.5, bounds=(0.2, 2)), l2=Unknown(0.1, bounds=(0.01, 0.2))),
    conditions=[
        Equation(momentum),
        Initial(u=lambda x, y: flow(x, y, 0.0 * x)[0], v=lambda x, y: flow(x, y, 0.0 * x)[1]),
        Dirichlet(u=lambda x, y, t: flow(x, y, t)[0], v=lambda x, y, t: flow(x, y, t)[1]),
        Observations(at=places, u=u_data, v=v_data, weight=2),
        Pin(at=dict(x=-2, y=-2, t=0), p=0.0),
    ],
    reference=dict(u=lambda x, y, t: flow(x, y, t)[0], v=lambda x, y, t: flow(x, y, t)[1],
                   p=lambda x, y, t: flow(x, y, t)[2], l1=1.0, l2=viscosity),
    defaults=dict(model=dict(width=14, depth=3), points=1500, sampler="sobol", time=60),
)
