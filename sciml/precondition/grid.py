"""Tensor grids of nodes on boxes, the points of preconditioners that mix rows.

| axis | nodes | of them inside |
|---|---|---|
| ends | low, low + h, …, high with h = L/(n + 1) | the n between |
| periodic | low + (j + ½) h, j < n, h = L/n: none lies on a face | all |
| time | t₀, t₀ + h, …, t₁ with h = T/n | all but t₀ |
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from ..errors import ProblemError
from ..geometry import Box
from ..points import Points
from ..problem import Problem
from ..problem.hard import Ansatz


@dataclass(frozen=True)
class Axis:
    """Nodes along a coordinate.

    Args:
        name: Of the coordinate.
        kind: "ends", "periodic" or "time".
        low, high: Its range.
        n: Nodes inside.
    """

    name: str
    kind: str
    low: float
    high: float
    n: int

    @property
    def length(self) -> float:
        """high − low."""
        return self.high - self.low

    @property
    def step(self) -> float:
        """h."""
        return self.length / (self.n + 1 if self.kind == "ends" else self.n)

    @property
    def nodes(self) -> np.ndarray:
        """All of them, those on faces included."""
        first, more = {"ends": (0.0, 2), "periodic": (0.5, 0), "time": (0.0, 1)}[self.kind]
        return self.low + self.step * (first + np.arange(self.n + more))

    @property
    def interior(self) -> np.ndarray:
        """The n nodes inside."""
        start = 0 if self.kind == "periodic" else 1
        return self.nodes[start:start + self.n]


def axes_of(problem: Problem, ansatz: Ansatz, count: int, nodes: object, what: str) -> tuple[Axis, ...]:
    """The axes of a grid with about `count` interior nodes, equally many per coordinate.

    Args:
        nodes: Interior nodes per coordinate instead: a number or one for each.
        what: The preconditioner, for messages.

    Raises:
        ProblemError: The domain is no box, has parameter axes, or `nodes` makes no sense.
    """
    if not isinstance(problem.domain, Box) or problem.ranges:
        found = "a domain with parameter axes" if problem.ranges else f"a {problem.domain.kind}"
        raise ProblemError(f"precondition={what} needs a grid of nodes on a Box, and this problem lives on {found}; "
                           "take pseudo-time or none")
    names, D = problem.coordinates, len(problem.coordinates)
    if nodes is None:
        counts = [max(round(count ** (1 / D)), 3)] * D
    else:
        counts = list(nodes) if isinstance(nodes, (tuple, list)) else [nodes] * D
    if len(counts) != D or any(isinstance(n, bool) or not isinstance(n, int) or n < 3 for n in counts):
        raise ProblemError(f"{what}.nodes={nodes!r} must be a whole number of at least 3, or one for each of "
                           f"{', '.join(names)}")
    kinds = ["periodic" if c in ansatz.periods else "ends" if c in problem.domain.space else "time" for c in names]
    return tuple(Axis(c, kind, *problem.region.bounds[i], counts[i])
                 for i, (c, kind) in enumerate(zip(names, kinds, strict=True)))


def place(axes: tuple[Axis, ...], lines: list[np.ndarray], dtype: torch.dtype, device) -> Points:
    """The tensor product of one line of nodes per axis, the last axis running fastest."""
    mesh = np.meshgrid(*lines, indexing="ij")
    X = np.stack([m.reshape(-1) for m in mesh], axis=1)
    assert len(X) == prod(len(line) for line in lines)
    return Points(torch.as_tensor(X, dtype=dtype, device=device), tuple(a.name for a in axes))
