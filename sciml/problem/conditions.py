"""Conditions: statements that must hold on a part of the domain, R[u] = 0.

Every condition turns itself into *blocks*: a program for the residual's components at a point, the region where it is
asked for, and how pointwise values combine into rows (each by itself, difference of two opposite faces, weighted sum).
Training sees blocks only.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from math import prod

import torch
from torch import Tensor

from ..calculus import Program, d, dot, grad
from ..errors import ProblemError, look_up, unknown_name
from ..geometry import Box, Join, Region
from ..geometry.patch import Patch
from ..points import Points, concatenate
from .setting import Setting, components, function_name


@dataclass(frozen=True)
class Block:
    """A stack of residual rows of one condition.

    Args:
        name: The condition's name.
        components: Names of the K residual components.
        program: Residual components at a point, from the leaves it names.
        region: Where points are drawn: an object with `sample` and `measure`, or fixed `Points`.
        combine: "each": a row per point; "difference": value at a point minus value at its `partner`;
            "integral": Σ wₙ f(xₙ) over each of `groups` sets of quadrature points.
        partner: Coordinate and shift that lead from a point to its partner.
        target: What an integral must equal.
        data: Tensors of shape (N,) for fixed points (measurements).
        weight: λ, a factor on the mean square of the block.
        count: Number of points asked for by the user; None: the recipe's.
        hard: What a field must satisfy to make this block vanish identically, see `HardData`.
    """

    name: str
    components: tuple[str, ...]
    program: Program
    region: Patch | Points
    combine: str = "each"
    partner: tuple[str, float] | None = None
    target: float = 0.0
    groups: int = 1
    data: Mapping[str, Tensor] = field(default_factory=dict)
    weight: float = 1.0
    count: int | None = None
    hard: tuple[HardData, ...] = ()


@dataclass(frozen=True)
class HardData:
    """∂_t^order u = value on a region, as a statement that a field can satisfy by construction.

    Args:
        unknown: Name of the unknown.
        regions: Names of the faces.
        order: Time derivative order (initial conditions); highest matched derivative (periodic); else 0.
        value: Number or function of the coordinates.
        kind: "initial", "dirichlet" or "periodic".
    """

    unknown: str
    regions: tuple[str, ...]
    order: int
    value: object
    kind: str


def _regions(on) -> tuple:
    if isinstance(on, (list, tuple)):
        if not on:
            raise ProblemError("on=[] names no region; give the names of faces, or leave the condition out")
        return tuple(on)
    return (on,)


def _where(setting: Setting, on, where: str, default: str):
    """Region object for a name, a list of names, a domain, a region or a predicate."""
    found: list[Patch] = []
    for item in _regions(default if on is None else on):
        if isinstance(item, str):
            if item == "interior":
                found.append(setting.domain)
                continue
            if item not in setting.domain.faces:
                raise ProblemError(f"{where}: {unknown_name('region', item, setting.domain.faces)}")
            found.append(setting.domain.region(item))
        elif hasattr(item, "sample") and hasattr(item, "measure"):
            found.append(_embed(setting, item, where))
        elif callable(item):
            found.append(_predicate(setting, item, where, "boundary" if default != "interior" else None))
        else:
            raise ProblemError(f"{where}: on={item!r} is neither a face name, a domain nor a function of the "
                               "coordinates")
    if len(found) == 1:
        return found[0]
    regions = [r for r in found if isinstance(r, Region)]
    if len(regions) < len(found):
        raise ProblemError(f"{where}: on=[…] mixes the inside of a domain with boundaries; write one condition for "
                           "each")
    return Join(regions, ", ".join(r.label for r in regions), setting.domain.space, setting.domain.size)


def _embed(setting: Setting, region, where: str):
    """A domain or region of the user's, times the coordinates it leaves out."""
    missing = [n for n in setting.domain.names if n not in region.names]
    extra = [n for n in region.names if n not in setting.domain.names]
    if extra:
        raise ProblemError(f"{where}: {unknown_name('coordinate', extra[0], setting.domain.names)}")
    if not missing:
        return region
    bounds = dict(zip(setting.domain.names, setting.domain.bounds, strict=True))
    return region * Box(**{n: bounds[n] for n in missing})


def _predicate(setting: Setting, function: Callable, where: str, of: str | None):
    wanted = list(inspect.signature(function).parameters)
    for name in wanted:
        if name not in setting.domain.names:
            raise ProblemError(f"{where}: {unknown_name('coordinate', name, setting.domain.names)}")
    try:
        return setting.domain.where(lambda columns: function(**{n: columns[n] for n in wanted}), of=of)
    except ProblemError as error:
        raise ProblemError(f"{where}: {error}") from error


class Condition(ABC):
    """One statement that must hold.

    Args:
        name: Label in reports; by default made from the function or the kind.
        weight: λ of its mean square in the loss.
        points: Number of points; None leaves it to the recipe.
    """

    kind: str = "condition"

    def __init__(self, name: str | None = None, weight: float = 1.0, points: int | None = None):
        self.name = name
        if not weight > 0:
            raise ProblemError(f"{self.kind}: weight={weight} must be positive; leave a condition out to drop it")
        if points is not None and points < 1:
            raise ProblemError(f"{self.kind}: points={points} must be at least 1")
        self.weight, self.count = float(weight), points

    @property
    def label(self) -> str:
        """Name in reports before duplicates are numbered."""
        return self.name or self.kind

    @abstractmethod
    def blocks(self, setting: Setting, name: str) -> list[Block]:
        """The residual blocks of this condition, all labelled `name`."""

    def _block(self, name: str, outputs: Mapping[str, object], region, **options) -> Block:
        program = Program(outputs)
        if not program.uses("unknown") and not program.uses("parameter"):
            raise ProblemError(f"condition {name!r} does not contain any unknown; nothing can make it vanish")
        return Block(name, program.names, program, region, weight=self.weight, count=self.count, **options)


class Equation(Condition):
    """A residual that must vanish, inside the domain or on any part of it.

    Args:
        function: Takes unknowns, coordinates, parameters (and `normal` on a boundary) by name and returns the
            residual: an expression, or a dict or tuple of several.
        on: Where: None for the interior; face names, a domain, or a predicate of the coordinates.
    """

    kind = "equation"

    def __init__(self, function: Callable, on=None, name: str | None = None, weight: float = 1.0,
                 points: int | None = None):
        super().__init__(name, weight, points)
        if not callable(function):
            raise ProblemError(f"Equation needs a function of the unknowns, got {function!r}")
        self.function, self.on = function, on

    @property
    def label(self):
        return self.name or function_name(self.function, self.kind)

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        region = _where(setting, self.on, where, "interior")
        inside = self.on is None or region is setting.domain
        result = setting.call(self.function, where, normal=not inside)
        return [self._block(name, components(result, name, where), region)]


def _check_unknowns(setting: Setting, names, where: str) -> None:
    if not names:
        raise ProblemError(f"{where}: says nothing about any unknown; write for example {setting.unknowns[0]}=0.0")
    for name in names:
        if name not in setting.unknowns:
            raise ProblemError(f"{where}: {unknown_name('unknown', name, setting.unknowns)}")


class Dirichlet(Condition):
    """u = g on a boundary.

    Args:
        on: Face names (default: the whole boundary), a region, or a predicate.
        values: g by unknown: a number or a function of coordinates and parameters.
    """

    kind = "dirichlet"

    def __init__(self, on="boundary", name: str | None = None, weight: float = 1.0, points: int | None = None,
                 **values):
        super().__init__(name, weight, points)
        self.on, self.values = on, values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        _check_unknowns(setting, self.values, where)
        region = _where(setting, self.on, where, "boundary")
        outputs = {}
        for unknown, value in self.values.items():
            u = setting.frame.leaf("unknown", unknown)
            outputs[_component(name, unknown, self.values)] = u - setting.call(value, where, normal=True)
        faces = tuple(r for r in _regions(self.on) if isinstance(r, str))
        hard = tuple(HardData(u, faces, 0, v, "dirichlet") for u, v in self.values.items()) \
            if len(faces) == len(_regions(self.on)) else ()
        return [self._block(name, outputs, region, hard=hard)]


def _component(name: str, part: str, parts) -> str:
    return name if len(parts) == 1 else f"{name}.{part}"


class Initial(Condition):
    """u = u₀ at the initial time; `u_t=…` gives the initial velocity.

    Args:
        values: By unknown, or unknown and time derivatives (`u_t`, `u_tt`): a number or a function.
    """

    kind = "initial"

    def __init__(self, name: str | None = None, weight: float = 1.0, points: int | None = None, **values):
        super().__init__(name, weight, points)
        self.values = values

    def _parts(self, setting: Setting, where: str) -> list[tuple[str, str, int, object]]:
        parts = []
        for key, value in self.values.items():
            unknown, order = key, 0
            if key not in setting.unknowns and "_" in key:
                unknown, suffix = key.rsplit("_", 1)
                if suffix and set(suffix) == {"t"}:
                    order = len(suffix)
                else:
                    unknown = key
            _check_unknowns(setting, [unknown], where)
            parts.append((key, unknown, order, value))
        if not parts:
            _check_unknowns(setting, [], where)
        return parts

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        if "initial" not in setting.domain.faces:
            raise ProblemError(f"{where}: the domain has no time coordinate t; its regions are "
                               f"{', '.join(setting.domain.faces)}")
        parts = self._parts(setting, where)
        outputs = {}
        for key, unknown, order, value in parts:
            u = setting.frame.leaf("unknown", unknown)
            outputs[_component(name, key, parts)] = d(u, *["t"] * order) - setting.call(value, where)
        hard = tuple(HardData(unknown, ("initial",), order, value, "initial") for _, unknown, order, value in parts)
        return [self._block(name, outputs, setting.domain.region("initial"), hard=hard)]


class Neumann(Condition):
    """∂u/∂n = g on a boundary, n the outward normal.

    Args:
        on: Face names (default: the whole boundary), a region, or a predicate.
        values: g by unknown.
    """

    kind = "neumann"

    def __init__(self, on="boundary", name: str | None = None, weight: float = 1.0, points: int | None = None,
                 **values):
        super().__init__(name, weight, points)
        self.on, self.values = on, values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        _check_unknowns(setting, self.values, where)
        normal = setting.names(normal=True)["normal"]
        outputs = {}
        for unknown, value in self.values.items():
            flux = dot(normal, grad(setting.frame.leaf("unknown", unknown)))
            outputs[_component(name, unknown, self.values)] = flux - setting.call(value, where, normal=True)
        return [self._block(name, outputs, _where(setting, self.on, where, "boundary"))]


class Robin(Condition):
    """α u + β ∂u/∂n = g on a boundary.

    Args:
        alpha, beta: Numbers or functions of the coordinates.
        on: Face names (default: the whole boundary), a region, or a predicate.
        values: g by unknown.
    """

    kind = "robin"

    def __init__(self, on="boundary", alpha=1.0, beta=1.0, name: str | None = None, weight: float = 1.0,
                 points: int | None = None, **values):
        super().__init__(name, weight, points)
        self.on, self.alpha, self.beta, self.values = on, alpha, beta, values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        _check_unknowns(setting, self.values, where)
        normal = setting.names(normal=True)["normal"]
        alpha, beta = (setting.call(c, where, normal=True) for c in (self.alpha, self.beta))
        outputs = {}
        for unknown, value in self.values.items():
            u = setting.frame.leaf("unknown", unknown)
            flux = alpha * u + beta * dot(normal, grad(u))
            outputs[_component(name, unknown, self.values)] = flux - setting.call(value, where, normal=True)
        return [self._block(name, outputs, _where(setting, self.on, where, "boundary"))]


class Periodic(Condition):
    """Equal values, and equal derivatives, on two opposite faces of a box.

    Args:
        on: The coordinate that is periodic, e.g. "x".
        unknowns: Which; None for all.
        derivatives: Highest derivative in the direction of `on` that is matched too.
    """

    kind = "periodic"

    def __init__(self, on: str, unknowns: str | Sequence[str] | None = None, derivatives: int = 1,
                 name: str | None = None, weight: float = 1.0, points: int | None = None):
        super().__init__(name, weight, points)
        if not isinstance(on, str):
            raise ProblemError(f"Periodic takes one coordinate name, got {on!r}; write one Periodic per coordinate")
        self.on, self.derivatives = on, derivatives
        self.unknowns = unknowns.split() if isinstance(unknowns, str) else unknowns

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        if self.on not in setting.domain.names:
            raise ProblemError(f"{where}: {unknown_name('coordinate', self.on, setting.domain.names)}")
        for face in (f"{self.on}-", f"{self.on}+"):
            if face not in setting.domain.faces:
                raise ProblemError(f"{where}: the domain has no face {face!r}; periodicity needs a box in {self.on}")
        unknowns = tuple(self.unknowns or setting.unknowns)
        _check_unknowns(setting, unknowns, where)
        outputs = {}
        for unknown in unknowns:
            u = setting.frame.leaf("unknown", unknown)
            for order in range(self.derivatives + 1):
                outputs[f"{name}.{unknown}{'_' + self.on * order if order else ''}"] = d(u, *[self.on] * order)
        low, high = setting.domain.bounds[setting.domain.names.index(self.on)]
        # A periodic network has all derivatives periodic, more than equal values alone ask for.
        hard = tuple(HardData(u, (self.on,), self.derivatives, None, "periodic") for u in unknowns) \
            if self.derivatives else ()
        return [self._block(name, outputs, setting.domain.region(f"{self.on}-"), combine="difference",
                            partner=(self.on, high - low), hard=hard)]


class Interface(Condition):
    """[u] = g and [∂u/∂x] = 0 across a plane x = a where the data jump, so that u is smooth on either side only.

    [f] is f just above a minus f just below. An interface splits the fields of its problem: they get one smooth piece
    on either side, and quadrature stops there. Without it a smooth network meets a kink that it resolves slowly.

    Args:
        at: The coordinate and its value, e.g. dict(x=0.4).
        flux: By unknown, what is continuous besides u, e.g. dict(u=lambda u, x: k(x) * u.x); by default ∂u/∂x. It is
            evaluated on either side.
        values: Jump g by unknown, usually 0.0: a number or a function of the coordinates.

    Note:
        Both sides are evaluated at a ∓ δ, δ = 4e-7 of the domain's size, and carried to a by one Taylor term, which
        leaves an error of δ² f″ (1e-13) and works in float32 too.
    """

    kind = "interface"
    DISTANCE = 4e-7

    def __init__(self, at: Mapping[str, float], flux: Mapping[str, Callable] | None = None, name: str | None = None,
                 weight: float = 1.0, points: int | None = None, **values):
        super().__init__(name, weight, points)
        if not isinstance(at, Mapping) or len(at) != 1:
            raise ProblemError(f"Interface: at={at!r} must name one coordinate, e.g. at=dict(x=0.4)")
        ((self.coordinate, position),) = at.items()
        self.position = float(position)
        self.flux, self.values = dict(flux or {}), values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        _check_unknowns(setting, self.values, where)
        for unknown in self.flux:
            look_up(f"jump in {where}, which gives a flux for it; unknown", unknown, self.values)
        c, a, names = self.coordinate, self.position, setting.domain.names
        if c not in names:
            raise ProblemError(f"{where}: {unknown_name('coordinate', c, names)}")
        bounds = dict(zip(names, setting.domain.bounds, strict=True))
        low, high = bounds[c]
        if not low < a < high:
            raise ProblemError(f"{where}: {c}={a} does not cut the domain, which lies in {c} ∈ ({low}, {high})")
        x = setting.frame.leaf("coordinate", c)
        outputs = {}
        for unknown, jump in self.values.items():
            u = setting.frame.leaf("unknown", unknown)
            step = torch.where(x > a, setting.call(jump, where), 0.0)
            flux = setting.call(self.flux[unknown], where) if unknown in self.flux else d(u, c)
            for part, f in ((unknown, u - step), (f"{unknown}.flux", flux)):
                outputs[f"{name}.{part}"] = f + d(f, c) * (a - x)
        delta = self.DISTANCE * max(high - low, abs(low), abs(high))
        region = Box(**{**bounds, c: (low, a - delta)}).region(f"{c}+")
        domain = setting.domain
        if not _is_box(domain):
            region = region.where(lambda columns: domain.contains(torch.stack([columns[n] for n in names], dim=1)))
        block = self._block(name, outputs, region, combine="difference", partner=(c, 2 * delta))
        return [replace(block, count=1) if len(names) == 1 else block]


def _is_box(domain) -> bool:
    volume = prod(high - low for low, high in domain.bounds)
    return abs(domain.measure - volume) < 1e-9 * volume


class Pin(Condition):
    """u = value at one point: fixes a constant that the equations leave free, such as the pressure's.

    Args:
        at: Coordinates of the point; one that is left out runs over its range.
        values: By unknown.
    """

    kind = "pin"

    def __init__(self, at: Mapping[str, float], name: str | None = None, weight: float = 1.0,
                 points: int | None = None, **values):
        super().__init__(name, weight, points)
        self.at, self.values = dict(at), values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        _check_unknowns(setting, self.values, where)
        names = setting.domain.names
        for key in self.at:
            if key not in names:
                raise ProblemError(f"{where}: {unknown_name('coordinate', key, names)}")
        free = [n for n in names if n not in self.at]
        count = 1 if not free else (self.count or 64)
        columns = []
        for n, (low, high) in zip(names, setting.domain.bounds, strict=True):
            values = torch.linspace(low, high, count, dtype=torch.float64) if n in free else \
                torch.full((count,), float(self.at[n]), dtype=torch.float64)
            columns.append(values)
        X = torch.stack(columns, dim=1)
        if not bool(setting.domain.contains(X).any()):
            raise ProblemError(f"{where}: the point {self.at} lies outside the domain")
        outputs = {_component(name, u, self.values): setting.frame.leaf("unknown", u) - setting.call(v, where)
                   for u, v in self.values.items()}
        return [self._block(name, outputs, Points(X, names))]


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
    if len(cells) == 1 or not _is_box(domain):
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
        _check_unknowns(setting, [self.unknown], where)
        u = setting.frame.leaf("unknown", self.unknown)
        return u * u


class Observations(Condition):
    """Measured values at points, for inverse problems.

    Args:
        at: Coordinates of the N measurements: an array of length N per coordinate.
        values: Measured values by unknown: arrays of length N.
    """

    kind = "observations"

    def __init__(self, at: Mapping[str, object], name: str | None = None, weight: float = 1.0, **values):
        super().__init__(name, weight)
        self.at, self.values = dict(at), values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        _check_unknowns(setting, self.values, where)
        names = setting.domain.names
        for n in names:
            look_up(f"coordinate of {where}, which needs every coordinate; missing", n, self.at)
        as_tensor = lambda a: torch.as_tensor(a, dtype=torch.float64).reshape(-1)
        columns = {n: as_tensor(self.at[n]) for n in names}
        data = {u: as_tensor(v) for u, v in self.values.items()}
        lengths = {n: len(a) for n, a in {**columns, **data}.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ProblemError(f"{where}: arrays have different or zero lengths: "
                               + ", ".join(f"{n} {k}" for n, k in lengths.items()))
        for n, a in {**columns, **data}.items():
            if not bool(torch.isfinite(a).all()):
                raise ProblemError(f"{where}: {n!r} contains NaN or infinite values")
        points = Points(torch.stack([columns[n] for n in names], dim=1), names)
        outside = int((~setting.domain.contains(points.X)).sum())
        if outside:
            raise ProblemError(f"{where}: {outside} of {len(points)} measurements lie outside the domain")
        outputs = {_component(name, u, data): setting.frame.leaf("unknown", u) - setting.frame.leaf("data", u)
                   for u in data}
        return [self._block(name, outputs, points, data=data)]
