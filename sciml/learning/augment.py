"""General covariance augmentation: random changes of coordinates under which a family of problems keeps its form.

    −(a u')' = f,  x = x(ξ):     −(ã ũ')' = f̃,   ã = a/x',  f̃ = f x',  ũ = u(x(ξ)),
    x = ξ + Σ_k c_k sin(πkξ)/(πk),   Σ|c_k| < 1   (ends stay, x' > 0)

Fanaskov, Yu, Rudikov and Oseledets (2023, arXiv:2301.12730). Which input takes the factor 1/x', which x' and which none
is found by test on the equations themselves, r̃(ξ) = x'(ξ) r(x(ξ)). One coordinate: in more of them a number a becomes a
matrix, which an operator of a ↦ u does not take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import pi

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from ..errors import ProblemError
from .equations import Equations
from .layout import Layout
from .samples import Samples

MODES = 4                 # K of the maps
LARGEST = 0.5             # Σ|c_k| of the maps: x' stays within a factor 3
CLOSE = 0.05              # relative mismatch of the residuals at which a form counts as kept
FINE = 513                # nodes of the test


@dataclass(frozen=True)
class Covariance:
    """Random changes of the coordinate.

    Args:
        layout: The grid.
        powers: Power of x' that multiplies each input: −1 for coefficients of fluxes, 1 for sources, 0 for values.
    """

    layout: Layout
    powers: Mapping[str, int]

    def random(self, batch: Samples, generator: torch.Generator) -> Samples:
        """A batch in other coordinates, the same for all of it."""
        like = next(iter(batch.inputs.values()))
        matrix, slope = _change(self.layout, generator)
        matrix, slope = matrix.to(like), slope.to(like)
        inputs = {n: v @ matrix.T * slope ** self.powers[n] if self.layout.over[n] else v
                  for n, v in batch.inputs.items()}
        outputs = None if batch.outputs is None else torch.einsum("ij,bjc->bic", matrix, batch.outputs)
        return Samples(inputs, outputs)


def _change(layout: Layout, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Interpolation from the nodes to x(ξ), (n, n), by cubic splines, and x' at the nodes, (n,)."""
    axis = layout.axes[0]
    nodes = (axis.nodes() - axis.low) / (axis.high - axis.low)
    c = 2 * torch.rand(MODES, generator=generator, dtype=torch.float64) - 1
    size = LARGEST * float(torch.rand((), generator=generator, dtype=torch.float64))
    c = c * size / c.abs().sum()
    k = torch.arange(1, MODES + 1, dtype=torch.float64)
    angle = pi * k * nodes[:, None]
    x = nodes + (c * torch.sin(angle) / (pi * k)).sum(1)
    slope = 1 + (c * torch.cos(angle)).sum(1)
    matrix = CubicSpline(nodes.numpy(), np.eye(len(nodes)))(x.clamp(0, 1).numpy())
    return torch.from_numpy(matrix), slope


def find_covariance(equations: Equations, layout: Layout, inputs: Mapping[str, Tensor]) -> Covariance:
    """The changes of coordinates that a family allows.

    Args:
        equations: The family's.
        layout: Its grid.
        inputs: A few input functions on that grid, in float64.

    Raises:
        ProblemError: It has another than one coordinate, or its equations do not keep their form.
    """
    if len(layout.axes) != 1 or layout.axes[0].periodic or layout.times is not None:
        raise ProblemError("augment=covariance is for steady problems in one coordinate that does not repeat; take "
                           "augment=symmetry or none")
    if ends := equations.free or {f for _, own in equations.faces for f in own}:
        raise ProblemError(f"augment=covariance needs every unknown given at both ends, and {min(ends)!r} is free; "
                           "take augment=none")
    fine = layout.at(FINE)
    fine = replace(fine, axes=(replace(fine.axes[0], scheme="differences", order=2),))
    coarse = layout.axes[0].nodes()
    spline = torch.from_numpy(CubicSpline(coarse.numpy(), np.eye(len(coarse)))(fine.axes[0].nodes().numpy()))
    given = {n: v @ spline.T if layout.over[n] else v for n, v in inputs.items()}
    generator = torch.Generator().manual_seed(0)
    x = (fine.axes[0].nodes() - fine.axes[0].low) / (fine.axes[0].high - fine.axes[0].low)
    u = sum(torch.sin(pi * k * x) * torch.randn(len(next(iter(given.values()))), 1, generator=generator,
                                                dtype=torch.float64) for k in (1, 2, 3))
    u = torch.as_tensor(u)[..., None].expand(-1, -1, len(layout.unknowns))
    bubble = equations.bubble(fine, given)
    if float((equations.lift(fine, given) - 0 * bubble).abs().max()) > 0:
        raise ProblemError("augment=covariance needs boundary data of zero; take augment=none")
    before = [r.values for r in equations.residuals(fine, u, given)]
    matrix, slope = _change(fine, generator)
    moved = torch.einsum("ij,bjc->bic", matrix, u)
    best, powers = float("inf"), {}
    functions = [n for n in given if layout.over[n]]
    for choice in product((0, -1, 1), repeat=len(functions)):
        tried = dict(zip(functions, choice, strict=True))
        changed = {n: v @ matrix.T * slope ** tried[n] if n in tried else v for n, v in given.items()}
        after = [r.values for r in equations.residuals(fine, moved, changed)]
        worst = 0.0
        for r, s in zip(before, after, strict=True):
            full = torch.nn.functional.pad(r, (0, 0, 1, 1))
            expected = (torch.einsum("ij,bjc->bic", matrix, full) * slope[:, None])[:, 3:-3]
            worst = max(worst, float((s[:, 2:-2] - expected).norm() / expected.norm()))
        if worst < best:
            best, powers = worst, tried
    if best > CLOSE:
        raise ProblemError("augment=covariance: the equations do not keep their form under changes of the coordinate; "
                           "it is for −(a u')' = f with inputs a and f, or such as follow the same rule")
    return Covariance(layout, {**dict.fromkeys(given, 0), **powers})
