"""Boxes of any dimension, intervals included, and their faces."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from .domain import Domain, check_names, default_space
from .levels import conjunction, trim
from .patch import Drawn
from .region import Region


class Box(Domain):
    """Axis-parallel box.

        Ω = (lo₁, hi₁) × … × (lo_D, hi_D)

    Faces are ``"x-"`` and ``"x+"`` for every coordinate x, ``"boundary"`` (all faces of space
    coordinates), and with a coordinate t ``"initial"`` and ``"final"`` for ``"t-"`` and
    ``"t+"``.

    Args:
        coordinates: (lo, hi) by coordinate name, e.g. ``Box(x=(-1, 1), t=(0, 1))``. The keyword
            ``name`` with a string is what the box is called in combinations.

    Raises:
        ProblemError: No coordinates, or bounds that are not two finite numbers lo < hi.
    """

    affine = True

    def __init__(self, **coordinates):
        name = coordinates.pop("name") if isinstance(coordinates.get("name"), str) else None
        if not coordinates:
            raise ProblemError("a Box needs at least one coordinate, for example Box(x=(0, 1))")
        names = check_names(coordinates)
        bounds = tuple(_check_bounds(c, pair) for c, pair in coordinates.items())
        self._set(
            names=names,
            bounds=bounds,
            space=default_space(names),
            name=name,
            kind="box" if len(names) > 1 else "interval",
            chart_dim=len(names),
            chart_measure=math.prod(hi - lo for lo, hi in bounds),
        )

    def chart(self, U: Tensor) -> Drawn:
        lo, hi = _ends(self, U)
        return Drawn(lo + (hi - lo) * U)

    def contains(self, X: Tensor) -> Tensor:
        """Mask (N,) of the points in the closed box; the tolerance is relative to each side.

        So a short time axis is treated as carefully as a long x.
        """
        lo, hi = _ends(self, X)
        tol = X.new_tensor([_tolerance(pair, X.dtype) for pair in self.bounds])
        return ((X >= lo - tol) & (X <= hi + tol)).all(1)

    def distance(self, X: Tensor) -> Tensor:
        lo, hi = _ends(self, X)
        d = torch.maximum(lo - X, X - hi)
        return d.clamp(min=0).norm(dim=1) + d.amax(1).clamp(max=0)

    def level(self, coords: Mapping):
        return conjunction([face.level(coords) for face in self.pieces.values()], self.size)

    def opposite(self, name: str) -> str:
        look_up("region", name, {face: face for face in self.pieces})
        return name[:-1] + {"-": "+", "+": "-"}[name[-1]]

    def _make_pieces(self) -> dict[str, Region]:
        return {
            f"{name}{'-+'[upper]}": Face(self, axis, bool(upper))
            for axis, name in enumerate(self.names)
            for upper in (0, 1)
        }


def Interval(**coordinate) -> Box:
    """Box with a single coordinate, e.g. ``Interval(x=(0, 1))``.

    Raises:
        ProblemError: Not exactly one coordinate, or bounds that are not two finite numbers lo <
            hi.
    """
    box = Box(**coordinate)
    if len(box.names) != 1:
        raise ProblemError(
            f"an Interval has one coordinate, got {', '.join(box.names)}; use Box for several"
        )
    return box


class Face(Region):
    """Face of a box: one coordinate at its lower or upper bound.

    Args:
        box: The box.
        axis: Position of the coordinate.
        upper: At hi if True, at lo if False.
        outside: The face as seen from outside the box.
        trimmed: Whether the level vanishes on the face only and not on its whole plane.
    """

    affine = True

    def __init__(
        self, box: Box, axis: int, upper: bool, outside: bool = False, trimmed: bool = False
    ):
        others = [hi - lo for i, (lo, hi) in enumerate(box.bounds) if i != axis]
        name = box.names[axis]
        self._set(
            box=box,
            axis=axis,
            upper=upper,
            outside=outside,
            trimmed=trimmed or outside,
            at=box.bounds[axis][upper],
            label=f"{name}{'+' if upper else '-'}",
            names=box.names,
            space=box.space,
            across=(name,),
            chart_dim=len(others),
            chart_measure=math.prod(others),
        )

    def chart(self, U: Tensor) -> Drawn:
        lo, hi = _ends(self.box, U)
        before, after = U[:, : self.axis], U[:, self.axis :]
        X = lo + (hi - lo) * torch.cat([before, U.new_zeros(len(U), 1), after], 1)
        X[:, self.axis] = self.at
        return Drawn(X, self.normal(X))

    def contains(self, X: Tensor) -> Tensor:
        tol = _tolerance(self.box.bounds[self.axis], X.dtype)
        return ((X[:, self.axis] - self.at).abs() <= tol) & self.box.contains(X)

    def normal(self, X: Tensor) -> Tensor:
        n = torch.zeros_like(X)
        n[:, self.axis] = 1.0 if self.upper != self.outside else -1.0
        return n

    def level(self, coords: Mapping):
        """x − lo or hi − x (negated from outside), trimmed to the face by a dome behind it."""
        x = coords[self.names[self.axis]]
        f = self.at - x if self.upper != self.outside else x - self.at
        if not self.trimmed:
            return f
        rims, sides = [], []
        for i, (lo, hi) in enumerate(self.box.bounds):
            if i != self.axis:
                y = coords[self.names[i]]
                rims.append((y - lo) * (hi - y) / (hi - lo))
                sides.append(hi - lo)
        lo, hi = self.box.bounds[self.axis]
        depth = hi - lo
        # The dome {τ > 0, f < 0} stands on the face, at most half as high as the box is deep.
        rim = conjunction(rims, self.box.size) if rims else depth / 2
        slope = max(1.0, min(sides, default=0.0) / (2 * depth))
        return trim(f, rim + slope * f, self.box.size)

    def flipped(self) -> Region:
        return Face(self.box, self.axis, self.upper, not self.outside, self.trimmed)

    def tight(self) -> Region:
        return Face(self.box, self.axis, self.upper, self.outside, trimmed=True)


def _check_bounds(name: str, pair) -> tuple[float, float]:
    """(lo, hi) as floats."""
    try:
        lo, hi = (float(v) for v in pair)
    except (TypeError, ValueError):
        raise ProblemError(
            f"bounds of {name!r} are {pair!r}, expected two numbers (lo, hi)"
        ) from None
    if not (math.isfinite(lo) and math.isfinite(hi)):
        raise ProblemError(
            f"bounds of {name!r} are ({lo}, {hi}), expected finite numbers; cut the domain off "
            "where the solution has decayed"
        )
    if lo >= hi:
        raise ProblemError(f"bounds of {name!r} are ({lo}, {hi}), expected lo < hi; swap them?")
    return lo, hi


def _ends(box: Box, like: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper corner, each of shape (D,)."""
    lo, hi = zip(*box.bounds, strict=True)
    return like.new_tensor(lo), like.new_tensor(hi)


def _tolerance(pair: tuple[float, float], dtype) -> float:
    """How far from a bound still counts as on it."""
    lo, hi = pair
    relative = 1e-9 if dtype == torch.float64 else 2e-6
    return max(relative * (hi - lo), 8 * torch.finfo(dtype).eps * max(abs(lo), abs(hi)))
