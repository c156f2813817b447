"""What balancers are: weights of blocks, weights of points, and surgery on gradients.

    L(θ) = Σ_b λ_b mean_n |w_b,n r_b,n|²         λ_b by `BlockWeights`, w_b,n by `PointWeights`
    g = aggregate(∇L_1, …, ∇L_m)                 by `Surgery`, in the place of the gradient
    Δθ ← project(Δθ, ∇L_1, …, ∇L_m)              by `Projection`, after the optimizer

A recipe names one or several of different kinds, joined by "+": `balance="causal+grad-norm"`, `"grad-norm+config+gua"`.
Weights are constants in every gradient.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ..errors import ProblemError, look_up
from ..points import Points
from ..problem import Block

GROUPS = ("each", "kind")
log = logging.getLogger(__name__)


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

    def magnitudes(self, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """|r_n| by block, unweighted, shape (R,)."""

    def traces(self, count: int | None = None) -> dict[str, Tensor]:
        """mean_n |∇r_n|² by block."""


class Part:
    """One part of a balance.

    `second_order` says what happens in stages of second-order and quasi-Newton methods, which need a loss that stands
    still: "redraw" (updated when points are redrawn and when the stage begins), "frozen" (never), or "refused" (the
    recipe is refused). `name` is that of the registry.
    """

    name = "balance"
    second_order = "frozen"

    def demand(self, true: bool, option: str, value: object, what: str) -> None:
        """Raises a `ProblemError` about an option that is not `what` it must be."""
        if not true:
            raise ProblemError(f"{self.name}.{option}={value} must be {what}")

    def check(self, view: View) -> None:  # noqa: B027  most parts work everywhere
        """Refuses, or warns about, an objective that this part can do nothing with, before anything is trained."""

    def extras(self, view: View) -> dict[str, float]:
        """Numbers for the reports; they may wait for the device."""
        return {}

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
        self.demand(self.every >= 1, "every", every, "a number of steps, at least 1")
        self.demand(self.first >= 0, "first", first, "a number of steps, at least 0")
        self.weights: dict[str, Tensor] = {}

    def due(self, step: int) -> bool:
        """Whether weights are updated before this step."""
        return step >= self.first and (step - self.first) % self.every == 0

    def check(self, view):
        if len(view.blocks) == 1:
            log.warning("balance=%s changes nothing here: %s is the only condition left to train, the others are built "
                        "in; constraints=soft keeps them in the loss", self.name, view.blocks[0].name)

    @abstractmethod
    def update(self, view: View, step: int) -> dict[str, Tensor]:
        """New λ by block, without graph; they multiply the weights of the problem file."""

    def extras(self, view):
        return {f"weight {b.name}": float(view.weights[b.name]) for b in view.blocks}

    def state_dict(self):
        return {"weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping):
        self.weights = dict(state["weights"])


class WeightsAgainstEquations(BlockWeights):
    """λ_b of conditions other than equations, which keep λ = 1; from gradients of the losses without λ."""

    def check(self, view):
        super().check(view)
        if all(b.kind != "equation" for b in view.blocks):
            raise ProblemError(f"balance={self.name} weighs other conditions against equations, and this problem "
                               f"trains {', '.join(b.name for b in view.blocks)} only; use grad-norm")

    def gradients(self, view: View) -> tuple[list[str], Tensor]:
        """Names of the other conditions; and the gradient of all equations together, then theirs, shape (1 + n, P)."""
        others = [b.name for b in view.blocks if b.kind != "equation"]
        with unweighted(view):
            _, G, _ = view.gradients([[b.name for b in view.blocks if b.kind == "equation"], *([n] for n in others)])
        return others, G


class PointWeights(Part):
    """w_n of every residual row of some or all blocks.

    `fixed_points` is true if a weight belongs to a point for the whole run, so that points must not be redrawn.

    Args:
        every: Steps between updates.
        conditions: Which blocks have weights, "all" or "equations".
    """

    fixed_points = False

    def __init__(self, every: int = 1, conditions: str = "all"):
        self.every, self.conditions = int(every), conditions
        self.demand(self.every >= 1, "every", every, "a number of steps, at least 1")
        self.demand(conditions in ("all", "equations"), "conditions", repr(conditions), "'all' or 'equations'")

    def due(self, step: int) -> bool:
        """Whether weights are updated before this step."""
        return step % self.every == 0

    def weighed(self, view: View) -> list[Block]:
        """Blocks whose rows have weights."""
        return [b for b in view.blocks if self.conditions == "all" or b.kind == "equation"]

    def check(self, view):
        if not self.weighed(view):
            raise ProblemError(f"balance={self.name} with {self.name}.conditions=equations needs an equation, and this "
                               f"problem trains {', '.join(b.name for b in view.blocks)} only")

    @abstractmethod
    def update(self, view: View, step: int) -> dict[str, Tensor]:
        """New w by block, shape (R,), without graph; they multiply the rows, so that losses see w²."""

    def renew(self, view: View, step: int) -> dict[str, Tensor]:
        """As `update`, where the points of the last weights have just been replaced by others."""
        return self.update(view, step)

    def density(self, name: str) -> Tensor | None:
        """Probability with which a batch takes each point of a block, up to a factor; None: uniform."""
        return None

    def extras(self, view):
        found = {}
        for name, w in view.point_weights.items():
            for what, value in (("min", w.min()), ("mean", w.mean()), ("max", w.max())):
                found[f"{what} point weight {name}"] = float(value)
        return found


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

    def check_losses(self, names: Sequence[str]) -> None:  # noqa: B027  most surgery takes any losses
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


@contextmanager
def unweighted(view: View) -> Iterator[None]:
    """All λ_b are 1 inside; weights of points stay."""
    saved = view.weights
    view.weights = dict.fromkeys(saved, 1.0)
    try:
        yield
    finally:
        view.weights = saved


def tiny(x: Tensor) -> float:
    """The smallest normal number of a dtype, which keeps quotients finite."""
    return torch.finfo(x.dtype).tiny


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

    def check(self, view: View) -> None:
        """Refuses, or warns about, an objective that a part can do nothing with."""
        for part in self.parts.values():
            part.check(view)

    def extras(self, view: View) -> dict[str, float]:
        """Weights for the reports."""
        return {k: v for part in self.parts.values() for k, v in part.extras(view).items()}

    def update(self, view: View, step: int, first_order: bool = True, redrawn: bool = False,
               began: bool = False) -> None:
        """Brings the weights of an objective up to date before a step.

        Args:
            view: The objective; its `weights` and `point_weights` are replaced.
            step: Steps done.
            first_order: Whether the stage is one of gradient methods; otherwise weights move at redraws only, or never.
            redrawn: Whether points were just replaced.
            began: Whether this is the stage's first step.
        """
        for part in sorted(self.parts.values(), key=lambda p: isinstance(p, BlockWeights)):     # λ_b sees the new w_n
            if not isinstance(part, (BlockWeights, PointWeights)):
                continue
            due = part.due(step) if first_order else (redrawn or began) and part.second_order == "redraw"
            if isinstance(part, BlockWeights):
                if due:
                    found, given = part.update(view, step), {b.name: b.weight for b in view.blocks}
                    view.weights = {**view.weights, **{n: given[n] * w.detach() for n, w in found.items()}}
            elif due or (redrawn and not part.fixed_points):     # a stored weight would be another point's
                found = part.renew(view, step) if redrawn else part.update(view, step)
                view.point_weights = {n: w.detach() for n, w in found.items()}

    def state_dict(self) -> dict:
        """State of every part by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
