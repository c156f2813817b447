"""Poisson's equation on a cube with a spherical cavity, on tetrahedra.

    −Δu = f   on (0, 1)³ minus a ball of radius 0.3;   u = 0 on the cube,   ∂u/∂n + u = g in the cavity

In the weak form Robin's condition is an integral over the cavity's facets, with their normals; f and g are such that u
is known.

Reference: formula, u = sin(πx) sin(πy) sin(πz).
"""
from math import pi

import torch

from sciml import Dirichlet, Mesh, Problem, Weak, dot, grad


def exact(x, y, z):
    return torch.sin(pi * x) * torch.sin(pi * y) * torch.sin(pi * z)


def poisson(u, v, x, y, z):
    return dot(grad(u), grad(v)) - 3 * pi**2 * exact(x, y, z) * v


def robin(u, v, x, y, z, normal):
    g = dot(normal, grad(exact(x, y, z))) + exact(x, y, z)
    return (u - g) * v


problem = Problem(
    domain=Mesh("part3d.msh"),
    unknowns="u",
    conditions=[
        Weak(poisson, natural={"cavity": robin}, degree=2),
        Dirichlet(u=0.0, on=["x-", "x+", "y-", "y+", "z-", "z+"],
                  distance=lambda x, y, z: 16 * x * (1 - x) * y * (1 - y) * z * (1 - z)),
    ],
    reference=dict(u=exact),
    defaults=dict(model=dict(width=12, depth=2), optimizer="gauss-newton", points=2000, precondition="galerkin",
                  time=60),
)
