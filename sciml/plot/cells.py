"""Cells of a mesh as triangles to draw on: in the plane, and on a plane through a mesh in space."""

from __future__ import annotations

import numpy as np

from sciml.plot.run import Arrays

# Linear triangles of plane cells and tetrahedra of those in space; curved ones are drawn through all their nodes.
TRIANGLES = {
    "triangle": [(0, 1, 2)],
    "triangle6": [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)],
    "quad": [(0, 1, 2), (0, 2, 3)],
    "quad8": [(0, 4, 7), (4, 1, 5), (5, 2, 6), (6, 3, 7), (4, 5, 7), (5, 6, 7)],
    "quad9": [(0, 4, 8), (0, 8, 7), (4, 1, 5), (4, 5, 8), (8, 5, 2), (8, 2, 6), (7, 8, 6), (7, 6, 3)],
}
_CUBE = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
TETRAHEDRA = {
    "tetra": [(0, 1, 2, 3)],
    "tetra10": [(0, 4, 6, 7), (4, 1, 5, 8), (6, 5, 2, 9), (7, 8, 9, 3), (4, 6, 7, 8), (4, 6, 8, 5), (6, 7, 8, 9),
                (6, 8, 5, 9)],
    "hexahedron": _CUBE, "hexahedron20": _CUBE, "hexahedron27": _CUBE,
}
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def plane_triangles(cells: Arrays) -> np.ndarray | None:
    """Corner numbers (T, 3) of the cells of a plane mesh; None if there are no such cells."""
    return _split(cells, TRIANGLES)


def _split(cells: Arrays, tables: dict) -> np.ndarray | None:
    parts = [nodes[:, np.array(tables[kind])].reshape(-1, len(tables[kind][0]))
             for kind, nodes in cells.items() if kind in tables]
    return np.concatenate(parts) if parts else None


def slice_of(X: np.ndarray, cells: Arrays, column: int, value: float):
    """Where a plane x_column = value cuts a mesh in space.

    Args:
        X: Nodes, shape (N, 3).
        cells: Node numbers by kind.
        column: The coordinate that is held.
        value: At what.

    Returns:
        None if it cuts nothing; else pairs of nodes (M, 2), the share (M,) of the second in each point of the cut, and
        the corners (T, 3) of triangles among these points.
    """
    tetrahedra = _split(cells, TETRAHEDRA)
    if tetrahedra is None:
        return None
    side = X[:, column] - value
    side = np.where(side == 0, 1e-12 * (np.ptp(X[:, column]) or 1.0), side)     # no node lies on the plane
    above = side[tetrahedra] > 0
    cut = tetrahedra[(above.any(1)) & (~above.all(1))]
    if not len(cut):
        return None
    pairs = np.stack([cut[:, list(e)] for e in EDGES], 1)                         # (T, 6, 2)
    crossed = (side[pairs[..., 0]] > 0) != (side[pairs[..., 1]] > 0)
    keys = np.sort(pairs, axis=2)
    flat, number = np.unique(keys[crossed], axis=0, return_inverse=True)
    numbers = np.full(crossed.shape, -1)
    numbers[crossed] = number.reshape(-1)
    share = side[flat[:, 0]] / (side[flat[:, 0]] - side[flat[:, 1]])
    three = crossed.sum(1) == 3
    triangles = [numbers[three][crossed[three]].reshape(-1, 3)]
    # Four crossed edges: of three pairs of opposite edges one is not crossed, and the others take turns round it.
    opposite = np.array([5, 4, 3, 2, 1, 0])
    four = numbers[~three]
    if len(four):
        first = np.argmax(crossed[~three], axis=1)
        rows = np.arange(len(four))
        third = opposite[first]
        rest = crossed[~three].copy()
        rest[rows, first] = rest[rows, third] = False
        second = np.argmax(rest, axis=1)
        a, b, c, d = (four[rows, k] for k in (first, second, third, opposite[second]))
        triangles += [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
    return flat, share, np.concatenate(triangles)
