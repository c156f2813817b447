"""Centres of Gaussians on a line: n equally spaced ones, of which g lie beyond either end.

    h = (b − a)/(n − 1 − 2g),   μ_j = a − g h + j h,   s = c h

A sum of Gaussians of scale s = c h reaches a smooth function to about 2 exp(−2π²c²), but only well inside the centres:
the ghosts beyond the ends carry that to the ends, and further out they would vanish on the domain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ProblemError

REACH = 3.3                # scales that the outermost ghosts lie beyond the ends


def ghosts_of(overlap: float, n: int | None = None) -> int:
    """g = round(3.3 c): the outermost ghosts lie 3 to 3.5 scales beyond the ends; fewer if less than 3 of n were left.

    Where a field is hardly resolved, resolution inside is worth more than ghosts.
    """
    g = round(REACH * overlap)
    return g if n is None else min(g, max((n - 3) // 2, 0))


def lattice(low: float, high: float, n: int, overlap: float, ghosts: int | None = None) -> tuple[Tensor, float]:
    """Centres, shape (n,), and the scale s.

    Args:
        low, high: Ends a, b.
        n: Centres, ghosts included.
        overlap: c = s/h, 1.2 to 2; larger ones are more accurate and worse conditioned.
        ghosts: g beyond either end; None: `ghosts_of` the overlap and n.

    Raises:
        ProblemError: Fewer than two centres are left inside.
    """
    g = ghosts_of(overlap, n) if ghosts is None else ghosts
    if n - 2 * g < 2:
        raise ProblemError(f"{n} Gaussians along a coordinate, {g} of them beyond either end, leave fewer than two "
                           f"inside; take at least {2 * g + 2}, a smaller overlap or fewer ghosts")
    h = (high - low) / (n - 1 - 2 * g)
    return low - g * h + h * torch.arange(n, dtype=torch.float64), overlap * h
