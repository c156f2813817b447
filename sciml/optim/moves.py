"""What least-squares methods share: moves of all parameters by one vector, and Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def move(params: Sequence[Tensor], start: Sequence[Tensor], by: Tensor | None) -> None:
    """Sets θ to the start plus a vector of shape (P,), or to the start."""
    offset = 0
    for p, origin in zip(params, start, strict=True):
        if by is None:
            p.copy_(origin)
            continue
        p.copy_(origin + by[offset:offset + p.numel()].view_as(p))
        offset += p.numel()


def gram(J: Tensor, block: int = 384) -> Tensor:
    """Lower triangle of JᵀJ, block column by block column: near half the work of the full product."""
    P = J.shape[1]
    found = torch.zeros(P, P, dtype=J.dtype, device=J.device)
    for start in range(0, P, block):
        stop = min(start + block, P)
        torch.mm(J[:, start:].T, J[:, start:stop], out=found[start:, start:stop])
    return found


def symmetric_gram(J: Tensor) -> Tensor:
    """JᵀJ, shape (P, P)."""
    lower = gram(J)
    return lower.tril() + lower.tril(-1).T
