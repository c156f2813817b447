"""Recipes: every option of `solve`, resolved and checked once.

A recipe is made from built-in defaults, the problem's `defaults`, and what the user gave, in this order. Options of a
part are written `model.width=64`, `rad.every=10`, `gauss-newton.damping=1e-3`, `adam.lr=1e-3`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch

from ..balance import BALANCERS
from ..balance.build import balancer_names
from ..errors import ProblemError, check_types, look_up, text_for_number, unknown_name
from ..fields import MODELS, FieldOptions
from ..optim import (
    OPTIMIZERS,
    build_optimizer,
    is_optimizer,
    is_second_order,
    needs,
    optimizer_class,
    optimizer_name,
)
from ..optim.build import ALIASES
from ..precondition import PRECONDITIONERS
from ..refine import REFINERS
from ..sampling import SAMPLERS
from .combinations import check_balance, check_growth, check_precondition, check_refine, check_stages
from .families import family_defaults

DTYPES = {"float64": torch.float64, "float32": torch.float32}
SCHEDULES = ("constant", "cosine", "exponential")
FIRST_ORDER_STEPS, SECOND_ORDER_STEPS = 20000, 1000


@dataclass(frozen=True)
class StagePlan:
    """One optimizer and how long it runs.

    Args:
        optimizer: Name.
        steps: Number of steps; None: what is left of the budget.
    """

    optimizer: str
    steps: int | None


@dataclass(frozen=True)
class Recipe:
    """How a problem is solved.

    Args:
        model: Name of the architecture.
        optimizer: Stages, e.g. "gauss-newton" or "adam:2000,gauss-newton"; "auto": see `auto.py`.
        sampler: Name of the sampler of regions; fixed points and integrals keep theirs.
        points: Interior points; None: 2000, or three for each function of a field that is solved for.
        boundary_points: Points of each other condition; None: a quarter of `points`.
        balance: "fixed", or names of balancers joined by "+", e.g. "grad-norm", "causal+config".
        precondition: Name of a preconditioner of the loss; "none": the plain residual.
        refine: What a field gets more of between solves: "splat" or "metric" for model=gaussian; "none".
        constraints: "auto", "hard" or "soft"; see `problem/hard.py`.
        steps, time: Budget in steps or seconds, whichever ends first; None: no limit of that kind. Seconds are those
            of training steps, with the redrawing of points and, where asked for, compilation; not of imports, reports,
            checkpoints and figures. The step in which they run out is finished.
        batch: Points per first-order step, drawn from the current points; None: all.
        schedule: Of the learning rate of first-order stages.
        clip: Largest gradient norm of first-order stages, after surgery, and of each loss by itself where the optimizer
            takes several; None: no clipping.
        seed, device, dtype: Of everything random and numeric.
        chunk: Points per pass.
        report: Seconds between reports.
        diagnose: Seconds between diagnostics in the reports (`objective/diagnostics.py`); None: none.
        compile: Compile the field's pass with torch.compile.
        engine: "auto", "taylor" or "nested".
        options: Options by part: model, sampler and optimizer names.
    """

    model: str = "mlp"
    optimizer: str = "auto"
    sampler: str = "rad"
    points: int | None = None
    boundary_points: int | None = None
    balance: str = "fixed"
    precondition: str = "none"
    refine: str = "none"
    constraints: str = "auto"
    steps: int | None = None
    time: float | None = None
    batch: int | None = None
    schedule: str = "cosine"
    clip: float | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float64"
    chunk: int = 1024
    report: float = 1.0
    diagnose: float | None = None
    compile: bool = False
    engine: str = "auto"
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self):
        check_types(self)
        look_up("model", self.model, MODELS)
        look_up("sampler", self.sampler, SAMPLERS)
        look_up("refine", self.refine, REFINERS)
        look_up("dtype", self.dtype, DTYPES)
        look_up("engine", self.engine, dict.fromkeys(("auto", "taylor", "nested")))
        look_up("schedule", self.schedule, dict.fromkeys(SCHEDULES))
        look_up("constraints", self.constraints, dict.fromkeys(("auto", "hard", "soft")))
        for name in ("points", "chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ProblemError(f"{name}={value} must be at least 1")
        for name in ("steps", "time", "batch", "boundary_points", "clip", "diagnose"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ProblemError(f"{name}={value} must be positive")
        if not 0 <= self.seed < 2**63 - 1:
            raise ProblemError(f"seed={self.seed} must be a number from 0 to 2⁶³ − 2")
        if not self.report >= 0:
            raise ProblemError(f"report={self.report} must be a number of seconds")
        _check_parts(self.options)
        sampler_options(self)
        check_balance(self)
        check_precondition(self)
        check_refine(self)
        self.field_options()
        given = {optimizer_name(part) for part in self.options if is_optimizer(part)}
        for name in given.union(plan.optimizer for plan in self.stages()):
            _check_optimizer(name, optimizer_options(self, name))
        check_stages(self)
        check_growth(self)
        check_device(self.device)

    def stages(self) -> tuple[StagePlan, ...]:
        """The optimizers in order with their steps."""
        plans = []
        stages = self.optimizer
        if stages == "auto":
            stages = "adam" if self.first_order_only() else "gauss-newton"
        for part in stages.replace("+", ",").split(","):
            name, _, count = part.strip().partition(":")
            if name.lower() == "auto":
                raise ProblemError(f"optimizer={self.optimizer!r}: auto, in small letters, chooses all stages and "
                                   "stands alone; name the optimizers, or write auto and nothing else")
            if count and not count.isdigit():
                raise ProblemError(f"optimizer {part.strip()!r}: after the colon comes a number of steps, as in "
                                   "adam:2000")
            plans.append(StagePlan(optimizer_name(name), int(count) if count else None))
        for plan in plans[:-1]:
            if plan.steps is None:
                raise ProblemError(
                    f"optimizer={self.optimizer!r}: every stage but the last needs its steps, as in "
                    f"{plan.optimizer}:1000,{plans[-1].optimizer}")
        if plans[-1].steps is None:
            used = sum(p.steps or 0 for p in plans[:-1])
            if self.steps is not None:
                last: int | None = max(self.steps - used, 0)
            elif needs(plans[-1].optimizer) == "operator":
                last = 1                                    # a direct solution
            elif self.time is not None or needs(plans[-1].optimizer) == "evolution":
                last = None                                 # an integration ends by itself
            else:
                last = SECOND_ORDER_STEPS if is_second_order(plans[-1].optimizer) else FIRST_ORDER_STEPS
            plans[-1] = replace(plans[-1], steps=last)
        return tuple(plans)

    @property
    def every(self) -> int:
        """Steps between redraws of points; 0: never."""
        return SAMPLERS[self.sampler](**sampler_options(self)).every

    def first_order_only(self) -> bool:
        """Whether the balance works on gradients, or at every step, so that only first-order methods can use it."""
        return any(BALANCERS[name].second_order in ("refused", "frozen") for name in balancer_names(self.balance))

    def field_options(self) -> FieldOptions:
        """Options of the model."""
        return FieldOptions.from_mapping(self.options.get("model", {}))

    def as_dict(self) -> dict:
        """Plain data for config.json."""
        return {**asdict(self), "options": {k: dict(v) for k, v in self.options.items()}}


def check_device(device: str) -> None:
    """Raises a ProblemError if there is no such device on this machine."""
    try:
        kind = torch.device(device)
    except RuntimeError:
        kind = None
    if kind is None or kind.type not in ("cpu", "cuda"):
        raise ProblemError(f"unknown device {device!r}; use cpu, cuda or cuda:0")
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise ProblemError(f"device={device!r}: this machine has no CUDA device that torch can use; use device=\"cpu\"")
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise ProblemError(f"device={device!r}: this machine has {torch.cuda.device_count()} CUDA devices, counted "
                           "from cuda:0")


def _check_optimizer(name: str, options: Mapping[str, object]) -> None:
    """Builds the optimizer once on a made-up matrix: its options must make sense before a run, not at its stage."""
    build_optimizer(name, [torch.zeros(2, 2, requires_grad=True)], options)


def make_recipe(defaults: Mapping[str, object], given: Mapping[str, object]) -> Recipe:
    """The recipe from a problem's defaults and the user's options, later ones winning.

    Args:
        defaults: The problem's; `model` may be a name or a dict with `name` and options.
        given: The user's; None values are ignored; keys may be dotted.

    Raises:
        ProblemError: An unknown key or value, with the nearest valid one.
    """
    plain: dict[str, Any] = {}
    options: dict[str, dict[str, object]] = {}
    given = {k: v for k, v in given.items() if v is not None}
    for key, value in family_defaults(defaults, given).items():
        put_option(key, value, plain, options)
    if ("steps" in given) != ("time" in given):            # a budget of one kind replaces a default of the other
        plain.pop("time" if "steps" in given else "steps", None)
    refine = given.get("refine")
    refine = refine.get("name") if isinstance(refine, Mapping) else refine
    if refine not in (None, "none") and plain.get("refine", "none") not in ("none", refine):
        # a problem's own options are for its own refiner
        options.pop("refine", None)
    for key, value in given.items():
        put_option(key, value, plain, options)
    valid = {f.name for f in fields(Recipe)}
    names = valid - {"options"}
    for key in plain:
        if key not in names:
            raise ProblemError(unknown_name("option", key, names))
    return Recipe(**plain, options=options)


def put_option(key: str, value, plain: dict, options: dict, parts: Sequence[str] = ("model", "refine"),
               named: Sequence[str] = ("sampler", "optimizer")) -> None:
    """Puts an option in its place.

    Args:
        key: Its name, which may be dotted.
        value: Its value, or a mapping of a part's options with the part's `name`.
        plain, options: What is filled: options by name, and those of parts.
        parts: Parts whose options go by the part.
        named: Parts whose options go by the name of what was chosen for them.
    """
    if key in (*parts, *named) and isinstance(value, Mapping):
        own = dict(value)
        name = own.pop("name", None)
        if name is not None:
            plain[key] = name
        target = key if key in parts else str(plain.get(key, name))
        options.setdefault(target, {}).update(own)
    elif key == "optimizer" and isinstance(value, (list, tuple)):
        plain[key] = ",".join(value)
    elif key == "options" and isinstance(value, Mapping):
        for part, entries in value.items():
            options.setdefault(part, {}).update(entries)
    elif "." in key:
        part, option = key.split(".", 1)
        options.setdefault(part, {})[option] = value
    else:
        plain[key] = value


def _check_parts(options: Mapping[str, Mapping]) -> None:
    """Part and option names of dotted options, whether this recipe uses the part or not."""
    for part, entries in options.items():
        if part in ("model", "sampler", "refine"):
            continue
        if part in SAMPLERS:
            kind, valid = "sampler", _arguments(SAMPLERS[part])
        elif part in BALANCERS:
            kind, valid = "balancer", _arguments(BALANCERS[part])
        elif part in PRECONDITIONERS:
            kind, valid = "preconditioner", _arguments(PRECONDITIONERS[part])
        elif is_optimizer(part):
            kind, valid = "optimizer", _arguments(optimizer_class(part))
        else:
            names = ["model", "sampler", "refine", *SAMPLERS, *OPTIMIZERS, *ALIASES, *BALANCERS, *PRECONDITIONERS]
            raise ProblemError(unknown_name("part in a dotted option", part, names))
        for name in entries:
            if name not in valid:
                raise ProblemError(unknown_name(f"option of {kind} {part}", name, valid))


def _arguments(cls: type) -> list[str]:
    """Names that a constructor takes."""
    return [p for p in inspect.signature(cls).parameters if p not in ("params", "defaults")]


def sampler_options(recipe: Recipe) -> dict[str, Any]:
    """Options of the recipe's sampler, by `sampler.…` or by its name.

    Raises:
        ProblemError: It has no such option, or does not take the value.
    """
    found: dict[str, Any] = {**recipe.options.get("sampler", {}), **recipe.options.get(recipe.sampler, {})}
    cls = SAMPLERS[recipe.sampler]
    for name in found:
        if name not in _arguments(cls):
            raise ProblemError(unknown_name(f"option of sampler {recipe.sampler}", name, _arguments(cls)))
    try:
        cls(**found)
    except (TypeError, ValueError) as error:
        if isinstance(error, ProblemError):
            raise
        if wrong := text_for_number(cls, found):
            raise ProblemError(f"sampler.{wrong}") from error
        given = ", ".join(f"{k}={v!r}" for k, v in found.items())
        raise ProblemError(f"sampler {recipe.sampler} does not take {given}: {error}") from error
    dear = any(is_second_order(plan.optimizer) for plan in recipe.stages())
    still = {"every": 0} if recipe.refine != "none" and "every" in _arguments(cls) else {}   # rows stay
    return {**(cls.dear if dear else cls.cheap), **still, **found}


def optimizer_options(recipe: Recipe, name: str) -> dict[str, object]:
    """Options of one optimizer by its name or an alias, on top of what the refiner wants of it."""
    found: dict[str, object] = dict(REFINERS[recipe.refine].solving.get(name, {}))
    for part, entries in recipe.options.items():
        if ALIASES.get(part, part) == name:
            found.update(entries)
    return found


def recipe_from(config: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that a run's config.json holds.

    Raises:
        ProblemError: Keys are missing or unknown, or a value makes no sense.
    """
    names = {f.name for f in fields(Recipe)}
    unknown = [k for k in config if k not in names]
    options = config.get("options", {})
    if unknown or not isinstance(options, Mapping) or not all(isinstance(v, Mapping) for v in options.values()):
        what = unknown_name("option", unknown[0], names) if unknown else "options is not a table by part"
        raise ProblemError(f"{where} is damaged: {what}")
    try:
        return Recipe(**config)
    except ProblemError as error:
        raise ProblemError(f"{where}: {error}") from error
