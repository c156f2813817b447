"""Poisson's equation on a square with a solution of high frequency.

    Δu = f   on (0, 1)²;   u given on the boundary;   f from   u = sin ax sin ay,   a = 100

Solved by a Gaussian process of fixed spectrum with Kronecker structure in one step: a kernel Galerkin method, classical
numerics, no training.

Reference: exact (Fang et al. 2024, arXiv:2311.04465, section 5).
"""
import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian

a = 100.0


def wave(x, y):
    return torch.sin(a * x) * torch.sin(a * y)


def poisson(u, x, y):
    return laplacian(u) + 2 * a**2 * wave(x, y)


problem = Problem(
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="u",
    conditions=[Equation(poisson), Dirichlet(u=wave)],
    reference=dict(u=wave),
    defaults=dict(model=dict(name="gp", centres=200), optimizer="kronecker", points=2000,
                  sampler="sobol", time=60),
)
