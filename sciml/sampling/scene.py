"""Scene: what a sampler sees of a run, and where it puts points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ..points import Points
from ..problem import Block, Problem

Magnitude = Callable[[Points], Tensor]


class Coefficients(Protocol):
    """Unknown parameters by name."""

    @property
    def bounds(self) -> Mapping[str, Any]:
        """What limits each of them, by name."""

    def value(self, name: str) -> Tensor:
        """One of them, with graph, shape ()."""


class View(Protocol):
    """What a scene needs of an objective."""

    problem: Problem
    blocks: list[Block]
    points: dict[str, Points]
    data: dict[str, Mapping[str, Tensor]]
    weights: dict[str, float | Tensor]
    point_weights: dict[str, Tensor]
    shares: dict[str, Tensor]
    ceilings: dict[str, int]
    recorded: dict[str, Tensor]
    recording: bool

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""

    @property
    def trainable(self) -> Sequence[Tensor]:
        """The parameters, in the order of Jacobian columns."""

    def rows(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None) -> Tensor:
        """Residual components (N, K) at any points of a block's region, unweighted."""

    def magnitude(self, block: Block) -> Magnitude:
        """|r| at any points of a block's region, shape (N,)."""

    def jacobian(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Residual components (N, K) and their gradients (N, K, P) at any points, without weights."""

    def linearize(self) -> tuple[Tensor, Tensor]:
        """All rows that are trained, shape (R,), weighted, and their Jacobian (R, P)."""

    @property
    def parameters_(self) -> Coefficients:
        """The unknown parameters."""


@dataclass(frozen=True)
class Scene:
    """The conditions whose points are drawn, not given.

    Args:
        view: The objective.
        blocks: These conditions.
        counts: Points asked for, by condition.
        generator: Of everything random; points live on its device.
        steps: Of the whole run, where its budget is one of steps.
    """

    view: View
    blocks: tuple[Block, ...]
    counts: Mapping[str, int]
    generator: Generator
    steps: int | None = None

    def points(self, block: Block) -> Points:
        """Current points."""
        return self.view.points[block.name]

    def place(self, block: Block, points: Points, weighted: bool = False) -> None:
        """Puts new points in place, columns in the order of the problem's coordinates.

        Args:
            block: Whose.
            points: Which.
            weighted: Whether the mean over them takes their quadrature weights, which estimate the measure; else all
                points count alike.
        """
        points = self._ordered(points)
        self.view.points[block.name] = points
        self.view.recorded.pop(block.name, None)
        self.view.shares.pop(block.name, None)
        if weighted:
            assert points.weights is not None and not isinstance(block.region, Points)
            self.view.shares[block.name] = points.weights * (len(points) / block.region.measure)

    def has_news(self, block: Block) -> bool:
        """Whether the residuals of the current points are known or must be asked for: False in first-order training
        if the steps since the last redraw did not compute them, as where an optimizer takes one loss at a time."""
        return not self.view.recording or block.name in self.view.recorded

    def draw(self, block: Block, n: int, rule: str = "uniform") -> Points:
        """n fresh points of a condition's region."""
        assert not isinstance(block.region, Points)
        return self._ordered(block.region.sample(n, generator=self.generator, rule=rule, dtype=self.view.dtype,
                                                 device=self.generator.device))

    @property
    def measured(self) -> list[Block]:
        """The conditions with data at given points."""
        return [b for b in self.view.blocks if b.data and isinstance(b.region, Points)]

    def candidates(self, block: Block) -> Points:
        """All points of a condition with data, also those that are not trained."""
        assert isinstance(block.region, Points)
        return self._ordered(block.region.to(device=self.generator.device, dtype=self.view.dtype))

    def measure(self, block: Block, index: Tensor) -> None:
        """Puts some of a condition's measurements in place.

        Args:
            block: Whose.
            index: Positions among its `candidates`, shape (n,).
        """
        self.place(block, self.candidates(block)[index])
        given = {k: v.to(self.generator.device, self.view.dtype) for k, v in block.data.items()}
        self.view.data[block.name] = {k: v[index] for k, v in given.items()}

    def magnitude(self, block: Block) -> Magnitude:
        """|r| at points, shape (N,); at the current ones that of the last pass, if training recorded it."""
        evaluate = self.view.magnitude(block)

        def sizes(points: Points) -> Tensor:
            recorded = self.view.recorded.get(block.name)
            if recorded is not None and points is self.points(block) and len(recorded) == len(points):
                return recorded
            return evaluate(self._ordered(points))

        return sizes

    def _ordered(self, points: Points) -> Points:
        names = self.view.problem.coordinates
        return points if points.names == names else points.reorder(names)
