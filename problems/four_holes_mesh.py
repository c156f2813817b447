"""Laplace's equation on a square with four holes, written weakly on a mesh file.

    Δu = 0   on (−½, ½)² minus disks of radius 0.1 about (±0.3, ±0.3);   u = 1 on the square, u = 0 on the circles

The same problem as `poisson_holes`, but ∫ ∇u·∇v = 0 for all test functions v of the mesh. Boundary values are built in
by smooth distances to the named curves; each hole's distance on a logarithmic scale, a source's field, enters the
network beside x and y.

Reference: harmonic polynomials and multipoles, accurate to 3e-13.
"""
import torch

from sciml import Dirichlet, Mesh, Problem, Weak

centres = [(x, y) for x in (-0.3, 0.3) for y in (-0.3, 0.3)]


def laplace(u, v):
    return u.x * v.x + u.y * v.y


problem = Problem(
    domain=Mesh("four_holes.msh"),
    unknowns="u",
    conditions=[
        Weak(laplace, degree=4),
        Dirichlet(u=1.0, on="square"),
        Dirichlet(u=0.0, on=["hole1", "hole2", "hole3", "hole4"]),
    ],
    features=[lambda x, y, a=a, b=b: torch.log((x - a)**2 + (y - b)**2) for a, b in centres],
    reference="poisson_holes.h5",
    defaults=dict(model=dict(width=16, depth=2), optimizer="gauss-newton", points=2000, precondition="galerkin",
                  time=60),
)
