"""A computed reference: values on coordinates, with the accuracy that its solver found.

A problem without a formula is scored against numbers. `Grid` holds them together with how they
were made and how far they can be trusted; `save` and `load` move them to one HDF5 file and
back. `recompute` (in `solvers.py`) runs the solver named in a file again.

Layout of a file: group ``coordinates`` and group ``unknowns`` (float64 datasets by name);
attributes layout, order (coordinate names), accuracy, how, solver, arguments (JSON), seconds,
versions, parameters (JSON).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ProblemError

LAYOUTS = ("grid", "scattered")


@dataclass(frozen=True, eq=False)
class Grid:
    """Reference values uₖ(x₁, x₂, …) on a tensor grid or at scattered points.

    Args:
        coordinates: By name. Layout "grid": one-dimensional axes, in order; "scattered": arrays
            (N,).
        unknowns: By name. Layout "grid": shape = lengths of the axes, in order; "scattered":
            (N,).
        layout: "grid" or "scattered".
        accuracy: Relative L2 accuracy found by self-convergence; the largest over the unknowns.
        how: A sentence: method and resolution.
        parameters: Single numbers that belong to it, such as energies.
        cells: Where scattered points are nodes of a mesh, its cells by kind: node numbers (E, k), as in VTK.
        weights: Share of the volume that each scattered point stands for, (N,).

    Raises:
        ProblemError: A shape does not fit, or a value is not finite.
    """

    coordinates: dict[str, np.ndarray]
    unknowns: dict[str, np.ndarray]
    layout: str
    accuracy: float
    how: str
    parameters: dict[str, float] = field(default_factory=dict)
    cells: dict[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise ProblemError(
                f"reference layout {self.layout!r}; valid: {', '.join(LAYOUTS)}."
            )
        if not self.coordinates or not self.unknowns:
            raise ProblemError("a reference needs at least one coordinate and one unknown.")
        for name, axis in self.coordinates.items():
            if np.ndim(axis) != 1:
                raise ProblemError(
                    f"reference coordinate {name!r} has shape {np.shape(axis)}, expected one "
                    f"axis (N,)."
                )
        sizes = [len(axis) for axis in self.coordinates.values()]
        if self.layout == "scattered" and len(set(sizes)) != 1:
            raise ProblemError(
                f"scattered reference coordinates have lengths {sizes}, expected one common "
                f"length."
            )
        shape = tuple(sizes) if self.layout == "grid" else (sizes[0],)
        for name, values in self.unknowns.items():
            if np.shape(values) != shape:
                raise ProblemError(
                    f"reference unknown {name!r} has shape {np.shape(values)}, expected "
                    f"{shape} "
                    f"for the {self.layout} coordinates {', '.join(self.coordinates)}."
                )
        for name, values in (*self.coordinates.items(), *self.unknowns.items()):
            if not np.all(np.isfinite(values)):
                raise ProblemError(f"reference {name!r} holds numbers that are not finite.")


def relative_l2(values: np.ndarray, truth: np.ndarray) -> float:
    """‖values − truth‖ / ‖truth‖ over all nodes; absolute where truth vanishes."""
    size = float(np.linalg.norm(np.ravel(truth)))
    return float(np.linalg.norm(np.ravel(values - truth))) / (size or 1.0)


def difference(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """Largest relative L2 difference over the unknowns of two runs on the same nodes."""
    return max(relative_l2(a[name], b[name]) for name in b)


def save(path, grid: Grid, *, solver: str, arguments: dict, seconds: float) -> None:
    """Write a reference to one HDF5 file, all of it or nothing.

    Args:
        path: The file; an older one is replaced in one step once the new one is complete.
        grid: What to write.
        solver: Name in `SOLVERS` that made it.
        arguments: Keyword arguments of that solver (JSON values).
        seconds: Wall clock it took.
    """
    import h5py
    import scipy

    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "h5py": h5py.__version__}
    try:
        with h5py.File(partial, "w") as file:
            for group, arrays in (
                ("coordinates", grid.coordinates),
                ("unknowns", grid.unknowns),
            ):
                folder = file.create_group(group)
                for name, values in arrays.items():
                    folder.create_dataset(
                        name,
                        data=np.asarray(values, dtype=np.float64),
                        compression="gzip",
                        compression_opts=9,
                        shuffle=True,
                    )
            for kind, nodes in grid.cells.items():
                file.create_dataset(f"cells/{kind}", data=np.asarray(nodes, dtype=np.int32), compression="gzip",
                                    compression_opts=9, shuffle=True)
            if grid.weights is not None:
                file.create_dataset("weights", data=grid.weights, compression="gzip", compression_opts=9, shuffle=True)
            file.attrs.update(
                layout=grid.layout,
                order=json.dumps(list(grid.coordinates)),
                accuracy=grid.accuracy,
                how=grid.how,
                solver=solver,
                arguments=json.dumps(arguments),
                seconds=seconds,
                versions=json.dumps(versions),
                parameters=json.dumps(grid.parameters),
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path) -> Grid:
    """Reference stored in an HDF5 file.

    Raises:
        ProblemError: The file is missing, truncated, or not written by `save`.
    """
    return load_with_origin(path)[0]


def load_with_origin(path) -> tuple[Grid, dict]:
    """Reference and where it came from: solver, arguments, seconds, versions.

    Raises:
        ProblemError: As `load`.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise ProblemError(
            f"reference file {str(path)!r} does not exist; make it with 'python data/make.py "
            f"{path.stem}'."
        )
    try:
        with h5py.File(path, "r") as file:
            attrs = dict(file.attrs)
            order = json.loads(attrs["order"])
            grid = Grid(
                coordinates={name: file["coordinates"][name][()] for name in order},
                unknowns={name: data[()] for name, data in file["unknowns"].items()},
                layout=str(attrs["layout"]),
                accuracy=float(attrs["accuracy"]),
                how=str(attrs["how"]),
                parameters=json.loads(attrs["parameters"]),
                cells={kind: nodes[()] for kind, nodes in file.get("cells", {}).items()},
                weights=file["weights"][()] if "weights" in file else None,
            )
            origin = {
                "solver": str(attrs["solver"]),
                "arguments": json.loads(attrs["arguments"]),
                "seconds": float(attrs["seconds"]),
                "versions": json.loads(attrs["versions"]),
            }
    except OSError as error:
        raise ProblemError(
            f"reference file {str(path)!r} cannot be read as HDF5 ({error}); it is truncated "
            f"or of another kind. "
            f"Make it again with 'python data/make.py {path.stem}'."
        ) from error
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError(
            f"reference file {str(path)!r} is HDF5 but not a reference ({error}); expected the "
            f"groups "
            "'coordinates' and 'unknowns' and the attributes that sciml.references.save writes."
        ) from error
    return grid, origin
