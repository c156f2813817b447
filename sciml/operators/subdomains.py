"""Boxes that points fill evenly, grids in them, and linear interpolation between points and grids.

All of this is done by numpy and scipy once per point set; what is left for the hot path are numbers and weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import Delaunay, QhullError, cKDTree
from torch import Tensor

from ..errors import ProblemError
from .remembered import Remembered


def kd_boxes(points: Tensor, count: int, bounds: Sequence[tuple[float, float]], cells: int = 16) -> Tensor:
    """Boxes that tile a domain's box, inside of which points are spread as evenly as can be.

    The box with the largest n KL(points ‖ uniform) is cut across its longest side, where the two parts together have
    the least; KL is that of histograms.

    Args:
        points: Of the training shapes only, all together, shape (N, D).
        count: S, number of boxes.
        bounds: (low, high) per coordinate of the domain.
        cells: Cells of a histogram along each side; cuts are made at their borders.

    Returns:
        Low and high corners, shape (S, 2, D), float64.

    Raises:
        ProblemError: No points, or fewer than one box.

    Source: Liu et al. (2023), NUNO, arXiv:2305.18694.
    """
    X = points.detach().reshape(-1, points.shape[-1]).to("cpu", torch.float64).numpy()
    if count < 1 or not len(X) or X.shape[1] != len(bounds):
        raise ProblemError(f"{count} boxes of points of shape {tuple(points.shape)}: expected at least one box, and "
                           f"points of shape (N, {len(bounds)}) from the training shapes")
    low, high = (np.array(side, dtype=float) for side in zip(*bounds, strict=True))
    boxes = [(low, high, X[((X >= low) & (X <= high)).all(1)])]
    while len(boxes) < count:
        unevenness = [_divergence(_histogram(P, a, b, cells)) for a, b, P in boxes]
        boxes += _cut(*boxes.pop(int(np.argmax(unevenness))), cells)
    return torch.from_numpy(np.stack([np.stack([a, b]) for a, b, _ in boxes]))


def _histogram(P: np.ndarray, low: np.ndarray, high: np.ndarray, cells: int) -> np.ndarray:
    return np.histogramdd(P, bins=cells, range=list(zip(low, high, strict=True)))[0]


def _divergence(counts: np.ndarray) -> float:
    """n KL(points ‖ uniform) = Σ c log(c M/n) over the M cells."""
    c = counts[counts > 0]
    return float((c * np.log(c * counts.size / c.sum())).sum()) if len(c) else 0.0


def _cut(low, high, P, cells):
    axis = int(np.argmax(high - low))
    counts = np.moveaxis(_histogram(P, low, high, cells), axis, 0)
    sums = [_divergence(counts[:i]) + _divergence(counts[i:]) for i in range(1, cells)]
    if max(sums) - min(sums) < 1e-12:                     # nothing to choose by: the middle
        i = cells // 2
    else:
        i = 1 + int(np.argmin(sums))
    middle, right = high.copy(), low.copy()
    middle[axis] = right[axis] = low[axis] + (high[axis] - low[axis]) * i / cells
    left = P[:, axis] < middle[axis]
    return [(low, middle, P[left]), (right, high, P[~left])]


def box_grids(boxes: Tensor, grid: Sequence[int]) -> Tensor:
    """Nodes of a grid in every box, ends included, shape (S, Π n, D), the last coordinate fastest."""
    unit = torch.stack(torch.meshgrid(*(torch.linspace(0, 1, n, dtype=boxes.dtype, device=boxes.device) for n in grid),
                                      indexing="ij"), -1).reshape(-1, len(grid))
    return boxes[:, :1] + (boxes[:, 1:] - boxes[:, :1]) * unit


class Links(NamedTuple):
    """Linear maps between N points and S G grid nodes as a few numbers and weights per row.

    Args:
        into, into_weights: For each grid node D + 1 points and their weights, shape (1 or B, S G, D + 1).
        out, out_weights: For each point the 2^D nodes of its cell and their weights, shape (1 or B, N, 2^D).
        gap: Distance of each grid node from the nearest point over a tenth of the domain's diagonal, shape (1 or B,
            S G): it shows where the shape has holes, and is of order one in them.
    """

    into: Tensor
    into_weights: Tensor
    out: Tensor
    out_weights: Tensor
    gap: Tensor


def links(X: Tensor, boxes: Tensor, grid: Sequence[int], seen: Remembered[tuple] | None = None) -> Links:
    """Interpolation from points to the grids of all boxes and back.

    To the grids: linear on Delaunay's simplices of all points; outside of their hull by inverse squares of the
    distances to the D + 1 nearest points. Back: multilinear in the cell of the box that holds the point.

    Args:
        X: Points, shape (N, D) or (B, N, D).
        boxes: Shape (S, 2, D).
        grid: Nodes along each coordinate.
        seen: Links of clouds that were there before, with the same boxes and grid.

    Returns:
        `Links` on the device and in the dtype of X.
    """
    clouds = X.detach().reshape(-1, *X.shape[-2:]).to("cpu", torch.float64).numpy()
    corners = boxes.detach().to("cpu", torch.float64)
    G = box_grids(corners, grid).reshape(-1, X.shape[-1]).numpy()
    make = lambda P: (*_from_points(P, G), *_to_points(P, corners.numpy(), grid), _gap(P, G, corners.numpy()))
    found = [make(P) if seen is None else seen((P,), make) for P in clouds]
    tensors = [torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True)]
    return Links(*(t.to(X.device) if t.dtype == torch.int64 else t.to(X) for t in tensors))


def _gap(P: np.ndarray, G: np.ndarray, corners: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(corners[:, 1].max(0) - corners[:, 0].min(0))
    return cKDTree(P).query(G)[0] / (0.1 * size)


def _from_points(P: np.ndarray, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and weights (G, D + 1) of the points that each node is interpolated from."""
    D = P.shape[1]
    if D == 1:
        order = np.argsort(P[:, 0], kind="stable")
        x = P[order, 0]
        right = np.clip(np.searchsorted(x, G[:, 0]), 1, len(x) - 1)
        t = np.clip((G[:, 0] - x[right - 1]) / np.maximum(x[right] - x[right - 1], 1e-300), 0, 1)
        return np.stack([order[right - 1], order[right]], 1), np.stack([1 - t, t], 1)
    distance, index = cKDTree(P).query(G, D + 1)
    near = 1 / np.maximum(distance, 1e-12) ** 2
    weights = near / near.sum(1, keepdims=True)
    index = index.astype(np.int64)
    try:
        net = Delaunay(P)
    except QhullError:                                     # all points on a line or plane
        return index, weights
    cell = net.find_simplex(G)
    T = net.transform[cell]
    part = np.einsum("gij,gj->gi", T[:, :D], G - T[:, D])
    bary = np.concatenate([part, 1 - part.sum(1, keepdims=True)], 1)
    inside = (cell >= 0) & np.isfinite(bary).all(1)        # flat simplices have no barycentric coordinates
    index[inside], weights[inside] = net.simplices[cell[inside]], bary[inside]
    return index, weights


def _to_points(P: np.ndarray, corners: np.ndarray, grid: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and weights (N, 2^D) of the nodes that each point is interpolated from."""
    low, high = corners[:, 0], corners[:, 1]
    outside = np.maximum(np.maximum(low[None] - P[:, None], P[:, None] - high[None]), 0)
    box = (outside**2).sum(-1).argmin(1)                   # its own box, or the nearest
    n = np.array(grid)
    u = np.clip((P - low[box]) / (high[box] - low[box]), 0, 1) * (n - 1)
    cell = np.minimum(u.astype(np.int64), n - 2)
    t = u - cell
    strides = np.append(np.cumprod(n[::-1])[::-1][1:], 1)
    index, weights = [], []
    for corner in product((0, 1), repeat=len(grid)):
        c = np.array(corner)
        index.append(box * n.prod() + ((cell + c) * strides).sum(1))
        weights.append(np.where(c, t, 1 - t).prod(1))
    return np.stack(index, 1), np.stack(weights, 1)
