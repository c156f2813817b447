"""Points {xᵢ, wᵢ, nᵢ}: where a condition is asked to hold.

The one container that domains produce, samplers choose from and objectives read: coordinates with named
columns, optional quadrature weights and optional outward normals, all on one device and in one dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import ProblemError


@dataclass(frozen=True)
class Points:
    """N points with named coordinates.

    Args:
        X: Coordinates, shape (N, D), one column per name.
        names: The D coordinate names, in the order of the columns.
        weights: Quadrature weights, shape (N,); they sum to the measure of the region. None: equal weights.
        normals: Outward unit normals, shape (N, D), zero in the columns that are not space. None inside.
    """

    X: Tensor
    names: tuple[str, ...]
    weights: Tensor | None = None
    normals: Tensor | None = None

    def __post_init__(self):
        if self.X.ndim != 2 or self.X.shape[1] != len(self.names):
            raise ProblemError(
                f"points have shape {tuple(self.X.shape)}, expected (N, {len(self.names)}) "
                f"for the coordinates {', '.join(self.names)}"
            )

    def __len__(self) -> int:
        return self.X.shape[0]

    def column(self, name: str) -> Tensor:
        """Coordinate `name` of every point, shape (N,)."""
        return self.X[:, self.names.index(name)]

    def columns(self) -> dict[str, Tensor]:
        """All coordinates by name, each of shape (N,)."""
        return {name: self.X[:, i] for i, name in enumerate(self.names)}

    def __getitem__(self, index) -> Points:
        """The points at `index` (a slice, a mask or a tensor of positions)."""
        pick = lambda a: None if a is None else a[index]
        return Points(self.X[index], self.names, pick(self.weights), pick(self.normals))

    def to(self, *args, **kwargs) -> Points:
        """The same points on another device or in another dtype (arguments of `Tensor.to`)."""
        move = lambda a: None if a is None else a.to(*args, **kwargs)
        return replace(self, X=self.X.to(*args, **kwargs), weights=move(self.weights),
                       normals=move(self.normals))

    def reorder(self, names: Sequence[str]) -> Points:
        """The same points with their columns in the order of `names`."""
        order = [self.names.index(name) for name in names]
        normals = None if self.normals is None else self.normals[:, order]
        return Points(self.X[:, order], tuple(names), self.weights, normals)


def concatenate(parts: Sequence[Points]) -> Points:
    """One set of points from several with the same coordinates; weights and normals survive if all have them."""
    first = parts[0]
    parts = [first, *(p.reorder(first.names) for p in parts[1:])]
    join = lambda arrays: None if any(a is None for a in arrays) else torch.cat(arrays)
    return Points(torch.cat([p.X for p in parts]), first.names, join([p.weights for p in parts]),
                  join([p.normals for p in parts]))
