"""Families of fields, and the recipes that go with them where a problem's own is for another family.

A problem's `defaults` are tuned for one model, mostly a network. Asked for another family (`--model gaussian`), what
belongs to that tuning is left out and the family's own is taken; the user's options win over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from ..fields import GaussianField, HermiteAxis, TensorField
from ..fields.slabs import Slabs

FAMILIES: dict[str, dict[str, object]] = {
    "gaussian": {"optimizer": "least-squares", "sampler": "sobol", "balance": "ntk"},      # rows of like size
    "gaussian-lattice": {"optimizer": "least-squares", "sampler": "sobol"},
    "gaussian-lines": {"optimizer": "lines", "sampler": "sobol"},
    "pig": {"model": {"width": 16, "depth": 1}, "optimizer": "adam", "sampler": "uniform", "uniform.every": 100,
            "adam.lr": 1e-2, "schedule": "exponential", "constraints": "soft", "points": 4096},
    "gp": {"optimizer": "least-squares", "sampler": "sobol"},
}
KEPT = ("constraints", "dtype", "device", "seed", "chunk")     # of a problem's defaults, for any family
ROWS = 3                                                       # points for each function of a field solved for
POINTS = 2000                                                  # for a network
SHOWN = 500                                                    # for reports alone


def _name(value: object) -> str | None:
    """The name in `model=…`."""
    found = value.get("name") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else None


def family_defaults(defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The defaults for the model that the user asks for.

    Args:
        defaults: The problem's.
        given: The user's options.
    """
    found = _merged(defaults, given)
    if {"refine", "precondition"} & {*given, *found}:                # they weigh rows themselves
        found = {k: v for k, v in found.items() if k != "balance" or "balance" in defaults}
    return found


def _merged(defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    own, asked = _name(defaults.get("model")) or "mlp", _name(given.get("model"))
    if asked is None or asked == own or not {asked, own} & set(FAMILIES):
        return {**FAMILIES.get(own, {}), **defaults}
    return {**FAMILIES.get(asked, {}), **{k: v for k, v in defaults.items() if k in KEPT}}


def default_balance(model: str, balance: str, conditions: int, inverse: bool) -> str:
    """The balance of a recipe; a family's own is left out where there is nothing to weigh, and in inverse problems.

    Measurements brought to the size of an equation's rows would count more than the equation that explains them:
    `inverse_diffusivity` ends at 1.0e-2 with the trace of the kernel and at 1.4e-3 without.
    """
    own = FAMILIES.get(model, {}).get("balance") == balance
    return "fixed" if own and (conditions == 1 or inverse) else balance


def default_points(field: object) -> int:
    """Interior points where the recipe names no number: as many rows as an overdetermined system needs."""
    inner = field
    while not isinstance(inner, GaussianField | TensorField | Slabs) and hasattr(inner, "network"):
        inner = inner.network
    if isinstance(inner, TensorField) and any(isinstance(axis, HermiteAxis) for axis in inner.axes):
        return SHOWN
    if isinstance(inner, Slabs):
        return sum(default_points(part) for part in inner.parts)
    if isinstance(inner, GaussianField | TensorField):
        return max(ceil(ROWS * inner.head[0].shape[1]), 16)
    return POINTS
