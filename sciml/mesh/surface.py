"""Surfaces: exact distance, nearest facet and normal, and the winding number that tells inside from outside.

The distance is exact for straight and for curved facets; a tree of boxes passes over those that are too far away. The
generalised winding number is the sum of the angles under which the facets are seen, divided by that of the whole
circle or sphere: 1 inside of a closed surface that turns outwards and 0 outside, and something between for a
surface with holes, of which ½ is the natural boundary.
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError
from .bernstein import boxes, lattice
from .closest import closest
from .complex import Cells, Complex
from .geometry import mapped, outward
from .tree import WIDTH, BoxTree, Pairs, dots, in_chunks

FAR = 2.0                                                      # of a cluster's radius: from there on it is a dipole
MOST = {"cpu": 2**17, "cuda": 2**23}                           # pairs (point, cluster) at a time
SPLIT = 4                                                      # of a curved facet's edges, for winding numbers


class Nearest(NamedTuple):
    """Nearest points of a surface to N points.

    Args:
        distance: Shape (N,), not negative.
        facet: Number of the facet, the lowest among equals, shape (N,).
        point: Shape (N, D).
        xi: Its position in the reference facet, shape (N, D − 1).
    """

    distance: Tensor
    facet: Tensor
    point: Tensor
    xi: Tensor


class Surface:
    """A boundary: points in 1-D, curves in the plane, surfaces in space.

    Args:
        complex_: Its facets as cells (see `Complex.surface`).

    Raises:
        ProblemError: The cells fill their space.
    """

    def __init__(self, complex_: Complex):
        if complex_.dim != complex_.X.shape[1] - 1:
            raise ProblemError(f"a surface has one dimension less than its {complex_.X.shape[1]} coordinates, got "
                               f"cells of dimension {complex_.dim}")
        self.complex = complex_
        self._on: dict[torch.device, tuple[BoxTree, list[Tensor]]] = {}
        self._flat: dict[torch.device, Tensor] = {}
        self._clusters: dict[torch.device, _Clusters] = {}

    def nearest(self, X: Tensor) -> Nearest:
        """Nearest points of the surface to X (N, D); computed in float64, results in the dtype of X."""
        facet, xi, point, square = in_chunks(X.double(), self._nearest)
        return Nearest(square.sqrt().to(X.dtype), facet, point.to(X.dtype), xi.to(X.dtype))

    def distance(self, X: Tensor) -> Tensor:
        """Unsigned distance (N,) of points X (N, D)."""
        return self.nearest(X).distance

    def normals(self, near: Nearest) -> Tensor:
        """Unit normals (N, D) at nearest points, to the side to which facets turn (out of their first cell)."""
        _, nodes = self._tables(near.point.device)
        n = torch.zeros_like(near.point)
        for block, P, start in zip(self.complex.blocks, nodes, self.complex.starts, strict=True):
            here = ((near.facet >= start) & (near.facet < start + len(block))).nonzero()[:, 0]
            gradients = block.kind.gradients(near.xi[here].to(P))
            J = torch.einsum("nai,nad->ndi", gradients, P[near.facet[here] - start])
            n[here] = outward(J).to(n)
        return n

    def winding(self, X: Tensor, dipoles: bool = True) -> Tensor:
        """Generalised winding number (N,) of points X (N, D).

            w(x) = Σ_f Ω_f(x) / 4π   in space,   Σ_f angle_f(x) / 2π   in the plane

        Args:
            X: Points.
            dipoles: Whether clusters of facets further away than twice their radius are seen as one dipole (error
                about 0.03 at most, 1e-3 on average); else every facet counts by itself.

        Source: Jacobson, Kavan and Sorkine-Hornung (2013), doi:10.1145/2461912.2461916; solid angles by van Oosterom
        and Strackee (1983), doi:10.1109/TBME.1983.325207; clusters by Barill et al. (2018),
        doi:10.1145/3197517.3201337, their first order. Curved facets count as 16 flat ones.
        """
        if X.device not in self._clusters:
            self._clusters[X.device] = _Clusters(_flat(self.complex).to(X.device))
        clusters = self._clusters[X.device]
        far = FAR if dipoles else torch.inf
        return in_chunks(X.double(), lambda part: (clusters.winding(part, far),))[0].to(X.dtype)

    def _nearest(self, X: Tensor) -> tuple[Tensor, ...]:
        tree, nodes = self._tables(X.device)
        planes = self._planes(X.device)

        def lower(point: Tensor, number: Tensor) -> Tensor:
            rows, x = torch.index_select(planes, 0, number), torch.index_select(X, 0, point)
            return (dots(x, rows) - rows[:, -1]).square()

        flat = all(b.kind.affine and b.kind.dim == 2 for b in self.complex.blocks)
        square, facet = tree.nearest(X, lambda point, number: self._closest(X, point, number)[1],
                                     lower if flat else None)
        xi = self._closest(X, torch.arange(len(X), device=X.device), facet)[0]
        foot = torch.empty_like(X)
        for block, P, start in zip(self.complex.blocks, nodes, self.complex.starts, strict=True):
            here = ((facet >= start) & (facet < start + len(block))).nonzero()[:, 0]
            foot[here] = torch.einsum("na,nad->nd", block.kind.values(xi[here]), P[facet[here] - start])
        return facet, xi, foot, square

    def _closest(self, X: Tensor, point: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """ξ and squared distances of pairs (point, facet)."""
        _, nodes = self._tables(X.device)
        if len(nodes) == 1:
            return closest(self.complex.blocks[0].kind, nodes[0][number], X[point])
        xi, square = X.new_zeros(len(point), X.shape[1] - 1), X.new_zeros(len(point))
        for block, P, start in zip(self.complex.blocks, nodes, self.complex.starts, strict=True):
            here = ((number >= start) & (number < start + len(block))).nonzero()[:, 0]
            xi[here], square[here] = closest(block.kind, P[number[here] - start], X[point[here]])
        return xi, square

    def _planes(self, device: torch.device) -> Tensor:
        """Unit normal and offset of flat triangles, shape (F, 4): no point of one is closer than its plane.

        Seen from inside of a sphere, hundreds of boxes come as close as the nearest facet does, but few planes.
        """
        if device not in self._flat:
            corners = torch.cat([self.complex.X[b.corners[:, :3]] for b in self.complex.blocks])
            n = _area_vectors(corners) if corners.shape[1] == 3 else corners.new_zeros(len(corners), corners.shape[2])
            n = torch.nn.functional.normalize(n, dim=1)        # zero if a triangle has no area: no bound
            self._flat[device] = torch.cat([n, (n * corners[:, 0]).sum(1, keepdim=True)], 1).to(device)
        return self._flat[device]

    def _tables(self, device: torch.device) -> tuple[BoxTree, list[Tensor]]:
        if device not in self._on:
            c = self.complex
            parts = [boxes(c.X, b) for b in c.blocks]
            tree = BoxTree(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]),
                           torch.cat([c.X[b.nodes[:, 0]] for b in c.blocks]))
            self._on[device] = tree.to(device), [c.X[b.nodes].to(device) for b in c.blocks]
        return self._on[device]


class _Clusters:
    """Flat facets in a tree with the dipole of every cluster.

    Args:
        P: Corners, shape (M, D, D).
    """

    def __init__(self, P: Tensor):
        self.tree = BoxTree(P.amin(1), P.amax(1))
        self.P = P[self.tree.order]
        moment = _area_vectors(self.P)
        area = moment.norm(dim=1)
        middle = self.P.mean(1) * area[:, None]
        self.levels: list[Tensor] = []                         # rows [centre, moment, radius²], from the top down
        lower, upper = self.P.amin(1), self.P.amax(1)
        while len(moment) > 1:
            moment, area, middle = (_sums(a) for a in (moment, area, middle))
            lower, upper = _extremes(lower, False), _extremes(upper, True)
            share = middle / area[:, None]
            centre = torch.where((area > 0)[:, None], share, (lower + upper) / 2)
            square = torch.maximum(upper - centre, centre - lower).square().sum(1, keepdim=True)
            self.levels.insert(0, torch.cat([centre, moment, square], 1))
        self.sizes = [len(level) for level in self.levels][1:] + [len(self.P)]

    def winding(self, X: Tensor, far: float) -> Tensor:
        """Sum over clusters that are far, and over single facets of the others, shape (N,)."""
        w = X.new_zeros(len(X))
        point = torch.arange(len(X), device=X.device)
        node = torch.zeros_like(point)
        D = X.shape[1]
        for level, size in zip(self.levels, self.sizes, strict=True):
            rows = torch.index_select(level, 0, node)
            r = rows[:, :D] - torch.index_select(X, 0, point)
            square = dots(r, r)
            away = square > far**2 * rows[:, 2 * D]
            angle = dots(r, rows[:, D:]) / (square * square.sqrt() if D == 3 else square)
            w.index_add_(0, point, torch.where(away, angle, 0.0))
            near = (~away).nonzero()[:, 0]
            point = point[near].repeat_interleave(WIDTH)
            node = (node[near, None] * WIDTH + torch.arange(WIDTH, device=X.device)).reshape(-1)
            if len(node) and size % WIDTH:
                real = (node < size).nonzero()[:, 0]
                point, node = point[real], node[real]
            if len(point) > MOST[X.device.type] and len(X) > 1:
                raise Pairs
        w.index_add_(0, point, _angles(self.P[node] - X[point, None]))
        return w / (2 * pi if X.shape[1] == 2 else 4 * pi)


def _angles(r: Tensor) -> Tensor:
    """Signed angle (in the plane) or solid angle under which facets with corners r (P, D, D) are seen from 0."""
    if r.shape[2] == 2:
        a, b = r.unbind(1)
        return torch.atan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1))
    a, b, c = r.unbind(1)
    la, lb, lc = (dots(v, v).sqrt() for v in (a, b, c))
    top = dots(a, torch.linalg.cross(b, c))
    low = la * lb * lc + dots(a, b) * lc + dots(b, c) * la + dots(c, a) * lb
    return 2 * torch.atan2(top, low)


def _area_vectors(P: Tensor) -> Tensor:
    """Normal times length or area of facets with corners P (M, D, D), to the right of a segment: shape (M, D)."""
    u = P[:, 1] - P[:, 0]
    if P.shape[2] == 2:
        return torch.stack([u[:, 1], -u[:, 0]], 1)
    return torch.linalg.cross(u, P[:, 2] - P[:, 0]) / 2


def _sums(values: Tensor) -> Tensor:
    """Of every eight rows."""
    short = -len(values) % WIDTH
    return torch.cat([values, values.new_zeros(short, *values.shape[1:])]).view(-1, WIDTH, *values.shape[1:]).sum(1)


def _extremes(values: Tensor, most: bool) -> Tensor:
    """Largest or smallest of every eight rows."""
    short = -len(values) % WIDTH
    rows = torch.cat([values, values[-1:].expand(short, -1)]).view(-1, WIDTH, values.shape[1])
    return rows.amax(1) if most else rows.amin(1)


def _flat(complex_: Complex) -> Tensor:
    """Corners (M, D, D) of flat facets that make up the surface; curved facets are cut into 16 triangles."""
    found = [_pieces(complex_.X, block) for block in complex_.blocks]
    return torch.cat(found)


def _pieces(X: Tensor, block: Cells) -> Tensor:
    kind = block.kind
    if kind.affine:
        return X[block.nodes]
    steps = SPLIT if kind.order > 1 else 2
    if kind.dim == 1:
        xi = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:, None]
        cut = torch.stack([torch.arange(steps), torch.arange(1, steps + 1)], 1)
    else:
        xi, _ = lattice(kind.shape, steps)
        where = {tuple(p): i for i, p in enumerate((xi * steps).round().long().tolist())}
        cut = torch.tensor([[where[i, j], where[i + 1, j], where[i, j + 1]] for i, j in where
                            if (i + 1, j) in where and (i, j + 1) in where]
                           + [[where[i + 1, j], where[i + 1, j + 1], where[i, j + 1]] for i, j in where
                              if (i + 1, j + 1) in where])
    return mapped(X, block, xi).x[:, cut].flatten(0, 1)
