"""Allen–Cahn equation: two phases separate, and thin fronts form between them.

    u_t = 10⁻⁴ u_xx − 5u³ + 5u   on x ∈ (−1, 1) periodic, t ∈ (0, 1);   u(x, 0) = x² cos πx

The initial state has a kink at x = ±1, which only diffusion rounds off; so it cannot be built into a periodic field and
stays in the loss.

Reference: Fourier modes and ETDRK4, accurate to 2e-9 (relative L2).
"""
from math import pi

import torch

from sciml import Box, Equation, Initial, Periodic, Problem


def allen_cahn(u):
    return u.t - 1e-4 * u.xx + 5 * u**3 - 5 * u


problem = Problem(
    domain=Box(x=(-1, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(allen_cahn),
        Initial(u=lambda x: x**2 * torch.cos(pi * x), weight=100.0),
        Periodic(on="x"),
    ],
    reference="allen_cahn.h5",
    defaults=dict(model=dict(width=16, depth=4, harmonics=2), points=3000, sampler="rad",
                  time=100),
)
