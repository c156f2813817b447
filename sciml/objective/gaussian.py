"""Gaussian fields for a problem: a lattice over its domain, with ghosts around it."""

from __future__ import annotations

from math import prod

import torch

from ..errors import ProblemError
from ..fields import GaussianField
from ..fields.gaussian import tensor_centres
from ..fields.lattice import ghosts_of, lattice
from ..fields.piecewise import Piecewise
from ..geometry import Box
from ..problem import Problem
from ..problem.hard import Ansatz
from .recipe import DTYPES, Recipe

USUAL = {1: 64, 2: 28, 3: 12}          # centres along a coordinate, by dimension
FEWEST = 7


def gaussian_field(problem: Problem, recipe: Recipe, ansatz: Ansatz) -> GaussianField | Piecewise:
    """The field of `model=gaussian`: Gaussians on a lattice of the bounding box, those near the domain.

    Args:
        problem: Its periodic coordinates get images of the Gaussians instead of ghosts.
        recipe: With `model.centres`, `overlap`, `ghosts`, `covariance` and `train`.

    Raises:
        ProblemError: The options make no lattice, or the problem brings features of its own.
    """
    options, dtype = recipe.field_options(), torch.float64
    if problem.extra:
        raise ProblemError("model=gaussian is a sum in the coordinates and takes no features of a problem; use "
                           "model=mlp")
    bounds, columns = problem.region.bounds, problem.coordinates
    counts = _each("centres", options.centres, len(bounds)) or [USUAL.get(len(bounds), FEWEST)] * len(bounds)
    ghosts = _each("ghosts", options.ghosts, len(bounds)) or [ghosts_of(options.overlap, n) for n in counts]
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
    field = GaussianField(centres, torch.tensor(scales, dtype=dtype).expand(len(centres), -1),
                          len(problem.unknowns) * pieces, options.covariance, options.train, periods,
                          dtype=DTYPES[recipe.dtype], overlap=options.overlap)
    if pieces == 1:
        return field
    return Piecewise(field, {columns.index(c): p for c, p in problem.setting.breaks.items()}, len(problem.unknowns))


def _each(name: str, given: int | tuple | None, dimension: int) -> list[int] | None:
    """A number by coordinate, from one for all or one for each."""
    if given is None:
        return None
    counts = [given] * dimension if isinstance(given, int) else list(given)
    if len(counts) != dimension:
        raise ProblemError(f"model.{name}={given!r} has {len(counts)} numbers, and the problem {dimension} "
                           "coordinates; give one number, or one for each")
    return counts


def _near(problem: Problem, centres: torch.Tensor, reach: float) -> torch.Tensor:
    """The centres that reach into the domain: all in a box, elsewhere those within the ghosts' distance of it."""
    if isinstance(problem.region, Box):
        return centres
    try:
        distance = problem.region.distance(centres)
    except ProblemError:                        # chosen by a predicate: nothing is known about what lies outside
        return centres
    return centres[distance <= (1 + 1e-9) * reach]
