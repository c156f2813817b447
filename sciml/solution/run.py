"""Run folders: what a run leaves on disk, written so that a kill at any moment loses at most the last report.

    problem.py      copy of the problem file            metrics.jsonl   a line per report
    config.json     resolved recipe and overrides       solution.h5     coordinates, prediction, reference, points
    checkpoint.pt   everything that resume needs        result.json     status, errors, seconds, seed, versions
    points.h5       where points were, if they moved    figures/*.png

Every file but metrics.jsonl is written beside its place and moved there in one step; metrics.jsonl only grows, and a
line that was cut short is left out when it is read.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import ProblemError
from .trail import Trail


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: The folder; made on the first write.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def check(self) -> None:
        """Changes nothing.

        Raises:
            ProblemError: The folder holds something else than a run, or cannot be made or written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ProblemError(f"{self.path} is a file; name a folder for the run")
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "config.json").is_file():
            raise ProblemError(f"{self.path} is not empty and no run folder; name a new folder, or an earlier run to "
                               "replace")
        there = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = "may not be written to" if there.is_dir() else "is a file"
            raise ProblemError(f"the run folder {self.path} cannot be written ({there} {why}); name another folder")

    def prepare(self) -> None:
        """Makes the folder, and clears it of the files of an earlier run.

        Raises:
            ProblemError: The folder holds something else than a run.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        self.tidy()
        for name in ("checkpoint.pt", "result.json", "solution.h5", "metrics.jsonl", "points.h5"):
            (self.path / name).unlink(missing_ok=True)
        for figure in (self.path / "figures").glob("*.png"):
            figure.unlink()

    def tidy(self) -> None:
        """Removes what writes that were killed have left."""
        for partial in self.path.glob(".*.tmp"):
            partial.unlink(missing_ok=True)

    def _replace(self, name: str, content: bytes) -> None:
        """A file, all of it or nothing: written beside its place, and moved there once it is on the disk."""
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f".{name}.{os.getpid()}.tmp"
        try:
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path / name)
        finally:
            partial.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """A text file, all of it or nothing."""
        self._replace(name, text.encode())

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
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ProblemError(f"{path} is damaged ({error}); run the problem again") from error
        if not isinstance(content, dict):
            raise ProblemError(f"{path} is damaged (it holds no table of names and values); run the problem again")
        return content

    def append_metrics(self, reports: Sequence[Mapping]) -> None:
        """More lines of metrics.jsonl; none of them if the disk is full."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "metrics.jsonl"
        before = path.stat().st_size if path.is_file() else 0
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(r, default=_plain) + "\n" for r in reports))
        except OSError:
            if path.is_file():
                os.truncate(path, before)
            raise

    def read_metrics(self) -> list[dict]:
        """The reports so far; lines that were cut short are left out."""
        path = self.path / "metrics.jsonl"
        reports = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
            try:
                report = json.loads(line)
            except ValueError:
                continue
            if isinstance(report, dict) and {"step", "seconds", "loss"} <= set(report):
                reports.append(report)
        return reports

    def truncate_metrics(self, step: int) -> None:
        """Drops reports after `step` (those a resumed run will write again)."""
        kept = [r for r in self.read_metrics() if r["step"] <= step]
        self.write_text("metrics.jsonl", "".join(json.dumps(r) + "\n" for r in kept))

    def save_checkpoint(self, state: Mapping) -> None:
        """The state of a training, all of it or nothing."""
        buffer = io.BytesIO()              # torch's own writer turns a full disk into an error without a reason
        torch.save(dict(state), buffer)
        self._replace("checkpoint.pt", buffer.getvalue())

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to resume from."""
        return (self.path / "checkpoint.pt").is_file()

    @property
    def holds_operator(self) -> bool:
        """Whether the run learnt an operator: its config has samples."""
        return "loss" in self.read_json("config.json")

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

    def write_trail(self, trail: Trail) -> None:
        """points.h5, all of it or nothing."""
        self._replace("points.h5", trail.as_bytes())

    def read_trail(self, step: int) -> Trail:
        """The trail of points up to a step; an empty one if there is none, or none that can be read."""
        path = self.path / "points.h5"
        try:
            return Trail.from_bytes(path.read_bytes(), step)
        except (OSError, KeyError):                    # a figure less is no reason not to resume
            return Trail()

    def write_solution(self, attributes: Mapping[str, str | Sequence[str]],
                       groups: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """solution.h5: groups of arrays, and attributes (text or sequences of it); group names may contain slashes."""
        import h5py

        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for key, value in attributes.items():
                file.attrs[key] = value if isinstance(value, str) else np.array(list(value), dtype=h5py.string_dtype())
            for group, arrays in groups.items():
                folder = file.require_group(group)
                for name, values in arrays.items():
                    folder.create_dataset(name, data=np.asarray(values))
        self._replace("solution.h5", buffer.getvalue())


def _plain(value):
    """JSON form of numbers and paths."""
    if isinstance(value, (np.floating, np.integer)):
        return value.item()
    if isinstance(value, (torch.Tensor,)):
        return value.tolist()
    return str(value)
