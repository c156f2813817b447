"""Unknown parameters of a problem as trainable numbers of order one."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor, nn

from ..problem import Unknown


class TrainableParameters(nn.Module):
    """Parameters to be found: k = s κ with κ trained and s the size of its initial value, or inside its bounds.

        k = s κ,   s = |k₀| (1 if k₀ = 0);      with bounds (a, b):   k = a + (b − a) / (1 + e^−κ)

    A damping or a learning rate of order one then moves a diffusivity of 1e-6 and a stiffness of 1e9 alike. The scales
    are part of the state, so that a checkpoint means the same values whatever the problem starts from.

    Args:
        unknowns: By name.
    """

    def __init__(self, unknowns: Mapping[str, Unknown], dtype: torch.dtype = torch.float64):
        super().__init__()
        self.bounds = {n: u.bounds for n, u in unknowns.items()}
        for name, unknown in unknowns.items():           # prefixed: a parameter may have the name of a method
            scale = abs(float(unknown.initial)) or 1.0
            self.register_buffer(f"scale_{name}", torch.tensor(scale, dtype=dtype))
            start = float(unknown.initial) / scale if unknown.bounds is None else _logit(unknown)
            self.register_parameter(f"trained_{name}", nn.Parameter(torch.tensor(start, dtype=dtype)))

    def trained(self, name: str) -> Tensor:
        """κ, the number that is optimised, shape ()."""
        return getattr(self, f"trained_{name}")

    def value(self, name: str, N: int | None = None, copies: list | None = None) -> Tensor:
        """The parameter, shape () — or shape (N,), from a copy of κ per point that is appended to `copies`."""
        kappa = self.trained(name)
        if N is not None and copies is not None:
            copy = kappa.expand(N).clone()
            copies.append((kappa, copy))
            kappa = copy
        bounds = self.bounds[name]
        if bounds is None:
            return getattr(self, f"scale_{name}") * kappa
        return bounds[0] + (bounds[1] - bounds[0]) * torch.sigmoid(kappa)

    def values(self) -> dict[str, float]:
        """Current values by name."""
        return {n: float(self.value(n).detach()) for n in self.bounds}


def _logit(unknown: Unknown) -> float:
    assert unknown.bounds is not None
    low, high = unknown.bounds
    share = (unknown.initial - low) / (high - low)
    return log(share / (1 - share))
