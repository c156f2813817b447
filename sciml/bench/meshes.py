"""The problems on mesh files: error and cost of their recipes, and of finite elements on the same mesh.

The runs are counted in steps, so that they repeat whatever else the machine does; seconds are those of the processor,
of the whole run with reading the mesh and the reference. The classical method solves the same weak forms in their own
test functions (`classical.py`); its seconds are those of assembling and solving, the best of three.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

import torch

from ..errors import ProblemError
from ..metrics import errors
from ..problem import load_problem
from ..solution.truth import resolve
from .classical import finite_elements
from .row import Row

VELOCITY = ("u", "v")
ROWS = tuple(Row(problem, 0, target, unknowns=unknowns, label=label, method="recipe", steps=steps)
             for problem, steps, target, unknowns, label in (
    ("lshape", 60, 1e-3, (), "Poisson, L-shape"),
    ("four_holes_mesh", 60, 1e-3, (), "Poisson, four holes"),
    ("discontinuous_diffusion", 60, None, (), "two materials, 100 : 1"),
    ("poisson3d", 40, None, (), "Poisson, tetrahedra"),
    ("drum", 60, None, ("u1",), "lowest mode of a drum"),
    ("heat_plate", 40, None, (), "heat, seventeen holes"),
    ("plate_hole", 40, 2e-2, (), "elastic plate with a hole"),
    ("bracket", 30, None, (), "elastic bracket"),
    ("step_flow", 40, 5e-2, VELOCITY, "step, Re = 50, u and v"),
    ("cylinder_flow", 60, 5e-2, VELOCITY, "cylinder, Re = 20, u and v")))

MATRIX: dict[str, dict[str, str]] = {"plain": {"precondition": "none"}, "galerkin": {"galerkin.norm": "l2"},
                                     "galerkin, energy": {"galerkin.norm": "energy"}}
STEPS = {"gauss-newton": (24, 24, 24), "soap": (1200, 800, 800)}        # those of SOAP by what a step costs
PRECONDITIONED = tuple(
    Row(problem, 0, None, label=f"{label}, {optimizer}", method=f"{optimizer}-{name.replace(', ', '-')}", steps=count,
        options={"optimizer": optimizer, **({"soap.lr": 5e-3} if optimizer == "soap" else {}), **options})
    for problem, label in (("four_holes_mesh", "four holes"), ("discontinuous_diffusion", "two materials"))
    for optimizer, counts in STEPS.items() for (name, options), count in zip(MATRIX.items(), counts, strict=True))


def classical(row: Row, repeats: int = 3) -> dict:
    """Error and seconds of finite elements on a row's problem; empty where they do not solve it.

    Args:
        row: Its problem and the unknowns that count.
        repeats: Solves, of which the fastest counts.
    """
    problem = load_problem(row.problem, row.overrides)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        try:
            found = finite_elements(problem)
        except ProblemError:                                  # an eigenvalue problem
            return {}
        seconds.append(time.process_time() - start)
    truth = resolve(problem)
    values = {n: v.numpy() for n, v in found.at(torch.as_tensor(truth.X)).items()}
    by_unknown = errors(values, truth.values, truth.weights)
    names = row.unknowns or tuple(by_unknown)
    return {"error": sum(by_unknown[n] for n in names) / len(names), "errors": by_unknown, "seconds": min(seconds),
            "orders": {n: s.order for n, s in found.spaces.items()}, **found.numbers}


def table(device: str, out: Path) -> str:
    """Markdown of the recipes that have results."""
    lines = ["| problem | steps | CPU seconds | median error | smallest – largest | target | parameters | seeds | "
             "elements | their error | their CPU seconds |", "|---" * 11 + "|"]
    for row in ROWS:
        found = row.results(device, out)
        if not found:
            continue
        path = out / f"classical-{row.name}.json"
        other = json.loads(path.read_text()) if path.exists() else {}
        orders = "–".join(f"P{k}" for k in sorted(set(other.get("orders", {}).values()), reverse=True))
        size = [f["error"] for f in found]
        lines.append(
            f"| {row.label} | {median(f['steps'] for f in found):.0f} | {median(f['cpu'] for f in found):.0f} | "
            f"**{median(size):.1e}** | {min(size):.1e} – {max(size):.1e} | "
            f"{'–' if row.target is None else f'{row.target:.0e}'} | {found[0]['parameters']:,} | {len(found)} | "
            + (f"{orders}, {other['unknowns']:,.0f} | {other['error']:.1e} | {other['seconds']:.2f} |" if other else
               "– | – | – |"))
    return "\n".join(lines) if len(lines) > 2 else ""


def preconditioned(device: str, out: Path) -> str:
    """Markdown: what the matrix in the loss is worth to a method, median error over seeds, ratio to the plain loss."""
    lines = ["| problem, method | " + " | ".join(MATRIX) + " |", "|---" * (1 + len(MATRIX)) + "|"]
    for label in dict.fromkeys(row.label for row in PRECONDITIONED):
        cells, base = [], 0.0
        own = [row for row in PRECONDITIONED if row.label == label]
        for row in own:
            found = row.results(device, out)
            if not found:
                cells.append("–")
                continue
            size = [f["error"] for f in found]
            base = base or median(size)
            cells.append(f"{median(size):.1e} ({base / median(size):.2g}×); {min(size):.1e} – {max(size):.1e}; "
                         f"{row.steps:,} steps, {median(f['cpu'] for f in found):.0f} s; seeds: {len(found)}")
        if cells[0] != "–":                                   # ratios are to the plain loss
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""
