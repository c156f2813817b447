"""Optimizers by name: ours, then torch's."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..errors import ProblemError, unknown_name
from .gauss_newton import GaussNewton
from .gauss_newton_cg import GaussNewtonCG
from .lbfgs import LBFGS
from .natural import ENGD, ENGDW, SPRING
from .varpro import VarPro

OWN: dict[str, type[torch.optim.Optimizer]] = {"gauss-newton": GaussNewton, "lbfgs": LBFGS}
OWN |= {"engd": ENGD, "engd-w": ENGDW, "spring": SPRING, "gauss-newton-cg": GaussNewtonCG, "varpro": VarPro}
ALIASES = {"levenberg-marquardt": "gauss-newton", "lm": "gauss-newton", "gn": "gauss-newton", "l-bfgs": "lbfgs"}
_UNFIT = {"Optimizer", "LBFGS", "SparseAdam"}
TORCH: dict[str, type[torch.optim.Optimizer]] = {
    name.lower(): cls for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and name not in _UNFIT
}
OPTIMIZERS = {**TORCH, **OWN}
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "nadam": 1e-3, "radam": 1e-3, "adamax": 2e-3, "sgd": 1e-3,
                  "rmsprop": 1e-3, "muon": 1e-3}


def needs(name: str) -> str:
    """What a step of an optimizer takes, its class attribute `needs`.

    | needs | `step` is called with | methods |
    |---|---|---|
    | "gradient" | nothing; gradients lie in `.grad` | first order (torch's own have no attribute) |
    | "gradients" | a function from the number of a loss to it and its gradient, and how many there are | MultiAdam |
    | "closure" | a loss closure on fixed points | quasi-Newton; has `stuck` and `forget` |
    | "residual" | `linearize` and `residual` | Gauss–Newton; has `refused` and `extras` |
    | "factored" | the same with J by its factors | natural gradients, matrix-free Gauss–Newton |
    | "head" | the same with J for chosen parameters; two groups, the second the head | variable projection |
    """
    return getattr(OPTIMIZERS[optimizer_name(name)], "needs", "gradient")


def is_second_order(name: str) -> bool:
    """Whether a method needs points and weights that stand still within a step and between steps."""
    return needs(name) in ("closure", "residual", "factored", "head")


def optimizer_name(name: str) -> str:
    """Canonical name of an optimizer.

    Raises:
        ProblemError: It does not exist; lists the valid ones and the nearest.
    """
    key = ALIASES.get(name.lower(), name.lower())
    if key not in OPTIMIZERS:
        raise ProblemError(unknown_name("optimizer", name, [*OPTIMIZERS, *ALIASES]))
    return key


def build_optimizer(name: str, params: Iterable[Any], options: Mapping[str, object]) -> torch.optim.Optimizer:
    """An optimizer over the parameters.

    Args:
        name: See `OPTIMIZERS`.
        params: Tensors, or groups of them.
        options: Keyword arguments of its constructor (`lr`, `betas`, `damping`, …).

    Raises:
        ProblemError: Unknown name or option, or parameters it cannot take.
    """
    key = optimizer_name(name)
    cls = OPTIMIZERS[key]
    valid = [p for p in inspect.signature(cls.__init__).parameters if p not in ("self", "params")]
    for option in options:
        if option not in valid:
            raise ProblemError(unknown_name(f"option of {key}", option, valid))
    params = list(params)
    if key == "muon" and any(p.ndim != 2 for p in params):
        raise ProblemError("muon takes matrices only, and this field has vectors (biases); use adam or lbfgs")
    settings: dict[str, Any] = dict(options)
    if key in LEARNING_RATES:
        settings.setdefault("lr", LEARNING_RATES[key])
    try:
        return cls(params, **settings)
    except ProblemError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{k}={v!r}" for k, v in options.items())
        raise ProblemError(f"{key}: {error} (given {given})") from error
