"""Laplace's equation on a square with four holes (Poisson 2d-C of PINNacle, Hao et al. 2024).

    Δu = 0   on (−½, ½)² minus disks of radius 0.1 about (±0.3, ±0.3);   u = 1 on the square, u = 0 on the circles

The boundary values stay in the loss, with weight: built in, the lift's curvature round the circles is as hard to
undo as the problem itself, and with weight 1 training ends at a constant.

Reference: harmonic polynomials and multipoles, accurate to 3e-13.
"""
from sciml import Box, Dirichlet, Disk, Equation, Problem, laplacian

square = Box(x=(-0.5, 0.5), y=(-0.5, 0.5))
southwest, southeast, northwest, northeast = (
    Disk(center=(x, y), radius=0.1) for y in (-0.3, 0.3) for x in (-0.3, 0.3))
holes = (southwest | southeast | northwest | northeast).named("holes")


def laplace(u):
    return laplacian(u)


problem = Problem(
    domain=square - holes,
    unknowns="u",
    conditions=[
        Equation(laplace),
        Dirichlet(u=1.0, on=["x-", "x+", "y-", "y+"], name="square", weight=100),
        Dirichlet(u=0.0, on="holes", name="circles", weight=100),
    ],
    reference="poisson_holes.h5",
    defaults=dict(model=dict(width=24, depth=3), points=2000,
                  boundary_points=800, sampler="sobol", time=60, constraints="soft"),
)
