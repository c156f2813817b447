"""Solve one problem under several choices at equal time or equal steps, over several seeds.

    sciml compare problems/burgers.py --vary optimizer=adam,lbfgs,gauss-newton --seeds 3 --time 30
    sciml compare burgers --vary sampler=uniform,sobol,rad --vary points=1000,2000 --steps 200

Stages inside one choice are joined by "+": --vary optimizer=adam,adam:500+gauss-newton. Runs are made one after the other; the
last iterate counts, not the best.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import median

from rich.table import Table

from ..errors import ProblemError
from ..metrics import overall
from ..plot import plot_comparison
from ..problem import load_problem
from ..training import make_recipe, solve
from ..training.solve import split_settings
from .options import add_recipe_arguments, recipe_options, settings, value_of
from .show import Progress, console, number

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
    axes = []
    for entry in entries:
        key, sign, text = entry.partition("=")
        values = [value_of(v) for v in text.split(",") if v]
        if not sign or not values:
            raise ProblemError(f"--vary {entry}: write KEY=A,B, for example optimizer=adam,lbfgs")
        axes.append([(key, v) for v in values])
    return [dict(combination) for combination in product(*axes)]


def run(arguments) -> int:
    """Runs `sciml compare`."""
    if arguments.seeds < 1:
        raise ProblemError(f"--seeds {arguments.seeds} must be at least 1")
    combinations = choices(arguments.vary)
    overrides, dotted = split_settings(settings(arguments.set))
    base = {**recipe_options(arguments), **dotted}
    problem = load_problem(arguments.problem, overrides)
    for choice in combinations:
        make_recipe(problem.defaults, {**base, **choice})          # every mistake before the first run
    out = Path(arguments.out) if arguments.out else _free(problem)
    rows, runs = [], {}
    for choice in combinations:
        label = ", ".join(f"{k}={v}" for k, v in choice.items())
        found, folders = [], []
        for seed in range(arguments.seeds):
            folder = out / f"{_safe(label)}-seed{seed}"
            options = {**base, **choice, "seed": seed}
            recipe = make_recipe(problem.defaults, options)
            console().print(f"[bold]{label}[/], seed {seed}")
            with Progress(problem, recipe, every=30.0) as progress:
                solution = solve(problem, out=folder, on_report=progress, **recipe.as_dict())
            errors = solution.relative_l2() or solution.parameter_errors()
            found.append((overall(errors), solution.seconds, solution.steps, solution.status))
            folders.append(folder)
        rows.append((label, found))
        runs[label] = folders
    console().print(table(rows))
    console().print(f"figure {plot_comparison(runs, out / 'comparison.png')}")
    return 0


def _free(problem) -> Path:
    k = 0
    while (Path("runs") / f"{problem.source.path.stem}-compare-{k}").exists():
        k += 1
    return Path("runs") / f"{problem.source.path.stem}-compare-{k}"


def _safe(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in label)


def table(rows: list[tuple[str, list[tuple[float, float, int, str]]]]) -> Table:
    """Median, smallest and largest error per choice."""
    result = Table(box=None, padding=(0, 2))
    for name in ("choice", "median error", "smallest", "largest", "seconds", "steps", "runs"):
        result.add_column(name, justify="left" if name == "choice" else "right")
    for label, found in rows:
        errors = [e for e, *_ in found]
        failed = sum(not (s == "ok" or s.startswith("stopped")) for *_, s in found)
        result.add_row(label, number(median(errors)), number(min(errors)), number(max(errors)),
                       f"{median(s for _, s, *_ in found):.1f}", f"{median(n for _, _, n, _ in found):.0f}",
                       f"{len(found)}" + (f" ({failed} failed)" if failed else ""))
    return result
