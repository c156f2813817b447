"""Least squares interval by interval: each is solved for with the one before it done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..fields.slabs import Slabs
from ..objective import Objective
from ..objective.slabs import demand_causal, subset
from ..optim import build_optimizer
from .drivers import LeastSquares

log = logging.getLogger(__name__)
POOR = 1e-3              # share of an interval's first loss above which its end is no state to begin with


class Causal(LeastSquares):
    """`least-squares` on a field with intervals of time.

    A step is one of the current interval, on the points that lie in it and on those at its beginning, where the state
    is that of the interval before. The next one begins when the optimizer has converged or finds no step any more;
    until then points stay where they are.

    Args:
        slabs: Of the objective's field.
    """

    def __init__(self, objective: Objective, name, options, slabs: Slabs):
        demand_causal(objective)
        self.slabs, self.options, self.current, self.first = slabs, dict(options), 0, 0.0
        super().__init__(objective, name, options)

    def parameters(self):
        return [p for p in self.slabs.parts[self.current].parameters() if p.requires_grad]

    @property
    def last(self) -> bool:
        """Whether no interval comes after the current one."""
        return self.current + 1 == len(self.slabs.parts)

    @property
    def settled(self) -> bool:
        """Whether the current interval is solved for, as far as it can be."""
        return self.optimizer.converged or self.optimizer.refused >= 3

    def step(self, progress):
        if self.settled and not self.last:
            self._enter(self.current + 1)
        with self._alone():
            begins = not self.first
            if begins:
                self.first = float(self.objective.residual().square().sum())
            loss = super().step(progress)
        if self.settled and not float(loss) <= POOR * self.first:
            log.warning("interval %d of %d of model.slabs, up to t = %g, ends with a loss of %.2g (%.2g at its start): "
                        "what follows begins with a wrong state. Give more model.slabs, or more model.centres",
                        self.current + 1, len(self.slabs.parts), self._end(), float(loss), self.first)
        return loss

    def _enter(self, k: int) -> None:
        self.current, self.first = k, 0.0
        self.optimizer = build_optimizer(self.name, self.parameters(), self.options)

    def _end(self) -> float:
        return self.objective.problem.region.bounds[self.slabs.column][1] if self.last else \
            float(self.slabs.knots[self.current])

    def holds(self):
        return self.first > 0 and not (self.settled and not self.last)

    def unfinished(self):
        if self.last:
            return ""
        return (f"ended in interval {self.current + 1} of the {len(self.slabs.parts)} of model.slabs: after "
                f"t = {self._end():g} the field is what it began as; give more time or steps")

    def done(self):
        return self.last and super().done()

    def trouble(self):
        return super().trouble() if self.last else ""

    def extras(self):
        return {**super().extras(), "slab": float(self.current + 1)}

    def state_dict(self):
        return {**super().state_dict(), "slab": self.current, "first": self.first}

    def load_state_dict(self, state):
        self._enter(int(state["slab"]))
        self.first = float(state["first"])
        super().load_state_dict(state)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The objective with the points and the parameters of the current interval."""
        o = self.objective
        kept = o.blocks, o.points, o.data, o.point_weights, o.shares
        others = [p for k, part in enumerate(self.slabs.parts) if k != self.current
                  for p in part.parameters() if p.requires_grad]
        try:
            o.points, o.data, o.point_weights, o.shares = dict(o.points), dict(o.data), dict(o.point_weights), \
                dict(o.shares)
            for name, points in kept[1].items():
                subset(o, self.slabs.piece(points.X) == self.current, name)
            o.blocks = [b for b in o.blocks if len(o.points[b.name])]
            for p in others:
                p.requires_grad_(False)
            yield
        finally:
            o.blocks, o.points, o.data, o.point_weights, o.shares = kept
            for p in others:
                p.requires_grad_(True)
