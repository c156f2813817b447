"""Refiners: what a field gets more of between solves.

A run solves (its optimizer, to the end), asks the refiner, solves again, and so on until the refiner adds nothing. The
refiner works on the same `Scene` as samplers, between steps only; the optimizer is made anew after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import ProblemError
from ..sampling import Scene


class Refiner(ABC):
    """Makes a field larger between solves.

    `name` is that of the registry, `weighs` says whether it sets the weights of points, and `solving` holds options of
    optimizers that it wants unless others are given.
    """

    name = "refiner"
    weighs = False
    solving: Mapping[str, Mapping[str, object]] = {}

    def demand(self, true: bool, option: str, value: object, what: str) -> None:
        """Raises a `ProblemError` about an option that is not `what` it must be."""
        if not true:
            raise ProblemError(f"refine.{option}={value} must be {what}")

    def check(self, field: nn.Module) -> None:  # noqa: B027  nothing refines nothing
        """Refuses a field that cannot grow."""

    def begin(self, scene: Scene, field: nn.Module) -> None:  # noqa: B027  nothing refines nothing
        """Called once the first points are in place."""

    @abstractmethod
    def update(self, scene: Scene, field: nn.Module) -> bool:
        """Refines after a solve.

        Returns:
            Whether field, points or weights are others than before, so that there is something to solve.
        """

    def extras(self, field: nn.Module) -> dict[str, float]:
        """Numbers for the reports."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What resume needs beside field, points, weights and the generator."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027  nothing holds nothing
        """Restores `state_dict`."""


class Nothing(Refiner):
    """Leaves the field as it is."""

    name = "none"

    def update(self, scene, field):
        return False
