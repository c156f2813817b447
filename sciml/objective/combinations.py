"""What parts of a recipe go together: balance and optimizers, samplers and compiled passes, refinement and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..balance import BALANCERS, Projection, Surgery, build_balance
from ..balance.balance import Part, PointWeights
from ..balance.build import balancer_names
from ..errors import ProblemError
from ..optim import is_second_order, needs, optimizer_class, rounds_steps
from ..precondition import build_preconditioner
from ..refine import build_refiner
from ..sampling import SAMPLERS

if TYPE_CHECKING:
    from .recipe import Recipe


def check_balance(recipe: Recipe) -> None:
    """Balancers must exist, take their options, and make sense with every stage and the sampler."""
    build_balance(recipe.balance, recipe.options)
    every = recipe.every
    for name in balancer_names(recipe.balance):
        part = BALANCERS[name]
        for plan in recipe.stages():
            _check_surgery(name, part, plan.optimizer)
        if part.second_order == "frozen" and all(is_second_order(plan.optimizer) for plan in recipe.stages()):
            raise ProblemError(f"balance={name} moves in first-order stages only, and optimizer={recipe.optimizer} has "
                               f"none; begin with one, as in adam:1000,{recipe.stages()[-1].optimizer}")
        if issubclass(part, PointWeights) and SAMPLERS[recipe.sampler].weighs:
            raise ProblemError(f"balance={name} weighs points, and so does sampler={recipe.sampler}; name one of the "
                               "two")
        if getattr(part, "fixed_points", False) and every:
            raise ProblemError(f"balance={name} keeps a weight for every point, and sampler={recipe.sampler} replaces "
                               f"points every {every} steps; set sampler.every=0")


def _check_surgery(name: str, part: type[Part], optimizer: str) -> None:
    """Surgery and projections make sense with optimizers that take one gradient, or all of them, in each step."""
    if part.second_order == "refused" and is_second_order(optimizer):
        what = "moves the optimizer's update" if issubclass(part, Projection) else \
            "replaces the gradient by another direction"
        raise ProblemError(f"balance={name} {what}, which {optimizer} with its line search or least squares cannot "
                           "use; take it with adam or another first-order optimizer")
    if issubclass(part, Surgery) and needs(optimizer) == "gradients":
        raise ProblemError(f"balance={name} makes one direction of the losses' gradients, and optimizer={optimizer} "
                           "takes the gradients themselves; name one of the two")
    if issubclass(part, Projection) and getattr(optimizer_class(optimizer), "one_gradient", False):
        raise ProblemError(f"balance={name} needs the gradients of all losses in each step, and optimizer={optimizer} "
                           "computes one; take it with multiadam or adam")


def check_stages(recipe: Recipe) -> None:
    """What an optimizer cannot do in its place."""
    for k, plan in enumerate(recipe.stages()):
        if recipe.compile and needs(plan.optimizer) == "hessian":
            raise ProblemError(f"{plan.optimizer} differentiates the loss twice, which a compiled pass does not allow; "
                               "leave compile out")
        if k and rounds_steps(plan.optimizer):
            name, first = plan.optimizer, recipe.stages()[0].optimizer
            raise ProblemError(f"optimizer={recipe.optimizer!r}: {name} orthogonalises its steps in bfloat16, which "
                               f"undoes what {first} has reached; put it first, as in {name}:1000,{first}")


def check_growth(recipe: Recipe) -> None:
    """A pass is compiled for one number of points."""
    if recipe.compile and SAMPLERS[recipe.sampler].grows:
        raise ProblemError(f"sampler={recipe.sampler} adds points as it goes, and the pass would be compiled anew for "
                           "every number of them; leave compile out, or take sampler=rad")


def check_precondition(recipe: Recipe) -> None:
    """A preconditioner must exist, take its options, and go with the batch, the balance and the optimizers."""
    part, what = build_preconditioner(recipe.precondition, recipe.options), f"precondition={recipe.precondition}"
    if part.mixes and recipe.batch is not None:
        raise ProblemError(f"{what} mixes the rows of all points of a grid, which batch={recipe.batch} would cut; "
                           "leave batch out")
    if part.mixes and recipe.balance != "fixed":
        raise ProblemError(f"{what} mixes rows of points and conditions, which balance={recipe.balance} would weigh "
                           "one by one; leave one of them out")
    for plan in recipe.stages():
        if part.moves and needs(plan.optimizer) == "closure":
            raise ProblemError(f"{what} changes the loss at every step, which {plan.optimizer} cannot learn from; take "
                               "it with adam or gauss-newton")


def check_refine(recipe: Recipe) -> None:
    """A refiner must exist, take its options, and go with the model, the sampler and the balance."""
    part, what = build_refiner(recipe.refine, recipe.options), f"refine={recipe.refine}"
    if recipe.refine == "none":
        return
    if recipe.compile:
        raise ProblemError(f"{what} changes the field's size, and the pass would be compiled anew for each; leave "
                           "compile out")
    if recipe.precondition != "none":
        raise ProblemError(f"{what} adds rows of its own, which precondition={recipe.precondition} has no place for; "
                           "leave one of them out")
    if part.weighs and recipe.balance != "fixed":
        raise ProblemError(f"{what} weighs the rows, and so does balance={recipe.balance}; leave balance out")
    if recipe.every:
        raise ProblemError(f"{what} places rows where the field grows, and sampler={recipe.sampler} would replace "
                           f"them every {recipe.every} steps; leave sampler.every out")
