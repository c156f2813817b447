"""Recipes of operator learning: data, model, loss, optimizer and budget, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from ..errors import ProblemError, check_types, look_up, unknown_name
from ..objective.recipe import check_device, put_option
from ..optim import build_optimizer, is_optimizer, needs, optimizer_class, optimizer_name
from .data import DataOptions
from .models import MODELS

LOSSES = ("auto", "data", "residual", "both")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
SCHEDULES = ("onecycle", "cosine", "constant")


@dataclass(frozen=True)
class OperatorRecipe:
    """How a solution operator is learnt.

    Args:
        model: Name of the operator model.
        loss: "data": relative L2 error against the reference solver's solutions; "residual": the equations on the
            grid, no solutions; "both": their sum; "auto": data where there is a reference.
        residual: Where equations are evaluated: "grid"; "trunk": at random points, by derivatives of a DeepONet's
            trunk; "auto": trunk for model=deeponet where inputs are smooth, else grid.
        precondition: Of the residual on a grid: "inverse": in the norm of the inverse of the equation's leading part;
            "none".
        augment: "symmetry": random reflections, rotations and shifts under which the problem is invariant (found by
            test); "covariance": random changes of coordinates; "none".
        optimizer: Of first order.
        schedule: Of its rate; "onecycle" has 20 % of warm-up.
        epochs, steps, time: Budget, whichever ends first; time in seconds of training.
        batch: Functions per step.
        clip: Largest norm of the gradient; None: no clipping.
        h1: Weight of the relative error of first differences in the data loss.
        seed, device, dtype: Of everything random and numeric but the data, which are float64 of `data.seed`.
        report: Seconds between reports.
        compile: Compile the model.
        bfloat16: Products of matrices in bfloat16 (autocast).
        options: By part: model, data, optimizer.
    """

    model: str = "fno"
    loss: str = "auto"
    residual: str = "auto"
    precondition: str = "inverse"
    augment: str = "none"
    optimizer: str = "adamw"
    schedule: str = "onecycle"
    epochs: int | None = None
    steps: int | None = None
    time: float | None = None
    batch: int = 20
    clip: float | None = None
    h1: float = 0.0
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    report: float = 2.0
    compile: bool = False
    bfloat16: bool = False
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self):
        check_types(self)
        look_up("operator model", self.model, MODELS)
        look_up("loss", self.loss, dict.fromkeys(LOSSES))
        look_up("schedule", self.schedule, dict.fromkeys(SCHEDULES))
        look_up("dtype", self.dtype, DTYPES)
        check_device(self.device)
        look_up("augment", self.augment, dict.fromkeys(("none", "symmetry", "covariance")))
        look_up("residual", self.residual, dict.fromkeys(("auto", "grid", "trunk")))
        if self.residual == "trunk" and self.model != "deeponet":
            raise ProblemError(f"residual=trunk is for model=deeponet, whose trunk has derivatives; model={self.model} "
                               "takes residual=grid")
        look_up("precondition", self.precondition, dict.fromkeys(("none", "inverse")))
        for name in ("epochs", "steps", "time", "batch", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ProblemError(f"{name}={value} must be positive")
        if self.h1 < 0:
            raise ProblemError(f"h1={self.h1} is a weight and must not be negative")
        if not 0 <= self.seed < 2**63 - 1:
            raise ProblemError(f"seed={self.seed} must be a number from 0 to 2⁶³ − 2")
        for part in self.options:
            if part not in ("model", "data") and not is_optimizer(part):
                raise ProblemError(unknown_name("part in a dotted option", part, ["model", "data", self.optimizer]))
        self.data_options()
        name = optimizer_name(self.optimizer)
        if needs(name) != "gradient":
            raise ProblemError(f"optimizer={self.optimizer} does not train operators, whose batches change at every "
                               "step; take adamw, soap or another of first order")
        build_optimizer(name, [torch.zeros(2, 2, requires_grad=True)], self.optimizer_options())

    def data_options(self) -> DataOptions:
        """Options of the data."""
        given: dict[str, Any] = dict(self.options.get("data", {}))
        valid = [f.name for f in fields(DataOptions)]
        for name in given:
            if name not in valid:
                raise ProblemError(unknown_name("option of data", name, valid))
        return DataOptions(**given)

    def optimizer_options(self) -> dict[str, object]:
        """Options of the optimizer, its rate at the peak of the schedule among them."""
        found: dict[str, object] = {}
        if "weight_decay" in optimizer_class(self.optimizer).__init__.__code__.co_varnames:
            found["weight_decay"] = 1e-4
        for part, entries in self.options.items():
            if is_optimizer(part) and optimizer_name(part) == optimizer_name(self.optimizer):
                found.update(entries)
        return {"lr": 2e-3, **found}

    def total_steps(self, train: int) -> int | None:
        """Steps of the whole budget; None: seconds alone decide."""
        each = -(-train // self.batch)
        limits = [self.steps] if self.steps is not None else []
        limits += [self.epochs * each] if self.epochs is not None else []
        if limits:
            return min(limits)
        return None if self.time is not None else 100 * each

    def as_dict(self) -> dict:
        """Plain data for config.json."""
        return {**asdict(self), "options": {k: dict(v) for k, v in self.options.items()}}


def make_operator_recipe(defaults: Mapping[str, object], given: Mapping[str, object]) -> OperatorRecipe:
    """The recipe from a problem's defaults and the user's options, later ones winning.

    Raises:
        ProblemError: An unknown key or value, with the nearest valid one.
    """
    plain: dict[str, Any] = {}
    options: dict[str, dict[str, object]] = {}
    given = {k: v for k, v in given.items() if v is not None}
    budget = {"steps", "time", "epochs"}
    names = {f.name for f in fields(OperatorRecipe)} - {"options"}
    for source in (defaults, given):
        if source is given and budget & set(given):
            for name in budget - set(given):
                plain.pop(name, None)
        asked = source.get("model")
        asked = asked.get("name") if isinstance(asked, Mapping) else asked
        if source is given and asked is not None and asked != plain.get("model"):
            options.pop("model", None)                         # a problem's own are for its model
        for key, value in source.items():
            put_option(key, value, plain, options, ("model", "data"), ("optimizer",))
    for key in plain:
        if key not in names:
            raise ProblemError(unknown_name("option of operator learning", key, names))
    return OperatorRecipe(**plain, options=options)
