"""Names that a problem may not use, because they mean something else where they are written."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from keyword import iskeyword

from ..errors import ProblemError
from . import conditions
from .condition import Condition

EVERYWHERE = frozenset({"normal", "self"})


def reserved_for_unknowns() -> frozenset[str]:
    """What conditions that take data by unknown, Dirichlet(u=0.0), call their own arguments."""
    found = set(EVERYWHERE)
    for kind in vars(conditions).values():
        if inspect.isclass(kind) and issubclass(kind, Condition):
            parameters = inspect.signature(kind.__init__).parameters.values()
            if any(p.kind is p.VAR_KEYWORD for p in parameters):
                found.update(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
    return frozenset(found)


def check_names(coordinates: Sequence[str], unknowns: Sequence[str], parameters: Sequence[str]) -> None:
    """Each name stands for one thing, and not for one of ours.

    Raises:
        ProblemError: A name is reserved or is used twice.
    """
    for kind, names, reserved in (("coordinate", coordinates, EVERYWHERE), ("parameter", parameters, EVERYWHERE),
                                  ("unknown", unknowns, reserved_for_unknowns())):
        for name in names:
            if name in reserved or iskeyword(name):
                why = "a word of Python" if iskeyword(name) else "the outward normal of a boundary" \
                    if name == "normal" else f"what conditions call an argument of their own, {name}=…"
                raise ProblemError(f"the {kind} {name!r} has a name that is {why}; call it something else. "
                                   f"Reserved: {', '.join(sorted(reserved))}.")
    twice = [n for n, k in Counter([*coordinates, *unknowns, *parameters]).items() if k > 1]
    if twice:
        raise ProblemError(f"the name {twice[0]!r} is used twice among the coordinates, unknowns and parameters; give "
                           "each its own")
