"""Run folders: what a run leaves on disk, written so that a kill at any moment loses at most the last report.

    problem.py      copy of the problem file            metrics.jsonl   a line per report
    config.json     resolved recipe and overrides       solution.h5     coordinates, prediction, reference, points
    checkpoint.pt   everything that resume needs        result.json     status, errors, seconds, seed, versions
    figures/*.png

Every file but metrics.jsonl is written beside its place and moved there in one step; metrics.jsonl only grows, and a line that
was cut short is left out when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..errors import ProblemError


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: The folder; made on the first write.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def _replace(self, name: str, write) -> Path:
        """Writes a file through `write(temporary path)` and moves it into place."""
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / name
        partial = self.path / f".{name}.{os.getpid()}.tmp"
        try:
            write(partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def write_text(self, name: str, text: str) -> None:
        """A text file, all of it or nothing."""
        self._replace(name, lambda p: p.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, content: Mapping) -> None:
        """A JSON file, all of it or nothing."""
        self.write_text(name, json.dumps(content, indent=2, default=_plain) + "\n")

    def read_json(self, name: str) -> dict:
        """Content of a JSON file of the run.

        Raises:
            ProblemError: Missing or damaged.
        """
        path = self.path / name
        if not path.is_file():
            raise ProblemError(f"{self.path} is no run folder: it has no {name}")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ProblemError(f"{path} is damaged ({error}); run the problem again") from error

    def append_metrics(self, report: Mapping) -> None:
        """One more line of metrics.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(report, default=_plain) + "\n")

    def read_metrics(self) -> list[dict]:
        """The reports so far; lines that were cut short are left out."""
        path = self.path / "metrics.jsonl"
        reports = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                reports.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return reports

    def truncate_metrics(self, step: int) -> None:
        """Drops reports after `step` (those a resumed run will write again)."""
        kept = [r for r in self.read_metrics() if r["step"] <= step]
        self.write_text("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in kept))

    def save_checkpoint(self, state: Mapping) -> None:
        """The state of a training, all of it or nothing."""
        self._replace("checkpoint.pt", lambda p: torch.save(dict(state), p))

    def load_checkpoint(self, device: str = "cpu") -> dict:
        """The saved state; never executes code from the file.

        Raises:
            ProblemError: Missing, truncated or not a checkpoint of ours.
        """
        path = self.path / "checkpoint.pt"
        if not path.is_file():
            raise ProblemError(f"{self.path} has no checkpoint.pt to resume from")
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:
            raise ProblemError(f"{path} cannot be read ({type(error).__name__}); it is truncated or of another kind. "
                               "Start the run again") from error
        if not isinstance(state, dict) or "step" not in state:
            raise ProblemError(f"{path} is not a checkpoint of sciml")
        return state

    def write_solution(self, attributes: Mapping[str, object], groups: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """solution.h5: groups of arrays and attributes; group names may contain slashes."""
        import h5py

        def write(path):
            with h5py.File(path, "w") as file:
                for key, value in attributes.items():
                    file.attrs[key] = value
                for group, arrays in groups.items():
                    folder = file.require_group(group)
                    for name, values in arrays.items():
                        folder.create_dataset(name, data=np.asarray(values))

        self._replace("solution.h5", write)


def _plain(value):
    """JSON form of numbers and paths."""
    if isinstance(value, (np.floating, np.integer)):
        return value.item()
    if isinstance(value, (torch.Tensor,)):
        return value.tolist()
    return str(value)
