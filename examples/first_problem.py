"""A problem from Python, without a file: Poisson's equation on a disk with a hole, solved and evaluated.

The boundary values are built into the field through the domain's smooth distance function, so that only the
equation is trained. The exact solution of −Δu = 4 with u = 1 − r² + c log r is known; both circles take its values.
"""

import torch

from sciml import Dirichlet, Disk, Equation, Problem, laplacian, solve


def exact(x, y):
    r2 = x**2 + y**2
    return 1 - r2 + 0.5 * torch.log(r2)


ring = Disk(radius=1.0) - Disk(radius=0.3, name="hole")
problem = Problem(
    domain=ring,
    unknowns="u",
    conditions=[Equation(lambda u: -laplacian(u) - 4), Dirichlet(u=exact)],
    reference=dict(u=exact),
)


def main(steps: int = 25) -> float:
    """Relative L2 error."""
    solution = solve(problem, steps=steps, points=600, model=dict(width=12, depth=2))
    print("u at (0.5, 0):", float(solution(x=0.5, y=0.0)["u"]))
    error = solution.relative_l2()["u"]
    print(f"relative L2 error {error:.1e} in {solution.seconds:.1f} s")
    return error


if __name__ == "__main__":
    main()
