"""Solution operators on points: plates with voids by five methods, clouds of other density, an antiderivative.

Methods see the places of the points and their quadrature weights, and nothing else of the shape; what a row has beyond
that is said in its label. Samples are made on the way, with a fixed seed, and kept in the folder of results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch

from ..learning import LearnedOperator, learn
from ..learning.models import relative_errors
from ..samples import Samples, SampleStore
from . import antiderivative, clouds
from .plates import GlobalGrid, mirrored, plates, unturned

NODES = {"o-grid": "O-grid", "scattered": "scattered"}


@dataclass(frozen=True)
class PlateRow:
    """A method on plates with voids.

    Args:
        method: With `nodes`, a name for the row.
        label: Text of the row.
        nodes: "o-grid" or "scattered".
        sees: "points", "shape" (and their surroundings), "indices" (angle and layer of a node: the same node in every
            void) or "square" (one uniform grid, to which the stress is interpolated, and from which it is).
        options: Of `learn`.
        target: What the median is meant to reach; None: none is set.
    """

    method: str
    label: str
    nodes: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sees: str = "points"
    target: float | None = None

    @property
    def key(self) -> str:
        """File name of the row's results."""
        return f"plates-{self.nodes}-{self.method}"


MESH = {"model": "mesh-operator", "batch": 8, "epochs": 38, "adamw.lr": 2e-3, "adamw.weight_decay": 1e-5, "clip": 1.0}
GEO = {"model": "geo-fno", "batch": 10, "epochs": 20, "adamw.lr": 3e-3, "model.deformation": "none",
       "model.modes": (8, 8), "model.grid": (24, 24), "model.width": 24}
SHAPE = {"model": "geo-fno", "batch": 10, "epochs": 120, "adamw.lr": 3e-3, "model.deformation": "none",
         "model.modes": (4, 4), "model.grid": (12, 12), "model.width": 48, "model.lifting": 96}
NUNO = {"model": "nuno", "batch": 10, "epochs": 20, "adamw.lr": 3e-3, "model.width": 32, "model.projection": 64}
ONE_BOX = {**NUNO, "epochs": 15, "model.boxes": 1, "model.grid": (41, 41), "model.modes": (12, 12), "model.width": 24}
SQUARE = {"model": "fno", "batch": 10, "epochs": 45, "adamw.lr": 3e-3, "model.modes": 12, "model.width": 24}
RING = {"model": "fno", "epochs": 30, "adamw.lr": 3e-3, "model.modes": (12, 6), "model.width": 32,
        "model.padding": 0.4}
POINTS = (("square", "FNO on one uniform grid 41², stress interpolated to it and back", SQUARE, None),
          ("one-box", "the same, trained through the interpolation (NUNO with one box)", ONE_BOX, None),
          ("geo-fno", "Geo-FNO, points alone, no deformation", GEO, None),
          ("geo-fno-shape", "Geo-FNO, a lifting layer, surroundings of the points", SHAPE, 6e-2),
          ("nuno", "NUNO, six boxes", NUNO, 6e-2),
          ("mesh-operator", "mesh operator", MESH, 0.2))
RINGS = (PlateRow("ring", "FNO on angles and layers (knows which node is which)", "o-grid", RING, "indices"),)
SEES = {"square": "square", "geo-fno-shape": "shape"}
ROWS = RINGS + tuple(PlateRow(method, label, nodes, options, SEES.get(method, "points"), target)
                     for nodes in NODES for method, label, options, target in POINTS)
LENGTHS = (0.02, 4)                       # of surroundings: spacings are 0.01 to 0.05
CLOUDS = {"voronoi": "GNO, weights: areas of Voronoi cells", "mean": "GNO, no weights: mean over the neighbours",
          "fixed": "GNO, no weights: sum over the neighbours"}
KEYS = (*(row.key for row in ROWS), *(f"clouds-{name}" for name in CLOUDS), "antiderivative")


def measure(row: PlateRow, seed: int, device: str, store: SampleStore) -> dict:
    """One run of a row, on the training samples of a store and their mirror images."""
    start = process_time()
    samples = mirrored(store)
    options = {**row.options, "seed": seed, "device": device, "outputs": ["mises"], "train": "train", "test": "test",
               "report": 600.0}                       # test errors in between would cost as much as the steps
    grid = GlobalGrid(samples) if row.sees == "square" else None
    if grid is not None:
        found = learn(grid.samples, inputs=["material", "gap"], **options)
    elif row.sees == "indices":
        found = learn(samples, inputs=["x", "y"], periodic=("theta",), **options)
    else:
        found = learn(samples, inputs=[], points=("x", "y"), weights="weight",
                      surroundings=LENGTHS if row.sees == "shape" else (), **options)
    kept: dict[str, Any] = {"cpu": process_time() - start, "seconds": found.seconds, "steps": found.steps,
                            "epochs": found.training.epoch, "status": found.status, "seed": seed,
                            "parameters": found.result()["parameters"], "test": samples.indices("test").tolist(),
                            "solver seconds": store.seconds / len(store), "solver error": store.accuracy}
    train, test = (samples.indices(name) for name in ("train", "test"))
    begin = process_time()
    errors = errors_at_points(found, samples, test, grid)
    kept["operator seconds"] = (process_time() - begin) / len(test)
    kept |= {"error": float(errors.mean()), "worst": float(errors.max()), "errors": errors.tolist(),
             "averaged": float(errors_at_points(found, samples, test, grid, averaged=True).mean()),
             "training": float(errors_at_points(found, samples, train[:100], grid).mean()),
             "null": mean_field(samples, train, test)}
    if grid is not None:
        kept["interpolation"] = float(grid.floor(test).mean())
    return kept


def errors_at_points(found: LearnedOperator, samples: Samples, index: torch.Tensor,
                     grid: GlobalGrid | None = None, averaged: bool = False) -> torch.Tensor:
    """‖û − u‖/‖u‖ over the points of each of some samples, (B,).

    Args:
        found: The operator.
        samples: Of `mirrored`.
        index: Numbers of samples that are no images.
        grid: Of an operator on one uniform grid.
        averaged: Whether û is the mean of the answers to a void and to its mirror image.
    """
    u = samples.read(index, ["mises"], torch.float64)["mises"]
    values = _answers(found, index, grid).reshape(u.shape)
    if averaged:
        images = _answers(found, index + len(samples) // 2, grid).reshape(u.shape)
        values = (values + (unturned(images) if u.ndim > 2 else images)) / 2
    flat = lambda v: v.reshape(len(index), -1, 1)
    return relative_errors(flat(values), flat(u))[:, 0]


def _answers(found: LearnedOperator, index: torch.Tensor, grid: GlobalGrid | None) -> torch.Tensor:
    """û at the nodes of some samples, shape (B, …)."""
    values = torch.as_tensor(found(index)["mises"]).double()
    return values if grid is None else grid.back(values, index)


def mean_field(samples: Samples, train: torch.Tensor, test: torch.Tensor) -> float:
    """Error of the mean of the training samples, node by node (scattered nodes: one number)."""
    u, v = (samples.read(i, ["mises"], torch.float64)["mises"] for i in (train, test))
    mean = u.mean(0) if u.ndim > 2 else u.mean()
    return float(relative_errors((v * 0 + mean).reshape(len(v), -1, 1), v.reshape(len(v), -1, 1)).mean())


def run(only: list[str] | None, seeds: int, device: str, out: Path,
        keep: Callable[[Path, dict], None]) -> Iterator[str]:
    """Runs the missing rows; yields a line for each."""
    rows = {row.key: row for row in ROWS}
    for seed in range(seeds):
        for key in KEYS:
            path = out / f"{key}-{device}-seed{seed}.json"
            if (only is not None and key not in only) or path.exists():
                continue
            if key in rows:
                found = measure(rows[key], seed, device, plates(rows[key].nodes, out))
            elif key == "antiderivative":
                found = antiderivative.measure(seed)
            else:
                found = clouds.measure(key.removeprefix("clouds-"), seed)
            keep(path, found)
            yield f"{key} seed {seed}: {found['error']:.2e} in {found['cpu']:.0f} s of CPU"


def results(key: str, device: str, out: Path) -> list[dict]:
    """What was kept of a row's runs in a folder, by seed."""
    return [json.loads(f.read_text()) for f in sorted(out.glob(f"{key}-{device}-seed*.json"))]


def tables(device: str, out: Path) -> dict[str, str]:
    """Markdown of the rows that have results, by the names of their markers."""
    found = {f"operators-plates-{nodes}": _plates(nodes, device, out) for nodes in NODES}
    return {**found, "operators-clouds": _clouds(device, out), "operators-antiderivative": _integrals(device, out)}


def _plates(nodes: str, device: str, out: Path) -> str:
    lines = ["| method | parameters | epochs | CPU seconds | mean test error | smallest – largest | training error | "
             "worst void | over one uniform grid | averaged with mirror images | over one uniform grid | target | "
             "ms a void | seeds |", "|---" * 14 + "|"]
    base, last = results(f"plates-{nodes}-square", device, out), {}
    for row in (row for row in ROWS if row.nodes == nodes):
        runs = results(row.key, device, out)
        if not runs:
            continue
        last = runs[0]
        middle = lambda key, runs=runs: median(f[key] for f in runs)
        errors = [f["error"] for f in runs]
        ratio = f"{median(errors) / median(f['error'] for f in base):.3f}" if base else "–"
        both = [f["averaged"] for f in runs if "averaged" in f]
        of_base = [f["averaged"] for f in base if "averaged" in f]
        ratio += f" | {median(both):.3f} | " if both else " | – | "
        ratio += f"{median(both) / median(of_base):.3f}" if both and of_base else "–"
        lines.append(
            f"| {row.label} | {last['parameters']:,} | {last['epochs']} | {middle('cpu'):.0f} | "
            f"**{median(errors):.3f}** | {min(errors):.3f} – {max(errors):.3f} | {middle('training'):.3f} | "
            f"{middle('worst'):.2f} | {ratio} | {'–' if row.target is None else f'{row.target:g}'} | "
            f"{1e3 * middle('operator seconds'):.1f} | {len(runs)} |")
    if not last:
        return ""
    floor = f"; interpolation to the uniform grid and back alone {base[0]['interpolation']:.3f}" if base else ""
    return "\n".join([*lines, "", f"Mean field {last['null']:.2f}{floor}. The solver: {last['solver seconds']:.2f} s a "
                      f"void, {last['solver error']:.3f} from one of half its spacing."])


def _clouds(device: str, out: Path) -> str:
    lines = ["| operator | parameters | steps | CPU seconds | error at 512 points | at 2,048 | growth | target | seeds "
             "|",
             "|---" * 9 + "|"]
    for name, label in CLOUDS.items():
        runs = results(f"clouds-{name}", device, out)
        if runs:
            middle = lambda key, runs=runs: median(f[key] for f in runs)
            growth = median(f["other"] / f["error"] for f in runs)
            lines.append(f"| {label} | {runs[0]['parameters']:,} | {runs[0]['steps']:,} | {middle('cpu'):.0f} | "
                         f"{middle('error'):.3f} | {middle('other'):.3g} | **{growth:.3g}** | "
                         f"{'1.3' if name == 'voronoi' else '–'} | {len(runs)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _integrals(device: str, out: Path) -> str:
    runs = results("antiderivative", device, out)
    if not runs:
        return ""
    middle = lambda key: median(f[key] for f in runs)
    errors = [f["error"] for f in runs]
    return "\n".join([
        "| operator | parameters | steps | CPU seconds | mean test error | smallest – largest | training error | "
        "worst function | target | seeds |", "|---" * 10 + "|",
        f"| DeepONet | {runs[0]['parameters']:,} | {runs[0]['steps']:,} | {middle('cpu'):.0f} | "
        f"**{median(errors):.1e}** | {min(errors):.1e} – {max(errors):.1e} | {middle('training'):.1e} | "
        f"{middle('worst'):.1e} | 0.005 | {len(runs)} |"])
