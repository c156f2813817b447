"""Tetrahedra inside a closed surface: points on it, a lattice inside, Delaunay's tetrahedra, slivers optimised away.

    1. points: corners and sharp edges (given), the rest of the surface, body-centred lattices inside;
    2. surface points repel each other and are brought back; inner points go to the centroids of their patches;
    3. Delaunay's tetrahedra; those outside and the flat ones along the surface are left out;
    4. with the cells fixed, all free points move to lower Σ (shape)³, which has a pole at flat cells.

Source: Persson and Strang (2004), doi:10.1137/S0036144503429121, for points in balance; Knupp (2001),
doi:10.1137/S1064827500371499, for the shape of a cell; Escobar et al. (2003), doi:10.1016/S0045-7825(03)00299-8, for
the volume that stays positive where cells are inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial import Delaunay, cKDTree
from torch import Tensor

from ..errors import ProblemError
from .complex import Cells, Complex
from .kinds import KINDS
from .levels import gradient
from .outline import Array, Size, evaluated
from .quality import angles, volume_of

ROUNDS = 12
ENOUGH = 12.0
"""Degrees between faces with which the search for better cells ends."""
MAX_POINTS = 2_000_000


class Surface(NamedTuple):
    """What a body is bounded by.

    Args:
        fixed: Points at corners and along sharp edges, which stay, shape (K, 3).
        free: Other points on the surface, shape (F, 3).
        back: Brings free points, by their numbers (F',) and positions (F', 3), back to the surface.
        sharp: Pairs of fixed points that are next to each other along a sharp edge, shape (S, 2).
        fits: Which triangles with corners (F, 3, 3) on the surface follow it, shape (F,).
    """

    fixed: Array
    free: Array
    back: Callable[[Array, Array], Array]
    sharp: Array
    fits: Callable[[Array], Array]


def tetrahedra(distance: Callable[[Tensor], Tensor], surface: Surface, size: Size, seed: int = 0
               ) -> tuple[Array, Array]:
    """Nodes (V, 3), those of the surface first, and tetrahedra (E, 4) with positive volumes.

    Args:
        distance: Function of points (N, 3): negative inside, near the surface about the distance.
        surface: Points on it, at distances of about the size.
        size: Length h of edges, or a function of points (N, 3).
        seed: Of the small offsets that break ties.

    Raises:
        ProblemError: The surface is not closed at this size, or flat cells remain.
    """
    rng = np.random.default_rng(seed)

    def h(X: Array) -> Array:
        return evaluated(size, X)

    def d(X: Array) -> Array:
        return distance(torch.from_numpy(X)).numpy()

    K, free = len(surface.fixed), surface.free
    for _ in range(30):
        free = surface.back(np.arange(len(free)), _repelled(np.concatenate([surface.fixed, free]), K, h))
    outer = np.concatenate([surface.fixed, free])
    inner = _lattice(outer, h, d, rng)
    best: tuple[float, Array, Array] = -1.0, outer, np.zeros((0, 4), int)
    depth = np.full(len(inner), 0.5)
    for round_ in range(ROUNDS):
        outer, inner = _kept_off(surface, outer, _sunk(inner, distance, h, depth))
        X = np.concatenate([outer, inner])
        T = carved(X, len(outer), K, d, h)
        if round_ < 2:
            inner = _centred(X, T, h, len(outer))
            continue
        Y = optimised(X, T, K, len(outer), surface.back)
        angle = angles(torch.from_numpy(Y[T])).amin(1).rad2deg().numpy()
        if angle.min() > best[0] and follows(Y, T, surface):
            best = float(angle.min()), Y, T
        if best[0] > ENOUGH:
            break
        astray = T[np.isin(T, _bare(T, len(X))[~surface.fits(Y[_bare(T, len(X))])]).sum(1) >= 3]
        depth[astray[astray >= len(outer)] - len(outer)] += 0.1      # they reach through the surface: deeper with them
        shake = np.zeros(len(X))
        shake[T[angle < 15]] = 0.05
        Y = Y + shake[:, None] * h(Y)[:, None] * rng.standard_normal(Y.shape)
        inner = Y[len(outer):]
        outer = np.concatenate([surface.fixed, surface.back(np.arange(len(free)), Y[K:len(outer)])])
    if best[0] <= 0.5:
        raise ProblemError("the surface cannot be filled with tetrahedra of this size: something of it is thinner or "
                           "sharper than they are; take smaller cells")
    return _compact(best[1], best[2], len(outer))


def _sunk(inner: Array, distance: Callable[[Tensor], Tensor], h: Callable[[Array], Array], depth: Array
          ) -> Array:
    """Inner points brought to a depth of at least some share of h, so that faces on the surface are Delaunay's."""
    X = torch.from_numpy(inner)
    for _ in range(2):
        excess = (distance(X) + torch.from_numpy(depth * h(X.numpy()))).clamp(min=0)
        rows = (excess > 0).nonzero()[:, 0]
        if not len(rows):
            break
        g = gradient(distance, X[rows], 1e-6 * float(X.max() - X.min()))
        X = X.clone()
        X[rows] -= excess[rows, None] * g / g.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return X.numpy()


def _kept_off(surface: Surface, outer: Array, inner: Array) -> tuple[Array, Array]:
    """Free points pushed out of the balls around the segments of sharp edges, which then are Delaunay's edges."""
    if not len(surface.sharp):
        return outer, inner
    K, n = len(surface.fixed), len(outer)
    X = np.concatenate([outer, inner])
    for _ in range(3):
        ends = surface.fixed[surface.sharp]
        middle, radius = ends.mean(1), 0.51 * np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        d, i = cKDTree(middle).query(X[K:], min(4, len(middle)))
        d, i = d.reshape(len(X) - K, -1), i.reshape(len(X) - K, -1)
        depth = radius[i] - d
        worst = depth.argmax(1)
        rows = np.flatnonzero(depth.max(1) > 0)
        if not len(rows):
            break
        k = i[rows, worst[rows]]
        away = X[K + rows] - middle[k]
        X[K + rows] = middle[k] + away * (1.05 * radius[k] / np.maximum(d[rows, worst[rows]], 1e-12))[:, None]
        X[K:n] = surface.back(np.arange(n - K), X[K:n])
    return X[:n], X[n:]


def follows(X: Array, T: Array, surface: Surface) -> bool:
    """Whether the boundary of tetrahedra is closed, follows the surface, and has the sharp edges among its edges."""
    if not len(T):
        return False
    F = _bare(T, len(X))
    E = np.sort(F[:, [[0, 1], [0, 2], [1, 2]]].reshape(-1, 2), 1)
    keys, count = np.unique(E[:, 0] * len(X) + E[:, 1], return_counts=True)
    sharp = np.sort(surface.sharp, 1)
    edges = np.isin(sharp[:, 0] * len(X) + sharp[:, 1], keys).all()
    return bool((count == 2).all() and edges and surface.fits(X[F]).all())


def _bare(T: Array, count: int) -> Array:
    """Faces that belong to one tetrahedron, shape (F, 3), sorted by node."""
    F = np.sort(T[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]].reshape(-1, 3), 1)
    _, first, times = np.unique(_row_keys(F, count), return_index=True, return_counts=True)
    return F[first[times == 1]]


def _repelled(X: Array, K: int, h: Callable[[Array], Array]) -> Array:
    """Free surface points after a step of repulsion between neighbours that are nearer than 1.1 h."""
    size = h(X)
    pairs = cKDTree(X).query_pairs(1.3 * size.max(), output_type="ndarray")
    delta = X[pairs[:, 0]] - X[pairs[:, 1]]
    L = np.maximum(np.linalg.norm(delta, axis=1), 1e-12 * size.max())
    wish = 1.1 * (size[pairs[:, 0]] + size[pairs[:, 1]]) / 2
    force = (np.maximum(wish - L, 0) / L)[:, None] * delta * 0.15
    move = np.zeros_like(X)
    np.add.at(move, pairs[:, 0], force)
    np.add.at(move, pairs[:, 1], -force)
    return (X + move)[K:]


def _lattice(outer: Array, h, d, rng: np.random.Generator) -> Array:
    """Points of body-centred cubic lattices, spaced in steps of √2 by the size, not too near to the surface."""
    low, high = outer.min(0), outer.max(0)
    sizes = np.concatenate([h(outer), h(low + (high - low) * np.indices((17, 17, 17)).reshape(3, -1).T / 16)])
    spacing, found = sizes.max(), []
    while spacing > sizes.min() / 2**0.25:
        a = 1.07 * spacing
        counts = np.ceil((high - low) / a).astype(int) + 1
        if 2 * counts.prod() > MAX_POINTS:
            raise ProblemError(f"cells of size {sizes.min():.3g} in a body of size {max(high - low):.3g} need more "
                               f"than {MAX_POINTS} points to start from; grade the size or take larger cells")
        corner = np.indices(counts).reshape(3, -1).T * a
        X = low + np.concatenate([corner, corner + a / 2]) + 0.13 * a
        X += 1e-3 * a * rng.standard_normal(X.shape)
        X = X[d(X) < -0.4 * spacing / 2**0.25]
        ratio = h(X) / spacing
        found.append(X[((ratio > 2**-0.25) | (spacing / 2**0.5 <= sizes.min() / 2**0.25))
                       & ((ratio <= 2**0.25) | (spacing == sizes.max()))])
        spacing /= 2**0.5
    X = np.concatenate(found)
    size = h(X)
    keep = (d(X) < -0.5 * size) & (cKDTree(outer).query(X)[0] > 0.6 * size)
    return thinned(X[keep], 0.7 * size[keep])


def thinned(X: Array, radius: Array) -> Array:
    """A largest set of points no two of which are nearer than the lesser radius; earlier points come first."""
    return X[chosen(X, radius)]


def chosen(X: Array, radius: Array) -> Array:
    """Mask of such a set, as found point after point, in rounds: a point is in if all nearer ones before it are out."""
    if not len(X):
        return np.zeros(0, bool)
    pairs = cKDTree(X).query_pairs(radius.max(), output_type="ndarray")
    i, j = pairs.T
    near = np.linalg.norm(X[i] - X[j], axis=1) < np.minimum(radius[i], radius[j])
    first, later = np.sort(pairs[near], 1).T
    state = np.zeros(len(X), int)                             # 0 open, 1 in, −1 out
    while (state == 0).any():
        waits = np.zeros(len(X), bool)
        waits[later[(state[first] == 0) & (state[later] == 0)]] = True
        new = (state == 0) & ~waits
        state[new] = 1
        state[later[state[first] == 1]] = -1
        state[new] = 1
    return state == 1


def _centred(X: Array, T: Array, h, n: int) -> Array:
    """Inner points at the centroids of their patches, weighted by 1/h⁴."""
    c = X[T].mean(1)
    weight = np.abs(volume_of(torch.from_numpy(X[T])).numpy()) / h(c) ** 4
    total = np.bincount(T.reshape(-1), weight.repeat(4), len(X))
    new = np.stack([np.bincount(T.reshape(-1), (weight * c[:, i]).repeat(4), len(X)) for i in range(3)], 1)
    return np.where(total[:, None] > 0, new / np.maximum(total, 1e-300)[:, None], X)[n:]


def carved(X: Array, n: int, K: int, d, h) -> Array:
    """Delaunay's tetrahedra inside, without the flat ones along the surface.

    Inside are those with a node inside, and those with surface nodes only whose centroid is. A flat one with two faces
    on the surface is left out, which flips the edge between these, unless that is sharp.
    """
    T = Delaunay(X).simplices.astype(np.int64)
    volume = volume_of(torch.from_numpy(X[T])).numpy()
    T[volume < 0] = T[volume < 0][:, [0, 2, 1, 3]]
    volume = np.abs(volume)
    c = X[T].mean(1)
    size = h(c)
    all_outer = (T < n).all(1)
    T = T[(~all_outer | (d(c) < -0.02 * size)) & (volume > 1e-6 * size**3)]
    for _ in range(6):
        flat = (T < n).all(1) & (angles(torch.from_numpy(X[T])).amin(1).numpy() < np.radians(12))
        if not flat.any():
            break
        F = np.sort(T[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]].reshape(-1, 3), 1)
        _, at, count = np.unique(_row_keys(F, len(X)), return_inverse=True, return_counts=True)
        bare = (count[at] == 1).reshape(-1, 4)
        two = bare.sum(1) == 2
        # The edge between two bare faces joins the two corners that are opposite to neither of them.
        between = np.zeros((len(T), 2), np.int64)
        between[two] = T[two][~bare[two]].reshape(-1, 2)
        drop = flat & two & ~(between < K).all(1)
        if not drop.any():
            break
        T = T[~drop]
    return T


def _row_keys(F: Array, count: int) -> Array:
    return (F[:, 0] * count + F[:, 1]) * count + F[:, 2]


def optimised(X: Array, T: Array, K: int, n: int, back: Callable[[Array, Array], Array]) -> Array:
    """Free nodes moved to lower Σ s³ with the cells fixed, surface nodes along their tangents and then brought back.

        s = Σ l² / (12 · 3^{-1/3} V^{2/3}) ≥ 1,   V ← (V + √(V² + δ²)) / 2
    """
    Y = X.copy()
    cells = torch.from_numpy(T)
    for delta in (1e-2, 1e-3, 1e-4):
        origin = torch.from_numpy(Y)
        normals = torch.from_numpy(_normals(Y[K:n], back))

        def place(v: Tensor, origin: Tensor = origin, normals: Tensor = normals) -> Tensor:
            u = v[:n - K] - (v[:n - K] * normals).sum(1, keepdim=True) * normals
            return origin + torch.cat([torch.zeros(K, 3, dtype=v.dtype), u, v[n - K:]])

        L = float((origin[cells[:, 0]] - origin[cells[:, 1]]).norm(dim=1).mean())

        def energy(v: Array, place=place, delta: float = delta, L: float = L) -> tuple[float, Array]:
            with torch.enable_grad():
                t = torch.from_numpy(v * L).view(-1, 3).requires_grad_()
                value = shape_energy(place(t)[cells], delta)
                (g,) = torch.autograd.grad(value, t)
            return float(value.detach()), (g * L).reshape(-1).numpy()

        size = 3 * (len(X) - K)
        found = minimize(energy, np.zeros(size), jac=True, method="L-BFGS-B",
                         options={"maxiter": 60, "maxcor": 8}).x
        Y = place(torch.from_numpy(found * L).view(-1, 3)).numpy().copy()
        Y[K:n] = back(np.arange(n - K), Y[K:n])
    return Y


def shape_energy(P: Tensor, delta: float) -> Tensor:
    """Σ s³ over tetrahedra with corners P (E, 4, 3); δ in units of each cell's own regular volume."""
    edges = torch.stack([P[:, i] - P[:, j] for i in range(4) for j in range(i)], 1)
    square = edges.square().sum((1, 2))
    ideal = (square / 6) ** 1.5 / 72**0.5                     # the regular tetrahedron of the same mean square edge
    v = volume_of(P) / ideal
    soft = (v + (v * v + delta**2).sqrt()) / 2
    return (soft ** -2.0).sum()


def _normals(X: Array, back: Callable[[Array, Array], Array]) -> Array:
    """Unit normals of the surface at points on it, from where points off it are brought back to."""
    scale = 1e-4 * float(np.ptp(X, axis=0).max()) if len(X) else 1.0
    M = np.zeros((len(X), 3, 3))
    for i, e in enumerate(np.eye(3)):
        M[:, i] = e - (back(np.arange(len(X)), X + scale * e) - X) / scale      # I − projection = n nᵀ
    _, vectors = np.linalg.eigh((M + M.transpose(0, 2, 1)) / 2)
    return vectors[:, :, 2]


def _compact(X: Array, T: Array, n: int) -> tuple[Array, Array]:
    """Without nodes that no cell uses."""
    used = np.zeros(len(X), bool)
    used[T] = True
    if not used[:n].all():
        raise ProblemError(f"{int((~used[:n]).sum())} points of the surface are in no tetrahedron: the body is too "
                           "thin there for cells of this size; take smaller ones")
    return X[used], (used.cumsum() - 1)[T]


def complex_of(X: Array, T: Array) -> Complex:
    """Tetrahedra as a complex without groups."""
    return Complex(torch.from_numpy(X), (Cells(KINDS["tetra"], torch.from_numpy(T)),))
