"""The spectrum of JᵀJ: how hard a loss is for methods that take gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .objective import Objective


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a Jacobian, largest first.

    Args:
        values: σ, shape (min(R, P),).
        rows, parameters: R and P.
        precision: Relative size under which σ is rounding.
    """

    values: Tensor
    rows: int
    parameters: int
    precision: float

    @property
    def rank(self) -> int:
        """Number of σ that are not rounding."""
        return int((self.values > self.precision * self.values[0]).sum())

    @property
    def kappa(self) -> float:
        """κ(JᵀJ) = (σ_max/σ_min)², over the σ that are not rounding."""
        return float((self.values[0] / self.values[max(self.rank - 1, 0)]) ** 2)

    @property
    def effective_rank(self) -> float:
        """exp(−Σ p ln p), p = σ²/Σσ²: how many directions carry the gradient.

        Source: Roy and Vetterli (2007), with σ² in place of σ.
        """
        p = self.values.square() / self.values.square().sum()
        return float(torch.exp(-(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum()))


def spectrum(J: Tensor) -> Spectrum:
    """The spectrum of rows J, shape (R, P)."""
    values = torch.linalg.svdvals(J)
    return Spectrum(values, J.shape[0], J.shape[1], max(J.shape) * torch.finfo(J.dtype).eps)


def block_jacobians(objective: Objective) -> dict[str, Tensor]:
    """The weighted rows J_b of every block that no preconditioner mixes; J_b J_bᵀ is its neural tangent kernel."""
    _, J = objective.linearize()
    found, row = {}, 0
    for block in objective.trained:
        n = objective.row_count(block) * len(block.components)
        found[block.name] = J[row:row + n]
        row += n
    return found
