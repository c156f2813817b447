"""Weights from the trace of the neural tangent kernel."""

from __future__ import annotations

import torch

from .balance import BlockWeights, tiny


class NTK(BlockWeights):
    """NTK: every condition converges at the same mean rate.

        λ_b ← α λ_b + (1 − α) mean_c κ_c / κ_b,    κ_b = mean_k |∇_θ r_b,k|², λ(0) = 1

    κ_b is the trace of J_b J_bᵀ over its number of rows, from the Jacobian's rows one by one; |∇ Σ_k r_k|² is something
    else. Residuals have neither λ_b nor weights of points. A trace counts as at least 1e-5 of the mean.

    Args:
        every: Steps between updates.
        first: First step with an update.
        alpha: Share of the old weights.
        rows: Points per condition that κ is estimated from, evenly spaced in their order; None: all.

    Source: Wang, Yu, Perdikaris (2022), arXiv:2007.14527, which has
        Tr K / Tr K_bb, sums over points, as its losses are; here both are means. The moving average is that of Wang et
        al. (2023), arXiv:2308.08468.
    """

    name = "ntk"
    second_order = "redraw"

    def __init__(self, every: int = 1000, first: int = 10, alpha: float = 0.9, rows: int | None = 256):
        super().__init__(every, first)
        self.demand(0 <= alpha < 1, "alpha", alpha, "in [0, 1)")
        self.demand(rows is None or rows >= 1, "rows", rows, "a number of points, at least 1")
        self.alpha, self.rows = float(alpha), None if rows is None else int(rows)

    def update(self, view, step):
        traces = view.traces(self.rows)
        mean = torch.stack(list(traces.values())).mean()
        for name, trace in traces.items():
            new = torch.where(mean > 0, mean / trace.clamp_min((1e-5 * mean).clamp_min(tiny(mean))), 1.0)
            self.weights[name] = self.alpha * self.weights.get(name, 1.0) + (1 - self.alpha) * new
        return dict(self.weights)
