"""The lowest tone of the first isospectral drum of Gordon, Webb and Wolpert (1992).

    −Δu = λ u   in a polygon of seven triangles with legs of 1;   u = 0 on the rim,   ∫u² = 1,   λ unknown

The function that multiplies the network vanishes on the rim with the power that u has there: r^(2/3) sin(2θ/3) at the
two re-entrant corners; walls that meet at 135° are joined such that it grows like r. λ starts 10 % off.

Reference: quadratic elements on the mesh, cut twice; λ₁ = 10.1518 = 4 · 2.53794 (Driscoll 1997, whose legs are 2).
"""
import torch

from sciml import Dirichlet, Mesh, Normalized, Problem, Unknown, Weak


def tone(u1, v, lambda1):
    return u1.x * v.x + u1.y * v.y - lambda1 * u1 * v


def corner(a, b):
    """r^(2/3) sin(2θ/3), which vanishes where b = 0 < a and where a = 0 > b."""
    r = (a * a + b * b) ** (1 / 3)
    return r * torch.cos(2 / 3 * torch.atan2(a + b, b - a))


def joined(a, b):
    return a * b / (a + b + 1e-12)


def distance(x, y):
    slope, far = y - x + 1, x - 1.5
    lower = slope - far + torch.sqrt(slope**2 + far**2)          # the wall y = x − 1, for x > 1.5 only
    inner, outer = corner(x - 1, y - 1), corner(x - 2, 2 - y)
    return joined(inner, lower) * outer * y * joined(x, x + 1 - y)


problem = Problem(
    domain=Mesh("drum.msh"),
    unknowns="u1",
    parameters=dict(lambda1=Unknown(9.0)),
    conditions=[
        Weak(tone, degree=4),
        Normalized(u1=1.0, weight=100.0, points=8000),
        Dirichlet(u1=0.0, on="rim", distance=distance),
    ],
    reference="drum.h5",
    defaults=dict(model=dict(width=16, depth=2), optimizer="gauss-newton", points=2000, time=60),
)
