"""Symmetries of a family of problems, found by test, and random elements of them for augmentation.

A map T of the grid to itself (reflection of an axis, exchange of two, shift along a periodic one) is a symmetry if the
equations and what is built in commute with it, R[Tu, Ta] = T R[u, a]: tried on random functions. Where a shift along
one axis is none, shifts along two at once are tried. Only maps that leave the values of functions as they are count; a
reflection that turns u into −u does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..calculus.grids import MATCHED
from ..errors import ProblemError
from ..problem import Problem
from .data import DataOptions
from .equations import Equations
from .layout import Layout, make_layout
from .samples import draw

Map = Callable[[Tensor, tuple[str, ...]], Tensor]


@dataclass(frozen=True)
class Symmetries:
    """What a grid may be mapped by.

    Args:
        flips: Axes that may be reflected.
        swaps: Pairs of axes that may be exchanged.
        shifts: Steps along periodic axes by which all functions may be shifted, and multiples of them.
        layout: The grid.
    """

    flips: tuple[str, ...]
    swaps: tuple[tuple[str, str], ...]
    shifts: tuple[tuple[tuple[str, int], ...], ...]
    layout: Layout

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self.flips or self.swaps or self.shifts)

    def random(self, generator: torch.Generator) -> Map:
        """A random element, as a map of arrays (B, n…, [C]) whose axes are named."""
        coin = lambda: bool(torch.randint(2, (), generator=generator))
        maps: list[Map] = [_flip(self.layout, n) for n in self.flips if coin()]
        maps += [_swap(*pair) for pair in self.swaps if coin()]
        for steps in self.shifts:
            most = max(self.layout.axes[self.layout.names.index(n)].count for n, _ in steps)
            times = int(torch.randint(most, (), generator=generator))
            maps += [_shift(n, times * step) for n, step in steps]

        def apply(values: Tensor, names: tuple[str, ...]) -> Tensor:
            for one in maps:
                values = one(values, names)
            return values

        return apply


def _flip(layout: Layout, name: str) -> Map:
    periodic = layout.axes[layout.names.index(name)].periodic

    def apply(values: Tensor, names: tuple[str, ...]) -> Tensor:
        if name not in names:
            return values
        i = names.index(name) + 1
        flipped = values.flip(i)
        return flipped.roll(1, i) if periodic else flipped

    return apply


def _swap(one: str, other: str) -> Map:
    def apply(values: Tensor, names: tuple[str, ...]) -> Tensor:
        if one in names and other in names:
            return values.transpose(names.index(one) + 1, names.index(other) + 1)
        return values

    return apply


def _shift(name: str, steps: int) -> Map:
    return lambda values, names: values.roll(steps, names.index(name) + 1) if name in names else values


def _together(steps: tuple[tuple[str, int], ...]) -> Map:
    def apply(values: Tensor, names: tuple[str, ...]) -> Tensor:
        for name, step in steps:
            values = _shift(name, step)(values, names)
        return values

    return apply


def _shifts(names: list[str], holds: Callable[[Map], bool]) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Shifts of single axes, and of pairs of those that may not be shifted alone."""
    alone = [n for n in names if holds(_together(((n, 3),)))]
    rest = [n for n in names if n not in alone]
    pairs = [((a, 1), (b, sign)) for i, a in enumerate(rest) for b in rest[i + 1:] for sign in (1, -1)]
    return (*(((n, 1),) for n in alone), *(p for p in pairs if holds(_together(p))))


def find_symmetries(equations: Equations, layout: Layout, inputs: Mapping[str, Tensor]) -> Symmetries:
    """The symmetries of a family on a grid.

    Args:
        equations: The family's.
        layout: A grid with all coordinates of the problem among its axes, in space that of the functions.
        inputs: A few input functions in float64.

    Raises:
        ProblemError: There is none.
    """
    generator = torch.Generator().manual_seed(0)
    count = len(next(iter(inputs.values())))
    u = torch.randn(count, *layout.shape, len(layout.unknowns), generator=generator, dtype=torch.float64)
    before = equations.residuals(layout, u, inputs)
    built = (equations.lift(layout, inputs), equations.bubble(layout, inputs))
    names = layout.names

    def holds(one: Map) -> bool:
        moved = {n: one(v, layout.over[n]) for n, v in inputs.items()}
        if any(moved[n].shape != v.shape for n, v in inputs.items()) or one(u, names).shape != u.shape:
            return False
        after = equations.residuals(layout, one(u, names).contiguous(), moved)
        pairs = [(one(b.values, names), a.values) for b, a in zip(before, after, strict=True)]
        pairs += [(one(b.expand(count, *b.shape[1:]), names), a.expand(count, *a.shape[1:])) for b, a in
                  zip(built, (equations.lift(layout, moved), equations.bubble(layout, moved)), strict=True)]
        return all(bool(((x - y).abs() <= 1e-8 * (1 + x.abs().max())).all()) for x, y in pairs)

    space = [a for a in layout.axes if a.name != "t"]
    found = Symmetries(
        tuple(a.name for a in space if holds(_flip(layout, a.name))),
        tuple((a.name, b.name) for i, a in enumerate(space) for b in space[i + 1:] if holds(_swap(a.name, b.name))),
        _shifts([a.name for a in space if a.periodic], holds), layout)
    if not found.any:
        raise ProblemError("augment=symmetry: the equations and conditions are invariant under no reflection, exchange "
                           "or shift of the axes; leave augment out")
    return found


def family_symmetries(problem: Problem, equations: Equations, layout: Layout, data: DataOptions) -> Symmetries:
    """The symmetries of a family on an operator's grid, tried on one of all coordinates, also where it has no time.

    Args:
        problem: The family.
        equations: Its equations.
        layout: The operator's grid.
        data: Of its samples.

    Raises:
        ProblemError: There is none.
    """
    sizes = dict(zip(layout.names, layout.shape, strict=True))
    if "t" in problem.domain.names:
        sizes.setdefault("t", max(2 * MATCHED, data.order + 3))
    tested = make_layout(problem, replace(data, times="auto", history=0, unroll=0, grid=tuple(sizes.values())), True)
    found = find_symmetries(equations, tested, draw(problem, tested, min(8, data.train), data.seed))
    return replace(found, layout=layout)
