"""Convection: a sine wave travels around the circle nearly five times.

    u_t + β u_x = 0   on x ∈ (0, 2π) periodic, t ∈ (0, 1);   u(x, 0) = sin x,   β = 30

One layer of sines is a sum of waves sin(κx + ωt + φ), and this solution is one of them.

Reference: exact, u = sin(x − βt) (Krishnapriyan et al. 2021, arXiv:2109.01050).
"""
from math import pi

import torch

from sciml import Box, Equation, Initial, Periodic, Problem

beta = 30.0
weight = 1.0                     # of initial and periodic values where they are in the loss


def convection(u):
    return u.t + beta * u.x


problem = Problem(
    domain=Box(x=(0, 2 * pi), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(convection),
        Initial(u=lambda x: torch.sin(x), weight=weight),
        Periodic(on="x", weight=weight),
    ],
    reference=dict(u=lambda x, t: torch.sin(x - beta * t)),
    defaults=dict(model=dict(width=64, depth=1, activation="sin", init="random-features", spread=8.0),
                  constraints="soft", points=1000, sampler="sobol", time=20),
)
