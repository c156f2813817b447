"""An elastic bracket, held by two bolts and loaded at its tip: plane stress, 1 mm of steel; mm, kN, GPa.

    ∫ σ(u) : ε(w) dx = ∫_tip t · w ds   for all w;   σ = λ tr ε I + 2 μ ε,   u = 0 on both bolts

The mesh file is in metres, and scaled; t = −0.01 GPa over 30 mm are 300 N, which bend the tip down by 0.27 mm.

Reference: quadratic finite elements on the mesh refined twice, accurate to 3e-5.
"""
from sciml import Dirichlet, Mesh, Problem, Weak

young, poisson, load = 210.0, 0.3, 0.01
lam, mu = young * poisson / (1 - poisson**2), young / (2 * (1 + poisson))  # λ of plane stress


def stress(u, v):
    trace = lam * (u.x + v.y)
    return dict(sxx=trace + 2 * mu * u.x, syy=trace + 2 * mu * v.y, sxy=mu * (u.y + v.x))


def elasticity(u, v, a, b):
    s = stress(u, v)
    return s["sxx"] * a.x + s["sxy"] * (a.y + b.x) + s["syy"] * b.y


def weight(b):
    return load * b


problem = Problem(
    title="bracket",
    domain=Mesh("bracket.msh", scale=1e3),
    unknowns="u v",
    conditions=[
        Weak(elasticity, natural={"tip": weight}, tests=dict(a="u", b="v"), order=2),
        Dirichlet(u=0.0, v=0.0, on=["bolt1", "bolt2"]),
    ],
    reference="bracket.h5",
    defaults=dict(model=dict(width=20, depth=3), points=1000, optimizer="gauss-newton", precondition="galerkin",
                  time=150),
)
