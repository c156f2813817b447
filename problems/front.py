"""A front that moves and spreads: Gaussians that gather along it, where a lattice would need very many.

    u_t + ½ u_x = ν u_xx   on (0, 1)², ν = 2e-4;   u = ½ erfc((x − ¼ − t/2) / √(4ν (t + 0.1)))

The front is 0.01 to 0.03 wide and lies across the lattice in space and time.

Reference: exact, the heat kernel's integral carried along; Ogata and Banks (1961), doi:10.3133/pp411A.
"""
import torch

from sciml import Box, Dirichlet, Equation, Initial, Problem

nu = 2e-4


def front(x, t):
    return 0.5 * torch.erfc((x - 0.25 - 0.5 * t) / (4 * nu * (t + 0.1)) ** 0.5)


problem = Problem(
    domain=Box(x=(0, 1), t=(0, 1)),
    unknowns="u",
    conditions=[
        Equation(lambda u: u.t + 0.5 * u.x - nu * u.xx),
        Initial(u=lambda x: front(x, 0 * x)),
        Dirichlet(u=front, on=["x-", "x+"]),
    ],
    reference=dict(u=front),
    defaults=dict(model=dict(name="gaussian", centres=14, overlap=1.4, ghosts=2, covariance="full"), points=588,
                  sampler="sobol", constraints="soft",
                  refine=dict(name="metric", count=784, rounds=5, growth=0.2), time=240),
)
