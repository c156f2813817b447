"""Cells of order 2 with the nodes of boundary edges on the true, curved boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from .complex import Complex, identify
from .quality import unfolded
from .structured import edges, quadratic

LEAST = 0.1
"""Share of a straight cell's det ∂x/∂ξ that its curved form keeps everywhere."""


def curved(complex_: Complex, ends: Tensor, middles: Tensor) -> Complex:
    """Simplices of order 2 whose edges bend through given positions.

    A position is approached only as far (by halves) as det ∂x/∂ξ stays above a tenth of that of the straight cell
    everywhere, which a bound on Bernstein coefficients guarantees; so no cell is ever inverted.

    Args:
        complex_: Straight simplices of order 1.
        ends: Corners of M edges, shape (M, 2); rows that are no edges are left out.
        middles: Positions of their middle nodes, shape (M, D).

    Returns:
        The same cells and groups, of order 2.
    """
    fine = quadratic(complex_)
    pairs, _ = edges(complex_)
    order = identify(pairs, len(complex_.X)).sort()
    key = identify(ends, len(complex_.X))
    at = torch.searchsorted(order.values, key).clamp(max=len(order.values) - 1)
    known = order.values[at] == key
    node = len(complex_.X) + order.indices[at[known]]
    shift = torch.zeros_like(fine.X)
    shift[node] = middles[known] - fine.X[node]
    return unfolded(fine, shift, LEAST)
