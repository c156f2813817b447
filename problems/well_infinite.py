"""Infinite quantum well: ground state and first excited state of a particle between two walls.

    −ψ″ = E ψ   on x ∈ (0, 1);   ψ(0) = ψ(1) = 0,   ∫ψ² = 1,   E unknown

Both states are found at once; the second is orthogonal to the first. The energies start 20 % off, which decides what
states are found: from further off the run may end at others, which satisfy the same conditions.

Reference: exact, ψₙ = √2 sin nπx and Eₙ = n²π² (a state's sign is free, and errors are taken with the nearer one).
"""
from math import pi, sqrt

import torch

from sciml import Box, Dirichlet, Equation, Integral, Normalized, Problem, Unknown


def schroedinger(psi1, psi2, E1, E2):
    return -psi1.xx - E1 * psi1, -psi2.xx - E2 * psi2


def overlap(psi1, psi2):
    return psi1 * psi2


problem = Problem(
    domain=Box(x=(0, 1)),
    unknowns="psi1 psi2",
    parameters=dict(E1=Unknown(0.8 * pi**2), E2=Unknown(0.8 * 4 * pi**2)),
    conditions=[
        Equation(schroedinger),
        Dirichlet(psi1=0.0, psi2=0.0),
        Normalized(psi1=1.0, weight=1000.0),
        Normalized(psi2=1.0, weight=1000.0),
        Integral(overlap, weight=1000.0),
    ],
    reference=dict(
        psi1=lambda x: sqrt(2) * torch.sin(pi * x), E1=pi**2,
        psi2=lambda x: sqrt(2) * torch.sin(2 * pi * x), E2=4 * pi**2,
    ),
    defaults=dict(model=dict(width=20, depth=2), points=500, sampler="sobol", time=20),
)
