"""Solve one problem under several choices at equal time or equal steps, over several seeds.

    sciml compare problems/burgers.py --vary optimizer=adam,lbfgs,gauss-newton --seeds 3 --time 30
    sciml compare burgers --vary sampler=uniform,sobol,rad --vary points=1000,2000 --steps 200

Stages inside one choice are joined by "+": --vary optimizer=adam,adam:500+gauss-newton. Runs are made one after the
other; the last iterate counts, not the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median

from rich.table import Table
from rich.text import Text

from ..errors import ProblemError
from ..learning import OperatorRecipe, OperatorSolution, OperatorTraining
from ..metrics import overall
from ..objective import Recipe, idle_parts
from ..plot import plot_comparison
from ..problem import Problem, load_problem
from ..solution import Solution
from ..solution.truth import resolve
from ..training import Training, solve
from ..training.solve import plan, split_settings
from .check import tried
from .interruption import Interruption
from .options import add_recipe_arguments, one_process, recipe_options, settings, value_of
from .show import Progress, console, number, say, succeeded, warn, working
from .solving import claim_folder

Found = Solution | OperatorSolution
HELP = "the same problem under several choices: a table with spread and a figure"


def add_arguments(parser) -> None:
    """Arguments of `sciml compare`."""
    parser.add_argument("problem", help="path or name of a problem file")
    parser.add_argument("--vary", action="append", required=True, metavar="KEY=A,B,…",
                        help="option and its choices; repeat for a grid of choices")
    parser.add_argument("--seeds", type=int, default=1, help="runs per choice, seeds 0, 1, …")
    add_recipe_arguments(parser)
    parser.add_argument("--out", help="folder of the runs and the figure (default: runs/NAME-compare-k)")


def choices(entries: list[str]) -> list[dict[str, object]]:
    """All combinations of the varied options."""
    axes: list[list[tuple[str, object]]] = []
    for entry in entries:
        key, sign, text = entry.partition("=")
        values = [value_of(v) for v in text.split(",") if v]
        if not sign or not values:
            raise ProblemError(f"--vary {entry}: write KEY=A,B, for example optimizer=adam,lbfgs")
        if twice := [v for k, v in enumerate(values) if v in values[:k]]:
            raise ProblemError(f"--vary {entry}: {twice[0]} comes twice; name each choice once, and repeat runs by "
                               "--seeds")
        if any(key == other for axis in axes for other, _ in axis):
            raise ProblemError(f"--vary {key} comes twice; write all its choices in one, as in {key}=A,B")
        axes.append([(key, v) for v in values])
    return [dict(combination) for combination in product(*axes)]


def run(arguments) -> int:
    """Runs `sciml compare`."""
    one_process()
    if arguments.seeds < 1:
        raise ProblemError(f"--seeds {arguments.seeds} must be at least 1")
    combinations = choices(arguments.vary)
    if "seed" in combinations[0]:
        raise ProblemError("--vary seed: the spread over seeds is what --seeds N shows")
    overrides, dotted = split_settings(settings(arguments.set))
    base = {**recipe_options(arguments), **dotted}
    problem = load_problem(arguments.problem, overrides)
    recipes = [plan(problem, {**base, **choice}) for choice in combinations]
    _rehearse(problem, recipes, [k for k in {**base, **combinations[0]} if "." in k])
    out = Path(arguments.out) if arguments.out else claim_folder(problem, "-compare")
    found: dict[str, list[Found]] = {}
    runs: dict[str, list[Path]] = {}
    with Interruption() as stop:
        for choice, seed in product(combinations, range(arguments.seeds)):
            if stop():
                break
            label = ", ".join(f"{k}={v}" for k, v in choice.items())
            folder = out / f"{_safe(label)}-seed{seed}"
            say(f"{label}, seed {seed}")
            found.setdefault(label, []).append(
                _solve(problem, plan(problem, {**base, **choice, "seed": seed}), folder, stop))
            runs.setdefault(label, []).append(folder)
    console().print(table(found))
    if first_of(found).relative_l2():
        say(f"figure {plot_comparison(runs, out / 'comparison.png')}")
    return 0


def _rehearse(problem: Problem, recipes: Sequence[Recipe | OperatorRecipe], dotted: Sequence[str]) -> None:
    """Finds every mistake before the first run."""
    fields = [r for r in recipes if isinstance(r, Recipe)]
    if fields:
        with working("preparing the reference"):
            truth = resolve(problem)
        for one in fields:
            Training(problem, one, truth=truth)
        for note in idle_parts(fields, dotted):
            warn(note)
    for recipe in recipes:
        if isinstance(recipe, OperatorRecipe):
            OperatorTraining(problem, tried(recipe))


def _solve(problem: Problem, recipe: Recipe | OperatorRecipe, folder: Path, stop: Interruption) -> Found:
    with Progress(problem, recipe, stop) as progress:
        solution = solve(problem, out=folder, on_report=progress, on_data=progress.solved, stop=stop,
                         **recipe.as_dict())
    if solution.status != "ok":
        warn(solution.status)
    return solution


def _safe(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in label)


def first_of(found: dict[str, list[Found]]) -> Found:
    """Any of the solutions: they share the problem and its reference."""
    return next(iter(found.values()))[0]


def score(solution: Found) -> float:
    """Mean relative error of the unknowns, or of the parameters that are known; without a reference the loss."""
    errors = solution.relative_l2() or _parameter_errors(solution)
    value = overall(errors) if errors else solution.loss
    return float("nan") if value is None else value


def _parameter_errors(solution: Found) -> dict[str, float]:
    return solution.parameter_errors() if isinstance(solution, Solution) else {}


def table(found: dict[str, list[Found]]) -> Table:
    """Median, smallest and largest error per choice."""
    result = Table(box=None, padding=(0, 2, 0, 0))
    first = first_of(found)
    what = "error" if first.relative_l2() or _parameter_errors(first) else "loss"
    for name in ("choice", f"median {what}", "smallest", "largest", "seconds", "steps", "runs"):
        result.add_column(name, justify="left" if name == "choice" else "right")
    for label, solutions in found.items():
        scores = [score(s) for s in solutions]
        failed = sum(not succeeded(s.status) for s in solutions)
        result.add_row(Text(label), number(median(scores)), number(min(scores)), number(max(scores)),
                       f"{median(s.seconds for s in solutions):.1f}", f"{median(s.steps for s in solutions):.0f}",
                       f"{len(solutions)}" + (f" ({failed} failed)" if failed else ""))
    if first.relative_l2():
        nulls = first.null_score()
        what = "mean field" if isinstance(first, OperatorSolution) else "best constant"
        result.caption = Text(f"{what} {number(overall(nulls))}")
        result.caption_justify = "left"
    return result
