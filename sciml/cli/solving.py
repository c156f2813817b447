"""Solve a problem: train with its recipe, show progress, compare with the reference, keep a run folder.

    sciml solve problems/burgers.py --time 60
    sciml solve burgers --optimizer adam:2000,lbfgs --set nu=0.02 model.width=64
    sciml solve --resume runs/burgers-0 --time 120

Ctrl-C stops after the step, saves and reports; press it twice to abort at once. --time and --steps of a resumed run
count from the run's beginning. --time counts the seconds of training steps, the redrawing of points and compilation
(--compile) included; imports, the reference, reports, checkpoints and figures come on top. The summary gives both, and
so does result.json: "seconds" of training, and "wall_seconds" from the call of `solve`, after imports, to its end.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ProblemError
from ..learning import OperatorRecipe, OperatorSolution, load_operator_run
from ..learning.parallel import rank
from ..objective import Recipe, idle_parts
from ..plot import plot_run
from ..problem import Problem, load_problem
from ..solution import RunFolder, Solution, load_run
from ..training import solve
from ..training.solve import plan, plan_of, split_settings
from .interruption import Interruption
from .options import add_recipe_arguments, one_process, recipe_notes, recipe_options, settings
from .show import Progress, errors_table, operator_table, say, succeeded, warn, working

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
    given = recipe_options(arguments)
    entries = settings(arguments.set)
    dotted: dict[str, object] = {}                     # a resumed run takes none
    if arguments.resume:
        problem, options, out = _resumed(arguments, given, entries)
        recipe = plan_of(options)
    else:
        if not arguments.problem:
            raise ProblemError("name a problem: a path or one of `sciml list problems`")
        overrides, dotted = split_settings(entries)
        problem = load_problem(arguments.problem, overrides)
        recipe = plan(problem, {**given, **dotted})
        if not isinstance(recipe, OperatorRecipe):
            one_process()
        if rank():
            return _second(problem, recipe, None)
        out = Path(arguments.out) if arguments.out else claim_folder(problem)
    if not isinstance(recipe, OperatorRecipe):
        one_process()
    if rank():
        return _second(problem, recipe, out)
    idle = [] if isinstance(recipe, OperatorRecipe) else idle_parts([recipe], dotted)
    for note in [*recipe_notes(recipe), *idle]:
        warn(note)
    try:
        with Interruption() as stop, Progress(problem, recipe, stop) as progress:
            solution = solve(problem, out=out, resume=bool(arguments.resume), on_report=progress, stop=stop,
                             on_data=progress.solved, **recipe.as_dict())
    except ProblemError:
        _release(out)
        raise
    show(solution)
    figures = []
    if not arguments.no_figures and (out / "solution.h5").is_file():
        with working("drawing figures"):
            figures = plot_run(out)
    say(f"run folder {out}" + (f", figures {', '.join(f.name for f in figures)}" if figures else ""))
    return 0 if succeeded(solution.status) else 1


def _second(problem: Problem, recipe: Recipe | OperatorRecipe, out: Path | None) -> int:
    """What the processes of torchrun but the first do: their part of every batch, in silence."""
    with Interruption() as stop:
        solve(problem, out=out, resume=out is not None, stop=stop, **recipe.as_dict())
    return 0


def _resumed(arguments, given: dict, entries: dict) -> tuple[Problem, dict, Path]:
    if arguments.problem or arguments.out:
        raise ProblemError("--resume RUN continues a run folder with its own problem; leave PROBLEM and --out out")
    run_folder = RunFolder(arguments.resume)
    recipe: Recipe | OperatorRecipe
    if run_folder.holds_operator:
        problem, recipe, _ = load_operator_run(run_folder, given.get("device"))
    else:
        problem, recipe, _ = load_run(run_folder, given.get("device"))
    fixed = set(given) - {"time", "steps", "epochs", "device"}
    if fixed or entries:
        name = next(iter([*sorted(fixed), *entries]))
        raise ProblemError(f"{name} cannot change when a run is resumed; only --time, --steps and --device can")
    options = {**recipe.as_dict(), **given}
    if "steps" in given and "time" not in given:
        options["time"] = None
    if "time" in given and "steps" not in given:
        options["steps"] = None
    if {"time", "steps"} & set(given) and "epochs" in options and "epochs" not in given:
        options["epochs"] = None
    return problem, options, run_folder.path


def claim_folder(problem: Problem, label: str = "", base: str = "runs") -> Path:
    """Makes the first of runs/NAME-0, runs/NAME-1, … that does not exist; two runs started at once get two."""
    assert problem.source is not None          # it comes from a file
    k = 0
    while True:
        folder = Path(base) / f"{problem.source.path.stem}{label}-{k}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            k += 1


def _release(out: Path) -> None:
    """Removes the folder of a run that never started."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()


def show(solution: Solution | OperatorSolution) -> None:
    """Status, errors and found parameters of a solution."""
    if solution.status != "ok":
        warn(solution.status)
    if isinstance(solution, OperatorSolution):
        operator_table(solution)
        return
    errors_table(solution)
