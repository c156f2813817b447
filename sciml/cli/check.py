"""Check a problem without training: equations, derivatives, regions, sizes, and every mistake that can be found.

    sciml check problems/burgers.py
"""

from __future__ import annotations

import torch
from rich.table import Table

from ..calculus.quantity import derivative_suffix
from ..fields import parameter_count
from ..points import Points
from ..problem import load_problem
from ..problem.hard import build
from ..solution.truth import describe, resolve
from ..training import make_recipe
from ..training.solve import split_settings
from ..objective import build_field
from .options import add_recipe_arguments, recipe_options, settings
from .show import console

HELP = "find mistakes in a problem file in under two seconds, without training"


def add_arguments(parser) -> None:
    """Arguments of `sciml check`."""
    parser.add_argument("problem", help="path or name of a problem file")
    add_recipe_arguments(parser)


def run(arguments) -> int:
    """Runs `sciml check`."""
    out = console()
    overrides, dotted = split_settings(settings(arguments.set))
    problem = load_problem(arguments.problem, overrides)
    recipe = make_recipe(problem.defaults, {**recipe_options(arguments), **dotted})
    ansatz = build(problem, recipe.constraints)
    field = build_field(problem, recipe, ansatz)
    out.print(f"[bold]{problem.title}[/]")
    ranges = ", ".join(f"{n} ∈ ({lo:g}, {hi:g})" for n, (lo, hi) in
                       zip(problem.coordinates, problem.region.bounds, strict=True))
    out.print(f"domain      {ranges}; measure {problem.region.measure:.6g}")
    names = problem.coordinates
    for u, alphas in problem.derivative_set().items():
        out.print(f"unknown     {u}: " + ", ".join(u + derivative_suffix(a, names) for a in alphas))
    for n, value in problem.parameters.items():
        out.print(f"parameter   {n} = {value}")
    out.print(_conditions(problem, recipe, ansatz))
    for u, why in ansatz.refused.items():
        out.print(f"note        conditions on {u} stay in the loss: {why}")
    P = parameter_count(field) + len(problem.trainable)
    R = _rows(problem, recipe, ansatz)
    out.print(f"field       {recipe.model}, {P:,} parameters; recipe {recipe.optimizer}")
    size = torch.finfo(getattr(torch, recipe.dtype)).bits // 8
    second = any(s.optimizer == "gauss-newton" for s in recipe.stages())
    memory = size * (R * P + 2 * P * P) if second else size * P * 4
    out.print(f"residuals   {R:,} rows; optimizer memory about {memory / 2**20:.0f} MiB")
    out.print(f"reference   {describe(resolve(problem))}")
    out.print("no mistakes found")
    return 0


def _count(problem, recipe, block) -> int:
    if isinstance(block.region, Points):
        return len(block.region)
    inside = block.region is problem.region
    return block.count or (recipe.points if inside else recipe.boundary_points or max(recipe.points // 4, 1))


def _rows(problem, recipe, ansatz) -> int:
    return sum((b.groups if b.combine == "integral" else _count(problem, recipe, b)) * len(b.components)
               for b in problem.blocks if b.name not in ansatz.satisfied)


def _conditions(problem, recipe, ansatz) -> Table:
    table = Table(box=None, padding=(0, 2))
    for name in ("condition", "components", "where", "measure", "points"):
        table.add_column(name)
    for b in problem.blocks:
        if isinstance(b.region, Points):
            where, measure = ("quadrature" if b.combine == "integral" else "given points"), ""
        else:
            where = "interior" if b.region is problem.region else str(getattr(b.region, "label", "domain"))
            measure = f"{b.region.measure:.4g}"
        held = "built in" if b.name in ansatz.satisfied else f"{_count(problem, recipe, b):,}"
        table.add_row(b.name, ", ".join(b.components), where, measure, held)
    return table
