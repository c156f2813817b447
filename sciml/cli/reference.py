"""Recompute a problem's reference and say how accurate it is.

    sciml reference problems/burgers.py
    sciml reference burgers --set nu=0.02 --write burgers_nu02.h5
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import ProblemError, look_up
from ..problem import load_problem
from ..references import SOLVERS, Grid, recompute, save
from ..references.reference import load_with_origin
from ..solution.truth import describe, find_data, resolve
from .options import settings
from .show import duration, number, say, working

HELP = "recompute a reference and state its accuracy"


def add_arguments(parser) -> None:
    """Arguments of `sciml reference`."""
    parser.add_argument("problem", help="path or name of a problem file")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="constants of the problem")
    parser.add_argument("--write", metavar="FILE", help="write the recomputed reference to this file")


def run(arguments) -> int:
    """Runs `sciml reference`."""
    problem = load_problem(arguments.problem, settings(arguments.set))
    reference, source = problem.reference, problem.source
    assert source is not None                  # it comes from a file
    if reference is None:
        raise ProblemError(f"{source.path.name} has no reference; set reference= to a file, formulas or a "
                           "function")
    start = time.perf_counter()
    if not isinstance(reference, str):
        if arguments.write:
            kind = "a set of formulas" if isinstance(reference, dict) else "computed by the problem file"
            raise ProblemError(f"--write stores what a solver made; this reference is {kind}")
        with working("computing the reference"):
            truth = resolve(problem)
        say(f"{describe(truth)}; {time.perf_counter() - start:.1f} s")
        return 0
    path = find_data(reference, problem)
    _, origin = load_with_origin(path)
    overrides = source.overrides
    if overrides:
        grid = _with_other_constants(origin, overrides)
        origin["seconds"] = time.perf_counter() - start
        say(f"{grid.how}; accuracy {number(grid.accuracy)}, {origin['seconds']:.1f} s")
    else:
        given = ", ".join(f"{k}={v!r}" for k, v in origin["arguments"].items())
        say(f"{path}: recomputing with {origin['solver']}({given}), {duration(origin['seconds'])} when it was made")
        with working("computing the reference"):
            grid, report = recompute(path)
        say(f"took {duration(report['seconds'])}; self-convergence {number(report['self_convergence'])}, stated in the "
            f"file {number(report['accuracy'])}")
        for name, value in report["difference"].items():
            say(f"{name}: recomputed and stored differ by {number(value)} (relative L2)")
    if arguments.write:
        save(Path(arguments.write), grid, solver=origin["solver"], arguments=origin["arguments"],
             seconds=origin["seconds"])
        say(f"wrote {arguments.write}")
    return 0


def _with_other_constants(origin: dict, overrides: Mapping) -> Grid:
    """The reference for other constants than the file's; they go into origin["arguments"] too."""
    solver = look_up("solver", origin["solver"], SOLVERS)
    valid = inspect.signature(solver).parameters
    for name in overrides:
        if name not in valid:
            raise ProblemError(f"the solver {origin['solver']} has no argument {name!r}; it takes {', '.join(valid)}")
    origin["arguments"].update(overrides)
    try:
        with working("computing the reference"):
            return solver(**origin["arguments"])
    except (TypeError, ValueError) as error:
        if isinstance(error, ProblemError):
            raise
        given = ", ".join(f"{k}={v!r}" for k, v in overrides.items())
        raise ProblemError(f"the solver {origin['solver']} fails with {given}: {error}") from error
