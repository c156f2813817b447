"""Poisson's equation on the unit square with a smooth source.

    −Δu = 2π² sin πx sin πy   on (0, 1)²;   u = 0 on the boundary

Reference: exact, u = sin πx sin πy.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian


def membrane(x, y):
    return torch.sin(pi * x) * torch.sin(pi * y)


def poisson(u, x, y):
    return -laplacian(u) - 2 * pi**2 * membrane(x, y)


problem = Problem(
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="u",
    conditions=[Equation(poisson), Dirichlet(u=0.0)],
    reference=dict(u=membrane),
    defaults=dict(model=dict(width=20, depth=2), points=1000, sampler="sobol", time=20),
)
