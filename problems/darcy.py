"""Darcy flow through random rock of two kinds: from permeability to pressure.

    −∇·(a ∇u) = 1   in (0, 1)²,   u = 0 on the boundary;   a = 12 where a Gaussian random field is positive, else 3

The field has the covariance (−Δ + 9)⁻² with Neumann conditions (Li et al. 2021, arXiv:2010.08895, section 5.2; our own
discretisation, generator and data, not the published file's).

Reference: differences of fluxes on the nodes of the grid, by conjugate gradients with a sine transform.
"""

from sciml import Box, Dirichlet, Equation, GaussianRandomField, Problem, d
from sciml.generators import Darcy


def darcy(u, a):
    return d(a * u.x, "x") + d(a * u.y, "y") + 1.0


problem = Problem(
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="u",
    inputs=dict(a=GaussianRandomField(kind="neumann", tau=3.0, alpha=2.0, values=(3.0, 12.0))),
    conditions=[Equation(darcy), Dirichlet(u=0.0, on="boundary")],
    reference=Darcy(coefficient="a", unknown="u", source=1.0),
    defaults=dict(
        model=dict(name="fno", modes=12, width=20), augment="symmetry",
        data=dict(grid=64, train=500, test=100), epochs=70, batch=20,
    ),
)
