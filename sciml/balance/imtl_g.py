"""IMTL-G: the weighted mean of the gradients whose projections on all of them are equal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import look_up
from .balance import Surgery
from .cone import TOLERANCE, cosines, project, unit
from .config import FALLBACKS, with_products


def imtl_g(gradients: Tensor, fallback: str = "project") -> tuple[Tensor, Tensor]:
    """IMTL-G's direction, see `ImtlG`.

    Returns:
        g, shape (P,), in the dtype of the gradients; and whether the formula ascends, a tensor.
    """
    U, n = unit(gradients)
    some = n > 0
    no = torch.zeros((), dtype=torch.bool, device=U.device)
    if len(U) == 1:
        return gradients[0], no
    if len(U) == 2:                                       # Σ b > 0 always, and nothing small to divide by
        g = torch.where(some.all(), n.prod() / n.sum() * U.sum(0), gradients.double().sum(0))
        return g.to(gradients.dtype), no
    kept, sizes = U[some], n[some]                        # the singular values below wait for the device anyway
    if len(kept) < 2:
        return gradients.sum(0), no
    d, a = with_products(kept, torch.ones_like(sizes))
    total = (a / sizes).sum()                             # Σ b
    g = d / total
    wrong = ~(total > 0) | (cosines(g, kept) < -TOLERANCE).any()
    if fallback == "project" and bool(wrong):
        g = project(gradients.double().sum(0), gradients)[0]
    return g.to(gradients.dtype), wrong


class ImtlG(Surgery):
    """The weighted mean of the gradients whose projections on all of them are equal.

        g = Σ_i α_i g_i,   Σ_i α_i = 1,   u_i·g the same for all i
        α = b / Σ_j b_j,   b_i = a_i / |g_i|,   a = (U Uᵀ)⁺ 1
        m = 2:   g = |g_1| |g_2| / (|g_1| + |g_2|) (u_1 + u_2)

    The same line as ConFIG's: g = d / Σ_i b_i with d = U⁺ 1. For m ≥ 3, Σ_i b_i < 0 is possible; g then
    ascends every loss. Gradients that vanish are left out.

    Args:
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
        fallback: "project": where Σ_i b_i ≤ 0, or g conflicts with a dependent gradient, g is the projection of Σ g_i
            on the cone G g ≥ 0; "none": the formula as published. Either way such steps are counted (`fallbacks`).

    Source: Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang (2021), Towards impartial multi-task learning, ICLR, eq. 6.
        Deviations: the fallback; a by singular values of U.
    """

    waits = True

    def __init__(self, groups: str = "each", fallback: str = "project"):
        super().__init__(groups)
        look_up("imtl-g.fallback", fallback, dict.fromkeys(FALLBACKS))
        self.fallback = fallback

    def aggregate(self, gradients: Tensor, generator=None) -> Tensor:
        g, wrong = imtl_g(gradients, self.fallback)
        self.count(wrong)
        return g
