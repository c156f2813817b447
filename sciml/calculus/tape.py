"""Records of operations with parameters: what a pass leaves on its tape for Jacobians to be read off.

A record knows the tensor that the operation made, `target` of shape (S, N, W), and for adjoints
a_s,n = ∂r_n/∂target_s,n the derivatives ∂r_n/∂θ of the tensors θ that it used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


class Contribution(NamedTuple):
    """∂r_n/∂tensor of one component: the columns, or the outer products Σ_s a_s h_sᵀ that they are the sum of.

    Args:
        tensor: A parameter, or what was computed from parameters.
        columns: Shape (N, …); None for a layer.
        adjoint, matrix: a of shape (S, N, out) and h of shape (S, N, in) of a layer.
    """

    tensor: Tensor
    columns: Tensor | None
    adjoint: Tensor
    matrix: Tensor | None


class Record(Protocol):
    """One operation."""

    @property
    def target(self) -> Tensor:
        """What it made, shape (S, N, W)."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors that it used, parameters or computed from parameters."""

    def contributions(self, adjoint: Tensor) -> Iterator[Contribution]:
        """∂r/∂ of each of them, from ∂r/∂target."""


@dataclass
class LinearRecord:
    """z = h (g ⊙ W)ᵀ + b on all streams: ∂r/∂W = Σ_s a_s h_sᵀ, ∂r/∂b = a_0."""

    weight: Tensor
    bias: Tensor | None
    source: Tensor
    target: Tensor
    gain: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """W, b and g, those there are."""
        return tuple(t for t in (self.weight, self.bias, self.gain) if t is not None)

    def contributions(self, adjoint: Tensor) -> Iterator[Contribution]:
        """Of g, W and b."""
        a, h = adjoint, self.source.detach()
        if self.gain is not None:
            before = (a * (h @ self.weight.detach().T)).sum(0)
            yield Contribution(self.gain, before, a, None)
        yield Contribution(self.weight, None, a if self.gain is None else a * self.gain.detach(), h)
        if self.bias is not None:
            yield Contribution(self.bias, a[0], a, None)


@dataclass
class ScaleRecord:
    """y = c ⊙ h on all streams, c broadcast over the last axis."""

    factor: Tensor
    source: Tensor
    target: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """c."""
        return (self.factor,)

    def contributions(self, adjoint: Tensor) -> Iterator[Contribution]:
        """Of c."""
        product = (adjoint * self.source.detach()).sum(0)
        yield Contribution(self.factor, product.sum(-1) if self.factor.ndim == 0 else product, adjoint, None)
