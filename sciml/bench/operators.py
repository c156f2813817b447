"""Solution operators: test errors of families, on the training's grid and on another, and the solver beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from ..problem import load_problem
from ..training import solve


@dataclass(frozen=True)
class OperatorRow:
    """One line of the table.

    Args:
        problem: Name of the problem file.
        label: Text of the row.
        target: What the median is meant to reach; None: none is set.
        method: With `options`, a name for them.
        options: Of `solve`, over those of the problem file.
        overrides: Values of the problem file that are set to others.
        other: Grid of another resolution on which it is tested too.
        tuned: Seconds of test-time optimisation of the first test function; 0: none.
    """

    problem: str
    label: str
    target: float | None = None
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, float] = field(default_factory=dict)
    other: int | tuple[int, ...] = 0
    tuned: float = 0.0

    @property
    def key(self) -> str:
        """File name of the row's results."""
        return f"operator-{self.problem}" + (f"-{self.method}" if self.method else "")

    def results(self, device: str, out: Path) -> list[dict]:
        """What was kept of the row's runs in a folder, by seed."""
        return [json.loads(f.read_text()) for f in sorted(out.glob(f"{self.key}-{device}-seed*.json"))]


SMALL = {"data.grid": 33, "model.modes": 10, "model.width": 20, "epochs": 40, "adamw.lr": 3e-3,
         "adamw.weight_decay": 1e-5, "augment": "none"}
CIRCLE = {"length": 1.0, "nu": 0.01}
ROWS = (
    OperatorRow("burgers_operator", "Burgers, ν = 0.1, n = 256, 1,000 functions", 5e-3, other=1024),
    OperatorRow("burgers_operator", "Burgers, ν = 0.01, length 1", None, method="b", overrides=CIRCLE, other=1024),
    OperatorRow("burgers_operator", "Burgers, ν = 0.01, no solutions, preconditioned residual in space and time", 3e-2,
                method="free", overrides=CIRCLE, options={
                    "loss": "residual", "data.grid": (128, 33), "data.train": 500, "data.test": 50, "model.modes": 12,
                    "model.width": 20, "adamw.lr": 3e-3, "batch": 10, "epochs": 80}),
    OperatorRow("darcy", "Darcy 64², 500 functions", 1.8e-2, other=33),
    OperatorRow("darcy", "Darcy 33², 500 functions, solutions", None, method="data", options={**SMALL, "loss": "data"}),
    OperatorRow("darcy", "Darcy 33², no solutions, plain residual", None, method="residual",
                options={**SMALL, "loss": "residual", "precondition": "none"}),
    OperatorRow("darcy", "Darcy 33², no solutions, preconditioned residual", 2e-2, method="preconditioned",
                options={**SMALL, "loss": "residual"}, tuned=60.0),
    OperatorRow("darcy", "the same, with symmetries and new functions in every epoch", None, method="fresh",
                options={**SMALL, "loss": "residual", "augment": "symmetry", "data.fresh": True}),
    OperatorRow("elliptic", "bar, 100 functions", None, method="none", options={"augment": "none"}),
    OperatorRow("elliptic", "bar, 100 functions, covariance augmentation", None, method="covariance"),
    OperatorRow("vorticity", "vorticity, ν = 1e-3, 32², 200 trajectories", 5e-2),
    OperatorRow("vorticity", "vorticity, shifts along the crests", None, method="shifts",
                options={"augment": "symmetry"}),
    OperatorRow("vorticity", "vorticity, T1 (13 modes, layers see values), shifts, 300 epochs", None,
                method="t1-values", options={
                    "model": "t1", "model.modes": 13, "model.width": 48, "model.layers": 4,
                    "model.inside": "values", "adamw.lr": 4e-3, "augment": "symmetry", "epochs": 300}),
    OperatorRow("vorticity", "vorticity, T1, coefficients, 60 epochs", None, method="t1",
                options={"model": "t1", "model.modes": 16, "model.width": 32, "model.layers": 4,
                         "adamw.lr": 6e-3}),
)


def measure(row: OperatorRow, seed: int, device: str) -> dict:
    """One run of a row."""
    start = process_time()
    problem = load_problem(row.problem, row.overrides)
    solution = solve(problem, **{**row.options, "seed": seed, "device": device})
    cpu = process_time() - start
    result = solution.result()
    mean = lambda found: sum(found.values()) / len(found)
    kept = {"error": mean(result["relative_l2"]), "worst": mean(result["worst"]), "null": mean(result["null_score"]),
            "seconds": solution.seconds, "cpu": cpu, "steps": solution.steps, "status": solution.status,
            "epochs": solution.training.epoch, "parameters": result["parameters"], "dtype": result["dtype"],
            "trained on": result["trained_on"], "data seconds": result["data_seconds"],
            "operator seconds": result["operator_seconds"], "solver seconds": result["solver_seconds"]}
    if row.other:
        kept["other"] = mean(solution.error_on(row.other))       # the same test functions
    if row.tuned:
        one = solution.training.test.part(slice(0, 1))
        found = solution.tune(row.tuned, **{n: v.cpu().numpy() for n, v in one.inputs.items()})
        exact = one.outputs.double().cpu().numpy()[..., 0]
        values = next(iter(found.values()))
        kept["tuned"] = float(np.linalg.norm(values - exact) / np.linalg.norm(exact))
        kept["untuned"] = float(np.linalg.norm(next(iter(solution(
            **{n: v.cpu().numpy() for n, v in one.inputs.items()}).values())) - exact) / np.linalg.norm(exact))
    return kept


def run(only: list[str] | None, seeds: int, device: str, out: Path,
        keep: Callable[[Path, dict], None]) -> Iterator[str]:
    """Runs the missing rows; yields a line for each."""
    for seed in range(seeds):
        for row in ROWS:
            if only is not None and row.key not in only:
                continue
            path = out / f"{row.key}-{device}-seed{seed}.json"
            if path.exists():
                continue
            found = measure(row, seed, device)
            keep(path, found)
            tuned = f", tuned {found['tuned']:.2e}" if "tuned" in found else ""
            yield f"{row.key} seed {seed}: {found['error']:.2e}{tuned} in {found['seconds']:.0f} s"


def table(device: str, out: Path) -> str:
    """Markdown of the rows that have results."""
    lines = ["| family | trained on | epochs | CPU seconds | mean test error | smallest – largest | worst function | "
             "other grid | target | mean field | operator, solver, ms | seeds |", "|---" * 12 + "|"]
    for row in ROWS:
        found = row.results(device, out)
        if not found:
            continue
        errors = [f["error"] for f in found]
        numbers = [key for key, value in found[0].items() if not isinstance(value, str)]
        middle = {key: median(f[key] for f in found if key in f) for key in numbers}
        other = f"{middle['other']:.1e}" if "other" in found[0] else "–"
        if "tuned" in found[0]:
            other = f"tuned 60 s: {middle['tuned']:.1e}"
        lines.append(
            f"| {row.label} | {found[0]['trained on']} | {found[0]['epochs']} | {middle['cpu']:.0f} | "
            f"**{median(errors):.2e}** | {min(errors):.1e} – {max(errors):.1e} | {middle['worst']:.1e} | {other} | "
            f"{'–' if row.target is None else f'{row.target:g}'} | {middle['null']:.2f} | "
            f"{1e3 * middle['operator seconds']:.1f}, {1e3 * middle['solver seconds']:.1f} | {len(found)} |")
    return "\n".join(lines) if len(lines) > 2 else ""
