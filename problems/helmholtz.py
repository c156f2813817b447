"""Helmholtz equation: a standing wave, four times as fine in x as in y.

    Δu + k² u = q   on (−1, 1)²;   u = 0 on the boundary,   k = 1,
    q = (k² − (a₁² + a₂²) π²) sin a₁πx sin a₂πy,   a = (4, 1)

Reference: exact, u = sin a₁πx sin a₂πy (Wang, Teng, Perdikaris 2021, doi:10.1137/20M1318043, with x and y exchanged).
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian

a1 = 4.0
a2 = 1.0
k = 1.0


def standing_wave(x, y):
    return torch.sin(a1 * pi * x) * torch.sin(a2 * pi * y)


def helmholtz(u, x, y):
    q = (k**2 - (a1**2 + a2**2) * pi**2) * standing_wave(x, y)
    return laplacian(u) + k**2 * u - q


problem = Problem(
    domain=Box(x=(-1, 1), y=(-1, 1)),
    unknowns="u",
    conditions=[Equation(helmholtz), Dirichlet(u=0.0)],
    reference=dict(u=standing_wave),
    defaults=dict(model=dict(width=20, depth=3, activation="sin"), points=2000, sampler="sobol", time=60),
)
