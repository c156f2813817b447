"""A bar of random stiffness under a random load: from both to the displacement.

    −(a u')' = f   on (0, 1),   u(0) = u(1) = 0;   a = exp g₁, f = g₂ with Gaussian random fields g₁ and g₂

g₁ and g₂ have the covariance σ² (−Δ + 25)⁻², σ = 10 and 25, with Neumann conditions (after Fanaskov
et al. 2023, arXiv:2301.12730, who train operators for such equations on few samples and change coordinates for more).

Reference: differences of fluxes on the nodes, by conjugate gradients with a sine transform.
"""

from sciml import Box, Dirichlet, Equation, GaussianRandomField, Problem, d
from sciml.generators import Darcy


def bar(u, a, f):
    return d(a * u.x, "x") + f


problem = Problem(
    domain=Box(x=(0, 1)),
    unknowns="u",
    inputs=dict(a=GaussianRandomField(kind="neumann", sigma=10.0, tau=5.0, alpha=2.0, positive="exp"),
                f=GaussianRandomField(kind="neumann", sigma=25.0, tau=5.0, alpha=2.0)),
    conditions=[Equation(bar), Dirichlet(u=0.0, on="boundary")],
    reference=Darcy(coefficient="a", source="f", unknown="u"),
    defaults=dict(
        model=dict(name="fno", modes=16, width=32), augment="covariance",
        data=dict(grid=129, train=100, test=200), epochs=200, batch=20,
    ),
)
