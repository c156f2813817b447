"""The trail of points: where a run put them, at some forty moments of it.

Points that move are kept as they were at reports, in `points.h5` of the run folder: a group per snapshot with its step
and seconds, and in it a group per condition with a column per coordinate. The number stays bounded, because every
second one is dropped when there are too many, and so does the cost, because nothing is evaluated.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ..points import Points

MOST_SNAPSHOTS = 40
MOST_POINTS = 2000                # of a condition, evenly spaced in their order
FILE = "points.h5"


@dataclass(frozen=True)
class Snapshot:
    """Points at one moment.

    Args:
        step, seconds: When.
        columns: By condition, a column (N,) of float32 per coordinate.
    """

    step: int
    seconds: float
    columns: Mapping[str, Mapping[str, np.ndarray]]


class Trail:
    """Snapshots of the points of a run, in order, evenly spread over its steps.

    Args:
        snapshots: Those of the run so far, if it is resumed.
    """

    def __init__(self, snapshots: list[Snapshot] | None = None):
        self.snapshots = list(snapshots or [])
        self._gap = self._least() if len(self.snapshots) > MOST_SNAPSHOTS // 2 else 0
        self._last: dict[str, Points] = {}

    def _least(self) -> int:
        """Fewest steps between two snapshots."""
        return min(b.step - a.step for a, b in pairwise(self.snapshots))

    def add(self, step: int, seconds: float, points: Mapping[str, Points]) -> None:
        """Keeps the points, if they were replaced by new ones, as samplers do, and it is time to.

        Args:
            step, seconds: When.
            points: By condition.
        """
        if self._last.keys() == points.keys() and all(self._last[n] is p for n, p in points.items()):
            return
        if self.snapshots and step < self.snapshots[-1].step + max(self._gap, 1):
            return
        self._last = dict(points)
        columns = {n: {c: v[::-(-len(v) // MOST_POINTS)].detach().to("cpu", torch.float32).numpy().copy()
                       for c, v in p.columns().items()} for n, p in points.items()}
        self.snapshots.append(Snapshot(step, seconds, columns))
        if len(self.snapshots) > MOST_SNAPSHOTS:
            self.snapshots = self.snapshots[::2]
            self._gap = self._least()

    @property
    def moves(self) -> bool:
        """Whether there is more than one snapshot."""
        return len(self.snapshots) > 1

    def as_bytes(self) -> bytes:
        """Content of points.h5."""
        import h5py

        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for i, snapshot in enumerate(self.snapshots):
                group = file.create_group(f"{i:04d}")
                group.attrs.update(step=snapshot.step, seconds=snapshot.seconds)
                for name, columns in snapshot.columns.items():
                    folder = group.create_group(name.replace("/", "∕"))
                    for coordinate, values in columns.items():
                        folder.create_dataset(coordinate, data=values)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, step: int) -> Trail:
        """The snapshots up to a step.

        Args:
            content: Of points.h5.
            step: Where a run is resumed.
        """
        import h5py

        found = []
        with h5py.File(io.BytesIO(content), "r") as file:
            for key in sorted(file):
                group = file[key]
                columns = {n: {c: np.asarray(v) for c, v in folder.items()} for n, folder in group.items()}
                if int(group.attrs["step"]) <= step:
                    found.append(Snapshot(int(group.attrs["step"]), float(group.attrs["seconds"]), columns))
        return cls(found)
