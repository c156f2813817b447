"""Where the nodes of a grid are in the bodies of a family, and what volume each stands for.

    X = x(ξ; a),   w = |det ∂x/∂ξ| × the weights of the trapezoidal rule

With a chart the places differ from function to function; without one they are the nodes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..calculus import Frame, GridAxis, GridFunctions, Program, jacobian_determinant, on_grid
from ..problem import Problem
from ..problem.chart import chart_values
from .layout import Layout


class Places:
    """The nodes of a family's grid in its bodies.

    Args:
        problem: The family.
    """

    def __init__(self, problem: Problem):
        frame = problem.setting.frame
        self.coordinates, self.names = frame.coordinates, tuple(problem.chart)
        self._program: Program | None = None
        if self.names:
            own = replace(problem.setting, frame=Frame(frame.coordinates, frame.space, expand=False))
            values = chart_values(own, problem.chart)
            self._program = Program({**values, "det": jacobian_determinant(values, tuple(problem.domain.space))})

    def _values(self, layout: Layout, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Coordinates and determinant, (B, n_1, …, n_d) each."""
        assert self._program is not None
        held = inputs or {"": torch.zeros((1, *layout.shape), dtype=torch.float64)}
        found = on_grid(self._program, GridFunctions(layout.axes, held, dict(layout.over)), self.coordinates)
        batch = max(len(v) for v in (*inputs.values(), *found))
        return [v.expand(batch, *layout.shape) for v in found]

    def at(self, layout: Layout, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Coordinates of the bodies, (B, n_1, …, n_d) by name; {} without a chart."""
        return dict(zip(self.names, self._values(layout, inputs), strict=False)) if self.names else {}

    def weighted(self, layout: Layout, inputs: Mapping[str, Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, N, D) or (N, D), and weights (B, N) or (N,), of the nodes in the order of the grid.

        Args:
            layout: The grid.
            inputs: (B, n, …) by name.
            like: Dtype and device.
        """
        weights = torch.ones((), dtype=torch.float64)
        for axis in layout.axes:
            weights = weights[..., None] * trapezoid(axis)
        if self._program is None:
            return layout.points().to(like), weights.reshape(-1).to(like)
        *X, det = self._values(layout, inputs)
        X = [x.flatten(1) for x in X]
        for i, axis in enumerate(layout.axes):
            if axis.name == "t":
                X.append(layout.points()[:, i].to(X[0]).expand_as(X[0]))
        return torch.stack(X, -1).to(like), (det.abs().flatten(1) * weights.reshape(-1).to(det)).to(like)


def trapezoid(axis: GridAxis) -> Tensor:
    """Weights of the trapezoidal rule at the nodes of an axis, (n,), float64."""
    weights = torch.full((axis.count,), axis.step, dtype=torch.float64)
    if not axis.periodic:
        weights[[0, -1]] /= 2
    return weights
