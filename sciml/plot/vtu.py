"""A run as a VTU file for ParaView: points, cells, and prediction, reference and error at the
points."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sciml.errors import ProblemError
from sciml.plot.cut import delaunay, middle
from sciml.plot.run import TIME, Arrays, RunData, read_run

# Corners of a cell in VTK's order, as steps along its axes.
CORNERS = {
    1: ("line", ((0,), (1,))),
    2: ("quad", ((0, 0), (1, 0), (1, 1), (0, 1))),
    3: (
        "hexahedron",
        (
            (0, 0, 0),
            (1, 0, 0),
            (1, 1, 0),
            (0, 1, 0),
            (0, 0, 1),
            (1, 0, 1),
            (1, 1, 1),
            (0, 1, 1),
        ),
    ),
}


def export_vtu(run: str | Path, path: str | Path) -> Path:
    """Writes the stored solution as an unstructured mesh with ``u``, ``u_reference`` and
    ``u_error`` at the points.

    A grid gives lines, quadrilaterals or hexahedra over its first three varying coordinates:
    lengths, then time, then parameters, so that (x, y, t) is a block with time upwards.
    Coordinates beyond three are held at their middle. Nodes of a mesh keep its cells; other
    scattered points give triangles over two coordinates and vertices otherwise, and carry
    coordinates beyond three as point data. Cells that touch a point outside the domain are left
    out.

    Args:
        run: The run folder.
        path: Where to write, ending in ``.vtu``.

    Raises:
        ProblemError: The run cannot be read, or the path does not end in ``.vtu``.
    """
    import meshio

    path = Path(path)
    if path.suffix.lower() != ".vtu":
        raise ProblemError(
            f"cannot export to '{path}': the name must end in .vtu, as in '{path.stem}.vtu'."
        )
    data = read_run(run)
    names = _axes(data)
    points, cells, point_data = (_grid if data.layout == "grid" else _scattered)(data, names)
    path.parent.mkdir(parents=True, exist_ok=True)
    meshio.write(path, meshio.Mesh(points, cells, point_data=point_data), file_format="vtu")
    return path


def _axes(run: RunData) -> tuple[str, ...]:
    """Up to three varying coordinates: lengths, then time, then parameters."""
    time = (TIME,) if run.has_time else ()
    parameters = tuple(n for n in run.varying if n in run.parameters)
    return (run.space + time + parameters)[:3] or run.order[:1]


def _grid(run: RunData, names: tuple[str, ...]) -> tuple[np.ndarray, list, Arrays]:
    index = tuple(
        slice(None)
        if n in names
        else int(np.argmin(np.abs(run.coordinates[n] - middle(run, n))))
        for n in run.order
    )
    kept = [n for n in run.order if n in names]
    turn = [kept.index(n) for n in names]
    take = lambda arrays: {u: a[index].transpose(turn).ravel() for u, a in arrays.items()}
    axes = [run.coordinates[n] for n in names]
    points = np.zeros((int(np.prod([a.size for a in axes])), 3))
    for d, column in enumerate(np.meshgrid(*axes, indexing="ij")):
        points[:, d] = column.ravel()
    prediction = take(run.prediction)
    cells = grid_cells(tuple(a.size for a in axes))
    inside = np.all([np.isfinite(v) for v in prediction.values()], axis=0)
    cells = cells[inside[cells].all(axis=1)]
    kind = CORNERS[len(names)][0]
    # Points alone still open in ParaView, as vertices.
    blocks = [(kind, cells)] if len(cells) else [("vertex", np.arange(len(points))[:, None])]
    return points, blocks, _point_data(prediction, take(run.reference))


def grid_cells(shape: tuple[int, ...]) -> np.ndarray:
    """Corner numbers (E, 2ᴰ) of the cells of a grid in C order, in VTK's order of corners."""
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    columns = [
        numbers[
            tuple(slice(step, n - 1 + step) for step, n in zip(corner, shape, strict=True))
        ].ravel()
        for corner in CORNERS[len(shape)][1]
    ]
    return np.stack(columns, axis=1)


def _scattered(run: RunData, names: tuple[str, ...]) -> tuple[np.ndarray, list, Arrays]:
    points = np.zeros((run.coordinates[names[0]].size, 3))
    for d, name in enumerate(names):
        points[:, d] = run.coordinates[name]
    data = _point_data(run.prediction, run.reference)
    data.update({n: run.coordinates[n] for n in run.varying if n not in names})
    if run.cells:
        return points, list(run.cells.items()), data
    if len(names) == 2 and len(run.varying) == 2:
        triangles = delaunay(
            points[:, 0], points[:, 1], isotropic=all(n in run.space for n in names)
        )
        if triangles is not None:
            inside = np.all([np.isfinite(v) for v in run.prediction.values()], axis=0)
            triangles = triangles[inside[triangles].all(axis=1)]
            if len(triangles):
                return points, [("triangle", triangles)], data
    return points, [("vertex", np.arange(len(points))[:, None])], data


def _point_data(prediction: Arrays, reference: Arrays) -> Arrays:
    data = dict(prediction)
    for unknown, values in reference.items():
        data[f"{unknown}_reference"] = values
        data[f"{unknown}_error"] = prediction[unknown] - values
    return data
