"""Korteweg–de Vries equation: a cosine breaks up into solitons (Zabusky and Kruskal 1965).

    u_t + u u_x + δ² u_xxx = 0   on x ∈ (−1, 1) periodic, t ∈ (0, 1);   u(x, 0) = cos πx,   δ = 0.022

Reference: Fourier modes and ETDRK4, accurate to 3e-9 (relative L2).
"""
from math import pi

import torch

from sciml import Box, Equation, Initial, Periodic, Problem

delta = 0.022


def kdv(u):
    return u.t + u * u.x + delta**2 * u.xxx


problem = Problem(
    domain=Box(x=(-1, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(kdv),
        Initial(u=lambda x: torch.cos(pi * x)),
        Periodic(on="x", derivatives=2),
    ],
    reference="kdv.h5",
    defaults=dict(model=dict(width=16, depth=4, harmonics=2), points=3000, sampler="rad",
                  time=100),
)
