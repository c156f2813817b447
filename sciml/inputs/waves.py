"""Sines and cosines on an interval: orthonormal functions with derivatives of any order.

    periodic   1/√L, √(2/L) cos(2πkx/L), √(2/L) sin(2πkx/L)    k = 1…m
    neumann    1/√L, √(2/L) cos(πkx/L)                         k = 1…m
    dirichlet  √(2/L) sin(πkx/L)                               k = 1…m

with x measured from the lower end. They are eigenfunctions of −d²/dx² with eigenvalue ω².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KINDS = {"periodic": 0, "neumann": 1, "dirichlet": 2}


def frequencies(kind: str, modes: int, length: float, device: torch.device | None = None) -> Tensor:
    """ω of each function, shape (K,): K = 2m + 1, m + 1 or m; float64."""
    k = torch.arange(1, modes + 1, dtype=torch.float64, device=device)
    zero = k.new_zeros(1)
    if kind == "periodic":
        return torch.cat([zero, k, k]) * (2 * math.pi / length)
    return (torch.cat([zero, k]) if kind == "neumann" else k) * (math.pi / length)


def waves(kind: str, modes: int, length: float, x: Tensor, order: int = 0) -> Tensor:
    """Derivative of the functions at x.

    Args:
        kind: "periodic", "neumann" or "dirichlet".
        modes: Highest index m.
        length: L.
        x: Points (n,) from the lower end, float64.
        order: Of the derivative.

    Returns:
        Shape (n, K), the order of `frequencies`.
    """
    omega = frequencies(kind, modes, length, x.device)
    positive = omega[-modes:] if modes else omega[:0]
    angle = x[:, None] * positive
    factor = math.sqrt(2 / length) * positive**order
    columns = []
    if kind != "dirichlet":
        constant = torch.full_like(x[:, None], 0.0 if order else 1 / math.sqrt(length))
        columns += [constant, factor * _turned(angle, order)]
    if kind != "neumann":
        columns.append(factor * _turned(angle, order + 3))  # sin θ = cos(θ − π/2) = cos(θ + 3π/2)
    return torch.cat(columns, 1)


def _turned(angle: Tensor, quarters: int) -> Tensor:
    """cos(θ + qπ/2), exact in the quarter turns."""
    turned = angle.sin() if quarters % 2 else angle.cos()
    return -turned if quarters % 4 in (1, 2) else turned


def trigonometric(nodes: int, length: float, x: Tensor, order: int = 0) -> Tensor:
    """Matrix from values on n equispaced nodes jL/n to ∂^order of their trigonometric interpolant at x, shape (n_x, n).

    The mode at n/2 of an even n is a cosine, as interpolation with least oscillation takes it.
    """
    modes = nodes // 2
    at = torch.arange(nodes, dtype=torch.float64, device=x.device) * (length / nodes)
    inner, outer = waves("periodic", modes, length, at), waves("periodic", modes, length, x, order)
    if nodes % 2 == 0:
        inner, outer = inner[:, :-1].clone(), outer[:, :-1]
        inner[:, modes] /= 2  # its square sums to twice that of the others
    return outer @ inner.T * (length / nodes)
