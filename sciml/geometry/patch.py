"""Patch: a set of points with a measure, sampled through a map from the unit cube.

Domains and regions of every kind share one way of being sampled. A patch has a *chart*, a map
from the unit cube [0, 1)ᵈ that keeps proportions of measure, and marks the points of the image
that do not belong to it:

    box, disk, polygon   a formula; nothing is marked
    several pieces       the first coordinate chooses the piece
    product              the factors' charts side by side
    difference           the left operand's chart, marked where the right operand is

So any rule of `unit` works on any shape, pieces are hit in proportion to their areas without an
estimate of them, and rejection (of marked points) is written once, below.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from ..points import Points
from .unit import RULES, WHOLE, fixed_points, gauss_points, grid_points, unit_points

CHECK_POINTS = 2**14
MEASURE_POINTS = 2**18
MAX_ROUNDS = 64
MAX_CANDIDATES = 2**21


class Drawn(NamedTuple):
    """Image of N points of the unit cube.

    Args:
        X: Coordinates, shape (N, D).
        normals: Outward unit normals over all coordinates, shape (N, D); None inside a domain.
        keep: Which points belong to the patch, shape (N,); None: all.
    """

    X: Tensor
    normals: Tensor | None = None
    keep: Tensor | None = None

    def kept(self) -> Drawn:
        """The points that belong to the patch."""
        if self.keep is None:
            return self
        return Drawn(
            self.X[self.keep], None if self.normals is None else self.normals[self.keep]
        )


class Patch(ABC):
    """A set with a measure that can be sampled. Immutable.

    Subclasses fill the attributes with `_set` in their constructor and define `chart`.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # what `_set` fills in

    names: tuple[str, ...]
    space: tuple[str, ...]
    chart_dim: int
    """Dimension d of the unit cube that `chart` maps."""
    chart_measure: float
    """Measure of the image of the whole unit cube, kept or not."""
    affine = False
    """Whether the chart is affine and keeps all points: Gauss's rule in the cube is one here."""

    independent = True
    """Whether the points of a uniform draw are independent of one another, so that a part of it is a draw."""

    @abstractmethod
    def chart(self, U: Tensor) -> Drawn:
        """Map points of the unit cube, shape (N, chart_dim), in proportion to measure."""

    @cached_property
    def measure(self) -> float:
        """Length, area or volume.

        Exact where nothing is rejected; else the share of 2¹⁸ fixed Sobol points that the chart
        keeps (relative error about 1e−4 or less), so it is the same in every run.
        """
        # A chart that keeps all of 2¹⁴ points loses less than the error of 2¹⁸; most faces of a
        # domain with holes are like that, and the check of a problem stays within two seconds.
        share = kept_share(self, CHECK_POINTS)
        share = kept_share(self, MEASURE_POINTS) if share < 1 else share
        return self.chart_measure * share

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator,
        rule: str = "uniform",
        dtype=torch.float64,
        device="cpu",
    ) -> Points:
        """Exactly n points, uniformly distributed by measure.

        Args:
            n: Number of points, N ≥ 1.
            generator: Source of every random number; the global generator stays untouched.
            rule: ``"uniform"``, ``"sobol"``, ``"halton"``, ``"hammersley"``, ``"lhs"`` or ``"grid"``. A grid
                lives in the unit cube of the chart (cells of a box, rings of a disk); what is
                missing to n is filled up with Sobol points.
            dtype: Floating type of the points.
            device: Where the points live.

        Returns:
            Points with weights measure / N and, on a region, outward unit normals (zero in
            columns not in `space`).

        Raises:
            ProblemError: n < 1, an unknown rule, or a patch so thin that rejection does not
                find n points.
        """
        look_up("sampling rule", rule, RULES)
        if n < 1:
            raise ProblemError(f"cannot sample {n} points of {self!r}; ask for at least 1")
        if self._rejects:
            drawn = _reject(self, n, rule, generator, dtype, device)
        else:
            drawn = self.chart(
                unit_points(n, self.chart_dim, rule, generator, dtype=dtype, device=device)
            )
        return self._points(drawn)

    @property
    def gaussian(self) -> bool:
        """Whether `quadrature` is a Gauss rule, exact for polynomials up to a degree."""
        return self.affine

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Fixed points whose weights sum to the measure, with normals on a region.

        Gauss rules (see `gaussian`) have the largest size of their kind up to n, at least the smallest; other
        patches get about n Sobol points with equal weights.
        """
        if self.affine:
            nodes, shares = gauss_points(n, self.chart_dim)
            found = replace(self._points(self.chart(nodes)), weights=self.measure * shares)
            return found.to(dtype=dtype, device=device)
        m = math.ceil(n * self.chart_measure / self.measure) if self._rejects else n
        U = fixed_points(max(m, 1), self.chart_dim).to(device=device)
        drawn = self.chart(U).kept()
        if drawn.X.shape[0] == 0:
            drawn = self.chart(fixed_points(2**14, self.chart_dim).to(device=device)).kept()
        return self._points(drawn).to(dtype=dtype)

    @cached_property
    def _rejects(self) -> bool:
        """Whether the chart may mark points as not belonging to the patch."""
        centre = torch.full((1, self.chart_dim), 0.5, dtype=torch.float64)
        return self.chart(centre).keep is not None

    def _points(self, drawn: Drawn) -> Points:
        """Points with equal weights and with normals in the space columns only."""
        X, normals, _ = drawn
        if normals is not None and not set(self.names) <= set(self.space):
            normals = normals * X.new_tensor([float(name in self.space) for name in self.names])
        N = X.shape[0]
        return Points(X, self.names, X.new_full((N,), self.measure / max(N, 1)), normals)

    def _set(self, **fields) -> None:
        """Fill attributes from a constructor."""
        self.__dict__.update(fields)

    def __setattr__(self, name, value):
        raise AttributeError(
            f"{type(self).__name__} is immutable: cannot set {name!r}; build a new one"
        )


def kept_share(patch: Patch, n: int) -> float:
    """Share of n fixed Sobol points that the patch's chart keeps, in [0, 1]."""
    keep = patch.chart(fixed_points(n, patch.chart_dim)).keep
    return 1.0 if keep is None else keep.double().mean().item()


def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The conjunction of two masks, where None keeps all."""
    return b if a is None else a if b is None else a & b


def mixture(parts: Sequence[Patch], U: Tensor) -> tuple[Drawn, Tensor]:
    """Charts side by side: the first unit coordinate chooses the part.

    It does so in proportion to `chart_measure`. What remains of that coordinate, stretched to
    [0, 1), is handed on, so the map keeps proportions.

    Returns:
        The image, and the position of the part that each point came from, shape (N,).
    """
    total = sum(p.chart_measure for p in parts)
    which = torch.zeros(U.shape[0], dtype=torch.long, device=U.device)
    top = 1 - torch.finfo(U.dtype).eps
    images, lo = [], 0.0
    for i, part in enumerate(parts):
        share = part.chart_measure / total
        V = U.clone()
        V[:, 0] = ((U[:, 0] - lo) / share).clamp(0.0, top)
        which = torch.where(U[:, 0] >= lo, i, which)
        images.append(V[:, : part.chart_dim])
        lo += share
    if any(p._rejects for p in parts):
        return _gather(parts, images, which), which
    # Without rejection all stays on the device: each part maps all N points and `where` picks.
    drawn = parts[0].chart(images[0])
    for i, part in enumerate(parts[1:], 1):
        other = part.chart(images[i])
        here = (which == i)[:, None]
        normals = None
        if drawn.normals is not None and other.normals is not None:
            normals = torch.where(here, other.normals, drawn.normals)
        drawn = Drawn(torch.where(here, other.X, drawn.X), normals)
    return drawn, which


def _gather(parts: Sequence[Patch], images: list[Tensor], which: Tensor) -> Drawn:
    """Each part's chart at its own points only: marking points is the expensive step."""
    N, D = which.shape[0], len(parts[0].names)
    X = images[0].new_zeros(N, D)
    normals, keep = None, torch.ones(N, dtype=torch.bool, device=which.device)
    for i, part in enumerate(parts):
        here = (which == i).nonzero()[:, 0]
        drawn = part.chart(images[i][here])
        X[here] = drawn.X
        if drawn.normals is not None:
            normals = torch.zeros_like(X) if normals is None else normals
            normals[here] = drawn.normals
        if drawn.keep is not None:
            keep[here] = drawn.keep
    return Drawn(X, normals, keep)


def _reject(patch: Patch, n: int, rule: str, generator, dtype, device) -> Drawn:
    """Draw until n points are kept, in a bounded number of rounds."""
    share = max(patch.measure / patch.chart_measure, 1e-12)
    if rule in WHOLE:
        return _thinned(patch, n, share, rule, generator, dtype, device)
    found = _grid_kept(patch, n, share, dtype, device) if rule == "grid" else []
    rule = "sobol" if rule == "grid" else rule
    have = sum(d.X.shape[0] for d in found)
    for _ in range(MAX_ROUNDS):
        if have >= n:
            break
        # A fifth more than expected, so that one round is usually enough and its prefix keeps
        # the rule's order.
        m = min(math.ceil(1.2 * (n - have) / share) + 16, MAX_CANDIDATES)
        U = unit_points(m, patch.chart_dim, rule, generator, dtype=dtype, device=device)
        found.append(patch.chart(U).kept())
        have += found[-1].X.shape[0]
    return _joined(patch, found, n)


def _thinned(patch: Patch, n: int, share: float, rule: str, generator, dtype, device) -> Drawn:
    """As many points of a rule that keeps about n; too many lose some at random, too few get uniform ones.

    The prefix of such a set is no set of its kind, so nothing is drawn in excess.
    """
    m = min(max(round(n / share), 1), MAX_CANDIDATES)
    drawn = patch.chart(unit_points(m, patch.chart_dim, rule, generator, dtype=dtype, device=device)).kept()
    have = drawn.X.shape[0]
    if have < n:
        return _joined(patch, [drawn, _reject(patch, n - have, "uniform", generator, dtype, device)], n)
    if have == n:
        return drawn
    stay = torch.randperm(have, generator=generator, device=generator.device)[:n].sort().values.to(device)
    return Drawn(drawn.X[stay], None if drawn.normals is None else drawn.normals[stay])


def _joined(patch: Patch, found: list[Drawn], n: int) -> Drawn:
    """The first n points of several draws."""
    have = sum(d.X.shape[0] for d in found)
    if have < n:
        share = max(patch.measure / patch.chart_measure, 1e-12)
        raise ProblemError(
            f"found only {have} of {n} points of {patch!r} in {MAX_ROUNDS} rounds of "
            f"rejection; it fills about {share:.1e} of the shape it is cut from: describe it "
            "with smaller shapes"
        )
    normals = [d.normals for d in found if d.normals is not None]
    X = torch.cat([d.X for d in found])[:n]
    return Drawn(X, torch.cat(normals)[:n] if normals else None)


def _grid_kept(patch: Patch, n: int, share: float, dtype, device) -> list[Drawn]:
    """The kept points of a tensor grid, coarsened until there are at most n."""
    m = min(n / share, MAX_CANDIDATES)
    for _ in range(MAX_ROUNDS):
        U = grid_points(max(int(m), 1), patch.chart_dim).to(device=device, dtype=dtype)
        drawn = patch.chart(U).kept()
        if drawn.X.shape[0] <= n:
            return [drawn]
        m *= 0.95
    return []
