"""Conditions on integrals: a prescribed value, and the norm of an eigenfunction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import torch

from ..errors import ProblemError, unknown_name
from ..geometry import Box, Domain, Product
from ..points import Points, concatenate
from .condition import Condition, check_unknowns, is_box
from .setting import Setting, as_number, components, function_name


class Integral(Condition):
    """∫ f(u, …) dx = value, by quadrature over the domain or over some of its coordinates.

    Args:
        function: Integrand, asked for by name like an equation.
        equals: The value.
        over: Coordinates to integrate over; the rest are sampled. None: all of the domain's; ranged parameters are
            sampled.
        points: Number of quadrature nodes (default 256 per integral).
        groups: Number of places at which the rest is sampled, the same throughout.
    """

    kind = "integral"

    def __init__(self, function: Callable, equals: float = 0.0, over: str | Sequence[str] | None = None,
                 name: str | None = None, weight: float = 1.0, points: int | None = None, groups: int = 32):
        super().__init__(name, weight, points)
        if not callable(function):
            raise ProblemError(f"{self.kind} needs a function of the unknowns, got {function!r}")
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise ProblemError(f"{self.kind}: groups={groups!r} must be a whole number, at least 1")
        self.function, self.equals, self.groups = function, as_number(equals, f"{self.kind}: the value"), groups
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
        over = tuple(n for n in names if n not in setting.ranged) if self.over is None else self.over
        for n in over:
            if n not in names:
                raise ProblemError(f"{where}: {unknown_name('coordinate', n, names)}")
        rest = [n for n in names if n not in over]
        if not rest:
            return smooth_quadrature(setting, setting.domain, count), 1
        inside, outside = _factor(setting.domain, over), _factor(setting.domain, rest)
        if inside is None or outside is None:
            raise ProblemError(f"{where}: the domain in {', '.join(over)} differs from one {', '.join(rest)} to the "
                               "next; integrals over some coordinates need a box or a product of domains")
        inner = smooth_quadrature(setting, inside, count)
        outer = outside.sample(self.groups, generator=torch.Generator().manual_seed(0), rule="sobol")
        Q, M = len(inner), len(outer)
        X = torch.cat([outer.X.repeat_interleave(Q, 0), inner.X.repeat(M, 1)], dim=1)
        assert inner.weights is not None
        weights = inner.weights.repeat(M)
        return Points(X, outer.names + inner.names, weights).reorder(names), M


def _factor(domain: Domain, names: Sequence[str]) -> Domain | None:
    """The domain's factor in some of its coordinates; None if it is no product of that and the others."""
    if set(domain.names) <= set(names):
        return domain
    if isinstance(domain, Product):
        factors = [_factor(part, names) for part in (domain.a, domain.b) if set(part.names) & set(names)]
        found = [f for f in factors if f is not None]
        return None if len(found) < len(factors) else found[0] if len(found) == 1 else Product(*found)
    if not is_box(domain):
        return None
    bounds = dict(zip(domain.names, domain.bounds, strict=True))
    return Box(**{n: bounds[n] for n in domain.names if n in names})


def smooth_quadrature(setting: Setting, domain: Domain, count: int) -> Points:
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

    Note:
        Every eigenfunction satisfies the same conditions, so which state is found is decided by where its eigenvalue
        starts: give the `Unknown` a good start, or bounds that hold one level only, and make states orthogonal by an
        `Integral`. Without a reference nothing tells a run that ended at another state from one at that asked for.
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
