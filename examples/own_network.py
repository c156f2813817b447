"""A network of your own: any torch module from points to unknowns.

It needs no method for derivatives: nested reverse mode takes them, and Gauss–Newton gets its Jacobian from `vmap`. A
`Field` made of jet operations would be faster; this is the way when a module exists already.
"""

from math import pi

import torch
from torch import nn

from sciml import Box, Dirichlet, Equation, Problem, solve


class Sines(nn.Module):
    """u(x) = Σ c_k sin(w_k x + b_k)."""

    def __init__(self, count: int = 12):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(4 * torch.rand(count, 1, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(pi * torch.rand(count, generator=generator, dtype=torch.float64))
        self.c = nn.Parameter(torch.randn(1, count, generator=generator, dtype=torch.float64) / count)

    def forward(self, X):
        return torch.sin(X @ self.w.T + self.b) @ self.c.T


problem = Problem(
    domain=Box(x=(0, 1)),
    unknowns="u",
    conditions=[Equation(lambda u, x: u.xx + pi**2 * torch.sin(pi * x)), Dirichlet(u=0.0)],
    reference=dict(u=lambda x: torch.sin(pi * x)),
)


def main(steps: int = 30) -> float:
    """Relative L2 error."""
    solution = solve(problem, network=Sines(), steps=steps, points=100, sampler="sobol")
    error = solution.relative_l2()["u"]
    print(f"relative L2 error {error:.1e} in {solution.seconds:.1f} s")
    return error


if __name__ == "__main__":
    main()
