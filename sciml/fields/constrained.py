"""Fields with known values built in: u = G + B N_θ (see `problem/hard.py` and `problem/lift.py` for G and B)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..calculus import Frame, Jet, Program
from .field import Field
from .known import Known


class Constrained(Field):
    """u_c = G_c(x) + B_c(x) N_c(x) for each unknown c, with all derivatives by Leibniz' rule.

    Args:
        network: N_θ.
        frame: The coordinates that G and B are written in.
        lifts, bubbles: G_c and B_c, quantities of the coordinates or numbers, one per unknown.
    """

    def __init__(self, network: Field, frame: Frame, lifts: Sequence, bubbles: Sequence):
        super().__init__()
        self.collapses = getattr(network, "collapses", False)
        self.network = network
        self.frame = frame
        self.lifts, self.bubbles = tuple(lifts), tuple(bubbles)
        self._known = Known(frame, {"G": self.lifts, "B": self.bubbles})

    @property
    def head(self):
        """The network's."""
        return self.network.head

    def jet(self, x: Jet) -> Jet:
        inner = self.network.jet(x).dense()
        indices = x.indices
        known = self._known(x.value if x.points is None else x.points, indices.indices)
        G, B = known["G"], known["B"]
        streams = []
        for i, terms in enumerate(indices.leibniz()):
            total = G[i]
            for count, b, rest in terms:
                bubble = B[b]
                if bubble is None:
                    continue
                factor = bubble if count == 1 else count * bubble
                total = factor * inner.data[rest] if total is None else torch.addcmul(total, factor, inner.data[rest])
            streams.append(torch.zeros_like(inner.data[0]) if total is None else total)
        return Jet(torch.stack(streams), indices, None, x.tape)


class Lifted(nn.Module):
    """u_c = G_c(x) + N_c(x) with any module for N, whose derivatives come from reverse mode.

    Args:
        network: Module (N, D) → (N, C).
        frame: The coordinates that G is written in.
        lifts: G_c, quantities of the coordinates or numbers, one per unknown.
    """

    def __init__(self, network: nn.Module, frame: Frame, lifts: Sequence):
        super().__init__()
        self.network, self.frame = network, frame
        self._program = Program(dict(enumerate(lifts)))

    @property
    def head(self):
        """The network's, if it names one."""
        return getattr(self.network, "head", ())

    def forward(self, X: Tensor) -> Tensor:
        """Values at points X of shape (N, D), shape (N, C)."""
        columns = {key: X[:, self.frame.coordinates.index(key[1])] for key in self._program.leaves}
        return torch.stack(self._program(columns, X[:, 0]), dim=-1) + self.network(X)
