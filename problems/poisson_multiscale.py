"""Poisson's equation with a solution of one high frequency, or of two that are far apart.

    u'' = f   on (0, 2π);   u given at both ends;   f from
    case 1: u = sin 100x,    case 2: u = sin 6x cos 100x,    case 3: u = x sin 200x

`--set case=3` takes another. Solved by a Gaussian process of fixed spectrum in one step: a kernel collocation method,
classical numerics, no training.

Reference: exact (Fang et al. 2024, arXiv:2311.04465, section 5).
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem, d

case = 1


def solution(x):
    fine = (lambda: torch.sin(100 * x), lambda: torch.sin(6 * x) * torch.cos(100 * x), lambda: x * torch.sin(200 * x))
    return fine[round(case) - 1]()


def poisson(u, x):
    return u.xx - d(solution(x), "x", "x")


problem = Problem(
    domain=Box(x=(0, 2 * pi)),
    unknowns="u",
    conditions=[Equation(poisson), Dirichlet(u=solution)],
    reference=dict(u=solution),
    defaults=dict(model=dict(name="gp", **(dict(centres=900, frequencies=40.0) if case == 3 else dict(centres=500))),
                  optimizer="kronecker", points=1000, time=60),
)
