"""Triangles between curves: points in balance under repulsion, Delaunay's triangulation, smoothing.

    1. curves → segments (`divide`);  2. hexagonal lattices by size of cells;  3. Delaunay's triangles, those inside
    found from the sides of segments;  4. repulsion of points along edges that are too short, as in DistMesh, with
    points added and removed where edges are;  5. smoothing by centroids of patches.

The boundary stands from the start, unlike in DistMesh, where it emerges from projections: so no corner is cut, no
triangle pokes through, and interfaces between regions are curves like any others.

Source: Persson and Strang (2004), doi:10.1137/S0036144503429121, for step 4; Du and Gunzburger (2002),
doi:10.1016/S0096-3003(01)00260-0, and Chen (2004, 13th Int. Meshing Roundtable) for step 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree
from torch import Tensor

from ..errors import ProblemError
from .complex import Cells, Complex, identify
from .curved import curved
from .kinds import KINDS
from .outline import GROWTH, Array, Curve, Outline, Size, divide, evaluated

REPULSIONS, SMOOTHINGS = 40, 20
MAX_POINTS = 4_000_000


def between(curves: Sequence[Curve], size: Size, regions: Sequence[str] = (), *, order: int = 1, seed: int = 0
            ) -> Complex:
    """Triangles between curves.

    Args:
        curves: Closed chains, each with its region on the left and on the right (−1: outside).
        size: Length h of edges, or a function of points (N, 2) with values (N,).
        regions: Names of regions 0, 1, …, which become groups of cells if there are any.
        order: 2 gives edges a node in the middle, which lies on the curve where there is one.
        seed: Of the small offsets that break symmetric ties.

    Returns:
        Triangles with a group of facets for every curve's name.

    Raises:
        ProblemError: Curves that do not close, cross, or come too near for cells of this size.
    """
    outline, X, T, region = fill(divide(curves, size), size, seed)
    made = Complex(torch.from_numpy(X), (Cells(KINDS["triangle"], torch.from_numpy(T)),))
    volumes = {name: torch.from_numpy(np.flatnonzero(region == i)) for i, name in enumerate(regions)}
    number = facet_numbers(made, outline.ends)
    owner = outline.names
    surfaces = {c.name: number[torch.from_numpy(owner == c.name)].sort().values for c in outline.curves}
    new = Complex(made.X, made.blocks, volumes, surfaces)
    new.__dict__["facets"] = made.facets
    if order == 1:
        return new
    ends, middles = torch.from_numpy(outline.ends), torch.from_numpy(outline.on_curve)
    return curved(new, ends, middles)


def facet_numbers(complex_: Complex, nodes: Array) -> Tensor:
    """Numbers of the facets with some corners (F, d), in any order; all have to exist."""
    (facets,) = complex_.facets
    order = identify(facets.nodes[:, :facets.kind.corners], len(complex_.X)).sort()
    return order.indices[torch.searchsorted(order.values, identify(torch.from_numpy(nodes), len(complex_.X)))]


def fill(outline: Outline, size: Size, seed: int = 0) -> tuple[Outline, Array, Array, Array]:
    """Triangles that have all segments among their sides.

    Returns:
        The outline (segments may have been halved), nodes (V, 2), of which the first are the outline's, triangles
        (E, 3), anticlockwise, and the region of each, shape (E,).

    Raises:
        ProblemError: The outline does not close or crosses itself, or there would be too many points.
    """
    h = _field(outline, size)
    free = _lattices(outline, h, np.random.default_rng(seed))
    X, T = outline.X, np.zeros((0, 3), int)
    for step in range(REPULSIONS + SMOOTHINGS):
        outline, X, T, region = triangulated(outline, free)
        n = len(outline.X)
        if len(X) == n:
            break
        if step < REPULSIONS:
            free = _repelled(X, T, h, n, change=step % 5 == 4 and step < REPULSIONS - 8)
        else:
            free = _centred(X, T, h, n)
    outline, X, T, region = triangulated(outline, free)
    return outline, X, T, region


def triangulated(outline: Outline, free: Array) -> tuple[Outline, Array, Array, Array]:
    """Delaunay's triangles inside, with all segments; points outside or in the way of a segment are left out."""
    most = 4 * len(outline.ends) + 100
    while len(outline.ends) < most:
        X = np.concatenate([outline.X, free])
        net = Delaunay(X)
        T = _anticlockwise(X, net.simplices)
        keys = _directed(T, len(X))
        forward = _find(keys, outline.ends[:, 0] * len(X) + outline.ends[:, 1])
        backward = _find(keys, outline.ends[:, 1] * len(X) + outline.ends[:, 0])
        missing = (forward < 0) & (backward < 0)
        if not missing.any():
            break
        outline, free = _cleared(outline, free, missing)
    else:
        raise ProblemError(f"the curve {str(outline.names[missing][0])!r} cannot be kept in a triangulation: "
                           "it crosses another or meets it at too sharp an angle; move one of them or take smaller "
                           "cells")
    region = _regions(outline, T, net.neighbors, net.simplices, forward, backward, len(X))
    inside = region >= 0
    T, region = T[inside], region[inside]
    used = np.zeros(len(X), bool)
    used[: len(outline.X)] = True
    used[T] = True
    return outline, X[used], (used.cumsum() - 1)[T], region


def _cleared(outline: Outline, free: Array, missing: Array) -> tuple[Outline, Array]:
    """Without free points in the circles around missing segments; segments with another's end in it are halved."""
    tree = cKDTree(free) if len(free) else None
    middles, radii = outline.middles[missing], outline.lengths[missing] / 2 * 1.001
    hits = tree.query_ball_point(middles, radii) if tree is not None else [[]] * len(middles)
    away = np.unique(np.concatenate([np.array(i, int) for i in hits])) if len(hits) else np.zeros(0, int)
    free = np.delete(free, away, 0)
    alone = np.flatnonzero(missing)[[len(i) == 0 for i in hits]]
    return outline.halved(alone), free


def _regions(outline: Outline, T: Array, neighbours: Array, simplices: Array, forward: Array, backward: Array,
             count: int) -> Array:
    """Region of each triangle: spread from the two sides of segments over sides that are none.

    Raises:
        ProblemError: The two sides of a segment say different things, as on curves that do not close.
    """
    E = len(T)
    pairs = [np.sort(np.stack([simplices[:, (k + 1) % 3], simplices[:, (k + 2) % 3]], 1), 1) for k in range(3)]
    walls = np.sort(outline.ends, 1)
    walls = np.unique(walls[:, 0] * count + walls[:, 1])
    rows, cols = [], []
    for k in range(3):
        key = pairs[k][:, 0] * count + pairs[k][:, 1]
        open_ = (neighbours[:, k] >= 0) & ~np.isin(key, walls)
        rows.append(np.flatnonzero(open_))
        cols.append(neighbours[open_, k])
    r, c = np.concatenate(rows), np.concatenate(cols)
    parts, part = connected_components(coo_array((np.ones(len(r)), (r, c)), shape=(E, E)), directed=False)
    # Triangles without a segment of their part to tell them are outside: nothing separates them from the hull.
    low, high = np.full(parts, 2**31), np.full(parts, -2)
    for found, side in ((forward, outline.left), (backward, outline.right)):
        here = found >= 0
        np.minimum.at(low, part[found[here]], side[here])
        np.maximum.at(high, part[found[here]], side[here])
    wrong = (high >= -1) & (low != high)
    if wrong.any():
        raise ProblemError("the curves of the outline do not separate its regions: they must form closed chains, with "
                           "the region on the left of each; check their directions and that their ends meet")
    return np.where(high < 0, -1, high)[part]


def _field(outline: Outline, size: Size) -> Callable[[Array], Array]:
    """h(x), the size function, limited by what the segments nearby say: min_k l_k + 0.3 |x − m_k|."""
    tree, lengths = cKDTree(outline.middles), outline.lengths
    k = min(8, len(lengths))

    def h(X: Array) -> Array:
        d, i = tree.query(X, k)
        near = (lengths[i] + GROWTH * d).reshape(len(X), k).min(1)
        return np.minimum(evaluated(size, X), near)

    return h


def _lattices(outline: Outline, h: Callable[[Array], Array], rng: np.random.Generator) -> Array:
    """Points of hexagonal lattices with spacings in steps of √2, each where h is nearest to its own; not too near
    to the outline or to each other. They may lie outside; triangulation drops those."""
    low, high = outline.X.min(0), outline.X.max(0)
    probe = low + (high - low) * (np.indices((65, 65)).reshape(2, -1).T / 64)
    near = np.concatenate([h(probe), outline.lengths])
    smallest, largest = near.min(), near.max()
    found, spacing = [], largest
    while spacing > smallest / 2**0.25:
        rows = int(np.prod((high - low) / spacing + 2) * 1.16)
        if rows > MAX_POINTS:
            raise ProblemError(f"cells of size {smallest:.3g} in a domain of size {max(high - low):.3g} need more than "
                               f"{MAX_POINTS} points to start from; grade the size or take larger cells")
        ny, nx = (int(np.ceil(v)) + 2 for v in ((high[1] - low[1]) / (spacing * 0.75**0.5),
                                                (high[0] - low[0]) / spacing))
        j, i = np.indices((ny, nx)).reshape(2, -1)
        X = low + np.stack([(i - 0.5 * (j % 2)) * spacing, j * spacing * 0.75**0.5], 1)
        X += spacing * 1e-3 * rng.standard_normal(X.shape)
        ratio = h(X) / spacing
        last = spacing / 2**0.5 <= smallest / 2**0.25
        found.append(X[(ratio > 2**-0.25 if not last else ratio > 0) & ((ratio <= 2**0.25) | (spacing == largest))])
        spacing /= 2**0.5
    X = np.concatenate(found)
    size = h(X)
    X, size = (a[cKDTree(outline.X).query(X)[0] > 0.6 * size] for a in (X, size))
    return _thinned(X, 0.65 * size)


def _thinned(X: Array, radius: Array) -> Array:
    """Points left after dropping the later of any two that are nearer than the radius of both."""
    pairs = cKDTree(X).query_pairs(radius.max(initial=0), output_type="ndarray") if len(X) else np.zeros((0, 2), int)
    close = np.linalg.norm(X[pairs[:, 0]] - X[pairs[:, 1]], axis=1) < np.minimum(*radius[pairs].T)
    keep = np.ones(len(X), bool)
    keep[np.maximum(*pairs[close].T)] = False
    return X[keep]


def _repelled(X: Array, T: Array, h: Callable[[Array], Array], n: int, change: bool) -> Array:
    """Free points after a step of repulsion, F = (L₀ − L)₊ along edges, and, on `change`, added and removed."""
    edges = np.sort(T[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    edges = np.stack(np.divmod(np.unique(edges[:, 0] * len(X) + edges[:, 1]), len(X)), 1)
    d = X[edges[:, 0]] - X[edges[:, 1]]
    L = np.linalg.norm(d, axis=1)
    wish = h(X[edges].mean(1))
    natural = 1.2 * wish * (np.square(L).sum() / np.square(wish).sum()) ** 0.5
    force = (np.maximum(natural - L, 0) / L)[:, None] * d
    move = np.zeros_like(X)
    np.add.at(move, edges[:, 0], force)
    np.add.at(move, edges[:, 1], -force)
    new = X + 0.2 * move
    if not change:
        return new[n:]
    drop = np.zeros(len(X), bool)
    drop[np.maximum(*edges[L < 0.65 * wish].T)] = True
    drop[:n] = False
    stretched = L > 1.4 * wish
    extra = X[edges[stretched]].mean(1)
    on_outline = (edges[stretched] < n).all(1)
    return np.concatenate([new[n:][~drop[n:]], extra[~on_outline]])


def _centred(X: Array, T: Array, h: Callable[[Array], Array], n: int) -> Array:
    """Free points at the centroids of their patches, weighted by density 1/h⁴ (which equidistributes h in 2-D)."""
    c = X[T].mean(1)
    weight = np.abs(_areas(X, T)) / h(c) ** 3
    total = np.bincount(T.reshape(-1), weight.repeat(3), len(X))
    new = np.stack([np.bincount(T.reshape(-1), (weight * c[:, i]).repeat(3), len(X)) for i in range(2)], 1)
    return (new / np.maximum(total, 1e-300)[:, None])[n:]


def _areas(X: Array, T: Array) -> Array:
    a, b, c = X[T].transpose(1, 0, 2)
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def _anticlockwise(X: Array, T: Array) -> Array:
    T = T.astype(np.int64)
    return np.where((_areas(X, T) < 0)[:, None], T[:, [0, 2, 1]], T)


def _directed(T: Array, count: int) -> tuple[Array, Array]:
    """Directed sides of triangles as sorted numbers, and the triangle of each."""
    key = (T[:, [0, 1, 2]] * count + T[:, [1, 2, 0]]).reshape(-1)
    order = np.argsort(key)
    return key[order], order // 3


def _find(keys: tuple[Array, Array], wanted: Array) -> Array:
    """Triangle with each directed side, or −1."""
    at = np.searchsorted(keys[0], wanted).clip(max=len(keys[0]) - 1)
    return np.where(keys[0][at] == wanted, keys[1][at], -1)
