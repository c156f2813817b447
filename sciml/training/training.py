"""Training: a generator that turns a problem and a recipe into better and better fields.

`Training` holds everything that changes (field, unknown parameters, optimizer, points, generators, counters) and saves and
restores all of it; `run` yields a `Report` now and then, and `solve` exhausts it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import nn

from ..calculus import ENGINES
from ..errors import TrainingError
from ..fields import Constrained, build_network
from ..metrics import errors
from ..objective import Objective, TrainableParameters
from ..points import Points
from ..problem import Problem
from ..problem.hard import Ansatz, build
from ..sampling import SAMPLERS
from ..solution.truth import Truth, resolve
from .drivers import Driver, build_driver
from .recipe import DTYPES, Recipe, optimizer_options, sampler_options


@dataclass(frozen=True)
class Report:
    """Where a run stands.

    Args:
        step: Steps done.
        seconds: Seconds of training.
        stage: Name of the optimizer.
        loss: L.
        losses: Unweighted mean square by condition.
        errors: Relative L2 by unknown, where there is a reference.
        parameters: Unknown parameters.
        extras: Damping, learning rate.
    """

    step: int
    seconds: float
    stage: str
    loss: float
    losses: dict[str, float]
    errors: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, float] = field(default_factory=dict)
    extras: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """A line of metrics.jsonl."""
        plain = asdict(self)
        return {**{k: v for k, v in plain.items() if k != "extras"}, **self.extras}


def build_field(problem: Problem, recipe: Recipe, ansatz: Ansatz) -> nn.Module:
    """The field of a recipe: a network, wrapped in the hard constraints."""
    dtype = DTYPES[recipe.dtype]
    periods = {problem.coordinates.index(c): p for c, p in ansatz.periods.items()}
    breaks = {problem.coordinates.index(c): places for c, places in problem.setting.breaks.items()}
    network = build_network(recipe.model, problem.region.bounds, len(problem.unknowns), recipe.field_options(),
                            torch.Generator().manual_seed(recipe.seed), dtype, periods, breaks)
    if ansatz.trivial:
        return network
    return Constrained(network, problem.setting.frame, [ansatz.lifts[u] for u in problem.unknowns],
                       [ansatz.bubbles[u] for u in problem.unknowns])


class Training:
    """A run in progress.

    Args:
        problem: What is solved.
        recipe: How.
        network: A module of the user's (N, D) → (N, C) instead of the recipe's model.

    Raises:
        ProblemError: Anything in the recipe or the reference that does not make sense.
    """

    def __init__(self, problem: Problem, recipe: Recipe, network: nn.Module | None = None):
        self.problem, self.recipe = problem, recipe
        self.truth: Truth = resolve(problem)
        dtype = DTYPES[recipe.dtype]
        self.ansatz = build(problem, recipe.constraints if network is None else "soft")
        blocks = [b for b in problem.blocks if b.name not in self.ansatz.satisfied]
        if not blocks:
            blocks = list(problem.blocks)
        base = build_field(problem, recipe, self.ansatz) if network is None else network.to(dtype)
        parameters = TrainableParameters(problem.trainable, dtype)
        engine = None if recipe.engine == "auto" else ENGINES[recipe.engine]
        self.objective = Objective(problem, base, parameters, blocks, engine, recipe.chunk).to(recipe.device)
        if recipe.compile:
            self.objective.compile_pass()
        self.generator = torch.Generator(device=recipe.device).manual_seed(recipe.seed + 1)
        self.samplers = {b.name: SAMPLERS[recipe.sampler](**self._sampler_options()) for b in blocks
                         if not isinstance(b.region, Points)}
        self._draw_first(blocks, dtype)
        self.stages = recipe.stages()
        self.stage, self.step, self.stage_step = 0, 0, 0
        self.seconds, self.stage_start = 0.0, 0.0
        self.last_loss = float("nan")
        self.driver: Driver = self._driver()
        self.stopped = ""

    def _sampler_options(self) -> dict:
        import inspect

        from ..errors import ProblemError, unknown_name

        options = sampler_options(self.recipe)
        valid = list(inspect.signature(SAMPLERS[self.recipe.sampler].__init__).parameters)[1:]
        for name in options:
            if name not in valid:
                raise ProblemError(unknown_name(f"option of sampler {self.recipe.sampler}", name, valid))
        return options

    def _draw_first(self, blocks, dtype) -> None:
        objective, recipe = self.objective, self.recipe
        for b in blocks:
            if isinstance(b.region, Points):
                objective.points[b.name] = b.region.to(device=recipe.device, dtype=dtype)
                objective.data[b.name] = {k: v.to(recipe.device, dtype) for k, v in b.data.items()}
                continue
            inside = b.region is self.problem.region
            count = b.count or (recipe.points if inside else recipe.boundary_points or max(recipe.points // 4, 1))
            objective.points[b.name] = self.samplers[b.name].start(b.region, count, self.generator, dtype)

    def _driver(self) -> Driver:
        plan = self.stages[self.stage]
        return build_driver(self.objective, plan.optimizer, optimizer_options(self.recipe, plan.optimizer),
                            self.recipe.schedule, self.recipe.clip, self.recipe.batch, self.generator)

    def _progress(self) -> float:
        """Share of the current stage's budget that is used."""
        shares = [0.0]
        steps = self.stages[self.stage].steps
        if steps:
            shares.append(self.stage_step / steps)
        if self.recipe.time is not None and self.stage == len(self.stages) - 1:
            left = max(self.recipe.time - self.stage_start, 1e-9)
            shares.append((self.seconds - self.stage_start) / left)
        return min(max(shares), 1.0)

    def _redraw(self) -> None:
        changed = False
        for b in self.objective.blocks:
            sampler = self.samplers.get(b.name)
            if sampler is not None and sampler.every and self.step and self.step % sampler.every == 0:
                self.objective.points[b.name] = sampler.redraw(
                    self.objective.points[b.name], b.region, self.generator, self.objective.magnitude(b))
                changed = True
        if changed:
            self.driver.redrawn()

    def finished(self) -> bool:
        """Whether the budget is used up; moves on to the next stage when one is done."""
        if self.recipe.time is not None and self.seconds >= self.recipe.time:
            return True
        while self.stages[self.stage].steps is not None and self.stage_step >= self.stages[self.stage].steps:
            if self.stage + 1 == len(self.stages):
                return True
            self.stage, self.stage_step, self.stage_start = self.stage + 1, 0, self.seconds
            self.driver = self._driver()
        return False

    def run(self) -> Iterator[Report]:
        """Trains until the budget is used up; yields a report at the start, every `report` seconds and at the end.

        Raises:
            TrainingError: The loss is not finite; the sentence names condition, step and worst point.
        """
        yield self.report()
        shown = clock = time.perf_counter()
        unseen = 0
        while not self.finished():
            self._redraw()
            loss = self.driver.step(self._progress())
            self.step += 1
            self.stage_step += 1
            unseen += 1
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            due = now - shown >= self.recipe.report
            if due or unseen % 100 == 0 or self.driver.name in ("gauss-newton", "lbfgs"):
                self._check(loss)
            trouble = self.driver.trouble()
            if trouble:
                self.stopped = f"stopped at step {self.step}: {trouble}"
                break
            if due:
                yield self.report()
                unseen = 0
                shown = clock = time.perf_counter()
        self._check(self.objective.residual().square().sum())
        yield self.report()

    def _check(self, loss) -> None:
        self.last_loss = float(loss)
        if not np.isfinite(self.last_loss):
            raise TrainingError(f"the loss is not finite at step {self.step}: {self.objective.worst()}. Try a smaller "
                                "learning rate, float64, or check the equation where its functions are undefined")

    @torch.no_grad()
    def predict(self, X: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Values by unknown at points (default: the reference's), shape (N,)."""
        X = self.truth.X if X is None else X
        points = torch.as_tensor(X, dtype=self.objective.dtype, device=self.objective.device)
        parts = [self.objective.field(points[i:i + 65536]) for i in range(0, len(points), 65536)]
        values = torch.cat(parts).cpu().numpy()
        return {u: values[:, c] for c, u in enumerate(self.problem.unknowns)}

    def report(self) -> Report:
        """Where the run stands now."""
        with torch.no_grad():
            losses = {n: float(v) for n, v in self.objective.losses().items()}
        loss = sum(self.objective.weights[n] * v for n, v in losses.items())
        found = {}
        if self.truth.values:
            prediction = self.predict()
            found = errors(prediction, self.truth.facing(prediction))
        parameters = self.objective.parameters_.values()
        found.update({n: abs(parameters[n] - exact) / (abs(exact) or 1.0)
                      for n, exact in self.truth.parameters.items() if n in parameters})
        return Report(self.step, round(self.seconds, 4), self.stages[self.stage].optimizer, loss, losses, found,
                      parameters, self.driver.extras())

    def state_dict(self) -> dict:
        """Everything that changes: an exact resume needs no more."""
        points = {n: {"X": p.X, "weights": p.weights, "normals": p.normals} for n, p in self.objective.points.items()}
        return {
            "step": self.step, "stage": self.stage, "stage_step": self.stage_step, "seconds": self.seconds,
            "stage_start": self.stage_start, "objective": self.objective.state_dict(), "points": points,
            "driver": self.driver.state_dict(), "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`, including the stage and its optimizer."""
        self.objective.load_state_dict(state["objective"])
        for name, p in state["points"].items():
            self.objective.points[name] = Points(p["X"], self.objective.points[name].names, p["weights"], p["normals"])
        self.stage, self.step, self.stage_step = state["stage"], state["step"], state["stage_step"]
        self.seconds, self.stage_start = state["seconds"], state["stage_start"]
        self.stage = min(self.stage, len(self.stages) - 1)
        self.driver = self._driver()
        self.driver.load_state_dict(state["driver"])
        self.generator.set_state(state["generator"].cpu())
