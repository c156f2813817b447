"""Steady heat in a plate with seventeen holes (the domain of Heat 2d-CG of PINNacle, Hao et al. 2024).

    Δu = 0   on (−8, 8) × (−12, 12) minus 11 disks of radius 1 and 6 of radius 0.4;
    ∂u/∂n = 5 − u on large holes, 1 − u on small ones, 0.1 − u outside

All conditions are natural ones of the weak form. The logarithmic distance to each hole, a source's field, enters the
network beside x and y.

Reference: quadratic elements on the curved mesh, accurate to 2e-5.
"""
import torch

from sciml import Mesh, Problem, Weak

large = [(x, y) for x in (-4, 4) for y in (-9, -3, 3, 9)] + [(0, y) for y in (-6, 0, 6)]
small = [(x, y) for x in (-3.2, 3.2) for y in (-6, 0, 6)]


def conduction(u, v):
    return u.x * v.x + u.y * v.y


def cooled(outside):
    return lambda u, v: (u - outside) * v


problem = Problem(
    domain=Mesh("plate_holes_heat.msh"),
    unknowns="u",
    conditions=[
        Weak(conduction, natural={"large": cooled(5.0), "small": cooled(1.0), "outer": cooled(0.1)}, degree=4),
    ],
    features=[lambda x, y, a=a, b=b: 0.2 * torch.log((x - a)**2 + (y - b)**2) for a, b in large + small],
    reference="heat_plate.h5",
    defaults=dict(model=dict(width=16, depth=2), optimizer="gauss-newton", points=2000, precondition="galerkin",
                  time=60),
)
