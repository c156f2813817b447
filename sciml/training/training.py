"""Training: a generator that turns a problem and a recipe into better and better fields.

`Training` holds everything that changes (field, unknown parameters, optimizer, points, generators, counters) and saves
and restores all of it; `run` yields a `Report` now and then, and `solve` exhausts it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..balance import build_balance
from ..errors import NonFiniteError, ProblemError, TrainingError
from ..flat import flat
from ..metrics import errors
from ..objective import Recipe, build_objective, place_points, point_count
from ..objective.auto import resolve_optimizer
from ..objective.diagnose import culprit
from ..objective.diagnostics import diagnose
from ..objective.families import ROWS, default_balance, default_points
from ..objective.recipe import StagePlan, sampler_options
from ..optim import is_second_order
from ..points import Points
from ..precondition import build_preconditioner
from ..problem import Problem
from ..refine import build_refiner
from ..refine.places import follow
from ..sampling import SAMPLERS, Sampler, Scene
from ..sampling.static import Redrawn
from ..solution.report import Report
from ..solution.truth import Truth, resolve
from .build import build_driver
from .doubts import SOLVED, few_rows
from .drivers import Driver

log = logging.getLogger(__name__)


class Training:
    """A run in progress.

    Args:
        problem: What is solved.
        recipe: How.
        network: A module of the user's (N, D) → (N, C) instead of the recipe's model.
        truth: The reference, if it is at hand.

    Raises:
        ProblemError: Anything in the recipe or the reference that does not make sense.
    """

    def __init__(self, problem: Problem, recipe: Recipe, network: nn.Module | None = None,
                 truth: Truth | None = None):
        self.problem, self.recipe = problem, recipe
        if problem.rough:
            raise ProblemError(f"the equations ask for a derivative of the input {problem.rough[0]!r}, which jumps; "
                               "learn the operator on a grid (model=fno), where fluxes are differenced, or write the "
                               "equation as Weak on a mesh")
        self.truth = resolve(problem) if truth is None else truth
        self.objective, self.ansatz = build_objective(problem, recipe, network)
        points = default_points(self.objective.field) if recipe.points is None else recipe.points
        balance = default_balance(recipe.model, recipe.balance, len(self.objective.blocks),
                                  bool(problem.trainable))
        recipe = self.recipe = replace(recipe, points=points, balance=balance)
        self.generator = torch.Generator(device=recipe.device).manual_seed(recipe.seed + 1)
        self.preconditioner = build_preconditioner(recipe.precondition, recipe.options)
        placed = self.preconditioner.start(self.objective, self.ansatz, points)
        drawn = tuple(b for b in self.objective.blocks if not isinstance(b.region, Points) and b.name not in placed)
        self.scene = Scene(self.objective, drawn, {b.name: point_count(problem, recipe, b) for b in drawn},
                           self.generator, recipe.steps)
        self.sampler: Sampler = SAMPLERS[recipe.sampler](**sampler_options(recipe))
        if not drawn and recipe.sampler not in (Recipe.sampler, problem.defaults.get("sampler")):
            log.warning("sampler=%s does nothing: %s; leave it out", recipe.sampler,
                        f"precondition={recipe.precondition} keeps all points on its grid" if placed else
                        "the points of all conditions are given")
        self.sampler.check(self.scene)
        self.sampler.begin(self.scene)
        self._follow()
        self.preconditioner.update(self.objective, 0)
        self.refiner = build_refiner(recipe.refine, recipe.options)
        self.refiner.check(self.objective.field)
        self.refiner.begin(self.scene, self.objective.field)
        recipe = self.recipe = resolve_optimizer(recipe, self.objective)
        self.stages = recipe.stages()
        self.balance = build_balance(recipe.balance, recipe.options, recipe.seed)
        self.balance.check(self.objective)
        self._check_redraws()
        if doubt := few_rows(self.objective, [plan.optimizer for plan in self.stages]):
            log.warning("%s", doubt)
        self.stage, self.step, self.stage_step = 0, 0, 0
        for plan in self.stages[1:]:                     # a later stage's mistakes must show now, not then
            self._driver_of(plan)
        self.driver = self._driver()
        self.seconds, self.stage_start = 0.0, 0.0
        self._trail: deque[torch.Tensor] = deque(maxlen=3)
        self._diagnosed = -float("inf")
        self.stopped = ""

    def _check_redraws(self) -> None:
        """Warns about weights that nothing will ever move from those of the untrained field."""
        if any(isinstance(m, SOLVED) for m in self.objective.modules()):
            return                                               # linear in its parameters: its weights do not move
        still = [name for name, part in self.balance.parts.items() if part.second_order == "redraw"]
        if still and all(is_second_order(plan.optimizer) for plan in self.stages) and \
                not (self.sampler.every and self.scene.blocks):
            log.warning("balance=%s moves in first-order stages and where points are redrawn, and optimizer=%s on "
                        "sampler=%s has neither, so that its weights stay those of the untrained field; set "
                        "sampler.every, or begin with adam:1000", "+".join(still), self.recipe.optimizer,
                        self.recipe.sampler)

    @property
    def _followed(self) -> bool:
        """Whether points about rings of Gaussians are added to those of a sampler that does not choose them itself."""
        return self.recipe.model == "gaussian" and bool(self.recipe.field_options().rings) and \
            isinstance(self.sampler, Redrawn)

    def _follow(self) -> None:
        if self._followed:
            follow(self.scene, self.objective.field, ROWS)

    def _driver(self) -> Driver:
        return self._driver_of(self.stages[self.stage])

    def _driver_of(self, plan: StagePlan) -> Driver:
        return build_driver(self.objective, plan.optimizer, self.recipe, self.balance, self.generator)

    def _progress(self) -> float:
        """Share of the current stage's budget that is used."""
        steps = self.stages[self.stage].steps
        if steps:
            return min(self.stage_step / steps, 1.0)     # of steps alone: a resumed run follows the same schedule
        if self.recipe.time is None:
            return 0.0
        left = max(self.recipe.time - self.stage_start, 1e-9)
        return min((self.seconds - self.stage_start) / left, 1.0)

    def _budget(self) -> float:
        """Share of the whole budget that is used; of steps alone if it is one of steps, so that a resume repeats it."""
        steps = [plan.steps for plan in self.stages]
        total = self.recipe.steps or (sum(s for s in steps if s) if all(steps) else None)
        if total:
            return min(self.step / total, 1.0)
        return min(self.seconds / self.recipe.time, 1.0) if self.recipe.time else 0.0

    def _redraw(self) -> None:
        began = self.stage_step == 0
        self.objective.recording = self.sampler.reads and self.driver.first_order
        redrawn = not self.driver.holds() and self._resample()
        if self.preconditioner.update(self.objective, self.step) or began or redrawn:
            self.driver.redrawn()
        self.balance.update(self.objective, self.step, self.driver.first_order, redrawn, began)

    def _resample(self) -> bool:
        """Lets the sampler act, on the points that are its own; whether it redrew them."""
        if not self._followed:
            return self.sampler.update(self.scene, self.step, self._budget())
        kept = dict(self.objective.points)
        for block in self.scene.blocks:
            self.objective.points[block.name] = kept[block.name][:self.scene.counts[block.name]]
        redrawn = self.sampler.update(self.scene, self.step, self._budget())
        if redrawn:
            self._follow()
        else:
            self.objective.points.update(kept)
        return redrawn

    def finished(self) -> bool:
        """Whether the budget is used up; moves on to the next stage, and after the last to a finer field."""
        if self.recipe.time is not None and self.seconds >= self.recipe.time:
            return True
        if self.recipe.steps is not None and self.step >= self.recipe.steps:
            return True
        while self.driver.done() or ((steps := self.stages[self.stage].steps) is not None and
                                     self.stage_step >= steps):
            last = self.stage + 1 == len(self.stages)
            if last and not self.refiner.update(self.scene, self.objective.field):
                return True
            self.stage, self.stage_step, self.stage_start = 0 if last else self.stage + 1, 0, self.seconds
            self.driver = self._driver()
        return False

    def run(self, stop: Callable[[], str] | None = None) -> Iterator[Report]:
        """Trains until the budget is used up; yields a report at the start, every `report` seconds and at the end.

        Args:
            stop: Asked after each step; a text that is not empty ends the run, and is its reason.

        Raises:
            TrainingError: A loss or gradient is not finite; the sentence names condition, step and worst point.
        """
        yield self._finite_report()
        shown = clock = time.perf_counter()
        unseen = 0
        while not self.finished() and not self._asked_to_stop(stop):
            self._redraw()
            loss = self._advance()
            unseen += 1
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            due = now - shown >= self.recipe.report
            if unseen >= 100:                              # reading the loss waits for the device
                self._check(float(loss))
                unseen = 0
            trouble = self.driver.trouble()
            if trouble:
                self.stopped = f"stopped at step {self.step}: {trouble}"
                break
            if due:
                yield self._finite_report()
                unseen = 0
                shown = clock = time.perf_counter()
        self.stopped = self.stopped or self.driver.unfinished()
        yield self._finite_report()

    def advance(self, steps: int) -> None:
        """Some steps without reports, checks or a look at the budget: for timing."""
        for _ in range(steps):
            self._redraw()
            self._advance()

    def _asked_to_stop(self, stop: Callable[[], str] | None) -> bool:
        reason = stop() if stop is not None else ""
        if reason:
            self.stopped = f"{reason} at step {self.step}"
        return bool(reason)

    def _advance(self) -> torch.Tensor:
        try:
            loss = self.driver.step(self._progress())
        except NonFiniteError as error:
            raise TrainingError(self._sentence(str(error), f"in step {self.step + 1}")) from error
        self.step += 1
        self.stage_step += 1
        if self.recipe.diagnose is not None:
            self._trail.append(flat(self.objective.trainable))
        return loss

    def _diagnose(self) -> dict[str, float]:
        """Diagnostics, if they are asked for and due."""
        every = self.recipe.diagnose
        if every is None or self.seconds - self._diagnosed < every:
            return {}
        self._diagnosed = self.seconds
        return diagnose(self.objective, tuple(self._trail), self.driver.extras().get("damping"))

    def _check(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise TrainingError(self._sentence("loss", f"after step {self.step}"))

    def _sentence(self, what: str, when: str) -> str:
        return (f"the {what} is not finite {when}: {culprit(self.objective)}. Try a smaller learning rate, float64, or "
                "check the equation where its functions are undefined")

    def _finite_report(self) -> Report:
        report = self.report()
        self._check(report.loss)
        return report

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
        loss = self.objective.total(losses)
        found = {}
        if self.truth.values:
            prediction = self.predict()
            found = errors(prediction, self.truth.facing(prediction), self.truth.weights)
        parameters = self.objective.parameters_.values()
        found.update({n: abs(parameters[n] - exact) / (abs(exact) or 1.0)
                      for n, exact in self.truth.parameters.items() if n in parameters})
        return Report(self.step, round(self.seconds, 4), self.stages[self.stage].optimizer, loss, losses, found,
                      parameters, {**self.driver.extras(), **self.sampler.extras(),
                                   **self.balance.extras(self.objective), **self.refiner.extras(self.objective.field),
                                   **self._diagnose()})

    def drawn_points(self) -> dict[str, Points]:
        """Points of the conditions whose points are drawn."""
        return {b.name: self.objective.points[b.name] for b in self.scene.blocks}

    def state_dict(self) -> dict:
        """A copy of everything that changes: an exact resume needs no more."""
        objective = self.objective
        points = {n: {"X": p.X, "weights": p.weights, "normals": p.normals, "data": dict(objective.data.get(n, {}))}
                  for n, p in objective.points.items()}
        return deepcopy({
            "step": self.step, "stage": self.stage, "stage_step": self.stage_step, "seconds": self.seconds,
            "stage_start": self.stage_start, "optimizer": self.stages[self.stage].optimizer,
            "objective": self.objective.state_dict(), "points": points, "driver": self.driver.state_dict(),
            "generator": self.generator.get_state(), "balance": self.balance.state_dict(),
            "preconditioner": self.preconditioner.state_dict(), "refiner": self.refiner.state_dict(),
            "sampler": {**self.sampler.state_dict(), "recorded": self.objective.recorded},
            "weights": {"blocks": self.objective.weights, "points": self.objective.point_weights,
                        "shares": self.objective.shares},
        })

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`, including the stage and its optimizer."""
        self.objective.load_state_dict(state["objective"])
        place_points(self.objective, state["points"])
        self.stage, self.step, self.stage_step = state["stage"], state["step"], state["stage_step"]
        self.seconds, self.stage_start = state["seconds"], state["stage_start"]
        if self.stage >= len(self.stages) or state["optimizer"] != self.stages[self.stage].optimizer:
            raise ProblemError(f"it was in stage {self.stage + 1}, {state['optimizer']}, which the optimizer "
                               f"{self.recipe.optimizer} does not have")
        self.driver = self._driver()
        self.driver.load_state_dict(deepcopy(state["driver"]))      # torch's optimizers keep the tensors they are given
        self.generator.set_state(state["generator"].cpu())
        self.balance.load_state_dict(deepcopy(state["balance"]))
        self.preconditioner.load_state_dict(self.objective, deepcopy(state["preconditioner"]))
        self.refiner.load_state_dict(deepcopy(state.get("refiner", {})))
        self.objective.weights = dict(state["weights"]["blocks"])
        self.objective.point_weights = dict(state["weights"]["points"])
        self.objective.shares = dict(state["weights"]["shares"])
        self.objective.recorded = dict(state["sampler"]["recorded"])
        self.sampler.load_state_dict(self.scene, deepcopy(state["sampler"]))
