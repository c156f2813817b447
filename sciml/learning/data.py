"""Options of the data that an operator is trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ProblemError, check_types, look_up

TIMES = ("auto", "final", "axis")


@dataclass(frozen=True)
class DataOptions:
    """Which samples an operator is trained and tested on.

    Args:
        grid: Nodes along an axis, or one number for each.
        train, test: Number of functions.
        times: Of evolution problems: "final": u at the last time; "axis": time is an axis of the grid; K: that many
            equal steps. "auto": the axis where there is a residual to train on, else the final time.
        history: So many of the K snapshots are inputs, the others are predicted.
        unroll: With history, steps of an operator of one step that are taken in training, from random snapshots on; 0:
            one operator gives all later snapshots at once.
        pushforward: Whether the steps of `unroll` before the last have no gradient.
        scheme: Of derivatives: "differences", "spectral", "continuation"; "auto": spectral on periodic axes where
            inputs are smooth, else differences.
        order: Of accuracy of differences.
        fresh: Whether every epoch of a training without solutions draws new input functions.
        points: Collocation points of a step with residual=trunk.
        seed: Of the draw; the training's own seed leaves the data as they are.
        file: HDF5 file that the samples are kept in; looked for in the current folder and beside the
            problem file; made in the first if it is in neither. "": samples are made for each run.
    """

    grid: int | tuple[int, ...] = 64
    train: int = 500
    test: int = 100
    times: str | int = "auto"
    history: int = 0
    unroll: int = 0
    pushforward: bool = False
    scheme: str = "auto"
    order: int = 2
    fresh: bool = False
    points: int = 1000
    seed: int = 0
    file: str = ""

    def __post_init__(self):
        check_types(self, "data.")
        sizes = self.grid if isinstance(self.grid, (tuple, list)) else (self.grid,)
        if not sizes or not all(isinstance(n, int) and n > 3 for n in sizes):
            raise ProblemError(f"data.grid={self.grid!r} must be a number of nodes, or one for each axis, e.g. 64 or "
                               "(64, 32)")
        object.__setattr__(self, "grid", tuple(self.grid) if isinstance(self.grid, list) else self.grid)
        for name in ("train", "test", "points"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ProblemError(f"data.{name}={value!r} must be a number from 1")
        if isinstance(self.times, str):
            look_up("data.times (or a number of snapshots)", self.times, dict.fromkeys(TIMES))
        elif isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 1:
            raise ProblemError(f"data.times={self.times!r} must be auto, final, axis or a number of snapshots")
        if not isinstance(self.history, int) or self.history < 0 or (
                self.history and (isinstance(self.times, str) or self.history >= self.times)):
            raise ProblemError(f"data.history={self.history!r} must be less than data.times, a number of snapshots")
        if not isinstance(self.unroll, int) or self.unroll < 0 or (
                self.unroll and (not self.history or self.history + self.unroll > int(self.times))):
            raise ProblemError(f"data.unroll={self.unroll!r} needs data.history, and both together are at most "
                               f"data.times={self.times!r}")
