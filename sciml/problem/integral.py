"""Conditions on integrals: a prescribed value, and the norm of an eigenfunction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import torch

from ..errors import ProblemError, unknown_name
from ..geometry import Box
from ..points import Points, concatenate
from .condition import Condition, check_unknowns, is_box
from .setting import Setting, components, function_name


class Integral(Condition):
    """∫ f(u, …) dx = value, by quadrature over the domain or over some of its coordinates.

    Args:
        function: Integrand, asked for by name like an equation.
        equals: The value.
        over: Coordinates to integrate over (a box in them); the rest are sampled. None: all.
        points: Number of quadrature nodes (default 256 per integral).
    """

    kind = "integral"

    def __init__(self, function: Callable, equals: float = 0.0, over: str | Sequence[str] | None = None,
                 name: str | None = None, weight: float = 1.0, points: int | None = None, groups: int = 32):
        super().__init__(name, weight, points)
        self.function, self.equals, self.groups = function, float(equals), groups
        self.over = tuple(over.split()) if isinstance(over, str) else over

    @property
    def label(self):
        return self.name or function_name(self.function, self.kind)

    def _integrand(self, setting: Setting, where: str):
        return setting.call(self.function, where)

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        outputs = components(self._integrand(setting, where), name, where)
        points, groups = self._quadrature(setting, where)
        return [self._block(name, outputs, points, combine="integral", target=self.equals, groups=groups)]

    def _quadrature(self, setting: Setting, where: str) -> tuple[Points, int]:
        names = setting.domain.names
        count = self.count or 256
        rest = [n for n in names if self.over is not None and n not in self.over]
        if not rest:
            return _quadrature(setting, setting.domain, count), 1
        for n in self.over or ():
            if n not in names:
                raise ProblemError(f"{where}: {unknown_name('coordinate', n, names)}")
        bounds = dict(zip(names, setting.domain.bounds, strict=True))
        inner = _quadrature(setting, Box(**{n: bounds[n] for n in names if n not in rest}), count)
        outer = Box(**{n: bounds[n] for n in rest}).sample(
            self.groups, generator=torch.Generator().manual_seed(0), rule="sobol")
        Q, M = len(inner), len(outer)
        X = torch.cat([outer.X.repeat_interleave(Q, 0), inner.X.repeat(M, 1)], dim=1)
        assert inner.weights is not None
        weights = inner.weights.repeat(M)
        return Points(X, outer.names + inner.names, weights).reorder(names), M


def _quadrature(setting: Setting, domain, count: int) -> Points:
    """About `count` nodes; on a box each piece between interfaces has its own, since the integrand is smooth there."""
    pieces = [list(pairwise((low, *setting.breaks.get(n, ()), high)))
              for n, (low, high) in zip(domain.names, domain.bounds, strict=True)]
    cells = list(product(*pieces))
    if len(cells) == 1 or not is_box(domain):
        return domain.quadrature(count, dtype=torch.float64, device="cpu")
    boxes = [Box(**dict(zip(domain.names, cell, strict=True))) for cell in cells]
    return concatenate([b.quadrature(max(count // len(cells), 1), dtype=torch.float64, device="cpu") for b in boxes])


class Normalized(Integral):
    """∫ u² dx = value for eigenproblems.

    Args:
        values: The norm squared by unknown, usually 1.0.
    """

    kind = "normalized"

    def __init__(self, over: str | Sequence[str] | None = None, name: str | None = None, weight: float = 1.0,
                 points: int | None = None, **values):
        if len(values) != 1:
            raise ProblemError("Normalized takes one unknown, e.g. Normalized(psi=1.0); write one per unknown")
        ((self.unknown, value),) = values.items()
        super().__init__(lambda: None, value, over, name or f"normalized {self.unknown}", weight, points)

    def _integrand(self, setting, where):
        check_unknowns(setting, [self.unknown], where)
        u = setting.frame.leaf("unknown", self.unknown)
        return u * u
