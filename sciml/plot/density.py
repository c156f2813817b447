"""How densely points lie, relative to evenly spread ones."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from sciml.plot.run import Arrays, RunData

CELLS = 96
LEAST_POINTS = 200
SPARSEST = -4.0  # in powers of two: where no point lies the logarithm has no end
# Half of Scott's rule for uniform points, σ N^(−1/6) with σ = 1/√12: of 1,000 even points the
# density is one with a standard deviation of 0.2.
BANDWIDTH = 0.5 * 12**-0.5


def relative_density(x: np.ndarray, y: np.ndarray, extent, inside: np.ndarray) -> np.ndarray:
    """Density of N points over that of evenly spread ones, by a Gaussian kernel.

        d = (K ∗ points) / (K ∗ inside) · |inside| / N,   K of width ½ 12^(−½) N^(−1/6) of a side

    The division makes up for the share of the kernel that lies outside, so that evenly spread
    points have density one up to the boundary.

    Args:
        x, y: Columns (N,).
        extent: Least and largest value of each coordinate.
        inside: Whether a cell lies in the domain, shape (vertical, horizontal).

    Returns:
        Densities by cell, the shape of `inside`; NaN outside.
    """
    hits = np.histogram2d(y, x, bins=inside.shape, range=(extent[1], extent[0]))[0]
    width = [BANDWIDTH * x.size ** (-1 / 6) * cells for cells in inside.shape]
    blur = lambda a: gaussian_filter(np.asarray(a, dtype=float), width, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        density = blur(hits) / blur(inside) * (inside.sum() / x.size)
    return np.where(inside, density, np.nan)


def octaves(density: np.ndarray) -> np.ndarray:
    """log₂ of densities, not below `SPARSEST`; NaN stays NaN."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log2(density), SPARSEST)


def cell_centers(extent, cells: int = CELLS) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the cells along each of two coordinates."""
    a, b = (low + (high - low) * (np.arange(cells) + 0.5) / cells for low, high in extent)
    return a, b


def inside_of(run: RunData, names: tuple[str, ...], extent, cells: int = CELLS) -> np.ndarray:
    """Which cells of a plane lie in the domain, that is, near a place with a prediction; shape
    (cells, cells), vertical first."""
    finite = np.isfinite(next(iter(run.prediction.values())))
    if not finite.any():
        return np.ones((cells, cells), dtype=bool)
    centers = cell_centers(extent, cells)
    if run.layout == "grid":
        others = tuple(i for i, n in enumerate(run.order) if n not in names)
        plane = np.asarray(finite.any(axis=others))
        if run.order.index(names[0]) < run.order.index(names[1]):
            plane = plane.T
        near = [
            np.abs(run.coordinates[n][:, None] - c).argmin(0)
            for n, c in zip(names, centers, strict=True)
        ]
        return plane[np.ix_(near[1], near[0])]
    places = _unit({n: run.coordinates[n][finite] for n in names}, names, extent)
    places = np.unique(np.round(places, 6), axis=0)
    mesh = np.meshgrid(*(((np.arange(cells) + 0.5) / cells),) * 2)
    distance, _ = cKDTree(places).query(np.stack([m.ravel() for m in mesh], axis=1))
    # Of random points none is nearer than this to one place in a thousand, exp(−π 1.5²).
    return (distance < 1.5 * len(places) ** -0.5).reshape(cells, cells)


def _unit(columns: Arrays, names: tuple[str, ...], extent) -> np.ndarray:
    scaled = [(columns[n] - e[0]) / (e[1] - e[0]) for n, e in zip(names, extent, strict=True)]
    return np.stack(scaled, axis=1)
