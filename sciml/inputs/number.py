"""Random numbers: constant functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ProblemError
from .function import RandomFunction


@dataclass(frozen=True)
class RandomNumber(RandomFunction):
    """A constant, uniform in (low, high) or with a uniform logarithm; its one coefficient is the number itself.

    Args:
        low, high: Ends, low < high.
        log: Uniform in the logarithm; the ends must be positive then.
        over: Coordinates that its grids have; None: the space coordinates; (): none, values of shape (B,).

    Raises:
        ProblemError: The ends are not two numbers low < high, or not positive for a logarithm.
    """

    low: float
    high: float
    log: bool = False

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        U = torch.rand(count, 1, generator=generator, dtype=torch.float64, device=generator.device)
        if self.log:
            return self.low * (math.log(self.high / self.low) * U).exp()
        return self.low + (self.high - self.low) * U

    def _weights(self, coefficients: Tensor) -> Tensor:
        return coefficients.reshape(-1, *(1 for _ in self._bound()))

    def _basis(self, d: int, x: Tensor, order: int) -> Tensor:
        return torch.full_like(x[:, None], 0.0 if order else 1.0)

    def _check(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ProblemError(f"RandomNumber({self.low!r}, {self.high!r}) must have two finite ends, low < high")
        if self.log and self.low <= 0:
            raise ProblemError(f"RandomNumber({self.low!r}, {self.high!r}, log=True) needs ends above 0")
