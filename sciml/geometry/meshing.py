"""Meshes of domains: the pieces of the boundary become groups, corners and curved edges are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError
from ..mesh.complex import Complex
from ..mesh.generate import between
from ..mesh.outline import Curve, Size, evaluated
from .domain import Domain
from .region import Region

SAMPLES = 4096
STEEPEST = 0.25
"""Growth of graded sizes with distance from where they are prescribed."""
Grade = Mapping[str | tuple[float, ...], float]


def mesh_of(domain: Domain, size: Size, order: int = 1, grade: Grade | None = None, seed: int = 0) -> Complex:
    """Triangles or tetrahedra of a domain, with a group of facets for every piece of its boundary.

        h(x) = min(size(x), min_k h_k + 0.25 |x − k|)

    Args:
        domain: In two or three coordinates of space.
        size: Length h of edges, or a function of points (N, D) with values (N,).
        order: 2 puts the middle nodes of boundary edges on the true boundary.
        grade: Smaller h_k at some places k: regions by name, points by their coordinates.
        seed: Of the small offsets of the first points.

    Raises:
        ProblemError: The domain has time or another number of coordinates, a name is unknown, or it has details that
            cells of this size cannot follow.

    Example:
        >>> mesh_of(Box(x=(0, 1), y=(0, 1)) - Disk((0.5, 0.5), 0.2), 0.1, grade={"disk": 0.02})
    """
    if domain.space != domain.names or len(domain.names) not in (2, 3):
        raise ProblemError(f"{domain!r} cannot be meshed: a mesh needs two or three coordinates, all of them of space; "
                           "give the domain without time")
    if order not in (1, 2):
        raise ProblemError(f"cells of order {order} do not exist here; choose 1 or 2")
    h = graded(domain, size, grade or {})
    if len(domain.names) == 2:
        return between(curves_of(domain), h, order=order, seed=seed)
    from .bodies import body

    return body(domain, h, order, seed)


def graded(domain: Domain, size: Size, grade: Grade) -> Size:
    """The size function that is h_k at some regions or points, and grows away from them.

    Raises:
        ProblemError: A region does not exist, a point has the wrong number of coordinates, or an h_k is not positive.
    """
    D = len(domain.names)
    places: list[tuple[Callable[[Tensor], Tensor], float]] = []
    for key, h in grade.items():
        if not h > 0:
            raise ProblemError(f"the size of cells at {key!r} is {h}, expected a positive length")
        if isinstance(key, str):
            places.append((_from(domain.region(key)), float(h)))
        elif len(key) == D:
            places.append((_from_point(key), float(h)))
        else:
            raise ProblemError(f"sizes are graded to the point {key}, which has {len(key)} coordinates, not {D}")
    if not places:
        return size

    def size_at(X: Tensor) -> Tensor:
        found = torch.from_numpy(evaluated(size, X.numpy()))
        for distance, least in places:
            found = torch.minimum(found, least + STEEPEST * distance(X))
        return found

    return size_at


def _from_point(point: Sequence[float]) -> Callable[[Tensor], Tensor]:
    c = torch.tensor(tuple(point), dtype=torch.float64)
    return lambda X: (X - c).norm(dim=1)


def _from(region: Region) -> Callable[[Tensor], Tensor]:
    """Distance to a region, by many points on it."""
    tree = cKDTree(region.quadrature(SAMPLES).X.numpy())
    return lambda X: torch.from_numpy(tree.query(X.numpy())[0])


def curves_of(domain: Domain) -> list[Curve]:
    """The boundary of a plane domain as curves with the inside on the left, one or several for every piece."""
    spans = [(name, piece, a, b) for name, piece in domain.pieces.items() for a, b in kept_spans(piece)]
    ends = _met(spans, domain.size)
    return [_oriented(name, piece, a, b) for (name, piece, _, _), (a, b) in zip(spans, ends, strict=True)]


def kept_spans(piece: Region) -> list[tuple[float, float]]:
    """Intervals of the unit coordinate of a curve that belong to it; their ends by bisection.

    Parts shorter than 1/4096 of the curve may be missed.
    """
    u = np.concatenate([[1e-12], (np.arange(SAMPLES) + 0.5) / SAMPLES, [1 - 1e-12]])
    keep = _kept(piece, u)
    if keep.all():
        return [(0.0, 1.0)]
    change = np.flatnonzero(keep[1:] != keep[:-1])
    inside = np.where(keep[change], u[change], u[change + 1])
    outside = np.where(keep[change], u[change + 1], u[change])
    for _ in range(50):
        middle = (inside + outside) / 2
        here = _kept(piece, middle)
        inside, outside = np.where(here, middle, inside), np.where(here, outside, middle)
    stops = [0.0] * bool(keep[0]) + inside.tolist() + [1.0] * bool(keep[-1])
    return list(zip(stops[::2], stops[1::2], strict=True))


def _kept(piece: Region, u) -> np.ndarray:
    keep = piece.chart(torch.from_numpy(np.asarray(u, dtype=np.float64))[:, None]).keep
    return np.ones(len(u), bool) if keep is None else keep.numpy()


def _met(spans: Sequence[tuple[str, Region, float, float]], size: float) -> list[list[float]]:
    """Ends of spans moved to where the tangents there meet those of the neighbours: bisection stops at a tolerance."""
    ends = [[a, b] for _, _, a, b in spans]
    tips = [(i, k) for i in range(len(spans)) for k in (0, 1)]
    h = 1e-4

    def at(i: int, u: float) -> np.ndarray:
        return spans[i][1].chart(torch.tensor([[u]], dtype=torch.float64)).X[0].numpy()

    X = np.array([at(i, ends[i][k]) for i, k in tips])
    T = np.array([(at(i, ends[i][k] + h) - at(i, ends[i][k] - h)) / (2 * h) for i, k in tips])
    for p, q in cKDTree(X).query_pairs(1e-6 * size):
        A = np.stack([T[p], -T[q]], 1)
        if abs(np.linalg.det(A)) > 0.01 * np.linalg.norm(T[p]) * np.linalg.norm(T[q]):
            steps = np.linalg.solve(A, X[q] - X[p])
            for (i, k), step in zip((tips[p], tips[q]), steps, strict=True):
                if 0 < ends[i][k] < 1:
                    ends[i][k] += float(step)
    return ends


def _oriented(name: str, piece: Region, a: float, b: float) -> Curve:
    """A span of a piece as a curve with the domain on its left."""
    middle = torch.tensor([[(a + b) / 2], [(a + b) / 2 + 1e-6]], dtype=torch.float64)
    X, n, _ = piece.chart(middle)
    t = X[1] - X[0]
    assert n is not None
    if float(n[0, 0] * t[1] - n[0, 1] * t[0]) < 0:
        a, b = b, a
    return Curve(lambda u: piece.chart((a + u * (b - a))[:, None]).X, name)
