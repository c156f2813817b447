"""Quarter of a plate with a hole, pulled to the right: plane stress, linear elasticity in weak form.

    ∫ σ(u) : ε(w) dx = ∫_right w_x ds   for all w;   σ = λ tr ε I + 2 μ ε,   u = 0 on the left, v = 0 at the bottom

Where no condition is stated, the boundary is free. Stresses are derivatives of the solution, which `evaluate` gives:
the concentration factor is ``solution.evaluate(lambda u, v: stress(u, v)["sxx"], x=0.0, y=0.5)``.

Reference: quadratic finite elements on the mesh refined twice, accurate to 5e-6; σ_xx = 3.583 at the top of the hole.
"""
from sciml import Dirichlet, Mesh, Problem, Weak

young, poisson = 1.0, 0.3
lam, mu = young * poisson / (1 - poisson**2), young / (2 * (1 + poisson))  # λ of plane stress


def stress(u, v):
    trace = lam * (u.x + v.y)
    return dict(sxx=trace + 2 * mu * u.x, syy=trace + 2 * mu * v.y, sxy=mu * (u.y + v.x))


def elasticity(u, v, a, b):
    s = stress(u, v)
    return s["sxx"] * a.x + s["sxy"] * (a.y + b.x) + s["syy"] * b.y


def pull(a):
    return -1.0 * a


problem = Problem(
    title="plate with a hole",
    domain=Mesh("plate_hole.msh"),
    unknowns="u v",
    conditions=[
        Weak(elasticity, natural={"right": pull}, tests=dict(a="u", b="v"), order=2),
        Dirichlet(u=0.0, on="left"),
        Dirichlet(v=0.0, on="bottom"),
    ],
    reference="plate_hole.h5",
    defaults=dict(model=dict(width=20, depth=3), points=1000, optimizer="gauss-newton", precondition="galerkin",
                  time=150),
)
