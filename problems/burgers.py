"""Viscous Burgers' equation: a sine wave steepens into a shock.

    u_t + u u_x = ν u_xx   on x ∈ (−1, 1), t ∈ (0, 1);   u(x, 0) = −sin πx,   u(±1, t) = 0,   ν = 0.01/π

Reference: the Cole–Hopf formula by quadrature (Basdevant et al. 1986), accurate to 1e-10.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem

nu = 0.01 / pi


def burgers(u):
    return u.t + u * u.x - nu * u.xx


problem = Problem(
    domain=Box(x=(-1, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(burgers),
        Initial(u=lambda x: -torch.sin(pi * x)),
        Dirichlet(u=0.0, on=["x-", "x+"]),
    ],
    reference="burgers.h5",
    defaults=dict(model=dict(width=16, depth=4), points=3000, sampler="rad", time=60),
)
