"""The point of a facet that is closest to a given one: closed forms for straight facets, Newton for the others."""

from __future__ import annotations

import torch
from torch import Tensor

from .kinds import KINDS, CellKind
from .tree import dots

STEPS = 25                                                     # of Newton's method at most; five are usual


def closest(kind: CellKind, P: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """Closest points of M facets to M points.

        min over ξ of |x(ξ) − X|²,   ξ in the closed reference cell

    Args:
        kind: Kind of the facets: vertex, line, triangle or quadrilateral of any order.
        P: Their nodes, shape (M, k, D).
        X: The points, shape (M, D).

    Returns:
        ξ, shape (M, d), and squared distances (M,).
    """
    if kind.dim == 0:
        return X.new_zeros(len(X), 0), (P[:, 0] - X).square().sum(1)
    if kind.affine:
        return _on_segment(P, X) if kind.dim == 1 else _on_triangle(P, X)
    inner = _newton(kind, P, X)
    if kind.dim == 1:
        return inner
    # On the rim the closest point is that of an edge.
    xi, best = inner
    for nodes in kind.facets:
        ends = kind.nodes[list(nodes)].to(X)
        s, square = closest(kind.facet_kind, P[:, list(nodes)], X)
        better = square < best
        along = ends[0] + s * (ends[1] - ends[0])
        xi, best = torch.where(better[:, None], along, xi), torch.where(better, square, best)
    return xi, best


def _on_segment(P: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    a, e, r = P[:, 0], P[:, 1] - P[:, 0], X - P[:, 0]
    length = dots(e, e)
    s = (dots(r, e) / torch.where(length == 0, 1.0, length)).clamp(0, 1)[:, None]
    r = a + s * e - X
    return s, dots(r, r)


def _on_triangle(P: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """The foot of the perpendicular if it is inside; else the best of three edges."""
    a, b, c = P.unbind(1)
    u, v, r = b - a, c - a, X - a
    n = torch.linalg.cross(u, v) if P.shape[2] == 3 else None
    if n is not None:
        nn = dots(n, n)
        nn = torch.where(nn == 0, torch.nan, nn)               # no area: the edges are all of it
        s = dots(torch.linalg.cross(r, v), n) / nn
        t = dots(torch.linalg.cross(u, r), n) / nn
        height = dots(r, n)
        square = height * height / nn
    else:
        det = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        det = torch.where(det == 0, torch.nan, det)
        s = (r[:, 0] * v[:, 1] - r[:, 1] * v[:, 0]) / det
        t = (u[:, 0] * r[:, 1] - u[:, 1] * r[:, 0]) / det
        square = torch.zeros_like(s)
    inside = (s >= 0) & (t >= 0) & (s + t <= 1)
    xi = torch.stack([s, t], 1)
    best = torch.where(inside, square, torch.inf)
    ends = KINDS["triangle"].nodes.to(X)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        s, square = _on_segment(torch.stack([P[:, i], P[:, j]], 1), X)
        better = square < best
        xi = torch.where(better[:, None], ends[i] + s * (ends[j] - ends[i]), xi)
        best = torch.where(better, square, best)
    return xi, best


def _newton(kind: CellKind, P: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """A stationary point from the best of a lattice, halving steps that do not come closer; clamped to the cell.

    The Hessian of half the square is JᵀJ + (x − X)·∂²x; where it is not positive, JᵀJ alone is taken (Gauss–Newton).
    """
    d, eye = kind.dim, torch.eye(kind.dim, dtype=X.dtype, device=X.device)
    seeds = _seeds(kind).to(X)
    table = torch.einsum("qa,ead->eqd", kind.values(seeds), P)
    best, which = (table - X[:, None]).square().sum(2).min(1)
    xi, live = seeds[which].clone(), torch.arange(len(X), device=X.device)
    for _ in range(STEPS):
        at, nodes, target = xi[live], P[live], X[live]
        r = torch.einsum("na,nad->nd", kind.values(at), nodes) - target
        J = torch.einsum("nai,nad->ndi", kind.gradients(at), nodes)
        g, H = torch.einsum("ndi,nd->ni", J, r), torch.einsum("ndi,ndj->nij", J, J)
        full = H + torch.einsum("naij,nad,nd->nij", _seconds(kind, at), nodes, r)
        trace = full.diagonal(dim1=1, dim2=2).sum(1)
        good = (full[:, 0, 0] > 0) if d == 1 else (torch.linalg.det(full) > 1e-3 * trace * trace) & (trace > 0)
        H = torch.where(good[:, None, None], full, H)
        scale = H.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        step = -torch.linalg.solve(H + (1e-14 * scale + 1e-300) * eye, g[:, :, None])[:, :, 0]
        old, new, length = best[live], at, 1.0
        square = old
        for _ in range(6):                                     # those that are closer already stay there
            trial = _clamped(kind, at + length * step)
            value = (torch.einsum("na,nad->nd", kind.values(trial), nodes) - target).square().sum(1)
            closer = (value < old) & (square >= old)
            new, square = torch.where(closer[:, None], trial, new), torch.where(closer, value, square)
            length /= 2
        xi[live], best[live] = new, square
        live = live[(new - at).abs().amax(1) > 1e-15]
        if not len(live):
            break
    return xi, best


def _seeds(kind: CellKind) -> Tensor:
    """A lattice of four intervals along each edge of the reference cell, shape (Q, d)."""
    axes = [torch.linspace(0, 1, 5, dtype=torch.float64)] * kind.dim
    grid = torch.cartesian_prod(*axes).reshape(-1, kind.dim)
    return grid[grid.sum(1) <= 1 + 1e-12] if kind.shape.simplex else grid


def _seconds(kind: CellKind, xi: Tensor) -> Tensor:
    """∂²N_a/∂ξ_i∂ξ_j, shape (Q, k, d, d): differences of gradients, exact for quadratics in each coordinate."""
    found = []
    for j in range(kind.dim):
        h = torch.zeros(kind.dim, dtype=xi.dtype, device=xi.device)
        h[j] = 0.5
        found.append(kind.gradients(xi + h) - kind.gradients(xi - h))
    return torch.stack(found, 3)


def _clamped(kind: CellKind, xi: Tensor) -> Tensor:
    """Into the reference cell: each coordinate, and on simplices back along the diagonal."""
    xi = xi.clamp(0, 1)
    return xi / xi.sum(1, keepdim=True).clamp(min=1) if kind.shape.simplex and kind.dim > 1 else xi
