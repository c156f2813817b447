"""Poisson's equation in five dimensions.

    −Δu = π² Σᵢ cos πxᵢ   on (0, 1)⁵;   u = Σᵢ cos πxᵢ on the boundary

The boundary values stay in the loss: interpolated between the faces they happen to be the solution itself, and there
would be nothing to learn.

Reference: exact, u = Σᵢ cos πxᵢ. The five coordinates are called v, w, x, y, z.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian


def cosines(v, w, x, y, z):
    return sum(torch.cos(pi * c) for c in (v, w, x, y, z))


def poisson(u, v, w, x, y, z):
    return -laplacian(u) - pi**2 * cosines(v, w, x, y, z)


problem = Problem(
    domain=Box(v=(0, 1), w=(0, 1), x=(0, 1), y=(0, 1), z=(0, 1)),
    unknowns="u",
    conditions=[Equation(poisson), Dirichlet(u=cosines)],
    reference=dict(u=cosines),
    defaults=dict(model=dict(width=64, depth=1, activation="sin"), points=2000, sampler="sobol", time=30,
                  constraints="soft"),
)
