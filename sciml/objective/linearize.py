"""Residual rows of a block together with their Jacobian."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..calculus.engines import PointwiseReverse, TaylorForward
from ..calculus.jacobian import is_complete, taped_jacobian, vmapped_jacobian
from ..errors import TrainingError
from ..points import Points
from ..problem import Block

if TYPE_CHECKING:
    from .objective import Objective

log = logging.getLogger(__name__)


class Linearizer:
    """Rows and their Jacobian, read off a tape where the field leaves one, otherwise point by point under `vmap`.

    Args:
        objective: Whose blocks.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self.taped = isinstance(objective.engine, TaylorForward)
        self.verified: set[str] = set()

    def rows(self, block: Block, points: Points, data: Mapping[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Unweighted rows of shape (R, K) and their Jacobian of shape (R, K, P)."""
        objective = self.objective
        f, J = self._values(block, points, data)
        if block.combine == "difference":
            g, G = self._values(block, objective.partner(block, points), data)
            return f - g, J - G
        if block.combine == "integral":
            return objective.integrate(block, points, f) - block.target, objective.integrate(block, points, J)
        return f, J

    def _values(self, block: Block, points: Points, data) -> tuple[Tensor, Tensor]:
        objective, parameters = self.objective, self.objective.trainable
        if not self.taped:
            values, J = self._vmapped(block, points, data or {})
            if block.name not in self.verified:
                with torch.enable_grad():
                    self._verify(block, J, objective.values(block, points, data), parameters)
            return values, J
        tape: list = []
        copies: list = []
        with torch.enable_grad():
            values = objective.values(block, points, data, tape, copies)
            J = taped_jacobian(values, tape, parameters, copies)
            if block.name not in self.verified and not self._verify(block, J, values, parameters):
                return self._values(block, points, data)
        return values.detach(), J

    def _verify(self, block: Block, J: Tensor, values: Tensor, parameters: list[nn.Parameter]) -> bool:
        """Compares a block's first Jacobian with a plain gradient; False if the tape missed some parameter.

        Raises:
            TrainingError: The field at a point depends on other points, so that there is no pointwise Jacobian.
        """
        if is_complete(J, values, parameters):
            self.verified.add(block.name)
            return True
        if not self.taped:
            raise TrainingError(
                f"the Jacobian of condition {block.name!r} is not the sum of its points: the field at a point depends "
                "on the others (batch normalisation, a mean?); use optimizer=adam or lbfgs, or a field without that")
        log.warning("the field uses parameters outside `linear` and `scale`, which leave no record; its Jacobian "
                    "is computed point by point instead, which takes longer")
        self.taped = False
        return False

    def _vmapped(self, block: Block, points: Points, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and Jacobian of a field whose pass leaves no tape, point by point under `vmap`."""
        extra = {"normals": points.normals, **{f"data:{k}": v for k, v in data.items()}}
        columns = {k: v.reshape(len(points), -1) for k, v in extra.items() if v is not None}
        width = points.X.shape[1]
        X = torch.cat([points.X, *columns.values()], dim=1)

        def pointwise(parameters, x):
            one, offset, parts = Points(x[None, :width], points.names), width, {}
            for k, column in columns.items():
                parts[k] = x[None, offset:offset + column.shape[1]]
                offset += column.shape[1]
            one = replace(one, normals=parts.get("normals"))
            given = {k.split(":")[1]: v[:, 0] for k, v in parts.items() if k.startswith("data:")}
            return torch.func.functional_call(_Values(self.objective, block), {
                f"objective.{n}": p for n, p in parameters.items()}, (one, given))[0]

        J = vmapped_jacobian(pointwise, self.objective, X)
        with torch.no_grad():
            return self.objective.values(block, points, data).detach(), J


class _Values(nn.Module):
    """`Objective.values` as a forward method, so that `functional_call` can replace the parameters."""

    def __init__(self, objective: Objective, block: Block):
        super().__init__()
        self.objective, self.block = objective, block

    def forward(self, points, data):
        return self.objective.values(self.block, points, data, engine=PointwiseReverse())
