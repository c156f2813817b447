"""Blocks: what training sees of a condition.

Every condition turns itself into blocks: a program for the residual's components at a point, the region where it is
asked for, and how pointwise values combine into rows (each by itself, difference of two opposite faces, weighted sum).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..calculus import Program
from ..elements.functionals import Functionals, Total
from ..geometry.patch import Patch
from ..points import Points


@dataclass(frozen=True)
class Block:
    """A stack of residual rows of one condition.

    Args:
        name: The condition's name.
        components: Names of the K residual components.
        program: Residual components at a point, from the leaves it names.
        region: Where points are drawn: an object with `sample` and `measure`, or fixed `Points`.
        combine: "each": a row per point; "difference": value at a point minus value at its `partner`;
            "integral": Σ wₙ f(xₙ) over each of `groups` sets of quadrature points; "test": a row per test function,
            `tests` of the program's values at all points; "energy": one number, their sum, which is no square.
        partner: Coordinate and shift that lead from a point to its partner.
        target: What an integral must equal.
        data: Tensors of shape (N,) for fixed points (measurements).
        weight: λ, a factor on the mean square of the block.
        count: Number of points asked for by the user; None: the recipe's.
        hard: What a field must satisfy to make this block vanish identically, see `HardData`.
        prescribed: Values that the block prescribes, by unknown and time derivative order.
        kind: Of its condition: "equation" for what must hold inside, else "initial", "dirichlet", ….
        tests: Of a weak form or an energy: what takes values at the points to rows.
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
    prescribed: Mapping[tuple[str, int], object] = field(default_factory=dict)
    kind: str = "condition"
    tests: Functionals | Total | None = None

    @property
    def whole(self) -> bool:
        """Whether rows come from all points at once, so that points are not chunked, drawn or weighted one by one."""
        return self.combine in ("integral", "test", "energy")


@dataclass(frozen=True)
class HardData:
    """∂_t^order u = value on a region, as a statement that a field can satisfy by construction.

    Args:
        unknown: Name of the unknown.
        regions: Names of the faces.
        order: Time derivative order (initial conditions); highest matched derivative (periodic); else 0.
        value: Number or function of the coordinates.
        kind: "initial", "dirichlet" or "periodic".
        distance: A function that vanishes on the faces, where the problem gives one; else None.
    """

    unknown: str
    regions: tuple[str, ...]
    order: int
    value: object
    kind: str
    distance: object = None
