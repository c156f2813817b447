"""Fields: modules u_θ from points to unknowns that push jets forward.

A field is written once, as a composition of jet operations; its values and all its derivatives follow. `Field` is the
protocol; `layers.py` has the building blocks, `networks.py` the architectures, `constrained.py` the wrapper that
builds initial and boundary data into a field.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..calculus.indices import IndexSet
from ..calculus.jet import Jet


class Field(nn.Module, ABC):
    """u_θ: (N, D) → (N, C), with `jet` for its derivatives."""

    @abstractmethod
    def jet(self, x: Jet) -> Jet:
        """Jet of the C outputs from the jet of the D coordinates."""

    def forward(self, X: Tensor) -> Tensor:
        """Values at points X of shape (N, D), shape (N, C)."""
        return self.jet(Jet.of_coordinates(X, IndexSet.closure((), X.shape[1]))).value


def parameter_count(module: nn.Module) -> int:
    """P, the number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
