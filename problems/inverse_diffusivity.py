"""Diffusivity from noisy temperatures: an inverse problem.

    u_t = k u_xx   on x ∈ (0, 1), t ∈ (0, 1);   u(x, 0) = sin πx,   u(0, t) = u(1, t) = 0,   k unknown

Given are 200 temperatures at random places and times with Gaussian noise of 1 % of the largest; k = 0.1 made them.

Reference: exact, u = exp(−k π² t) sin πx. The noise moves the k of the best fit, and so what can be reached, by 0.3 %.
"""
from math import pi

import numpy as np
import torch

from sciml import Box, Dirichlet, Equation, Initial, Observations, Problem, Unknown

k_true = 0.1
noise = 0.01

rng = np.random.default_rng(2024)
x_data, t_data = rng.uniform(0, 1, (2, 200))
u_data = np.exp(-k_true * pi**2 * t_data) * np.sin(pi * x_data) + noise * rng.standard_normal(200)


def diffusion(u, k):
    return u.t - k * u.xx


problem = Problem(
    domain=Box(x=(0, 1), t=(0, 1)),
    unknowns="u",
    parameters=dict(k=Unknown(0.3, bounds=(0.0, 1.0))),
    conditions=[
        Equation(diffusion),
        Initial(u=lambda x: torch.sin(pi * x)),
        Dirichlet(u=0.0, on=["x-", "x+"]),
        Observations(at=dict(x=x_data, t=t_data), u=u_data),
    ],
    reference=dict(u=lambda x, t, k: torch.exp(-k * pi**2 * t) * torch.sin(pi * x), k=k_true),
    defaults=dict(model=dict(width=20, depth=2), points=1000, sampler="sobol", time=20),
)
