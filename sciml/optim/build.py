"""Optimizers by name: ours, then torch's, then those of the optional package pytorch_optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import torch

from ..errors import ProblemError, text_for_number, unknown_name
from .broyden import BFGS, SSBFGS, DenseQuasiNewton, SSBroyden
from .evidence import Evidence
from .extra import EXTRA, MUONS, extra_class, groups_for, rehearse
from .gauss_newton import GaussNewton
from .gauss_newton_cg import GaussNewtonCG
from .kronecker import Kronecker
from .lbfgs import LBFGS
from .least_squares import LeastSquares
from .lines import Lines
from .m_config import MConFIG
from .multiadam import MultiAdam
from .natural import ENGD, ENGDW, SPRING
from .nncg import NystromNewtonCG
from .soap import SOAP
from .varpro import VarPro

OWN: dict[str, type[torch.optim.Optimizer]] = {
    "gauss-newton": GaussNewton, "gauss-newton-cg": GaussNewtonCG, "least-squares": LeastSquares,
    "varpro": VarPro, "engd": ENGD, "engd-w": ENGDW, "spring": SPRING, "lbfgs": LBFGS, "bfgs": BFGS, "ssbfgs": SSBFGS,
    "ssbroyden": SSBroyden, "nncg": NystromNewtonCG, "soap": SOAP, "multiadam": MultiAdam, "m-config": MConFIG,
    "kronecker": Kronecker, "evidence": Evidence, "lines": Lines}
ALIASES = {"levenberg-marquardt": "gauss-newton", "lm": "gauss-newton", "gn": "gauss-newton", "l-bfgs": "lbfgs",
           "multi-adam": "multiadam", "mconfig": "m-config"}
_UNFIT = {"Optimizer", "LBFGS", "SparseAdam"}
TORCH: dict[str, type[torch.optim.Optimizer]] = {
    name.lower(): cls for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and name not in _UNFIT
}
OPTIMIZERS = {**OWN, **{name: cls for name, cls in TORCH.items() if name not in OWN}}
DENSE = {name for name, cls in OWN.items() if issubclass(cls, DenseQuasiNewton)}       # hold a matrix of P × P
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "nadam": 1e-3, "radam": 1e-3, "adamax": 2e-3, "sgd": 1e-3,
                  "rmsprop": 1e-3, "muon": 1e-3}


def needs(name: str) -> str:
    """What a step of an optimizer takes, its class attribute `needs`.

    | needs | `step` is called with | methods |
    |---|---|---|
    | "gradient" | nothing; gradients lie in `.grad` | first order (torch's own have no attribute) |
    | "gradients" | a function from a loss's number to it and its gradient, and the count | has `groups` (MultiAdam) |
    | "closure" | a loss closure on fixed points | quasi-Newton; has `stuck`, `forget` and `evaluated` |
    | "hessian" | a loss with a graph that is twice differentiable, and a generator | Newton–CG; has `refused`, \
`forget` and `extras` |
    | "residual" | `linearize` and `residual` | Gauss–Newton, least squares; has `refused` and `extras` |
    | "factored" | the same with J by its factors | natural gradients, matrix-free Gauss–Newton |
    | "head" | the same with J for chosen parameters; two groups, the second the head | variable projection |
    | "operator" | a function that gives the equation by coordinates (`Separable`) | Kronecker; one step solves |
    | "evidence" | a function that gives −log p with its graph, for kernels only | Evidence |
    | "evolution" | an initial value problem (`Flow`); a step goes from knot to knot, until `done` | Lines |
    """
    key = optimizer_name(name)
    return getattr(OPTIMIZERS[key], "needs", "gradient") if key in OPTIMIZERS else "gradient"


def is_second_order(name: str) -> bool:
    """Whether a method needs points and weights that stand still within a step and between steps."""
    return needs(name) in ("closure", "hessian", "residual", "factored", "head", "operator", "evidence", "evolution")


def optimizer_name(name: str) -> str:
    """Canonical name of an optimizer.

    Raises:
        ProblemError: It does not exist; lists the valid ones and the nearest.
    """
    key = ALIASES.get(name.lower(), name.lower())
    if key not in OPTIMIZERS and key not in EXTRA:
        near = get_close_matches(key, EXTRA, n=1, cutoff=0.75)       # all of them would make a sentence of a page
        raise ProblemError(unknown_name("optimizer", name, ["auto", *OPTIMIZERS, *ALIASES, *near]))
    return key


def is_optimizer(name: str) -> bool:
    """Whether an optimizer has this name, installed or not."""
    return any(name in names for names in (OPTIMIZERS, ALIASES, EXTRA))


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class of an optimizer.

    Raises:
        ProblemError: It does not exist, or its package is not installed.
    """
    key = optimizer_name(name)
    return OPTIMIZERS[key] if key in OPTIMIZERS else extra_class(key)


def rounds_steps(name: str) -> bool:
    """Whether steps are made in bfloat16 (Muon and its kin), which is for the beginning of a run only."""
    return optimizer_name(name) in ("muon", *(m.lower() for m in MUONS))


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
    cls = optimizer_class(key)
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
    if key == "muon":                          # torch's 0.1 is for language models
        settings.setdefault("weight_decay", 0.0)
    try:
        if key not in OPTIMIZERS:
            rehearse(key, cls, params, settings)
            return cls(groups_for(key, params), **settings)
        return cls(params, **settings)
    except ProblemError:
        raise
    except (TypeError, ValueError) as error:
        if wrong := text_for_number(cls, options):
            raise ProblemError(f"{key}.{wrong}") from error
        given = ", ".join(f"{k}={v!r}" for k, v in options.items())
        raise ProblemError(f"{key}: {error} (given {given})") from error
