"""Run folders whose fields are formulas, for the tests of the figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

Formula = Callable[..., np.ndarray]
NOISE = 0.01  # the prediction is the reference times 1 + NOISE·sin(7·first coordinate)


def write_run(
    folder: Path,
    coordinates: dict[str, np.ndarray],
    formulas: dict[str, Formula],
    layout: str = "grid",
    parameters: Sequence[str] = (),
    referenced: Sequence[str] | None = None,
    outside: Formula | None = None,
    title: str = "Test problem",
    history: bool = True,
) -> Path:
    """A run folder: reference from the formulas, prediction from the reference.

    Args:
        coordinates: Grid axes, or columns (N,) for scattered points.
        formulas: Unknown to its reference as a function of the coordinates in order.
        referenced: Unknowns with a reference; all by default.
        outside: True where a point lies outside the domain; those become NaN.
        history: Whether to write `metrics.jsonl` and `result.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = list(coordinates.values())
    mesh = np.meshgrid(*arrays, indexing="ij") if layout == "grid" else arrays
    hidden = np.zeros(mesh[0].shape, bool) if outside is None else outside(*mesh)
    referenced = list(formulas) if referenced is None else referenced
    with h5py.File(folder / "solution.h5", "w") as file:
        file.attrs.update(layout=layout, problem=title, status="finished")
        file.attrs["order"] = list(coordinates)
        file.attrs["parameters_axes"] = list(parameters)
        for name, axis in coordinates.items():
            file[f"coordinates/{name}"] = axis
        for unknown, formula in formulas.items():
            reference = np.where(hidden, np.nan, formula(*mesh))
            file[f"prediction/{unknown}"] = reference * (1 + NOISE * np.sin(7 * mesh[0]))
            if unknown in referenced:
                file[f"reference/{unknown}"] = reference
        _write_points(file, coordinates)
    if history:
        write_history(folder, referenced)
    return folder


def _write_points(file: h5py.File, coordinates: dict[str, np.ndarray]) -> None:
    """Interior points with a residual, and boundary points on the first face without one."""
    rng = np.random.default_rng(1)
    for condition, count in (("equation", 800), ("initial", 60)):
        for d, (name, axis) in enumerate(coordinates.items()):
            column = rng.uniform(axis.min(), axis.max(), count)
            if condition == "initial" and d == 0:
                column[:] = axis.min()
            file[f"points/{condition}/{name}"] = column
    first = file["points/equation/" + next(iter(coordinates))][:]
    file["points/equation/residual"] = (
        1e-3 * np.exp(-3 * first**2) * rng.lognormal(size=first.size)
    )


def write_history(
    folder: Path, unknowns: Sequence[str], rate: float = 0.12, count: int = 60
) -> None:
    """Errors exp(−rate·step) and losses by condition, in two stages, with an unknown nu."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for i in range(count):
        fall = float(np.exp(-rate * i))
        losses = {
            "equation": fall * float(rng.lognormal(0, 0.3)),
            "initial": 0.3 * fall * float(rng.lognormal(0, 0.3)),
        }
        line = dict(
            step=10 * i, seconds=0.5 * i, stage="adam" if i < count // 2 else "gauss-newton"
        )
        line |= dict(loss=sum(losses.values()), losses=losses, learning_rate=1e-3)
        line |= dict(errors={u: fall * (k + 1) for k, u in enumerate(unknowns)})
        line |= dict(parameters={"nu": 0.01 + 0.02 * fall})
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    null = {u: 0.9 for u in unknowns}
    result = dict(
        status="finished", null_score=null, seconds=0.5 * count, steps=10 * count, seed=0
    )
    (folder / "result.json").write_text(json.dumps(result))


def steady_line(folder: Path) -> Path:
    """u(x), 1-D and steady."""
    x = np.linspace(0, 1, 101)
    return write_run(
        folder, {"x": x}, {"u": lambda x: np.sin(2 * np.pi * x)}, title="Poisson on a line"
    )


def space_time(folder: Path) -> Path:
    """u(x, t), stored in that order."""
    u = lambda x, t: -np.tanh(8 * x * (0.2 + t)) * np.exp(-0.3 * t) * (1 - x**2)
    axes = {"x": np.linspace(-1, 1, 61), "t": np.linspace(0, 1, 41)}
    return write_run(folder, axes, {"u": u}, title="Viscous Burgers equation")


def flow(folder: Path, width: float = 1.0, reference: bool = True) -> Path:
    """u, v, p over a grid (x, y) that is fine at one wall."""
    x = width * np.linspace(0, 1, 41) ** 1.3
    y = np.linspace(0, 1, 36)
    u = lambda x, y: np.sin(np.pi * x / width) ** 2 * np.sin(2 * np.pi * y)
    v = lambda x, y: -np.sin(2 * np.pi * x / width) * np.sin(np.pi * y) ** 2
    p = lambda x, y: np.cos(np.pi * x) * np.cos(np.pi * y)
    referenced = ["u", "v"] if reference else []
    return write_run(
        folder,
        {"x": x, "y": y},
        {"u": u, "v": v, "p": p},
        referenced=referenced,
        title="Vortex in a box",
    )


def holes(folder: Path) -> Path:
    """u over 2,500 scattered points of a square with two round holes."""
    rng = np.random.default_rng(2)
    place = rng.uniform(-1, 1, (3200, 2))
    near = [np.hypot(*(place - c).T) for c in ([0.4, 0.3], [-0.4, -0.4])]
    x, y = place[(near[0] > 0.3) & (near[1] > 0.2)].T
    u = lambda x, y: np.sin(3 * x) * np.cos(2 * y)
    return write_run(
        folder, {"x": x, "y": y}, {"u": u}, layout="scattered", title="Poisson around holes"
    )


def plane_time(folder: Path, frames: int = 5) -> Path:
    """Two unknowns over (x, y, t)."""
    axes = {
        "x": np.linspace(0, 2, 33),
        "y": np.linspace(0, 1, 25),
        "t": np.linspace(0, 1, frames),
    }
    u = lambda x, y, t: np.exp(-((x - 0.5 - t) ** 2 + (y - 0.5) ** 2) / 0.05)
    w = lambda x, y, t: np.cos(np.pi * x) * np.exp(-t) * y
    return write_run(folder, axes, {"u": u, "w": w}, title="Advected bump", history=False)


def five_coordinates(folder: Path) -> Path:
    """u over five lengths."""
    axes = {f"x{d}": np.linspace(0, 1, 9) for d in range(1, 6)}
    u = lambda *x: np.prod([np.sin(np.pi * c) for c in x], axis=0)
    return write_run(folder, axes, {"u": u}, title="Poisson in five dimensions", history=False)


def parametric(folder: Path) -> Path:
    """u(x, t; nu)."""
    axes = {
        "x": np.linspace(0, 1, 41),
        "t": np.linspace(0, 1, 31),
        "nu": np.geomspace(0.01, 1, 5),
    }
    u = lambda x, t, nu: np.sin(np.pi * x) * np.exp(-nu * np.pi**2 * t)
    return write_run(
        folder, axes, {"u": u}, parameters=["nu"], history=False, title="Heat for every nu"
    )
