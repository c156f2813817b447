"""Klein–Gordon equation with a cubic term, driven by a known source.

    u_tt − u_xx + u³ = f   on x ∈ (0, 1), t ∈ (0, 1);   u(x, 0) = x,   u_t(x, 0) = 0,
    u(0, t) = 0,   u(1, t) = cos 5πt + t³,   f from the solution

Reference: exact, u = x cos 5πt + (xt)³ (Wang, Teng, Perdikaris 2021, section 4, doi:10.1137/20M1318043).
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem


def swing(x, t):
    return x * torch.cos(5 * pi * t) + (x * t) ** 3


def klein_gordon(u, x, t):
    u_tt = -25 * pi**2 * x * torch.cos(5 * pi * t) + 6 * x**3 * t
    u_xx = 6 * x * t**3
    f = u_tt - u_xx + swing(x, t) ** 3
    return u.tt - u.xx + u**3 - f


problem = Problem(
    domain=Box(x=(0, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(klein_gordon),
        Initial(u=lambda x: x, u_t=0.0),
        Dirichlet(u=swing, on=["x-", "x+"]),
    ],
    reference=dict(u=swing),
    defaults=dict(model=dict(width=20, depth=3), points=2000, sampler="sobol", time=60),
)
