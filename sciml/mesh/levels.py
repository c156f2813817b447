"""Functions whose zero level is a boundary: their gradients, and points brought to the level."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor], Tensor]


def gradient(distance: Distance, X: Tensor, eps: float) -> Tensor:
    """∇d by central differences, shape (N, D)."""
    D = X.shape[1]
    shift = eps * torch.eye(D, dtype=X.dtype)
    both = torch.cat([X[None] + shift[:, None], X[None] - shift[:, None]]).reshape(-1, D)
    up, down = distance(both).reshape(2, D, len(X))
    return ((up - down) / (2 * eps)).T


def project(distance: Distance, X: Tensor, scale: float, rounds: int = 12) -> Tensor:
    """Points brought to the zero level, x ← x − d ∇d/|∇d|², with central differences of step 1e−6 of a length.

    No step is longer than that length; points whose value is below 1e−14 of it stay.
    """
    eps = 1e-6 * scale
    X = X.clone()
    todo = torch.arange(len(X))
    for _ in range(rounds):
        d = distance(X[todo])
        far = d.abs() > 1e-14 * scale
        todo, d = todo[far], d[far]
        if not len(todo):
            break
        g = gradient(distance, X[todo], eps)
        step = d[:, None] * g / g.square().sum(1, keepdim=True).clamp(min=1e-12)
        length = step.norm(dim=1, keepdim=True)
        X[todo] -= step * (scale / length.clamp(min=scale))
    return X
