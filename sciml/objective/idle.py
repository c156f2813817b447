"""What a recipe says that nothing will listen to: allowed, but told, for a user believes that it acts."""

from __future__ import annotations

from collections.abc import Iterable

from ..balance.build import balancer_names
from ..optim import is_optimizer, is_second_order
from ..optim.build import ALIASES
from .auto import CANDIDATES
from .recipe import Recipe

OWN_TO_GAUSSIANS = {"cutoff": None, "rings": 0, "slabs": 1}          # options that a network would not miss


def idle_settings(recipe: Recipe) -> list[str]:
    """A sentence for each option of another model, for a batch without a stage that takes it, and for each stage that
    the budget leaves no step."""
    sentences, stages, begins = [], recipe.stages(), 0
    if recipe.model != "gaussian":
        given = {n: v for n, v in recipe.options.get("model", {}).items() if OWN_TO_GAUSSIANS.get(n, v) != v}
        sentences += [f"model.{n}={v!r} does nothing: it is for model=gaussian, and this is model={recipe.model}"
                      for n, v in given.items()]
    if recipe.batch is not None and recipe.optimizer != "auto" and all(is_second_order(s.optimizer) for s in stages):
        sentences.append(f"batch={recipe.batch} does nothing: optimizer={recipe.optimizer} takes all points in every "
                         "step; leave batch out, or take a first-order optimizer such as soap")
    for before, plan in zip(stages, stages[1:], strict=False):
        begins += before.steps or 0
        if recipe.steps is not None and begins >= recipe.steps:
            sentences.append(f"{plan.optimizer} does nothing: the stages before it take {begins:,} steps, and "
                             f"steps={recipe.steps:,} is all there is; give more steps, or the earlier stages fewer")
    return sentences


def idle_parts(recipes: Iterable[Recipe], dotted: Iterable[str]) -> list[str]:
    """A sentence for each dotted option of a part that none of the recipes uses.

    Args:
        recipes: One, or those of a comparison.
        dotted: What the user gave, such as "causal.epsilon"; defaults of problem files are for any recipe.
    """
    used = {"model", "sampler", "refine"}
    for recipe in recipes:
        used.update((recipe.sampler, recipe.precondition, *balancer_names(recipe.balance)))
        used.update(CANDIDATES if recipe.optimizer == "auto" else (s.optimizer for s in recipe.stages()))
    sentences = []
    for key in dotted:
        part = key.split(".")[0]
        if ALIASES.get(part, part) not in used:
            kind = "optimizer" if is_optimizer(part) else "sampler, balance or precondition"
            sentences.append(f"{key} does nothing: {part} is not used as {kind}")
    return sentences
