"""Advection of two waves around a circle, as in PDEBench.

    u_t + β u_x = 0   on x ∈ (0, 1) periodic, t ∈ (0, 2);   u(x, 0) = u₀(x) = 0.7 sin(4πx + 1.3) + 0.4 sin(10πx + 4.1)

With β = 1 the waves go twice around. Their sharp stripes are what few collocation points must find; in one layer of
sines the solution is two units. Amplitudes, modes and phases are drawn in PDEBench, and here a choice of our own.

Reference: exact, u = u₀(x − βt) (Takamoto et al. 2022, arXiv:2210.07182; points chosen for it: Lau et al. 2024,
arXiv:2404.07662, appendix J).
"""
from math import pi

import torch

from sciml import Box, Equation, Initial, Periodic, Problem

beta = 1.0


def advection(u):
    return u.t + beta * u.x


def start(x):
    return 0.7 * torch.sin(4 * pi * x + 1.3) + 0.4 * torch.sin(10 * pi * x + 4.1)


problem = Problem(
    title="Advection of two waves",
    domain=Box(x=(0, 1), t=(0, 2)),
    unknowns="u",
    conditions=[
        Equation(advection),
        Initial(u=start),
        Periodic(on="x"),
    ],
    reference=dict(u=lambda x, t: start(x - beta * t)),
    defaults=dict(model=dict(width=100, depth=1, activation="sin", init="random-features", spread=30.0),
                  constraints="soft", points=1000, sampler="sobol", time=30),
)
