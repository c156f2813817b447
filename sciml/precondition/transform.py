"""A linear map of residual rows."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Transform(ABC):
    """z = M r − c for the stacked rows of some blocks; M injective keeps the zero set of r.

    Rows come block by block in the order of `blocks`, each block's (R, K) row-major. M acts along the first axis,
    so that it takes residuals (R,) and Jacobians (R, P) alike; it is linear and knows its transpose.

    Args:
        blocks: Names of the blocks whose rows are taken.

    Attributes:
        offset: c, shape (R′,), zero (None) unless the rows are values that should meet data.
    """

    offset: Tensor | None = None

    def __init__(self, blocks: tuple[str, ...]):
        self.blocks = tuple(blocks)

    @abstractmethod
    def apply(self, r: Tensor) -> Tensor:
        """M r without graph, shape (R′, …) from (R, …)."""

    @abstractmethod
    def transpose(self, z: Tensor) -> Tensor:
        """Mᵀ z without graph, shape (R, …) from (R′, …)."""

    def __call__(self, r: Tensor) -> Tensor:
        """M r, differentiable."""
        return _Linear.apply(r, self.apply, self.transpose) if r.requires_grad else self.apply(r)


class _Linear(torch.autograd.Function):
    """y = A x by a function, with its adjoint by another; differentiable to any order."""

    @staticmethod
    def forward(ctx, x, forward, adjoint):
        ctx.forward, ctx.adjoint = forward, adjoint
        return forward(x)

    @staticmethod
    def backward(ctx, y):
        return _Linear.apply(y, ctx.adjoint, ctx.forward), None, None
