"""Training of solution operators: everything that changes, its reports and its state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ProblemError, TrainingError
from ..optim import build_optimizer
from ..problem import Problem
from .augment import find_covariance
from .equations import Equations
from .layout import Layout, make_layout
from .models import OPERATORS, Normaliser, Operator, build_model, first_differences, relative_errors
from .norms import build_norms
from .recipe import DTYPES, OperatorRecipe
from .report import OperatorReport
from .samples import Samples, draw, solve_samples
from .symmetry import find_symmetries

EVALUATED = 50            # functions per pass without gradients
WARM = 0.2                # of the budget, in which the rate of "onecycle" rises
TEST_SEED = 7_919         # the test set's own


class OperatorTraining:
    """A run in progress.

    Args:
        problem: A family.
        recipe: How its operator is learnt.
        heard: Told (done, total) while samples are made.

    Raises:
        ProblemError: Recipe and problem do not go together.
    """

    def __init__(self, problem: Problem, recipe: OperatorRecipe, heard: Callable[[int, int], None] | None = None):
        if not problem.inputs:
            raise ProblemError(f"model={recipe.model} learns a map from functions to functions, and the problem has no "
                               "random inputs; give it inputs=dict(a=GaussianRandomField(…)), or take model=mlp")
        self.problem, self.data = problem, recipe.data_options()
        solvable = hasattr(problem.reference, "solve")
        loss = recipe.loss if recipe.loss != "auto" else "data" if solvable else "residual"
        if loss != "residual" and not solvable:
            raise ProblemError(f"loss={loss} needs solutions, and the problem's reference solves no families; give one "
                               "of sciml.generators as reference=, or train with loss=residual")
        self.recipe = recipe = replace(recipe, loss=loss)
        self.layout = make_layout(problem, self.data, loss != "data")
        self.dtype, self.device = DTYPES[recipe.dtype], torch.device(recipe.device)
        self._make_samples(solvable, heard)
        self.equations = Equations(problem) if loss != "data" or recipe.augment != "none" else None
        few = {n: v[:8] for n, v in self.exact_inputs.items()}
        if self.equations is not None and loss != "data":
            self.equations.check(self.layout, few)
        self.symmetries = find_symmetries(self._equations(), self.layout, few) if recipe.augment == "symmetry" else None
        changes = recipe.augment == "covariance"
        self.covariance = find_covariance(self._equations(), self.layout, few) if changes else None
        self.generator = torch.Generator().manual_seed(recipe.seed + 1)
        self.operator = self._build().to(self.device)
        self.norms = build_norms(self._equations(), self.layout, self._cast(few), recipe.precondition) \
            if loss != "data" else {}
        if loss != "data":
            self.operator.scale.fill_(self._find_scale())
        if recipe.compile:
            self.operator.call = torch.compile(self.operator.model)
        self.optimizer = build_optimizer(recipe.optimizer, self.operator.model.parameters(), recipe.optimizer_options())
        self.peak = [group["lr"] for group in self.optimizer.param_groups]
        self.step, self.seconds, self.epoch = 0, 0.0, 0
        self.order = torch.empty(0, dtype=torch.long)
        self.stopped, self.loss = "", math.nan
        self.total = recipe.total_steps(self.data.train)

    # what it is made of ----------------------------------------------------------------------------------------------

    def _make_samples(self, solvable: bool, heard) -> None:
        """Training and test samples in the run's dtype on its device."""
        data, layout, problem = self.data, self.layout, self.problem
        count = data.train + data.test
        said = None if heard is None else lambda done: heard(done, count)
        self.solved_seconds = 0.0
        if self.recipe.loss == "residual":
            self.exact_inputs: Mapping[str, Tensor] = draw(problem, layout, data.train, data.seed)
            self.train = Samples(self._cast(self.exact_inputs))
        else:
            found = solve_samples(problem, layout, data.train, data.seed, heard=said)
            self.solved_seconds += found.seconds
            self.exact_inputs = found.inputs
            self.train = found.to(torch.empty(0, dtype=self.dtype, device=self.device))
        self.test: Samples | None = None
        if solvable:
            first = data.train
            tested = solve_samples(problem, layout, data.test, data.seed + TEST_SEED,
                                   heard=None if said is None else lambda done: said(first + done))
            self.solved_seconds += tested.seconds
            self.test = tested.to(torch.empty(0, dtype=self.dtype, device=self.device))

    def _cast(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: v.to(self.device, self.dtype) for n, v in inputs.items()}

    def _equations(self) -> Equations:
        assert self.equations is not None
        return self.equations

    def _build(self) -> Operator:
        recipe, layout = self.recipe, self.layout
        model = build_model(recipe.model, layout, recipe.options.get("model", {}), recipe.seed, self.dtype)
        periodic = tuple(a.periodic for a in layout.axes)
        channels = self.channels(self.train)
        encoder = Normaliser(channels, False, periodic)
        decoder = None
        if recipe.loss == "data":
            assert self.train.outputs is not None
            targets = self.targets(self.train)
            if self.symmetries is not None:                # the table must be symmetric too
                targets = torch.cat([targets, *(self.symmetries.random(torch.Generator().manual_seed(k))(
                    targets, layout.names) for k in range(16))])
            decoder = Normaliser(targets, not all(periodic), periodic)
        return Operator(model, OPERATORS[recipe.model].grid, encoder, decoder)

    def channels(self, samples: Samples) -> Tensor:
        """What goes in, (B, n_1, …, n_d, F)."""
        H, C = self.layout.history, len(self.layout.unknowns)
        if H:
            assert samples.outputs is not None
            return samples.outputs[..., :H * C]
        return self.layout.channels(samples.inputs)

    def targets(self, samples: Samples) -> Tensor:
        """What should come out, (B, n_1, …, n_d, C K)."""
        assert samples.outputs is not None
        return samples.outputs[..., self.layout.history * len(self.layout.unknowns):]

    def _find_scale(self) -> float:
        """s: the size of G, or the constant output with the least residual among powers of ten."""
        inputs = {n: v[:16] for n, v in self.train.inputs.items()}
        equations, layout = self._equations(), self.layout
        G = equations.lift(layout, inputs)
        size = float(G.std())
        if size > 1e-12:
            return size
        B = equations.bubble(layout, inputs)
        losses = {s: min(float(self._residual_loss(G + sign * s * B, inputs)) for sign in (1, -1))
                  for s in (10.0**k for k in range(-6, 4))}
        return min(losses, key=lambda s: losses[s])

    # the loss --------------------------------------------------------------------------------------------------------

    def predict(self, channels: Tensor, inputs: Mapping[str, Tensor], layout: Layout | None = None) -> Tensor:
        """û on a grid, (B, n_1, …, n_d, C K)."""
        layout = layout or self.layout
        out = self.operator(channels, layout.coordinates(channels))
        if self.operator.decoder is not None:
            return out
        equations = self._equations()
        return equations.lift(layout, inputs) + equations.bubble(layout, inputs) * out

    def _residual_loss(self, u: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Mean over the batch of |r|/|r₀|, summed over the equations."""
        equations, layout = self._equations(), self.layout
        found = equations.residuals(layout, u, inputs)
        with torch.no_grad():
            start = equations.residuals(layout, equations.lift(layout, inputs).expand_as(u), inputs)
        total = u.new_zeros(())
        for r, r0 in zip(found, start, strict=True):
            norm = self.norms[r.name]
            size = norm(r0.values)
            total = total + (norm(r.values) / size.clamp(min=1e-12 * float(size.max()) or 1e-30)).sqrt().mean()
        return total

    def _data_loss(self, u: Tensor, target: Tensor) -> Tensor:
        C = len(self.layout.unknowns)
        loss = relative_errors(u, target, C).mean()
        if self.recipe.h1:
            periodic = tuple(a.periodic for a in self.layout.axes)
            e, t = (first_differences(x, periodic) for x in (u - target, target))
            loss = loss + self.recipe.h1 * (torch.linalg.vector_norm(e, dim=1) /
                                            torch.linalg.vector_norm(t, dim=1)).mean()
        return loss

    def _batch(self) -> Samples:
        if len(self.order) == 0:
            if self.data.fresh and self.recipe.loss == "residual" and self.epoch:
                exact = draw(self.problem, self.layout, self.data.train, self.data.seed, self.epoch * self.data.train)
                self.train = Samples(self._cast(exact))
            self.order = torch.randperm(len(self.train), generator=self.generator)
            self.epoch += 1
        index, self.order = self.order[:self.recipe.batch], self.order[self.recipe.batch:]
        batch = self.train.part(index.to(self.device))
        if self.symmetries is not None:
            one, names = self.symmetries.random(self.generator), self.layout.names
            batch = Samples({n: one(v, self.layout.over[n]) for n, v in batch.inputs.items()},
                            None if batch.outputs is None else one(batch.outputs, names))
        if self.covariance is not None:
            batch = self.covariance.random(batch, self.generator)
        return batch

    def _loss(self, batch: Samples) -> Tensor:
        u = self.predict(self.channels(batch), batch.inputs)
        loss = u.new_zeros(())
        if self.recipe.loss != "residual":
            loss = loss + self._data_loss(u, self.targets(batch))
        if self.recipe.loss != "data":
            loss = loss + self._residual_loss(u, batch.inputs)
        return loss

    # the run ---------------------------------------------------------------------------------------------------------

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
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            loss = self._loss(self._batch())
        loss.backward()
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.operator.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def run(self, stop: Callable[[], str] | None = None) -> Iterator[OperatorReport]:
        """Trains until the budget is used up; yields a report at the start, every `report` seconds and at the end.

        Args:
            stop: Asked after each step; a text that is not empty ends the run, and is its reason.

        Raises:
            TrainingError: The loss is not finite.
        """
        if self.step == 0:
            with torch.no_grad():
                self.loss = float(self._loss(self.train.part(slice(0, self.recipe.batch))))
        yield self.report()
        shown = clock = time.perf_counter()
        recent: list[Tensor] = []
        each = -(-self.data.train // self.recipe.batch)
        while not self.finished():
            reason = stop() if stop is not None else ""
            if reason:
                self.stopped = f"{reason} at step {self.step}"
                break
            recent = [*recent, self.advance()][-each:]
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            if now - shown >= self.recipe.report:
                self._hear(recent)
                yield self.report()
                shown = clock = time.perf_counter()
        if recent:
            self._hear(recent)
        yield self.report()

    def _hear(self, recent: list[Tensor]) -> None:
        self.loss = float(torch.stack(recent).mean())
        if not math.isfinite(self.loss):
            raise TrainingError(f"the loss is not finite after step {self.step}; take a smaller learning rate "
                                f"({self.recipe.optimizer}.lr) or clip=1")

    @torch.no_grad()
    def evaluate(self, samples: Samples, layout: Layout | None = None) -> Tensor:
        """Predictions on samples, (B, n_1, …, n_d, C K)."""
        channels = self.channels(samples) if layout is None or self.layout.history else layout.channels(samples.inputs)
        parts = []
        for i in range(0, len(samples), EVALUATED):
            few = {n: v[i:i + EVALUATED] for n, v in samples.inputs.items()}
            parts.append(self.predict(channels[i:i + EVALUATED], few, layout))
        return torch.cat(parts)

    def test_errors(self) -> Tensor | None:
        """Relative errors of the test samples by unknown, (B, C)."""
        if self.test is None:
            return None
        return relative_errors(self.evaluate(self.test), self.targets(self.test), len(self.layout.unknowns))

    def report(self) -> OperatorReport:
        """Where the run stands now; the errors are those of at most 100 test samples until the end."""
        found = {}
        if self.test is not None:
            some = self.test if self.finished() or len(self.test) <= 100 else self.test.part(slice(0, 100))
            each = relative_errors(self.evaluate(some), self.targets(some), len(self.layout.unknowns)).mean(0)
            found = {u: float(e) for u, e in zip(self.layout.unknowns, each, strict=True)}
        return OperatorReport(self.step, round(self.seconds, 4), self.recipe.optimizer, self.loss,
                              {self.recipe.loss: self.loss}, found, {}, {"epoch": float(self.epoch)})

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
        self.order, self.loss = state["order"], state["loss"]
        if self.data.fresh and self.recipe.loss == "residual" and self.epoch > 1:
            first = (self.epoch - 1) * self.data.train
            self.train = Samples(self._cast(draw(self.problem, self.layout, self.data.train, self.data.seed, first)))
