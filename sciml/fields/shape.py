"""What an architecture is built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, nn

from .layers import Activate, Dense, FactorizedDense


@dataclass(frozen=True)
class Shape:
    """What an architecture is built from.

    Args:
        inputs: Channels after the embedding.
        outputs: C, number of unknowns.
        width, depth: Hidden channels and hidden layers (for PirateNet: blocks of three layers).
        activation: Name of σ.
        adaptive: Trainable slopes.
        factorized: Random weight factorisation.
    """

    inputs: int
    outputs: int
    width: int
    depth: int
    activation: str
    adaptive: bool
    factorized: bool
    generator: Generator
    dtype: torch.dtype

    def dense(self, inputs: int, outputs: int) -> nn.Module:
        """A layer of the kind asked for."""
        kind: Callable[..., nn.Module] = FactorizedDense if self.factorized else Dense
        return kind(inputs, outputs, self.generator, self.dtype)

    def sigma(self) -> Activate:
        """A nonlinearity of the kind asked for."""
        return Activate(self.activation, self.adaptive, self.dtype)
