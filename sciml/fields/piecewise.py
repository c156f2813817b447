"""Fields that are smooth between interfaces: u = u_p(x) on the p-th piece of the domain (see `Interface`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..calculus.jet import Jet
from .field import Field


class Piecewise(Field):
    """One network with C outputs for every piece, of which each point takes those of its own piece.

    The pieces share the hidden layers; with their own last layers they are independent functions in one basis.

    Args:
        network: N_θ with P·C outputs, those of the first piece first.
        breaks: Positions by column, increasing; P is the product of (their number + 1). A point on a break belongs to
            the piece below it.
        outputs: C.
    """

    def __init__(self, network: Field, breaks: Mapping[int, Sequence[float]], outputs: int):
        super().__init__()
        self.collapses = getattr(network, "collapses", False)
        self.network, self.outputs = network, outputs
        self.breaks = {column: tuple(places) for column, places in breaks.items()}

    def piece(self, X: Tensor) -> Tensor:
        """Number of the piece that holds each point X of shape (N, D), shape (N,)."""
        piece = torch.zeros(X.shape[0], dtype=torch.long, device=X.device)
        for column, places in self.breaks.items():
            above = torch.stack([X[:, column] > a for a in places]).sum(0)
            piece = piece * (len(places) + 1) + above
        return piece

    @property
    def head(self):
        """The network's."""
        return self.network.head

    def jet(self, x: Jet) -> Jet:
        every = self.network.jet(x)
        S, N, _ = every.data.shape
        index = self.piece(x.value).reshape(1, N, 1, 1).expand(S, N, 1, self.outputs)
        own = torch.gather(every.data.reshape(S, N, -1, self.outputs), 2, index)
        return every.with_data(own.squeeze(2))
