"""Refiners by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from ..errors import ProblemError, look_up, text_for_number, unknown_name
from .metric import Metric
from .refiner import Nothing, Refiner
from .splat import Splat

REFINERS: dict[str, type[Refiner]] = {c.name: c for c in (Nothing, Metric, Splat)}


def build_refiner(name: str, options: Mapping[str, Mapping[str, object]]) -> Refiner:
    """The refiner of a recipe.

    Args:
        name: One of `REFINERS`.
        options: By part; its own are those under "refine".

    Raises:
        ProblemError: Unknown name or option, or a value that it does not take.
    """
    cls, given = look_up("refine", name, REFINERS), dict(options.get("refine", {}))
    if cls is Nothing:                                # a problem's own options may be there, for another refiner
        return Nothing()
    valid = list(inspect.signature(cls).parameters)
    for option in given:
        if option not in valid:
            raise ProblemError(unknown_name(f"option of refine={name}", option, valid))
    try:
        return cls(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, ProblemError):
            raise
        if wrong := text_for_number(cls, given):
            raise ProblemError(f"refine.{wrong}") from error
        raise ProblemError(f"refine={name}: {error}") from error
