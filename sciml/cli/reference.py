"""Recompute a problem's reference and say how accurate it is.

    sciml reference problems/burgers.py
    sciml reference burgers --set nu=0.02 --write burgers_nu02.h5
"""

from __future__ import annotations

import inspect
import time
from pathlib import Path

from ..errors import ProblemError
from ..problem import load_problem
from ..references import SOLVERS, recompute, save
from ..references.reference import load_with_origin
from ..solution.truth import describe, find_data, resolve
from .options import settings
from .show import console, number

HELP = "recompute a reference and state its accuracy"


def add_arguments(parser) -> None:
    """Arguments of `sciml reference`."""
    parser.add_argument("problem", help="path or name of a problem file")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="constants of the problem")
    parser.add_argument("--write", metavar="FILE", help="write the recomputed reference to this file")


def run(arguments) -> int:
    """Runs `sciml reference`."""
    out = console()
    problem = load_problem(arguments.problem, settings(arguments.set))
    reference = problem.reference
    if reference is None:
        raise ProblemError(f"{problem.source.path.name} has no reference; set reference= to a file, formulas or a function")
    if not isinstance(reference, str):
        start = time.perf_counter()
        truth = resolve(problem)
        out.print(f"{describe(truth)}; {time.perf_counter() - start:.1f} s")
        return 0
    path = find_data(reference, problem)
    _, origin = load_with_origin(path)
    overrides = problem.source.overrides
    if not overrides:
        out.print(f"{path}: recomputing with {origin['solver']}({origin['arguments']}), "
                  f"{origin['seconds']:.0f} s when it was made")
        grid, report = recompute(path)
        for key, value in report.items():
            out.print(f"{key:24} {number(value) if isinstance(value, float) else value}")
    else:
        solver = SOLVERS[origin["solver"]]
        valid = inspect.signature(solver).parameters
        unfit = [k for k in overrides if k not in valid]
        if unfit:
            raise ProblemError(f"the solver {origin['solver']} has no argument {unfit[0]!r}; it takes {', '.join(valid)}")
        origin["arguments"].update(overrides)
        start = time.perf_counter()
        grid = solver(**origin["arguments"])
        origin["seconds"] = time.perf_counter() - start
        out.print(f"{grid.how}; accuracy {number(grid.accuracy)}, {origin['seconds']:.1f} s")
    if arguments.write:
        save(Path(arguments.write), grid, solver=origin["solver"], arguments=origin["arguments"],
             seconds=origin["seconds"])
        out.print(f"wrote {arguments.write}")
    return 0
