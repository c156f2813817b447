"""Causal weights: a time counts once the equations hold before it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ProblemError
from ..problem import Block
from .balance import PointWeights, View

TIME = "t"


class Causal(PointWeights):
    """Causal weights by chunks of time: late points wait for early residuals to vanish.

        w_i = exp(−ε Σ_{k<i} L_k),    L_k = mean |r_n|² over the k-th of M chunks of the points sorted in time

    so that w_1 = 1 and w does not increase with time; rows are multiplied by √w. Whole points are sorted; points of
    one time get one weight, that of the earliest chunk with this time. |r_n|² is the sum over components, and where
    there are several equations, a time has the smallest of their weights, like jaxpi's min over components (the
    paper has one component). The reported smallest weight should end near 1: otherwise late times were not trained.

    Args:
        every: Steps between updates.
        epsilon: ε; too large and only the first chunk is trained (convection with speed 30: 1 freezes, 0.01 does not).
        chunks: M, 16 to 32.
        conditions: "equations", or "all": conditions at later times, such as walls, get the weight of their time too.

    Raises:
        ProblemError: The problem has no coordinate t, or no equation with a row per point.

    Source: Wang, Sankaran, Perdikaris (2022), arXiv:2203.07404; ε stays as given, without a schedule.
    """

    name = "causal"
    second_order = "redraw"

    def __init__(self, every: int = 1, epsilon: float = 1.0, chunks: int = 16, conditions: str = "equations"):
        super().__init__(every, conditions)
        self.demand(epsilon > 0, "epsilon", epsilon, "positive")
        self.demand(chunks >= 2, "chunks", chunks, "at least 2")
        self.epsilon, self.chunks = float(epsilon), int(chunks)

    def weighed(self, view):
        return [b for b in super().weighed(view) if not b.whole]

    def _equations(self, view: View) -> list[Block]:
        return [b for b in view.blocks if b.kind == "equation" and not b.whole]

    def check(self, view):
        names = next(iter(view.points.values())).names
        if TIME not in names:
            raise ProblemError(f"balance=causal needs a time, a coordinate named {TIME}, and this problem has "
                               f"{', '.join(names)}; leave it out, or use rba or grad-norm")
        if not self._equations(view):
            raise ProblemError("balance=causal follows the residual of an equation through time, and this problem "
                               f"trains {', '.join(b.name for b in view.blocks)} only; leave it out")

    def update(self, view, step):
        sizes = view.magnitudes([b.name for b in self._equations(view)])
        curves = [self._curve(view.points[name].column(TIME), r) for name, r in sizes.items()]
        found = {}
        for block in self.weighed(view):
            t = view.points[block.name].column(TIME).contiguous()
            found[block.name] = torch.stack([w[torch.searchsorted(ends, t)] for ends, w in curves]).amin(0).sqrt()
        return found

    def _curve(self, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Last times of all chunks but the last, shape (M − 1,), and the weights of all, shape (M,)."""
        order = torch.argsort(t, stable=True)
        M = min(self.chunks, len(t))
        losses = torch.stack([part.mean() for part in r[order].square().tensor_split(M)])
        before = torch.cat([torch.zeros_like(losses[:1]), losses[:-1].cumsum(0)])
        ends = torch.stack([part[-1] for part in t[order].tensor_split(M)[:-1]]) if M > 1 else t[:0]
        return ends, torch.exp(-self.epsilon * before)

    def extras(self, view):
        smallest = [view.point_weights[b.name].min() for b in self._equations(view) if b.name in view.point_weights]
        return {**super().extras(view),
                **({"min causal weight": float(torch.stack(smallest).min().square())} if smallest else {})}
