"""Self-adaptive weights: a saddle point in field and weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .ascent import Ascent
from .balance import PointWeights


def _square(multiplier: Tensor) -> tuple[Tensor, Tensor]:
    return multiplier.square(), 2 * multiplier


def _sigmoid(multiplier: Tensor) -> tuple[Tensor, Tensor]:
    m = torch.sigmoid(multiplier)
    return m, m * (1 - m)


MASKS = {"square": (_square, 1.0), "sigmoid": (_sigmoid, 0.0)}


class SelfAdaptive(PointWeights):
    """SA-PINN: a multiplier per point climbs while the field descends.

        min_θ max_λ mean_k m(λ_k) r_k²,    λ_k by Adam ascent along m′(λ_k) r_k², 0 ≤ λ_k ≤ cap

    The rows of the objective are multiplied by √m(λ_k). m = λ² starts at λ = 1, m = sigmoid at λ = 0. Points must stand
    still for the whole run; in second-order stages weights are frozen.

    Args:
        every: Steps between updates.
        lr: Learning rate of the ascent.
        mask: m, "square" or "sigmoid".
        cap: Largest λ; "square" has no bound of its own.
        conditions: Which blocks have weights, "all" or "equations".

    Source: McClenny & Braga-Neto (2023), arXiv:2009.04544; the cap, the start and Adam's moments by block are ours.
        The slope leaves out 1/N, to which Adam is blind.
    """

    name = "sa"
    fixed_points = True

    def __init__(self, every: int = 1, lr: float = 5e-3, mask: str = "square", cap: float = 100.0,
                 conditions: str = "all"):
        super().__init__(every, conditions)
        self.demand(lr > 0, "lr", lr, "positive")
        self.demand(mask in MASKS, "mask", repr(mask), "'square' or 'sigmoid'")
        self.demand(cap >= 1, "cap", cap, "at least 1")
        self.mask, self.start = MASKS[mask]
        self.cap, self.ascent = float(cap), Ascent(float(lr))
        self.multipliers: dict[str, Tensor] = {}

    def update(self, view, step):
        for name, r in view.magnitudes([b.name for b in self.weighed(view)]).items():
            old = self.multipliers.get(name, torch.full_like(r, self.start))
            slope = self.mask(old)[1] * r.square()
            self.multipliers[name] = self.ascent.climb(name, old, slope).clamp(0.0, self.cap)
        return {name: self.mask(x)[0].sqrt() for name, x in self.multipliers.items()}

    def state_dict(self):
        return {"multipliers": dict(self.multipliers), "ascent": self.ascent.state_dict()}

    def load_state_dict(self, state: Mapping):
        self.multipliers = dict(state["multipliers"])
        self.ascent.load_state_dict(state["ascent"])
