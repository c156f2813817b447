"""Poisson's equation on an L-shape, whose re-entrant corner makes the gradient infinite.

    −Δu = 1   on (−1, 1)² without [0, 1) × (−1, 0];   u = 0 on the walls;   u ~ r^(2/3) sin(2θ/3) at the corner

The equation is written weakly, ∫ ∇u·∇v = ∫ v for all hat functions v of the mesh. The singular function times
(1 − x²)(1 − y²) is the distance to the walls that multiplies the network, and the conformal map z^(2/3), which
straightens the corner, enters it beside x and y.

Reference: biquadratic elements graded to the corner, accurate to 2e-5.
"""
from math import pi

import torch

from sciml import Dirichlet, Mesh, Problem, Weak


def poisson(u, v):
    return u.x * v.x + u.y * v.y - v


def power(x, y):
    """z^(2/3) with the angle θ from the wall y = 0, as its real and imaginary part."""
    r, theta = (x * x + y * y) ** (1 / 3), 2 / 3 * torch.where(y < 0, 2 * pi, 0.0) + 2 / 3 * torch.atan2(y, x)
    return r * torch.cos(theta), r * torch.sin(theta)


problem = Problem(
    domain=Mesh("lshape.msh"),
    unknowns="u",
    conditions=[
        Weak(poisson, degree=4),
        Dirichlet(u=0.0, on="wall", distance=lambda x, y: power(x, y)[1] * (1 - x * x) * (1 - y * y)),
    ],
    features=[lambda x, y: power(x, y)[0], lambda x, y: power(x, y)[1]],
    reference="lshape.h5",
    defaults=dict(model=dict(width=16, depth=2), optimizer="gauss-newton", points=2000, time=60),
)
