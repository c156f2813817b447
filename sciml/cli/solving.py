"""Solve a problem: train with its recipe, show progress, compare with the reference, keep a run folder.

    sciml solve problems/burgers.py --time 60
    sciml solve burgers --optimizer adam:2000,lbfgs --set nu=0.02 model.width=64
    sciml solve --resume runs/burgers-0 --time 120
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from ..errors import ProblemError
from ..plot import plot_run
from ..problem import Problem, load_problem
from ..solution import RunFolder, Solution, load_run
from ..training import make_recipe, solve
from ..training.solve import split_settings
from .options import add_recipe_arguments, recipe_options, settings
from .show import Progress, console, errors_table

HELP = "train a problem with its recipe and compare it with its reference"


def add_arguments(parser) -> None:
    """Arguments of `sciml solve`."""
    parser.add_argument("problem", nargs="?", help="path or name of a problem file")
    add_recipe_arguments(parser)
    parser.add_argument("--out", help="run folder (default: runs/NAME-k)")
    parser.add_argument("--resume", metavar="RUN", help="continue the run in this folder")
    parser.add_argument("--no-figures", action="store_true", help="do not draw figures at the end")


def run(arguments) -> int:
    """Runs `sciml solve`."""
    signal.signal(signal.SIGTERM, _interrupt)
    given = recipe_options(arguments)
    entries = settings(arguments.set)
    if arguments.resume:
        problem, options, out = _resumed(arguments, given, entries)
    else:
        if not arguments.problem:
            raise ProblemError("name a problem: a path or one of `sciml list problems`")
        overrides, dotted = split_settings(entries)
        problem = load_problem(arguments.problem, overrides)
        options = {**given, **dotted}
        out = Path(arguments.out) if arguments.out else free_folder(problem)
    recipe = make_recipe({} if arguments.resume else problem.defaults, options)
    with Progress(problem, recipe) as progress:
        solution = solve(problem, out=out, resume=bool(arguments.resume), on_report=progress, **_plain(recipe))
    show(solution)
    figures = [] if arguments.no_figures else plot_run(out)
    console().print(f"run folder [bold]{out}[/]" + (f", figures {', '.join(f.name for f in figures)}" if figures else ""))
    return 0 if solution.status == "ok" or solution.status.startswith(("interrupted", "stopped")) else 1


def _plain(recipe) -> dict:
    """Options that rebuild a recipe whatever the problem's defaults are."""
    return recipe.as_dict()


def _resumed(arguments, given: dict, entries: dict) -> tuple[Problem, dict, Path]:
    if arguments.problem or arguments.out:
        raise ProblemError("--resume RUN continues a run folder with its own problem; leave PROBLEM and --out out")
    run_folder = RunFolder(arguments.resume)
    problem, recipe, _ = load_run(run_folder)
    fixed = set(given) - {"time", "steps", "device"}
    if fixed or entries:
        name = next(iter([*fixed, *entries]))
        raise ProblemError(f"{name} cannot change when a run is resumed; only --time, --steps and --device can")
    options = {**recipe.as_dict(), **given}
    if "steps" in given and "time" not in given:
        options["time"] = None
    if "time" in given and "steps" not in given:
        options["steps"] = None
    return problem, options, run_folder.path


def _interrupt(signum, frame):
    raise KeyboardInterrupt


def free_folder(problem: Problem, base: str = "runs") -> Path:
    """The first of runs/NAME-0, runs/NAME-1, … that does not exist."""
    stem = problem.source.path.stem
    k = 0
    while (Path(base) / f"{stem}-{k}").exists():
        k += 1
    return Path(base) / f"{stem}-{k}"


def show(solution: Solution) -> None:
    """Status, errors and found parameters of a solution."""
    if solution.status != "ok":
        print(f"sciml: {solution.status}", file=sys.stderr)
    errors_table(solution)
