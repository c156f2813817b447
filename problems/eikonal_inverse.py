"""Velocity from travel times: the eikonal equation with both its fields unknown.

    v |∇T| = 1   on (0, 1)²;   T measured at 200 places

A wave from a source outside of the square passes it, ever faster with the depth y. Arrival times at random places, with
Gaussian noise of 0.1 % of the largest, determine T and through its slope the velocity v, which no measurement sees.

Reference: exact, v = v₀ + g (y − y₀) and T = arcosh(1 + g² |x − x₀|² / (2 v₀ v)) / g for a source at x₀ (Slotnick
1936, doi:10.1190/1.1437096). After the 3-D case of Lau et al. (2024), arXiv:2404.07662, appendix J.
"""
import numpy as np
import torch

from sciml import Box, Equation, Observations, Problem

x0, y0, v0, gradient = -0.3, 0.2, 1.0, 1.5


def velocity(y):
    return v0 + gradient * (y - y0)


def time(x, y, lib=torch):
    z = 1 + gradient**2 * ((x - x0) ** 2 + (y - y0) ** 2) / (2 * v0 * velocity(y))
    return lib.log(z + lib.sqrt(z**2 - 1)) / gradient


rng = np.random.default_rng(2024)
x_data, y_data = rng.uniform(0, 1, (2, 200))
T_data = time(x_data, y_data, lib=np)
T_data = T_data + 1e-3 * T_data.max() * rng.standard_normal(200)


def eikonal(T, v):
    return v * torch.sqrt(T.x**2 + T.y**2) - 1            # and not v² |∇T|² = 1, which −v solves too


problem = Problem(
    title="Velocity from travel times",
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="T v",
    conditions=[
        Equation(eikonal),
        Observations(at=dict(x=x_data, y=y_data), T=T_data, weight=1000),
    ],
    reference=dict(T=time, v=velocity),
    defaults=dict(model=dict(width=8, depth=2), points=500, sampler="sobol", time=20),
)
