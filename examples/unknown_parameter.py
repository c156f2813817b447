"""An inverse problem: the speed of a wave from noisy measurements at 60 points.

`Unknown` makes a parameter trainable together with the field; `Observations` are the data.
"""

from math import pi

import numpy as np
import torch

from sciml import Box, Dirichlet, Equation, Observations, Problem, Unknown, solve

rng = np.random.default_rng(0)
x, t = rng.uniform(0, 1, 60), rng.uniform(0, 1, 60)
clean = np.sin(pi * x) * np.cos(1.5 * pi * t)
measured = clean + 0.01 * clean.std() * rng.standard_normal(60)

problem = Problem(
    domain=Box(x=(0, 1), t=(0, 1)),
    unknowns="u",
    parameters=dict(c=Unknown(1.0, bounds=(0.5, 3.0))),
    conditions=[
        Equation(lambda u, c: u.tt - c**2 * u.xx),
        Dirichlet(u=0.0, on=["x-", "x+"]),
        Observations(at=dict(x=x, t=t), u=measured),
    ],
    reference=dict(u=lambda x, t: torch.sin(pi * x) * torch.cos(1.5 * pi * t), c=1.5),
)


def main(steps: int = 40) -> float:
    """Relative error of the speed."""
    solution = solve(problem, steps=steps, points=500, sampler="sobol", model=dict(width=12, depth=2))
    error = solution.parameter_errors()["c"]
    print(f"c = {solution.parameters['c']:.4f}, exact 1.5, relative error {error:.1e}, {solution.seconds:.1f} s")
    return error


if __name__ == "__main__":
    main()
