"""Nonlinear diffusion: three bumps spread in proportion to their own height.

    u_t = 0.05 (|∇u|² + u Δu)   on (x, y) ∈ (−1, 1)², t ∈ (0, 1);   u(x, y, 0) = u₀,   u = u₀ on the walls at all times
    u₀ = 0.25 exp(−10 |x − (0.2, 0.3)|²) + 0.4 exp(−15 |x − (−0.1, −0.5)|²) + 0.3 exp(−20 |x − (−0.5, 0)|²)

The case of SPINN and Physics-Informed Gaussians puts u = 0 on the walls, which contradicts u₀ there (9e-3 at y = −1);
here the walls keep their values, which is another problem.
Solved by the method of lines on a lattice of Gaussians: classical numerics, no training.

Reference: Chebyshev collocation and an explicit method of order eight, accurate to 2e-6 (equation and data after Cho
et al. 2023, arXiv:2306.15969, and Kang et al. 2025, arXiv:2412.05994).
"""
import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem, laplacian


def bump(x, y, height, narrowness, a, b):
    return height * torch.exp(-narrowness * ((x - a) ** 2 + (y - b) ** 2))


def start(x, y):
    return bump(x, y, 0.25, 10, 0.2, 0.3) + bump(x, y, 0.4, 15, -0.1, -0.5) + bump(x, y, 0.3, 20, -0.5, 0.0)


def diffusion(u):
    return u.t - 0.05 * (u.x**2 + u.y**2 + u * laplacian(u))


problem = Problem(
    title="Nonlinear diffusion",
    domain=Box(x=(-1, 1), y=(-1, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(diffusion),
        Initial(u=start),
        Dirichlet(u=start, on=["x-", "x+", "y-", "y+"]),
    ],
    reference="nonlinear_diffusion.h5",
    defaults=dict(model=dict(name="gaussian-lines", centres=48, pieces=32), points=500, time=60),
)
