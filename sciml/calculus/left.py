"""Functions that a recorded equation calls as they are: tabulated ones, and derivatives that are left to a grid."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import ProblemError


class Tabulated:
    """A function f(c₁, …, c_D) of columns that comes with its derivatives, such as a drawn input function."""

    def __call__(self, *columns: Tensor) -> Tensor:
        """Values, of the columns' shape."""
        raise NotImplementedError

    def slope(self, i: int) -> Tabulated:
        """∂f/∂cᵢ."""
        raise NotImplementedError


@dataclass(frozen=True)
class Slope:
    """∂/∂coordinate of what it is applied to, left for a grid to take.

    Args:
        coordinate: Its name.
    """

    coordinate: str

    def __call__(self, value: Tensor) -> Tensor:
        """Refused: a value at a point has no derivative."""
        raise ProblemError(f"a derivative in {self.coordinate!r} was left to a grid, and these are points")
