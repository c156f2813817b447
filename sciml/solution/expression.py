"""Expressions of a solution: what is written like an equation, evaluated at points that a user chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..calculus import Program, Vector
from ..errors import ProblemError, unknown_name
from ..objective import Objective
from ..points import Points
from ..problem import Block
from ..problem.setting import components


class Expression:
    """Components of a user's function at points.

    Args:
        objective: Field and parameters.
        function: Takes unknowns, coordinates and parameters by name; returns one expression, a tuple, or a dict.
        normal: Whether it may ask for `normal`.

    Raises:
        ProblemError: It asks for something that does not exist.
    """

    def __init__(self, objective: Objective, function: Callable, normal: bool = False):
        if not callable(function):
            raise ProblemError(f"an expression is a function of unknowns and coordinates, got {function!r}")
        problem = objective.problem
        result = problem.setting.call(function, "expression", normal)
        self.names = tuple(result) if isinstance(result, Mapping) else None
        self.single = self.names is None and not isinstance(result, (tuple, list, Vector))
        found = components(result, "expression", "expression")
        self.objective = objective
        self.block = Block("expression", tuple(found), Program(found), problem.region)

    @torch.no_grad()
    def __call__(self, points: Points) -> Tensor:
        """Values, shape (N, K)."""
        objective = self.objective
        points = points.to(dtype=objective.dtype, device=objective.device)
        step = objective.chunk
        parts = [objective.values(self.block, points[i:i + step]) for i in range(0, max(len(points), 1), step)]
        return torch.cat([p.detach() for p in parts])

    def shaped(self, values: Sequence):
        """K values as the function returned its components."""
        if self.names is not None:
            return dict(zip(self.names, values, strict=True))
        return values[0] if self.single else tuple(values)


def points_of(names: Sequence[str], coordinates: Mapping) -> tuple[np.ndarray, tuple[int, ...]]:
    """Points (N, D) from a number or an array by coordinate, and the shape to which these broadcast.

    Raises:
        ProblemError: A coordinate is missing or does not exist.
    """
    for n in coordinates:
        if n not in names:
            raise ProblemError(unknown_name("coordinate", n, names))
    missing = [n for n in names if n not in coordinates]
    if missing:
        raise ProblemError(f"the coordinate {missing[0]!r} is missing; give all of {', '.join(names)}")
    try:
        arrays = [c.detach().cpu().numpy() if isinstance(c, Tensor) else np.asarray(c, dtype=float)
                  for c in (coordinates[n] for n in names)]
    except (TypeError, ValueError) as error:
        raise ProblemError(f"coordinates must be numbers or arrays of numbers ({error})") from error
    try:
        arrays = list(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = ", ".join(f"{n} {np.shape(a)}" for n, a in zip(names, arrays, strict=True))
        raise ProblemError(f"coordinates do not broadcast: {shapes}") from error
    return np.stack([a.reshape(-1) for a in arrays], axis=1), arrays[0].shape

