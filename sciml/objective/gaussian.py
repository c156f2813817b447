"""Gaussian fields for a problem: a lattice over its domain, with ghosts around it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ..errors import ProblemError
from ..fields import Field, GaussianField
from ..fields.enriched import Enriched, monomials
from ..fields.gaussian import tensor_centres
from ..fields.lattice import lattice
from ..fields.piecewise import Piecewise
from ..fields.slabs import Slabs
from ..geometry import Box
from ..problem import Problem
from ..problem.hard import Ansatz
from .recipe import DTYPES, Recipe
from .slabs import knots_of

START = 1e-3             # of amplitudes: from u = 0 an equation in squares, such as |∇u| = 1, has no way down


def gaussian_field(problem: Problem, recipe: Recipe, ansatz: Ansatz) -> Field:
    """The field of `model=gaussian`: Gaussians on a lattice of the bounding box, those near the domain.

    Args:
        problem: Its periodic coordinates get images of the Gaussians instead of ghosts; its features are added.
        recipe: With `model.centres`, `overlap`, `ghosts`, `covariance`, `train`, `polynomial` and `slabs`.

    Raises:
        ProblemError: The options make no lattice.
    """
    bounds, K = list(problem.region.bounds), recipe.field_options().slabs
    knots = knots_of(problem, K)
    if not knots:
        return _part(problem, recipe, ansatz, bounds, recipe.seed)
    column = problem.coordinates.index("t")
    ends, parts = [bounds[column][0], *knots, bounds[column][1]], []
    for k, between in enumerate(zip(ends, ends[1:], strict=False)):
        bounds[column] = between
        parts.append(_part(problem, recipe, ansatz, bounds, recipe.seed + k))
    return Slabs(parts, column, knots)


def _part(problem: Problem, recipe: Recipe, ansatz: Ansatz, bounds: Sequence[tuple[float, float]], seed: int) -> Field:
    """Gaussians on a lattice of a box."""
    options, dtype = recipe.field_options(), torch.float64
    columns = problem.coordinates
    counts, ghosts = options.counts(len(bounds)), options.beyond(len(bounds))
    lines, scales = [], []
    for (low, high), n, g, name in zip(bounds, counts, ghosts, columns, strict=True):
        if name in ansatz.periods:
            line, scale = low + (high - low) / n * torch.arange(n, dtype=dtype), options.overlap * (high - low) / n
        else:
            line, scale = lattice(low, high, n, options.overlap, g)
        lines.append(line)
        scales.append(scale)
    reach = max(g * s / options.overlap for g, s in zip(ghosts, scales, strict=True))
    centres = _near(problem, tensor_centres(lines), reach)
    periods = {columns.index(c): p for c, p in ansatz.periods.items()}
    pieces = prod(len(places) + 1 for places in problem.setting.breaks.values())
    gaussians = GaussianField(centres, torch.tensor(scales, dtype=dtype).expand(len(centres), -1),
                          len(problem.unknowns) * pieces, options.covariance, options.train, periods,
                          dtype=DTYPES[recipe.dtype], overlap=options.overlap, cutoff=options.cutoff)
    with torch.no_grad():
        gaussians.amplitudes.normal_(generator=torch.Generator().manual_seed(seed)).mul_(START)
    field: Field = gaussians
    beside = list(problem.extra)
    if options.polynomial is not None:
        beside += monomials(problem.setting.frame, bounds, options.polynomial)
    if beside:
        field = Enriched(field, problem.setting.frame, beside, len(problem.unknowns) * pieces, DTYPES[recipe.dtype])
    if pieces == 1:
        return field
    return Piecewise(field, {columns.index(c): p for c, p in problem.setting.breaks.items()}, len(problem.unknowns))


def _near(problem: Problem, centres: torch.Tensor, reach: float) -> torch.Tensor:
    """The centres that reach into the domain: all in a box, elsewhere those within the ghosts' distance of it."""
    if isinstance(problem.region, Box):
        return centres
    try:
        distance = problem.region.distance(centres)
    except ProblemError:                        # chosen by a predicate: nothing is known about what lies outside
        return centres
    return centres[distance <= (1 + 1e-9) * reach]
