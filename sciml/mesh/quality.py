"""Shape of cells: angles and radius ratios, by which meshes are judged and mended."""

from __future__ import annotations

from functools import cache
from itertools import count, product
from math import comb, factorial, prod
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError
from .complex import Cells, Complex
from .geometry import mapped


class Quality(NamedTuple):
    """Shape of the simplices of a mesh.

    Args:
        min_angle: Least angle of a triangle, or between two faces of a tetrahedron, in degrees.
        max_angle: Greatest one.
        min_ratio: Least d·r/R, inscribed over circumscribed radius: 1 for regular cells, 0 for flat ones.
        mean_ratio: Its mean.
        inverted: Number of cells whose volume is not positive.
    """

    min_angle: float
    max_angle: float
    min_ratio: float
    mean_ratio: float
    inverted: int


def quality(complex_: Complex) -> Quality:
    """Angles and radius ratios of triangles or tetrahedra, by their corners.

    Raises:
        ProblemError: There are other cells.
    """
    if any(b.kind.shape.name not in ("triangle", "tetra") for b in complex_.blocks):
        raise ProblemError("quality is measured on triangles and tetrahedra; cut other cells into them first")
    parts = [complex_.X[b.corners] for b in complex_.blocks]
    angle = torch.cat([angles(p) for p in parts]).rad2deg()
    ratio, volume = (torch.cat([f(p) for p in parts]) for f in (ratios, volume_of))
    flat = int((volume <= 0).sum()) if parts[0].shape[1] == parts[0].shape[2] + 1 else 0
    return Quality(float(angle.min()), float(angle.max()), float(ratio.min()), float(ratio.mean()), flat)


def volume_of(P: Tensor) -> Tensor:
    """Signed volumes of simplices with corners (E, d + 1, d), areas of triangles in space: shape (E,)."""
    J = P[:, 1:] - P[:, :1]
    if J.shape[1] == J.shape[2] == 2:
        return (J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] * J[:, 1, 0]) / 2
    cross = torch.linalg.cross(J[:, 0], J[:, 1])
    return cross.norm(dim=1) / 2 if J.shape[1] == 2 else (cross * J[:, 2]).sum(1) / 6


def angles(P: Tensor) -> Tensor:
    """Angles of triangles (E, 3), or between the faces of tetrahedra at their edges (E, 6), in radians."""
    if P.shape[1] == 3:
        u, v = P.roll(-1, 1) - P, P.roll(1, 1) - P
        cosine = (u * v).sum(2) / (u.norm(dim=2) * v.norm(dim=2))
        return cosine.clamp(-1, 1).arccos()
    n = face_normals(P)
    cosine = torch.stack([-(n[:, i] * n[:, j]).sum(1) for i in range(4) for j in range(i)], 1)
    return cosine.clamp(-1, 1).arccos()


def face_normals(P: Tensor) -> Tensor:
    """Unit normals of the faces opposite to the corners of tetrahedra (E, 4, 3), pointing out: shape (E, 4, 3)."""
    a, b, c, d = P.unbind(1)
    cross = torch.linalg.cross
    n = torch.stack([cross(c - b, d - b), cross(d - a, c - a), cross(b - a, d - a), cross(c - a, b - a)], 1)
    return torch.nn.functional.normalize(n, dim=2)


def ratios(P: Tensor) -> Tensor:
    """d·r/R of triangles or tetrahedra, shape (E,), with r = d·volume / surface."""
    volume = volume_of(P).abs()
    if P.shape[1] == 3:
        sides = torch.stack([(P[:, i] - P[:, i - 1]).norm(dim=1) for i in range(3)], 1)
        return 16 * volume**2 / (sides.sum(1) * sides.prod(1))
    a, b, c = (P[:, i] - P[:, 0] for i in (1, 2, 3))
    cross = torch.linalg.cross
    square = [(v * v).sum(1, keepdim=True) for v in (a, b, c)]
    top = square[0] * cross(b, c) + square[1] * cross(c, a) + square[2] * cross(a, b)
    areas = [cross(P[:, j] - P[:, i], P[:, k] - P[:, i]).norm(dim=1) / 2
             for i, j, k in ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3))]
    return 9 * volume / sum(areas) * 12 * volume / top.norm(dim=1)


def least_jacobian(X: Tensor, cells: Cells) -> Tensor:
    """Lower bound of det ∂x/∂ξ over each cell, shape (E,): positive only if the map is invertible everywhere.

    The determinant is a polynomial of degree d (order − 1) on a simplex, of d·order − 1 in each coordinate on a cube;
    its least Bernstein coefficient bounds it from below.

    Source: Johnen, Remacle and Geuzaine (2013), doi:10.1016/j.jcp.2012.08.051.
    """
    xi, B = _bernstein(cells.kind.dim, cells.kind.order, cells.kind.shape.simplex)
    return (mapped(X, cells, xi).measure @ torch.linalg.inv(B).T.to(X)).amin(1)


@cache
def _bernstein(d: int, order: int, simplex: bool) -> tuple[Tensor, Tensor]:
    """Points ξ, and the values of the Bernstein polynomials of det ∂x/∂ξ there, shape (Q, Q)."""
    n = d * (order - 1) if simplex else d * order - 1
    if simplex:
        alpha = [a for a in product(range(n + 1), repeat=d + 1) if sum(a) == n]
        t = torch.tensor(alpha, dtype=torch.float64) / n if n else torch.full((1, d + 1), 1 / (d + 1)).double()
        B = [factorial(n) / prod(factorial(k) for k in a) * (t ** torch.tensor(a)).prod(1) for a in alpha]
        return t[:, 1:], torch.stack(B, 1)
    alpha = list(product(range(n + 1), repeat=d))
    t = torch.tensor(alpha, dtype=torch.float64) / n if n else torch.full((1, d), 0.5).double()
    B = [prod(comb(n, k) for k in a) * (t ** torch.tensor(a) * (1 - t) ** (n - torch.tensor(a))).prod(1) for a in alpha]
    return t, torch.stack(B, 1)


def unfolded(complex_: Complex, shift: Tensor, least: float) -> Complex:
    """Nodes moved by a shift, but only as far as no cell folds.

    Where a lower bound of det ∂x/∂ξ over a cell falls below a share of what it is before, the shifts of that cell's
    nodes are halved, and given up after eight times, until there is no such cell. Unmoved cells pass, so it ends.

    Args:
        complex_: Cells that are not inverted.
        shift: By node, shape (V, D).
        least: That share, in (0, 1).
    """
    floor = torch.cat([least_jacobian(complex_.X, b) for b in complex_.blocks]) * least
    share = torch.ones(len(shift), 1, dtype=shift.dtype)
    for halving in count():
        moved = complex_.moved(complex_.X + share * shift)
        at = 0
        done = True
        for b in complex_.blocks:
            bad = least_jacobian(moved.X, b) < floor[at:at + len(b)]
            at += len(b)
            if bool(bad.any()):
                share[b.nodes[bad].reshape(-1).unique()] *= 0.5 if halving < 8 else 0.0
                done = False
        if done:
            break
        if halving < 8:
            _eased(complex_, share)
    return moved


def _eased(complex_: Complex, share: Tensor) -> None:
    """Shares limited to 1.3 times the least one in any cell around, over four rings: no wrinkles where some are low."""
    for _ in range(4):
        for b in complex_.blocks:
            low = 1.3 * share[b.nodes, 0].amin(1, keepdim=True).expand_as(b.nodes)
            share[:, 0].scatter_reduce_(0, b.nodes.reshape(-1), low.reshape(-1), "amin")
