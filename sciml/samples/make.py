"""Samples of a family of problems: inputs are drawn, instances solved in batches, and both written to a store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError
from ..generators import BatchSolver
from ..inputs import RandomFunction
from .store import SampleStore, join, shards, write_shard

Laws = Mapping[str, RandomFunction]
PATIENCE = 2.0  # seconds without a progress bar


def make_samples(
    path: str | Path,
    laws: Laws,
    solver: BatchSolver,
    axes: Mapping[str, Tensor],
    split: Mapping[str, int],
    seed: int,
    *,
    sides: Mapping[str, tuple[float, float]] | None = None,
    times: Tensor | None = None,
    shard: int = 64,
    check: int = 4,
    device: torch.device | str = "cpu",
    progress: bool | Callable[[int, int], None] = True,
) -> SampleStore:
    """Draws inputs, solves and writes; a run that was killed goes on, one that is finished is only opened.

    The coefficients of all instances are drawn first, law after law in alphabetical order, from one generator on the
    CPU, so that instance i depends on the seed and the laws alone, and on the number of instances.

    Args:
        path: HDF5 file.
        laws: Random functions by input name.
        solver: Of `generators`.
        axes: The grid, by coordinate.
        split: Instances by name of the split, e.g. ``{"train": 1000, "test": 200}``, consecutive.
        seed: Of the draws.
        sides: Box of the laws that are not bound yet.
        times: Recorded times, or None.
        shard: Instances of a part.
        check: Instances of the refinement check, 0: none.
        device: Where the instances are solved.
        progress: Show a bar when it takes more than 2 s; or a function that is told (done, total).

    Raises:
        ProblemError: A file of the same name that was made otherwise, or inputs that the solver does not get.
        TrainingError: The solver's own.
    """
    path, count = Path(path), sum(split.values())
    laws = {name: law if law.sides is not None else law.bind(sides or {}) for name, law in sorted(laws.items())}
    _check(laws, solver, split, shard)
    about = _about(laws, solver, axes, split, seed, times)
    folder = shards(path)
    if path.is_file():
        return _same(SampleStore(path), about, path)
    folder.mkdir(parents=True, exist_ok=True)
    notes = _notes(folder, about, path)
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: law.draw(count, generator).to(device) for name, law in laws.items()}
    grid = {name: x.to(device, torch.float64) for name, x in axes.items()}
    if check and "how" not in notes:
        few = {name: c[:check] for name, c in drawn.items()}
        found = solver.accuracy(lambda on: _inputs(laws, few, on), grid, times)
        notes.update(accuracy=found.error, worst=found.worst, how=found.how)
        _write(folder / "notes.json", notes)
    with _bar(progress, count) as advance:
        for start in range(0, count, shard):
            own = {name: c[start:start + shard] for name, c in drawn.items()}
            if not (folder / f"{start // shard:06d}.h5").is_file():
                began = time.process_time()
                inputs = _inputs(laws, own, grid)
                fields = {"inputs": inputs, "outputs": solver.solve(inputs, grid, times), "coefficients": own}
                write_shard(folder, start // shard, fields, time.process_time() - began)
            advance(min(shard, count - start))
    join(path, count, shard, _attributes(about, notes), _arrays(axes, split, times))
    return SampleStore(path)


def describe(value: object) -> str:
    """A dataclass in words that are the same in every run: functions by their names."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = [f"{f.name}={describe(getattr(value, f.name))}" for f in fields(value)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    return repr(value)


def _check(laws: Laws, solver: BatchSolver, split: Mapping[str, int], shard: int) -> None:
    missing = [name for name in solver.reads if name not in laws]
    if missing:
        raise ProblemError(f"{type(solver).__name__} reads {', '.join(solver.reads)}, but laws= has "
                           f"{', '.join(laws) or 'none'}; add {', '.join(missing)}")
    if min(split.values(), default=0) < 1 or shard < 1:
        raise ProblemError(f"split={dict(split)} and shard={shard} must name at least one instance each")


def _about(laws, solver, axes, split, seed, times) -> dict[str, object]:
    sizes = {name: [len(x), float(x[0]), float(x[-1])] for name, x in axes.items()}
    return {
        "laws": {name: describe(law) for name, law in laws.items()}, "solver": describe(solver), "axes": sizes,
        "split": dict(split), "seed": seed, "times": None if times is None else [float(t) for t in times],
    }


def _attributes(about: dict, notes: dict) -> dict[str, object]:
    kept = {key: notes[key] for key in ("accuracy", "worst", "how") if key in notes}
    names = json.dumps(list(about["axes"]))
    return {"about": json.dumps(about), "axes": names, "solver": about["solver"], "seed": about["seed"], **kept}


def _arrays(axes: Mapping[str, Tensor], split: Mapping[str, int], times: Tensor | None) -> dict[str, np.ndarray]:
    numbers = lambda x: x.detach().cpu().to(torch.float64).numpy()
    arrays = {f"axes/{name}": numbers(x) for name, x in axes.items()}
    ends = np.cumsum([0, *split.values()])
    arrays |= {f"splits/{name}": np.arange(ends[i], ends[i + 1]) for i, name in enumerate(split)}
    return arrays if times is None else {**arrays, "times": numbers(times)}


def _same(store: SampleStore, about: dict[str, object], path: Path) -> SampleStore:
    with h5py.File(path, "r") as file:
        _compare(json.loads(file.attrs.get("about", "{}")), about, path)
    return store


def _notes(folder: Path, about: dict[str, object], path: Path) -> dict:
    """Notes of an earlier run of the same samples, or new ones."""
    file = folder / "notes.json"
    if file.is_file():
        notes = json.loads(file.read_text(encoding="utf-8"))
        _compare(notes["about"], about, path)
        return notes
    _write(file, {"about": about})
    return {"about": about}


def _compare(earlier: dict, about: dict[str, object], path: Path) -> None:
    now = json.loads(json.dumps(about))
    differ = [key for key in now if earlier.get(key) != now[key]]
    if differ:
        key = differ[0]
        raise ProblemError(f"{path} has samples of another kind: {key} was {earlier.get(key)}, now it is {now[key]}; "
                           "take another file name, or remove the file and its .parts")


def _write(path: Path, notes: dict) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(notes), encoding="utf-8")
    os.replace(partial, path)


def _inputs(laws: Laws, drawn: Mapping[str, Tensor], axes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: law.on_grid(drawn[name], axes) for name, law in laws.items()}


@contextmanager
def _bar(show: bool | Callable[[int, int], None], count: int) -> Iterator[Callable[[int], None]]:
    """Tells how many instances are done, from two seconds on."""
    began, done, bar = time.monotonic(), 0, None

    def advance(more: int) -> None:
        nonlocal bar, done
        done += more
        if callable(show):
            show(done, count)
        elif show and bar is None and time.monotonic() - began > PATIENCE:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            bar = Progress(TextColumn("samples"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            bar.add_task("samples", total=count)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()
