"""Errors that a user meets, each one sentence: what came, what was expected, what to do.

Everything that can be wrong in a problem file is checked once, where it enters, and raised as a
`ProblemError`; a run that cannot go on raises a `TrainingError`. Both derive from `SciMLError`, so that the
command line prints the sentence and not a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from inspect import signature


class SciMLError(Exception):
    """Base of the errors whose message is meant for the user as it stands."""


class ProblemError(SciMLError, ValueError):
    """Something in a problem file or an argument does not make sense."""


class TrainingError(SciMLError, RuntimeError):
    """A run cannot go on (non-finite numbers, a line search that finds nothing, no memory)."""


class NonFiniteError(TrainingError):
    """A loss or a gradient is NaN or infinite; the parameters are those at which it was computed."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """Sentence for a name that does not exist: the valid ones and the nearest.

    Args:
        kind: What the name should be, e.g. ``"optimizer"``.
        name: What came.
        valid: The names that exist.
    """
    names = sorted({str(v) for v in valid})
    near = get_close_matches(str(name), names, n=1, cutoff=0.5) or \
        get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {str(name)!r}{hint} Valid: {', '.join(names) or 'none'}."


def text_for_number(constructor: Callable, options: Mapping[str, object]) -> str:
    """Sentence about the first text among options that are numbers by default, without its subject; "" if none is."""
    defaults = signature(constructor).parameters
    for name, value in options.items():
        default = defaults[name].default if name in defaults else None
        if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
            return f"{name}={value!r} must be a number, such as {default}"
    return ""


def look_up(kind: str, name: str, table: dict):
    """Value of `name` in a plain dict of choices.

    Raises:
        ProblemError: The name is not in the table; the sentence lists the valid ones and the nearest.
    """
    if name not in table:
        raise ProblemError(unknown_name(kind, name, table))
    return table[name]


KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def check_types(record, prefix: str = "") -> None:
    """Every field of a dataclass has the type that it is declared with; whole floats become integers.

    Args:
        record: An instance whose fields are declared as int, float, str, bool, or one of them or None.
        prefix: Before the names in the message, e.g. ``"model."``.

    Raises:
        ProblemError: The first field that has another type.
    """
    for f in fields(record):
        kinds = [k for k in str(f.type).split(" | ") if k != "None"]
        value = getattr(record, f.name)
        if not all(k in KINDS for k in kinds) or (value is None and "None" in str(f.type)):
            continue
        if kinds == ["int"] and isinstance(value, float) and value.is_integer():
            object.__setattr__(record, f.name, int(value))
            continue
        allowed = tuple(t for k in kinds for t in KINDS[k])
        if not isinstance(value, allowed) or (isinstance(value, bool) and "bool" not in kinds):
            names = {"int": "a whole number", "float": "a number", "str": "a name", "bool": "True or False"}
            raise ProblemError(f"{prefix}{f.name}={value!r} must be {' or '.join(names[k] for k in kinds)}")
