"""Residual-based attention: weights of points that remember where the residual was large.

RBA and its variational form differ in q, what a point earns: λ_k ← γ λ_k + η q_k / max q.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor

from .balance import PointWeights, WeightsAgainstEquations, tiny

POTENTIALS = ("quadratic", "exponential", "lp", "cosh")


class ResidualAttention(PointWeights):
    """RBA: a point's weight grows with its residual relative to the block's largest.

        λ_k ← γ λ_k + η |r_k| / max_j |r_j|,    loss mean_k (λ_k r_k)²

    λ ≤ max(λ(0), η / (1 − γ)). Points must stand still for the whole run; in second-order stages λ is frozen.

    Args:
        every: Steps between updates.
        gamma: Decay γ in [0, 1); 1 / (1 − γ) is the memory in updates.
        eta: Gain η > 0.
        start: λ(0).
        conditions: Which blocks have weights, "all" or "equations".

    Source: Anagnostopoulos, Toscano, Stergiopulos, Karniadakis (2024), arXiv:2307.00379; λ starts at 1 here, not 0.
    """

    name = "rba"
    fixed_points = True

    def __init__(self, every: int = 1, gamma: float = 0.999, eta: float = 0.01, start: float = 1.0,
                 conditions: str = "all"):
        super().__init__(every, conditions)
        self.demand(0 <= gamma < 1, "gamma", gamma, "in [0, 1)")
        self.demand(eta > 0, "eta", eta, "positive")
        self.demand(start >= 0, "start", start, "at least 0")
        self.gamma, self.eta, self.start = float(gamma), float(eta), float(start)
        self.multipliers: dict[str, Tensor] = {}

    def update(self, view, step):
        for name, r in view.magnitudes([b.name for b in self.weighed(view)]).items():
            old = self.multipliers.get(name, torch.full_like(r, self.start))
            self.multipliers[name] = self.gamma * old + self.eta * relative(r)
        return dict(self.multipliers)

    def state_dict(self):
        return {"multipliers": dict(self.multipliers)}

    def load_state_dict(self, state: Mapping):
        self.multipliers = dict(state["multipliers"])


def relative(q: Tensor) -> Tensor:
    """q / max q, shape (R,); zero where q is."""
    return q / q.max().clamp_min(tiny(q))


def earned(r: Tensor, potential: str, t: int, c: float, p: float) -> Tensor:
    """q / max q with q ∝ Φ′(|r| / ε), shape (R,); see `VariationalAttention`.

    Args:
        r: |r_k|.
        potential: Φ.
        t: Number of the update, from 0.
        c, p: Constants of the exponential and the power.
    """
    a = relative(r)                                # every q depends on |r| / max |r| alone, whatever the scale of r
    if potential == "quadratic":
        return a
    if potential == "exponential":
        return torch.exp((a - 1) * (log(t + 2) / c))
    if potential == "lp":
        return relative(a ** (p - 1))
    s = torch.full_like(a[0], log(2 * len(a)))     # 1/ε: sinh of it is N, so that mean sinh(s a) is about 1 or more
    for _ in range(20):                            # convex and increasing in s: Newton falls to the root
        slope = (a * torch.cosh(s * a)).mean().clamp_min(tiny(a))
        s = (s - (torch.sinh(s * a).mean() - 1) / slope).clamp(0.0, 1.5 * log(2 * len(a)) + 1)
    return relative(torch.sinh(s * a))


class VariationalAttention(PointWeights):
    """vRBA: RBA whose weights come from a potential of the residual, which also draws batches.

        λ_k ← γ λ_k + η (φ q_k / max q + 1 − φ),    γ = 1 − η / λ_max,    loss mean_k (λ_k r_k)²
        a batch takes point k with probability ∝ λ_k^κ / mean λ^κ + c₀, any point if all of these are zero

    | potential | q, with a = |r| | norm it stands for |
    |---|---|---|
    | "quadratic" | a | L2 |
    | "exponential" | exp((a − max a) / ε), ε = c max a / ln(t + 2) | L∞ |
    | "lp" | a^(p − 1) | Lp |
    | "cosh" | sinh(a / ε), ε from mean sinh(a / ε) = 1 by 20 Newton steps (in 1/ε, from ln(2N) / max a) | between |

    Points that stand still are the pool. Where a sampler replaces those of any condition, memory is lost: all points,
    so that conditions keep their share, get what the recursion would settle at, λ_max (φ q / max q + 1 − φ). In
    second-order stages weights change at redraws only.

    Args:
        every: Steps between updates; t counts updates.
        potential: Φ.
        eta: Gain η in (0, lambda_max).
        lambda_max: Largest weight.
        start: λ(0).
        phi: Share φ in [0, 1] of the residual.
        c: Of "exponential".
        p: Of "lp", above 1.
        kappa, c0: Exponent κ and uniform share c₀ of batches.
        conditions: Which blocks have weights, "all" or "equations".

    Source: Toscano et al. (2025), arXiv:2509.14198, with its Adam stage's defaults. Its quasi-Newton stage draws
        points ∝ λ from a pool with γ = 0.1, η = 0.9, nearly without memory, and loss mean r²; here points keep
        row weights instead, and λ_max is not raised in between. Its weights of blocks are `AttentionBlocks`.
    """

    name = "vrba"
    second_order = "redraw"

    def __init__(self, every: int = 1, potential: str = "quadratic", eta: float = 0.01, lambda_max: float = 10.0,
                 start: float = 0.1, phi: float = 1.0, c: float = 1.0, p: float = 4.0, kappa: float = 1.0,
                 c0: float = 0.0, conditions: str = "all"):
        super().__init__(every, conditions)
        self.demand(potential in POTENTIALS, "potential", repr(potential), f"one of {', '.join(POTENTIALS)}")
        self.demand(lambda_max > 0, "lambda_max", lambda_max, "positive")
        self.demand(0 < eta <= lambda_max, "eta", eta, f"in (0, lambda_max={lambda_max}]")
        self.demand(0 <= phi <= 1, "phi", phi, "in [0, 1]")
        self.demand(p > 1, "p", p, "above 1")
        for option, value in (("c", c), ("start", start)):
            self.demand(value > 0, option, value, "positive")
        for option, value in (("kappa", kappa), ("c0", c0)):
            self.demand(value >= 0, option, value, "at least 0")
        self.potential, self.eta, self.top, self.start = potential, float(eta), float(lambda_max), float(start)
        self.phi, self.c, self.p, self.kappa, self.c0 = float(phi), float(c), float(p), float(kappa), float(c0)
        self.multipliers: dict[str, Tensor] = {}
        self.updates = 0

    def _earned(self, view) -> dict[str, Tensor]:
        """φ q / max q + 1 − φ by block."""
        sizes = view.magnitudes([b.name for b in self.weighed(view)])
        t, self.updates = self.updates, self.updates + 1
        return {n: self.phi * earned(r, self.potential, t, self.c, self.p) + 1 - self.phi for n, r in sizes.items()}

    def update(self, view, step):
        for name, q in self._earned(view).items():
            old = self.multipliers.get(name, torch.full_like(q, self.start))
            self.multipliers[name] = (1 - self.eta / self.top) * old + self.eta * q
        return dict(self.multipliers)

    def renew(self, view, step):
        self.multipliers = {name: self.top * q for name, q in self._earned(view).items()}
        return dict(self.multipliers)

    def density(self, name):
        if name not in self.multipliers:
            return None
        power = self.multipliers[name] ** self.kappa
        found = (power / power.mean().clamp_min(tiny(power)) + self.c0).nan_to_num(0.0, 0.0, 0.0)
        return torch.where(found.sum() > 0, found, 1.0)      # residuals of zero, or of NaN, which the step will report

    def state_dict(self):
        return {"multipliers": dict(self.multipliers), "updates": self.updates}

    def load_state_dict(self, state: Mapping):
        self.multipliers, self.updates = dict(state["multipliers"]), int(state["updates"])


class AttentionBlocks(WeightsAgainstEquations):
    """vRBA's weights of conditions: gradients as long as that of the equations.

        λ_b ← α λ_b + (1 − α) min(n̄_r / n̄_b, cap),    n̄ ← β n̄ + (1 − β) |∇L|, λ_r = 1

    for b other than equations, gradients without λ_b but with weights of points. In second-order stages λ is frozen.

    Args:
        every: Steps between updates; one costs m gradients.
        alpha, beta: Memories of weights and lengths.
        start: λ_b(0), λ_max² of vRBA, for points of equations then weigh up to that much.
        cap: Largest quotient.

    Raises:
        ProblemError: No equation is trained.

    Source: Toscano et al. (2025), arXiv:2509.14198; use it as `vrba+vrba-blocks` with vrba.conditions=equations. The
        cap is ours.
    """

    name = "vrba-blocks"

    def __init__(self, every: int = 1, alpha: float = 0.999, beta: float = 0.99, start: float = 100.0,
                 cap: float = 1e6):
        super().__init__(every)
        for option, value in (("alpha", alpha), ("beta", beta)):
            self.demand(0 <= value < 1, option, value, "in [0, 1)")
        for option, value in (("start", start), ("cap", cap)):
            self.demand(value > 0, option, value, "positive")
        self.alpha, self.beta, self.start, self.cap = float(alpha), float(beta), float(start), float(cap)
        self.lengths: Tensor | None = None

    def update(self, view, step):
        others, G = self.gradients(view)
        n = G.norm(dim=1)
        self.lengths = n if self.lengths is None else self.beta * self.lengths + (1 - self.beta) * n
        new = (self.lengths[0] / self.lengths[1:].clamp_min(tiny(n))).clamp_max(self.cap)
        for i, name in enumerate(others):
            self.weights[name] = self.alpha * self.weights.get(name, self.start) + (1 - self.alpha) * new[i]
        return dict(self.weights)

    def state_dict(self):
        return {**super().state_dict(), "lengths": self.lengths}

    def load_state_dict(self, state: Mapping):
        super().load_state_dict(state)
        self.lengths = state["lengths"]
