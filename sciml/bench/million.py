"""What a mesh of a million cells costs: reading its file, locating a million points, assembling its stiffness matrix.

Each task runs in a process of its own, so that the memory it states is its own: the largest resident size of the
process less what it had with torch imported. Seconds are those of the wall and of the processor, one thread.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import meshio
import numpy as np
import torch

from ..elements.forms import stiffness
from ..elements.space import Space
from ..geometry import Mesh
from ..mesh.complex import Complex
from ..mesh.locate import Locator
from ..mesh.structured import box

CELLS = {"triangles": (707, 708), "tetrahedra": (55, 55, 56)}        # along each axis; two or six cells in each
TASKS = ("read, gmsh 2.2 binary", "read, VTU", "locate a million points", "the same once more", "assemble P1 stiffness")


def measure(cells: dict[str, tuple[int, ...]] | None = None, points: int = 10**6) -> list[dict]:
    """Seconds and memory of every task on every mesh.

    Args:
        cells: Number along each axis of a unit box, by name.
        points: Points that are located.
    """
    found = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        for kind, along in (CELLS if cells is None else cells).items():
            made = box([(0.0, 1.0)] * len(along), along)
            files = {"read, gmsh 2.2 binary": Path(name) / f"{kind}.msh", "read, VTU": Path(name) / f"{kind}.vtu"}
            save(made, *files.values())
            for task in (t for t in TASKS if t != "the same once more"):
                with context.Pool(1) as pool:
                    rows = pool.apply(timed_task, (task, along, points, files.get(task)))
                found += [{"mesh": kind, "cells": sum(len(b) for b in made.blocks), **row} for row in rows]
    return found


def save(made: Complex, gmsh: Path, vtu: Path) -> None:
    """Writes a mesh with its named faces as a gmsh and as a VTU file."""
    X = np.pad(made.X.numpy(), ((0, 0), (0, 3 - made.X.shape[1])))
    cells = [(b.kind.name, b.nodes.numpy()) for b in made.blocks]
    tags, names = [0] * len(cells), {}
    for i, (name, numbers) in enumerate(made.surfaces.items(), 1):
        names[name] = np.array([i, made.dim - 1])
        for facets in made.chosen(numbers):
            cells.append((facets.kind.name, facets.nodes.numpy()))
            tags.append(i)
    physical = [np.full(len(nodes), tag) for (_, nodes), tag in zip(cells, tags, strict=True)]
    entities = [np.full(len(nodes), i + 1) for i, (_, nodes) in enumerate(cells)]
    meshio.write(gmsh, meshio.Mesh(X, cells, field_data=names, cell_data={
        "gmsh:physical": physical, "gmsh:geometrical": entities}), file_format="gmsh22", binary=True)
    meshio.write(vtu, meshio.Mesh(X, cells, cell_data={"CellEntityIds": physical}))


def timed_task(task: str, along: tuple[int, ...], points: int, file: Path | None = None) -> list[dict]:
    """One of `TASKS` in this process: its seconds and memory; location twice, since tables are kept.

    Args:
        task: Which.
        along: Cells along each axis.
        points: Points that are located.
        file: What is read.
    """
    torch.set_num_threads(1)
    before = _peak()
    if file is not None:
        return [_timed(task, lambda: Mesh(file), before)]
    made = box([(0.0, 1.0)] * len(along), along)
    if task.startswith("assemble"):
        return [_timed(task, lambda: stiffness(Space(made, 1)), before)]
    X = torch.rand(points, len(along), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    locator = Locator(made)
    return [_timed(name, lambda: locator.find(X), before) for name in (task, "the same once more")]


def _timed(task: str, work: Callable[[], object], before: float) -> dict:
    wall, own = time.perf_counter(), time.process_time()
    work()
    return {"task": task, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - own,
            "gigabytes": _peak() - before}


def _peak() -> float:
    """Largest resident size so far, GB; where Linux tells, of this program alone: spawned ones inherit the other."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def markdown(rows: list[dict]) -> str:
    """The table."""
    lines = ["| mesh | task | seconds | CPU seconds | memory |", "|---" * 5 + "|"]
    return "\n".join(lines + [
        f"| {r['cells']:,} {r['mesh']} | {r['task']} | {r['seconds']:.1f} | {r['cpu']:.1f} | {r['gigabytes']:.1f} GB |"
        for r in rows])
