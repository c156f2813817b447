"""Weights that give every condition a gradient of the same length."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import ProblemError
from .balance import BlockWeights


class GradNorm(BlockWeights):
    """λ_b ← α λ_b + (1 − α) n̄ / (n_b + ε n̄) with n_b = |∇L_b| (unweighted) and n̄ their mean.

    Args:
        every: Steps between updates.
        first: First step with an update.
        alpha: Share of the old weights.

    Source: Wang, Sankaran, Wang, Perdikaris (2023), arXiv:2308.08468, algorithm 1; the paper has the sum for n̄, a
        constant factor. ε = 1e-5 as in its code.
    """

    second_order = "redraw"

    def __init__(self, every: int = 1000, first: int = 10, alpha: float = 0.9):
        if not 0 <= alpha < 1:
            raise ProblemError(f"grad-norm.alpha={alpha} must be in [0, 1)")
        super().__init__(every, first)
        self.alpha = float(alpha)
        self.weights: dict[str, Tensor] = {}

    def update(self, view, step):
        saved = dict(view.weights)
        view.weights.update(dict.fromkeys(saved, 1.0))
        _, G, _ = view.gradients()
        view.weights.update(saved)
        n = G.norm(dim=1)
        new = n.mean() / (n + 1e-5 * n.mean())
        for b, w in zip(view.blocks, new, strict=True):
            old = self.weights.get(b.name)
            self.weights[b.name] = (1 - self.alpha) * w + self.alpha * (1.0 if old is None else old)
        return dict(self.weights)

    def state_dict(self):
        return {"weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping):
        self.weights = dict(state["weights"])
