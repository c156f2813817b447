"""Layouts: which arrays an operator of a family of problems takes and gives.

    steady              inputs on the space grid                      → unknowns on it
    final               inputs on the space grid                      → unknowns at the last time
    K snapshots         inputs, or the first H of K snapshots         → unknowns at the other times, as channels
    axis                inputs, repeated in time                      → unknowns on the grid of space and time

Arrays are (B, n_1, …, n_d, C), channels last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..calculus import GridAxis
from ..errors import ProblemError
from ..generators import BatchSolver
from ..geometry import Box
from ..problem import Problem
from .data import DataOptions


@dataclass(frozen=True)
class Layout:
    """The grid of an operator and what its channels are.

    Args:
        axes: Of the grid: space, and time, where it is one of them, last.
        unknowns: Names of the outputs.
        over: Coordinates of each input function.
        times: Of snapshots, (K,); None: there are none.
        history: So many of the snapshots are inputs.
    """

    axes: tuple[GridAxis, ...]
    unknowns: tuple[str, ...]
    over: Mapping[str, tuple[str, ...]]
    times: Tensor | None = None
    history: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Coordinates of the grid."""
        return tuple(a.name for a in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_1, …, n_d)."""
        return tuple(a.count for a in self.axes)

    @property
    def nodes(self) -> dict[str, Tensor]:
        """Nodes by coordinate."""
        return {a.name: a.nodes() for a in self.axes}

    @property
    def steps(self) -> int:
        """Times at which the unknowns are predicted, in channels."""
        return 1 if self.times is None else len(self.times) - self.history

    @property
    def outputs(self) -> int:
        """Number of output channels, unknowns within times."""
        return len(self.unknowns) * self.steps

    @property
    def sources(self) -> int:
        """Number of input channels without coordinates."""
        return len(self.over) if not self.history else len(self.unknowns) * self.history

    @property
    def sensor_counts(self) -> tuple[int, ...]:
        """Number of nodes of each input function."""
        sizes = dict(zip(self.names, self.shape, strict=True))
        return tuple(prod(sizes[c] for c in over) for over in self.over.values())

    @property
    def sensors(self) -> int:
        """Number of nodes of all input functions."""
        return sum(self.sensor_counts)

    def sensed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Input functions at their nodes one after the other, (B, S, 1)."""
        return torch.cat([inputs[n].reshape(len(inputs[n]), -1) for n in self.over], 1)[..., None]

    def first(self, count: int) -> Layout:
        """The same with the first snapshots only."""
        assert self.times is not None
        return replace(self, times=self.times[:count])

    def at(self, grid: int | tuple[int, ...]) -> Layout:
        """The same on another grid.

        Args:
            grid: Nodes along an axis, or one number for each.
        """
        sizes = _sizes(grid, self.names)
        return replace(self, axes=tuple(replace(a, count=n) for a, n in zip(self.axes, sizes, strict=True)))

    def coordinates(self, like: Tensor) -> Tensor:
        """Coordinates scaled to [0, 1] (periodic axes: [0, 1)), as channels (1, n_1, …, n_d, d)."""
        parts = [(a.nodes() - a.low) / (a.high - a.low) for a in self.axes]
        return torch.stack(torch.meshgrid(*parts, indexing="ij"), -1)[None].to(like)

    def channels(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Input functions as channels (B, n_1, …, n_d, F), repeated along coordinates they do not depend on.

        Args:
            inputs: (B, n, …) by name, axes in the order of `over`.
        """
        found = []
        for name, values in inputs.items():
            over = self.over[name]
            kept = [c for c in self.names if c in over]
            values = values.permute(0, *(1 + over.index(c) for c in kept))
            for i, c in enumerate(self.names):
                if c not in over:
                    values = values.unsqueeze(i + 1)
            found.append(values.expand(len(values), *self.shape))
        return torch.stack(found, -1)

    def points(self) -> Tensor:
        """The nodes as points (N, d) in physical coordinates."""
        return torch.cartesian_prod(*(a.nodes() for a in self.axes)).reshape(-1, len(self.axes))


def make_layout(problem: Problem, data: DataOptions, residual: bool) -> Layout:
    """The layout of a problem.

    Args:
        problem: A family.
        data: Grid, times and scheme.
        residual: Whether equations are evaluated on the grid.

    Raises:
        ProblemError: The family is not on a box, or times and loss do not go together.
    """
    domain = problem.domain
    if not isinstance(domain, Box) or problem.ranges:
        raise ProblemError("operators on grids need a Box as domain and no Range among the parameters; take random "
                           "numbers, inputs=dict(nu=RandomNumber(…)), instead")
    evolution = "t" in domain.names
    times = data.times
    if times == "auto":
        times = "axis" if residual else "final"
    if not evolution and (data.times != "auto" or data.history):
        raise ProblemError(f"data.times={data.times!r}: the problem has no time t")
    if residual and evolution and times != "axis":
        raise ProblemError(f"data.times={data.times!r}: the equations need time as an axis of the grid; leave "
                           "data.times out, or train with loss=data")
    bounds = dict(zip(domain.names, domain.bounds, strict=True))
    names = tuple(n for n in domain.names if n != "t") + (("t",) if evolution and times == "axis" else ())
    sizes = _sizes(data.grid, names)
    periodic = {h.regions[0] for b in problem.blocks for h in b.hard if h.kind == "periodic"}
    axes = tuple(_axis(n, bounds[n], size, n in periodic, data, bool(problem.rough))
                 for n, size in zip(names, sizes, strict=True))
    over = {n: tuple(drawn.family.over or ()) for n, drawn in problem.setting.inputs.items()}
    if missing := next(((n, c) for n, cs in over.items() for c in cs if c not in names), None):
        raise ProblemError(f"input {missing[0]!r} is a function of {missing[1]!r}, which is no axis of the grid; set "
                           "data.times=axis")
    chosen = None
    if evolution and times != "axis":
        low, high = bounds["t"]
        count = 1 if times == "final" else int(times)
        chosen = torch.linspace(low, high, count + 1, dtype=torch.float64)[1:]
    unknowns = tuple(problem.unknowns)
    if not residual and isinstance(problem.reference, BatchSolver):
        unknowns = tuple(u for u in unknowns if u in problem.reference.gives)
    return Layout(axes, unknowns, over, chosen, data.history)


def _axis(name: str, ends: tuple[float, float], count: int, periodic: bool, data: DataOptions, rough: bool) -> GridAxis:
    scheme = data.scheme
    if scheme == "auto":
        scheme = "spectral" if periodic and not rough else "differences"
    elif (scheme == "spectral" and not periodic) or (scheme == "continuation" and periodic):
        scheme = "differences" if not periodic else "spectral"
    return GridAxis(name, float(ends[0]), float(ends[1]), count, periodic, scheme, data.order)


def _sizes(grid: int | tuple[int, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    sizes = (grid,) * len(names) if isinstance(grid, int) else tuple(grid)
    if len(sizes) != len(names):
        raise ProblemError(f"data.grid={grid!r} has {len(sizes)} numbers, but the grid has the axes {', '.join(names)}")
    return sizes
