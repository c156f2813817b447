"""Ctrl-C and SIGTERM during a run: stop after the step, then save, report and draw; a second signal kills."""

from __future__ import annotations

import os
import signal
import threading

REASONS = {signal.SIGINT: "interrupted by the user", signal.SIGTERM: "stopped by SIGTERM"}
SHOW_CURSOR = b"\x1b[?25h"


class Interruption:
    """Whether the user asked a run to stop; a context that listens for signals.

    A step is never cut in two: the first signal only sets a flag that the training reads after the step. It also hands
    the signal back to the system, so that the second one ends the process at once; files are whole at any moment.
    """

    def __init__(self):
        self.reason = ""
        self._before: dict = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._ask) for s in REASONS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> str:
        """The reason to stop, or an empty text."""
        return self.reason

    def _ask(self, number, frame) -> None:
        self.reason = REASONS[number]
        for each in REASONS:
            signal.signal(each, signal.SIG_DFL)
        # The streams' own buffers may be in use at this moment; the descriptors are safe.
        if os.isatty(1):
            os.write(1, SHOW_CURSOR)
        else:
            os.write(2, b"sciml: stopping after this step; once more to abort at once\n")
