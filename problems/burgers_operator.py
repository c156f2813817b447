"""Burgers' equation as an operator: from the initial velocity to that at t = 1.

    u_t + u u_x = ν u_xx   on a circle of length L = 2π, t ∈ (0, 1);   u(x, 0) = u₀(x),   ν = 0.1

u₀ is a Gaussian random field with the covariance 625 (−Δ + 25)⁻², of standard deviation 1.04 (after Li et al. 2021,
arXiv:2010.08895, section 5.1, whose published file is made otherwise: another data set).

Reference: Fourier series and ETDRK4.
"""

from math import pi

from sciml import Box, Equation, GaussianRandomField, Initial, Periodic, Problem
from sciml.generators import Burgers

nu = 0.1
length = 2 * pi


def burgers(u):
    return u.t + u * u.x - nu * u.xx


problem = Problem(
    domain=Box(x=(0, length), t=(0, 1)),
    unknowns="u",
    inputs=dict(u0=GaussianRandomField(kind="periodic", sigma=25.0, tau=5.0, alpha=2.0, over="x")),
    conditions=[Equation(burgers), Initial(u=lambda u0: u0), Periodic(on="x")],
    reference=Burgers(initial="u0", unknown="u", nu=nu),
    defaults=dict(
        model=dict(name="fno", modes=16, width=64),
        data=dict(grid=256, train=1000, test=200), epochs=60, batch=20,
    ),
)
