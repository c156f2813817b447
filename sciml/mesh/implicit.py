"""Meshes of sets {x : d(x) < 0} given by a function, such as a signed distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from contourpy import LineType, contour_generator
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError
from .complex import Complex
from .curved import curved
from .generate import MAX_POINTS, between
from .levels import Distance, gradient, project
from .outline import Array, Curve, Size, evaluated
from .solid import Surface, chosen, complex_of, tetrahedra
from .structured import edges


def generate(distance: Distance, bounds: Sequence[tuple[float, float]], size: Size, *, fixed: Tensor | None = None,
             facets: Mapping[str, Callable[[Tensor], Tensor]] | None = None, order: int = 1, seed: int = 0) -> Complex:
    """Triangles or tetrahedra of the set where a function is negative.

    In the plane its outline is traced on a grid of a third of the smallest cells (what is thinner is not seen),
    brought to the zero level by Newton's method, and divided; in space points are laid on the surface.

    Args:
        distance: Function of points (N, D) with values (N,): negative inside, positive outside, with a slope other
            than zero at the boundary. It need not be a distance.
        bounds: (low, high) by coordinate, around the set.
        size: Length h of edges, or a function of points (N, D) with values (N,).
        fixed: Corners, which have to be nodes, shape (K, D); corners that are not given are rounded off.
        facets: Functions of points (N, D) that say, as masks (N,), which middles of boundary facets are in a group;
            what the first ones leave is "boundary".
        order: Of the cells; 2 puts the middle nodes of boundary edges on the zero level.
        seed: Of the small offsets of the first points.

    Raises:
        ProblemError: Nothing is inside, the bounds cut the set, or the cells would be too many.
    """
    D = len(bounds)
    corners = torch.zeros(0, D, dtype=torch.float64) if fixed is None else torch.as_tensor(fixed, dtype=torch.float64)
    if D not in (2, 3) or corners.shape[1:] != (D,):
        raise ProblemError(f"got {D} bounds and fixed points of shape {tuple(corners.shape)}, expected 2 or 3 bounds "
                           "(low, high) and points with as many coordinates")
    if D == 2:
        made = between(traced(distance, bounds, size, corners), size, order=order, seed=seed)
    else:
        made = solid(distance, bounds, size, corners, order, seed)
    return named(made, facets or {})


def solid(distance: Distance, bounds: Sequence[tuple[float, float]], size: Size, corners: Tensor, order: int, seed: int
          ) -> Complex:
    """Tetrahedra where a function is negative; see `generate`.

    Raises:
        ProblemError: The function is negative nowhere, or the cells would be too many.
    """
    low, high = np.array(bounds, dtype=float).T
    scale = float((high - low).max())
    probe = low + (high - low) * np.indices((25, 25, 25)).reshape(3, -1).T / 24
    h0 = float(evaluated(size, probe).min())
    step = h0 / 3
    counts = np.ceil((high - low) / step).astype(int) + 1
    if counts.prod() > MAX_POINTS:
        raise ProblemError(f"finding the surface in steps of {step:.2g} needs {counts.prod()} points, more than "
                           f"{MAX_POINTS}; take larger cells")
    X = torch.from_numpy(low + np.indices(counts).reshape(3, -1).T * step)
    value = distance(X)
    if not bool((value < 0).any()):
        raise ProblemError("the function is negative nowhere within the bounds, so there is nothing to mesh; check its "
                           "sign: inside it has to be negative")
    slope = gradient(distance, X, 1e-6 * scale).norm(dim=1).clamp(min=1e-12)
    near = X[value.abs() < 1.5 * step * slope]
    found = project(distance, near, step).numpy()
    found = found[(distance(torch.from_numpy(found)).abs().numpy() < 1e-9 * scale)
                  & (np.linalg.norm(found - near.numpy(), axis=1) < 3 * step)]
    K = corners.numpy()
    h = evaluated(size, found)
    if len(K):
        found, h = (a[cKDTree(K).query(found)[0] > 0.72 * h] for a in (found, h))
    free = found[chosen(found, 0.78 * h)]

    def near_distance(Y: Tensor) -> Tensor:
        return distance(Y) / gradient(distance, Y, 1e-6 * scale).norm(dim=1).clamp(min=1e-12)

    def back(numbers: Array, Y: Array) -> Array:
        return project(distance, torch.from_numpy(Y), h0).numpy()

    def fits(P: Array) -> Array:
        middle = P.mean(1)
        return np.abs(near_distance(torch.from_numpy(middle)).numpy()) < 0.25 * evaluated(size, middle)

    surface = Surface(K, free, back, np.zeros((0, 2), int), fits)
    made = complex_of(*tetrahedra(near_distance, surface, size, seed))
    if order == 1:
        return made
    pairs = edges(made.surface())[0]
    used = torch.cat([f.nodes.reshape(-1) for f in made.chosen(made.boundary)]).unique()
    ends = used[pairs]
    return curved(made, ends, project(distance, made.X[ends].mean(1), h0))


def named(complex_: Complex, facets: Mapping[str, Callable[[Tensor], Tensor]]) -> Complex:
    """The same cells with groups of boundary facets: each belongs to the first whose mask holds at its middle."""
    free = complex_.boundary
    groups = {}
    (table,) = complex_.facets
    for name, mask in facets.items():
        middle = complex_.X[table.nodes[free, :table.kind.corners]].mean(1)
        here = mask(middle)
        if not bool(here.any()):
            raise ProblemError(f"no facet of the boundary is in group {name!r}; check its function, which gets points "
                               f"of shape {tuple(middle.shape)} at the middles of facets, not on a curved boundary")
        groups[name], free = free[here], free[~here]
    if len(free):
        groups["boundary"] = free
    new = Complex(complex_.X, complex_.blocks, complex_.volumes, groups)
    new.__dict__["facets"] = complex_.facets
    return new


def traced(distance: Distance, bounds: Sequence[tuple[float, float]], size: Size, corners: Tensor) -> list[Curve]:
    """The zero level in the plane as curves, cut at corners.

    Raises:
        ProblemError: There is none, or it leaves the bounds.
    """
    low, high = np.array(bounds, dtype=float).T
    scale = float((high - low).max())
    probe = low + (high - low) * np.indices((33, 33)).reshape(2, -1).T / 32
    step = min(evaluated(size, probe).min() / 3, scale / 100)
    counts = np.ceil((high - low) / step).astype(int) + 3
    if counts.prod() > MAX_POINTS:
        raise ProblemError(f"tracing the outline in steps of {step:.2g} needs {counts.prod()} points, more than "
                           f"{MAX_POINTS}; take larger cells or give the curves themselves")
    axes = [lo - step * 1.03 + step * np.arange(n) for lo, n in zip(low, counts, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="xy"), -1)
    values = distance(torch.from_numpy(grid.reshape(-1, 2))).numpy().reshape(grid.shape[:2])
    if not (values < 0).any():
        raise ProblemError("the function is negative nowhere within the bounds, so there is nothing to mesh; check its "
                           "sign: inside it has to be negative")
    lines = contour_generator(x=axes[0], y=axes[1], z=values, line_type=LineType.Separate).lines(0.0)
    curves = []
    for P in map(np.asarray, lines):
        if np.linalg.norm(P[0] - P[-1]) > 1e-9 * scale:
            raise ProblemError("the zero level of the function leaves the bounds; give bounds around the whole set")
        P = project(distance, torch.from_numpy(P), step).numpy()
        curves += [_along(Q, distance, step) for Q in _cut(P[:-1], corners.numpy(), step)]
    return curves


def _cut(P: Array, corners: Array, step: float) -> list[Array]:
    """Pieces of a closed line between corners on it; each corner replaces what is within a step of it."""
    d, at = cKDTree(P).query(corners) if len(corners) else (np.zeros(0), np.zeros(0, int))
    on = d < 2 * step
    if not on.any():
        return [np.concatenate([P, P[:1]])]
    order = np.argsort(at[on])
    stops, points = at[on][order], corners[on][order]
    P, stops = np.roll(P, -stops[0], 0), stops - stops[0]
    pieces = []
    for i, a in enumerate(stops):
        b = stops[i + 1] if i + 1 < len(stops) else len(P)
        start, end = points[i], points[(i + 1) % len(points)]
        inner = P[a:b]
        far = np.minimum(np.linalg.norm(inner - start, axis=1), np.linalg.norm(inner - end, axis=1)) > 1.5 * step
        pieces.append(np.concatenate([start[None], inner[far], end[None]]))
    return pieces


def _along(P: Array, distance: Distance, step: float) -> Curve:
    """A line of points as a curve on the zero level, by arc length, its inside on the left."""
    s = np.concatenate([[0.0], np.linalg.norm(np.diff(P, axis=0), axis=1).cumsum()])
    k = len(P) // 2
    t = P[k] - P[k - 1]
    left = (P[k] + P[k - 1]) / 2 + 0.1 * step * np.array([-t[1], t[0]]) / np.linalg.norm(t)
    if distance(torch.from_numpy(left[None])).item() > 0:
        P, s = P[::-1], s[-1] - s[::-1]

    def at(u: Tensor) -> Tensor:
        v = u.numpy() * s[-1]
        X = torch.from_numpy(np.stack([np.interp(v, s, P[:, i]) for i in range(2)], 1))
        inner = torch.from_numpy((v > 0) & (v < s[-1]))
        return torch.where(inner[:, None], project(distance, X, step), X)

    return Curve(at, "boundary")
