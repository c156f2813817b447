"""Fields with parameters of their own in each interval of a coordinate: u = u_k(x) for t_k ≤ t < t_{k+1}.

Nothing joins the intervals but conditions at t_k (`objective/slabs.py`), so that they can be solved for one after the
other, each from the state that the one before it ends in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..calculus.jet import Jet
from .field import Field


class Slabs(Field):
    """One field for each interval.

    Args:
        parts: Fields with the same outputs, the first interval's first.
        column: Of the coordinate.
        knots: Ends between intervals, increasing, one fewer than parts. A point on one belongs to the interval above.
    """

    knots: Tensor

    def __init__(self, parts: Sequence[Field], column: int, knots: Sequence[float]):
        super().__init__()
        assert len(parts) == len(knots) + 1
        self.parts, self.column = nn.ModuleList(parts), column
        self.register_buffer("knots", torch.tensor(list(knots), dtype=torch.float64), persistent=False)

    @property
    def head(self):
        """Those of all parts."""
        return tuple(p for k in range(len(self.parts)) for p in self.part(k).head or ())

    def part(self, k: int) -> Field:
        """The field of an interval."""
        found = self.parts[k]
        assert isinstance(found, Field)
        return found

    def piece(self, X: Tensor) -> Tensor:
        """The interval of each point X of shape (N, D), shape (N,)."""
        return torch.searchsorted(self.knots, X[:, self.column].detach().double().contiguous(), right=True)

    def jet(self, x: Jet) -> Jet:
        X = x.value if x.points is None else x.points
        if torch._C._functorch.maybe_current_level() is not None:              # one point, whose time nobody may read
            return self._masked(x, (X[:, self.column, None].double() >= self.knots).sum(1))
        piece = self.piece(X)
        if not len(X) or bool((piece == piece[0]).all()):
            return self.part(int(piece[0]) if len(X) else 0).jet(x)
        if x.tape is not None or x.points is None:
            return self._masked(x, piece)
        out: Tensor | None = None
        for k in torch.unique(piece).tolist():
            index = torch.nonzero(piece == k).flatten()
            own = self.part(k).jet(Jet.of_coordinates(X[index], x.indices)).dense().data
            out = own.new_zeros(len(own), len(X), own.shape[2]) if out is None else out
            out = out.index_copy(1, index, own)
        assert out is not None
        return Jet(out, x.indices)

    def _masked(self, x: Jet, piece: Tensor) -> Jet:
        """All parts at all points, of which those of the point's interval count."""
        total: Tensor | None = None
        for k in range(len(self.parts)):
            own = self.part(k).jet(x).dense().data
            own = torch.where((piece == k)[:, None], own, torch.zeros_like(own))
            total = own if total is None else total + own
        assert total is not None
        return Jet(total, x.indices, None, x.tape)


def slabs_of(field: nn.Module) -> Slabs | None:
    """The intervals inside of a field with its constraints; None if there are none."""
    inner: Any = field
    while not isinstance(inner, Slabs):
        inner = getattr(inner, "network", None)
        if inner is None:
            return None
    return inner
