"""All parameters as one vector, moves by one, and Gram matrices: what optimizers, balancers and samplers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def flat(params: Sequence[Tensor]) -> Tensor:
    """θ as one vector, shape (P,), without graph; always a copy."""
    return torch.cat([p.detach().reshape(-1) for p in params]).clone()


def split(x: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    """A vector of shape (P,) as views in the shapes of the parameters."""
    return [part.view_as(p) for part, p in zip(x.split([p.numel() for p in params]), params, strict=True)]


@torch.no_grad()
def place(params: Sequence[Tensor], x: Tensor) -> None:
    """Sets θ to a vector of shape (P,)."""
    for p, part in zip(params, split(x, params), strict=True):
        p.copy_(part)


def move(params: Sequence[Tensor], start: Sequence[Tensor], by: Tensor | None) -> None:
    """Sets θ to the start plus a vector of shape (P,), or to the start."""
    for p, origin, part in zip(params, start, [None] * len(start) if by is None else split(by, params), strict=True):
        p.copy_(origin if part is None else origin + part)


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
