"""Intervals of time with fields of their own: where they are, and what holds between them.

    [∂_t^j u] = 0   at t_k, for all u and j that initial conditions prescribe

Newton's iteration over a long time starts far from the solution everywhere; interval by interval it starts from the
state that is known. A least-squares solution of K intervals takes 1/K² of the operations of one over the whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..errors import ProblemError
from ..geometry.slices import Slices
from ..problem import Block, Problem

if TYPE_CHECKING:
    from .objective import Objective

BELOW = 1e-12            # share of the time span that a state is taken before a knot, if numbers are that fine
INSTEAD = "leave model.slabs out"


def knots_of(problem: Problem, slabs: int, dtype: torch.dtype) -> list[float]:
    """t_1 … t_{K−1}: equal intervals, their ends as numbers of the points' type.

    Raises:
        ProblemError: There is no time, or no initial condition to carry on.
    """
    if slabs == 1:
        return []
    if "t" not in problem.coordinates:
        raise ProblemError(f"model.slabs={slabs} are intervals of time, and the problem has no coordinate t; {INSTEAD}")
    if not any(b.kind == "initial" for b in problem.blocks):
        raise ProblemError(f"model.slabs={slabs} begin each with the state that the one before ends in, and the "
                           f"problem has no Initial condition; {INSTEAD}")
    low, high = problem.region.bounds[problem.coordinates.index("t")]
    return torch.tensor([low + (high - low) * k / slabs for k in range(1, slabs)], dtype=dtype).tolist()


def continuity(problem: Problem, knots: list[float], dtype: torch.dtype) -> list[Block]:
    """The initial conditions' blocks at the knots, as differences between above and below; as many points at each."""
    if not knots:
        return []
    low, high = problem.region.bounds[problem.coordinates.index("t")]
    shift = -max(BELOW * (high - low), 4 * torch.finfo(dtype).eps * max(abs(low), abs(high)))
    where = f"t = {knots[0]:g}" if len(knots) == 1 else f"{len(knots)} later times"
    return [replace(b, name=f"{b.name} at {where}", region=Slices(problem.domain.region("initial"), "t", knots),
                    combine="difference", partner=("t", shift), hard=(), prescribed={})
            for b in problem.blocks if b.kind == "initial"]


def demand_causal(objective: Objective) -> None:
    """Raises where intervals cannot be solved for one after the other.

    Raises:
        ProblemError: Parameters to be found, conditions over all times, or a preconditioner.
    """
    why = ""
    if objective.problem.trainable:
        why = f"the parameters to be found ({', '.join(objective.problem.trainable)}) act in all of them"
    elif whole := [b.name for b in objective.blocks if b.whole]:
        why = f"condition {whole[0]!r} takes all times together"
    elif objective.transforms:
        why = "precondition= takes all times together"
    if why:
        raise ProblemError(f"least-squares solves for model.slabs one after the other, and {why}; {INSTEAD}, or take "
                           "optimizer=gauss-newton, which solves for all at once")


@torch.no_grad()
def subset(objective: Objective, piece: torch.Tensor, name: str) -> None:
    """Leaves the points of a condition where `piece` holds, with their data and weights."""
    index = torch.nonzero(piece).flatten()
    objective.points[name] = objective.points[name][index]
    if name in objective.data:
        objective.data[name] = {k: v[index] for k, v in objective.data[name].items()}
    for held in (objective.point_weights, objective.shares):
        if name in held:
            held[name] = held[name][index]
