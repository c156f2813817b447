"""Unknown parameters of a problem as trainable numbers."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor, nn

from ..problem import Unknown


class TrainableParameters(nn.Module):
    """Parameters to be found, each free or kept inside its bounds by a logistic map.

    Args:
        unknowns: By name.
    """

    def __init__(self, unknowns: Mapping[str, Unknown], dtype: torch.dtype = torch.float64):
        super().__init__()
        self.bounds = {n: u.bounds for n, u in unknowns.items()}
        raw = {n: torch.tensor(_raw(u), dtype=dtype) for n, u in unknowns.items()}
        self.raw = nn.ParameterDict(raw)

    def value(self, name: str, N: int | None = None, copies: list | None = None) -> Tensor:
        """The parameter, shape () — or shape (N,), a copy per point that is appended to `copies`."""
        raw = self.raw[name]
        if N is not None and copies is not None:
            copy = raw.expand(N).clone()
            copies.append((raw, copy))
            raw = copy
        bounds = self.bounds[name]
        return raw if bounds is None else bounds[0] + (bounds[1] - bounds[0]) * torch.sigmoid(raw)

    def values(self) -> dict[str, float]:
        """Current values by name."""
        return {n: float(self.value(n).detach()) for n in self.bounds}


def _raw(unknown: Unknown) -> float:
    if unknown.bounds is None:
        return float(unknown.initial)
    low, high = unknown.bounds
    share = (unknown.initial - low) / (high - low)
    return log(share / (1 - share))
