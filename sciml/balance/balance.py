"""What balancers are: weights of blocks, weights of points, and surgery on gradients.

    L(θ) = Σ_b λ_b mean_n |w_b,n r_b,n|²         λ_b by `BlockWeights`, w_b,n by `PointWeights`
    g = aggregate(∇L_1, …, ∇L_m)                 by `Surgery`, in the place of the gradient
    Δθ ← project(Δθ, ∇L_1, …, ∇L_m)              by `Projection`, after the optimizer

A recipe names one or several of different kinds, joined by "+": `balance="causal+grad-norm"`, `"grad-norm+config+gua"`.
Weights are constants in every gradient.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ..errors import look_up
from ..points import Points
from ..problem import Block

GROUPS = ("each", "kind")


class View(Protocol):
    """What a balancer sees of an objective."""

    blocks: list[Block]
    points: dict[str, Points]
    weights: dict[str, Any]
    point_weights: dict[str, Tensor]

    @property
    def trainable(self) -> list[torch.nn.Parameter]:
        """The parameters' tensors."""

    def losses(self) -> dict[str, Tensor]:
        """Mean square residual by block, unweighted."""

    def gradients(self, groups: Sequence[Sequence[str]] | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Weighted losses (m,), their gradients (m, P), and unweighted losses by block."""

    def magnitudes(self) -> dict[str, Tensor]:
        """|r_n| by block, unweighted, shape (R,)."""

    def traces(self, count: int | None = None) -> dict[str, Tensor]:
        """mean_n |∇r_n|² by block."""


class Part:
    """One part of a balance.

    `second_order` says what happens in stages of second-order and quasi-Newton methods, which need a loss that stands
    still: "redraw" (updated when points are redrawn), "frozen", or "refused" (the recipe is refused).
    """

    second_order = "frozen"

    def state_dict(self) -> dict:
        """What resume needs: tensors, numbers, and dicts and lists of them."""
        return {}

    def load_state_dict(self, state: Mapping) -> None:  # noqa: B027  some parts hold nothing
        """Restores `state_dict`."""


class BlockWeights(Part):
    """λ_b of every block, updated every `every` steps from step `first` on.

    Args:
        every: Steps between updates.
        first: First step with an update.
    """

    def __init__(self, every: int = 1, first: int = 0):
        self.every, self.first = int(every), int(first)

    def due(self, step: int) -> bool:
        """Whether weights are updated before this step."""
        return step >= self.first and (step - self.first) % self.every == 0

    @abstractmethod
    def update(self, view: View, step: int) -> dict[str, Tensor]:
        """New λ by block, without graph; they multiply the weights of the problem file."""


class PointWeights(Part):
    """w_n of every residual row of some or all blocks.

    `fixed_points` is true if a weight belongs to a point for the whole run, so that points must not be redrawn.
    """

    fixed_points = False

    def __init__(self, every: int = 1):
        self.every = int(every)

    def due(self, step: int) -> bool:
        """Whether weights are updated before this step."""
        return step % self.every == 0

    @abstractmethod
    def update(self, view: View, step: int) -> dict[str, Tensor]:
        """New w by block, shape (R,), without graph; they multiply the rows, so that losses see w²."""

    def density(self, name: str) -> Tensor | None:
        """Probability with which a batch takes each point of a block, up to a factor; None: uniform."""
        return None


class Surgery(Part):
    """Several gradients to one direction.

    Args:
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
    """

    second_order = "refused"
    waits = False        # whether `aggregate` reads numbers on the host for more than two losses

    def __init__(self, groups: str = "each"):
        look_up("groups", groups, dict.fromkeys(GROUPS))
        self.groups = groups
        self.fallbacks: Tensor | None = None

    @abstractmethod
    def aggregate(self, gradients: Tensor, generator: Generator | None = None) -> Tensor:
        """The direction g, shape (P,), that takes the place of the gradient, from shape (m, P).

        Zero says that no direction lowers all losses: the step is skipped.
        """

    def check(self, names: Sequence[str]) -> None:  # noqa: B027  most surgery takes any losses
        """Refuses losses, by their names, that do not fit the options."""

    def count(self, happened: Tensor) -> None:
        """Counts the steps in which the formula failed, without waiting for the device."""
        self.fallbacks = happened.long() if self.fallbacks is None else self.fallbacks + happened

    def state_dict(self):
        return {"fallbacks": 0 if self.fallbacks is None else int(self.fallbacks)}

    def load_state_dict(self, state):
        self.fallbacks = torch.tensor(state["fallbacks"]) if state["fallbacks"] else None


class Projection(Part):
    """The update that an optimizer has made, moved to one that conflicts with no gradient.

    Args:
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
    """

    second_order = "refused"

    def __init__(self, groups: str = "each"):
        look_up("groups", groups, dict.fromkeys(GROUPS))
        self.groups = groups

    @abstractmethod
    def apply(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], before: Tensor,
              gradients: Tensor) -> Tensor:
        """Replaces the parameters, and moments of the optimizer, after its step.

        Args:
            optimizer: Just after its step.
            parameters: In the order of the gradients' columns.
            before: Their values before the step, shape (P,).
            gradients: (m, P).

        Returns:
            θ before − θ after, as projected, shape (P,).
        """


def grouped(blocks: Sequence[Block], groups: str, together: Sequence[Sequence[str]] = ()) -> list[list[str]]:
    """Names of the blocks of every loss; one group if there is nothing to divide.

    Args:
        blocks: All.
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
        together: Sets of blocks that must share a loss, such as those of a preconditioner.
    """
    if groups == "each":
        found = [[b.name] for b in blocks]
    else:
        inside = [b.name for b in blocks if b.kind == "equation"]
        rest = [b.name for b in blocks if b.kind != "equation"]
        found = [names for names in (inside, rest) if names]
    for names in together:
        joined = [group for group in found if set(group) & set(names)]
        if len(joined) > 1:
            at = found.index(joined[0])
            found = [group for group in found if group not in joined]
            found.insert(at, [name for group in joined for name in group])
    return found


class Balance:
    """All parts of a recipe's balance at work.

    Args:
        parts: At most one of each kind.
    """

    def __init__(self, parts: Mapping[str, Part]):
        self.parts = dict(parts)

    def _first(self, kind: type) -> Any:
        return next((p for p in self.parts.values() if isinstance(p, kind)), None)

    @property
    def surgery(self) -> Surgery | None:
        """What makes one direction of several gradients."""
        return self._first(Surgery)

    @property
    def projection(self) -> Projection | None:
        """What moves updates so that they conflict with no gradient."""
        return self._first(Projection)

    @property
    def points(self) -> PointWeights | None:
        """What weighs points."""
        return self._first(PointWeights)

    def update(self, view: View, step: int, first_order: bool = True, redrawn: bool = False) -> None:
        """Brings the weights of an objective up to date before a step.

        Args:
            view: The objective; its `weights` and `point_weights` are replaced.
            step: Steps done.
            first_order: Whether the stage is one of gradient methods; otherwise weights move at redraws only, or never.
            redrawn: Whether points were just replaced (or the stage just began).
        """
        # A stored weight of a point is another point's after a redraw.
        for part in self.parts.values():
            if not isinstance(part, (BlockWeights, PointWeights)):
                continue
            due = part.due(step) if first_order else redrawn and part.second_order == "redraw"
            if not due and not (redrawn and isinstance(part, PointWeights) and not part.fixed_points):
                continue
            found = part.update(view, step)
            if isinstance(part, BlockWeights):
                given = {b.name: b.weight for b in view.blocks}
                view.weights.update({n: given[n] * w.detach() for n, w in found.items()})
            else:
                view.point_weights.update({n: w.detach() for n, w in found.items()})

    def state_dict(self) -> dict:
        """State of every part by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
