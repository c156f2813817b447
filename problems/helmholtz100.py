"""Helmholtz equation: a standing wave, a hundred times as fine as the square's half side in both directions.

    Δu + k² u = q   on (−1, 1)²;   u = 0 on the boundary,   k = 1,
    q = (k² − (a₁² + a₂²) π²) sin a₁πx sin a₂πy,   a = (100, 100)

Solved by a lattice of Gaussians with Kronecker structure, a spectral Galerkin method: classical numerics, no training.
`--set a1=10 a2=10 model.centres=60` and the like are the easier ones of the same paper.

Reference: exact, u = sin a₁πx sin a₂πy (Kang et al. 2025, Physics-Informed Gaussians, arXiv:2412.05994), on a grid that
shares no period with it.
"""
from math import pi

import numpy as np
import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian
from sciml.references import Grid

a1 = 100.0
a2 = 100.0
k = 1.0


def standing_wave(x, y):
    return torch.sin(a1 * pi * x) * torch.sin(a2 * pi * y)


def helmholtz(u, x, y):
    q = (k**2 - (a1**2 + a2**2) * pi**2) * standing_wave(x, y)
    return laplacian(u) + k**2 * u - q


def exact():
    x = np.linspace(-1, 1, 701)
    values = np.sin(a1 * pi * x)[:, None] * np.sin(a2 * pi * x)
    return Grid(dict(x=x, y=x), dict(u=values), "grid", 0.0, "formula")


problem = Problem(
    domain=Box(x=(-1, 1), y=(-1, 1)),
    unknowns="u",
    conditions=[Equation(helmholtz), Dirichlet(u=0.0)],
    reference=exact,
    defaults=dict(model=dict(name="gaussian-lattice", centres=400), optimizer="kronecker", points=2000,
                  sampler="sobol", time=60),
)
