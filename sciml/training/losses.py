"""The losses that surgery, projections and multi-loss optimizers tell apart, and how often steps conflict with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from ..balance.balance import grouped
from ..balance.diagnose import conflicts
from ..objective import Objective

log = logging.getLogger(__name__)


class Losses:
    """Conditions gathered into losses, for takers that may gather them differently.

    Args:
        objective: With the conditions; those of one preconditioner share a loss.
        takers: "each" or "kind" by the name of what takes gradients, such as "balance=config".
    """

    def __init__(self, objective: Objective, takers: Mapping[str, str]):
        self.objective, self.takers = objective, dict(takers)
        self.kinds = set(takers.values())
        self._told = False

    def names(self, groups: str) -> list[list[str]]:
        """Names of the conditions of every loss."""
        return grouped(self.objective.blocks, groups, [t.blocks for t in self.objective.transforms])

    def finest(self) -> list[list[str]]:
        """The losses whose gradients are computed: what all takers can be given sums of."""
        return self.names(next(iter(self.kinds)) if len(self.kinds) == 1 else "each")

    def merged(self, G: Tensor, groups: str) -> Tensor:
        """Gradients of a taker's losses, sums of rows of G, which are those of `finest`."""
        if len(self.kinds) == 1:
            return G
        found = self.finest()
        return torch.stack([sum(g for g, part in zip(G, found, strict=True) if set(part) <= set(names))
                            for names in self.names(groups)])

    def tell(self) -> None:
        """Says once, in the log, who is given a single loss and does nothing with it."""
        if self._told:
            return
        self._told = True
        for taker, groups in self.takers.items():
            found = self.names(groups)
            if len(found) == 1:
                what = "takes its gradient as it is" if taker.startswith("balance") else "acts as Adam"
                log.warning("%s: there is one loss only (%s), so it %s", taker, ", ".join(found[0]), what)


class Conflicts:
    """Steps so far, and in how many of them the proposed and the applied update raise a loss to first order.

    Counted on the device, and read when asked for.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.counts: Tensor | None = None

    def record(self, proposed: Tensor, applied: Tensor, gradients: Tensor) -> None:
        """Counts a step θ ← θ − applied."""
        found = torch.stack([conflicts(proposed, gradients), conflicts(applied, gradients)]).long()
        self.counts = found if self.counts is None else self.counts + found
        self.steps += 1

    def extras(self) -> dict[str, float]:
        """Shares of the stage's steps."""
        if self.counts is None:
            return {}
        proposed, applied = (count / self.steps for count in self.counts.tolist())
        return {"conflicts_proposed": proposed, "conflicts_applied": applied}

    def state_dict(self) -> dict:
        """What resume needs."""
        return {"steps": self.steps, "counts": None if self.counts is None else self.counts.tolist()}

    def load_state_dict(self, state: Mapping, device: torch.device) -> None:
        """Restores `state_dict`."""
        self.steps = state["steps"]
        self.counts = None if state["counts"] is None else torch.tensor(state["counts"], device=device)
