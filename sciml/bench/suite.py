"""The accuracy table: every shipped problem with its recipe, its target and a time, over several seeds.

Results are kept row by row in a folder, so that a suite can be interrupted, continued (rows found there are kept) and
written into the README between its markers. The last iterate counts; medians and ranges are over seeds.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from ..errors import ProblemError, look_up
from ..problem import load_problem
from ..training import solve
from . import preconditioning, steptime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One line of the accuracy table.

    Args:
        problem: Name of the problem file.
        time: Seconds of training.
        target: What the median is meant to reach; None: no target is set.
        measure: "field": mean relative L2 of the unknowns in `unknowns` (all if empty); "parameters": largest relative
            error of the unknown parameters.
        unknowns: Which unknowns count.
        label: Text of the row.
    """

    problem: str
    time: float
    target: float | None
    measure: str = "field"
    unknowns: tuple[str, ...] = ()
    label: str = ""

    @property
    def key(self) -> str:
        """File name of the row's results."""
        return f"{self.problem}-{self.time:g}s"


QUICK = (
    Row("burgers", 40, 1e-3, label="Burgers ν = 0.01/π, first 40 s"),
    Row("burgers", 100, 3e-4, label="Burgers ν = 0.01/π"),
    Row("poisson", 30, 1e-6, label="Poisson 2-D, sin·sin"),
    Row("wave", 120, 1e-3, label="wave, two modes, c = 2"),
    Row("convection", 60, 1e-3, label="convection β = 30"),
    Row("reaction", 60, 1e-3, label="reaction ρ = 5"),
    Row("helmholtz", 60, 1e-4, label="Helmholtz (4, 1)"),
    Row("cavity", 480, 3e-2, unknowns=("u", "v"), label="lid-driven cavity Re = 100, mean of u and v"),
    Row("well_infinite", 20, 1e-4, "parameters", label="infinite well, E₁ and E₂"),
    Row("well_finite", 20, 1e-4, "parameters", label="finite well, E₁ and E₂"),
    Row("well_barrier", 20, 1e-4, "parameters", label="barrier in a box, E₁ and E₂"),
    Row("inverse_diffusivity", 20, 2e-2, "parameters", label="unknown diffusivity, 1 % noise"),
)
MORE = (
    Row("heat", 20, None, label="heat 1-D"),
    Row("convection50", 60, None, label="convection β = 50"),
    Row("allen_cahn", 60, None, label="Allen–Cahn"),
    Row("kdv", 60, None, label="Korteweg–de Vries"),
    Row("klein_gordon", 60, None, label="Klein–Gordon"),
    Row("poisson5d", 60, None, label="Poisson 5-D"),
    Row("poisson_holes", 60, None, label="Poisson with four holes"),
    Row("beam", 60, None, label="Euler–Bernoulli beam"),
    Row("burgers_parametric", 60, None, label="Burgers over a range of ν"),
)
SUITES: dict[str, tuple[Row, ...]] = {"quick": QUICK, "full": QUICK + MORE, "steptime": (),
                                       "preconditioning": ()}


def run_suite(name: str, *, only: Sequence[str] | None = None, seeds: int | None = None, device: str = "cpu",
              out: Path = Path("runs/bench"), write: Path | None = None) -> Iterator[str]:
    """Runs a suite's missing rows and writes the tables; yields a line for each row, then the tables.

    Args:
        name: One of `SUITES`.
        only: Problems to run; "steptime" is the step-time table.
        seeds: Runs per row.
        out: Folder of results.
        write: File whose tables are replaced between `<!-- bench:accuracy -->`-like markers.
    """
    rows = look_up("suite", name, SUITES)
    wanted = set(only or [r.problem for r in rows] + ["steptime"])
    for problem in wanted - {r.problem for r in rows} - {"steptime"}:
        look_up("row", problem, {r.problem: r for r in rows})
    out.mkdir(parents=True, exist_ok=True)
    if name == "preconditioning":
        table = preconditioning.markdown(preconditioning.measure())
        if write is not None:
            replace_tables(write, {name: table})
        yield table
        return
    for row in rows:
        if row.problem in wanted:
            for seed in range(seeds or 3):
                yield from _run(row, seed, device, out)
    if "steptime" in wanted and not (out / f"steptime-{device}.json").exists():
        _keep(out / f"steptime-{device}.json", {"rows": steptime.measure(device=device), "machine": machine()})
    tables = {"accuracy": accuracy_table(rows, device, out), "steptime": _steptime_table(device, out)}
    if write is not None:
        replace_tables(write, tables)
    yield from tables.values()


def _keep(path: Path, content: dict) -> None:
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def machine() -> dict:
    """What the numbers were measured on."""
    return {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "torch": torch.__version__,
            "platform": platform.machine(), "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


def _run(row: Row, seed: int, device: str, out: Path) -> Iterator[str]:
    path = out / f"{row.key}-{device}-seed{seed}.json"
    if path.exists():
        return
    solution = solve(load_problem(row.problem), time=row.time, seed=seed, device=device)
    result = solution.result()
    if row.measure == "parameters":
        error = max(result["parameter_errors"].values())
    else:
        found = result["relative_l2"]
        error = sum(found[u] for u in row.unknowns or found) / len(row.unknowns or found)
    _keep(path, {"error": error, "seconds": solution.seconds, "steps": solution.steps, "status": solution.status,
                 "null": result["null_score"], "parameters": result["parameters"], "dtype": result["dtype"],
                 "optimizer": solution.config["optimizer"], "machine": machine()})
    yield f"{row.problem} seed {seed}: {error:.2e} in {solution.seconds:.0f} s"


def accuracy_table(rows: Sequence[Row], device: str, out: Path) -> str:
    """Markdown of the rows that have results."""
    lines = ["| problem | seconds | median error | smallest – largest | target | steps | parameters | seeds |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        files = sorted(out.glob(f"{row.key}-{device}-seed*.json"))
        found = [json.loads(f.read_text()) for f in files]
        if not found:
            continue
        errors = [f["error"] for f in found]
        target = "–" if row.target is None else f"{row.target:.0e}"
        lines.append(
            f"| {row.label or row.problem.replace('_', ' ')} | {median(f['seconds'] for f in found):.0f} | "
            f"**{median(errors):.1e}** | {min(errors):.1e} – {max(errors):.1e} | {target} | "
            f"{median(f['steps'] for f in found):.0f} | {found[0]['parameters']:,} | {len(found)} |")
    return "\n".join(lines)


def _steptime_table(device: str, out: Path) -> str:
    path = out / f"steptime-{device}.json"
    return steptime.markdown(json.loads(path.read_text())["rows"]) if path.exists() else ""


def replace_tables(path: Path, tables: dict[str, str]) -> None:
    """Replaces the text between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

    Raises:
        ProblemError: The file lacks a marker.
    """
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        if start not in text or end not in text:
            raise ProblemError(f"{path} has no markers {start} … {end}; add them where the table belongs")
        if table:
            head, rest = text.split(start, 1)
            text = f"{head}{start}\n{table}\n{end}{rest.split(end, 1)[1]}"
    path.write_text(text, encoding="utf-8")
