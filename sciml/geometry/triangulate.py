"""Plane polygons as lists of vertices: area, self-intersection, hull and triangles."""

from __future__ import annotations

from collections.abc import Sequence

Vertex = tuple[float, float]


def cross(a: Vertex, b: Vertex, c: Vertex) -> float:
    """Twice the signed area of the triangle a, b, c; positive when it turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def signed_area(vertices: Sequence[Vertex]) -> float:
    """Area by the shoelace formula, positive for counter-clockwise vertices."""
    o = vertices[0]
    return sum(cross(o, a, b) for a, b in zip(vertices[1:], vertices[2:])) / 2  # noqa: B905 one shorter


def crossing(vertices: Sequence[Vertex]) -> tuple[int, int] | None:
    """Positions of two edges that meet away from a shared vertex; None: simple polygon."""
    V = len(vertices)
    edges = [(vertices[i], vertices[(i + 1) % V]) for i in range(V)]
    for i in range(V):
        for j in range(i + 1, V):
            adjacent = j == i + 1 or (i == 0 and j == V - 1)
            if _folds(edges[i], edges[j]) if adjacent else _meet(edges[i], edges[j]):
                return i, j
    return None


def _meet(e: tuple[Vertex, Vertex], f: tuple[Vertex, Vertex]) -> bool:
    """Whether two closed segments share a point."""
    for k in (0, 1):
        if max(e[0][k], e[1][k]) < min(f[0][k], f[1][k]) or max(f[0][k], f[1][k]) < min(
            e[0][k], e[1][k]
        ):
            return False
    return (cross(*e, f[0]) * cross(*e, f[1]) <= 0) and (cross(*f, e[0]) * cross(*f, e[1]) <= 0)


def _folds(e: tuple[Vertex, Vertex], f: tuple[Vertex, Vertex]) -> bool:
    """Whether two edges with a shared vertex lie on top of each other."""
    shared = e[1] if e[1] in f else e[0]
    p = e[0] if shared == e[1] else e[1]
    q = f[0] if shared == f[1] else f[1]
    ahead = (p[0] - shared[0]) * (q[0] - shared[0]) + (p[1] - shared[1]) * (q[1] - shared[1])
    return cross(shared, p, q) == 0 and ahead > 0


def ears(vertices: Sequence[Vertex]) -> list[tuple[int, int, int]]:
    """Triangles of a simple counter-clockwise polygon by clipping ears: vertex positions.

    Source: Meisters (1975), doi:10.2307/2319703.
    """
    left, triangles = list(range(len(vertices))), []
    while len(left) > 3:
        for k in range(len(left)):
            i, j, m = left[k - 1], left[k], left[(k + 1) % len(left)]
            a, b, c = vertices[i], vertices[j], vertices[m]
            inside = (
                p
                for p in left
                if vertices[p] not in (a, b, c) and _in_triangle(vertices[p], a, b, c)
            )
            if cross(a, b, c) > 0 and next(inside, None) is None:
                break
        else:
            # Only rounding leaves no ear: clip the flattest corner, whose triangle has next to
            # no area.
            k = min(
                range(len(left)),
                key=lambda k: abs(
                    cross(*(vertices[left[(k + s) % len(left)]] for s in (-1, 0, 1)))
                ),
            )
            i, j, m = left[k - 1], left[k], left[(k + 1) % len(left)]
        if cross(vertices[i], vertices[j], vertices[m]) > 0:
            triangles.append((i, j, m))
        left.remove(j)
    return [*triangles, (left[0], left[1], left[2])]


def hull(vertices: Sequence[Vertex], chosen: Sequence[int]) -> set[int]:
    """Which of the `chosen` positions are corners of their hull (Andrew's monotone chain)."""
    order = sorted(chosen, key=lambda i: vertices[i])

    def half(points):
        chain: list[int] = []
        for i in points:
            while (
                len(chain) > 1
                and cross(vertices[chain[-2]], vertices[chain[-1]], vertices[i]) <= 0
            ):
                chain.pop()
            chain.append(i)
        return chain

    return {*half(order), *half(reversed(order))}


def _in_triangle(p: Vertex, a: Vertex, b: Vertex, c: Vertex) -> bool:
    """Whether p lies in the closed counter-clockwise triangle."""
    return cross(a, b, p) >= 0 and cross(b, c, p) >= 0 and cross(c, a, p) >= 0
