"""What every condition has: a name, a weight, a number of points, a place, and blocks."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import prod

from ..calculus import Program
from ..errors import ProblemError, unknown_name
from ..geometry import Box, Join, Region
from ..geometry.patch import Patch
from .block import Block
from .setting import Setting, as_number


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
        if not as_number(weight, f"{self.kind}: weight") > 0:
            raise ProblemError(f"{self.kind}: weight={weight} must be positive; leave a condition out to drop it")
        if points is not None and (isinstance(points, bool) or not isinstance(points, int) or points < 1):
            raise ProblemError(f"{self.kind}: points={points!r} must be a whole number, at least 1")
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
        for part, value in outputs.items():
            alone = Program({part: value})
            if not alone.uses("unknown") and not alone.uses("parameter"):
                what = f"condition {name!r}" + ("" if part == name else f": component {part!r}")
                raise ProblemError(f"{what} does not contain any unknown; nothing can make it vanish")
        kind = "boundary" if self.kind == "equation" and isinstance(region, Region) else self.kind
        return Block(name, program.names, program, region, weight=self.weight, count=self.count, kind=kind, **options)


def faces_of(on) -> tuple:
    """The items of `on=`, one or several."""
    if isinstance(on, (list, tuple)):
        if not on:
            raise ProblemError("on=[] names no region; give the names of faces, or leave the condition out")
        return tuple(item for i, item in enumerate(on)
                     if not (isinstance(item, str) and item in [o for o in on[:i] if isinstance(o, str)]))
    return (on,)


def place(setting: Setting, on, where: str, default: str):
    """Region object for a name, a list of names, a domain, a region or a predicate."""
    found: list[Patch] = []
    for item in faces_of(default if on is None else on):
        if isinstance(item, str):
            if item == "interior":
                found.append(setting.domain)
                continue
            if item in setting.domain.parts:
                found.append(setting.domain.part(item))
                continue
            if item not in setting.domain.faces:
                valid = (*setting.domain.faces, *setting.domain.parts)
                raise ProblemError(f"{where}: {unknown_name('region', item, valid)}")
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
    if not regions:
        raise ProblemError(f"{where}: on=[…] names several parts of the inside; write one condition for each")
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
    except (TypeError, ValueError, RuntimeError) as error:
        raise ProblemError(f"{where}: the function of on= fails on tensors of shape (N,) ({error}); combine its masks "
                           "with & and |, not with `and` and `or`") from error


def check_unknowns(setting: Setting, names, where: str) -> None:
    """Names of unknowns, at least one, or a sentence."""
    if not names:
        raise ProblemError(f"{where}: says nothing about any unknown; write for example {setting.unknowns[0]}=0.0")
    for name in names:
        if name not in setting.unknowns:
            raise ProblemError(f"{where}: {unknown_name('unknown', name, setting.unknowns)}")


def component(name: str, part: str, parts) -> str:
    """Name of a residual component: the condition's, with its part if there are several."""
    return name if len(parts) == 1 else f"{name}.{part}"


def is_box(domain) -> bool:
    """Whether a domain fills its bounding box."""
    volume = prod(high - low for low, high in domain.bounds)
    return abs(domain.measure - volume) < 1e-9 * volume
