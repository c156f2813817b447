"""ConFIG: the direction with the same cosine to every gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from .balance import Surgery
from .cone import TOLERANCE, project, unit

LENGTHS = {
    "min": lambda n: n.min(),
    "max": lambda n: n.max(),
    "arithmetic": lambda n: n.mean(),
    "harmonic": lambda n: 1 / (1 / n).mean(),
    "geometric": lambda n: n.log().mean().exp(),
}
FALLBACKS = ("project", "none")


def with_products(U: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """d = U⁺ w, the shortest d with u_i·d = w_i, or nearest to that if the u_i are dependent; and a with d = Uᵀ a.

    By Uᵀ = Q R and the singular values of R (m, m), which keeps the accuracy that the Gram matrix U Uᵀ squares away.
    Singular values below 64 m ε of the largest count as zero.

    Args:
        U: Unit gradients, (m, P), float64.
        w: (m,).

    Returns:
        d, shape (P,), and a = (U Uᵀ)⁺ w, shape (m,).
    """
    Q, R = torch.linalg.qr(U.T)
    A, sigma, B = torch.linalg.svd(R.T, full_matrices=False)
    kept = sigma > 64 * len(U) * torch.finfo(U.dtype).eps * sigma[0]
    inverse = torch.where(kept, 1 / torch.where(kept, sigma, 1.0), 0.0)
    scaled = inverse * (A.T @ w)
    return Q @ (B.T @ scaled), A @ (inverse * scaled)


def config(gradients: Tensor, weights: Sequence[float] | None = None, length: str = "projections",
           fallback: str = "project") -> tuple[Tensor, Tensor]:
    """ConFIG's direction, see `ConFIG`.

    Returns:
        g, shape (P,), in the dtype of the gradients; and whether the fallback took its place, a tensor.
    """
    U, n = unit(gradients)
    some = n > 0
    no = torch.zeros((), dtype=torch.bool, device=U.device)
    if len(U) == 1:
        return gradients[0], no
    if len(U) == 2 and weights is None:
        factor = n.sum() / 2 if length == "projections" else LENGTHS[length](n)
        g = torch.where(some.all(), factor * U.sum(0), gradients.double().sum(0))
        return g.to(gradients.dtype), no
    w = torch.ones_like(n) if weights is None else torch.tensor(list(weights), dtype=n.dtype, device=n.device)
    kept = U[some]                                        # the singular values below wait for the device anyway
    if len(kept) < 2:
        return gradients.sum(0), no
    direction = unit(with_products(kept, w[some])[0])[0]
    products = kept @ direction
    if fallback == "project" and bool(products.min() < -TOLERANCE):
        return project(gradients.double().sum(0), gradients)[0].to(gradients.dtype), ~no
    size = n[some] @ products if length == "projections" else LENGTHS[length](n[some]) * products.sum()
    return (size * direction).to(gradients.dtype), no


class ConFIG(Surgery):
    """The direction whose cosines with all gradients are equal: no loss rises.

        d = U⁺ 1 (the shortest d with u_i·d = 1),   g = (Σ_i g_i·d̂) d̂,   u_i = g_i/|g_i|,   d̂ = d/|d|
        m = 2:   g = ½ (|g_1| + |g_2|) (u_1 + u_2)

    Gradients that vanish are left out. Two antiparallel gradients leave g = 0, or its rounding.

    Args:
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
        length: "projections": Σ_i g_i·d̂; "min", "max", "arithmetic", "harmonic" or "geometric": that mean (or
            extreme) of the |g_i| times Σ_i u_i·d̂.
        weights: w_i > 0 by loss: cosines in the ratio of the w_i, u_i·d = w_i instead of 1; None: equal ones.
        fallback: "project": where dependent gradients leave the formula with a cosine below −1e-6, g is the projection
            of Σ g_i on the cone G g ≥ 0, zero where that cone holds nothing near Σ g_i; then the step is skipped.
            "none": the formula as published.

    Source: Liu, Chu, Thuerey (2025), arXiv:2408.11104, eqs. 2 and 3. Deviations: the fallback (the paper assumes
        independent gradients; for (1, 0), (−1, .05), (−1, −.05) its formula conflicts with the first); the closed form
        for m = 2, which is the paper's without its division by 1 − u_1·u_2; singular values of U instead of those of
        U Uᵀ.
    """

    waits = True

    def __init__(self, groups: str = "each", length: str = "projections", weights: Sequence[float] | None = None,
                 fallback: str = "project"):
        super().__init__(groups)
        look_up("config.length", length, {"projections": None, **LENGTHS})
        look_up("config.fallback", fallback, dict.fromkeys(FALLBACKS))
        if weights is not None and (not isinstance(weights, (list, tuple)) or not weights or not all(
                isinstance(w, (int, float)) and 0 < w < float("inf") for w in weights)):
            raise ProblemError(f"config.weights={weights!r} must be positive numbers, one for each loss, as in [1, 2]")
        self.length, self.weights, self.fallback = length, weights, fallback

    def check_losses(self, names):
        if self.weights is not None and len(self.weights) != len(names):
            raise ProblemError(f"config.weights has {len(self.weights)} numbers, but there are {len(names)} losses "
                               f"({'; '.join(names)}); give one for each")

    def aggregate(self, gradients: Tensor, generator=None) -> Tensor:
        g, fell = config(gradients, self.weights, self.length, self.fallback)
        self.count(fell)
        return g
