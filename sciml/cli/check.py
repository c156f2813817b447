"""Check a problem without training: equations, derivatives, regions, sizes, and every mistake that can be found.

    sciml check problems/burgers.py
    sciml check poisson --spectrum --precondition lu      conditioning of the loss, without and with it
"""

from __future__ import annotations

from dataclasses import replace

import torch
from rich.table import Table
from rich.text import Text

from ..calculus.quantity import derivative_suffix, is_number
from ..errors import ProblemError
from ..fields import parameter_count
from ..learning import OperatorRecipe, OperatorTraining
from ..objective import block_jacobians, idle_parts, idle_settings, make_recipe, point_count, spectrum, unused_options
from ..objective.diagnose import worst
from ..optim import DENSE, needs
from ..points import Points
from ..problem import Problem, load_problem
from ..samples.make import describe as in_words
from ..solution.truth import describe, resolve
from ..training import Training
from ..training.solve import plan, split_settings
from .options import add_recipe_arguments, recipe_notes, recipe_options, settings
from .show import console, number, say, working

HELP = "find mistakes in a problem file in under two seconds, without training"


def add_arguments(parser) -> None:
    """Arguments of `sciml check`."""
    parser.add_argument("problem", help="path or name of a problem file")
    add_recipe_arguments(parser)
    parser.add_argument("--spectrum", action="store_true",
                        help="print κ(JᵀJ) of the loss, and of the preconditioned one")


def run(arguments) -> int:
    """Runs `sciml check`."""
    out = console()
    overrides, dotted = split_settings(settings(arguments.set))
    problem = load_problem(arguments.problem, overrides)
    recipe = plan(problem, {**recipe_options(arguments), **dotted})
    if isinstance(recipe, OperatorRecipe):
        return _family(problem, recipe)
    training = Training(problem, recipe, truth=resolve(problem, compute=False))
    out.print(Text(problem.title, style="bold"))
    ranges = ", ".join(f"{n} ∈ ({lo:g}, {hi:g})" for n, (lo, hi) in
                       zip(problem.coordinates, problem.region.bounds, strict=True))
    say(f"domain      {ranges}; measure {problem.region.measure:.6g}")
    names = problem.coordinates
    for u, alphas in problem.derivative_set().items():
        say(f"unknown     {u}: " + ", ".join(u + derivative_suffix(a, names) for a in alphas))
    if lifted := [u for u, part in problem.known.items() if not is_number(part, 0)]:
        say(f"lift        a known part of {', '.join(lifted)}")
    for n, value in problem.parameters.items():
        say(f"parameter   {n} = {value}")
    out.print(_conditions(training))
    for u, why in training.ansatz.refused.items():
        say(f"note        conditions on {u} stay in the loss: {why}")
    for note in [*unused_options(problem, training.objective), *recipe_notes(recipe), *idle_settings(recipe),
                 *idle_parts([recipe], dotted)]:
        say(f"note        {note}")
    _sizes(training)
    say(f"reference   {describe(training.truth)}")
    if arguments.spectrum:
        _spectra(training, out)
    say("no mistakes found")
    return 0


def _family(problem: Problem, recipe: OperatorRecipe) -> int:
    """What an operator of the family would learn, tried on a few functions."""
    training = OperatorTraining(problem, tried(recipe))
    layout, data = training.layout, recipe.data_options()
    console().print(Text(problem.title, style="bold"))
    for name, family in problem.inputs.items():
        say(f"input       {name}({', '.join(layout.over[name])}) ~ {family}")
    if problem.chart:
        say(f"chart       {', '.join(problem.chart)} of the body, functions of "
            f"{', '.join(problem.domain.space)} and inputs")
    for u, alphas in problem.derivative_set().items():
        say(f"unknown     {u}: " + ", ".join(u + derivative_suffix(a, problem.coordinates) for a in alphas))
    say("grid        " + " × ".join(f"{a.count} nodes in {a.name}{' (periodic)' if a.periodic else ''}"
                                    for a in layout.axes))
    times = "" if layout.times is None else f" at {layout.steps} times up to t = {float(layout.times[-1]):g}"
    say(f"learns      {layout.sources} input channels ↦ {', '.join(layout.unknowns)}{times}, from "
        f"{data.train} functions by loss={training.recipe.loss}, tested on {data.test}")
    if training.symmetries is not None:
        s = training.symmetries
        say(f"symmetries  reflections {', '.join(s.flips) or 'none'}; exchanges "
            f"{', '.join('↔'.join(p) for p in s.swaps) or 'none'}; shifts "
            f"{', '.join('(' + ', '.join(f'{n} {k:+d}' for n, k in steps) + ')' for steps in s.shifts) or 'none'}")
    count = sum(p.numel() for p in training.operator.model.parameters())
    say(f"operator    {recipe.model}, {count:,} parameters; {recipe.optimizer}, "
        f"{recipe.total_steps(data.train) or 'as many as the time allows'} steps")
    loss = float(training.advance())
    say(f"loss        {number(loss)} before training")
    say(f"reference   {in_words(problem.reference)}")
    say("no mistakes found")
    return 0


def tried(recipe: OperatorRecipe) -> OperatorRecipe:
    """The same on a few functions, that are kept nowhere."""
    few = {**recipe.options.get("data", {}), "train": 2, "test": 2, "file": ""}
    return replace(recipe, options={**recipe.options, "data": few})


def _sizes(training: Training) -> None:
    """Parameters, rows, memory, and the loss at the start."""
    recipe, objective = training.recipe, training.objective
    P = parameter_count(objective)
    R = sum(objective.most_rows(b) * len(b.components) for b in objective.blocks)
    say(f"field       {recipe.model}, {P:,} parameters; recipe {recipe.optimizer}")
    size = torch.finfo(objective.dtype).bits // 8
    stages = {s.optimizer for s in recipe.stages()}
    memory = size * P * 4
    if any(needs(name) == "residual" for name in stages):
        memory = size * (R * P + 2 * min(R, P) ** 2)
    elif stages & DENSE:
        memory = size * 2 * P**2
    say(f"residuals   {R:,} rows; optimizer memory about {max(memory / 2**20, 1):,.0f} MiB")
    loss = float(objective.residual().square().sum())
    if not torch.isfinite(torch.tensor(loss)):
        raise ProblemError(f"the loss is not finite before training: {worst(objective)}; check the equation where its "
                           "functions are undefined")
    say(f"loss        {number(loss)} before training")


def _spectra(training: Training, out) -> None:
    """Singular values of the Jacobian at the start, without and with what preconditions rows or parameters."""
    recipe, problem = training.recipe, training.problem
    scaled = recipe.field_options().scale != "none"
    runs = {"loss": training}
    if recipe.precondition != "none" or scaled:
        plain = {**recipe.as_dict(), "precondition": "none"}
        plain["options"] = {k: {n: v for n, v in part.items() if (k, n) != ("model", "scale")}
                            for k, part in plain["options"].items()}
        runs = {"plain": Training(problem, make_recipe({}, plain), truth=training.truth),
                "+".join([recipe.precondition] * (recipe.precondition != "none") + ["scaled"] * scaled): training}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("rows", "size", "κ(JᵀJ)", "singular values", "rank", "effective rank"):
        table.add_column(name)
    with working("computing singular values"):
        for label, run in runs.items():
            blocks = block_jacobians(run.objective) if len(run.objective.trained) > 1 else {}
            J = run.objective.linearize()[1]
            for name, rows in {label: J, **{f"{label}: {n}": part for n, part in blocks.items()}}.items():
                found = spectrum(rows)
                smallest = float(found.values[found.rank - 1])
                table.add_row(*(Text(cell) for cell in (
                    name, f"{found.rows:,} × {found.parameters:,}", f"{found.kappa:.2e}",
                    f"{float(found.values[0]):.2e} … {smallest:.2e}", f"{found.rank:,}",
                    f"{found.effective_rank:.1f}")))
    out.print(table)


def _conditions(training: Training) -> Table:
    problem, recipe = training.problem, training.recipe
    trained = {b.name for b in training.objective.blocks}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("condition", "components", "where", "measure", "points"):
        table.add_column(name)
    for b in problem.blocks:
        if isinstance(b.region, Points):
            where, measure = ("quadrature" if b.whole else "given points"), ""
        else:
            where = "interior" if b.region is problem.region else str(getattr(b.region, "label", "domain"))
            measure = f"{b.region.measure:.4g}"
        held = f"{point_count(problem, recipe, b):,}" if b.name in trained else "built in"
        table.add_row(*(Text(cell) for cell in (b.name, ", ".join(b.components), where, measure, held)))
    return table
