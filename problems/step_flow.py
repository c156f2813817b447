"""Flow over a backward-facing step at Re = 50, steady.

    u·∇u + ∇p = Δu / Re,   ∇·u = 0;   u = 6 y (1 − y) at the inlet, ∂u/∂n / Re = p n at the outlet, else u = 0

In weak form, tested by quadratic functions for velocity and linear ones for pressure (Taylor and Hood's), whose
linearised matrix turns the rows into errors of the solution (`precondition="galerkin"`). The outlet's condition is
natural: nothing is said there. Units are the height of the inlet and its mean velocity.

Reference: Taylor–Hood elements on the mesh refined twice.
"""
from sciml import Dirichlet, Mesh, Problem, Weak

Re = 50.0


def steady_flow(u, v, p, a, b, q):
    inertia = (u * u.x + v * u.y) * a + (u * v.x + v * v.y) * b
    friction = (u.x * a.x + u.y * a.y + v.x * b.x + v.y * b.y) / Re
    return inertia + friction - p * (a.x + b.y) - q * (u.x + v.y)


problem = Problem(
    title="backward-facing step",
    domain=Mesh("step.msh"),
    unknowns="u v p",
    conditions=[
        Weak(steady_flow, tests=dict(a="u", b="v", q="p"), order=dict(a=2, b=2, q=1)),
        Dirichlet(u=lambda y: 6 * y * (1 - y), v=0.0, on="inlet"),
        Dirichlet(u=0.0, v=0.0, on="walls"),
    ],
    reference="step_re50.h5",
    defaults=dict(model=dict(width=16, depth=3), points=1000, optimizer="gauss-newton", precondition="galerkin",
                  options=dict(galerkin=dict(every=5)), time=120),
)
