"""Derivatives on grids: matrices along the axes, and equations replayed on batches of grid functions.

    ∂^α u = D₁^(α₁) ⊗ … ⊗ D_d^(α_d) u,   each D one n × n matrix

An axis is differenced (`differences`, any order, with half points for fluxes), taken as periodic (`spectral`,
Fourier), or continued to a periodic function (`continuation`: FC(Gram) of Albin and Bruno 2011,
doi:10.1016/j.jcp.2011.04.023: polynomials through the points at both ends, joined by a Fourier series).
Fluxes are differenced as they are written: with order 2, d(a u_x, x) at a node is the difference of a u_x at the half
points beside it, where a is the mean of its two nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import factorial, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from .collapse import Slot
from .elementwise import evaluate
from .left import Slope, Tabulated
from .program import Program, _Constant

SCHEMES = ("differences", "spectral", "continuation")
MATCHED, BRIDGE, SLACK, MODES = 10, 20, 24, 15    # of `continuation`: at each end, between, more, |k|


@dataclass(frozen=True)
class GridAxis:
    """A uniform axis of a grid and how derivatives along it are taken.

    Args:
        name: Of the coordinate.
        low, high: Its range.
        count: Number n of nodes: from `low` to `high`, or without `high` where it is periodic.
        periodic: Whether functions are.
        scheme: "differences", "spectral" (periodic axes) or "continuation" (others).
        order: Of accuracy of differences, an even number.
    """

    name: str
    low: float
    high: float
    count: int
    periodic: bool = False
    scheme: str = "differences"
    order: int = 2

    def __post_init__(self):
        look_up("scheme", self.scheme, dict.fromkeys(SCHEMES))
        if self.scheme == "spectral" and not self.periodic:
            raise ProblemError(f"scheme=spectral needs a periodic coordinate, and {self.name!r} is not; take "
                               "differences or continuation")
        if self.scheme == "continuation" and self.periodic:
            raise ProblemError(f"{self.name!r} is periodic, so that nothing is continued; take scheme=spectral")
        if self.order < 2 or self.order % 2:
            raise ProblemError(f"order={self.order} of differences must be an even number from 2")
        least = 2 * MATCHED if self.scheme == "continuation" else self.order + 3
        if self.count < least:
            raise ProblemError(f"{self.count} nodes in {self.name!r} are too few for derivatives by {self.scheme}; "
                               f"take at least {least}")

    @property
    def step(self) -> float:
        """h."""
        return (self.high - self.low) / (self.count if self.periodic else self.count - 1)

    def nodes(self, half: bool = False) -> Tensor:
        """Nodes, or the points half-way between them, in float64."""
        k = torch.arange(self.size(half), dtype=torch.float64)
        return self.low + self.step * (k + 0.5 * half)

    def size(self, half: bool = False) -> int:
        """Number of nodes or half points."""
        return self.count - (half and not self.periodic)

    @property
    def staggered(self) -> bool:
        """Whether fluxes live on half points."""
        return self.scheme == "differences"

    def matrix(self, derivative: int, start: bool = False, end: bool = False) -> Tensor:
        """∂^derivative from nodes or half points (`start`) to nodes or half points (`end`), (m, n), in float64."""
        return _matrix(self, derivative, start, end)


@lru_cache(maxsize=256)
def _matrix(axis: GridAxis, derivative: int, start: bool, end: bool) -> Tensor:
    if axis.scheme == "spectral":
        return _fourier(axis.count, axis.high - axis.low, derivative)
    if axis.scheme == "continuation":
        return _continued(axis.count, axis.high - axis.low, derivative)
    return _differences(axis, derivative, start, end)


def _fourier(n: int, length: float, derivative: int) -> Tensor:
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) * (2 * pi / length)
    if n % 2 == 0 and derivative % 2:
        k[n // 2] = 0.0
    spectrum = torch.fft.fft(torch.eye(n, dtype=torch.complex128), dim=0) * ((1j * k) ** derivative)[:, None]
    return torch.fft.ifft(spectrum, dim=0).real.contiguous()


def _continued(n: int, length: float, derivative: int) -> Tensor:
    """Fourier derivative of the nodes' values and the points of the bridge, which follow from those at both ends."""
    total = n + BRIDGE
    extension = np.zeros((total, n))
    extension[:n] = np.eye(n)
    bridge = _bridge()
    extension[n:, n - MATCHED:] += bridge[:, :MATCHED]
    extension[n:, :MATCHED] += bridge[:, MATCHED:]
    D = _fourier(total, length * total / (n - 1), derivative).numpy()
    return torch.from_numpy(np.ascontiguousarray((D @ extension)[:n]))


@lru_cache(maxsize=1)
def _bridge() -> np.ndarray:
    """Values at the points of the bridge from those matched at its left and right, (BRIDGE, 2 MATCHED)."""
    fine = np.linspace(0, MATCHED - 1, 20 * (MATCHED - 1) + 1)
    right = fine + MATCHED + BRIDGE
    k = np.arange(-MODES, MODES + 1) * (2 * pi / (2 * MATCHED + BRIDGE + SLACK))
    nodes = np.arange(MATCHED)
    others = [np.delete(nodes, i) for i in nodes]
    lagrange = np.stack([np.prod([(fine - j) / (i - j) for j in others[i]], axis=0) for i in nodes], 1)
    zero = np.zeros_like(lagrange)
    fit = np.linalg.pinv(np.exp(1j * np.outer(np.concatenate([fine, right]), k)), rcond=1e-13)
    between = np.exp(1j * np.outer(np.arange(MATCHED, MATCHED + BRIDGE), k))
    return (between @ fit @ np.block([[lagrange, zero], [zero, lagrange]])).real


def _differences(axis: GridAxis, derivative: int, start: bool, end: bool) -> Tensor:
    """Finite differences on the nearest points, one-sided at the ends, by weights that are exact for polynomials."""
    n, m = axis.size(start), axis.size(end)
    D = torch.zeros(m, n, dtype=torch.float64)
    if derivative == 0 and start == end:
        return torch.eye(n, dtype=torch.float64)
    centred = axis.order + (2 * ((derivative + 1) // 2) - 1 if start == end else 2 * (derivative // 2))
    for i in range(m):
        place = i + 0.5 * end - 0.5 * start                              # in steps, from the first source
        count = centred
        first = round(place - (count - 1) / 2)
        if not axis.periodic and (first < 0 or first + count > n):
            count = min(derivative + axis.order, n)                      # one-sided: more points for the same order
            first = min(max(round(place - (count - 1) / 2), 0), n - count)
        offsets = np.arange(first, first + count) - place
        powers = np.vander(offsets, count, increasing=True).T
        wanted = np.zeros(count)
        wanted[derivative] = factorial(derivative)
        weights = np.linalg.solve(powers, wanted) / axis.step**derivative
        for j, w in enumerate(weights):
            D[i, (first + j) % n] += float(w)
    return D


@dataclass
class GridFunctions:
    """Batches of functions on one grid, with the derivatives that were asked for so far.

    Args:
        axes: The grid's.
        values: By name: (B, n_1, …, n_d) over the coordinates in `over`.
        over: Coordinates of those that do not depend on all, by name.
    """

    axes: tuple[GridAxis, ...]
    values: Mapping[str, Tensor]
    over: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _kept: dict = field(default_factory=dict, repr=False)
    _matrices: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.names = tuple(a.name for a in self.axes)

    @property
    def like(self) -> Tensor:
        """A tensor of the functions' dtype and device."""
        return next(iter(self.values.values()))

    @property
    def ones(self) -> Tensor:
        """1 in the shape of a batch of constants."""
        return self.like.new_ones((1,) * (len(self.axes) + 1))

    def apply(self, values: Tensor, axis: int, derivative: int, start: bool, end: bool) -> Tensor:
        """A matrix along an axis of values (B, n_1, …, n_d)."""
        key = (axis, derivative, start, end)
        if key not in self._matrices:
            self._matrices[key] = self.axes[axis].matrix(derivative, start, end).to(self.like)
        D = self._matrices[key]
        return (values.movedim(axis + 1, -1) @ D.T).movedim(-1, axis + 1)

    def spread(self, name: str) -> Tensor:
        """Values with an axis of length 1 for each coordinate that a function does not depend on."""
        over = self.over.get(name, self.names)
        values = self.values[name]
        kept = [c for c in self.names if c in over]
        values = values.permute(0, *(1 + over.index(c) for c in kept))
        for i, c in enumerate(self.names):
            if c not in over:
                values = values.unsqueeze(i + 1)
        return values

    def derivative(self, name: str, alpha: Mapping[str, int], place: tuple[bool, ...]) -> Tensor:
        """∂^α of a function at nodes or, by axis, at half points."""
        over = self.over.get(name, self.names)
        key: tuple = (name,)
        value = self._kept.setdefault(key, self.spread(name))
        for i, axis in enumerate(self.axes):
            order, half = alpha.get(axis.name, 0), place[i] and axis.staggered
            if axis.name not in over:
                if order:
                    return torch.zeros_like(value)
                continue
            if order == 0 and not half:
                continue
            key = (*key, (i, order, half))
            if key not in self._kept:
                self._kept[key] = self.apply(value, i, order, False, half)
            value = self._kept[key]
        return value


def on_grid(program: Program, functions: GridFunctions, coordinates: Sequence[str],
            parameters: Mapping[str, Tensor | float] | None = None) -> list[Tensor]:
    """Values of an equation's outputs at the nodes, each (B, n_1, …, n_d) or of a shape that broadcasts to it.

    Args:
        program: The equation, recorded on a frame with `expand=False` if fluxes are to be differenced as written.
        functions: Unknowns and input functions by name.
        coordinates: The frame's, to which derivatives of unknowns refer.
        parameters: Values of leaves that are parameters or components of the normal.

    Raises:
        ProblemError: Something in the equation is not defined on a grid.
    """
    replay = _Replay(program, functions, tuple(coordinates), parameters or {})
    nodes = (False,) * len(functions.axes)
    found = []
    for reference in program._results:
        value = replay.value(reference, nodes)
        shaped = isinstance(value, Tensor) and value.ndim > 0
        found.append(value if shaped else functions.ones * value)
    return found


class _Replay:
    """One evaluation: values by step and place."""

    def __init__(self, program: Program, functions: GridFunctions, coordinates: tuple[str, ...],
                 parameters: Mapping[str, Tensor | float]):
        self.program, self.functions, self.coordinates, self.parameters = program, functions, coordinates, parameters
        self.constants = program.constants(functions.like.device, functions.like.dtype) if program._tensors else ()
        self.kept: dict[tuple, Any] = {}

    def value(self, reference, place: tuple[bool, ...]):
        """Value of a slot, constant or number at nodes or half points."""
        if isinstance(reference, _Constant):
            return self.constants[reference.index]
        if not isinstance(reference, Slot):
            return reference
        key = (reference.index, place)
        if key not in self.kept:
            step = self.program._steps[reference.index]
            self.kept[key] = self._leaf(step[1], place) if step[0] == "leaf" else self._call(step, place)
        return self.kept[key]

    def _leaf(self, key, place):
        kind, name, alpha = key
        if kind == "coordinate":
            return self._coordinate(name, place)
        if kind == "unknown":
            return self.functions.derivative(name, dict(zip(self.coordinates, alpha, strict=True)), place)
        if kind in ("parameter", "normal") and name in self.parameters:
            return self.parameters[name]
        raise ProblemError(f"the {kind} {name!r} has no value on a grid")

    def _coordinate(self, name: str, place) -> Tensor:
        i = self.functions.names.index(name)
        axis, like = self.functions.axes[i], self.functions.like
        shape = [1] * (len(self.functions.axes) + 1)
        nodes = axis.nodes(place[i] and axis.staggered)
        shape[i + 1] = len(nodes)
        return nodes.to(like).reshape(shape)

    def _call(self, step, place):
        _, function, args, kwargs = step
        if isinstance(function, Slope):
            return self._slope(function.coordinate, args[0], place)
        if isinstance(function, Tabulated):
            return self._input(function, args, place)
        values = [self.value(a, place) for a in args]
        options = {k: self.value(a, place) for k, a in kwargs.items()}
        return evaluate(function, values, options, self.functions.like)

    def _slope(self, coordinate: str, reference, place) -> Tensor:
        functions = self.functions
        i = functions.names.index(coordinate)
        axis = functions.axes[i]
        there = tuple(h != (j == i) for j, h in enumerate(place)) if axis.staggered else place
        value = self.value(reference, there)
        if not isinstance(value, Tensor) or value.ndim == 0:
            return 0.0 * functions.ones
        if value.shape[i + 1] == 1:
            return torch.zeros_like(value)
        start, end = (there[i], place[i]) if axis.staggered else (False, False)
        return functions.apply(value, i, 1, start, end)

    def _input(self, function, args, place) -> Tensor:
        """An input function or its derivative; at an end of an axis where an argument is that number."""
        functions = self.functions
        name, over = function.name, function.family.over
        value = functions.derivative(name, dict(zip(over, function.alpha, strict=True)), place)
        for c, argument in zip(over, args, strict=True):
            if isinstance(argument, Slot):
                if self.program._steps[argument.index][:2] != ("leaf", ("coordinate", c, (0,) * len(self.coordinates))):
                    raise ProblemError(f"the input {name!r} is asked for at other points than those of the grid")
                continue
            i = functions.names.index(c)
            axis = functions.axes[i]
            ends = {axis.low: 0, axis.high: 0 if axis.periodic else -1}
            if argument not in ends:
                raise ProblemError(f"the input {name!r} is asked for at {c} = {argument}, which is no end of the grid")
            value = value.narrow(i + 1, ends[argument] % value.shape[i + 1], 1)
        return value
