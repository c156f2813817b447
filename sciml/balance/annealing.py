"""Learning-rate annealing: other conditions against the equations, by statistics of gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from .balance import WeightsAgainstEquations, tiny

VARIANTS = ("reference", "pooled", "unweighted", "mean")


class LearningRateAnnealing(WeightsAgainstEquations):
    """LRA: raises conditions whose gradient is small next to the largest entry of the equations'.

        λ̂_i = max |∇L_r| / mean |∇(λ_i L_i)|,    λ_i ← (1 − α) λ_i + α min(λ̂_i, cap),    λ_r = 1, λ(0) = 1

    L_r is the sum over equations; absolute values are of single entries of gradients.

    | variant | numerator | denominator | entries |
    |---|---|---|---|
    | "reference" | max | mean of λ_i ∇L_i | matrices only: the largest of their maxima, the mean of their means |
    | "pooled" | max | mean of λ_i ∇L_i | all parameters together (PINNacle) |
    | "unweighted" | max | mean of ∇L_i | all together (ConFIG's comparison) |
    | "mean" | mean | mean of λ_i ∇L_i | all together (physicsnemo-sym, there with alpha=0.01) |

    With λ_i in the denominator λ_i settles at the square root of the quotient without it.

    Args:
        every: Steps between updates; one costs m gradients.
        first: First step with an update.
        alpha: Share of the new weights. The paper's text says 0.9, its code 0.1.
        variant: See above.
        cap: Largest λ_i; λ̂ blows up as ∇L_i vanishes.

    Raises:
        ProblemError: No equation is trained.

    Source: Wang, Teng, Perdikaris (2021), arXiv:2001.04536, algorithm 1; the cap is ours.
    """

    name = "lra"
    second_order = "redraw"

    def __init__(self, every: int = 10, first: int = 0, alpha: float = 0.1, variant: str = "reference",
                 cap: float = 1e4):
        super().__init__(every, first)
        self.demand(0 < alpha <= 1, "alpha", alpha, "in (0, 1]")
        self.demand(variant in VARIANTS, "variant", repr(variant), f"one of {', '.join(VARIANTS)}")
        self.demand(cap >= 1, "cap", cap, "at least 1, where weights start")
        self.alpha, self.variant, self.cap = float(alpha), variant, float(cap)

    def update(self, view, step):
        others, G = self.gradients(view)
        largest, means = self._statistics(G.abs(), view.trainable)
        top = means[0] if self.variant == "mean" else largest[0]
        for name, mean in zip(others, means[1:], strict=True):
            old = self.weights.get(name, torch.ones_like(mean))
            below = mean if self.variant == "unweighted" else old * mean
            new = torch.where(top > 0, (top / below.clamp_min(tiny(below))).clamp_max(self.cap), old)
            self.weights[name] = (1 - self.alpha) * old + self.alpha * new
        return dict(self.weights)

    def _statistics(self, size: Tensor, parameters: list[torch.nn.Parameter]) -> tuple[Tensor, Tensor]:
        """Largest and mean entry of every gradient, shape (m,), from their sizes (m, P)."""
        matrices = [i for i, p in enumerate(parameters) if p.ndim > 1]
        if self.variant != "reference" or not matrices:
            return size.amax(1), size.mean(1)
        parts = size.split([p.numel() for p in parameters], dim=1)
        return (torch.stack([parts[i].amax(1) for i in matrices]).amax(0),
                torch.stack([parts[i].mean(1) for i in matrices]).mean(0))
