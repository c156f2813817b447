"""What samples are to whoever learns from them: fields by name, read by lists of indices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError, unknown_name


class Samples(ABC):
    """Input and output functions of B instances on one grid, read by index.

    Fields have shape (B, n_1, …, n_d), with times (B, n_1, …, n_d, K); numbers have shape (B,).

    Attributes:
        inputs, outputs: Names.
        axes: Points (n,) by coordinate, float64.
        times: (K,), or None.
        splits: Lists of indices by name.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: Mapping[str, Tensor]
    times: Tensor | None
    splits: Mapping[str, Tensor]

    @abstractmethod
    def __len__(self) -> int:
        """B."""

    @abstractmethod
    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Rows of a field, numbers increasing and without repetition."""

    def read(
        self, indices: Sequence[int] | Tensor | str, names: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """Fields of some instances; only these are read.

        Args:
            indices: In any order, repeated or not, or the name of a split.
            names: Fields; None: all inputs and outputs.
            dtype: Of the result.

        Raises:
            ProblemError: No such split, field or instance.
        """
        wanted = self.indices(indices)
        if len(wanted) and (int(wanted.min()) < 0 or int(wanted.max()) >= len(self)):
            raise ProblemError(f"there are {len(self)} samples, numbered from 0; index {int(wanted.max())} or "
                               f"{int(wanted.min())} is not among them")
        known = (*self.inputs, *self.outputs)
        for name in names or ():
            if name not in known:
                raise ProblemError(unknown_name("field of the samples", name, known))
        rows, back = torch.unique(wanted, return_inverse=True)
        return {name: torch.as_tensor(self._rows(name, rows.numpy())).to(dtype)[back] for name in names or known}

    def indices(self, which: Sequence[int] | Tensor | str) -> Tensor:
        """Indices (N,) of a split, or of a list."""
        if not isinstance(which, str):
            return torch.as_tensor(which, dtype=torch.long).reshape(-1)
        if which not in self.splits:
            raise ProblemError(unknown_name("split", which, self.splits))
        return self.splits[which]

    def stream(
        self, indices: Sequence[int] | Tensor | str, size: int, generator: torch.Generator | None = None,
        names: Sequence[str] | None = None, dtype: torch.dtype = torch.float32,
    ) -> Iterator[dict[str, Tensor]]:
        """Batches of at most `size` instances, one at a time in memory; shuffled where a generator is given."""
        wanted = self.indices(indices)
        if generator is not None:
            wanted = wanted[torch.randperm(len(wanted), generator=generator)]
        for part in wanted.split(size):
            yield self.read(part, names, dtype)


class ArraySamples(Samples):
    """Samples in memory.

    Args:
        fields: Arrays or tensors by name, the instances first.
        inputs: Names of the inputs; the others are outputs.
        axes: Points by coordinate.
        times: (K,), or None.
        splits: Lists of indices by name; none: ``{"all": …}``.

    Raises:
        ProblemError: Fields with different numbers of instances, or names that are not among them.
    """

    def __init__(self, fields: Mapping[str, np.ndarray | Tensor], inputs: Sequence[str], axes: Mapping[str, Tensor],
                 times: Tensor | None = None, splits: Mapping[str, Sequence[int] | Tensor] | None = None):
        self._fields = {name: np.asarray(values) for name, values in fields.items()}
        counts = {name: len(values) for name, values in self._fields.items()}
        if len(set(counts.values())) != 1:
            raise ProblemError(f"fields must have one number of instances, not {counts}; state the order of their axes")
        for name in inputs:
            if name not in counts:
                raise ProblemError(unknown_name("field", name, counts))
        self._count = next(iter(counts.values()))
        self.inputs = tuple(inputs)
        self.outputs = tuple(name for name in counts if name not in inputs)
        self.axes = {name: torch.as_tensor(x, dtype=torch.float64) for name, x in axes.items()}
        self.times = None if times is None else torch.as_tensor(times, dtype=torch.float64)
        lists = splits or {"all": torch.arange(self._count)}
        self.splits = {name: torch.as_tensor(rows, dtype=torch.long) for name, rows in lists.items()}

    def __len__(self) -> int:
        return self._count

    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._fields[name][rows]
