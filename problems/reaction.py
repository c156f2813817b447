"""Reaction: a bump grows by the logistic law at every point by itself.

    u_t = ρ u (1 − u)   on x ∈ (0, 2π) periodic, t ∈ (0, 1);   ρ = 5,
    u(x, 0) = h(x) = exp(−(x − π)² / (2 (π/4)²))

Reference: exact, u = h e^(ρt) / (h e^(ρt) + 1 − h) (Krishnapriyan et al. 2021, arXiv:2109.01050). It is periodic in
its values, but its slope jumps at the ends (by 3e-3 at t = 0), so only values are matched there.
"""
from math import pi

import torch

from sciml import Box, Equation, Initial, Periodic, Problem

rho = 5.0


def reaction(u):
    return u.t - rho * u * (1 - u)


def bump(x):
    return torch.exp(-((x - pi) ** 2) / (2 * (pi / 4) ** 2))


def logistic(x, t):
    grown = bump(x) * torch.exp(rho * t)
    return grown / (grown + 1 - bump(x))


problem = Problem(
    domain=Box(x=(0, 2 * pi), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(reaction),
        Initial(u=bump),
        Periodic(on="x", derivatives=0),
    ],
    reference=dict(u=logistic),
    defaults=dict(model=dict(width=20, depth=3), points=2000, sampler="rad", time=60),
)
