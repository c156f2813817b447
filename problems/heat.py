"""Heat equation: a sine wave fades in a rod with cold ends.

    u_t = α u_xx   on x ∈ (0, 1), t ∈ (0, 1);   u(x, 0) = sin πx,   u(0, t) = u(1, t) = 0,   α = 0.4

Reference: exact, u = exp(−α π² t) sin πx.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem

alpha = 0.4


def heat(u):
    return u.t - alpha * u.xx


problem = Problem(
    domain=Box(x=(0, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(heat),
        Initial(u=lambda x: torch.sin(pi * x)),
        Dirichlet(u=0.0, on=["x-", "x+"]),
    ],
    reference=dict(u=lambda x, t: torch.exp(-alpha * pi**2 * t) * torch.sin(pi * x)),
    defaults=dict(model=dict(width=20, depth=3), points=1000, sampler="sobol", time=20),
)
