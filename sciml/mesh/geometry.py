"""Maps x(ξ) from reference cells, their Jacobians, and quadrature over cells and facets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .complex import Cells, Complex, Facets


class Mapped(NamedTuple):
    """E cells at Q reference points.

    Args:
        x: Positions, shape (E, Q, D).
        J: ∂x/∂ξ, shape (E, Q, D, d).
        measure: Volume (area, length) that a unit of reference volume takes, shape (E, Q): det J, or √det JᵀJ on
            surfaces. Signed if d = D.
    """

    x: Tensor
    J: Tensor
    measure: Tensor


class Rule(NamedTuple):
    """Quadrature over cells or facets.

    Args:
        X: Points, shape (N, D).
        weights: Shape (N,).
        cell: Number of the cell (of the facet, by position in what was asked for) of each point, shape (N,).
        normals: Outward unit normals on facets, shape (N, D); None for cells.
    """

    X: Tensor
    weights: Tensor
    cell: Tensor
    normals: Tensor | None = None


def mapped(X: Tensor, cells: Cells | Facets, xi: Tensor) -> Mapped:
    """Cells of nodes X (V, D) at reference points ξ (Q, d)."""
    corners = X[cells.nodes]                                  # (E, k, D)
    N, G = cells.kind.values(xi).to(X), cells.kind.gradients(xi).to(X)
    x = torch.einsum("qa,ead->eqd", N, corners)
    J = torch.einsum("qai,ead->eqdi", G, corners)
    return Mapped(x, J, measure(J))


def measure(J: Tensor) -> Tensor:
    """det J for square J, √det JᵀJ for tall ones; over leading dimensions."""
    D, d = J.shape[-2:]
    if d == 0:
        return J.new_ones(J.shape[:-2])
    if D == d:
        return determinant(J)
    if d == 1:
        return J[..., 0].norm(dim=-1)
    return torch.linalg.cross(J[..., 0], J[..., 1]).norm(dim=-1)


def determinant(J: Tensor) -> Tensor:
    """Of 1×1, 2×2 and 3×3 matrices, written out: much faster than by elimination for millions of them."""
    if J.shape[-1] == 1:
        return J[..., 0, 0]
    if J.shape[-1] == 2:
        return J[..., 0, 0] * J[..., 1, 1] - J[..., 0, 1] * J[..., 1, 0]
    return (J[..., 0] * torch.linalg.cross(J[..., 1], J[..., 2])).sum(-1)


def inverse(J: Tensor, det: Tensor | None = None) -> Tensor:
    """Of 1×1, 2×2 and 3×3 matrices, by the adjugate; `det` if it is known."""
    det = determinant(J) if det is None else det
    if J.shape[-1] == 1:
        return 1 / J
    if J.shape[-1] == 2:
        a, b, c, e = J[..., 0, 0], J[..., 0, 1], J[..., 1, 0], J[..., 1, 1]
        found = torch.stack([torch.stack([e, -b], -1), torch.stack([-c, a], -1)], -2)
    else:
        u, v, w = J.unbind(-1)
        cross = torch.linalg.cross
        found = torch.stack([cross(v, w), cross(w, u), cross(u, v)], -2)
    return found / det[..., None, None]


def outward(J: Tensor) -> Tensor:
    """Unit normals of facets from their tangents J (…, D, D − 1), by the right-hand rule that orders facets."""
    D = J.shape[-2]
    if D == 2:
        n = torch.stack([J[..., 1, 0], -J[..., 0, 0]], -1)
    else:
        n = torch.linalg.cross(J[..., 0], J[..., 1])
    return n / n.norm(dim=-1, keepdim=True)


def quadrature(complex_: Complex, degree: int, numbers: Tensor | None = None) -> Rule:
    """Rule over the cells with some numbers (None: all), of a degree on the reference cells."""
    blocks = complex_.blocks if numbers is None else complex_.chosen_cells(numbers)
    found, start = [], 0
    for block in blocks:
        xi, w = block.kind.shape.rule(degree)
        m = mapped(complex_.X, block, xi)
        cell = torch.arange(start, start + len(block), device=m.x.device).repeat_interleave(len(w))
        found.append((m.x.flatten(0, 1), (m.measure * w.to(m.x)).reshape(-1), cell))
        start += len(block)
    X, W, C = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Rule(X, W, C)


def facet_quadrature(complex_: Complex, degree: int, numbers: Tensor | None = None) -> Rule:
    """Rule over the facets with some numbers (None: the boundary), with outward normals."""
    found, start = [], 0
    for facets in complex_.chosen(complex_.boundary if numbers is None else numbers):
        xi, w = facets.kind.shape.rule(degree)
        m = mapped(complex_.X, facets, xi)
        cell = torch.arange(start, start + len(facets), device=m.x.device).repeat_interleave(len(w))
        n = outward(m.J) if complex_.X.shape[1] > 1 else line_normals(complex_, facets)
        found.append((m.x.flatten(0, 1), (m.measure * w.to(m.x)).reshape(-1), cell, n.flatten(0, 1)))
        start += len(facets)
    X, W, C, n = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Rule(X, W, C, n)


def line_normals(complex_: Complex, facets: Facets) -> Tensor:
    """±1 at the ends of cells on a line, shape (F, 1, 1)."""
    return torch.where(facets.local[:, 0] == 0, -1.0, 1.0).to(complex_.X)[:, None, None]


def volumes(complex_: Complex) -> Tensor:
    """Measure of every cell, shape (E,), signed if they fill the space."""
    found = []
    for block in complex_.blocks:
        xi, w = block.kind.shape.rule(2 * block.kind.dim * block.kind.order)
        if block.kind.affine:
            xi, w = block.kind.shape.rule(1)
        found.append((mapped(complex_.X, block, xi).measure * w.to(complex_.X)).sum(1))
    return torch.cat(found)


def node_shares(complex_: Complex) -> Tensor:
    """Share of the volume that each node stands for, shape (V,): that of each cell in equal parts."""
    found = complex_.X.new_zeros(len(complex_.X))
    volume = volumes(complex_).abs()
    for block, start in zip(complex_.blocks, complex_.starts, strict=True):
        shares = volume[start:start + len(block), None] / block.nodes.shape[1]
        found.index_add_(0, block.nodes.reshape(-1), shares.expand(block.nodes.shape).reshape(-1))
    return found
