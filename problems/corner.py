"""Laplace's equation on an L-shape, whose re-entrant corner makes the gradient infinite.

    Δu = 0   on (−1, 1)² without [0, 1) × (−1, 0];   u = r^(2/3) sin(2θ/3) on the walls

Nothing is known of the corner but the equation: Gaussians split towards it by themselves.

Reference: exact; the test problem of Mitchell (2013), doi:10.1016/j.amc.2013.05.068.
"""
from math import pi

import torch

from sciml import Dirichlet, Equation, Polygon, Problem, laplacian


def corner(x, y):
    theta = torch.atan2(y, x) + torch.where(y < 0, 2 * pi, 0.0)
    return (x * x + y * y) ** (1 / 3) * torch.sin(2 * theta / 3)


problem = Problem(
    domain=Polygon([(0, 0), (1, 0), (1, 1), (-1, 1), (-1, -1), (0, -1)]),
    unknowns="u",
    conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=corner)],
    reference=dict(u=corner),
    defaults=dict(model=dict(name="gaussian", centres=14, overlap=1.2, ghosts=2), points=474, boundary_points=400,
                  sampler="sobol", constraints="soft", refine=dict(name="splat", rounds=24, most=640, share=0.06),
                  time=240),
)
