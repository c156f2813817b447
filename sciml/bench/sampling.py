"""Samplers side by side at equal steps: tables of errors, and what each adds to the time of a step.

    first order     Adam on convection, 1,000 points, after Daw et al. (2023): where the published numbers come from
    second order    Gauss–Newton on convection, Allen–Cahn and Burgers by their own recipes
    scarce          the same with 1,000 points, about as many as parameters
    few points      Gauss–Newton with 100 to 300 points of all conditions together, after Lau et al. (2024)
    cost            the share of a step that goes into choosing points

Uniform points redrawn at each step are the baseline that a table must hold (sampling is compared with `fixed` too
often), and ratios are to them. Samplers that `SAMPLERS` does not know are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch

from ..objective import make_recipe
from ..problem import load_problem
from ..sampling import SAMPLERS
from ..training import Training
from .row import Row

Options = Mapping[str, Any]
BASELINE = "uniform"
TANH = {"name": "mlp", "activation": "tanh", "init": "glorot"}        # over what the problem files say of their models

# Daw et al.: 4 × 50 tanh, Adam, initial and periodic values in the loss with weight 100, pools scored every 100 steps,
# 10 points added at a time. Built into the field, the same values make this convection slower to learn by gradients
# (not by Gauss–Newton): 0.82 in place of 0.08 after 20,000 steps. Steps, and so γ's rate, follow from the budget.
FIRST: dict[str, Options] = {
    "fixed": {}, "uniform": {"uniform.every": 1}, "rar-g": {"rar-g.every": 100}, "rad": {"rad.every": 100},
    "rar-d": {"rar-d.every": 100}, "l-inf": {"l-inf.every": 100}, "r3": {}, "causal-r3": {},
    "sobol": {"sobol.every": 10}, "pinnacle-s": {}, "pinnacle-k": {}}
PUBLISHED = {"fixed": "107.5", "uniform": "2.8", "rar-g": "10.5", "rad": "3.4", "rar-d": "67.1", "l-inf": "66.6",
             "r3": "1.5", "causal-r3": "2.1"}         # % after 100,000 steps, β = 30, 5 seeds; table 2 of LearnQuad's
FIRST_RECIPE: Options = {"optimizer": "adam", "adam.lr": 2e-3, "points": 1000, "boundary_points": 100,
                         "constraints": "soft", "dtype": "float32", "model": {**TANH, "width": 50, "depth": 4}}
FIRST_OVERRIDES = {"weight": 100.0}

SECOND: dict[str, Options] = {
    "fixed": {}, "uniform": {"uniform.every": 10}, "sobol": {}, "rad": {}, "rolling": {},
    "rar-g": {}, "rar-d": {}, "l-inf": {},
    "r3": {"r3.every": 10}, "pinnacle-k": {}}
SECOND_RECIPES: dict[str, Options] = {
    "convection50": {"model": {**TANH, "width": 20, "depth": 3}, "constraints": "soft", "points": 2000},
    "allen_cahn": {}, "burgers": {}}

SCARCE = {name: SECOND[name] for name in ("fixed", "uniform", "sobol", "rad", "rolling", "r3", "pinnacle-k")}
SCARCE_RECIPES: dict[str, Options] = {"allen_cahn": {"points": 1000}, "burgers": {"points": 1000}}

FEW: dict[str, Options] = {
    "fixed": {}, "uniform": {"uniform.every": 10}, "sobol": {"sobol.every": 10}, "rad": {"rad.every": 10},
    "pinnacle-s": {}, "pinnacle-k": {}}
# Inside and in each other condition: 200, 300 and 100 in all, four fifths inside as in the paper's baselines. With more
# parameters than rows Gauss–Newton fits any points, and forgets them at the next redraw; so the fields are small.
FEW_POINTS: dict[str, tuple[int, int, Options]] = {
    "advection": (160, 20, {"name": "mlp", "activation": "sin", "init": "random-features", "spread": 30.0, "width": 60,
                            "depth": 1}),
    "burgers": (240, 30, {**TANH, "width": 12, "depth": 3}),
    "kovasznay": (80, 20, {**TANH, "width": 12, "depth": 2})}
FEW_RECIPE: Options = {"optimizer": "gauss-newton", "constraints": "soft"}


def rows(table: str, problem: str, samplers: Mapping[str, Options], steps: int, recipe: Options,
         overrides: Mapping[str, float] | None = None) -> tuple[Row, ...]:
    """A row per sampler that there is."""
    compiled = recipe.get("optimizer") == "adam"      # twice as fast, but not for points that grow
    return tuple(Row(problem, 0, None, label=name, method=f"{table}-{name}", steps=steps,
                     options={**recipe, "sampler": name, "compile": compiled and not SAMPLERS[name].grows,
                              **options}, overrides=overrides or {})
                 for name, options in samplers.items() if name in SAMPLERS)


def first_order(steps: int = 30000, more: int = 40000) -> tuple[Row, ...]:
    """Rows of the first table; R3 once more with what ten minutes of a core hold."""
    all_of = lambda samplers, n: rows("first", "convection", samplers, n, FIRST_RECIPE, FIRST_OVERRIDES)
    longer = (replace(row, label=f"{row.label}, {row.extent}") for row in all_of({"r3": FIRST["r3"]}, more))
    return (*all_of(FIRST, steps), *longer)


def second_order(steps: int = 120) -> tuple[Row, ...]:
    """Rows of the second table."""
    return tuple(r for problem, recipe in SECOND_RECIPES.items()
                 for r in rows("second", problem, SECOND, steps, recipe))


def scarce(steps: int = 120) -> tuple[Row, ...]:
    """Rows of the table with about as many points as parameters."""
    return tuple(r for problem, recipe in SCARCE_RECIPES.items()
                 for r in rows("scarce", problem, SCARCE, steps, recipe))


def few_points(steps: int = 300) -> tuple[Row, ...]:
    """Rows of the third table."""
    return tuple(r for problem, (inside, on, model) in FEW_POINTS.items()
                 for r in rows("few", problem, FEW, steps, {**FEW_RECIPE, "points": inside, "boundary_points": on,
                                                            "model": model}))


ROWS = first_order() + second_order() + scarce() + few_points()


def tables(chosen: Sequence[Row], device: str, out: Path) -> dict[str, str]:
    """The tables of errors, as far as there are results; by the name of their markers."""
    found = {"sampling-first-order": [r for r in chosen if r.method.startswith("first-")],
             "sampling-second-order": [r for r in chosen if r.method.startswith("second-")],
             "sampling-scarce": [r for r in chosen if r.method.startswith("scarce-")],
             "sampling-few-points": [r for r in chosen if r.method.startswith("few-")]}
    made = {name: markdown(rows_, device, out) for name, rows_ in found.items()}
    made["sampling-first-order"] = with_published(made["sampling-first-order"])
    return made


def markdown(chosen: Sequence[Row], device: str, out: Path) -> str:
    """Errors by sampler and problem: median, in brackets its ratio to `uniform`'s, range over seeds."""
    results = {(r.label, r.problem): r.results(device, out) for r in chosen}
    results = {key: found for key, found in results.items() if found}
    if not results:
        return ""
    problems: dict[str, Row] = {}
    for r in chosen:
        if any(p == r.problem for _, p in results):
            problems.setdefault(r.problem, r)
    lines = ["| sampler | " + " | ".join(f"{p.replace('_', ' ')}, {r.extent}" for p, r in problems.items()) + " |",
             "|---" * (1 + len(problems)) + "|"]
    for name in dict.fromkeys(name for name, _ in results):
        cells = []
        for problem in problems:
            found = results.get((name, problem))
            cells.append("–" if found is None else _cell(found, results.get((BASELINE, problem))))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    seeds = sorted({len(found) for found in results.values()})
    lines += ["", f"Seeds: {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))}."]
    return "\n".join(lines)


def _cell(found: Sequence[Mapping], base: Sequence[Mapping] | None) -> str:
    errors = [f["error"] for f in found]
    middle = median(errors)
    ratio = f" ({middle / median(f['error'] for f in base):.2g})" if base else ""
    return f"**{middle:.1e}**{ratio}; {min(errors):.1e} – {max(errors):.1e}"


def with_published(table: str) -> str:
    """The first table with the published errors in a last column."""
    lines = []
    for line in table.splitlines():
        name = line.split("|")[1].strip() if line.startswith("|") else ""
        if name == "sampler":
            line += " published, 100,000 steps |"
        elif line.startswith("|---"):
            line += "---|"
        elif name:
            line += f" {PUBLISHED[name]} % |" if name in PUBLISHED else " – |"
        lines.append(line)
    return "\n".join(lines)


def cost(steps: int = 1001, samplers: Mapping[str, Options] | None = None, device: str = "cpu") -> list[dict]:
    """Milliseconds per step with each sampler, and the share of them that goes into choosing points.

    Both are taken in one run (CPU seconds on a CPU), since two runs on a shared machine differ by more than a sampler
    takes. The first points do not count.

    Args:
        steps: Of Adam on convection with 1,000 points in each run; 1,001 hold one redraw of the rarest.
        samplers: By name, with options; None: those of the first table.
        device: Where.
    """
    chosen = FIRST if samplers is None else samplers
    problem = load_problem("convection", FIRST_OVERRIDES)
    found = []
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        for name in (n for n in chosen if n in SAMPLERS):
            compiled = steps > 100 and not SAMPLERS[name].grows
            training = Training(problem, make_recipe(problem.defaults, {
                **FIRST_RECIPE, "compile": compiled, "sampler": name, **chosen[name], "steps": 2 * steps + 2,
                "device": device}))
            training.advance(1 + min(training.sampler.every, steps))      # compiles, the first redraw too
            clock = _Clock(device)
            training.sampler.update = clock.timed(training.sampler.update)       # type: ignore[method-assign]
            start = clock.now()
            training.advance(steps)
            total = clock.now() - start
            found.append({"sampler": name, "milliseconds": 1e3 * total / steps, "share": clock.spent / total})
    finally:
        torch.set_num_threads(threads)
    return found


class _Clock:
    """Seconds that a function takes in all: of the process on a CPU, of the wall and the device elsewhere."""

    def __init__(self, device: str):
        self.device, self.spent = device, 0.0

    def now(self) -> float:
        if self.device == "cpu":
            return process_time()
        torch.cuda.synchronize()
        return perf_counter()

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args, **kwargs):
            start = self.now()
            result = function(*args, **kwargs)
            self.spent += self.now() - start
            return result

        return called


def cost_markdown(found: Sequence[Mapping]) -> str:
    """The table of costs."""
    lines = ["| sampler | milliseconds per step | of these for points |", "|---|---|---|"]
    return "\n".join(lines + [f"| {r['sampler']} | {r['milliseconds']:.1f} | {100 * r['share']:.1f} % |"
                              for r in found])
