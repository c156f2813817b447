"""What preconditioners of the loss are: they choose points, mix rows, or add terms to them, and keep the solution.

A preconditioner is started once on an objective: it puts the points of the blocks it takes on a grid, and fills
`transforms` (z = M r, see `transform.py`) or `stand_ins` (other rows to train in a block's place). From then on
`update` is called before every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..calculus.engines import Engine
from ..points import Points
from ..problem import Block, Problem
from ..problem.hard import Ansatz
from .transform import Transform


class View(Protocol):
    """What a preconditioner sees of an objective."""

    problem: Problem
    field: nn.Module
    parameters_: Any
    engine: Engine
    chunk: int
    blocks: list[Block]
    points: dict[str, Points]
    data: dict[str, Mapping[str, Tensor]]
    transforms: list[Transform]
    stand_ins: dict[str, Block]

    @property
    def trainable(self) -> list[nn.Parameter]:
        """The parameters' tensors."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""

    @property
    def device(self) -> torch.device:
        """Of the parameters."""

    def values(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None) -> Tensor:
        """Pointwise residual components, shape (N, K)."""


class Preconditioner(ABC):
    """A preconditioner of the loss.

    `mixes` is true if rows of different points are mixed, so that neither batches nor weights of points and conditions
    make sense; `moves` if the loss is another one at every step.
    """

    mixes = True
    moves = False

    @abstractmethod
    def start(self, view: View, ansatz: Ansatz, points: int) -> tuple[str, ...]:
        """Takes its blocks of an objective.

        Args:
            view: Its `transforms`, `stand_ins` and `points` are filled.
            ansatz: What the field holds by construction.
            points: How many interior points the recipe asks for.

        Returns:
            Names of the blocks whose points are the preconditioner's, and are not to be drawn.

        Raises:
            ProblemError: The problem is none it can take.
        """

    def update(self, view: View, step: int) -> bool:
        """Called before a step, with `step` steps done; returns whether the loss is another one from now on."""
        return False

    def state_dict(self) -> dict:
        """What resume needs."""
        return {}

    def load_state_dict(self, view: View, state: Mapping) -> None:  # noqa: B027  most hold nothing that changes
        """Restores `state_dict`, the points of the view being in place."""


class Nothing(Preconditioner):
    """The plain residual."""

    mixes = False

    def start(self, view, ansatz, points):
        return ()


def inside(problem: Problem, blocks: list[Block]) -> list[Block]:
    """The blocks of equations that hold in the whole domain."""
    return [b for b in blocks if b.kind == "equation" and b.region is problem.region]
