"""Weights from the history of losses alone: ReLoBRaLo, DWA and MinMax.

Losses are those of all points, without weights, from a pass without graph at each update (about a third of a step's
cost); `every` makes that rarer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from .ascent import Ascent
from .balance import BlockWeights, View, tiny

log = logging.getLogger(__name__)


def block_losses(view: View) -> Tensor:
    """L_b, shape (m,), without graph."""
    with torch.no_grad():
        return torch.stack(list(view.losses().values()))


def by_name(view: View, weights: Tensor) -> dict[str, Tensor]:
    """λ of shape (m,) by name of the block."""
    return {b.name: w for b, w in zip(view.blocks, weights, strict=True)}


def balanced(exponents: Tensor) -> Tensor:
    """m softmax, shape (m,); exponents beyond the range of the dtype count as its largest number."""
    limit = torch.finfo(exponents.dtype).max / 4               # differences of two stay finite
    return len(exponents) * torch.softmax(exponents.clamp(-limit, limit), 0)


class ReLoBRaLo(BlockWeights):
    """ReLoBRaLo: raises conditions whose loss falls more slowly than the others', now or since the start.

        S(t′) = m softmax_i( L_i(t) / (T L_i(t′) + ε) )
        λ ← α (ρ λ + (1 − ρ) S(0)) + (1 − α) S(t − 1),    ρ ~ Bernoulli(ρ̄), λ(0) = 1

    Useless where a condition's loss starts at zero (an initial condition that is nearly built in): its quotient
    is then of the order of 1/ε and takes all weight. A warning says so.

    Args:
        every: Steps between updates; t counts updates.
        alpha: Memory α in [0, 1).
        temperature: T > 0; small: the slowest condition takes all.
        rho: Probability ρ̄ of keeping the history rather than looking back to the start.
        seed: Of ρ; None: the recipe's.

    Source: Bischof & Kraus (2021), arXiv:2110.09813. Defaults are those of ConFIG's comparison;
        physicsnemo-sym has α = 0.95, T = 1, ρ̄ = 0.99.
    """

    name = "relobralo"

    def __init__(self, every: int = 1, alpha: float = 0.999, temperature: float = 0.1, rho: float = 0.999,
                 seed: int = 0):
        super().__init__(every)
        self.demand(0 <= alpha < 1, "alpha", alpha, "in [0, 1)")
        self.demand(temperature > 0, "temperature", temperature, "positive")
        self.demand(0 <= rho <= 1, "rho", rho, "in [0, 1]")
        self.alpha, self.temperature, self.rho = float(alpha), float(temperature), float(rho)
        self.generator = torch.Generator().manual_seed(int(seed))
        self.start: Tensor | None = None
        self.last: Tensor | None = None
        self.current: Tensor | None = None

    def update(self, view, step):
        now = block_losses(view)
        if self.start is None or self.last is None or self.current is None:
            self.start, self.last, self.current = now, now, torch.ones_like(now)
            self._warn(view)
            return by_name(view, self.current)
        kept = float(torch.rand((), generator=self.generator, dtype=torch.float64)) < self.rho
        history = self.current if kept else self._progress(now, self.start)
        self.current = self.alpha * history + (1 - self.alpha) * self._progress(now, self.last)
        self.last = now
        return by_name(view, self.current)

    def _progress(self, now: Tensor, before: Tensor) -> Tensor:
        """S, shape (m,)."""
        return balanced(now / (self.temperature * before + 1e-12))

    def _warn(self, view: View) -> None:
        assert self.start is not None
        zero = self.start <= 1e-12 * self.start.max()
        names = [b.name for b, z in zip(view.blocks, zero.tolist(), strict=True) if z]
        if names and len(view.blocks) > 1:
            log.warning("balance=relobralo compares losses with those at the start, and that of %s is zero there; use "
                        "grad-norm", ", ".join(names))

    def state_dict(self):
        return {"start": self.start, "last": self.last, "current": self.current,
                "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping):
        self.start, self.last, self.current = state["start"], state["last"], state["current"]
        self.generator.set_state(state["generator"].cpu())


class DWA(BlockWeights):
    """DWA, dynamic weight average: raises conditions whose loss falls more slowly than the others'.

        λ = m softmax_i(ρ_i / T),    ρ_i = mean of L_i over the last W updates / mean over the W before,
        λ = 1 in the first 2 W updates

    The present loss enters the next update. ρ_i = 1 where the older mean is zero.

    Args:
        every: Steps between updates.
        window: W; the public code starts after W updates, while the older window holds its initial ones.
        temperature: T > 0; large: equal weights.
        smoothing: Share β in [0, 1) of the past in the losses, L̃ ← β L̃ + (1 − β) L; useful if points are redrawn often.

    Source: Liu, Johns, Davison (2019), arXiv:1803.10704, whose windows are epochs.
    """

    name = "dwa"

    def __init__(self, every: int = 1, window: int = 25, temperature: float = 2.0, smoothing: float = 0.0):
        super().__init__(every)
        self.demand(window >= 1, "window", window, "a number of updates, at least 1")
        self.demand(temperature > 0, "temperature", temperature, "positive")
        self.demand(0 <= smoothing < 1, "smoothing", smoothing, "in [0, 1)")
        self.window, self.temperature, self.smoothing = int(window), float(temperature), float(smoothing)
        self.losses: Tensor | None = None

    def update(self, view, step):
        now, W, past = block_losses(view), self.window, self.losses
        if past is None:
            past = now[:0].reshape(0, len(now))
        elif self.smoothing:
            now = self.smoothing * past[-1] + (1 - self.smoothing) * now
        self.losses = torch.cat([past, now[None]])[-2 * W:]
        if len(past) < 2 * W:
            return by_name(view, torch.ones_like(now))
        old, new = past[:W].mean(0), past[W:].mean(0)
        ratio = torch.where(old > 0, new / old.clamp_min(tiny(old)), 1.0)
        return by_name(view, balanced(ratio / self.temperature))

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state: Mapping):
        self.losses = state["losses"]


class MinMax(BlockWeights):
    """MinMax: weights climb the loss that the field descends.

        min_θ max_ξ Σ_i λ_i L_i,    λ = m softmax(ξ), ξ by Adam ascent from 0:    ∂/∂ξ_j = λ_j (L_j − Σ_i λ_i L_i / m)

    Args:
        every: Steps between updates.
        lr: Learning rate of the ascent.

    Source: Liu & Wang (2021), "A dual-dimer method for training physics-constrained neural networks with minimax
        architecture", Neural Networks 136; softmax and Adam as in ConFIG's comparison, which applies ξ instead of λ.
    """

    name = "minmax"

    def __init__(self, every: int = 1, lr: float = 1e-3):
        super().__init__(every)
        self.demand(lr > 0, "lr", lr, "positive")
        self.ascent = Ascent(float(lr))
        self.logits: Tensor | None = None

    def update(self, view, step):
        L = block_losses(view)
        logits = torch.zeros_like(L) if self.logits is None else self.logits
        weights = balanced(logits)
        self.logits = self.ascent.climb("logits", logits, weights * (L - (weights * L).mean()))
        return by_name(view, balanced(self.logits))

    def state_dict(self):
        return {"logits": self.logits, "ascent": self.ascent.state_dict()}

    def load_state_dict(self, state: Mapping):
        self.logits = state["logits"]
        self.ascent.load_state_dict(state["ascent"])
