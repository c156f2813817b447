"""The driver that fits an optimizer."""

from __future__ import annotations

from torch import Generator

from ..balance import Balance, Projection, Surgery
from ..errors import ProblemError
from ..fields.slabs import slabs_of
from ..objective import Objective, Recipe
from ..objective.recipe import optimizer_options
from ..optim import needs
from .causal import Causal
from .drivers import Driver, FirstOrder, LeastSquares, MultiLoss, NewtonCG, Projected, QuasiNewton
from .tensors import Direct, Evolution, Spectra


def build_driver(objective: Objective, name: str, recipe: Recipe, balance: Balance, generator: Generator) -> Driver:
    """The driver that fits an optimizer.

    Args:
        objective: What is minimised.
        name: The optimizer's.
        recipe: Its options, batch, schedule and clip.
        balance, generator: Of first-order drivers.

    Raises:
        ProblemError: The optimizer and the objective do not go together.
    """
    options = optimizer_options(recipe, name)
    kind = needs(name)
    if kind == "evidence":
        return Spectra(objective, name, options)
    if kind == "evolution":
        return Evolution(objective, name, options)
    if kind == "operator":
        return Direct(objective, name, options)
    if objective.energies and kind in ("residual", "factored", "head"):
        raise ProblemError(f"optimizer={name} minimises squares, and condition {objective.energies[0].name!r} is an "
                           "energy; take soap or ssbroyden, or write its derivative as Weak")
    weights = [n for n, part in balance.parts.items() if not isinstance(part, (Surgery, Projection))]
    if objective.energies and weights:
        raise ProblemError(f"balance={weights[0]} weighs squares, and condition {objective.energies[0].name!r} is an "
                           "energy; leave balance out")
    if name == "least-squares" and (slabs := slabs_of(objective.field)) is not None:
        return Causal(objective, name, options, slabs)
    if kind in ("residual", "factored"):
        return LeastSquares(objective, name, options)
    if kind == "head":
        return Projected(objective, name, options)
    if kind == "hessian":
        return NewtonCG(objective, name, options, generator)
    if kind == "closure":
        return QuasiNewton(objective, name, options)
    first_order = MultiLoss if kind == "gradients" else FirstOrder
    return first_order(objective, name, options, recipe, balance, generator)
