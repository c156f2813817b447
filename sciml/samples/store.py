"""Samples in an HDF5 file, written shard by shard.

    inputs/NAME, outputs/NAME    (B, n_1, …, n_d[, K]) float32       coefficients/NAME    (B, M) float64
    axes/NAME, times             float64                             splits/NAME          indices
    attributes: seed, solver, accuracy, worst, how, seconds

A shard is a file of its own in PATH.parts until all are there; each appears whole or not at all, so that a killed run
goes on where it was. Then they become one file, which appears at once.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError
from .samples import Samples

GROUPS = ("inputs", "outputs", "coefficients")


class SampleStore(Samples):
    """An HDF5 file of samples; nothing but indices and axes is kept in memory.

    Args:
        path: The file.

    Attributes:
        seed, solver, accuracy, worst, how, seconds: How they were made: the seed, the solver in words, the mean and
            largest relative L2 difference from a finer solve and how it was found (NaN, "" where it was not), and the
            process seconds that the solves took.

    Raises:
        ProblemError: No such file, or one of another layout.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            parts = shards(self.path)
            raise ProblemError(f"there are no samples in {path}" + (
                f", only parts of them in {parts}: call make_samples again to go on" if parts.is_dir() else ""))
        with h5py.File(self.path, "r") as file:
            if "outputs" not in file or "inputs" not in file:
                raise ProblemError(f"{path} is not a store of samples: it has {', '.join(file)}, expected inputs, "
                                   "outputs, axes; load other layouts with load_arrays")
            self.inputs, self.outputs = tuple(file["inputs"]), tuple(file["outputs"])
            self._count = len(file["outputs"][self.outputs[0]])
            names = json.loads(file.attrs.get("axes", "[]")) or list(file["axes"])
            self.axes = {name: torch.as_tensor(file["axes"][name][()]) for name in names}
            self.times = torch.as_tensor(file["times"][()]) if "times" in file else None
            self.splits = {name: torch.as_tensor(rows[()]) for name, rows in file.get("splits", {}).items()}
            self.seed, self.solver = int(file.attrs.get("seed", -1)), str(file.attrs.get("solver", ""))
            self.accuracy, self.worst = (float(file.attrs.get(k, float("nan"))) for k in ("accuracy", "worst"))
            self.how, self.seconds = str(file.attrs.get("how", "")), float(file.attrs.get("seconds", float("nan")))

    def __len__(self) -> int:
        return self._count

    def coefficients(self, name: str, indices) -> Tensor:
        """Coefficients of an input's draws, shape (N, M), float64: the same functions on any other grid.

        Raises:
            ProblemError: They are not in the file.
        """
        rows, back = torch.unique(self.indices(indices), return_inverse=True)
        with h5py.File(self.path, "r") as file:
            if f"coefficients/{name}" not in file:
                raise ProblemError(f"{self.path} has no coefficients of {name!r}; it was not made by make_samples")
            return torch.as_tensor(file[f"coefficients/{name}"][rows.numpy()])[back]

    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        with h5py.File(self.path, "r") as file:
            return file["inputs" if name in self.inputs else "outputs"][name][rows]


def shards(path: Path) -> Path:
    """Folder of the parts of a file that is being written."""
    return path.with_name(path.name + ".parts")


def write_shard(folder: Path, number: int, fields: Mapping[str, Mapping[str, Tensor]], seconds: float) -> None:
    """A part, which appears whole or not at all.

    Args:
        folder: From `shards`.
        number: Of the part.
        fields: By group and name, the instances first.
        seconds: That it took.
    """
    partial = folder / f"{number:06d}.partial"
    with h5py.File(partial, "w") as file:
        for group, tensors in fields.items():
            for name, values in tensors.items():
                kept = values if group == "coefficients" else values.to(torch.float32)
                file[f"{group}/{name}"] = kept.detach().cpu().numpy()
        file.attrs["seconds"] = seconds
    os.replace(partial, folder / f"{number:06d}.h5")


def join(path: Path, count: int, size: int, about: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
    """One file of all parts, which appears at once; then the parts are removed.

    Args:
        path: The file.
        count: Instances.
        size: Instances of a part; the last has the rest.
        about: Attributes.
        arrays: Datasets by path in the file.
    """
    folder = shards(path)
    partial = folder / "whole.partial"
    seconds = 0.0
    with h5py.File(partial, "w") as whole:
        for start in range(0, count, size):
            with h5py.File(folder / f"{start // size:06d}.h5", "r") as part:
                seconds += float(part.attrs["seconds"])
                for group in GROUPS:
                    for name, rows in part.get(group, {}).items():
                        data = whole.require_dataset(f"{group}/{name}", (count, *rows.shape[1:]), rows.dtype)
                        data[start:start + len(rows)] = rows[()]
        for name, values in arrays.items():
            whole[name] = values
        whole.attrs.update({**about, "seconds": seconds})
    os.replace(partial, path)
    shutil.rmtree(folder)
