"""Mixing of two fluids at rest by a vortex: the front between them winds up.

    u_t + a u_x + b u_y = 0   on (x, y) ∈ (−4, 4)², t ∈ (0, 4);   u(x, y, 0) = −tanh(y/2),
    u from the solution on the sides;   a = −w y, b = w x, w = sech² r tanh r / (0.385 r), r² = x² + y²

Every circle turns at its own rate w. At the sides almost nothing flows (|a|, |b| ≤ 0.0035).
Solved by the method of lines on a lattice of Gaussians: classical numerics, no training.

Reference: exact, u = −tanh(y/2 cos wt − x/2 sin wt) (the case of Chiu et al. 2022, arXiv:2110.15832, and of
Physics-Informed Gaussians, Kang et al. 2025, arXiv:2412.05994).
"""
import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem


def turning(x, y):
    r = torch.sqrt(x**2 + y**2 + 1e-14)
    return torch.tanh(r) / torch.cosh(r) ** 2 / (0.385 * r)


def mixed(x, y, t):
    angle = turning(x, y) * t
    return -torch.tanh(y / 2 * torch.cos(angle) - x / 2 * torch.sin(angle))


def flow_mixing(u, x, y):
    return u.t + turning(x, y) * (x * u.y - y * u.x)


problem = Problem(
    title="Flow mixing",
    domain=Box(x=(-4, 4), y=(-4, 4), t=(0, 4)),
    unknowns="u",
    conditions=[
        Equation(flow_mixing),
        Initial(u=lambda y: -torch.tanh(y / 2)),
        Dirichlet(u=mixed, on=["x-", "x+", "y-", "y+"]),
    ],
    reference=dict(u=mixed),
    defaults=dict(model=dict(name="gaussian-lines", centres=88, overlap=1.2, pieces=32), points=500, time=60),
)
