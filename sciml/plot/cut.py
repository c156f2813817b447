"""One or two coordinates to draw over, and everything else held fixed.

A run may have five coordinates; paper has two. `shown_coordinates` chooses which to draw over,
`default_cuts` fixes the rest at the middle (time at a few chosen instants), and a `Cut` carries
the values that are left. Grids are cut at their nearest line; scattered points are taken where
they lie on the cut, or within a band around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.tri import LinearTriInterpolator, Triangulation

from sciml.plot.cells import plane_triangles, slice_of
from sciml.plot.run import TIME, Arrays, RunData

# The circumradius of a square cell is 0.7 spacings; of 25,600 triangles
# inside 20,000 uniformly random points none exceeded 2.5.
LARGE_CIRCLE = 2.5
MOST_TRIANGULATED = 15_000
BAND_POINTS = 600
FEW_VALUES = 200  # scattered points with no more values of a coordinate lie on planes of it


@dataclass(frozen=True)
class Cut:
    """Values over one or two coordinates, all others fixed.

    Attributes:
        names: The coordinate drawn over, or the horizontal and the vertical one.
        axes: Their values: grid axes, or a column (N,) per coordinate for scattered points.
        prediction: Unknown to values: (horizontal,), (vertical, horizontal), or (N,).
        reference: The same for the unknowns that have a reference.
        scattered: Whether the values belong to N points of a plane rather than to a grid.
        fixed: Coordinate to the value it is held at.
        width: Coordinate to the half-width of the band that scattered points were taken from.
        isotropic: Whether both coordinates are lengths, so that one scale serves both.
        mesh: Triangles (T, 3) of a mesh whose nodes the scattered points are.
    """

    names: tuple[str, ...]
    axes: tuple[np.ndarray, ...]
    prediction: Arrays
    reference: Arrays
    scattered: bool
    fixed: dict[str, float]
    width: dict[str, float]
    isotropic: bool
    mesh: np.ndarray | None = None

    @property
    def extent(self) -> tuple[tuple[float, float], ...]:
        """Least and largest value of each coordinate drawn over."""
        return tuple((float(a.min()), float(a.max())) for a in self.axes)

    def where(self, *names: str) -> str:
        """The named ones of the fixed coordinates as text, ``"t = 0.5, nu = 0.01"``."""
        return ", ".join(
            f"{n} = {v:.3g}" + (f" ± {self.width[n]:.1g}" if self.width.get(n) else "")
            for n, v in self.fixed.items()
            if n in names
        )

    def error(self, unknown: str) -> np.ndarray | None:
        """u − u_ref, or None without a reference."""
        return (
            self.prediction[unknown] - self.reference[unknown]
            if unknown in self.reference
            else None
        )

    @cached_property
    def triangles(self) -> np.ndarray | None:
        """Triangles (T, 3) of scattered points: those of their mesh, else Delaunay's without those
        across holes; None where there are none."""
        if self.mesh is not None:
            return self.mesh
        return (
            delaunay(self.axes[0], self.axes[1], self.isotropic)
            if self.scattered and not self.width
            else None
        )

    def profile(self, along: int, value: float) -> tuple[Cut, float]:
        """The values along one of two coordinates, at a value of the other, and that value as
        it was taken."""
        across = 1 - along
        if not self.scattered:
            i = int(np.argmin(np.abs(self.axes[across] - value)))
            value = float(self.axes[across][i])
            take = (lambda a: a[i, :]) if along == 0 else (lambda a: a[:, i])
            line = self.axes[along]
        else:
            line = np.linspace(*self.extent[along], 201)
            place = [line, np.full_like(line, value)]
            take = lambda a: self._interpolate(a, place[along], place[across])
        return Cut(
            names=(self.names[along],),
            axes=(line,),
            scattered=False,
            isotropic=False,
            width=self.width,
            prediction={u: take(a) for u, a in self.prediction.items()},
            reference={u: take(a) for u, a in self.reference.items()},
            fixed={**self.fixed, self.names[across]: value},
        ), value

    def _interpolate(self, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Linear interpolation of scattered values on the triangles; NaN off them."""
        if self.triangles is None:
            return np.full_like(x, np.nan)
        scale = [1.0 if self.isotropic else high - low for low, high in self.extent]
        mesh = Triangulation(self.axes[0] / scale[0], self.axes[1] / scale[1], self.triangles)
        return np.ma.filled(
            LinearTriInterpolator(mesh, values)(x / scale[0], y / scale[1]), np.nan
        )


def shown_coordinates(run: RunData) -> tuple[str, ...]:
    """The one or two coordinates that a figure of the run is drawn over, the horizontal one
    first.

    Two lengths if there are two; else time, or a parameter, across and the length up.
    """
    if len(run.space) >= 2:
        return run.space[:2]
    if run.space and run.has_time:
        return TIME, run.space[0]
    own = run.space or ((TIME,) if run.has_time else ())
    parameters = tuple(n for n in run.varying if n in run.parameters)
    if own and parameters:
        return parameters[0], own[0]
    return own or parameters[:2] or run.order[:1]


def middle(run: RunData, name: str) -> float:
    """Middle value of a coordinate: of the axis, or halfway between the ends of scattered
    values."""
    values = np.unique(run.coordinates[name])
    if run.layout == "grid" or values.size <= FEW_VALUES:
        return float(values[values.size // 2])
    return float(0.5 * (values[0] + values[-1]))


def chosen_values(run: RunData, name: str, count: int) -> list[float]:
    """Up to `count` values of a coordinate, from the first to the last, out of those it takes.

    Scattered values that are all different are not taken one by one: there the values are
    equally spaced, and 2 % inside the ends, where the triangles of random points stop.
    """
    values = np.unique(run.coordinates[name])
    low, high = values[0], values[-1]
    if run.layout == "scattered" and values.size > FEW_VALUES:
        inset = 0.02 * (high - low)
        digits = 2 - int(np.floor(np.log10(high - low)))
        return [round(float(v), digits) for v in np.linspace(low + inset, high - inset, count)]
    wanted = np.linspace(low, high, min(count, values.size))
    nearest = [float(values[np.argmin(np.abs(values - w))]) for w in wanted]
    return list(dict.fromkeys(nearest))


def default_cuts(run: RunData, times: int = 3) -> list[Cut]:
    """The cuts that show a run: one through the middle, or one per chosen time where time is
    not drawn over."""
    shown = shown_coordinates(run)
    fixed = {n: middle(run, n) for n in run.order if n not in shown}
    if run.has_time and TIME not in shown:
        return [cut(run, shown, {**fixed, TIME: t}) for t in chosen_values(run, TIME, times)]
    return [cut(run, shown, fixed)]


def cut(run: RunData, shown: tuple[str, ...], at: Mapping[str, float]) -> Cut:
    """The run over the coordinates `shown`, with the others held at `at`."""
    isotropic = len(shown) == 2 and all(n in run.space for n in shown)
    parts = (
        _grid_cut(run, shown, at) if run.layout == "grid" else _scattered_cut(run, shown, at)
    )
    return Cut(names=shown, isotropic=isotropic, **parts)


def _grid_cut(run: RunData, shown: tuple[str, ...], at: Mapping[str, float]) -> dict:
    index: list = []
    fixed = {}
    for name in run.order:
        axis = run.coordinates[name]
        if name in shown:
            index.append(slice(None))
            continue
        index.append(int(np.argmin(np.abs(axis - at[name]))))
        fixed[name] = float(axis[index[-1]])
    kept = [n for n in run.order if n in shown]
    turn = [kept.index(n) for n in reversed(shown)]
    take = lambda arrays: {u: a[tuple(index)].transpose(turn) for u, a in arrays.items()}
    return dict(
        axes=tuple(run.coordinates[n] for n in shown),
        prediction=take(run.prediction),
        reference=take(run.reference),
        scattered=False,
        fixed=fixed,
        width={},
    )


def _scattered_cut(run: RunData, shown: tuple[str, ...], at: Mapping[str, float]) -> dict:
    """Points on the cut; where too few lie on it, the nearest ones and the half-widths that
    hold them."""
    fixed = {n: float(at[n]) for n in run.order if n not in shown}
    on_mesh = _mesh_cut(run, shown, fixed) if run.cells and len(shown) == 2 else None
    if on_mesh is not None:
        return on_mesh
    away = np.zeros(run.coordinates[run.order[0]].size)
    for name, value in fixed.items():
        span = np.ptp(run.coordinates[name]) or 1.0
        away = np.maximum(away, np.abs(run.coordinates[name] - value) / span)
    keep = np.flatnonzero(away <= 1e-6)
    width = {}
    if keep.size < min(30, away.size):
        keep = np.sort(np.argsort(away, kind="stable")[: max(BAND_POINTS, away.size // 20)])
        width = {n: float(np.abs(run.coordinates[n][keep] - v).max()) for n, v in fixed.items()}
    if keep.size > MOST_TRIANGULATED:
        keep = np.sort(np.random.default_rng(0).choice(keep, MOST_TRIANGULATED, replace=False))
    if len(shown) == 1:
        keep = keep[np.argsort(run.coordinates[shown[0]][keep], kind="stable")]
    take = lambda arrays: {u: a[keep] for u, a in arrays.items()}
    return dict(
        axes=tuple(run.coordinates[n][keep] for n in shown),
        prediction=take(run.prediction),
        reference=take(run.reference),
        scattered=len(shown) == 2,
        fixed=fixed,
        width=width,
    )


def _mesh_cut(run: RunData, shown: tuple[str, ...], fixed: dict[str, float]) -> dict | None:
    """The mesh that the points are nodes of, or its cut by a plane; None where it has no cells of that kind."""
    if len(run.order) == 2:
        triangles = plane_triangles(run.cells)
        if triangles is None:
            return None
        return dict(axes=tuple(run.coordinates[n] for n in shown), prediction=dict(run.prediction),
                    reference=dict(run.reference), scattered=True, fixed=fixed, width={}, mesh=triangles)
    if len(run.order) != 3:
        return None
    ((held, value),) = fixed.items()
    X = np.stack([run.coordinates[n] for n in run.order], axis=1)
    found = slice_of(X, run.cells, run.order.index(held), value)
    if found is None:
        return None
    pairs, share, triangles = found
    take = lambda a: (1 - share) * a[pairs[:, 0]] + share * a[pairs[:, 1]]
    return dict(axes=tuple(take(run.coordinates[n]) for n in shown),
                prediction={u: take(a) for u, a in run.prediction.items()},
                reference={u: take(a) for u, a in run.reference.items()},
                scattered=True, fixed=fixed, width={}, mesh=triangles)


def delaunay(x: np.ndarray, y: np.ndarray, isotropic: bool = True) -> np.ndarray | None:
    """Delaunay triangles (T, 3) of points (N,), without those that bridge a hole or a notch.

    A triangle across a hole has a circumcircle as large as the hole. It is left out when its
    circumradius exceeds `LARGE_CIRCLE` times the spacing of points at each corner, so that
    meshes that are fine in one place and coarse in another keep their coarse triangles.

    Returns:
        Corner indices (T, 3); None when the points lie on a line or are fewer than three.
    """
    scale = (1.0, 1.0) if isotropic else (np.ptp(x) or 1.0, np.ptp(y) or 1.0)
    place = np.stack([x / scale[0], y / scale[1]], axis=1)  # (N, 2)
    try:
        mesh = Triangulation(place[:, 0], place[:, 1])
    except (RuntimeError, ValueError):
        return None
    edges = mesh.edges
    length = np.linalg.norm(place[edges[:, 0]] - place[edges[:, 1]], axis=1)
    spacing = _spacing(edges, length, len(place))
    a, b, c = (place[mesh.triangles[:, k]] for k in range(3))
    sides = [np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))]
    twice_area = np.abs(np.linalg.det(np.stack([b - a, c - a], axis=1)))
    # R = abc / 4A; a triangle without area has an infinite circle and goes.
    radius = np.prod(sides, axis=0) / np.maximum(2.0 * twice_area, 1e-300)
    keep = radius <= LARGE_CIRCLE * spacing[mesh.triangles].max(axis=1)
    return mesh.triangles[keep] if keep.any() else None


def _spacing(edges: np.ndarray, length: np.ndarray, count: int) -> np.ndarray:
    """Third shortest (N,) of the edges (M, 2) that meet at each vertex.

    On the rim of a hole half of the edges cross it, so a median is too long; in a boundary
    layer the two shortest only measure the thin direction.
    """
    vertex = np.concatenate([edges[:, 0], edges[:, 1]])
    both = np.concatenate([length, length])
    order = np.lexsort((both, vertex))
    degree = np.bincount(vertex, minlength=count)
    first = np.concatenate([[0], np.cumsum(degree)[:-1]])
    spacing = np.zeros(count)
    used = degree > 0
    spacing[used] = both[order][first[used] + np.minimum(degree[used] - 1, 2)]
    return spacing
