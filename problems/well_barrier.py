"""Quantum well with a barrier in the middle: ground state and first excited state.

    −ψ″ + V ψ = E ψ   on x ∈ (0, 1);   ψ(0) = ψ(1) = 0,   ∫ψ² = 1,   E unknown,
    V = 50 on (0.4, 0.6), else 0

V jumps, and ψ″ with it, while ψ and ψ′ are continuous: an `Interface` at each jump says so. It gives the field one
smooth piece for each of the three parts of the box; after six seconds the error is 4e-7, with a network that is
smooth across the jumps 2e-3. Where the energies start decides which states are found.

Reference: transfer matrices, accurate to 1e-12; E₁ = 25.059686, E₂ = 41.633531. A state's sign is free, and
errors are taken with the nearer one.
"""
import torch

from sciml import Box, Dirichlet, Equation, Integral, Interface, Normalized, Problem, Unknown

V0, left, right = 50.0, 0.4, 0.6


def schroedinger(psi1, psi2, x, E1, E2):
    V = torch.where((x > left) & (x < right), V0, 0.0)
    return -psi1.xx + (V - E1) * psi1, -psi2.xx + (V - E2) * psi2


def overlap(psi1, psi2):
    return psi1 * psi2


problem = Problem(
    domain=Box(x=(0, 1)),
    unknowns="psi1 psi2",
    parameters=dict(E1=Unknown(20.0), E2=Unknown(50.0)),
    conditions=[
        Equation(schroedinger),
        Interface(at=dict(x=left), psi1=0.0, psi2=0.0),
        Interface(at=dict(x=right), psi1=0.0, psi2=0.0),
        Dirichlet(psi1=0.0, psi2=0.0),
        Normalized(psi1=1.0, weight=1000.0),
        Normalized(psi2=1.0, weight=1000.0),
        Integral(overlap, weight=1000.0),
    ],
    reference="well_barrier.h5",
    defaults=dict(model=dict(width=20, depth=2), points=500, sampler="sobol", time=20),
)
