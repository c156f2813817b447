"""What lies around a point: the shape of a body as channels of operators on points.

    s_k(x) = ∫_Ω G_k(x − y) dy,    g_k(x) = ∫_Ω (x − y)/ℓ_k G_k(x − y) dy = −ℓ_k ∇s_k,    ℓ_k = 2ᵏ ℓ_0

G_k is the normal density of deviation ℓ_k, some spacings of the points at least. Deep inside s is 1 and g is 0; at a
smooth boundary s is ½ and g points outwards, and how far s is from ½ there tells the curvature. Integrals are sums with
the quadrature weights of the points, so that they need no mesh and do not depend on how densely points lie.
Unnormalised, each Gaussian is the fourth power of the next, so that one exponential serves all.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ..errors import ProblemError

ENTRIES = 2**23                # of a table of pairs of points at a time


@torch.no_grad()
def surroundings(X: Tensor, weights: Tensor, least: float, count: int) -> Tensor:
    """s_k and g_k at the points themselves.

    Args:
        X: Points of one body or several, (N, D) or (B, N, D).
        weights: Quadrature weights, (N,) or (B, N).
        least: ℓ_0, in the units of X; some spacings of the points at least.
        count: How many lengths, each twice the one before.

    Returns:
        (B, N, count (1 + D)), or without B: s_0, g_0, s_1, g_1, …, in the dtype of X.

    Raises:
        ProblemError: A length that is not positive, or shapes that do not fit.

    Source: integral invariants of shapes (Manay et al. 2004, doi:10.1007/978-3-540-24673-2_8), with Gaussians in place
        of balls. Time is O(count N²) for each body, memory is bounded.
    """
    if not 0 < least < inf or count < 1 or count != int(count):
        raise ProblemError(f"surroundings of least length {least}, count {count}: give a positive length and a whole "
                           "count")
    if X.shape[:-1] != weights.shape or X.ndim not in (2, 3):
        raise ProblemError(f"points {tuple(X.shape)} and weights {tuple(weights.shape)} do not fit; they must be "
                           "(N, D) and (N,), or (B, N, D) and (B, N)")
    if X.ndim == 3:
        return torch.stack([surroundings(x, w, least, count) for x, w in zip(X, weights, strict=True)])
    points = (X - X.mean(0)).double()
    D, largest = X.shape[1], least * 2 ** (count - 1)
    moments = torch.cat([weights[:, None].double(), weights[:, None] * points], 1)              # w and w y
    parts: list[Tensor] = []
    for x in points.split(max(1, ENTRIES // max(len(X), 1))):
        G = torch.exp(-0.5 * (torch.cdist(x, points) / largest).square())
        found: list[Tensor] = []
        for k in reversed(range(int(count))):
            length = least * 2**k
            sums = G @ moments / (2 * torch.pi * length**2) ** (D / 2)
            s, first = sums[:, :1], sums[:, 1:]
            found = [s, (x * s - first) / length, *found]
            if k:
                G = G.square().square()
        parts.append(torch.cat(found, 1))
    return torch.cat(parts).to(X)
