"""`optimizer="auto"`: which method gets a small error soonest, from the sizes of a problem.

| parameters P, rows R | choice | why |
|---|---|---|
| a Gauss–Newton step costs a small share of the budget, and its Jacobian fits | gauss-newton | fewest steps by far |
| the P × P inverse Hessian fits and updates are cheap | soap:1000,ssbroyden | a step costs one gradient |
| otherwise | soap | memory of first-order methods |
| a balance that works on gradients or at every step | adam | what its paper measured with |
| points drawn in batches | soap | least squares and line searches need a loss that stands still |
| Gauss–Newton too dear, points redrawn within 10 steps | soap | quasi-Newton matrices are differences of gradients |

A Gauss–Newton step is taken to cost R P min(R, P) + min(R, P)³/3 operations for its linear algebra and 60 R P for J.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from ..memory import free_memory
from .objective import Objective
from .recipe import Recipe

log = logging.getLogger(__name__)
FLOPS = {"cpu": 1.5e10, "cuda": 1e13}    # double precision, per thread or per device; conservative
STEPS = 60                               # that a budget must allow for Gauss–Newton to be worth it
CANDIDATES = ("gauss-newton", "soap", "ssbroyden", "adam")     # what `choose` may take
PATIENCE = 30.0                          # seconds of a step that are borne where there is no time budget
LARGEST_HESSIAN = 4000                   # parameters; above, updating the matrix costs more than a gradient
STILL = 10                               # steps that points must stand still for a quasi-Newton matrix to be learnt


def choose(parameters: int, rows: int, recipe: Recipe, memory: float, energies: bool = False) -> tuple[str, str]:
    """The optimizer for a problem of a size, and why, as a sentence.

    Args:
        parameters: P.
        rows: R.
        recipe: Its device, batch, balance and budget count.
        memory: Bytes that may be used.
        energies: Whether some of the loss is no square.
    """
    P, R = parameters, rows
    if recipe.first_order_only():
        return "adam", f"balance={recipe.balance} is for first-order methods"
    if energies:
        return "soap:1000,ssbroyden", "an energy is no sum of squares"
    if recipe.batch is not None:
        return "soap", "batches of points change at every step, which second-order methods cannot use"
    kind = torch.device(recipe.device).type
    speed = FLOPS[kind] * (torch.get_num_threads() if kind == "cpu" else 1)
    small = min(P, R)
    seconds = (R * P * small + small**3 / 3 + 60 * R * P) / speed
    allowed = PATIENCE if recipe.time is None else recipe.time / STEPS
    fits = 8 * (R * P + 2 * small**2) < 0.5 * memory
    if fits and seconds <= allowed:
        return "gauss-newton", f"a step on {R:,} rows and {P:,} parameters is cheap for its worth"
    why = (f"the Jacobian of {R:,} rows and {P:,} parameters takes too much memory" if not fits else
           f"a Gauss–Newton step on {R:,} rows and {P:,} parameters would take some {seconds:.2g} s")
    if recipe.every and recipe.every < STILL:
        return "soap", f"{why}, and points that are redrawn every {recipe.every} steps spoil quasi-Newton matrices"
    if P <= LARGEST_HESSIAN and recipe.precondition != "pseudo-time":      # it changes the loss at every step
        return "soap:1000,ssbroyden", why
    return "soap", why


def resolve_optimizer(recipe: Recipe, objective: Objective) -> Recipe:
    """The recipe with "auto" replaced by a method."""
    if recipe.optimizer != "auto":
        return recipe
    P = sum(p.numel() for p in objective.trainable)
    R = sum(objective.most_rows(b) * len(b.components) for b in objective.blocks)
    optimizer, why = choose(P, R, recipe, free_memory(objective.device) or 4e9, bool(objective.energies))
    log.info("optimizer=auto takes %s: %s", optimizer, why)
    return replace(recipe, optimizer=optimizer)
