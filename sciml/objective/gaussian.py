"""Gaussian fields for a problem: a lattice over its domain, with ghosts around it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ..errors import ProblemError
from ..fields import Field, FieldOptions, GaussianField
from ..fields.enriched import Enriched, monomials
from ..fields.gaussian import tensor_centres
from ..fields.lattice import lattice
from ..fields.piecewise import Piecewise
from ..fields.rings import rings
from ..fields.slabs import Slabs
from ..geometry import Ball, Box, Difference, Domain, Product, Union
from ..problem import Problem
from ..problem.hard import Ansatz
from .recipe import DTYPES, Recipe
from .slabs import knots_of

log = logging.getLogger(__name__)
DEEP = 0.25              # spacings inside of a hole from which on the lattice gives way to rings
START = 1e-3             # of amplitudes: from u = 0 an equation in squares, such as |∇u| = 1, has no way down


def gaussian_field(problem: Problem, recipe: Recipe, ansatz: Ansatz) -> Field:
    """The field of `model=gaussian`: Gaussians on a lattice of the bounding box, those near the domain.

    Args:
        problem: Its periodic coordinates get images of the Gaussians instead of ghosts; its features are added.
        recipe: With `model.centres`, `overlap`, `ghosts`, `covariance`, `train`, `polynomial`, `rings` and `slabs`.

    Raises:
        ProblemError: The options make no lattice.
    """
    bounds, K = list(problem.region.bounds), recipe.field_options().slabs
    knots = knots_of(problem, K, DTYPES[recipe.dtype])
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
    widths = torch.tensor(scales, dtype=dtype).expand(len(centres), -1)
    if options.rings:
        centres, widths = _ringed(problem, centres, widths, lines, options)
    periods = {columns.index(c): p for c, p in ansatz.periods.items()}
    pieces = prod(len(places) + 1 for places in problem.setting.breaks.values())
    gaussians = GaussianField(centres, widths, len(problem.unknowns) * pieces, options.covariance, options.train,
                              periods, dtype=DTYPES[recipe.dtype], overlap=options.overlap, cutoff=options.cutoff)
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


def _ringed(problem: Problem, centres: Tensor, widths: Tensor, lines: Sequence[Tensor], options: FieldOptions
            ) -> tuple[Tensor, Tensor]:
    """Centres and scales with rings around the holes of the domain, in place of the lattice within them."""
    holes, columns = round_holes(problem.region), problem.coordinates
    if not holes:
        raise ProblemError("model.rings are for disks and balls that are cut out of a domain, and this domain has "
                           "none; leave model.rings out")
    X, S = [centres], [widths]
    for hole in holes:
        own = [columns.index(n) for n in hole.names]
        others = [k for k in range(len(columns)) if k not in own]
        spacing = float((widths[0, own] / options.overlap).max())
        middle = torch.tensor(hole.center, dtype=centres.dtype)
        made, size = rings(middle, float(hole.radius), options.rings, options.overlap, spacing)
        if not len(made):
            log.warning("model.rings add nothing round the hole of radius %g: the lattice is finer there", hole.radius)
            continue
        deep = (X[0][:, own] - middle).norm(dim=1) < float(hole.radius) - DEEP * spacing
        X[0], S[0] = X[0][~deep], S[0][~deep]
        along = tensor_centres([lines[k] for k in others]) if others else made.new_zeros(1, 0)
        both, wide = made.new_zeros(len(made), len(along), len(columns)), widths[0].expand(len(made), len(along), -1)
        both[:, :, own], both[:, :, others] = made[:, None], along[None]
        wide = wide.clone()
        wide[:, :, own] = size[:, None, None]
        X.append(both.reshape(-1, len(columns)))
        S.append(wide.reshape(-1, len(columns)))
    return torch.cat(X), torch.cat(S)


def round_holes(domain: Domain) -> list[Ball]:
    """Disks and balls that are cut out of a domain, in the space of a product with other coordinates too."""
    if isinstance(domain, Product):
        return round_holes(domain.a) + round_holes(domain.b)
    if isinstance(domain, Difference):
        return round_holes(domain.a) + _balls(domain.b)
    return []


def _balls(domain: Domain) -> list[Ball]:
    if isinstance(domain, Union):
        return _balls(domain.a) + _balls(domain.b)
    return [domain] if isinstance(domain, Ball) and len(domain.names) in (2, 3) else []


def _near(problem: Problem, centres: torch.Tensor, reach: float) -> torch.Tensor:
    """The centres that reach into the domain: all in a box, elsewhere those within the ghosts' distance of it."""
    if isinstance(problem.region, Box):
        return centres
    try:
        distance = problem.region.distance(centres)
    except ProblemError:                        # chosen by a predicate: nothing is known about what lies outside
        return centres
    return centres[distance <= (1 + 1e-9) * reach]
