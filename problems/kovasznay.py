"""Kovasznay flow: the steady wake behind a grid of cylinders at Re = 40.

    u·∇u + ∇p = Δu / Re,   ∇·u = 0   on (−½, 1) × (−½, 3/2);   u, v, p given on the boundary

Reference: exact, u = 1 − e^(λx) cos 2πy, v = λ/(2π) e^(λx) sin 2πy, p = ½ (1 − e^(2λx)),
λ = Re/2 − √(Re²/4 + 4π²) (Kovasznay 1948, doi:10.1017/S0305004100023999).
"""
from math import pi, sqrt

import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian

Re = 40.0
decay = Re / 2 - sqrt(Re**2 / 4 + 4 * pi**2)


def steady_flow(u, v, p):
    return {
        "momentum_x": u * u.x + v * u.y + p.x - laplacian(u) / Re,
        "momentum_y": u * v.x + v * v.y + p.y - laplacian(v) / Re,
        "continuity": u.x + v.y,
    }


wake = dict(
    u=lambda x, y: 1 - torch.exp(decay * x) * torch.cos(2 * pi * y),
    v=lambda x, y: decay / (2 * pi) * torch.exp(decay * x) * torch.sin(2 * pi * y),
    p=lambda x: 0.5 * (1 - torch.exp(2 * decay * x)),
)
problem = Problem(
    title="Kovasznay flow",
    domain=Box(x=(-0.5, 1), y=(-0.5, 1.5)),
    unknowns="u v p",
    conditions=[Equation(steady_flow), Dirichlet(**wake)],
    reference=wake,
    defaults=dict(model=dict(width=20, depth=3), points=1000, sampler="sobol", time=30),
)
