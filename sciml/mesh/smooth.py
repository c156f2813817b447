"""A smooth distance to facets, for conditions that are built into a field on a mesh.

    1/φ(x) = 1/c ∫_Γ ds_y / |x − y|^D = 1/c Σ_i θ_i(x) / h_i(x),   c = π (D = 2), 2π (D = 3)

θ_i is the angle, or solid angle, under which facet i is seen and h_i the distance to its line or plane. φ vanishes on Γ
only, grows like the distance from it (∂φ/∂n = 1 on facets), and is analytic elsewhere: the exact distance has kinks
wherever two facets are equally near, and an equation of second order would see them.

Source: Belyaev, Fayolle and Pasko (2013), "Signed Lp-distance fields", doi:10.1016/j.cad.2012.10.035, with p = 1. Here
near its facet φ is continued through it, so that derivatives on Γ are one-sided limits, not 0/0.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

LARGEST = 2**19                         # pairs of points and facets at a time


class SmoothDistance:
    """φ as a function of D columns of coordinates, each of shape (N,); differentiable in forward mode.

    Args:
        facets: Corners of segments or triangles, shape (F, D, D), in the order that makes normals point outwards.
    """

    __name__ = "smooth_distance"

    def __init__(self, facets: Tensor):
        self.facets = facets.detach().to(torch.float64)
        self._copies: dict = {}

    def __call__(self, *columns):
        if has_torch_function(columns):
            return handle_torch_function(self, columns, *columns)
        key = columns[0].dtype, columns[0].device
        if key not in self._copies:
            self._copies[key] = self.facets.to(columns[0].device, columns[0].dtype)
        facets = self._copies[key]
        size = max(LARGEST // len(facets), 1)
        X = torch.stack(torch.broadcast_tensors(*columns), -1)
        return torch.cat([_distance(part, facets) for part in X.split(size)])


def _distance(X: Tensor, facets: Tensor) -> Tensor:
    """φ at points (N, D)."""
    theta, h, seen, full = (_segments if X.shape[1] == 2 else _triangles)(X, facets)
    # The largest term c/h is infinite on its facet; multiplied out, everything stays finite and smooth there.
    k = seen.detach().argmax(1, keepdim=True)
    angle, height = theta.gather(1, k)[:, 0], h.gather(1, k)[:, 0]
    angle = torch.where(angle < -full / 2, angle + 2 * full, angle)            # just across the facet
    rest = torch.where(torch.arange(len(facets), device=X.device) == k, torch.zeros_like(seen), seen).sum(1)
    below = angle + height * rest
    # At a corner all of it is 0/0; φ = 0 there.
    safe = below.detach().abs() > 1e-300
    return torch.where(safe, full * height / torch.where(safe, below, torch.ones_like(below)), torch.zeros_like(height))


def _segments(X: Tensor, facets: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Angles (N, F), heights above lines (positive inside), their quotients, and the angle on a facet."""
    a, b = facets.unbind(1)
    length = (b - a).norm(dim=1)
    t = (b - a) / length[:, None]
    p = X[:, None] - a
    along = p[..., 0] * t[:, 0] + p[..., 1] * t[:, 1]
    h = t[:, 0] * p[..., 1] - t[:, 1] * p[..., 0]                # outward normal is (t_y, −t_x)
    across, cosine = h * length, h * h + along * (along - length)
    return (*_quotient(across, cosine, h, length.expand_as(h), 1.0), pi)


def _triangles(X: Tensor, facets: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Solid angles (N, F), heights above planes (positive inside), their quotients, and the angle on a facet.

    Source: van Oosterom and Strackee (1983), doi:10.1109/TBME.1983.325207: tan(θ/2) = a·(b × c) / (…).
    """
    a, b, c = (facets[:, i] - X[:, None] for i in range(3))
    la, lb, lc = a.norm(dim=2), b.norm(dim=2), c.norm(dim=2)
    normal = torch.linalg.cross(facets[:, 1] - facets[:, 0], facets[:, 2] - facets[:, 0])
    double = normal.norm(dim=1)
    h = (a * (normal / double[:, None])).sum(2)
    below = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return (*_quotient(h * double, below, h, double.expand_as(h), 2.0), 2 * pi)


def _quotient(top: Tensor, below: Tensor, h: Tensor, slope: Tensor, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """θ = factor · atan2(top, below), h and θ/h, where top = h · slope; a series where the facet is seen edge-on."""
    tiny = torch.finfo(h.dtype).tiny ** 0.25
    nowhere = (top.detach().abs() < tiny) & (below.detach().abs() < tiny)      # at an end of the facet
    below = torch.where(nowhere, torch.full_like(below, tiny), below)
    theta = factor * torch.atan2(top, below)
    z = top / torch.where(below.detach() > 0, below, torch.ones_like(below))
    flat = (below.detach() > 0) & (z.detach().abs() < 1e-3)
    ratio = torch.where(flat, z, torch.zeros_like(z)).square()
    series = factor * slope / torch.where(flat, below, torch.ones_like(below)) * (
        1 - ratio * (1 / 3 - ratio * (1 / 5 - ratio / 7)))
    level = h.detach() == 0
    direct = theta.abs() / torch.where(flat | level, torch.ones_like(h), h).abs()
    seen = torch.where(flat, series, torch.where(level, torch.full_like(h, 1e300 if h.dtype == torch.float64 else 1e30),
                                                 direct))
    return theta, h, seen
