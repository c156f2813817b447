"""Guaranteed bounds of polynomials over reference cells, by Bernstein coefficients.

A polynomial on a simplex or a cube lies between its smallest and its largest Bernstein coefficient. So the curved
cells of a mesh have boxes that contain them, and their Jacobian determinants have upper bounds.

Source: Lorentz (1953), Bernstein Polynomials; Johnen, Remacle and Geuzaine (2013), doi:10.1016/j.jcp.2012.08.051.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from math import comb, factorial

import torch
from torch import Tensor

from .complex import Cells, Facets
from .geometry import mapped
from .kinds import CellKind, Shape


@cache
def lattice(shape: Shape, degree: int) -> tuple[Tensor, Tensor]:
    """Even points (Q, d) of a reference cell, and B⁻¹ (Q, Q): from values there to Bernstein coefficients.

    B_ab = b_b(ξ_a), polynomials of total degree on simplices, of a degree in each coordinate on cubes.
    """
    steps = max(degree, 1)
    index = [p for p in product(range(degree + 1), repeat=shape.dim) if not shape.simplex or sum(p) <= degree]
    xi = torch.tensor(index, dtype=torch.float64).reshape(len(index), shape.dim) / steps
    columns = []
    for p in index:
        column = torch.ones(len(index), dtype=torch.float64)
        if shape.simplex:
            rest = degree - sum(p)
            count = factorial(degree) // factorial(rest)
            for k, x in zip(p, xi.T, strict=True):
                count //= factorial(k)
                column = column * x**k
            column = column * (1 - xi.sum(1)) ** rest * count
        else:
            for k, x in zip(p, xi.T, strict=True):
                column = column * comb(degree, k) * x**k * (1 - x) ** (degree - k)
        columns.append(column)
    return xi, torch.linalg.inv(torch.stack(columns, 1))


@cache
def _control(kind: CellKind) -> Tensor:
    """From nodes of a kind to control points of its cells, shape (m, k)."""
    xi, to_coefficients = lattice(kind.shape, kind.order)
    return to_coefficients @ kind.values(xi)


def boxes(X: Tensor, cells: Cells | Facets) -> tuple[Tensor, Tensor]:
    """Lower and upper corners of boxes around cells, each of shape (E, D); nodes at X (V, D)."""
    P = X[cells.nodes]
    if cells.kind.order > 1:
        P = torch.einsum("ma,ead->emd", _control(cells.kind).to(P), P)
    return P.amin(1), P.amax(1)


def largest_measure(X: Tensor, cells: Cells | Facets) -> Tensor:
    """Upper bounds (E,) of the measure det J or √det JᵀJ over each cell; exact where it is constant."""
    kind, D = cells.kind, X.shape[1]
    d, p = kind.dim, kind.order
    if kind.affine or d == 0:
        return mapped(X, cells, torch.full((1, d), 0.25, dtype=torch.float64)).measure[:, 0]
    degree = d * (p - 1) if kind.shape.simplex else d * p - 1
    square = 1 if d == D else 2                                # of surfaces, the square is a polynomial
    xi, to_coefficients = lattice(kind.shape, square * degree)
    values = mapped(X, cells, xi).measure ** square
    return (values @ to_coefficients.T.to(values)).amax(1) ** (1 / square)
