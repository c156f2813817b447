"""The chart of a problem: its body as the image of a box, also one that differs from member to member of a family.

    Problem(domain=Box(r=(0, 4), s=(0, 1)), inputs=dict(b=…), chart=dict(x=lambda r: r, y=lambda s, b: b + s * (1 - b)))

Equations are written in x and y; fields, samples and faces stay those of the box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ..calculus import Program, Quantity, charted, d, jacobian_determinant
from ..calculus.quantity import is_number
from ..errors import ProblemError
from ..geometry import Box
from .block import Block
from .setting import Setting

SAMPLED = 1024            # points at which a chart must not fold
POINTWISE = ("equation", "boundary", "dirichlet", "neumann", "robin", "initial", "periodic", "pin", "observations")


def chart_values(setting: Setting, chart: Mapping[str, Callable]) -> dict[str, Quantity]:
    """Coordinates of the body as expressions of those of the box and the inputs.

    Raises:
        ProblemError: The domain is no box, their number is another, or one is no function of the box.
    """
    space = tuple(setting.domain.space)
    if not isinstance(setting.domain, Box):
        raise ProblemError("chart= says where the points of a box are; give a Box as domain=, of coordinates that the "
                           "chart's functions ask for")
    if len(chart) != len(space):
        raise ProblemError(f"chart= has the coordinates {', '.join(chart)}, and the box {', '.join(space)} in space; "
                           "give as many, also those that are the same, x=lambda r: r")
    found = {}
    for name, function in chart.items():
        value = setting.call(function, f"chart, coordinate {name!r}")
        if not isinstance(value, Quantity):
            raise ProblemError(f"chart, coordinate {name!r}: {value!r} is no function of {', '.join(space)}")
        for kind, other, _ in Program({name: value}).leaves:
            if kind != "coordinate":
                raise ProblemError(f"chart, coordinate {name!r}: depends on the {kind} {other!r}; charts are functions "
                                   "of the box's coordinates and of inputs")
        if "t" in setting.domain.names and not is_number(d(value, "t"), 0):
            raise ProblemError(f"chart, coordinate {name!r}: depends on t; bodies that move are not possible here")
        found[name] = value
    return found


def add_chart(setting: Setting, chart: Mapping[str, Callable]) -> None:
    """Makes the body's coordinates known to a setting's frame; nothing without a chart.

    Args:
        setting: Whose frame is new.
        chart: Functions by name of the body's coordinate.

    Raises:
        ProblemError: See `chart_values`.
    """
    if chart:
        values = chart_values(setting, chart)
        if is_number(jacobian_determinant(values, tuple(setting.domain.space)), 0):
            raise ProblemError(f"the chart folds: det ∂({', '.join(chart)})/∂({', '.join(setting.domain.space)}) is 0 "
                               "everywhere; every coordinate of the box must move the point")
        setting.frame.chart.update(charted(setting.frame, values, tuple(setting.domain.space)))


def check_chart(setting: Setting, chart: Mapping[str, Callable], blocks: tuple[Block, ...]) -> None:
    """Raises a ProblemError if the chart folds for this member, or a condition is an integral over the body."""
    if not chart:
        return
    for block in blocks:
        if block.kind not in POINTWISE or block.combine in ("test", "energy"):
            raise ProblemError(f"condition {block.name!r} is an integral, and on a chart conditions hold point by "
                               "point; write an Equation in the chart's coordinates")
    space = tuple(setting.domain.space)
    whole = jacobian_determinant(chart_values(setting, chart), space)
    points = setting.domain.sample(SAMPLED, generator=torch.Generator().manual_seed(0), rule="sobol")
    program = Program({"det": whole})
    columns = {key: points.column(key[1]) for key in program.leaves}
    values = program(columns, points.X[:, 0])[0].expand(len(points.X))
    low, high = float(values.min()), float(values.max())
    if not low * high > 0 or min(abs(low), abs(high)) < 1e-9 * max(abs(low), abs(high)):
        raise ProblemError(f"the chart folds: det ∂({', '.join(chart)})/∂({', '.join(space)}) goes from {low:.3g} to "
                           f"{high:.3g} for this member; it must keep one sign, so make its inputs smaller")
