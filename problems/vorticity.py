"""Forced two-dimensional flow on a torus: from the vorticity up to t = 10 to that up to t = 20.

    w_t + ψ_y w_x − ψ_x w_y = ν Δw + 0.1 (sin 2π(x + y) + cos 2π(x + y)),   −Δψ = w,   ν = 1e-3

w at t = 0 is a Gaussian random field with the covariance 7³ (−Δ + 49)^(−5/2) (Li et al. 2021, arXiv:2010.08895, section
5.3; our own solver and data). The operator takes the first 10 of 20 snapshots and gives the other 10.

Reference: Fourier series with the 2/3 rule and an integrating-factor Runge–Kutta method of order 4.
"""

from math import pi

import torch

from sciml import Box, Equation, GaussianRandomField, Initial, Periodic, Problem, laplacian
from sciml.generators import Vorticity

nu = 1e-3


def transport(w, psi, x, y):
    forcing = 0.1 * (torch.sin(2 * pi * (x + y)) + torch.cos(2 * pi * (x + y)))
    return {"vorticity": w.t + psi.y * w.x - psi.x * w.y - nu * laplacian(w) - forcing,
            "stream function": laplacian(psi) + w}


problem = Problem(
    domain=Box(x=(0, 1), y=(0, 1), t=(0, 20)),
    unknowns="w psi",
    inputs=dict(w0=GaussianRandomField(kind="periodic", sigma=7.0**1.5, tau=7.0, alpha=2.5)),
    conditions=[Equation(transport), Initial(w=lambda w0: w0), Periodic(on="x"), Periodic(on="y")],
    reference=Vorticity(initial="w0", unknown="w", nu=nu),
    defaults=dict(
        model=dict(name="fno", modes=12, width=32),
        data=dict(grid=32, train=200, test=50, times=20, history=10), epochs=60, batch=10,
    ),
)
