"""Adam ascent on weights, without graph."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Ascent:
    """x ← x + η m̂ / (√v̂ + ε) for several tensors by name, each with its own count of steps; β = (0.9, 0.999).

    Tensors are never changed in place, so that a state is a snapshot.

    Args:
        lr: η.

    Source: Kingma & Ba (2015), arXiv:1412.6980, algorithm 1, with the sign of ascent; ε = 1e-8.
    """

    def __init__(self, lr: float):
        self.lr = lr
        self.moments: dict[str, tuple[int, Tensor, Tensor]] = {}

    def climb(self, name: str, x: Tensor, slope: Tensor) -> Tensor:
        """x after one step along its slope."""
        t, m, v = self.moments.get(name, (0, torch.zeros_like(x), torch.zeros_like(x)))
        t, m, v = t + 1, 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope.square()
        self.moments[name] = (t, m, v)
        return x + self.lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)

    def state_dict(self) -> dict:
        """Counts and moments by name."""
        return {name: list(entry) for name, entry in self.moments.items()}

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`."""
        self.moments = {name: (int(t), m, v) for name, (t, m, v) in state.items()}
