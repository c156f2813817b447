"""Lid-driven cavity: steady incompressible flow under a moving lid.

    u·∇u + ∇p = Δu / Re,   ∇·u = 0   on (0, 1)²;   Re = 100,
    (u, v) = (1, 0) on the lid y = 1 and (0, 0) on the other walls,   p(0, 0) = 0

The lid's speed jumps at the two upper corners, where p is infinite; no smooth field can take these values, so the
walls stay in the loss. A corner belongs to the lid.

Reference: spectral Galerkin with the corner singularities removed, accurate to 6e-6 in u and v, and to 3e-5 in p
outside r < 0.1 of the lid's corners.
"""
from sciml import Box, Dirichlet, Equation, Pin, Problem, laplacian


def steady_flow(u, v, p, Re):
    return {
        "momentum_x": u * u.x + v * u.y + p.x - laplacian(u) / Re,
        "momentum_y": u * v.x + v * v.y + p.y - laplacian(v) / Re,
        "continuity": u.x + v.y,
    }


problem = Problem(
    title="lid-driven cavity",
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="u v p",
    parameters=dict(Re=100.0),
    conditions=[
        Equation(steady_flow),
        Dirichlet(u=1.0, v=0.0, on="y+"),
        Dirichlet(u=0.0, v=0.0, on=["x-", "x+", "y-"]),
        Pin(p=0.0, at=dict(x=0.0, y=0.0)),
    ],
    reference="cavity_re100.h5",
    defaults=dict(optimizer="gauss-newton", model=dict(width=24, depth=3), points=2000, sampler="sobol", time=100),
)
