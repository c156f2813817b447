"""Lifts and features: what is known of the unknowns beforehand, checked when a problem is built.

A network follows smooth functions. What it cannot follow but mathematics knows (the flow at a singular corner, a
boundary layer, a fast wave) is written into the problem: u = lift + trained part, or N_θ(x, features(x)), and training
finds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from ..calculus import Program, Quantity, d
from ..calculus.quantity import derivative_suffix, is_number
from ..errors import ProblemError, unknown_name
from .setting import Setting


def known_part(setting: Setting, lift: Mapping[str, object] | Callable) -> dict[str, Quantity | float]:
    """The lift of every unknown as an expression of the coordinates, 0 where none is given.

    Args:
        setting: Names that a lift may ask for.
        lift: Number or function by unknown, or one function that returns expressions by unknown.

    Raises:
        ProblemError: It names no unknown of the problem, or depends on what is to be found.
    """
    if callable(lift):
        lift = setting.call(lift, "lift")
    if not isinstance(lift, Mapping):
        raise ProblemError(f"lift={lift!r} must give a number or a function by unknown, e.g. "
                           f"lift=dict({setting.unknowns[0]}=lambda {setting.frame.coordinates[0]}: …), or be a "
                           "function that returns such a dict")
    known: dict[str, Quantity | float] = dict.fromkeys(setting.unknowns, 0.0)
    for name, value in lift.items():
        if name not in setting.unknowns:
            raise ProblemError(f"lift: {unknown_name('unknown', name, setting.unknowns)}")
        where = f"lift of {name!r}"
        found = setting.datum(value, where)
        known[name] = found if isinstance(found, Quantity) else float(found)
        for kind, other, _ in Program({name: found}).leaves:
            if kind != "coordinate":
                raise ProblemError(f"{where}: it depends on the unknown {'parameter ' * (kind == 'parameter')}{other!r}"
                                   "; a lift is known beforehand, a function of coordinates and parameters with values")
    return known


def extra_inputs(setting: Setting, features: Sequence[Callable]) -> tuple[Quantity, ...]:
    """Features as expressions of the coordinates.

    Raises:
        ProblemError: One is no function of the coordinates.
    """
    found = []
    for i, function in enumerate(features, 1):
        where = f"feature {i}"
        value = setting.datum(function, where)
        if not isinstance(value, Quantity):
            raise ProblemError(f"{where}: {value!r} is the same everywhere; give functions of the coordinates")
        for kind, other, _ in Program({where: value}).leaves:
            if kind != "coordinate":
                raise ProblemError(f"{where}: it depends on the {'unknown ' * (kind == 'parameter')}{kind} {other!r}; "
                                   "features are functions of coordinates and of parameters with values")
        found.append(value)
    return tuple(found)


def check_extra(setting: Setting, extra: Sequence[Quantity], wanted: Mapping) -> None:
    """`check_known` for features, of which all derivatives are needed that conditions ask of any unknown."""
    alphas = {alpha for found in wanted.values() for alpha in found}
    for i, part in enumerate(extra, 1):
        _demand_finite(setting, part, alphas, f"feature {i}", f"feature {i}", "a feature")


def check_known(setting: Setting, known: Mapping[str, Quantity | float], wanted: Mapping, N: int = 64) -> None:
    """Raises unless all derivatives of the lift that conditions ask for are one finite number per inner point.

    Args:
        setting: The domain.
        known: Lift by unknown.
        wanted: Multi-indices by unknown.
    """
    for unknown, part in known.items():
        if not is_number(part, 0):
            _demand_finite(setting, part, wanted.get(unknown, ()), f"lift of {unknown!r}", unknown, "a lift", N)


def _demand_finite(setting: Setting, part: Quantity | float, wanted: Iterable, where: str, name: str, what: str,
                   N: int = 64) -> None:
    points = setting.domain.sample(N, generator=torch.Generator().manual_seed(0))
    names = setting.frame.coordinates
    for alpha in sorted({(0,) * len(names), *wanted}, key=sum):
        program = Program({name: d(part, *[n for n, a in zip(names, alpha, strict=True) for _ in range(a)])})
        columns = {key: points.column(key[1]) for key in program.leaves}
        try:
            (values,) = program(columns, points.X[:, 0])
            (few,) = program({key: column[:2] for key, column in columns.items()}, points.X[:2, 0])
        except (RuntimeError, TypeError, ValueError) as error:
            raise ProblemError(f"{where}: it fails on {N} points ({error})") from error
        if tuple(values.shape) != (N,) or not torch.allclose(values[:2], few, equal_nan=True):
            raise ProblemError(f"{where}: it has shape {tuple(values.shape)} or mixes points, expected one number "
                               f"per point, ({N},)")
        bad = ~torch.isfinite(values)
        if bool(bad.any()):
            i = int(bad.int().argmax())
            at = ", ".join(f"{n}={v:.3g}" for n, v in zip(names, points.X[i].tolist(), strict=True))
            raise ProblemError(f"{where}: {name}{derivative_suffix(alpha, names)} is {float(values[i])} at {at}, "
                               f"inside the domain; {what} may be singular on the boundary only")
