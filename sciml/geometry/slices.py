"""A face across a coordinate, at other places along it: the states of a domain at some times."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..points import Points, concatenate
from .patch import Drawn, Patch
from .region import Region


class Slices(Patch):
    """Where a coordinate has one of some values, each in the shape of a face of the domain across that coordinate.

    Args:
        face: The face, as `domain.region("initial")`.
        name: The coordinate.
        values: Its values.

    Attributes:
        copies: How many there are; points are shared out evenly.
    """

    face: Region
    column: int
    values: Tensor
    copies: int

    def __init__(self, face: Region, name: str, values: Sequence[float]):
        text = f"{name} = {values[0]:g}" if len(values) == 1 else f"{len(values)} values of {name}"
        self._set(face=face, column=face.names.index(name), values=torch.tensor(list(values), dtype=torch.float64),
                  copies=len(values), names=face.names, space=face.space, chart_dim=face.chart_dim + 1,
                  chart_measure=len(values) * face.chart_measure, label=text)

    @property
    def independent(self) -> bool:  # type: ignore[override]  # every value gets its share
        return self.copies == 1 and self.face.independent

    def chart(self, U: Tensor) -> Drawn:
        which = (U[:, 0] * self.copies).long().clamp(0, self.copies - 1)
        X, normals, keep = self.face.chart(U[:, 1:])
        X = X.clone()
        X[:, self.column] = self.values.to(X)[which]
        return Drawn(X, normals, keep)

    def sample(self, n: int, *, generator: torch.Generator, rule: str = "uniform", dtype=torch.float64, device="cpu"
               ) -> Points:
        """n points, evenly over the values."""
        whole, more = divmod(n, self.copies)
        parts = []
        for k, value in enumerate(self.values.tolist()):
            if m := whole + (k < more):
                found = self.face.sample(m, generator=generator, rule=rule, dtype=dtype, device=device)
                X = found.X.clone()
                X[:, self.column] = value
                parts.append(Points(X, found.names, None, found.normals))
        points = concatenate(parts)
        weights = points.X.new_full((len(points),), self.measure / max(len(points), 1))
        return Points(points.X, points.names, weights, points.normals)

    def __repr__(self) -> str:
        return f"Slices({self.label})"
