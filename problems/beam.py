"""Euler–Bernoulli beam, simply supported, shaken by a known load.

    u_tt + u_xxxx = f   on x ∈ (0, π), t ∈ (0, 1);   u = u_xx = 0 at x = 0 and x = π,
    u(x, 0) = sin x,   u_t(x, 0) = 0,   f = (1 − 16π²) sin x cos 4πt

Reference: exact, u = sin x cos 4πt (Kapoor, Wang, Núñez, Dollevoet 2023, arXiv:2303.01055).
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem

ends = ["x-", "x+"]


def shaken(x, t):
    return torch.sin(x) * torch.cos(4 * pi * t)


def beam(u, x, t):
    return u.tt + u.xxxx - (1 - 16 * pi**2) * shaken(x, t)


def no_moment(u):
    return u.xx


problem = Problem(
    domain=Box(x=(0, pi), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(beam),
        Initial(u=lambda x: torch.sin(x), u_t=0.0),
        Dirichlet(u=0.0, on=ends),
        Equation(no_moment, on=ends),
    ],
    reference=dict(u=shaken),
    defaults=dict(model=dict(width=20, depth=3), points=2000, sampler="sobol", time=60),
)
