"""Poisson's equation with a narrow peak on a smooth wave: what adaptive Gaussians are for.

    Δu = f   on (−1, 1)²,   u = exp(−1000 |x − p|²) + sin πx sin πy,   p = (0.3, −0.2)

The peak is 0.03 wide: on an even lattice 729 Gaussians leave an error of 0.15, and as many that split 5e-4.

Reference: exact; after the test problem of Mitchell (2013), doi:10.1016/j.amc.2013.05.068, with a wave added.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian

alpha = 1000.0


def distance2(x, y):
    return (x - 0.3) ** 2 + (y + 0.2) ** 2


def peak(x, y):
    return torch.exp(-alpha * distance2(x, y)) + torch.sin(pi * x) * torch.sin(pi * y)


def poisson(u, x, y):
    q = alpha * distance2(x, y)
    f = 4 * alpha * (q - 1) * torch.exp(-q) - 2 * pi**2 * torch.sin(pi * x) * torch.sin(pi * y)
    return laplacian(u) - f


problem = Problem(
    domain=Box(x=(-1, 1), y=(-1, 1)),
    unknowns="u",
    conditions=[Equation(poisson), Dirichlet(u=peak)],
    reference=dict(u=peak),
    defaults=dict(model=dict(name="gaussian", centres=14, overlap=1.2, ghosts=3), points=588,
                  sampler="sobol", constraints="soft", refine=dict(name="splat", rounds=6), time=60),
)
