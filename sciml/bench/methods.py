"""First-order methods at equal cost: of each as many steps as fit into the time of Adam's, measured in turns.

Seconds on a shared machine vary by more than the methods differ. So all methods of a problem first take turns in one
process, a few steps each, and the medians of their step times over Adam's divide the budget; the runs themselves are
counted in steps, and repeat bit by bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..objective import make_recipe
from ..problem import load_problem
from ..training import Training
from .row import Row

FIRST_ORDER: dict[str, dict[str, Any]] = {
    "Adam": dict(optimizer="adam"), "MultiAdam": dict(optimizer="multiadam"),
    "ConFIG": dict(optimizer="adam", balance="config"), "M-ConFIG": dict(optimizer="m-config"),
    "PCGrad": dict(optimizer="adam", balance="pcgrad"),
    "IMTL-G": dict(optimizer="adam", balance="imtl-g"),
    "Adam + GUA": dict(optimizer="adam", balance="gua"),
    "Adam + grad-norm": dict(optimizer="adam", balance="grad-norm"),
    "SOAP + grad-norm": dict(optimizer="soap", balance="grad-norm")}
PROBLEMS = (Row("burgers", 60, None, label="Burgers"), Row("kovasznay", 60, None, label="Kovasznay flow"),
            Row("poisson_scale", 60, None, label="four holes, L = 1", overrides={"L": 1.0}),
            Row("poisson_scale", 60, None, label="four holes, L = 8"))
RATE = 100                       # steps of Adam that stand for a second


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"constraints": "soft", "sampler": "uniform", "points": 500, "model": dict(width=32, depth=3),
            "compile": True, "schedule": "cosine", "report": 10.0, f"{options['optimizer']}.lr": 5e-3, **options}


def method(name: str) -> str:
    """The name of a method in file names."""
    return name.lower().replace(" ", "")


METHODS = tuple(replace(problem, method=method(name), options=_options(options))
                for problem in PROBLEMS for name, options in FIRST_ORDER.items())


def costs(row: Row, device: str = "cpu", rounds: int = 7, steps: int = 20) -> dict[str, float]:
    """Seconds per step over Adam's on the problem of a row, by method: the median of rounds in which all take turns.

    On a CPU seconds are those of the processor, which other processes do not take part in.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    runs = {}
    for name, options in FIRST_ORDER.items():
        given = {**_options(options), "steps": 10**6, "device": device}
        found = load_problem(row.problem, row.overrides)
        runs[method(name)] = Training(found, make_recipe(found.defaults, given))
    for run in runs.values():
        run.advance(10)                                      # compiles
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run.advance(steps)
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return {name: median(s / a for s, a in zip(seconds[name], seconds["adam"], strict=True)) for name in runs}


def steps_of(row: Row, over_adam: float) -> int:
    """Steps of a row: those of Adam in its nominal seconds, over the method's cost."""
    return max(round(row.time * RATE / over_adam), 1)


def table(device: str, out: Path) -> str:
    """Markdown: median error by method and problem, in brackets its ratio to Adam's; range; steps."""
    lines = ["| method | " + " | ".join(p.label for p in PROBLEMS) + " |", "|---" * (1 + len(PROBLEMS)) + "|"]
    base: dict[str, float] = {}
    for name in FIRST_ORDER:
        cells = []
        for problem in PROBLEMS:
            row = next(r for r in METHODS if r.name == problem.name and r.method == method(name))
            found = row.results(device, out)
            if not found:
                cells.append("–")
                continue
            errors = [f["error"] for f in found]
            ratio = median(errors) / base.setdefault(problem.name, median(errors))
            cells.append(f"{median(errors):.1e} ({ratio:.2g}); {min(errors):.1e} – {max(errors):.1e}; "
                         f"{found[0]['steps']:,} steps" + (f", seeds: {len(found)}" if len(found) != 3 else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
