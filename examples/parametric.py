"""One field for a whole range of a parameter: −k u″ = 1 for every conductivity k in (1, 4).

`Range` makes k an input of the field. The solution is x(1 − x)/(2k).
"""

from sciml import Box, Dirichlet, Equation, Problem, Range, solve

problem = Problem(
    domain=Box(x=(0, 1)),
    unknowns="u",
    parameters=dict(k=Range(1.0, 4.0)),
    conditions=[Equation(lambda u, k: -k * u.xx - 1), Dirichlet(u=0.0)],
    reference=dict(u=lambda x, k: x * (1 - x) / (2 * k)),
)


def main(steps: int = 80) -> float:
    """Relative L2 error over x and k."""
    solution = solve(problem, steps=steps, points=400, sampler="sobol", model=dict(width=10, depth=2))
    for k in (1.0, 2.0, 4.0):
        print(f"k = {k}: u(1/2) = {float(solution(x=0.5, k=k)['u']):.6f}, exact {1 / (8 * k):.6f}")
    error = solution.relative_l2()["u"]
    print(f"relative L2 error {error:.1e} in {solution.seconds:.1f} s")
    return error


if __name__ == "__main__":
    main()
