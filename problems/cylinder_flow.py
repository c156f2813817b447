"""Steady flow past a cylinder in a channel at Re = 20 (benchmark DFG 2D-1 of Schäfer and Turek).

    u·∇u + ∇p = ν Δu,   ∇·u = 0;   u = 6 U y (H − y)/H² at the inlet, ν ∂u/∂n = p n at the outlet, else u = 0

U = 0.2 and H = 0.41, ν = 0.001, diameter 0.1. In weak form, tested by quadratic functions for velocity and linear ones
for pressure (Taylor and Hood's), whose linearised matrix turns the rows into errors (`precondition="galerkin"`).
Logarithmic polar coordinates round the cylinder enter the network beside x and y.
Drag and lift are 500 F, ``500 * solution.integral(traction, on="cylinder")``, or more exactly after Gauss's theorem
``solution.integral(coefficients)``: the weak form with a function that is 1 on the cylinder and 0 on other walls.

Reference: Taylor–Hood elements on quadrilaterals; drag 5.5795 and lift 0.0106 (Nabh 1998), velocities to 1e-3.
"""
import torch

from sciml import Dirichlet, Mesh, Problem, Weak

U, H, nu = 0.2, 0.41, 1e-3


def inflow(y):
    return 6 * U * y * (H - y) / H**2


def steady_flow(u, v, p, a, b, q):
    inertia = (u * u.x + v * u.y) * a + (u * v.x + v * v.y) * b
    friction = nu * (u.x * a.x + u.y * a.y + v.x * b.x + v.y * b.y)
    return inertia + friction - p * (a.x + b.y) - q * (u.x + v.y)


def traction(u, v, p, normal):                             # of the fluid on the cylinder; the normal points into it
    n, m = normal
    return p * n - nu * (u.x * n + u.y * m), p * m - nu * (v.x * n + v.y * m)


def coefficients(u, v, p, x, y):                           # their integrals over the domain are drag and lift
    s = torch.clamp((torch.sqrt((x - 0.2) ** 2 + (y - 0.2) ** 2) - 0.05) / 0.14, 0.0, 1.0)
    w = (1 - s) ** 2 * (1 + 2 * s)                         # 1 on the cylinder, 0 on the other boundaries
    return (-500 * ((u * u.x + v * u.y) * w + nu * (u.x * w.x + u.y * w.y) - p * w.x),
            -500 * ((u * v.x + v * v.y) * w + nu * (v.x * w.x + v.y * w.y) - p * w.y))


def polar(x, y):
    """log r and the direction from the cylinder's axis."""
    r = torch.sqrt((x - 0.2) ** 2 + (y - 0.2) ** 2)
    return torch.log(r / 0.05), (x - 0.2) / r, (y - 0.2) / r


problem = Problem(
    title="flow past a cylinder",
    domain=Mesh("cylinder.msh"),
    unknowns="u v p",
    conditions=[
        Weak(steady_flow, tests=dict(a="u", b="v", q="p"), order=dict(a=2, b=2, q=1)),
        Dirichlet(u=inflow, v=0.0, on="inlet"),
        Dirichlet(u=0.0, v=0.0, on=["walls", "cylinder"], name="walls"),
    ],
    features=[lambda x, y, i=i: polar(x, y)[i] for i in range(3)], reference="cylinder_re20.h5",
    defaults=dict(model=dict(width=16, depth=3), points=1000, optimizer="gauss-newton", precondition="galerkin",
                  options=dict(galerkin=dict(every=5)), time=240),
)
