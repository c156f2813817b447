"""Lid-driven cavity: steady flow at Re = 100 in a square box whose lid slides.

    u·∇u + ∇p = Δu / Re,   ∇·u = 0   on (0, 1)²;   u = (1, 0) on the lid y = 1, else u = 0,   p(0, 0) = 0

The lid contradicts the walls where they meet: velocity jumps and pressure goes like 1/r there, so the velocity on lid
and walls stays in the loss, the residual is weighted down within about 0.03 of the two corners (unweighted it is not
square integrable), and a box round each corner gets points of its own. A corner belongs to the lid.

Reference: spectral Galerkin with the corner singularities removed, accurate to 6e-6 in u and v, and to 3e-5 in p
outside r < 0.1 of the lid's corners.
"""
import torch

from sciml import Box, Dirichlet, Equation, Pin, Problem, laplacian

core, gap = 0.02, 0.01


def steady_flow(u, v, p, x, y, Re):
    left, right = x**2 + (1 - y)**2, (1 - x)**2 + (1 - y)**2
    r2 = left * right / (left + right)
    weight = (r2 / (r2 + core**2)) ** 2
    return {
        "momentum_x": 3 * weight * (u * u.x + v * u.y + p.x - laplacian(u) / Re),
        "momentum_y": 3 * weight * (u * v.x + v * v.y + p.y - laplacian(v) / Re),
        "continuity": 3 * torch.sqrt(weight) * (u.x + v.y),
    }


def corner(name, x):
    return Equation(steady_flow, on=Box(x=x, y=(0.9, 1)), name=name, weight=0.02, points=400)


problem = Problem(
    title="lid-driven cavity",
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="u v p",
    parameters=dict(Re=100.0),
    conditions=[
        Equation(steady_flow),
        corner("left corner", (0, 0.1)),
        corner("right corner", (0.9, 1)),
        Dirichlet(u=1.0, v=0.0, on=lambda x, y: (y == 1) & (x > gap) & (x < 1 - gap), name="lid", weight=10),
        Dirichlet(u=0.0, v=0.0, on=lambda y: y < 1 - gap, name="walls", weight=10),
        Pin(p=0.0, at=dict(x=0.0, y=0.0)),
    ],
    reference="cavity_re100.h5",
    defaults=dict(model=dict(width=16, depth=4), points=2000, boundary_points=400,
                  sampler=dict(name="sobol", every=3), time=300),
)
