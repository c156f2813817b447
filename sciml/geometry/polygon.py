"""Simple polygons in the plane, convex or not, and their edges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..errors import ProblemError
from ..points import Points
from .domain import Domain, check_names, default_space
from .levels import conjunction, disjunction, trim
from .patch import Drawn
from .region import Region
from .triangulate import Vertex, cross, crossing, ears, hull, signed_area
from .unit import gauss, per_axis

MAX_TABLE = 2**22


class Polygon(Domain):
    """Inside of a closed, simple chain of straight edges.

    Faces are ``"edge1"`` (from the first vertex to the second) to ``"edgeV"``, and
    ``"boundary"``.

    Args:
        vertices: V ≥ 3 points (x, y) in order, either way round; the first may be repeated at
            the end.
        names: The two coordinate names.
        name: What it is called in combinations.

    Raises:
        ProblemError: Fewer than three vertices, coinciding neighbours, zero area, or edges that
            cross.
    """

    def __init__(
        self,
        vertices: Sequence[Sequence[float]],
        names: Sequence[str] = ("x", "y"),
        name: str | None = None,
    ):
        names = check_names(names)
        if len(names) != 2:
            raise ProblemError(f"a Polygon has two coordinates, got {', '.join(names)}")
        P, order = _check_vertices(vertices)
        triangles = torch.tensor(
            [[P[i] for i in corner] for corner in ears(P)], dtype=torch.float64
        )
        areas = [abs(cross(*t)) / 2 for t in triangles.tolist()]
        self._set(
            names=names,
            vertices=P,
            edge_names=order,
            space=default_space(names),
            name=name,
            kind="polygon",
            bounds=tuple((min(c), max(c)) for c in zip(*P, strict=True)),
            triangles=triangles,
            areas=torch.tensor(areas, dtype=torch.float64),
            chart_dim=2,
            chart_measure=signed_area(P),
        )

    def chart(self, U: Tensor) -> Drawn:
        """The first coordinate chooses a triangle by area; √ of its rest keeps areas there."""
        share = (self.areas / self.areas.sum()).to(U)
        ends = share.cumsum(0)
        which = torch.searchsorted(ends, U[:, 0].contiguous(), right=True).clamp(
            max=len(share) - 1
        )
        u = ((U[:, 0] - ends[which]) / share[which] + 1).clamp(0, 1).sqrt()[:, None]
        a, b, c = self.triangles.to(U)[which].unbind(1)
        return Drawn(a + u * (b - a) + u * U[:, 1:] * (c - b))

    def distance(self, X: Tensor) -> Tensor:
        rows = max(1, MAX_TABLE // len(self.vertices))
        return (
            torch.cat([self._distance(part) for part in X.split(rows)]) if len(X) else X[:, 0]
        )

    def _distance(self, X: Tensor) -> Tensor:
        """Distance to the nearest edge, negative where a ray crosses an odd number of them."""
        A = X.new_tensor(self.vertices)
        B = A.roll(-1, 0)
        d, p = B - A, X[:, None] - A
        s = ((p * d).sum(2) / (d * d).sum(1)).clamp(0, 1)
        nearest = (p - s[:, :, None] * d).norm(dim=2).amin(1)
        y = X[:, 1:]
        straddles = (A[:, 1] > y) != (B[:, 1] > y)
        at = A[:, 0] + (y - A[:, 1]) / torch.where(d[:, 1] == 0, 1.0, d[:, 1]) * d[:, 0]
        odd = (straddles & (X[:, :1] < at)).sum(1) % 2 == 1
        return torch.where(odd, -nearest, nearest)

    def level(self, coords: Mapping):
        """R-function of the edges' half-planes: ∧ along the hull, ∨ in its pockets, and so on.

        Source: Dobkin, Guibas, Hershberger and Snoeyink (1993), Algorithmica 10, 1–23.
        """
        V = len(self.vertices)
        # Straight angles would end up in pockets without area; their half-planes say nothing
        # new.
        corners = [
            i
            for i in range(V)
            if abs(cross(self.vertices[i - 1], self.vertices[i], self.vertices[(i + 1) % V]))
            > 1e-12 * self.size**2
        ]
        start = next(k for k, i in enumerate(corners) if i in hull(self.vertices, corners))
        chain = corners[start:] + corners[: start + 1]
        return self._chain_level(chain, coords, conjunction, disjunction)

    def _chain_level(self, chain: list[int], coords: Mapping, combine, dual):
        """Positive to the left of the chain of vertices."""
        x, y = (coords[name] for name in self.names)
        if len(chain) == 2:
            return _half_plane(self.vertices[chain[0]], self.vertices[chain[1]], x, y)
        on_hull = hull(self.vertices, chain)
        stops = [k for k, i in enumerate(chain) if i in on_hull]
        parts = [chain[a : b + 1] for a, b in zip(stops[:-1], stops[1:], strict=True)]
        return combine(
            [self._chain_level(part, coords, dual, combine) for part in parts], self.size
        )

    @property
    def gaussian(self):
        return True

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Collapsed Gauss–Legendre rule with k² points on every one of T triangles, T k² ≤ n unless k is 1."""
        u, w = gauss(per_axis(n // len(self.areas), 2))
        u, v = torch.cartesian_prod(u, u).unbind(1)
        W = torch.cartesian_prod(w, w).prod(1) * 2 * u
        a, b, c = self.triangles[:, None].unbind(2)
        X = a + u[:, None] * (b - a) + (u * v)[:, None] * (c - b)
        weights = self.areas[:, None] * W / W.sum()
        return Points(X.reshape(-1, 2), self.names, weights.reshape(-1)).to(
            dtype=dtype, device=device
        )

    def _make_pieces(self) -> dict[str, Region]:
        edges = sorted((number, i) for i, number in enumerate(self.edge_names))
        return {f"edge{number}": Edge(self, i, f"edge{number}") for number, i in edges}


class Edge(Region):
    """Straight edge of a polygon.

    Args:
        polygon: The polygon.
        position: Position of the vertex it starts from, counter-clockwise.
        label: Its name.
        outside: The edge as seen from outside.
        trimmed: Whether the level vanishes on the edge only and not on its whole line.
    """

    affine = True

    def __init__(
        self,
        polygon: Polygon,
        position: int,
        label: str,
        outside: bool = False,
        trimmed: bool = False,
    ):
        V = polygon.vertices
        a, b = V[position], V[(position + 1) % len(V)]
        self._set(
            polygon=polygon,
            position=position,
            label=label,
            outside=outside,
            trimmed=trimmed,
            a=a,
            b=b,
            names=polygon.names,
            space=polygon.space,
            across=polygon.names,
            chart_dim=1,
            chart_measure=math.dist(a, b),
        )

    def chart(self, U: Tensor) -> Drawn:
        a, b = U.new_tensor([self.a, self.b])
        X = a + U * (b - a)
        return Drawn(X, self.normal(X))

    def contains(self, X: Tensor) -> Tensor:
        a, b = X.new_tensor([self.a, self.b])
        s = ((X - a) @ (b - a) / (b - a).square().sum()).clamp(0, 1)
        return (X - a - s[:, None] * (b - a)).norm(dim=1) <= self.polygon.tolerance(X.dtype)

    def normal(self, X: Tensor) -> Tensor:
        (ax, ay), (bx, by), sign = self.a, self.b, -1.0 if self.outside else 1.0
        n = X.new_tensor([by - ay, ax - bx]) * (sign / self.chart_measure)
        return n.expand_as(X).clone()

    def level(self, coords: Mapping):
        """Distance to the edge's line, trimmed if the line meets the polygon again."""
        x, y = (coords[name] for name in self.names)
        f = _half_plane(self.a, self.b, x, y)
        f = -f if self.outside else f
        if self._dome is None:
            return f
        return trim(f, self._rim(x, y) + self._dome * f, self.polygon.size)

    def flipped(self) -> Region:
        return Edge(self.polygon, self.position, self.label, not self.outside, self.trimmed)

    def tight(self) -> Region:
        return Edge(self.polygon, self.position, self.label, self.outside, trimmed=True)

    def _rim(self, x, y):
        """(L²/4 − s²) / L with s along the edge from its middle: zero at its ends."""
        (ax, ay), (bx, by), L = self.a, self.b, self.chart_measure
        s = ((x - (ax + bx) / 2) * (bx - ax) + (y - (ay + by) / 2) * (by - ay)) / L
        return (L * L / 4 - s * s) / L

    @cached_property
    def _dome(self) -> float | None:
        """Slope κ of the dome {f < 0, rim + κ f > 0} behind the edge; None: not needed.

        The other edges must pass the dome by: κ is twice the largest rim / −f along them.
        """
        A = torch.tensor(self.polygon.vertices, dtype=torch.float64)
        others = torch.arange(len(A)) != self.position
        u = torch.linspace(0, 1, 129, dtype=torch.float64)[:, None, None]
        X = (A + u * (A.roll(-1, 0) - A))[:, others].reshape(-1, 2)
        side = -1.0 if self.outside else 1.0
        tol = 1e-9 * self.polygon.size
        f = side * _half_plane(self.a, self.b, X[:, 0], X[:, 1])
        rim = self._rim(X[:, 0], X[:, 1])
        # Vertices on the line count: a second edge on it must not see this one's level vanish.
        behind = (f <= tol) & (rim < -tol)
        if not (self.outside or self.trimmed or behind.any() or (f < -tol).any()):
            return None
        ratio = (rim / -f)[f < -tol]
        return 2 * max(
            [1.0, *ratio.max(0, keepdim=True).values.tolist()] if len(ratio) else [1.0]
        )


def _half_plane(a: Vertex, b: Vertex, x, y):
    """Signed distance to the line through a and b, positive to its left."""
    L = math.dist(a, b)
    return (x - a[0]) * ((a[1] - b[1]) / L) + (y - a[1]) * ((b[0] - a[0]) / L)


def _check_vertices(vertices) -> tuple[tuple[Vertex, ...], tuple[int, ...]]:
    """Counter-clockwise vertices, and the user's number of the edge that starts at each."""
    try:
        P = [(float(x), float(y)) for x, y in vertices]
    except (TypeError, ValueError):
        raise ProblemError(
            "a Polygon takes its vertices as pairs of numbers, [(x, y), …]"
        ) from None
    if len(P) > 1 and P[0] == P[-1]:
        P.pop()
    V = len(P)
    if V < 3:
        raise ProblemError(f"a Polygon needs at least 3 vertices, got {V}")
    if not all(math.isfinite(v) for p in P for v in p):
        raise ProblemError("a vertex of the Polygon is not finite; give finite coordinates")
    for i in range(V):
        if P[i] == P[(i + 1) % V]:
            raise ProblemError(
                f"vertices {i + 1} and {(i + 1) % V + 1} of the Polygon coincide; drop one"
            )
    numbers = list(range(1, V + 1))
    size = max(max(c) - min(c) for c in zip(*P, strict=True))
    pair = crossing(P)
    # A bow tie has no net area either; that its edges cross is the more useful thing to say.
    if abs(signed_area(P)) <= 1e-14 * size**2 and (pair is None or _flat(P, size)):
        raise ProblemError("the Polygon has zero area: its vertices lie on a line")
    if pair is not None:
        raise ProblemError(
            f"edges {pair[0] + 1} and {pair[1] + 1} of the Polygon meet; it must not intersect "
            "itself: order the vertices along its outline"
        )
    if signed_area(P) < 0:
        # Edge i runs from vertex i to i + 1; backwards it starts at vertex i + 1.
        P, numbers = P[::-1], numbers[-2::-1] + numbers[-1:]
    return tuple(P), tuple(numbers)


def _flat(P: list[Vertex], size: float) -> bool:
    """Whether all vertices lie on one line."""
    far = max(P, key=lambda p: math.dist(p, P[0]))
    return all(abs(cross(P[0], far, p)) <= 1e-14 * size**2 for p in P)
