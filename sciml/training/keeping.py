"""Keeping a run: reports and checkpoints as they come, on a disk that may be full.

A write that fails costs what it would have kept, not the run: it is tried again at the next report, and what is on the
disk from before stays whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..learning import OperatorSolution, OperatorTraining
from ..solution import RunFolder, Solution, Trail
from .training import Training

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 10.0
SHARE = 0.02             # of the time, at most, goes into checkpoints that come more often


class Keeper:
    """The history of a run, its last good state, the trail of its points, and all of them on disk.

    Args:
        run: Run folder; None: nothing is written.
        history: Reports so far.
        step: Where the run begins; of an earlier part of it, the trail is read.
    """

    def __init__(self, run: RunFolder | None, history: list[dict], step: int = 0):
        self.run, self.history = run, history
        self.trail = Trail() if run is None or not step else run.read_trail(step)
        self.state: dict = {}
        self.trouble = ""
        self._pending: list[dict] = []
        self._cost, self._saved = 0.0, 0.0

    def write(self, action: Callable[[RunFolder], object]) -> bool:
        """Whether a write went well; if not, `trouble` says why."""
        if self.run is None:
            return True
        try:
            action(self.run)
        except OSError as error:
            first = not self.trouble
            self.trouble = f"{self.run.path} cannot be written ({error.strerror or error})"
            if first:
                log.warning("%s; the run goes on and tries again", self.trouble)
            return False
        return True

    def report(self, report: dict) -> None:
        """One more report; it takes the place of the last one if that is of the same step."""
        if self.history and self.history[-1]["step"] == report["step"]:
            self.history.pop()
        else:
            self._pending.append(report)
        self.history.append(report)
        if self._pending and self.write(lambda run: run.append_metrics(self._pending)):
            self._pending = []

    def checkpoint(self, training: Training | OperatorTraining, always: bool = False) -> None:
        """Takes and writes the state, if it is time to."""
        if self.run is not None:
            self.trail.add(training.step, training.seconds, training.drawn_points())
        elapsed = training.seconds - self._saved
        if not always and elapsed < min(CHECKPOINT_SECONDS, self._cost / SHARE):
            return
        start = time.perf_counter()
        self.state = training.state_dict()
        kept = self.write(lambda run: run.save_checkpoint(self.state))
        if self.trail.moves:
            kept = self.write(lambda run: run.write_trail(self.trail)) and kept
        if kept:
            self.trouble = ""
        self._saved, self._cost = training.seconds, time.perf_counter() - start

    def results(self, solution: Solution | OperatorSolution) -> None:
        """solution.h5 and result.json; what could not be written becomes the status."""
        kept = self.write(solution.write_arrays)
        if self._pending or not kept:
            self.trouble = self.trouble or "the reports could not be written"
        if self.trouble:
            prefix = "" if solution.status == "ok" else f"{solution.status}; "
            solution.status = f"{prefix}{self.trouble}; the files in it are from before that"
        self.write(solution.write_result)
