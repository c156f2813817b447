"""Finite quantum well: ground state and first excited state of a particle that reaches into the walls.

    −ψ″ + V ψ = E ψ   on the line, cut to x ∈ (−2.5, 2.5);   V = 0 on (−½, ½), else 50,
    ∂ψ/∂n = −√(50 − E) ψ at the ends (ψ decays beyond them),   ∫ψ² = 1,   E unknown

V jumps, and ψ″ with it, while ψ and ψ′ are continuous: an `Interface` at each jump says so, and gives the field one
smooth piece on either side. ψ = 0 at the ends would cost 1e-5 in ψ₂; the condition of decay is exact. The energies are
bracketed, because so wide a box also holds nearly free states, which a random start falls into.

Reference: transfer matrices on the whole line, accurate to 1e-12; E₁ = 5.942243, E₂ = 22.976755. A state's sign is
free, and errors are taken with the nearer one.
"""
import torch

from sciml import Box, Equation, Integral, Interface, Normalized, Problem, Unknown, dot, grad

V0, edge = 50.0, 0.5


def schroedinger(psi1, psi2, x, E1, E2):
    V = torch.where(abs(x) < edge, 0.0, V0)
    return -psi1.xx + (V - E1) * psi1, -psi2.xx + (V - E2) * psi2


def decay(psi1, psi2, normal, E1, E2):
    return (dot(normal, grad(psi1)) + torch.sqrt(V0 - E1) * psi1,
            dot(normal, grad(psi2)) + torch.sqrt(V0 - E2) * psi2)


def overlap(psi1, psi2):
    return psi1 * psi2


problem = Problem(
    domain=Box(x=(-2.5, 2.5)),
    unknowns="psi1 psi2",
    parameters=dict(E1=Unknown(7.0, bounds=(4, 8)), E2=Unknown(19.0, bounds=(18, 28))),
    conditions=[
        Equation(schroedinger),
        Equation(decay, on="boundary", points=16, weight=1000.0),
        Interface(at=dict(x=-edge), psi1=0.0, psi2=0.0, weight=1000.0),
        Interface(at=dict(x=edge), psi1=0.0, psi2=0.0, weight=1000.0),
        Normalized(psi1=1.0, weight=1000.0),
        Normalized(psi2=1.0, weight=1000.0),
        Integral(overlap, weight=1000.0),
    ],
    reference="well_finite.h5",
    defaults=dict(model=dict(width=20, depth=2), points=500, sampler="sobol", time=20),
)
