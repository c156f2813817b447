"""Adam, L-BFGS and Gauss–Newton on the same problem for the same seconds.

The last iterate counts, not the best. The command line does the same with several seeds and a figure:

    sciml compare poisson --vary optimizer=adam,lbfgs,gauss-newton --time 10 --seeds 3
"""

from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Problem, laplacian, solve


def exact(x, y):
    return torch.sin(pi * x) * torch.sin(pi * y)


problem = Problem(
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="u",
    conditions=[Equation(lambda u, x, y: laplacian(u) + 2 * pi**2 * exact(x, y)), Dirichlet(u=0.0)],
    reference=dict(u=exact),
)


def main(seconds: float = 4.0) -> dict[str, float]:
    """Relative L2 error by optimizer."""
    errors = {}
    for optimizer in ("adam", "lbfgs", "gauss-newton"):
        solution = solve(problem, optimizer=optimizer, sampler="sobol", points=500, time=seconds,
                         model=dict(width=12, depth=2))
        errors[optimizer] = solution.relative_l2()["u"]
        print(f"{optimizer:14} {errors[optimizer]:.1e}  ({solution.steps} steps)")
    return errors


if __name__ == "__main__":
    main()
