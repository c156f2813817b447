"""Balancers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from ..errors import ProblemError, text_for_number, unknown_name
from .annealing import LearningRateAnnealing
from .attention import AttentionBlocks, ResidualAttention, VariationalAttention
from .balance import Balance, BlockWeights, Part, PointWeights, Projection, Surgery
from .causal import Causal
from .config import ConFIG
from .grad_norm import GradNorm
from .gua import GUA
from .imtl_g import ImtlG
from .losses import DWA, MinMax, ReLoBRaLo
from .ntk import NTK
from .pcgrad import PCGrad
from .self_adaptive import SelfAdaptive

WEIGHTS: tuple[type[Part], ...] = (
    GradNorm, LearningRateAnnealing, NTK, ReLoBRaLo, DWA, MinMax, AttentionBlocks,
    Causal, SelfAdaptive, ResidualAttention, VariationalAttention)
BALANCERS: dict[str, type[Part]] = {
    **{cls.name: cls for cls in WEIGHTS}, "config": ConFIG, "pcgrad": PCGrad, "imtl-g": ImtlG, "gua": GUA}
_KINDS = {BlockWeights: "weights of conditions", PointWeights: "weights of points", Surgery: "surgery on gradients",
          Projection: "projections of the update"}


def balancer_names(balance: str) -> list[str]:
    """Names of the parts of `balance="a+b"`; none for "fixed".

    Raises:
        ProblemError: A part does not exist, comes twice, or there are two of a kind.
    """
    names = [part.strip().lower() for part in balance.split("+")]
    if names == ["fixed"]:
        return []
    if "fixed" in names:
        raise ProblemError(f"balance={balance!r}: fixed means the weights of the problem file and nothing else; leave "
                           "it out, or the other parts")
    for name in names:
        if name not in BALANCERS:
            raise ProblemError(unknown_name("balancer", name, ["fixed", *BALANCERS]))
    for kind, what in _KINDS.items():
        same = [name for name in names if issubclass(BALANCERS[name], kind)]
        if len(same) > 1:
            raise ProblemError(f"balance={balance!r} has {same[0]} and {same[1]}, both {what}; name one of them")
    return names


def build_balance(balance: str, options: Mapping[str, Mapping[str, object]], seed: int = 0) -> Balance:
    """The balance of a recipe.

    Args:
        balance: Names joined by "+", or "fixed".
        options: Keyword arguments by name of the part.
        seed: Of parts that draw random numbers and were given none of their own.

    Raises:
        ProblemError: Unknown name or option, or a value that a part does not take.
    """
    parts = {}
    for name in balancer_names(balance):
        cls, given = BALANCERS[name], dict(options.get(name, {}))
        valid = [p for p in inspect.signature(cls).parameters]
        for option in given:
            if option not in valid:
                raise ProblemError(unknown_name(f"option of balancer {name}", option, valid))
        if "seed" in valid:
            given.setdefault("seed", seed)
        try:
            parts[name] = cls(**given)
        except ProblemError:
            raise
        except (TypeError, ValueError) as error:
            if wrong := text_for_number(cls, given):
                raise ProblemError(f"{name}.{wrong}") from error
            raise ProblemError(f"balancer {name}: {error}") from error
    return Balance(parts)
