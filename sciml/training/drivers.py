"""Drivers: how each kind of optimizer takes one step on an objective.

| driver | takes | points within a step |
|---|---|---|
| `FirstOrder` | gradients, chunk by chunk or by loss, with a learning-rate schedule | a random batch, or all |
| `MultiLoss` | gradients of several losses (MultiAdam, M-ConFIG), with the same schedule | a random batch, or all |
| `QuasiNewton` | a deterministic loss closure (L-BFGS, BFGS, SSBroyden) | fixed |
| `NewtonCG` | a loss that is twice differentiable (Nyström–Newton–CG) | fixed |
| `LeastSquares` | residual vector and Jacobian, as a matrix or by factors (Gauss–Newton, natural gradients) | fixed |
| `Projected` | the same for a body and a linear head (variable projection) | fixed |
| `Direct` in `tensors.py` | an equation by coordinates (Kronecker) | a grid of its own |
| `Spectra` in `tensors.py` | the likelihood of a kernel (evidence) | lines of its own |
| `Evolution` in `tensors.py` | an initial value problem (the method of lines) | a grid of its own |

`build_driver` in `build.py` makes the one that an optimizer needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import cos, pi
from typing import Any

import torch
from torch import Generator, Tensor

from ..balance import Balance, Projection, Surgery
from ..errors import NonFiniteError
from ..fields import head_of
from ..flat import flat, split
from ..objective import Objective, Recipe
from ..optim import build_optimizer
from .losses import Conflicts, Losses


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

    def done(self) -> bool:
        """Whether the minimum is found, so that another step would change nothing."""
        return False

    def holds(self) -> bool:
        """Whether points must stay where they are before the next step."""
        return False

    def unfinished(self) -> str:
        """What is still at its start when the budget is used up, or an empty string."""
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
            norm of the gradient, or of the direction that surgery makes of several, or None) and `batch` (points per
            step and condition, or None for all).
        balance: Its surgery makes the direction of several gradients, its projection moves the optimizer's update, and
            its weights of points draw the batches.
        generator: For the batches.
    """

    first_order = True

    def __init__(self, objective, name, options, recipe: Recipe, balance: Balance, generator: Generator):
        super().__init__(objective, name, options)
        self.schedule, self.clip, self.batch = recipe.schedule, recipe.clip, recipe.batch
        self.balance, self.generator = balance, generator
        self.losses = Losses(objective, self.takers())
        self.conflicts = Conflicts()
        self.by_loss: Tensor | None = None                   # gradients of this step by loss, if they were computed
        if balance.surgery is not None:
            balance.surgery.check_losses([", ".join(names) for names in self.losses.names(balance.surgery.groups)])
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
        everything = objective.points, objective.data, objective.point_weights, objective.shares
        try:
            if self.batch is not None:
                self._take_batch(self.batch)
            return self.advance()
        finally:
            objective.points, objective.data, objective.point_weights, objective.shares = everything

    def advance(self) -> Tensor:
        """Gradient, clipping, the optimizer, and the projection of what it did; returns the loss."""
        self.losses.tell()
        loss = self.gradient()
        norm = None if self.clip is None else \
            torch.nn.utils.clip_grad_norm_(self.objective.trainable, self.clip)
        if self.on_host:                                     # elsewhere this would wait for the device at every step
            self.demand_finite(loss, norm)
        if not self._stationary():
            self._moved(self.optimizer.step)
        return loss

    @property
    def on_host(self) -> bool:
        """Whether reading a number is free."""
        return self.objective.device.type == "cpu"

    def takers(self) -> dict[str, str]:
        """Who takes gradients by loss, with its division of the conditions into losses."""
        return {f"balance={name}": part.groups for name, part in self.balance.parts.items()
                if isinstance(part, (Surgery, Projection))}

    def gradient(self):
        surgery = self.balance.surgery
        if not self.losses.takers:
            return super().gradient()
        self.optimizer.zero_grad(set_to_none=True)
        losses, G, _ = self.objective.gradients(self.losses.finest())
        if self._reads(len(G)):
            self.demand_finite(losses.sum(), G.norm())
        self.by_loss = G
        direction = G.sum(0) if surgery is None else \
            surgery.aggregate(self.losses.merged(G, surgery.groups), self.generator)
        for p, part in zip(self.objective.trainable, split(direction, self.objective.trainable), strict=True):
            p.grad = part.clone()
        return losses.sum()

    def _reads(self, count: int) -> bool:
        """Whether numbers may be read in this step: on a CPU, or where surgery reads them anyway."""
        surgery = self.balance.surgery
        return self.on_host or (surgery is not None and surgery.waits and count > 2)

    def _stationary(self) -> bool:
        """Whether surgery found that no direction lowers all losses; an optimizer's momentum would move even so."""
        if self.balance.surgery is None or self.by_loss is None or not self._reads(len(self.by_loss)):
            return False
        return not any(bool(p.grad.any()) for p in self.objective.trainable if p.grad is not None)

    def _moved(self, step: Callable[[], Any]) -> Any:
        """What `step` returns, after the projection of the update that it makes."""
        if not self.losses.takers:
            return step()
        before = flat(self.objective.trainable)
        result = step()
        G, projection = self.by_loss, self.balance.projection
        if G is not None:
            proposed = applied = before - flat(self.objective.trainable)
            if projection is not None:
                G = self.losses.merged(G, projection.groups)
                applied = projection.apply(self.optimizer, self.objective.trainable, before, G)
            self.conflicts.record(proposed, applied, G)
        return result

    def _take_batch(self, batch: int) -> None:
        objective = self.objective
        points, data = dict(objective.points), dict(objective.data)
        weights, shares = dict(objective.point_weights), dict(objective.shares)
        for block in objective.blocks:
            have, name = points[block.name], block.name
            if block.whole or len(have) <= batch:
                continue
            index = self._draw(len(have), batch, name)
            points[name] = have[index]
            data[name] = {k: v[index] for k, v in data.get(name, {}).items()}
            for of_points in (weights, shares):
                if name in of_points:
                    of_points[name] = of_points[name][index]
        objective.points, objective.data, objective.point_weights, objective.shares = points, data, weights, shares

    def _draw(self, N: int, batch: int, name: str) -> Tensor:
        """Positions of a batch: uniform with replacement, or by the density of the balance's weights of points."""
        density = None if self.balance.points is None else self.balance.points.density(name)
        if density is None:
            return torch.randint(N, (batch,), generator=self.generator, device=self.generator.device)
        return torch.multinomial(density, batch, replacement=True, generator=self.generator)

    def extras(self):
        rate, surgery = self.optimizer.param_groups[0].get("lr"), self.balance.surgery
        found = {} if rate is None else {"learning_rate": float(rate)}
        if surgery is not None and surgery.fallbacks is not None:
            found["surgery_fallbacks"] = float(surgery.fallbacks)
        return {**found, **self.conflicts.extras()}

    def state_dict(self):
        return {**super().state_dict(), "conflicts": self.conflicts.state_dict()}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.conflicts.load_state_dict(state["conflicts"], self.objective.device)


class MultiLoss(FirstOrder):
    """Optimizers that take the gradients of several losses themselves, at the rates and on the batches of `FirstOrder`.

    Each loss's gradient is clipped by itself. A projection takes the gradients that the optimizer asked for.
    """

    optimizer: Any

    def takers(self):
        return {self.name: self.optimizer.groups, **super().takers()}

    def advance(self):
        self.losses.tell()
        found: dict[tuple[str, ...], Tensor] = {}
        names, finest = self.losses.names(self.optimizer.groups), self.losses.finest()

        def gradient(i: int) -> tuple[Tensor, Tensor]:
            """The i-th loss and its gradient, clipped."""
            parts = [part for part in finest if set(part) <= set(names[i])]
            losses, G, _ = self.objective.gradients(parts)
            found.update(zip(map(tuple, parts), G, strict=True))
            loss, g = losses.sum(), G.sum(0)
            norm = g.norm()
            if self.on_host:
                self.demand_finite(loss, norm)
            return loss, g if self.clip is None else g * (self.clip / (norm + 1e-6)).clamp(max=1)

        def step() -> Tensor:
            loss = self.optimizer.step(gradient, len(names))
            complete = len(found) == len(finest)
            self.by_loss = torch.stack([found[tuple(part)] for part in finest]) if complete else None
            return loss

        return self._moved(step)


class QuasiNewton(Driver):
    """Quasi-Newton methods on fixed points between redraws; one step is up to `max_iter` iterations."""

    optimizer: Any

    def step(self, progress):
        first = not self.optimizer.evaluated

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
        linearize: Callable = objective.factored if self.optimizer.needs == "factored" else objective.linearize
        if getattr(self.optimizer, "sparse", False) and objective.linearizer.sees_few():
            linearize = objective.linearizer.sparse
        return torch.tensor(self.optimizer.step(linearize, objective.residual), dtype=objective.dtype)

    def done(self):
        return getattr(self.optimizer, "converged", False)

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


class NewtonCG(LeastSquares):
    """Newton's method on Hessian products, which refuses steps as least-squares methods do.

    Args:
        generator: For the sketches of the Hessian.
    """

    def __init__(self, objective, name, options, generator: Generator):
        super().__init__(objective, name, options)
        self.generator = generator

    def step(self, progress):
        return torch.tensor(self.optimizer.step(self.objective.loss, self.generator), dtype=self.objective.dtype)

    def redrawn(self):
        self.optimizer.forget()
