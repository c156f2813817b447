"""Measurements that are bought one by one: which of the places where something could be measured are measured.

Conditions with data hold what every measurement would give. Their points are candidates, and training sees those that
were bought. A candidate's value is not looked at before: what stands for its residual is how far the field has moved
there since some steps before, u_θ(x) − u_θ⁻(x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from ..flat import flat, place
from .information import most_informative
from .nystrom import Nystrom, Rows
from .scene import Scene
from .seeding import apportion

Choice = Callable[[Tensor, Tensor, int, Generator], Tensor]


class Purchases:
    """Buys measurements.

    The first are drawn at random, one of every condition with data at least: nothing is known yet. None is ever given
    back.

    Args:
        each: Measurements per purchase; 0: all are there from the beginning.
        budget: Most in all; 0: as many as there are.
        ahead: Steps over which the field's change is taken.
        choice: "drift": by how far the field has moved; "information": those that tell most about what is sought
            (`information.py`); "random".

    Source: Lau et al. (2024), arXiv:2404.07662, appendix: u_θ(x) − u_θ⁺(x) with θ⁺ the parameters after 100 further
    steps, which are then undone. Here θ⁻ are those of that many steps before, which costs nothing.
    """

    def __init__(self, each: int, budget: int, ahead: int, choice: str = "drift"):
        self.each, self.budget, self.ahead, self.choice = each, budget, ahead, choice
        self.bought: dict[str, Tensor] = {}
        self.before: Tensor | None = None                    # θ⁻

    def begin(self, scene: Scene) -> None:
        """Draws the first measurements."""
        if not self.each:
            return
        blocks = scene.measured
        sizes = [len(scene.candidates(block)) for block in blocks]
        first = min(max(self.each, len(blocks)), self.budget or sum(sizes))
        for block, size, n in zip(blocks, sizes, apportion(first - len(blocks), [s - 1 for s in sizes]), strict=True):
            drawn = torch.randperm(size, generator=scene.generator, device=scene.generator.device)[:n + 1]
            self._own(scene, block.name, drawn)

    def _own(self, scene: Scene, name: str, index: Tensor) -> None:
        self.bought[name] = index.sort().values
        block = next(b for b in scene.measured if b.name == name)
        scene.measure(block, self.bought[name])

    @property
    def count(self) -> int:
        """Measurements bought."""
        return sum(len(index) for index in self.bought.values())

    def watch(self, scene: Scene) -> None:
        """Keeps the parameters as they are as θ⁻."""
        if self.each and self.choice == "drift":
            self.before = flat(scene.view.trainable)

    def candidates(self, scene: Scene) -> list[tuple[Tensor, Rows]]:
        """Positions of what is not bought, and its places, by condition; no measured value is in them."""
        found: list[tuple[Tensor, Rows]] = []
        if not self.each or (self.budget and self.count >= self.budget):
            return found
        for block in scene.measured:
            everything = scene.candidates(block)
            free = torch.ones(len(everything), dtype=torch.bool, device=everything.X.device)
            index = free.index_fill_(0, self.bought[block.name], False).nonzero()[:, 0]
            blank = everything.X.new_zeros(len(index))
            if len(index):
                found.append((index, Rows(block, everything[index], dict.fromkeys(block.data, blank))))
        return found

    def buy(self, scene: Scene, nystrom: Nystrom, choose: Choice) -> bool:
        """Buys the next measurements.

        Args:
            scene: The conditions.
            nystrom: The kernel, with the conditions that hold candidates among its scales.
            choose: (E, kinds, n, generator) ↦ positions.

        Returns:
            Whether anything was bought.
        """
        offers = self.candidates(scene)
        total = sum(len(index) for index, _ in offers)
        n = min(self.each, total, self.budget - self.count if self.budget else total)
        if n <= 0:
            return False
        if self.choice == "information":
            taken = most_informative(scene, [at for _, at in offers], n)
        elif self.choice == "random" or self.before is None:
            taken = torch.randperm(total, generator=scene.generator, device=scene.generator.device)[:n]
        else:
            E = torch.cat([nystrom.embed(scene.view, at, self._change(scene, at)) for _, at in offers])
            taken = choose(E, torch.zeros(total, dtype=torch.long, device=E.device), n, scene.generator)
        start = 0
        for index, at in offers:
            mine = taken[(taken >= start) & (taken < start + len(index))] - start
            start += len(index)
            if len(mine):
                self._own(scene, at.block.name, torch.cat([self.bought[at.block.name], index[mine]]))
        return True

    def _change(self, scene: Scene, at: Rows) -> Callable[[slice, Tensor], Tensor]:
        """r ↦ r − r_θ⁻: the same values in both, so that u_θ − u_θ⁻ is left."""
        assert self.before is not None
        before = self.before

        def change(part: slice, r: Tensor) -> Tensor:
            with at_parameters(scene, before):
                return r - scene.view.rows(at.block, at.points[part], {k: v[part] for k, v in at.data.items()})

        return change

    def state_dict(self) -> dict[str, Any]:
        """What is bought, and θ⁻."""
        return {"bought": self.bought, "before": self.before}

    def load_state_dict(self, scene: Scene, state: Mapping[str, Any]) -> None:
        """Restores `state_dict` and the points and data of what is bought."""
        for name, index in state["bought"].items():
            self._own(scene, name, index)
        self.before = state["before"]


@contextmanager
def at_parameters(scene: Scene, theta: Tensor) -> Iterator[None]:
    """A context without gradients in which the parameters of the objective are others.

    Args:
        scene: Whose.
        theta: These, shape (P,).
    """
    trainable = scene.view.trainable
    own = flat(trainable)
    with torch.no_grad():
        try:
            place(trainable, theta)
            yield
        finally:
            place(trainable, own)
