"""Fields: modules u_θ from points to unknowns that push jets forward.

A field is written once, as a composition of jet operations; its values and all its derivatives follow. `Field` is the
protocol; `layers.py` has the building blocks, `networks.py` the architectures, `constrained.py` the wrapper that
builds initial and boundary data into a field.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..calculus.indices import IndexSet
from ..calculus.jet import Jet
from ..errors import ProblemError


class Field(nn.Module, ABC):
    """u_θ: (N, D) → (N, C), with `jet` for its derivatives.

    `collapses` says that `jet` is made of the operations of `calculus/jet.py` alone, which know operators L = Σ c_α ∂^α
    as streams of their own; others are asked for derivatives one by one.
    """

    collapses = False

    @property
    def head(self) -> tuple[nn.Parameter, ...]:
        """Tensors of a linear last layer, in which u_θ is affine; empty if there is none."""
        return ()

    @abstractmethod
    def jet(self, x: Jet) -> Jet:
        """Jet of the C outputs from the jet of the D coordinates."""

    def forward(self, X: Tensor) -> Tensor:
        """Values at points X of shape (N, D), shape (N, C)."""
        return self.jet(Jet.of_coordinates(X, IndexSet.closure((), X.shape[1]))).value


def parameter_count(module: nn.Module) -> int:
    """P, the number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def head_of(field: nn.Module, bounds: Sequence[tuple[float, float]]) -> tuple[nn.Parameter, ...]:
    """The tensors of a field's linear last layer.

    Args:
        field: With a property `head`.
        bounds: (low, high) by coordinate: where the field is tried.

    Raises:
        ProblemError: It has none, or is not affine in it.
    """
    head = tuple(getattr(field, "head", ()))
    if not head:
        raise ProblemError("varpro solves for a field's linear last layer, and this field names none; use a model "
                           "without model.factorized, or give your module a property head with the layer's parameters")
    own = {id(p) for p in field.parameters()}
    if any(id(p) not in own or not p.requires_grad for p in head):
        raise ProblemError("head= of the field holds a tensor that is not one of its trainable parameters")
    low, high = torch.tensor(bounds, dtype=head[0].dtype, device=head[0].device).T
    X = low + (high - low) * torch.linspace(0.1, 0.9, 7, dtype=low.dtype, device=low.device)[:, None]
    start = [p.detach().clone() for p in head]
    with torch.no_grad():
        values = []
        for count in range(3):
            for p in head:
                p.fill_(count)       # not from where it stands: the large coefficients of a trained head cancel
            values.append(field(X))
        for p, origin in zip(head, start, strict=True):
            p.copy_(origin)
    second = float((values[0] - 2 * values[1] + values[2]).abs().max())
    if not second <= torch.finfo(low.dtype).eps ** 0.5 * (1 + float(values[2].abs().max())):
        raise ProblemError("varpro needs a field that is affine in its head, and this one is not (is the last layer "
                           "used twice, or followed by a nonlinear function?); use gauss-newton")
    return head
