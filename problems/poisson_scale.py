"""Laplace's equation on a square with four holes whose size makes the two losses incomparable (MultiAdam's test).

    Δu = 0   on (−L/2, L/2)² minus disks of radius L/10 about (±0.3 L, ±0.3 L);   u = 1 on the square, 0 on the circles

Scaling lengths by L divides the equation's loss by L⁴ and leaves that of the boundary as it is: a balancer should not
notice. Weights are all 1 here; `poisson_holes` is the same problem at L = 1 with a recipe of its own.

Reference: harmonic polynomials and multipoles, accurate to 3e-13 (Yao et al. 2023, arXiv:2306.02816, section 5.1).
"""
from sciml import Box, Dirichlet, Disk, Equation, Problem, laplacian
from sciml.references.multipoles import poisson_holes

L = 8.0

square = Box(x=(-L / 2, L / 2), y=(-L / 2, L / 2))
southwest, southeast, northwest, northeast = (
    Disk(center=(x * L, y * L), radius=0.1 * L) for y in (-0.3, 0.3) for x in (-0.3, 0.3))
holes = (southwest | southeast | northwest | northeast).named("holes")


def laplace(u):
    return laplacian(u)


def series():
    return poisson_holes(points=81, scale=L)


problem = Problem(
    domain=square - holes,
    unknowns="u",
    conditions=[
        Equation(laplace),
        Dirichlet(u=1.0, on=["x-", "x+", "y-", "y+"], name="square"),
        Dirichlet(u=0.0, on="holes", name="circles"),
    ],
    reference=series,
    defaults=dict(model=dict(width=24, depth=3), points=2000, boundary_points=800,
                  sampler="sobol", time=60, constraints="soft"),
)
