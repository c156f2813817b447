"""Poisson's equation on an interval that is one period of a Fourier series: how preconditioning works, exactly.

    −u″ = sin x + 4 sin 2x   on x ∈ (−π, π);   u(±π) = 0

Coefficients are scaled by the inverse symbol 1/k², k = 0 by γ (De Ryck et al. 2024, arXiv:2310.05801), and forty steps
of gradient descent suffice; with --set model.scale=none they do not. See `sciml check poisson1d_periodic --spectrum`.

Reference: exact, u = sin x + sin 2x.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem

gamma = 3.0


def poisson(u, x):
    return -u.xx - torch.sin(x) - 4 * torch.sin(2 * x)


problem = Problem(
    domain=Box(x=(-pi, pi)),
    unknowns="u",
    conditions=[Equation(poisson, weight=2 * pi), Dirichlet(u=0.0, weight=2 * pi / gamma**2, points=2)],
    reference=dict(u=lambda x: torch.sin(x) + torch.sin(2 * x)),
    defaults={"model": dict(name="fourier", harmonics=16, scale="inverse-symbol", gamma=gamma), "constraints": "soft",
              "optimizer": "sgd", "sgd.lr": 0.45, "schedule": "constant", "time": 2, "points": 64, "sampler": "grid"},
)
