"""Outlines of plane domains: curves, cut into segments whose lengths follow a size function.

A mesh of the plane is made from the outside in: first the curves (boundaries and inner interfaces), then triangles
that have their segments among their sides (`fill`). So corners, names and interfaces are exact by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError

Size = float | Callable[[Tensor], Tensor]
Array = NDArray
GROWTH = 0.3
"""How fast edges may grow with distance: |∇h| ≤ 0.3 keeps neighbouring triangles alike."""
DENSE = 1025
MAX_SEGMENTS = 50_000


@dataclass(frozen=True, eq=False)
class Curve:
    """A smooth piece of a boundary or of an interface.

    Args:
        at: Position at parameters u ∈ [0, 1] of shape (N,): shape (N, 2). Closed if at(0) = at(1).
        name: Group of its segments.
        left: Number of the region on the left, looking along it; −1: none.
        right: Number of the region on the right.
    """

    at: Callable[[Tensor], Tensor]
    name: str
    left: int = 0
    right: int = -1


@dataclass(frozen=True, eq=False)
class Outline:
    """Segments that a triangulation has to have as sides.

    Args:
        X: Their ends, shape (P, 2).
        ends: Numbers of the two ends of each, shape (S, 2).
        u: Parameters of the two ends on their curve, shape (S, 2).
        curve: Number of the curve of each, shape (S,).
        curves: The curves.
    """

    X: Array
    ends: Array
    u: Array
    curve: Array
    curves: tuple[Curve, ...]

    @property
    def left(self) -> Array:
        """Region on the left of each segment, −1 outside, shape (S,)."""
        return np.array([c.left for c in self.curves])[self.curve]

    @property
    def right(self) -> Array:
        """Region on the right of each segment, shape (S,)."""
        return np.array([c.right for c in self.curves])[self.curve]

    @property
    def names(self) -> Array:
        """Name of each segment's curve, shape (S,)."""
        return np.array([c.name for c in self.curves])[self.curve]

    @property
    def lengths(self) -> Array:
        """Shape (S,)."""
        return np.linalg.norm(self.X[self.ends[:, 1]] - self.X[self.ends[:, 0]], axis=1)

    @property
    def middles(self) -> Array:
        """Middles of the chords, shape (S, 2)."""
        return self.X[self.ends].mean(1)

    @cached_property
    def on_curve(self) -> Array:
        """Positions on the curves half way between the ends, shape (S, 2)."""
        found = np.empty((len(self.ends), 2))
        for k, c in enumerate(self.curves):
            here = self.curve == k
            found[here] = c.at(torch.from_numpy(self.u[here].mean(1))).numpy()
        return found

    def halved(self, which: Array) -> Outline:
        """With some segments (their numbers) cut in two on their curves; new points and segments come last."""
        middle = len(self.X) + np.arange(len(which))
        ends = np.concatenate([self.ends, np.stack([middle, self.ends[which, 1]], 1)])
        u = np.concatenate([self.u, np.stack([self.u[which].mean(1), self.u[which, 1]], 1)])
        ends[which, 1], u[which, 1] = middle, self.u[which].mean(1)
        X = np.concatenate([self.X, self.on_curve[which]])
        return Outline(X, ends, u, np.concatenate([self.curve, self.curve[which]]), self.curves)


def line(a: Sequence[float], b: Sequence[float], name: str, left: int = 0, right: int = -1) -> Curve:
    """Straight curve from a to b."""
    A, B = torch.tensor([tuple(a), tuple(b)], dtype=torch.float64)
    return Curve(lambda u: A + u[:, None] * (B - A), name, left, right)


def circle(center: Sequence[float], radius: float, name: str, left: int = 0, right: int = -1) -> Curve:
    """Circle, anticlockwise: its inside is on the left. A hole has `left=-1, right=0`."""
    c = torch.tensor(tuple(center), dtype=torch.float64)
    return arc(c.tolist(), radius, (0.0, 2 * math.pi), name, left, right)


def arc(center: Sequence[float], radius: float, angles: tuple[float, float], name: str, left: int = 0,
        right: int = -1) -> Curve:
    """Part of a circle from one angle to another; clockwise if the second is less."""
    c = torch.tensor(tuple(center), dtype=torch.float64)
    a, b = angles

    def at(u: Tensor) -> Tensor:
        angle = a + u * (b - a)
        return c + radius * torch.stack([angle.cos(), angle.sin()], 1)

    return Curve(at, name, left, right)


def polygon(vertices: Sequence[Sequence[float]], names: Sequence[str] | str, left: int = 0, right: int = -1
            ) -> list[Curve]:
    """Closed chain of straight curves, anticlockwise around what is on the left; one name for all or one for each."""
    P = [tuple(p) for p in vertices]
    labels = [names] * len(P) if isinstance(names, str) else list(names)
    return [line(p, q, n, left, right) for p, q, n in zip(P, P[1:] + P[:1], labels, strict=True)]


def divide(curves: Sequence[Curve], size: Size) -> Outline:
    """Cut curves into segments of length h, the same n for symmetric curves, at least eight to a full turn.

    On every curve ∫ ds/h is divided equally, with h the size function or the width of the gap to another curve,
    whichever is less, growing along the curve by at most 0.3. Ends that coincide (1e−6 of the size) are joined.

    Args:
        curves: At least one.
        size: h, or a function of points (N, D) with values (N,).

    Raises:
        ProblemError: No curves, or a size that is not positive and finite.
    """
    if not curves:
        raise ProblemError("there are no curves to mesh between; give the boundary")
    u = np.linspace(0, 1, DENSE)
    dense = np.stack([c.at(torch.from_numpy(u)).numpy() for c in curves])
    scale = float(np.ptp(dense.reshape(-1, 2), axis=0).max())
    if not np.isfinite(scale):
        raise ProblemError("a curve of the outline has positions that are not finite; check its formula")
    steps = np.linalg.norm(np.diff(dense, axis=1), axis=2)
    h = np.minimum(evaluated(size, dense.reshape(-1, 2)).reshape(dense.shape[:2]), _gaps(dense, steps, scale))
    points, ends, owner, params = [], [], [], []
    at = 0
    for k, c in enumerate(curves):
        rate = steps[k] / _smoothed(h[k], steps[k])
        s = np.concatenate([[0.0], rate.cumsum()])
        if s[-1] > MAX_SEGMENTS:
            raise ProblemError(f"cells of size {h[k].min():.3g} along {c.name!r} need more than {MAX_SEGMENTS} "
                               "segments; take larger ones or grade their size")
        closed = np.linalg.norm(dense[k, 0] - dense[k, -1]) < 1e-6 * scale
        n = max(1, round(s[-1]), math.ceil(_turning(dense[k]) / (math.pi / 4) - 1e-6), 3 if closed else 1)
        v = np.interp(np.linspace(0, s[-1], n + 1), s, u)
        points.append(c.at(torch.from_numpy(v)).numpy())
        ends.append(at + np.stack([np.arange(n), np.arange(1, n + 1)], 1))
        owner.append(np.full(n, k))
        params.append(np.stack([v[:-1], v[1:]], 1))
        at += n + 1
    X, number = _joined(np.concatenate(points), scale)
    return Outline(X, number[np.concatenate(ends)], np.concatenate(params), np.concatenate(owner), tuple(curves))


def evaluated(size: Size, X: Array) -> Array:
    """The size function at points (N, D), checked.

    Raises:
        ProblemError: It is not positive and finite, or has another shape.
    """
    if isinstance(size, (int, float)):
        h = np.full(len(X), float(size))
    else:
        h = np.asarray(size(torch.from_numpy(np.ascontiguousarray(X))), dtype=np.float64)
    if h.shape != (len(X),):
        raise ProblemError(f"the size function returned shape {h.shape}, expected ({len(X)},): a length by point")
    if not (np.isfinite(h).all() and (h > 0).all()):
        raise ProblemError(f"the size of cells is {h.min() if len(h) else size}, expected positive finite lengths")
    return h


def _gaps(dense: Array, steps: Array, scale: float) -> Array:
    """Distance of every dense point to the nearest curve that does not touch its own, shape (curves, M)."""
    count = len(dense)
    gap = np.full(dense.shape[:2], np.inf)
    tips = dense[:, [0, -1]]
    trees = [cKDTree(d) for d in dense]
    for i in range(count):
        for j in range(i):
            if np.abs(tips[i][:, None] - tips[j][None]).max(2).min() < 1e-6 * scale:
                continue
            gap[i] = np.minimum(gap[i], trees[j].query(dense[i])[0])
            gap[j] = np.minimum(gap[j], trees[i].query(dense[j])[0])
    return np.where(gap < 1e-6 * scale, np.inf, gap)


def _smoothed(h: Array, steps: Array) -> Array:
    """min over s' of h(s') + 0.3 |s − s'|, at the middles of steps."""
    s = np.concatenate([[0.0], steps.cumsum()]) * GROWTH
    up = np.minimum.accumulate(h - s) + s
    down = np.minimum.accumulate((h + s)[::-1])[::-1] - s
    both = np.minimum(up, down)
    return (both[1:] + both[:-1]) / 2


def _turning(P: Array) -> float:
    """Sum of the absolute angles between steps."""
    d = np.diff(P, axis=0)
    cross = d[:-1, 0] * d[1:, 1] - d[:-1, 1] * d[1:, 0]
    return float(np.abs(np.arctan2(cross, (d[:-1] * d[1:]).sum(1))).sum())


def _joined(X: Array, scale: float) -> tuple[Array, Array]:
    """Points without those that coincide, and the number of each in them."""
    pairs = cKDTree(X).query_pairs(1e-6 * scale, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(X), len(X)))
    count, number = connected_components(graph, directed=False)
    first = np.full(count, len(X))
    np.minimum.at(first, number, np.arange(len(X)))
    return X[first], number
