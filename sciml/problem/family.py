"""Families: problems with random input functions.

    a ~ μ,   R(u, a) = 0:   a neural operator learns a ↦ u, a network or a mesh solves one member.

In an equation an input function is a known function of the coordinates with known derivatives, a `Drawn`. What is in a
`Problem` is one member of its family; `learning` records the equations again on a frame that leaves the derivatives of
fluxes to a grid, and puts the values of whole batches in the place of the drawn function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..calculus import Program, Quantity, Tabulated
from ..calculus.quantity import Apply
from ..errors import ProblemError, look_up
from ..geometry import Domain


@runtime_checkable
class InputFunctions(Protocol):
    """What a family needs of its random functions; `sciml.inputs` has them."""

    over: tuple[str, ...] | None

    def bind(self, sides: Mapping[str, tuple[float, float]]) -> InputFunctions:
        """A copy that knows its coordinates and their ranges."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Coefficients (B, M) of so many functions."""

    def on_grid(self, coefficients: Tensor, axes: Mapping[str, Tensor], alpha=None) -> Tensor:
        """∂^α of the functions on a grid, (B, n_1, …, n_d)."""

    def at(self, coefficients: Tensor, X: Tensor, alpha=None) -> Tensor:
        """∂^α of the functions at points (N, D), (B, N)."""


class Drawn(Tabulated):
    """∂^α of one function that was drawn.

    Args:
        name: Of the input.
        family: Its random functions, bound to the domain.
        coefficients: Those of this function, (1, M).
        alpha: The derivative.

    Attributes:
        rough: Whether the function has no such derivative; then values are those almost everywhere, 0.
    """

    def __init__(self, name: str, family: InputFunctions, coefficients: Tensor, alpha: tuple[int, ...]):
        self.name, self.family, self.coefficients, self.alpha = name, family, coefficients, alpha
        self.__name__ = name
        self._slopes: dict[int, Drawn] = {}
        self.rough = any(alpha) and not self._exists()

    def _exists(self) -> bool:
        try:
            self.family.at(self.coefficients, torch.zeros(1, len(self.alpha), dtype=torch.float64), self.alpha)
        except ProblemError:
            return False
        return True

    def __call__(self, *columns: Tensor) -> Tensor:
        tensors = [c for c in columns if isinstance(c, Tensor)]
        like = tensors[0] if tensors else self.coefficients[0, 0]
        if self.rough:
            return torch.zeros_like(like)
        if not tensors:
            X = torch.tensor([columns], dtype=torch.float64)
            return self.family.at(self.coefficients, X, self.alpha)[0, 0]
        X = torch.stack([torch.as_tensor(c, dtype=torch.float64).to(like.device).expand(like.shape) for c in columns],
                        -1)
        return self.family.at(self.coefficients.to(like.device), X.detach().double(), self.alpha)[0].to(like.dtype)

    def slope(self, i: int) -> Drawn:
        if i not in self._slopes:
            alpha = tuple(a + (j == i) for j, a in enumerate(self.alpha))
            self._slopes[i] = Drawn(self.name, self.family, self.coefficients, alpha)
        return self._slopes[i]


def draw_inputs(inputs: Mapping[str, object], domain: Domain, member: int) -> dict[str, Drawn]:
    """One function of each kind.

    Args:
        inputs: Random functions by name.
        domain: Where they live; those that say nothing about it depend on its space coordinates.
        member: Seed of the draw.

    Raises:
        ProblemError: An input is no random function, or depends on a coordinate that does not exist.
    """
    generator = torch.Generator().manual_seed(member)
    bounds = dict(zip(domain.names, domain.bounds, strict=True))
    found = {}
    for name, family in inputs.items():
        if not isinstance(family, InputFunctions):
            raise ProblemError(f"input {name!r} must be random functions such as GaussianRandomField(…), got "
                               f"{family!r}")
        for c in family.over or ():
            look_up(f"coordinate of input {name!r}", c, bounds)
        names = tuple(domain.space) if family.over is None else family.over
        bound = family.bind({n: bounds[n] for n in names})
        found[name] = Drawn(name, bound, bound.draw(1, generator), (0,) * len(names))
    return found


def input_quantity(drawn: Drawn, frame) -> Quantity:
    """The function of the frame's coordinates; the same object each time."""
    key = ("input", drawn.name, ())
    if key not in frame.leaves:
        names = drawn.family.over or ()
        arguments = tuple(frame.leaf("coordinate", n) for n in names)
        frame.leaves[key] = Apply(frame, drawn, arguments, {})          # of no coordinate too: a random number
    return frame.leaves[key]


def drawn_in(programs: Iterable[Program]) -> dict[str, set[Drawn]]:
    """Input functions that programs call, by name."""
    found: dict[str, set[Drawn]] = {}
    for program in programs:
        for function in program.functions:
            if isinstance(function, Drawn):
                found.setdefault(function.name, set()).add(function)
    return found
