"""Uniform points drawn for several redraws at once: a call costs much the same for sixteen times as many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..points import Points
from ..problem import Block
from .scene import Scene

AHEAD = 16                         # redraws, where points are replaced at every step
MOST = 2**18                       # points of a condition that wait at a time


class Stock:
    """Independent uniform points of every condition that wait for their redraw.

    Samplers that replace points at every step spend their time on the calls, not on the numbers: three conditions of
    1,000, 100 and 100 points took 5 % of a step of Adam that way. Points of one redraw are every k-th of those drawn
    together, so that a region that lays out its parts one after the other gives each redraw its share of all.

    Args:
        every: Steps between redraws; points are drawn for about `AHEAD` steps.
    """

    def __init__(self, every: int):
        self.ahead = max(AHEAD // every, 1) if every else 1
        self.left: dict[str, list[Points]] = {}

    def draw(self, scene: Scene, block: Block, n: int) -> Points:
        """n fresh points of a condition's region."""
        left = self.left.get(block.name, [])
        if not left or len(left[-1]) != n:
            k = max(min(self.ahead, MOST // n), 1)
            left = self.left[block.name] = apart(scene.draw(block, n * k), k)
        return left.pop()

    def state_dict(self) -> dict[str, Any]:
        """What is left."""
        return {name: [{"X": p.X, "weights": p.weights, "normals": p.normals, "names": p.names} for p in left]
                for name, left in self.left.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores `state_dict`."""
        self.left = {name: [Points(**p) for p in left] for name, left in state.items()}


def apart(points: Points, k: int) -> list[Points]:
    """Points, k n of them, as k sets of n: every k-th, with weights as if each were alone."""
    if k == 1:
        return [points]
    n = len(points) // k

    def split(a: Tensor | None, factor: float = 1.0) -> list[Any]:
        return [None] * k if a is None else list(
            (factor * a).view(n, k, *a.shape[1:]).transpose(0, 1).contiguous().unbind(0))

    return [Points(X, points.names, w, normals) for X, w, normals in zip(
        split(points.X), split(points.weights, k), split(points.normals), strict=True)]
