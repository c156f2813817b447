"""A run folder read back: what was solved, where, how well, and how it got there.

Everything that can be wrong with the files is found here, once, so that the figures can trust
what they draw. Nothing of the model is needed: `solution.h5` holds the values, `metrics.jsonl`
the history, `result.json` the summary. A run that was killed leaves its last line of
`metrics.jsonl` half written; that line is skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from sciml.errors import ProblemError, look_up

TIME = "t"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class RunData:
    """What a run folder holds.

    Attributes:
        folder: The run folder.
        title: Title of the problem.
        status: Sentence on how the run ended.
        layout: ``"grid"`` (an axis per coordinate, ascending) or ``"scattered"`` (N points).
        order: Names of the coordinates; axis d of a grid array belongs to ``order[d]``.
        parameters: The coordinates that are parameters of the problem, such as ``nu``.
        coordinates: Name to axis (grid) or to values (N,) (scattered).
        prediction: Unknown to values; NaN outside the domain.
        reference: The same for the unknowns that have a reference.
        points: Condition to its last collocation points, a column (N,) per coordinate.
        residual: Condition to |r| (N,) at these points, where it was stored.
        residual_field: Condition of the inside to |r| where the prediction is, where it was stored.
        cells: Where the points are nodes of a mesh, kind to node numbers (E, k), as in VTK.
        gaussians: Of a field of M Gaussians, centres (M, D), covariances (M, D, D) and amplitudes (M, C).
        history: The lines of `metrics.jsonl`, oldest first.
        result: The content of `result.json`, empty if there is none.
    """

    folder: Path
    title: str
    status: str
    layout: str
    order: tuple[str, ...]
    parameters: tuple[str, ...]
    coordinates: Arrays
    prediction: Arrays
    reference: Arrays
    points: dict[str, Arrays]
    residual: Arrays
    history: tuple[dict, ...]
    result: dict
    residual_field: Arrays = field(default_factory=dict)
    cells: Arrays = field(default_factory=dict)
    gaussians: Arrays = field(default_factory=dict)

    @property
    def varying(self) -> tuple[str, ...]:
        """Coordinates that take more than one value."""
        return tuple(n for n in self.order if np.ptp(self.coordinates[n]) > 0)

    @property
    def space(self) -> tuple[str, ...]:
        """Varying coordinates that are neither time nor parameters."""
        return tuple(n for n in self.varying if n != TIME and n not in self.parameters)

    @property
    def has_time(self) -> bool:
        """Whether time varies."""
        return TIME in self.varying and TIME not in self.parameters

    def relative_l2(self, unknown: str) -> float | None:
        """‖u − u_ref‖ / ‖u_ref‖ from `result.json`, else over the stored points; None without a
        reference."""
        if unknown not in self.reference:
            return None
        stored = self.result.get("relative_l2")
        if isinstance(stored, dict) and isinstance(stored.get(unknown), int | float):
            return float(stored[unknown])
        return relative_l2(self.prediction[unknown], self.reference[unknown])


def relative_l2(prediction: np.ndarray, reference: np.ndarray) -> float | None:
    """‖u − u_ref‖ / ‖u_ref‖ over the points where both are finite; None where that is 0/0 or
    nothing."""
    both = np.isfinite(prediction) & np.isfinite(reference)
    size = float(np.linalg.norm(reference[both]))
    return (
        float(np.linalg.norm(prediction[both] - reference[both])) / size if size > 0 else None
    )


def read_run(run: str | Path) -> RunData:
    """Reads a run folder.

    Args:
        run: The folder that `sciml solve` wrote.

    Raises:
        ProblemError: The folder or its `solution.h5` is missing, cut short, or does not have
            the expected form; or `metrics.jsonl` or `result.json` is there and cannot be read.
    """
    folder = existing_folder(run)
    path = folder / "solution.h5"
    if not path.is_file():
        raise ProblemError(
            f"run folder '{folder}' has no solution.h5; it may have been stopped before its "
            "first report, so resume it with sciml solve --resume."
        )
    try:
        with h5py.File(path, "r") as file:
            stored = _read_solution(file, path)
    except (OSError, RuntimeError) as error:
        raise ProblemError(
            f"'{path}' is cut short or not an HDF5 file ({error}); "
            "write it again with sciml solve --resume."
        ) from error
    history, result = read_history(folder), read_result(folder)
    for key, order in (
        ("prediction", _names(result, "null_score", "relative_l2")),
        ("points", _names(history[-1] if history else {}, "losses")),
    ):
        stored[key] = _in_order(stored[key], order)
    return RunData(folder=folder, history=history, result=result, **stored)


def _names(table: dict, *keys: str) -> list[str]:
    """Names in the dicts under the keys, in the order in which they were written."""
    return [name for key in keys if isinstance(table.get(key), dict) for name in table[key]]


def _in_order(values: dict, names: list[str]) -> dict:
    """The same dict with the named keys first; HDF5 itself sorts by the alphabet."""
    return {n: values[n] for n in dict.fromkeys((*names, *values)) if n in values}


def existing_folder(run: str | Path) -> Path:
    """The run folder as a path.

    Raises:
        ProblemError: There is no such folder.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise ProblemError(
            f"there is no run folder '{folder}'; sciml solve prints the folder it writes."
        )
    return folder


def read_history(folder: Path) -> tuple[dict, ...]:
    """Lines of `metrics.jsonl`; empty if there is no such file. A last line cut short is
    skipped.

    Raises:
        ProblemError: Another line than the last is not a JSON object.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    # Without a newline behind it the last line was being written when the run was killed.
    last = max((i for i, line in enumerate(lines) if line.strip()), default=-1)
    history = []
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        entry = _json_object(line)
        if entry is not None:
            history.append(entry)
        elif i != last:
            raise ProblemError(
                f"'{path}', line {i + 1} is not a JSON object; remove that line."
            )
    return tuple(history)


def read_result(folder: Path) -> dict:
    """Content of `result.json`; empty if there is no such file.

    Raises:
        ProblemError: The file is cut short.
    """
    path = folder / "result.json"
    if not path.is_file():
        return {}
    result = _json_object(path.read_text(encoding="utf-8", errors="replace"))
    if result is None:
        raise ProblemError(
            f"'{path}' is cut short or not a JSON object; remove it, the figures do without."
        )
    return result


def _json_object(text: str) -> dict | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_solution(file: h5py.File, path: Path) -> dict:
    """Checked content of `solution.h5` as fields of `RunData`."""
    layout = _text(_attribute(file, "layout", path))
    look_up("layout", layout, {"grid": None, "scattered": None})
    order = tuple(_text(n) for n in np.atleast_1d(_attribute(file, "order", path)))
    parameters = tuple(_text(n) for n in np.atleast_1d(file.attrs.get("parameters_axes", ())))
    coordinates = _group(file, "coordinates", path)
    for name in (*order, *parameters):
        if name not in coordinates:
            raise ProblemError(
                f"'{path}' has no values of coordinate '{name}' under coordinates/."
            )
    if not order:
        raise ProblemError(f"'{path}' names no coordinate in its attribute 'order'.")
    coordinates = {n: coordinates[n] for n in order}
    values = {
        kind: _group(file, kind, path, needed=kind == "prediction")
        for kind in ("prediction", "reference", "residual")
    }
    shape = (
        tuple(coordinates[n].size for n in order)
        if layout == "grid"
        else (coordinates[order[0]].size,)
    )
    _check_shapes(coordinates, values, layout, shape, path)
    if layout == "grid":
        coordinates, values = _ascending(coordinates, values)
    points, residual = _read_points(file, order)
    reference = {
        u: r
        for u, r in values["reference"].items()
        if u in values["prediction"] and np.isfinite(r).any()
    }
    return dict(
        title=_text(file.attrs.get("problem", "")),
        status=_text(file.attrs.get("status", "")),
        layout=layout,
        order=order,
        parameters=parameters,
        coordinates=coordinates,
        prediction=values["prediction"],
        reference=reference,
        points=points,
        residual=residual,
        residual_field={n: np.abs(r) for n, r in values["residual"].items()},
        cells=_cells(file, shape, path) if layout == "scattered" else {},
        gaussians=_gaussians(file, len(order), path),
    )


def _gaussians(file: h5py.File, D: int, path: Path) -> Arrays:
    found = _group(file, "gaussians", path, needed=False)
    if not found:
        return {}
    shapes = {n: found[n].shape if n in found else None for n in ("centres", "covariances", "amplitudes")}
    M = len(found["centres"]) if "centres" in found else 0
    if shapes["centres"] != (M, D) or shapes["covariances"] != (M, D, D) or (shapes["amplitudes"] or (0,))[0] != M:
        raise ProblemError(f"'{path}': the arrays under gaussians/ do not fit each other; write it again.")
    return found


def _cells(file: h5py.File, shape: tuple[int, ...], path: Path) -> Arrays:
    found = {kind: np.asarray(nodes[()], dtype=np.int64) for kind, nodes in file.get("cells", {}).items()}
    for kind, nodes in found.items():
        if nodes.ndim != 2 or nodes.size == 0 or nodes.min() < 0 or nodes.max() >= shape[0]:
            raise ProblemError(f"'{path}': cells/{kind} does not number the {shape[0]} points; write it again.")
    return found


def _check_shapes(
    coordinates: Arrays,
    values: dict[str, Arrays],
    layout: str,
    shape: tuple[int, ...],
    path: Path,
) -> None:
    if 0 in shape:
        raise ProblemError(
            f"'{path}' holds no points (shape {shape}); evaluate the solution at some."
        )
    for name, axis in coordinates.items():
        if axis.ndim != 1 or (layout == "scattered" and axis.shape != shape):
            expected = "a 1-D axis" if layout == "grid" else f"{shape}"
            raise ProblemError(
                f"'{path}': coordinates/{name} has shape {axis.shape}, expected {expected}."
            )
    for kind, arrays in values.items():
        for unknown, array in arrays.items():
            if array.shape != shape:
                raise ProblemError(
                    f"'{path}': {kind}/{unknown} has shape {array.shape}, expected {shape}, "
                    f"the number of points along {', '.join(coordinates)}."
                )


def _ascending(
    coordinates: Arrays, values: dict[str, Arrays]
) -> tuple[Arrays, dict[str, Arrays]]:
    """The same grid with every axis ascending, which interpolation needs."""
    coordinates = dict(coordinates)
    for d, name in enumerate(coordinates):
        order = np.argsort(coordinates[name], kind="stable")
        if np.array_equal(order, np.arange(order.size)):
            continue
        coordinates[name] = coordinates[name][order]
        values = {
            kind: {u: a.take(order, axis=d) for u, a in arrays.items()}
            for kind, arrays in values.items()
        }
    return coordinates, values


def _read_points(file: h5py.File, order: tuple[str, ...]) -> tuple[dict[str, Arrays], Arrays]:
    """Collocation points and |r| per condition; a condition that lacks a coordinate has no
    place in a figure."""
    points: dict[str, Arrays] = {}
    residual: Arrays = {}
    for condition, group in file.get("points", {}).items():
        if not all(name in group for name in order):
            continue
        columns = {name: np.asarray(group[name], dtype=float).ravel() for name in order}
        if len({c.size for c in columns.values()}) != 1 or columns[order[0]].size == 0:
            continue
        points[condition] = columns
        if "residual" in group and group["residual"].size == columns[order[0]].size:
            residual[condition] = np.abs(np.asarray(group["residual"], dtype=float).ravel())
    return points, residual


def _attribute(file: h5py.File, name: str, path: Path):
    if name not in file.attrs:
        raise ProblemError(
            f"'{path}' has no attribute '{name}'; is it the solution.h5 of a run of sciml?"
        )
    return file.attrs[name]


def _group(file: h5py.File, name: str, path: Path, needed: bool = True) -> Arrays:
    if name not in file:
        if needed:
            raise ProblemError(
                f"'{path}' has no group '{name}'; is it the solution.h5 of a run of sciml?"
            )
        return {}
    return {key: np.asarray(data, dtype=float) for key, data in file[name].items()}


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
