"""Eikonal equation: the signed distance to an L-shaped contour.

    |∇u|² = 1   on (−1, 1)²;   u = 0, ∂u/∂n = 1 on the contour, u < 0 inside and u > 0 outside;   u Δu ≤ 1

Many functions with kinks have slope one. The square of the distance is nowhere more curved than |x|², D²(u²/2) ≤ I; the
last condition is the trace of that. It lets kinks point away from the contour only, as in a minimum of cones, and such
semiconcave solutions are the viscosity solution (Kružkov 1975, doi:10.1070/SM1975v027n03ABEH002522). The slope on the
contour follows from sign and equation; said on its own, it keeps training from starting kinks there.

Reference: exact, distance to the nearest edge. After Daw et al. (2023), arXiv:2207.02338, who ask u ≥ 0 on the frame.
"""
from functools import reduce

import torch

from sciml import Box, Dirichlet, Equation, Polygon, Problem, dot, grad, laplacian

corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.0), (0.0, 0.0), (0.0, 0.5), (-0.5, 0.5)]
square, shape = Box(x=(-1, 1), y=(-1, 1)), Polygon(corners, name="shape")


def slope_one(u):
    return u.x**2 + u.y**2 - 1


def outward_kinks(u):
    return torch.relu(u * laplacian(u) - 1)


def outward_slope(u, normal):
    return dot(normal, grad(u)) - 1


def edge(x, y, a, b):
    """Squared distance to the segment from a to b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    s = torch.clamp(((x - a[0]) * dx + (y - a[1]) * dy) / (dx**2 + dy**2), 0, 1)
    return (x - a[0] - s * dx) ** 2 + (y - a[1] - s * dy) ** 2


def distance(x, y):
    nearest = reduce(torch.minimum, [edge(x, y, corners[i - 1], corners[i]) for i in range(len(corners))])
    inside = (abs(x) < 0.5) & (abs(y) < 0.5) & ((x < 0) | (y < 0))
    return torch.where(inside, -1.0, 1.0) * torch.sqrt(nearest)


problem = Problem(
    domain=square,
    unknowns="u",
    conditions=[
        Equation(slope_one),
        Equation(outward_kinks, weight=0.1),
        Equation(lambda u: torch.relu(-u), on=square - shape, name="positive", weight=10),
        Equation(lambda u: torch.relu(u), on=shape, name="negative", weight=10),
        Equation(outward_slope, on=shape.region("boundary"), weight=10),
        Dirichlet(u=0.0, on=shape.region("boundary"), name="contour", weight=500),
    ],
    reference=dict(u=distance),
    defaults=dict(model=dict(width=16, depth=3), points=900, boundary_points=200, sampler="sobol", time=90),
)
