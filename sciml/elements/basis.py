"""The functions of a finite-element space at any points of its mesh."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..mesh.geometry import inverse
from ..mesh.locate import Locator
from .space import Space


class Basis(NamedTuple):
    """The functions of a space that do not vanish at N points.

    Args:
        dofs: Their numbers, shape (N, k).
        values: φ, shape (N, k).
        gradients: ∂φ/∂x in the cell that holds the point, shape (N, k, D).
    """

    dofs: Tensor
    values: Tensor
    gradients: Tensor


def basis_at(space: Space, locator: Locator, X: Tensor, extend: bool = False) -> Basis:
    """Values and gradients at points.

    Args:
        space: On the mesh of the locator.
        locator: Finds the points.
        X: Shape (N, D).
        extend: Whether points outside take the nearest point of the boundary; else their values are NaN.
    """
    cell, xi = locator.nearest(X)[0] if extend else locator.find(X)
    N, D = X.shape
    k = max(kind.size for kind in space.kinds)
    dofs = torch.zeros(N, k, dtype=torch.long, device=X.device)
    values, gradients = X.new_zeros(N, k), X.new_zeros(N, k, D)
    values[cell < 0], gradients[cell < 0] = torch.nan, torch.nan
    for block, kind, numbers, start in zip(space.complex.blocks, space.kinds, space.dofs, space.complex.starts,
                                           strict=True):
        here = ((cell >= start) & (cell < start + len(block))).nonzero()[:, 0]
        if not len(here):
            continue
        own, places = (cell[here] - start).to(numbers.device), xi[here]
        corners = space.complex.X[block.nodes[own]].to(X)
        J = torch.einsum("nai,nad->ndi", block.kind.gradients(places), corners)
        dofs[here, :kind.size] = numbers[own].to(X.device)
        values[here, :kind.size] = kind.values(places)
        gradients[here, :kind.size] = torch.einsum("nai,nij->naj", kind.gradients(places), inverse(J))
    return Basis(dofs, values, gradients)
