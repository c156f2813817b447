"""Klein–Gordon equation in two space dimensions with a square term, over many periods.

    u_tt − Δu + u² = f   on (x, y) ∈ (−1, 1)², t ∈ (0, 10);   u(x, y, 0) = x + y,   u_t(x, y, 0) = 2xy,
    u from the solution on the sides, f too

Reference: exact, u = (x + y) cos 2t + xy sin 2t (the case of SPINN and of Physics-Informed Gaussians, Kang et al. 2025,
arXiv:2412.05994). Their codes leave u_t(x, y, 0) out, without which the problem has other solutions too.
"""
import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem


def swing(x, y, t):
    return (x + y) * torch.cos(2 * t) + x * y * torch.sin(2 * t)


def klein_gordon(u, x, y, t):
    return u.tt - (u.xx + u.yy) + u**2 - (swing(x, y, t) ** 2 - 4 * swing(x, y, t))


problem = Problem(
    domain=Box(x=(-1, 1), y=(-1, 1), t=(0, 10)),
    unknowns="u",
    conditions=[
        Equation(klein_gordon),
        Initial(u=lambda x, y: x + y, u_t=lambda x, y: 2 * x * y, weight=100.0, points=600),
        Dirichlet(u=swing, on=["x-", "x+", "y-", "y+"], weight=100.0, points=2500),
    ],
    reference=dict(u=swing),
    defaults=dict(model=dict(name="gaussian", centres=(8, 8, 28), overlap=2.0, ghosts=(2, 2, 6)), balance="fixed",
                  constraints="soft", points=4000, time=60),
)
