"""Drivers: how each kind of optimizer takes one step on an objective.

| driver | takes | points within a step |
|---|---|---|
| `FirstOrder` | gradients, chunk by chunk or by loss, with a learning-rate schedule | a random batch, or all |
| `QuasiNewton` | a deterministic loss closure (L-BFGS) | fixed |
| `LeastSquares` | residual vector and Jacobian, as a matrix or by factors (Gauss–Newton, natural gradients) | fixed |
| `Projected` | the same for a body and a linear head (variable projection) | fixed |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import cos, pi
from typing import Any

import torch
from torch import Generator, Tensor

from ..balance import Balance
from ..balance.balance import grouped
from ..errors import NonFiniteError
from ..fields import head_of
from ..objective import Objective, Recipe
from ..objective.recipe import optimizer_options
from ..optim import build_optimizer, needs


class Driver(ABC):
    """One stage's optimizer at work.

    Args:
        objective: What is minimised.
        name: The optimizer's.
        options: Of its constructor.
    """

    first_order = False

    def __init__(self, objective: Objective, name: str, options: Mapping[str, object]):
        self.objective = objective
        self.name = name
        self.optimizer = build_optimizer(name, self.parameters(), options)

    def parameters(self) -> list:
        """What the optimizer is given: tensors, or groups of them."""
        return self.objective.trainable

    @abstractmethod
    def step(self, progress: float) -> Tensor:
        """One step; `progress` in [0, 1] is the share of the stage's budget that is used. Returns the loss L."""

    def gradient(self) -> Tensor:
        """Leaves ∇L in the parameters and returns L."""
        self.optimizer.zero_grad(set_to_none=True)
        return self.objective.backward()[0]

    def demand_finite(self, loss: Tensor, norm: Tensor | None = None) -> None:
        """Raises a `NonFiniteError` before numbers that are not finite reach the parameters."""
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError("loss")
        if norm is None:
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.objective.trainable if p.grad is not None])
        if not bool(torch.isfinite(norm)):
            raise NonFiniteError("gradient")

    def redrawn(self) -> None:                               # noqa: B027  most drivers need nothing
        """Called after points changed."""

    def trouble(self) -> str:
        """Why going on is useless, or an empty string."""
        return ""

    def extras(self) -> dict[str, float]:
        """Numbers for the reports, such as the damping."""
        return {}

    def state_dict(self) -> dict:
        """What resume needs."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])


class FirstOrder(Driver):
    """Gradient methods: Adam and all of torch's other optimizers.

    Args:
        recipe: Its `schedule` ("constant", "cosine" to 1 % of the rate, or "exponential" to 1 %), `clip` (largest
            gradient norm, or None) and `batch` (points per step and condition, or None for all).
        balance: Its surgery makes the direction of several gradients, and its weights of points draw the batches.
        generator: For the batches.
    """

    first_order = True

    def __init__(self, objective, name, options, recipe: Recipe, balance: Balance, generator: Generator):
        super().__init__(objective, name, options)
        self.schedule, self.clip, self.batch = recipe.schedule, recipe.clip, recipe.batch
        self.balance, self.generator = balance, generator
        self.rates = [g["lr"] if "lr" in g else None for g in self.optimizer.param_groups]

    def factor(self, progress: float) -> float:
        """Share of the initial learning rate."""
        if self.schedule == "cosine":
            return 0.01 + 0.99 * 0.5 * (1 + cos(pi * min(progress, 1.0)))
        if self.schedule == "exponential":
            return 10.0 ** (-2.0 * min(progress, 1.0))
        return 1.0

    def step(self, progress):
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if rate is not None:
                group["lr"] = rate * self.factor(progress)
        objective = self.objective
        everything = objective.points, objective.data, objective.point_weights
        try:
            if self.batch is not None:
                self._take_batch(self.batch)
            loss = self.gradient()
            norm = None if self.clip is None else \
                torch.nn.utils.clip_grad_norm_(self.objective.trainable, self.clip)
            if self.objective.device.type == "cpu":          # elsewhere this would wait for the device at every step
                self.demand_finite(loss, norm)
        finally:
            objective.points, objective.data, objective.point_weights = everything
        self.optimizer.step()
        return loss

    def gradient(self):
        surgery = self.balance.surgery
        if surgery is None:
            return super().gradient()
        self.optimizer.zero_grad(set_to_none=True)
        losses, G, _ = self.objective.gradients(grouped(self.objective.blocks, surgery.groups))
        direction, start = surgery.aggregate(G, self.generator), 0
        for p in self.objective.trainable:
            p.grad = direction[start:start + p.numel()].view_as(p).clone()
            start += p.numel()
        return losses.sum()

    def _take_batch(self, batch: int) -> None:
        objective = self.objective
        points, data, weights = dict(objective.points), dict(objective.data), dict(objective.point_weights)
        for block in objective.blocks:
            have, name = points[block.name], block.name
            if block.combine == "integral" or len(have) <= batch:
                continue
            index = self._draw(len(have), batch, name)
            points[name] = have[index]
            data[name] = {k: v[index] for k, v in data.get(name, {}).items()}
            if name in weights:
                weights[name] = weights[name][index]
        objective.points, objective.data, objective.point_weights = points, data, weights

    def _draw(self, N: int, batch: int, name: str) -> Tensor:
        """Positions of a batch: uniform with replacement, or by the density of the balance's weights of points."""
        density = None if self.balance.points is None else self.balance.points.density(name)
        if density is None:
            return torch.randint(N, (batch,), generator=self.generator, device=self.generator.device)
        return torch.multinomial(density, batch, replacement=True, generator=self.generator)

    def extras(self):
        rate = self.optimizer.param_groups[0].get("lr")
        return {} if rate is None else {"learning_rate": float(rate)}


class QuasiNewton(Driver):
    """Quasi-Newton methods on fixed points between redraws; one step is up to `max_iter` iterations."""

    optimizer: Any

    def step(self, progress):
        first = True

        def closure() -> Tensor:
            nonlocal first
            loss = self.gradient()
            if first:
                self.demand_finite(loss)
            first = False
            return loss

        return self.optimizer.step(closure).detach()

    def redrawn(self):
        self.optimizer.forget()

    def trouble(self):
        if self.optimizer.stuck:
            return (f"{self.name} moves nothing even along steepest descent: the loss is at the limit of the precision "
                    f"of {str(self.objective.dtype).removeprefix('torch.')}")
        return ""


class LeastSquares(Driver):
    """Gauss–Newton and its kin on the residual vector."""

    optimizer: Any

    def step(self, progress):
        objective = self.objective
        linearize = objective.factored if self.optimizer.needs == "factored" else objective.linearize
        return torch.tensor(self.optimizer.step(linearize, objective.residual), dtype=objective.dtype)

    def trouble(self):
        if self.optimizer.refused >= 3:
            return f"{self.name} found no step that lowers the loss: it is at the limit of the precision"
        return ""

    def extras(self):
        return self.optimizer.extras()


class Projected(LeastSquares):
    """Variable projection: the field's last layer is solved for, the rest is trained."""

    def parameters(self):
        head = head_of(self.objective.field, self.objective.problem.region.bounds)
        body = [p for p in self.objective.trainable if all(p is not h for h in head)]
        return [{"params": body}, {"params": list(head)}]


def build_driver(objective: Objective, name: str, recipe: Recipe, balance: Balance, generator: Generator) -> Driver:
    """The driver that fits an optimizer."""
    options = optimizer_options(recipe, name)
    kind = needs(name)
    if kind in ("residual", "factored"):
        return LeastSquares(objective, name, options)
    if kind == "head":
        return Projected(objective, name, options)
    if kind == "closure":
        return QuasiNewton(objective, name, options)
    return FirstOrder(objective, name, options, recipe, balance, generator)
