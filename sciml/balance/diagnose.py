"""How much gradients agree with each other, and with the direction that is taken."""

from __future__ import annotations

from torch import Tensor

from .cone import TOLERANCE, cosines, unit

__all__ = ["alignment", "conflict_rate", "conflicts", "cosines"]


def alignment(vectors: Tensor) -> Tensor:
    """A = 2 |(1/n) Σ_i v_i/|v_i||² − 1 of vectors (n, P), float64: 1 if all agree, −1 if they cancel.

    For n = 2 it is the cosine. For n orthogonal vectors it is 2/n − 1, so scores of different n do not compare. A
    vector that vanishes counts as one that agrees with nothing.

    Source: Wang, Bhartari, Li, Perdikaris (2025), arXiv:2502.00604.
    """
    return 2 * unit(vectors)[0].mean(0).square().sum() - 1


def conflict_rate(direction: Tensor, gradients: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Share of the gradients (m, P) whose cosine with the direction (P,) is below −tolerance, float64."""
    return (cosines(direction, gradients) < -tolerance).double().mean()


def conflicts(direction: Tensor, gradients: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Whether a step −direction raises any of the losses to first order, a tensor."""
    return (cosines(direction, gradients) < -tolerance).any()
