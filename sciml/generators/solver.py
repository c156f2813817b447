"""What a generator of samples is: a classical solver for a batch of instances, with its own accuracy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..errors import ProblemError, unknown_name

Own = TypeVar("Own", bound="BatchSolver")
Fields = Mapping[str, Tensor]


class Accuracy(NamedTuple):
    """How far samples are from those of a finer solve.

    Args:
        error: Mean over the samples of the relative L2 difference.
        worst: The largest of them.
        how: What was compared, a sentence.
    """

    error: float
    worst: float
    how: str


class BatchSolver(ABC):
    """Solves a batch of instances of one equation on a grid, in float64 on the device of the inputs.

    A concrete one is a frozen dataclass; names of input functions and of the unknown are fields of it.
    """

    periodic: ClassVar[bool]

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the input functions."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of the unknowns that `solve` returns."""
        return (self.unknown,)  # type: ignore[attr-defined]

    @abstractmethod
    def solve(self, inputs: Fields, axes: Fields, times: Tensor | None = None) -> dict[str, Tensor]:
        """Solutions by name of the unknown.

        Args:
            inputs: Functions by name, shape (B, n_1, …, n_d) on the grid; numbers may be (B,).
            axes: Equispaced points by coordinate, in the order of the axes: both ends included, or for periodic
                equations without the upper one.
            times: Increasing times ≥ 0, shape (K,).

        Returns:
            Shape (B, n_1, …, n_d), with times (B, n_1, …, n_d, K).

        Raises:
            ProblemError: Inputs or axes of another form.
            TrainingError: No convergence, or numbers that are not finite.
        """

    @abstractmethod
    def finer(self: Own) -> Own:
        """The same with half the step, or itself where a finer grid is all there is to refine."""

    def accuracy(self, inputs_on: Callable[[Fields], Fields], axes: Fields, times: Tensor | None = None) -> Accuracy:
        """Refinement check: the same functions on a grid of half the spacing, by `finer`, compared at the grid's nodes.

        Args:
            inputs_on: From axes to input functions on them, the same functions for all axes; some ten samples do.
            axes: The grid in question.
            times: As for `solve`.

        Note:
            For an order p the true error is about 1/(1 − 2⁻ᵖ) of it: twice for p = 1.
        """
        coarse = self.solve(inputs_on(axes), axes, times)
        fine_axes = {name: refine(x, self.periodic) for name, x in axes.items()}
        fine = self.finer().solve(inputs_on(fine_axes), fine_axes, times)
        errors = torch.stack([_differences(coarse[name], fine[name], len(axes)) for name in self.gives]).amax(0)
        sizes = "×".join(str(len(x)) for x in axes.values())
        finer = "×".join(str(len(x)) for x in fine_axes.values())
        steps = ", half the time step" if self.finer() != self else ""
        how = f"relative L2 difference of {len(errors)} samples on {sizes} nodes from {finer} nodes{steps}"
        return Accuracy(float(errors.mean()), float(errors.max()), how)

    def _input(self, inputs: Fields, name: str, shape: Sequence[int] | None = None) -> Tensor:
        if name not in inputs:
            raise ProblemError(f"{type(self).__name__}: " + unknown_name("input function", name, inputs))
        values = inputs[name].to(torch.float64)
        if shape is not None and tuple(values.shape[1:]) != tuple(shape):
            raise ProblemError(f"{type(self).__name__} needs {name!r} of shape (B, {', '.join(map(str, shape))}) on "
                               f"its axes, not {tuple(values.shape)}")
        return values

    def _number(self, value: float | str, inputs: Fields, like: Tensor) -> Tensor:
        """A number, or an input that is one for each instance, shape (B, 1, …) of as many axes as `like`."""
        if not isinstance(value, str):
            return like.new_full((1,) * like.ndim, value)
        return self._input(inputs, value).reshape(len(like), -1)[:, 0].reshape(-1, *(1,) * (like.ndim - 1))


def spacing(axes: Fields, dims: Sequence[int], who: str) -> list[float]:
    """Distances of the points of equispaced axes.

    Args:
        axes: Points by coordinate.
        dims: Numbers of axes that are possible.
        who: Name for the message.

    Raises:
        ProblemError: Another number of axes, or points that are not increasing and equispaced.
    """
    if len(axes) not in dims:
        raise ProblemError(f"{who} has {' or '.join(map(str, dims))} axes in space, not {len(axes)} "
                           f"({', '.join(axes) or 'none'})")
    found = []
    for name, x in axes.items():
        if x.ndim != 1 or len(x) < 3:
            raise ProblemError(f"{who}: the axis {name!r} must be at least 3 points (n,), not {tuple(x.shape)}")
        steps = x.to(torch.float64).diff()
        h = float(x[-1].to(torch.float64) - x[0].to(torch.float64)) / (len(x) - 1)
        if not h > 0 or float((steps - h).abs().max()) > 1e-4 * h:
            raise ProblemError(f"{who}: the axis {name!r} must be increasing and equispaced")
        found.append(h)
    return found


def refine(x: Tensor, periodic: bool) -> Tensor:
    """Points of half the spacing: 2n on a periodic axis, else 2n − 1."""
    x = x.to(torch.float64)
    n = len(x)
    h = (x[-1] - x[0]) / (n - 1)
    return x[0] + h / 2 * torch.arange(2 * n if periodic else 2 * n - 1, dtype=x.dtype, device=x.device)


def record_times(times: Tensor | None, final: float) -> list[float]:
    """Times as numbers; `final` alone for None.

    Raises:
        ProblemError: Not increasing, or negative.
    """
    if times is None:
        return [final]
    found = [float(t) for t in times.reshape(-1)]
    if not found or found[0] < 0 or any(b <= a for a, b in zip(found, found[1:], strict=False)):
        raise ProblemError(f"times must be increasing numbers ≥ 0, not {found[:4]}{'…' if len(found) > 4 else ''}")
    return found


def batches(count: int, size: int, device: torch.device) -> list[slice]:
    """Slices of a batch that keep what a step touches in cache: 2^18 numbers on a CPU, 2^25 on another device.

    Args:
        count: Instances.
        size: Numbers of one instance.
        device: Where they are.
    """
    each = max(1, min(count, 2 ** (18 if device.type == "cpu" else 25) // max(1, size)))
    return [slice(i, min(i + each, count)) for i in range(0, count, each)]


def _differences(coarse: Tensor, fine: Tensor, axes: int) -> Tensor:
    index = (slice(None), *[slice(None, None, 2)] * axes)
    at = fine[index]
    return (coarse - at).flatten(1).norm(dim=1) / at.flatten(1).norm(dim=1).clamp(min=math.ulp(0.0))
