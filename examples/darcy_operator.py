"""A solution operator learnt from the equation alone, then improved for the one input that matters.

    −∇·(a ∇u) = 1   in (0, 1)²,   u = 0 on the boundary;   a = 12 or 3, by the sign of a Gaussian random field

No solution is used: the loss is the residual of the problem file's equation on the grid, in the norm of the inverse of
its leading part. For a new permeability the operator answers in milliseconds, and a few seconds of test-time
optimisation on its own residual make the answer a hundred times better. The family's classical solver is beside it.
"""
import time
from pathlib import Path

import numpy as np

import sciml

PROBLEM = Path(__file__).resolve().parents[1] / "problems" / "darcy.py"
SMALL = {"data.grid": 33, "data.train": 100, "data.test": 20, "model.modes": 8, "model.width": 12}


def main(epochs: int = 15, seconds: float = 8.0) -> float:
    """Relative error of the tuned answer for one new permeability."""
    solution = sciml.solve(PROBLEM, loss="residual", epochs=epochs, batch=10, **SMALL)
    print(f"learnt without solutions in {solution.seconds:.0f} s: mean test error {solution.relative_l2()['u']:.1e}")

    axis = np.linspace(0, 1, 33)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    a = np.where(np.hypot(x - 0.6, y - 0.4) < 0.25, 12.0, 3.0)               # a round inclusion, none of the family's
    exact = classical(solution, a)
    error = lambda u: float(np.linalg.norm(u - exact) / np.linalg.norm(exact))
    print(f"for a round inclusion: {error(solution(a=a)['u']):.1e}")
    tuned = error(solution.tune(seconds, a=a)["u"])
    print(f"after {seconds:.0f} s of test-time optimisation: {tuned:.1e}")
    return tuned


def classical(solution, a):
    """The reference solver's answer."""
    from torch import as_tensor

    start = time.perf_counter()
    u = solution.problem.reference.solve({"a": as_tensor(a)[None]}, solution.layout.nodes)["u"][0].numpy()
    print(f"conjugate gradients: {1e3 * (time.perf_counter() - start):.0f} ms")
    return u


if __name__ == "__main__":
    main()
