"""Conduction through a plate with a round inclusion that conducts a hundred times better.

    ∇·(k ∇u) = 0   on (0, 1)²;   k = 100 in the disk of radius ¼ round (½, ½), else 1;
    u = 1 at x = 0, u = 0 at x = 1, ∂u/∂n = 0 at y = 0 and y = 1

`inclusion`, a group of cells of the mesh, is 1 there and 0 elsewhere. In the weak form the flux is continuous without
being stated; u has a kink, which the network can follow because the distance to the interface enters it beside x and y.

Reference: quadratic elements on the curved mesh, refined.
"""
import torch

from sciml import Dirichlet, Mesh, Problem, Weak

k = 100.0


def conduction(u, v, inclusion):
    return (1 + (k - 1) * inclusion) * (u.x * v.x + u.y * v.y)


def distance(x, y):
    return torch.abs(torch.sqrt((x - 0.5)**2 + (y - 0.5)**2) - 0.25)


problem = Problem(
    domain=Mesh("two_materials.msh"),
    unknowns="u",
    parameters=dict(k=k),
    conditions=[
        Weak(conduction, degree=4),
        Dirichlet(u=1.0, on="left", distance=lambda x: x),
        Dirichlet(u=0.0, on="right", distance=lambda x: 1 - x),
    ],
    features=[distance],
    reference="two_materials.h5",
    defaults=dict(model=dict(width=16, depth=2), optimizer="gauss-newton", points=2000, precondition="galerkin",
                  time=60),
)
