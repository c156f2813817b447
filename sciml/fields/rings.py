"""Gaussians around balls that are cut out of a domain: circles, or spheres, that grow in proportion to their radius.

    r_j = R e^{jδ},  j = −3, −2, …,    spacing δ r_j on each,    s = c δ r_j,    δ = 2π/K

In log |x − c| and the angle this is a lattice, three rings of ghosts inside of the hole included, and what a hole does
to a smooth field is smooth there: a harmonic field is a sum of e^{±kσ} cos kθ. A lattice of the box has to resolve the
hole's radius everywhere to see as much.
"""

from __future__ import annotations

from math import ceil, exp, log, pi

import torch
from torch import Tensor

INSIDE = 3                 # rings of ghosts
GOLDEN = pi * (3 - 5**0.5)


def rings(centre: Tensor, radius: float, count: int, overlap: float, spacing: float) -> tuple[Tensor, Tensor]:
    """Centres, shape (N, D), and scales, shape (N,), outwards until they are as far apart as a lattice around them.

    Args:
        centre: Of the ball, shape (D,), D = 2 or 3.
        radius: R.
        count: K, Gaussians on a great circle.
        overlap: c.
        spacing: Of the lattice; where it is finer than the first ring, there are none.
    """
    D, step = len(centre), 2 * pi / count
    X, scales = [centre[None, :][:0]], [centre[:0]]
    if spacing <= radius * step:
        return X[0], scales[0]
    for j in range(-INSIDE, ceil(log(spacing / (radius * step)) / step) + 1):
        r = radius * exp(j * step)
        ring = centre + r * _directions(D, count, j)
        X.append(ring)
        scales.append(ring.new_full((len(ring),), overlap * step * r))
    return torch.cat(X), torch.cat(scales)


def _directions(D: int, count: int, j: int) -> Tensor:
    """Unit vectors 2π/K apart, turned from ring to ring."""
    if D == 2:
        angle = 2 * pi / count * (torch.arange(count, dtype=torch.float64) + 0.5 * (j % 2))
        return torch.stack([angle.cos(), angle.sin()], dim=1)
    n = max(round(count**2 / pi), 4)                                      # Fibonacci's spiral: 4π/n to each
    k = torch.arange(n, dtype=torch.float64)
    z, angle = 1 - (2 * k + 1) / n, GOLDEN * k + GOLDEN / 2 * (j % 2)
    r = (1 - z * z).sqrt()
    return torch.stack([r * angle.cos(), r * angle.sin(), z], dim=1)
