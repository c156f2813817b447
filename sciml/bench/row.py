"""A row of a suite: one problem, one way to solve it, one budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the accuracy table.

    Args:
        problem: Name of the problem file.
        time: Seconds of training; nominal where `steps` is given.
        target: What the median is meant to reach; None: no target is set.
        measure: "field": mean relative L2 of the unknowns in `unknowns` (all if empty); "parameters": largest relative
            error of the unknown parameters; "absolute": mean |u − u_ref|.
        unknowns: Which unknowns count.
        label: Text of the row.
        options: Of `solve`, over those of the problem file.
        method: With `options`, a name for them.
        steps: The budget in place of `time`, where runs are compared whatever else the machine does.
        overrides: Values of the problem file that are set to others.
    """

    problem: str
    time: float
    target: float | None
    measure: str = "field"
    unknowns: tuple[str, ...] = ()
    label: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    steps: int | None = None
    overrides: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The problem, with what is set in it."""
        return self.problem + "".join(f"-{k}{v:g}" for k, v in self.overrides.items())

    @property
    def key(self) -> str:
        """File name of the row's results."""
        budget = f"{self.time:g}s" if self.steps is None else f"{self.steps}steps"
        return f"{self.name}-{self.method + '-' if self.method else ''}{budget}"

    @property
    def extent(self) -> str:
        """The budget in words."""
        return f"{self.time:g} s" if self.steps is None else f"{self.steps:,} steps"

    @property
    def budget(self) -> dict[str, float | int]:
        """Options of `solve` that end the run."""
        return {"time": self.time} if self.steps is None else {"steps": self.steps}

    def results(self, device: str, out: Path) -> list[dict]:
        """What was kept of the row's runs in a folder, by seed."""
        return [json.loads(f.read_text()) for f in sorted(out.glob(f"{self.key}-{device}-seed*.json"))]
