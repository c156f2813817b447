"""Drivers: how each kind of optimizer takes one step on an objective.

| driver | takes | points within a step |
|---|---|---|
| `FirstOrder` | gradients, chunk by chunk, with a learning-rate schedule | a random batch, or all |
| `QuasiNewton` | a deterministic loss closure (L-BFGS) | fixed |
| `LeastSquares` | residual vector and Jacobian (Gauss–Newton) | fixed |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import cos, pi

import torch
from torch import Generator, Tensor

from ..errors import NonFiniteError
from ..objective import Objective
from ..optim import LBFGS, GaussNewton, build_optimizer


class Driver(ABC):
    """One stage's optimizer at work.

    Args:
        objective: What is minimised.
        name: The optimizer's.
        options: Of its constructor.
    """

    def __init__(self, objective: Objective, name: str, options: Mapping[str, object]):
        self.objective = objective
        self.name = name
        self.optimizer = build_optimizer(name, objective.trainable, options)

    @abstractmethod
    def step(self, progress: float) -> Tensor:
        """One step; `progress` in [0, 1] is the share of the stage's budget that is used. Returns the loss L."""

    def gradient(self) -> Tensor:
        """Leaves ∇L in the parameters and returns L."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.objective.backward()
        return torch.stack([self.objective.weights[n] * v for n, v in losses.items()]).sum()

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
        schedule: "constant", "cosine" (to 1 % of the rate) or "exponential" (to 1 %).
        clip: Largest gradient norm, or None.
        batch: Points per step and condition, or None for all.
        generator: For the batches.
    """

    def __init__(self, objective, name, options, schedule: str, clip: float | None, batch: int | None,
                 generator: Generator):
        super().__init__(objective, name, options)
        self.schedule, self.clip, self.batch, self.generator = schedule, clip, batch, generator
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
        everything = self.objective.points, self.objective.data
        try:
            if self.batch is not None:
                self._take_batch(self.batch)
            loss = self.gradient()
            norm = None if self.clip is None else \
                torch.nn.utils.clip_grad_norm_(self.objective.trainable, self.clip)
            if self.objective.device.type == "cpu":          # elsewhere this would wait for the device at every step
                self.demand_finite(loss, norm)
        finally:
            self.objective.points, self.objective.data = everything
        self.optimizer.step()
        return loss

    def _take_batch(self, batch: int) -> None:
        points, data = dict(self.objective.points), dict(self.objective.data)
        for block in self.objective.blocks:
            have = points[block.name]
            if block.combine != "integral" and len(have) > batch:
                index = torch.randint(len(have), (batch,), generator=self.generator, device=self.generator.device)
                points[block.name] = have[index]
                data[block.name] = {k: v[index] for k, v in data.get(block.name, {}).items()}
        self.objective.points, self.objective.data = points, data

    def extras(self):
        rate = self.optimizer.param_groups[0].get("lr")
        return {} if rate is None else {"learning_rate": float(rate)}


class QuasiNewton(Driver):
    """L-BFGS on fixed points between redraws; one step is up to 20 of its iterations."""

    optimizer: LBFGS

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
            return ("L-BFGS moves nothing even along steepest descent: the loss is at the limit of the precision of "
                    f"{str(self.objective.dtype).removeprefix('torch.')}")
        return ""


class LeastSquares(Driver):
    """Gauss–Newton on the residual vector."""

    optimizer: GaussNewton

    def step(self, progress):
        objective = self.objective
        return torch.tensor(self.optimizer.step(objective.linearize, objective.residual),
                            dtype=objective.dtype)

    def trouble(self):
        if self.optimizer.refused >= 3:
            return "gauss-newton found no step that lowers the loss: it is at the limit of the precision"
        return ""

    def extras(self):
        return {"damping": self.optimizer.damping}


def build_driver(objective: Objective, name: str, options: Mapping[str, object], schedule: str, clip: float | None,
                 batch: int | None, generator: Generator) -> Driver:
    """The driver that fits an optimizer."""
    if name == "gauss-newton":
        return LeastSquares(objective, name, options)
    if name == "lbfgs":
        return QuasiNewton(objective, name, options)
    return FirstOrder(objective, name, options, schedule, clip, batch, generator)
