"""Charts: equations in the coordinates of a body, solved in those of the box that it is the image of.

    x = x(ξ),   J = ∂x/∂ξ,      ∂q/∂x_i = Σ_j (J⁻¹)_ji ∂q/∂ξ_j,      n ∝ J⁻ᵀ ν

Only derivatives in ξ remain, so that everything that works on a box works on its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .quantity import Apply, Frame, Leaf, Quantity, apply, d
from .vectors import Vector


@dataclass(frozen=True, eq=False)
class Charted:
    """A coordinate of the body, and how to differentiate by it.

    Args:
        value: x_i as an expression of ξ.
        rates: ∂ξ_j/∂x_i by name of ξ_j.
    """

    value: Quantity
    rates: Mapping[str, Any]

    def along(self, q: Quantity) -> Any:
        """∂q/∂x_i."""
        total: Any = 0.0
        for name, rate in self.rates.items():
            total = total + rate * d(q, name)
        return total


def charted(frame: Frame, values: Mapping[str, Quantity], over: Sequence[str]) -> dict[str, Charted]:
    """The coordinates of a body by name.

    Args:
        frame: Of ξ.
        values: x_i by name, as many as there are ξ_j.
        over: Names of ξ.
    """
    J = [[d(value, name) for name in over] for value in values.values()]
    whole = determinant(J)
    found = {}
    for i, (name, value) in enumerate(values.items()):
        rates = {c: cofactor(J, i, j) / whole for j, c in enumerate(over)}
        # A coordinate that is ξ_j itself must not be taken for it: their derivatives differ.
        own = Apply(frame, torch.mul, (value, 1.0), {}) if isinstance(value, Leaf) else value
        found[name] = Charted(own, rates)
    return found


def jacobian_determinant(values: Mapping[str, Quantity], over: Sequence[str]) -> Any:
    """det J as an expression of ξ, or a number."""
    return determinant([[d(value, name) for name in over] for value in values.values()])


def charted_normal(frame: Frame) -> Vector:
    """The body's outward normal, from that of the box."""
    parts: dict[str, Any] = {}
    for name, one in frame.chart.items():
        parts[name] = 0.0
        for j, rate in one.rates.items():
            parts[name] = parts[name] + rate * frame.leaf("normal", j)
    size = 0.0
    for part in parts.values():
        size = size + part * part
    return Vector({name: part / apply(torch.sqrt, (size,)) for name, part in parts.items()})


def determinant(rows: Sequence[Sequence[Any]]) -> Any:
    """Of numbers and quantities, by the first row; 1 for no rows."""
    if not rows:
        return 1.0
    total: Any = 0.0
    for j in range(len(rows)):
        total = total + rows[0][j] * cofactor(rows, 0, j)
    return total


def cofactor(rows: Sequence[Sequence[Any]], i: int, j: int) -> Any:
    """(−1)^(i+j) times the determinant without row i and column j."""
    minor = determinant([[a for l, a in enumerate(row) if l != j] for k, row in enumerate(rows) if k != i])
    return -1.0 * minor if (i + j) % 2 else minor
