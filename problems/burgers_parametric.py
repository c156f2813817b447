"""Viscous Burgers' equation for a tenfold range of viscosities at once.

    u_t + u u_x = ν u_xx   on x ∈ (−1, 1), t ∈ (0, 1), ν ∈ (0.01/π, 0.1/π);   u(x, 0) = −sin πx,   u(±1, t) = 0

The field takes x, t and ν. One training gives the solution for every ν of the range.

Reference: the Cole–Hopf formula by quadrature at five viscosities, accurate to 1e-10.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem, Range


def burgers(u, nu):
    return u.t + u * u.x - nu * u.xx


problem = Problem(
    domain=Box(x=(-1, 1), t=(0, 1)),
    unknowns="u",
    parameters=dict(nu=Range(0.01 / pi, 0.1 / pi)),
    conditions=[
        Equation(burgers),
        Initial(u=lambda x: -torch.sin(pi * x)),
        Dirichlet(u=0.0, on=["x-", "x+"]),
    ],
    reference="burgers_nu.h5",
    defaults=dict(model=dict(width=24, depth=3), points=4000, sampler="rad", time=150),
)
