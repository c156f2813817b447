"""What preconditioners of the loss are: they choose points, mix rows, or add terms to them, and keep the solution.

A preconditioner is started once on an objective: it puts the points of the blocks it takes on a grid, and fills
`transforms` (z = M r, see `transform.py`) or `stand_ins` (other rows to train in a block's place). From then on
`update` is called before every step.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from scipy import sparse
from scipy.sparse.linalg import spilu
from torch import Tensor, nn

from ..calculus.engines import Engine
from ..errors import ProblemError
from ..points import Points
from ..problem import Block, Problem
from ..problem.hard import Ansatz
from .transform import Transform

log = logging.getLogger(__name__)


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


class Linearized(Preconditioner):
    """A preconditioner made of the problem linearised about the field, again every so often.

    Attributes:
        linear: Whether the problem is, so that one linearisation is enough.

    Args:
        every: Steps between linearisations.

    Raises:
        ProblemError: `every` is no number of steps.
    """

    name: str
    linear: bool

    def __init__(self, every: int):
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ProblemError(f"{self.name}.every={every!r} must be a number of steps between linearisations")
        self.every = every
        self._state: dict = {}

    @abstractmethod
    def refresh(self, view: View) -> None:
        """Linearises about the field as it is: fills `_state` and builds from it.

        Raises:
            ProblemError: The linearised problem has no unique solution.
        """

    @abstractmethod
    def build(self, view: View) -> None:
        """Makes what `_state` says."""

    def update(self, view, step):
        if self.linear or not step or step % self.every:
            return False
        before = self._state
        try:
            self.refresh(view)
        except ProblemError as error:              # the field of this moment; the old matrix is still a good one
            log.warning("the linearisation at step %d is not used: %s", step, error)
            self._state = before
            return False
        return True

    def state_dict(self):
        return {} if self.linear else dict(self._state)

    def load_state_dict(self, view, state):
        if state:
            self._state = dict(state)
            self.build(view)


def incomplete(name: str, drop: float, fill: float) -> Callable[[sparse.csc_matrix], Any]:
    """Incomplete LU factorisation with options of a preconditioner.

    Raises:
        ProblemError: They make no sense.
    """
    if not 0 <= drop < 1 or not fill >= 1:
        raise ProblemError(f"{name}.drop={drop}, {name}.fill={fill}: drop must lie in [0, 1) and fill be at least 1")
    return lambda A: spilu(A, drop_tol=float(drop), fill_factor=float(fill))


class Nothing(Preconditioner):
    """The plain residual."""

    mixes = False

    def start(self, view, ansatz, points):
        return ()


def inside(problem: Problem, blocks: list[Block]) -> list[Block]:
    """The blocks of equations that hold in the whole domain."""
    return [b for b in blocks if b.kind == "equation" and b.region is problem.region]
