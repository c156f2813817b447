"""Kuramoto–Sivashinsky equation: long waves feed short ones, and chaos sets in.

    u_t + α u u_x + β u_xx + γ u_xxxx = 0   on x ∈ (0, 2π) periodic, t ∈ (0, 1);
    u(x, 0) = cos x (1 + sin x),   α = 100/16,   β = 100/16²,   γ = 100/16⁴

Small errors grow as time goes on, so the late times are hard (KS of PINNacle, Hao et al. 2024, made periodic).

Reference: Fourier modes and ETDRK4, accurate to 1e-7 (relative L2).
"""
from math import pi

import torch

from sciml import Box, Equation, Initial, Periodic, Problem

alpha = 100 / 16
beta = 100 / 16**2
gamma = 100 / 16**4


def kuramoto_sivashinsky(u):
    return u.t + alpha * u * u.x + beta * u.xx + gamma * u.xxxx


problem = Problem(
    domain=Box(x=(0, 2 * pi), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(kuramoto_sivashinsky),
        Initial(u=lambda x: torch.cos(x) * (1 + torch.sin(x))),
        Periodic(on="x", derivatives=3),
    ],
    reference="kuramoto_sivashinsky.h5",
    defaults=dict(model=dict(width=32, depth=3, harmonics=4), points=4000, sampler="rad",
                  time=200),
)
