"""Weights that give every condition a gradient of the same length."""

from __future__ import annotations

import torch

from .balance import BlockWeights, unweighted

EPSILON = 1e-5


class GradNorm(BlockWeights):
    """Gradient norm: every condition pulls with a gradient of the same length.

        λ_b ← α λ_b + (1 − α) n̄ / (n_b + ε n̄),    n_b = |∇L_b| without λ_b, n̄ their mean, λ(0) = 1

    Weights of points stay in L_b. A gradient that vanishes gets 1/ε; if all do, every condition gets 1.

    Args:
        every: Steps between updates; one costs m gradients.
        first: First step with an update.
        alpha: Share of the old weights.

    Source: Wang, Sankaran, Wang, Perdikaris (2023), arXiv:2308.08468, algorithm 1; the paper has the sum for n̄, a
        constant factor. ε = 1e-5 as in its code.
    """

    name = "grad-norm"
    second_order = "redraw"

    def __init__(self, every: int = 1000, first: int = 10, alpha: float = 0.9):
        super().__init__(every, first)
        self.demand(0 <= alpha < 1, "alpha", alpha, "in [0, 1)")
        self.alpha = float(alpha)

    def update(self, view, step):
        with unweighted(view):
            _, G, _ = view.gradients()
        n = G.norm(dim=1)
        mean = n.mean()
        new = torch.where(mean > 0, mean / (n + EPSILON * mean), 1.0)
        for i, b in enumerate(view.blocks):
            self.weights[b.name] = self.alpha * self.weights.get(b.name, 1.0) + (1 - self.alpha) * new[i]
        return dict(self.weights)
