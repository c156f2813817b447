"""Drivers for tensor products: the direct solution of an equation, kernels learnt before it, the method of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import ProblemError
from ..fields import MixtureAxis
from ..objective import Objective
from ..objective.lines import Lines
from ..objective.tensor import residual_on, separated, tensor_of
from ..optim.evidence import negative_log_evidence
from .drivers import Driver

LINES = 64                 # of the right side along a coordinate, at most


class Direct(Driver):
    """Direct solution of an equation that separates by coordinates; the recipe's points are for its loss alone."""

    optimizer: Any

    def __init__(self, objective, name, options):
        separated(objective, evaluate=False)                 # what it refuses must show before the run
        super().__init__(objective, name, options)

    def step(self, progress):
        self.optimizer.step(lambda: separated(self.objective))
        with torch.no_grad():
            return self.objective.loss()

    def extras(self):
        return self.optimizer.extras()


class Spectra(Driver):
    """Learns log w, f and log ρ of every coordinate of `model=gp` by the marginal likelihood of the right side.

    Raises:
        ProblemError: The field has no kernels, or the equation does not separate.
    """

    optimizer: Any

    def __init__(self, objective: Objective, name: str, options: Mapping[str, object]):
        field = tensor_of(objective)
        self.axes = [axis for axis in field.axes if isinstance(axis, MixtureAxis)]
        if len(self.axes) < len(field.axes):
            raise ProblemError("optimizer=evidence learns the kernels of model=gp, and this field has none; take "
                               "model=gp, or kronecker alone")
        self.leaves = [[axis.log_weights.clone().requires_grad_(),
                        (axis.frequencies * (axis.high - axis.low)).requires_grad_(),
                        axis.log_rates.clone().requires_grad_()] for axis in self.axes]
        self.equation = separated(objective, evaluate=False)
        self._draws: list[tuple[Mapping[int, float], float, Tensor]] = []
        self._latest = float("nan")
        super().__init__(objective, name, options)

    def parameters(self):
        return [leaf for leaves in self.leaves for leaf in leaves]

    def draws(self) -> list[tuple[Mapping[int, float], float, Tensor]]:
        """Symbol, spacing and lines of the right side (N, M) along every coordinate."""
        if self._draws:
            return self._draws
        count = self.optimizer.points
        ticks = [torch.linspace(axis.low, axis.high, count, dtype=torch.float64) for axis in self.axes]
        for d, (axis, symbol) in enumerate(zip(self.axes, self.equation.symbols, strict=True)):
            others = [t[torch.linspace(0, count - 1, 2 + LINES // len(ticks)).round().long()] for t in ticks]
            Y = residual_on(self.objective, [*others[:d], ticks[d], *others[d + 1:]]).movedim(d, 0).reshape(count, -1)
            Y = Y[:, torch.linspace(0, Y.shape[1] - 1, min(LINES, Y.shape[1])).round().long()]
            own = {k: a for k, a in {**symbol, 0: self.equation.constant}.items() if a} or {0: 1.0}
            if not bool(Y.any()):
                raise ProblemError("optimizer=evidence learns from the right side, and this one is zero; take "
                                   "kronecker alone")
            self._draws.append((own, (axis.high - axis.low) / (count - 1), Y / Y.square().mean().sqrt()))
        return self._draws

    def loss(self) -> Tensor:
        """−log p, the mean over coordinates."""
        values = []
        for axis, (w, tones, rate), (symbol, h, Y) in zip(self.axes, self.leaves, self.draws(), strict=True):
            spectrum = w, tones / (axis.high - axis.low), rate
            values.append(negative_log_evidence(axis.profile, spectrum, symbol, h, Y, self.optimizer.noise))
        return torch.stack(values).mean()

    def step(self, progress):
        self._latest = self.optimizer.learn(self.loss)
        for axis, (w, tones, rate) in zip(self.axes, self.leaves, strict=True):
            axis.assign(w.detach(), tones.detach() / (axis.high - axis.low), rate.detach())
        with torch.no_grad():
            return self.objective.loss()

    def extras(self):
        return {"negative_log_evidence": self._latest}


class Evolution(Driver):
    """The method of lines: a step integrates from one knot of the field's time axis to the next.

    The field is what has been integrated, and its lift alone at later times. What a step returns is the mean square of
    what the equation leaves in space at the knot; the recipe's points are for the loss of the reports.
    """

    optimizer: Any

    def __init__(self, objective, name, options):
        self.flow = Lines(objective)
        self.flow.start()                                    # what it refuses must show before the run
        self._checked = False
        self._defect = float("nan")
        super().__init__(objective, name, options)

    def step(self, progress):
        flow, optimizer = self.flow, self.optimizer
        if not self._checked:
            flow.check_spectrum()
            self._checked = True
        if optimizer.at is None:
            flow.write(*optimizer.begin(flow))
        at = optimizer.step(flow)
        flow.write(*at)
        defect = flow.defect(float(flow.knots[at.number]), at.a.numpy())
        self._defect = float(defect)
        return defect

    def done(self):
        at = self.optimizer.at
        return at is not None and at.number == len(self.flow.knots) - 1

    def trouble(self):
        return self.optimizer.failed

    def extras(self):
        at = self.optimizer.at
        if at is None:
            return {}
        found = {"t": float(self.flow.knots[at.number]), "evaluations": float(self.optimizer.evaluations),
                 "space_residual": self._defect**0.5}
        return found if self.flow.growth is None else {**found, "growth": self.flow.growth}
