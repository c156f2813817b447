"""Bodies: sharp edges and corners of domains in space, points on their faces, and tetrahedra between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra, minimum_spanning_tree
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError
from ..mesh.complex import Complex
from ..mesh.curved import curved
from ..mesh.levels import gradient
from ..mesh.outline import Array, Size, evaluated
from ..mesh.solid import Surface, chosen, complex_of, tetrahedra
from .ball import Sphere
from .box import Face
from .combine import CombinationPiece
from .domain import Domain
from .polygon import Edge
from .product import ProductRegion
from .region import Region
from .unit import fixed_points

MAX_SAMPLES = 200_000
PER_CELL = 24
"""Points on a face for each square of side h, from which a few are chosen."""


class Sheet(NamedTuple):
    """A piece of the boundary: its level f (zero on it, slope about 1) and many points on it, with their spacing."""

    name: str
    piece: Region
    level: Callable[[Tensor], Tensor]
    X: Array
    spacing: float


def body(domain: Domain, size: Size, order: int, seed: int) -> Complex:
    """Tetrahedra of a domain in space; see `mesh_of`."""
    low, high = np.array(domain.bounds).T
    probe = low + (high - low) * np.indices((17, 17, 17)).reshape(3, -1).T / 16
    h0 = evaluated(size, probe).min()
    sheets = [sheet(name, piece, h0) for name, piece in domain.pieces.items()]
    lines = [(p, q, cloud(domain, sheets[p], sheets[q])) for p, q in combinations(range(len(sheets)), 2)]
    lines = [(p, q, X) for p, q, X in lines if len(X)]
    tips = corners(domain, sheets, lines)
    chains = [c for p, q, X in lines
              for c in along(X, tips, [sheets[p].level, sheets[q].level], size, h0, domain.size)]
    K = np.concatenate([tips, *chains])
    K = K[chosen(K, np.full(len(K), 1e-6 * domain.size))]
    sharp = [cKDTree(K).query(c)[1] for c in chains]
    pairs = np.concatenate([np.zeros((0, 2), int), *[np.stack([c[:-1], c[1:]], 1) for c in sharp]])
    free, owner = _on_sheets(sheets, K, size)

    def back(numbers: Array, X: Array) -> Array:
        Y = X.copy()
        for i, s in enumerate(sheets):
            here = owner[numbers] == i
            Y[here] = newton([s.level], X[here], domain.size)
        return Y

    def fits(P: Array) -> Array:
        on = [np.abs(s.level(torch.from_numpy(P.reshape(-1, 3))).numpy()).reshape(-1, 3).max(1) for s in sheets]
        return np.min(on, axis=0) < 1e-7 * domain.size

    X, T = tetrahedra(domain.distance, Surface(K, free, back, pairs, fits), size, seed)
    made = complex_of(X, T)
    return _finished(made, sheets, lines, order, domain.size)


def sheet(name: str, piece: Region, h: float) -> Sheet:
    """A piece with points on it, about five to a length h.

    Raises:
        ProblemError: There would be too few of them for cells of this size.
    """
    n = int(PER_CELL * piece.measure / h**2 * piece.chart_measure / piece.measure) + 2000
    if n > MAX_SAMPLES:
        raise ProblemError(f"cells of size {h:.3g} on {name!r}, of area {piece.measure:.3g}, are too many; take larger "
                           "ones or grade their size")
    X = piece.chart(fixed_points(n, piece.chart_dim)).kept().X.numpy()
    return Sheet(name, piece, level_of(piece), X, (piece.chart_measure / n) ** 0.5)


def level_of(piece: Region) -> Callable[[Tensor], Tensor]:
    """The signed distance to the whole surface that a piece is cut from: a plane, a sphere, …"""
    leaf, names = piece, piece.names
    while isinstance(leaf, (CombinationPiece, ProductRegion)):
        leaf = leaf.piece
    columns = [names.index(name) for name in leaf.names]
    if isinstance(leaf, Face):
        axis, at = columns[leaf.axis], leaf.at
        return lambda X: X[:, axis] - at
    if isinstance(leaf, Sphere):
        c, R = torch.tensor(leaf.ball.center, dtype=torch.float64), leaf.ball.radius
        return lambda X: (X[:, columns] - c).norm(dim=1) - R
    if isinstance(leaf, Edge):
        a, b = torch.tensor([leaf.a, leaf.b], dtype=torch.float64)
        n = torch.stack([b[1] - a[1], a[0] - b[0]]) / (b - a).norm()
        return lambda X: (X[:, columns] - a) @ n
    return lambda X: leaf.level({name: X[:, i] for i, name in enumerate(names)})


def newton(levels: Sequence[Callable[[Tensor], Tensor]], X: Array, scale: float, rounds: int = 10) -> Array:
    """Points brought to where all levels vanish, by steps of least length, x ← x − Gᵀ(G Gᵀ)⁻¹ f."""
    Y = torch.from_numpy(X).clone()
    if not len(Y):
        return X
    for _ in range(rounds):
        f = torch.stack([level(Y) for level in levels], 1)
        if float(f.abs().max()) < 1e-14 * scale:
            break
        G = torch.stack([gradient(level, Y, 1e-6 * scale) for level in levels], 1)
        A = G @ G.mT + 1e-12 * torch.eye(len(levels), dtype=Y.dtype)
        step = (G.mT @ torch.linalg.solve(A, f[:, :, None]))[:, :, 0]
        Y -= step * (0.2 * scale / step.norm(dim=1, keepdim=True).clamp(min=0.2 * scale))
    return Y.numpy()


def cloud(domain: Domain, p: Sheet, q: Sheet) -> Array:
    """Points on the sharp edge between two sheets, close to each other; empty where they do not meet at an angle."""
    reach = 2.5 * max(p.spacing, q.spacing)
    seeds = np.concatenate([a.X[np.abs(b.level(torch.from_numpy(a.X)).numpy()) < reach] for a, b in ((p, q), (q, p))])
    X = _met(domain, [p, q], seeds, reach)
    return X[_beside(p, q, X, domain.size) & _beside(q, p, X, domain.size)]


def _beside(p: Sheet, q: Sheet, X: Array, scale: float) -> Array:
    """Whether p has points next to X on its edge with q, on either side of q: surfaces go on where pieces end."""
    if not len(X):
        return np.zeros(0, bool)
    P = torch.from_numpy(X)
    n, m = (gradient(s.level, P, 1e-6 * scale) for s in (p, q))
    along_ = m - (m * n).sum(1, keepdim=True) / n.square().sum(1, keepdim=True) * n
    shift = (1e-5 * scale * along_ / along_.norm(dim=1, keepdim=True)).numpy()
    sides = [torch.from_numpy(newton([p.level], X + sign * shift, scale)) for sign in (-1, 1)]
    return (p.piece.contains(sides[0]) | p.piece.contains(sides[1])).numpy()


def _met(domain: Domain, sheets: Sequence[Sheet], seeds: Array, reach: float) -> Array:
    """Points of the boundary where all sheets are and meet at an angle, found from seeds nearby."""
    if not len(seeds):
        return seeds
    levels = [s.level for s in sheets]
    X = newton(levels, seeds, domain.size)
    P = torch.from_numpy(X)
    good = np.linalg.norm(X - seeds, axis=1) < 3 * reach
    for s in sheets:
        good &= (s.level(P).abs().numpy() < 1e-10 * domain.size) & (cKDTree(s.X).query(X)[0] < reach)
    G = torch.stack([gradient(level, P, 1e-6 * domain.size) for level in levels], 1)
    good &= (torch.linalg.det(G @ G.mT) > 0.02).numpy() & (domain.distance(P).abs().numpy() < 1e-8 * domain.size)
    return X[good]


def corners(domain: Domain, sheets: Sequence[Sheet], lines) -> Array:
    """Where three sheets meet, shape (K, 3)."""
    found = []
    for p, q, X in lines:
        for r in range(len(sheets)):
            if r in (p, q):
                continue
            reach = 2.5 * max(s.spacing for s in (sheets[p], sheets[q], sheets[r]))
            seeds = X[np.abs(sheets[r].level(torch.from_numpy(X)).numpy()) < reach]
            found.append(_met(domain, [sheets[p], sheets[q], sheets[r]], seeds, reach))
    X = np.concatenate(found) if found else np.zeros((0, 3))
    return X[chosen(X, np.full(len(X), 1e-6 * domain.size))]


def along(X: Array, tips: Array, levels, size: Size, h0: float, scale: float) -> list[Array]:
    """Chains of points at distances of h along a sharp edge, from many of its points and the corners."""
    fine = h0 / 6
    X = X[chosen(X, np.full(len(X), fine))]
    if len(tips):
        X = X[cKDTree(tips).query(X)[0] > fine]
    if not len(X):
        return []
    pairs = cKDTree(X).query_pairs(3.5 * fine, output_type="ndarray")
    L = np.linalg.norm(X[pairs[:, 0]] - X[pairs[:, 1]], axis=1)
    graph = coo_array((L, (pairs[:, 0], pairs[:, 1])), shape=(len(X), len(X)))
    count, part = connected_components(graph, directed=False)
    tree = minimum_spanning_tree(graph)
    found = []
    for k in range(count):
        here = np.flatnonzero(part == k)
        line = X[here[_order(tree.tocsr()[here][:, here])]]
        line = _extended(line, tips, 4 * fine)
        step = np.linalg.norm(np.diff(line, axis=0), axis=1)
        rate = np.concatenate([[0.0], (step / evaluated(size, (line[1:] + line[:-1]) / 2)).cumsum()])
        n = max(1, round(rate[-1]))
        if np.allclose(line[0], line[-1]):
            n = max(n, 8)
        at = np.linspace(0, rate[-1], n + 1)
        Y = np.stack([np.interp(at, rate, line[:, i]) for i in range(3)], 1)
        Y[1:-1] = newton(levels, Y[1:-1], scale)
        found.append(Y)
    return found


def _order(tree) -> Array:
    """Numbers along a tree that is a path up to short twigs: by distance from one end."""
    if tree.shape[0] == 1:
        return np.zeros(1, int)
    start = breadth_first_order(tree, 0, directed=False, return_predecessors=False)[-1]
    far = int(np.argmax(dijkstra(tree, directed=False, indices=start)))
    return np.argsort(dijkstra(tree, directed=False, indices=far))


def _extended(line: Array, tips: Array, reach: float) -> Array:
    """With the corners at its ends, or closed if its ends are near each other and no corner is."""
    ends = []
    for end in (line[0], line[-1]):
        d = np.linalg.norm(tips - end, axis=1) if len(tips) else np.array([np.inf])
        ends.append(tips[[int(d.argmin())]] if d.min() < reach else np.zeros((0, 3)))
    if not len(ends[0]) and not len(ends[1]) and np.linalg.norm(line[0] - line[-1]) < reach:
        ends[1] = line[:1]
    return np.concatenate([ends[0], line, ends[1]])


def _on_sheets(sheets: Sequence[Sheet], K: Array, size: Size) -> tuple[Array, Array]:
    """Points on sheets at distances of about h from each other and from sharp edges, and their sheets."""
    X = np.concatenate([K] + [s.X for s in sheets])
    owner = np.concatenate([np.full(len(K), -1)] + [np.full(len(s.X), i) for i, s in enumerate(sheets)])
    rest = X[len(K):]
    h = evaluated(size, rest)
    far = cKDTree(K).query(rest)[0] > 0.72 * h if len(K) else np.ones(len(rest), bool)
    rest, h, owner = rest[far], h[far], owner[len(K):][far]
    keep = chosen(rest, 0.78 * h)
    return rest[keep], owner[keep]


def _finished(made: Complex, sheets: Sequence[Sheet], lines, order: int, scale: float) -> Complex:
    """With groups of facets by sheet, and middles of boundary edges on the surface for order 2."""
    (facets,) = made.facets
    outer = made.boundary
    nodes = facets.nodes[outer]
    on = torch.stack([s.level(made.X).abs() for s in sheets])                        # (sheets, V)
    middle = made.X[nodes].mean(1).numpy()
    away = np.stack([cKDTree(s.X).query(middle)[0] for s in sheets])
    off = on[:, nodes].amax(2).numpy()
    owner = np.where(off < 1e-7 * scale, away, away + 1e3 * scale + off).argmin(0)
    groups = {s.name: outer[torch.from_numpy(owner == i)] for i, s in enumerate(sheets)}
    new = Complex(made.X, made.blocks, {}, groups)
    new.__dict__["facets"] = made.facets
    if order == 1:
        return new
    ends = torch.cat([nodes[:, [0, 1]], nodes[:, [1, 2]], nodes[:, [2, 0]]])
    own = np.tile(owner, 3)
    middles = made.X[ends].mean(1).numpy()
    for i, s in enumerate(sheets):
        middles[own == i] = newton([s.level], middles[own == i], scale)
    for p, q, _ in lines:
        sharp = (on[[p, q]][:, ends].amax((0, 2)) < 1e-7 * scale).numpy()
        middles[sharp] = newton([sheets[p].level, sheets[q].level], middles[sharp], scale)
    return curved(new, ends, torch.from_numpy(middles))
