"""Learners: what every training of an operator shares: schedule, loop, reports, state."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor

from ..errors import TrainingError
from ..optim import build_optimizer
from ..solution.report import Report
from .models import Operator
from .parallel import agreed, own, processes, summed
from .recipe import OperatorRecipe

WARM = 0.2                # of the budget, in which the rate of "onecycle" rises


class Learner(ABC):
    """A run in progress on a set of training samples, in batches of a random order that is new in every epoch.

    A class below makes its samples and its operator, and calls `begin`.
    """

    recipe: OperatorRecipe
    operator: Operator
    device: torch.device

    def begin(self, recipe: OperatorRecipe, operator: Operator, count: int) -> None:
        """Optimizer and counters.

        Args:
            recipe: How.
            operator: What is trained.
            count: Number of training samples.
        """
        self.recipe, self.operator, self.count = recipe, operator, count
        self.generator = torch.Generator().manual_seed(recipe.seed + 1)
        if recipe.compile:
            operator.compile_model()
        operator.autocast = recipe.bfloat16
        self.optimizer = build_optimizer(recipe.optimizer, operator.model.parameters(), recipe.optimizer_options())
        self.peak = [group["lr"] for group in self.optimizer.param_groups]
        self.step, self.seconds, self.epoch = 0, 0.0, 0
        self.order = torch.empty(0, dtype=torch.long)
        self.stopped, self.loss = "", math.nan
        self.total = recipe.total_steps(count)

    @abstractmethod
    def loss_of(self, index: Tensor) -> Tensor:
        """Loss of some of the training samples."""

    @abstractmethod
    def errors(self) -> dict[str, float]:
        """Mean relative errors of test samples by unknown; {} where there are none."""

    def draw_epoch(self) -> None:  # noqa: B027 - most keep their samples
        """Called before an epoch begins."""

    def _index(self) -> Tensor:
        if len(self.order) == 0:
            self.draw_epoch()
            self.order = torch.randperm(self.count, generator=self.generator)
            self.epoch += 1
        index, self.order = self.order[:self.recipe.batch], self.order[self.recipe.batch:]
        return index.to(self.device)

    def progress(self) -> float:
        """Share of the budget that is used; of steps alone if it is one of steps, so that a resume repeats it."""
        if self.total is not None:
            return min(self.step / max(self.total, 1), 1.0)
        return min(self.seconds / self.recipe.time, 1.0) if self.recipe.time else 0.0

    def finished(self) -> bool:
        """Whether the budget is used up."""
        if self.recipe.time is not None and self.seconds >= self.recipe.time:
            return True
        return self.total is not None and self.step >= self.total

    def _rate(self) -> float:
        """Learning rate over its peak."""
        p = self.progress()
        if self.recipe.schedule == "constant":
            return 1.0
        if self.recipe.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * p))
        if p < WARM:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * p / WARM))
        return max(0.5 * (1 + math.cos(math.pi * (p - WARM) / (1 - WARM))), 1e-5)

    def advance(self) -> Tensor:
        """One step."""
        for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = peak * self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(self._index())
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.operator.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def _gradients(self, index: Tensor) -> Tensor:
        """Leaves the gradient of a batch at the parameters; returns the loss."""
        part = own(index)
        loss = self.loss_of(part if len(part) else index[:1])          # random numbers stay those of all processes
        loss.backward()
        return summed(self.operator.model.parameters(), len(part) / len(index), loss) if processes() > 1 else loss

    def run(self, stop: Callable[[], str] | None = None) -> Iterator[Report]:
        """Trains until the budget is used up; yields a report at the start, every `report` seconds and at the end.

        Test errors that take long are asked for less often, so that reports take a tenth of the time at most.

        Args:
            stop: Asked after each step; a text that is not empty ends the run, and is its reason.

        Raises:
            TrainingError: The loss is not finite.
        """
        if self.step == 0:
            with torch.no_grad():
                first = torch.arange(min(self.recipe.batch, self.count), device=self.device)
                self.loss = float(self.loss_of(first))
        yield self.report()
        shown = clock = time.perf_counter()
        rest = self.recipe.report
        recent: list[Tensor] = []
        each = -(-self.count // self.recipe.batch)
        while agreed(not self.finished(), self.device):
            reason = stop() if stop is not None else ""
            if agreed(bool(reason), self.device):
                self.stopped = f"{reason} at step {self.step}"
                break
            recent = [*recent, self.advance()][-each:]
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            if now - shown >= rest:
                self._hear(recent)
                report, spent = self.report(), time.perf_counter() - now
                rest = self.recipe.report and max(self.recipe.report, 9 * spent)      # 0: after every step
                yield report
                shown = clock = time.perf_counter()
        if recent:
            self._hear(recent)
        yield self.report()

    def _hear(self, recent: list[Tensor]) -> None:
        self.loss = float(torch.stack(recent).mean())
        if not math.isfinite(self.loss):
            raise TrainingError(f"the loss is not finite after step {self.step}; take a smaller learning rate "
                                f"({self.recipe.optimizer}.lr) or clip=1")

    def report(self) -> Report:
        """Where the run stands now."""
        return Report(self.step, round(self.seconds, 4), self.recipe.optimizer, self.loss,
                              {self.recipe.loss: self.loss}, self.errors(), {}, {"epoch": float(self.epoch)})

    def drawn_points(self) -> dict:
        """None: functions are drawn, not points."""
        return {}

    def state_dict(self) -> dict:
        """A copy of everything that changes; the samples follow from the recipe."""
        return deepcopy({"step": self.step, "seconds": self.seconds, "epoch": self.epoch, "order": self.order,
                         "loss": self.loss, "generator": self.generator.get_state(),
                         "operator": self.operator.state_dict(), "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`."""
        self.operator.load_state_dict(state["operator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.step, self.seconds, self.epoch = state["step"], state["seconds"], state["epoch"]
        self.order, self.loss = state["order"].cpu(), state["loss"]
