"""A smooth distance to facets, for conditions that are built into a field on a mesh.

    1/φ(x) = 1/c ∫_Γ ds_y / |x − y|^D = 1/c Σ_i θ_i(x) / h_i(x),   c = π (D = 2), 2π (D = 3)

θ_i is the angle, or solid angle, under which facet i is seen and h_i the distance to its line or plane. φ vanishes on Γ
only, grows like the distance from it (∂φ/∂n = 1 on facets), and is analytic elsewhere: the exact distance has kinks
wherever two facets are equally near, and an equation of second order would see them.

Source: Belyaev, Fayolle and Pasko (2013), "Signed Lp-distance fields", doi:10.1016/j.cad.2012.10.035, with p = 1. Here
near its facet φ is continued through it, so that derivatives on Γ are one-sided limits, not 0/0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, radians

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from .complex import Cells, Facets, identify

LARGEST = 2**19                         # pairs of points and facets at a time
_SAGITTA = torch.tensor([-0.5, -0.5, 1.0], dtype=torch.float64)     # of an edge with ends and middle: −x''/8


class SmoothDistance:
    """φ as a function of D columns of coordinates, each of shape (N,); differentiable in forward mode.

    Args:
        facets: Corners of segments or triangles, shape (F, D, D), in the order that makes normals point outwards.
    """

    __name__ = "smooth_distance"

    def __init__(self, facets: Tensor):
        self.facets = facets.detach().to(torch.float64)
        self._copies: dict = {}

    def __call__(self, *columns):
        if has_torch_function(columns):
            return handle_torch_function(self, columns, *columns)
        key = columns[0].dtype, columns[0].device
        if key not in self._copies:
            self._copies[key] = self.facets.to(columns[0].device, columns[0].dtype)
        facets = self._copies[key]
        size = max(LARGEST // len(facets), 1)
        X = torch.stack(torch.broadcast_tensors(*columns), -1)
        return torch.cat([_distance(part, facets) for part in X.split(size)])


def straight_pieces(X: Tensor, facets: Sequence[Cells | Facets], cuts: int = 4) -> Tensor:
    """Facets as segments or triangles, shape (F, D, D).

    Args:
        X: Nodes, shape (V, D), D = 2 or 3.
        facets: By kind.
        cuts: Curved ones are cut into so many pieces along each direction, with corners on the surface; on a curve the
            inner ones lie beyond it, so that pieces and curve enclose no area: what vanishes on chords is off by their
            sagitta everywhere, what crosses the curve only as far from it as the pieces are long.
    """
    D = X.shape[1]
    pieces = []
    for f in facets:
        n = 1 if f.kind.order == 1 else cuts
        if D == 2:
            t = torch.linspace(0, 1, n + 1, dtype=X.dtype)[:, None]
            corners = torch.einsum("qa,ead->eqd", f.kind.values(t), X[f.nodes])
            if n > 1:                                         # a parabola: every sagitta is the same vector s
                s = torch.einsum("a,ead->ed", _SAGITTA.to(X), X[f.nodes])[:, None] / n**2
                corners[:, 1:-1] += 2 / 3 * n / (n - 1) * s
            pieces.append(torch.stack([corners[:, :-1], corners[:, 1:]], 2).reshape(-1, 2, 2))
        else:
            xi, triangles = _lattice(f.kind.shape.simplex, n)
            corners = torch.einsum("qa,ead->eqd", f.kind.values(xi.to(X)), X[f.nodes])
            pieces.append(corners[:, triangles].reshape(-1, 3, 3))
    return torch.cat(pieces)


def _lattice(simplex: bool, n: int) -> tuple[Tensor, Tensor]:
    """Points of a reference triangle or square cut n times along each side, and the triangles between them."""
    numbers: dict[tuple[int, int], int] = {}
    xi: list[list[float]] = []
    triangles: list[list[int]] = []
    for i in range(n + 1):
        for j in range(n + 1 - (i if simplex else 0)):
            numbers[i, j] = len(xi)
            xi.append([i / n, j / n])
    for i, j in numbers:
        if (i + 1, j) in numbers and (i, j + 1) in numbers:
            triangles.append([numbers[i, j], numbers[i + 1, j], numbers[i, j + 1]])
        if (i + 1, j) in numbers and (i, j + 1) in numbers and (i + 1, j + 1) in numbers:
            triangles.append([numbers[i + 1, j], numbers[i + 1, j + 1], numbers[i, j + 1]])
    return torch.tensor(xi, dtype=torch.float64), torch.tensor(triangles)


def between_corners(pieces: Tensor, angle: float = 35.0) -> list[Tensor]:
    """Segments or triangles (F, D, D) in groups that are smooth: cut where neighbours turn by more than an angle.

    Args:
        pieces: Corners in the order that makes normals point outwards.
        angle: In degrees; of meshes of curved boundaries, larger than what neighbours turn by.
    """
    F, D, _ = pieces.shape
    size = float((pieces.amax((0, 1)) - pieces.amin((0, 1))).max())
    ends = torch.unique((pieces.reshape(-1, D) / (1e-9 * size)).round(), dim=0, return_inverse=True)[1].view(F, D)
    t = pieces[:, 1:] - pieces[:, :1]
    n = torch.stack([t[:, 0, 1], -t[:, 0, 0]], 1) if D == 2 else torch.linalg.cross(t[:, 0], t[:, 1])
    n = n / n.norm(dim=1, keepdim=True)
    rims = torch.cat([identify(ends[:, [j for j in range(D) if j != i]], int(ends.max()) + 1) for i in range(D)])
    owner = torch.arange(F).repeat(D)
    order = torch.argsort(rims, stable=True)
    rims, owner = rims[order], owner[order]
    same = (rims[1:] == rims[:-1]).nonzero()[:, 0]
    a, b = owner[same], owner[same + 1]
    flat = (n[a] * n[b]).sum(1) > cos(radians(angle))
    graph = sparse.coo_matrix((np.ones(int(flat.sum())), (a[flat].numpy(), b[flat].numpy())), shape=(F, F))
    count, label = connected_components(graph, directed=False)
    return [pieces[torch.from_numpy(label == i)] for i in range(count)]


def plane_of(pieces: Tensor, X: Tensor) -> tuple[Tensor, float] | None:
    """Inward unit normal n (D,) and offset c of the plane n·x + c = 0 that pieces (F, D, D) lie on.

    None if they lie on none, if it cuts what the nodes X (V, D) span, or if it touches nodes that are no corners of
    pieces: what vanishes on it would vanish there, too.
    """
    D = pieces.shape[1]
    t = pieces[:, 1:] - pieces[:, :1]
    n = torch.stack([-t[:, 0, 1], t[:, 0, 0]], 1) if D == 2 else -torch.linalg.cross(t[:, 0], t[:, 1])
    n = n.sum(0) / n.sum(0).norm()
    c = -float((pieces.reshape(-1, D) @ n).mean())
    tolerance = 1e-9 * float((X.amax(0) - X.amin(0)).max())
    flat = float((pieces.reshape(-1, D) @ n + c).abs().max()) <= tolerance
    height = X @ n + c
    if not flat or float(height.min()) < -tolerance:
        return None
    both = torch.cat([pieces.reshape(-1, D), X[height.abs() <= tolerance]])
    place = torch.unique((both / (1e3 * tolerance)).round(), dim=0, return_inverse=True)[1]
    own, touched = place[:pieces.shape[0] * D], place[pieces.shape[0] * D:]
    return (n, c) if bool(torch.isin(touched, own).all()) else None


def joined(segments: Tensor) -> Tensor:
    """Segments (F, 2, 2) with those that continue each other on a line made one: φ is the same, and cheaper."""
    size = float((segments.amax((0, 1)) - segments.amin((0, 1))).max())
    ends, number = torch.unique((segments.reshape(-1, 2) / (1e-12 * size)).round(), dim=0, return_inverse=True)
    first, last = number.view(-1, 2).unbind(1)
    F = len(segments)
    starts_at = torch.full((len(ends),), -1).scatter_(0, first, torch.arange(F))
    nexts = starts_at[last]
    degree = torch.bincount(number, minlength=len(ends))
    t = segments[:, 1] - segments[:, 0]
    t = t / t.norm(dim=1, keepdim=True)
    straight = (nexts >= 0) & (degree[last] == 2)
    straight &= ((t * t[nexts.clamp(min=0)]).sum(1) > 1 - 1e-14) & (nexts != torch.arange(F))
    here = straight.nonzero()[:, 0].numpy()
    graph = sparse.coo_matrix((np.ones(len(here)), (here, nexts[here].numpy())), shape=(F, F))
    count, label = connected_components(graph, directed=False)
    inner = torch.zeros(F, dtype=torch.bool)                       # whose first end is joined to another's last
    inner[nexts[straight]] = True
    joined = segments.new_zeros(count, 2, 2)
    label = torch.from_numpy(label).long()
    joined[label[~inner], 0] = segments[~inner, 0]
    joined[label[~straight], 1] = segments[~straight, 1]
    return joined


def _distance(X: Tensor, facets: Tensor) -> Tensor:
    """φ at points (N, D)."""
    theta, h, seen, full = (_segments if X.shape[1] == 2 else _triangles)(X, facets)
    # The largest term c/h is infinite on its facet; multiplied out, everything stays finite and smooth there.
    k = seen.detach().argmax(1, keepdim=True)
    angle, height = theta.gather(1, k)[:, 0], h.gather(1, k)[:, 0]
    angle = torch.where(angle < -full / 2, angle + 2 * full, angle)            # just across the facet
    rest = torch.where(torch.arange(len(facets), device=X.device) == k, torch.zeros_like(seen), seen).sum(1)
    below = angle + height * rest
    # Beyond the ends of a facet, on its line, both are zero; there the sum itself is finite.
    aside = angle.detach().abs() < full / 2
    total = torch.where(aside, seen.gather(1, k)[:, 0], torch.ones_like(rest)) + rest
    # At a corner all of it is 0/0; φ = 0 there.
    safe = below.detach().abs() > 1e-300
    near = torch.where(safe, full * height / torch.where(safe, below, torch.ones_like(below)), torch.zeros_like(height))
    return torch.where(aside, full / torch.where(aside, total, torch.ones_like(total)), near)


def _segments(X: Tensor, facets: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Angles (N, F), heights above lines (positive inside), their quotients, and the angle on a facet."""
    a, b = facets.unbind(1)
    length = (b - a).norm(dim=1)
    t = (b - a) / length[:, None]
    p = X[:, None] - a
    along = p[..., 0] * t[:, 0] + p[..., 1] * t[:, 1]
    h = t[:, 0] * p[..., 1] - t[:, 1] * p[..., 0]                # outward normal is (t_y, −t_x)
    across, cosine = h * length, h * h + along * (along - length)
    return (*_quotient(across, cosine, h, length.expand_as(h), 1.0), pi)


def _triangles(X: Tensor, facets: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Solid angles (N, F), heights above planes (positive inside), their quotients, and the angle on a facet.

    Source: van Oosterom and Strackee (1983), doi:10.1109/TBME.1983.325207: tan(θ/2) = a·(b × c) / (…).
    """
    a, b, c = (facets[:, i] - X[:, None] for i in range(3))
    la, lb, lc = a.norm(dim=2), b.norm(dim=2), c.norm(dim=2)
    normal = torch.linalg.cross(facets[:, 1] - facets[:, 0], facets[:, 2] - facets[:, 0])
    double = normal.norm(dim=1)
    h = (a * (normal / double[:, None])).sum(2)
    below = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return (*_quotient(h * double, below, h, double.expand_as(h), 2.0), 2 * pi)


def _quotient(top: Tensor, below: Tensor, h: Tensor, slope: Tensor, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """θ = factor · atan2(top, below), h and θ/h, where top = h · slope; a series where the facet is seen edge-on."""
    tiny = torch.finfo(h.dtype).tiny ** 0.25
    nowhere = (top.detach().abs() < tiny) & (below.detach().abs() < tiny)      # at an end of the facet
    below = torch.where(nowhere, torch.full_like(below, tiny), below)
    theta = factor * torch.atan2(top, below)
    z = top / torch.where(below.detach() > 0, below, torch.ones_like(below))
    flat = (below.detach() > 0) & (z.detach().abs() < 1e-3)
    ratio = torch.where(flat, z, torch.zeros_like(z)).square()
    series = factor * slope / torch.where(flat, below, torch.ones_like(below)) * (
        1 - ratio * (1 / 3 - ratio * (1 / 5 - ratio / 7)))
    level = h.detach() == 0
    direct = theta.abs() / torch.where(flat | level, torch.ones_like(h), h).abs()
    seen = torch.where(flat, series, torch.where(level, torch.full_like(h, 1e300 if h.dtype == torch.float64 else 1e30),
                                                 direct))
    return theta, h, seen
