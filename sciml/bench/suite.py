"""The tables: problems with their recipes, on meshes, methods on one problem, samplers, the race, step times, spectra.

Results are kept row by row in a folder, so that a suite can be interrupted, continued (rows found there are kept) and
written into the README between its markers. The last iterate counts; medians and ranges are over seeds.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch

from ..errors import ProblemError, look_up
from ..problem import load_problem
from ..training import solve
from . import (
    gaussians,
    meshes,
    methods,
    million,
    operator_steps,
    operators,
    operators_points,
    preconditioning,
    purchases,
    race,
    sampling,
    steptime,
)
from .contests import CONTESTS
from .row import Row

log = logging.getLogger(__name__)


QUICK = (
    Row("burgers", 40, 1e-3, label="Burgers ν = 0.01/π, first 40 s"),
    Row("burgers", 100, 3e-4, label="Burgers ν = 0.01/π"),
    Row("poisson", 30, 1e-6, label="Poisson 2-D, sin·sin"),
    Row("wave", 40, 1e-5, label="wave, two modes, c = 2"),
    Row("convection", 20, 1e-5, label="convection β = 30"),
    Row("reaction", 60, 1e-5, label="reaction ρ = 5"),
    Row("helmholtz", 60, 1e-6, label="Helmholtz (4, 1)"),
    Row("cavity", 480, 3e-2, unknowns=("u", "v"), label="lid-driven cavity Re = 100, mean of u and v"),
    Row("well_infinite", 20, 1e-4, "parameters", label="infinite well, E₁ and E₂"),
    Row("well_finite", 20, 1e-4, "parameters", label="finite well, E₁ and E₂"),
    Row("well_barrier", 20, 1e-4, "parameters", label="barrier in a box, E₁ and E₂"),
    Row("inverse_diffusivity", 20, 2e-2, "parameters", label="unknown diffusivity, 1 % noise"),
)
MORE = (
    Row("heat", 20, None, label="heat 1-D"),
    Row("convection50", 30, 1e-5, label="convection β = 50"),
    Row("allen_cahn", 60, 1e-3, label="Allen–Cahn"),
    Row("kdv", 300, 1e-3, label="Korteweg–de Vries"),
    Row("klein_gordon", 60, None, label="Klein–Gordon"),
    Row("poisson5d", 30, 1e-6, label="Poisson 5-D"),
    Row("poisson_holes", 60, None, label="Poisson with four holes"),
    Row("kovasznay", 30, None, label="Kovasznay flow Re = 40"),
    Row("poisson_scale", 60, None, label="four holes, L = 8"),
    Row("eikonal", 90, 1e-2, "absolute", label="signed distance, mean absolute error"),
    Row("advection", 20, None, label="advection β = 1, two modes"),
    Row("navier_stokes_inverse", 60, 5e-2, "parameters", label="two coefficients of Navier–Stokes, 1 % noise"),
    Row("eikonal_inverse", 20, None, unknowns=("v",), label="velocity from travel times"),
    Row("beam", 60, None, label="Euler–Bernoulli beam"),
    Row("burgers_parametric", 60, None, label="Burgers over a range of ν"),
)
LADDER = tuple(
    Row("poisson", 40, target, label=label, method=f"ladder-{optimizer}", options=dict(
        optimizer=optimizer, steps=steps, time=120.0, constraints="soft", sampler="grid", points=784,
        boundary_points=116, model=dict(width=32, depth=1, init="random-features", spread=0.25)))
    for optimizer, steps, target, label in (
        ("bfgs", 75, 4e-4, "BFGS, 1,500 iterations"), ("ssbfgs", 75, 1.5e-5, "SSBFGS, 1,500 iterations"),
        ("ssbroyden", 75, 3e-6, "SSBroyden, 1,500 iterations"),
        ("engd", 100, 2e-7, "ENGD, 100 iterations"), ("gauss-newton", 100, None, "ours, 100 iterations")))
PRECONDITIONED = tuple(
    Row("poisson", 60, None, label=label, method=f"precondition-{i}", options={
        "optimizer": "adam", "adam.lr": 5e-3, "constraints": "soft", "points": 400, **options})
    for i, (label, options) in enumerate({
        "Adam": {}, "Adam, ILU, exact residual": {"precondition": "ilu"},
        "Adam, ILU, residual by differences (PCPINN)": {"precondition": "ilu", "ilu.residual": "differences"},
        "Adam, H⁻¹": {"precondition": "h-minus-1"}}.items()))
SUITES: dict[str, tuple[Row, ...]] = {"quick": QUICK, "full": QUICK + MORE, "ladder": LADDER,
                                      "methods": methods.METHODS, "preconditioned": PRECONDITIONED,
                                      "sampling": sampling.ROWS, "purchases": purchases.ROWS,
                                      "gaussians": gaussians.ROWS,
                                      "meshes": meshes.ROWS + meshes.PRECONDITIONED,
                                      "operators": (), "operators-points": (), "operator-steps": (), "race": (),
                                      "steptime": (), "preconditioning": (), "million": ()}


def run_suite(name: str, *, only: Sequence[str] | None = None, seeds: int | None = None, device: str = "cpu",
              out: Path = Path("runs/bench"), write: Path | None = None, time: float | None = None) -> Iterator[str]:
    """Runs a suite's missing rows and writes the tables; yields a line for each row, then the tables.

    Args:
        name: One of `SUITES`.
        only: Problems to run, or methods of some; "steptime" is the step-time table, "cost" that of samplers.
        seeds: Runs per row.
        out: Folder of results.
        write: File whose tables are replaced between `<!-- bench:accuracy -->`-like markers.
        time: Seconds of every row, in place of its own.
    """
    rows = look_up("suite", name, SUITES)
    rows = rows if time is None else tuple(replace(row, time=time, steps=None) for row in rows)
    known = dict.fromkeys([r.name for r in rows] or CONTESTS) if name != "steptime" else {}
    known |= dict.fromkeys(row.method for row in rows if name in ("sampling", "purchases", "meshes", "gaussians"))
    known = dict.fromkeys(r.key for r in operators.ROWS) if name == "operators" else known
    known = dict.fromkeys(operators_points.KEYS) if name == "operators-points" else known
    for problem in set(only or ()) - {"steptime", "cost"}:
        look_up("row", problem, known)
    wanted = list(only or known)
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if row.name in wanted or row.method in wanted:
            budget = row.budget if name != "methods" else {"steps": _equal_steps(row, device, out)}
            for seed in range(seeds or 3):
                yield from _run(row, seed, device, out, budget)
    tables = {}
    if name == "sampling":
        if only is None or "cost" in only:
            yield from _sampler_cost(device, out)
        tables = {**sampling.tables(rows, device, out), "sampling-cost": _cost_table(device, out)}
    elif name == "meshes":
        for row in meshes.ROWS:
            path = out / f"classical-{row.name}.json"
            if row.name in wanted and not path.exists():
                _keep(path, meshes.classical(row))
        tables = {name: meshes.table(device, out), "meshes-matrix": meshes.preconditioned(device, out)}
    elif name == "purchases":
        tables[name] = purchases.table(device, out)
    elif name == "gaussians":
        tables[name] = gaussians.table(device, out, QUICK + MORE)
    elif name == "preconditioning":
        tables[name] = preconditioning.markdown(preconditioning.measure())
    elif name == "operators":
        yield from operators.run(list(only) if only else None, seeds or 3, device, out, _keep)
        tables[name] = operators.table(device, out)
    elif name == "operators-points":
        yield from operators_points.run(list(only) if only else None, seeds or 3, device, out, _keep)
        tables = operators_points.tables(device, out)
    elif name == "million":
        path = out / "million-cpu.json"
        if not path.exists():
            _keep(path, {"rows": million.measure(), "machine": machine()})
        tables[name] = million.markdown(json.loads(path.read_text())["rows"])
    elif name == "operator-steps":
        path = out / f"operator-steps-{device}.json"
        if not path.exists():
            _keep(path, {"rows": operator_steps.measure(device=device), "machine": machine()})
        tables[name] = operator_steps.markdown(json.loads(path.read_text())["rows"])
    elif name == "race":
        for problem in wanted:
            for seed in range(seeds or 1):
                yield from _race(problem, seed, out)
        tables[name] = _race_table(out)
    elif name in ("ladder", "methods", "preconditioned"):
        tables[name] = methods.table(device, out) if name == "methods" else accuracy_table(rows, device, out)
    else:
        if (only is None or "steptime" in only) and not (out / f"steptime-{device}.json").exists():
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


def _equal_steps(row: Row, device: str, out: Path) -> int:
    path = out / f"methods-cost-{row.name}-{device}.json"
    if not path.exists():
        _keep(path, {"over adam": methods.costs(row, device), "machine": machine()})
    return methods.steps_of(row, json.loads(path.read_text())["over adam"][row.method])


def _run(row: Row, seed: int, device: str, out: Path, budget: Mapping[str, Any] | None = None) -> Iterator[str]:
    path = out / f"{row.key}-{device}-seed{seed}.json"
    if path.exists():
        return
    budget = row.budget if budget is None else budget
    start = process_time()
    problem = load_problem(row.problem, row.overrides)
    solution = solve(problem, **{**budget, "seed": seed, "device": device, **row.options})
    result = solution.result()
    if row.measure == "parameters":
        error = max(result["parameter_errors"].values())
    else:
        found = result["mean_absolute" if row.measure == "absolute" else "relative_l2"]
        error = sum(found[u] for u in row.unknowns or found) / len(row.unknowns or found)
    _keep(path, {"error": error, "seconds": solution.seconds, "steps": solution.steps, "status": solution.status,
                 "cpu": process_time() - start, "errors": result["relative_l2"],
                 "null": result["null_score"], "parameters": result["parameters"], "dtype": result["dtype"],
                 "optimizer": solution.config["optimizer"], "model": solution.config["model"], "machine": machine()})
    yield f"{row.name}{' ' + row.method if row.method else ''} seed {seed}: {error:.2e} in {solution.seconds:.0f} s"


def accuracy_table(rows: Sequence[Row], device: str, out: Path) -> str:
    """Markdown of the rows that have results."""
    lines = ["| problem | seconds | median error | smallest – largest | target | steps | parameters | seeds |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        found = row.results(device, out)
        if not found:
            continue
        errors = [f["error"] for f in found]
        target = "–" if row.target is None else f"{row.target:.0e}"
        lines.append(
            f"| {row.label or row.problem.replace('_', ' ')} | {median(f['seconds'] for f in found):.0f} | "
            f"**{median(errors):.1e}** | {min(errors):.1e} – {max(errors):.1e} | {target} | "
            f"{median(f['steps'] for f in found):.0f} | {found[0]['parameters']:,} | {len(found)} |")
    return "\n".join(lines)


def _race(problem: str, seed: int, out: Path) -> Iterator[str]:
    path = out / f"race-{problem}-seed{seed}.json"
    if not path.exists():
        result = race.race(problem, seed)
        _keep(path, {"problem": problem, "results": result, "machine": machine()})
        yield f"{problem} seed {seed}: " + "; ".join(
            f"{k} {v['error']:.1e} after {v['end']:.0f} s" for k, v in result.items())


def _race_table(out: Path) -> str:
    found = {p: [json.loads(f.read_text())["results"] for f in sorted(out.glob(f"race-{p}-seed*.json"))]
             for p in CONTESTS}
    return race.markdown({p: runs for p, runs in found.items() if runs})


def _sampler_cost(device: str, out: Path) -> Iterator[str]:
    path = out / f"sampling-cost-{device}.json"
    if not path.exists():
        found = sampling.cost(device=device)
        _keep(path, {"rows": found, "machine": machine()})
        yield "cost: " + ", ".join(f"{r['sampler']} {100 * r['share']:.1f} %" for r in found)


def _cost_table(device: str, out: Path) -> str:
    path = out / f"sampling-cost-{device}.json"
    return sampling.cost_markdown(json.loads(path.read_text())["rows"]) if path.exists() else ""


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
