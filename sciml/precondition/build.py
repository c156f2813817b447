"""Preconditioners by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from ..errors import ProblemError, unknown_name
from .galerkin import Galerkin
from .gram import DualNorm
from .negative_norm import HMinus1, HMinus2, NegativeNorm
from .operator import ILU, LU
from .preconditioner import Nothing, Preconditioner
from .pseudo_time import PseudoTime

PRECONDITIONERS: dict[str, type[Preconditioner]] = {
    "h-minus-1": HMinus1, "h-minus-2": HMinus2, "h-minus-s": NegativeNorm, "gram": DualNorm, "lu": LU, "ilu": ILU,
    "pseudo-time": PseudoTime, "galerkin": Galerkin,
}


def build_preconditioner(name: str, options: Mapping[str, Mapping[str, object]]) -> Preconditioner:
    """The preconditioner of a recipe.

    Args:
        name: One of `PRECONDITIONERS`, or "none".
        options: Keyword arguments by name of the part.

    Raises:
        ProblemError: Unknown name or option, or a value that it does not take.
    """
    if name == "none":
        return Nothing()
    if name not in PRECONDITIONERS:
        raise ProblemError(unknown_name("preconditioner", name, ["none", *PRECONDITIONERS]))
    cls, given = PRECONDITIONERS[name], options.get(name, {})
    valid = [p for p in inspect.signature(cls).parameters]
    for option in given:
        if option not in valid:
            raise ProblemError(unknown_name(f"option of preconditioner {name}", option, valid))
    try:
        return cls(**given)
    except ProblemError:
        raise
    except (TypeError, ValueError) as error:
        raise ProblemError(f"preconditioner {name}: {error}") from error
