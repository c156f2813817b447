"""Users' arrays in HDF5, NPZ and MATLAB files, with the order of their axes stated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
from torch import Tensor

from ..errors import ProblemError, unknown_name
from .samples import ArraySamples, Samples

LARGE = 2**28  # bytes of an HDF5 file's fields that are read at once


@dataclass(frozen=True)
class Array:
    """An array of a file.

    Args:
        name: Of the dataset, e.g. "sol" or "group/sol".
        order: Its axes in the file's order, names apart by spaces: "b" the instances, coordinates by their names, "t"
            times, "1" an axis of length one, which is dropped; e.g. "b t x y". MATLAB's arrays as MATLAB shows them.
            Without "b" it is the same for all instances.
        at: Index by axis name of an axis that is to be left out, such as ``{"c": 0}`` for a channel.
    """

    name: str
    order: str
    at: Mapping[str, int] | None = None


class FileSamples(Samples):
    """Samples in an HDF5 file of any layout, read by index.

    Made by `load_arrays`, which says what its arguments are.
    """

    def __init__(self, path: str | Path, fields: Mapping[str, Array], inputs: Sequence[str], axes: Mapping[str, Tensor],
                 times: Tensor | None, splits: Mapping[str, Tensor], count: int,
                 get: Callable[[h5py.File, str, np.ndarray], np.ndarray]):
        self.path, self._fields, self._count, self._get = Path(path), dict(fields), count, get
        self.inputs = tuple(inputs)
        self.outputs = tuple(name for name in fields if name not in inputs)
        self.axes, self.times, self.splits = axes, times, splits

    def __len__(self) -> int:
        return self._count

    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        with h5py.File(self.path, "r") as file:
            return self._get(file, name, rows)


def load_arrays(
    path: str | Path,
    fields: Mapping[str, Array],
    inputs: Sequence[str],
    axes: Mapping[str, Tensor | Array | Sequence[float]],
    *,
    times: Tensor | Array | Sequence[float] | None = None,
    strides: Mapping[str, int] | None = None,
    splits: Mapping[str, Sequence[int]] | None = None,
) -> Samples:
    """Samples from a file of someone else.

    HDF5 files (also MATLAB's of version 7.3) are read by index when their fields are larger than 256 MiB, other files
    and smaller ones at once.

    Args:
        path: File that ends in .h5, .hdf5, .npz or .mat.
        fields: Arrays by the name that the field shall have. Fields get the order b, coordinates of `axes`, t.
        inputs: Names of the inputs; the other fields are outputs.
        axes: Points by coordinate: numbers, or the array that holds them.
        times: Likewise.
        strides: Every so many points are taken, by coordinate or "t".
        splits: Lists of indices by name.

    Raises:
        ProblemError: No such file, array or axis; an order that does not have as many axes as its array; lengths that
            differ from those of `axes`.
    """
    path = Path(path)
    if not path.is_file():
        raise ProblemError(f"there is no file {path}; give the path of an HDF5, NPZ or MATLAB file")
    open_ = _opener(path)
    with open_() as file:
        points = {name: _points(file, x, name) for name, x in axes.items()}
        moments = None if times is None else _points(file, times, "t")
        known = [*points, "t"] if moments is not None else list(points)
        plans = {name: _Plan(array, file.array(array.name).shape, known, path) for name, array in fields.items()}
        count = max((plan.count for plan in plans.values()), default=0)
        steps = {name: slice(None, None, (strides or {}).get(name, 1)) for name in known}
        lengths = {**points, **({} if moments is None else {"t": moments})}
        for name, plan in plans.items():
            plan.check(name, {key: len(x) for key, x in lengths.items()}, count)
        on = {name: x[steps[name]] for name, x in points.items()}
        kept = None if moments is None else moments[steps["t"]]
        lists = {k: torch.as_tensor(v, dtype=torch.long) for k, v in (splits or {"all": range(count)}).items()}
        large = sum(file.array(a.name).nbytes for a in fields.values()) > LARGE
        if large and isinstance(file, _HDF5):
            turned = file.turned
            get = lambda opened, name, rows: plans[name].take(
                _HDF5(opened, turned).array(fields[name].name), rows, steps)
            return FileSamples(path, fields, inputs, on, kept, lists, count, get)
        every = np.arange(count)
        whole = {name: plan.take(file.array(fields[name].name), every, steps) for name, plan in plans.items()}
    return ArraySamples(whole, inputs, on, kept, lists)


class _Plan:
    """How an array of a file becomes a field."""

    def __init__(self, array: Array, shape: tuple[int, ...], known: Sequence[str], path: Path):
        self.array, self.axes, self.shape = array, array.order.split(), shape
        if len(self.axes) != len(shape):
            raise ProblemError(f"{array.name!r} of {path} has {len(shape)} axes {shape}, but order={array.order!r} "
                               f"names {len(self.axes)}; name every axis of the file")
        for name, size in zip(self.axes, shape, strict=True):
            if name not in ("b", "1", *known) and name not in (array.at or {}):
                raise ProblemError(unknown_name(f"axis in order={array.order!r} of", name, ("b", "1", *known)))
            if name == "1" and size != 1:
                raise ProblemError(f"order={array.order!r} of {array.name!r} says an axis has length 1; it has {size}")
        self.order = [name for name in ("b", *known) if name in self.axes]
        self.count = shape[self.axes.index("b")] if "b" in self.axes else 0

    def check(self, name: str, lengths: Mapping[str, int], count: int) -> None:
        """Raises a ProblemError where the array has other lengths."""
        for axis, size in zip(self.axes, self.shape, strict=True):
            expected = count if axis == "b" else lengths.get(axis, size)
            if size != expected:
                raise ProblemError(f"{name!r} has {size} entries along {axis!r} (order={self.array.order!r}, shape "
                                   f"{self.shape}), but there are {expected}; state another order, or other axes")

    def take(self, data, rows: np.ndarray, steps: Mapping[str, slice]) -> np.ndarray:
        """The field's rows: axes left out, strides taken, axes in the field's order."""
        index: list = []
        left = []
        for name in self.axes:
            if name in (self.array.at or {}):
                index.append((self.array.at or {})[name])
            elif name == "1":
                index.append(0)
            else:
                index.append(slice(None) if name == "b" else steps[name])
                left.append(name)
        if "b" in left:
            at = self.axes.index("b")
            index[at] = rows if len(rows) < self.count else slice(None)
        found = np.transpose(np.asarray(data[tuple(index)]), [left.index(name) for name in self.order])
        return found if "b" in left else np.broadcast_to(found, (len(rows), *found.shape))


class _HDF5:
    """An open HDF5 file; those of MATLAB have their axes turned round."""

    def __init__(self, file: h5py.File, turned: bool):
        self.file, self.turned = file, turned

    def __enter__(self) -> _HDF5:
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def array(self, name: str):
        """A dataset, its axes in MATLAB's order where it is MATLAB's."""
        if not isinstance(self.file.get(name), h5py.Dataset):
            raise ProblemError(unknown_name("array", name, self.file))
        return _Turned(self.file[name]) if self.turned else self.file[name]


class _Turned:
    """A dataset with its axes in reverse order."""

    def __init__(self, data: h5py.Dataset):
        self.data, self.shape, self.nbytes = data, tuple(reversed(data.shape)), data.nbytes

    def __getitem__(self, index: tuple) -> np.ndarray:
        return np.asarray(self.data[tuple(reversed(index))]).T


class _Memory:
    """Arrays that are read as a whole."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = arrays

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *_) -> None:
        pass

    def array(self, name: str) -> np.ndarray:
        """An array."""
        if name not in self.arrays:
            raise ProblemError(unknown_name("array", name, [n for n in self.arrays if not n.startswith("__")]))
        return self.arrays[name]


def _opener(path: Path) -> Callable[[], _HDF5 | _Memory]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return lambda: _Memory(arrays)
    if path.suffix == ".mat" and not h5py.is_hdf5(path):
        found = scipy.io.loadmat(path)
        return lambda: _Memory(found)
    if path.suffix in (".h5", ".hdf5", ".mat"):
        return lambda: _HDF5(h5py.File(path, "r"), path.suffix == ".mat")
    raise ProblemError(f"{path.name} ends in {path.suffix or 'nothing'}; expected .h5, .hdf5, .npz or .mat")


def _points(file: _HDF5 | _Memory, given: Tensor | Array | Sequence[float], name: str) -> Tensor:
    values = np.asarray(file.array(given.name)[...] if isinstance(file, _Memory) else
                        np.asarray(file.file[given.name])) if isinstance(given, Array) else given
    x = torch.as_tensor(np.asarray(values), dtype=torch.float64).reshape(-1)
    if bool((x.diff() <= 0).any()):
        raise ProblemError(f"the points of {name!r} must increase; they begin with {x[:4].tolist()}")
    return x


def load_pdebench(
    path: str | Path, *, initial: int = 1, strides: Mapping[str, int] | None = None,
    splits: Mapping[str, Sequence[int]] | None = None,
) -> Samples:
    """Samples in PDEBench's layout of one unknown.

        tensor (B, T, n_x[, n_y])    x-coordinate    [y-coordinate]    t-coordinate    [nu (B, n_x, n_y)]

    In time: the input "u0" is the first record, the output "u" all later ones. With "nu" (Darcy flow): the input is
    "nu", the output "u" the one record.

    Args:
        path: HDF5 file.
        initial: Records that are the input; more than one are times of "u0".
        strides, splits: See `load_arrays`.

    Raises:
        ProblemError: Another layout.

    Source: Takamoto et al. (2022), arXiv:2210.07182. Its t-coordinate has one point more than the tensor, which is left
    out; files of several unknowns (density, pressure, …) are for `load_arrays`.
    """
    with h5py.File(path, "r") as file:
        if "tensor" not in file or "x-coordinate" not in file:
            raise ProblemError(f"{path} has {', '.join(file)}, not PDEBench's tensor and x-coordinate; state its "
                               "layout with load_arrays")
        shape = file["tensor"].shape
        if len(shape) not in (3, 4):
            raise ProblemError(f"tensor of {path} has shape {shape}; expected (B, T, n_x) or (B, T, n_x, n_y)")
        names = "xy"[:len(shape) - 2]
        axes = {name: torch.as_tensor(file[f"{name}-coordinate"][()]) for name in names}
        t = torch.as_tensor(file["t-coordinate"][()])[:shape[1]] if "t-coordinate" in file else torch.arange(shape[1])
        steady = "nu" in file
    order = " ".join(names)
    if steady:
        fields = {"nu": Array("nu", f"b {order}"), "u": Array("tensor", f"b 1 {order}")}
        return load_arrays(path, fields, ["nu"], axes, strides=strides, splits=splits)
    if not 1 <= initial < len(t):
        raise ProblemError(f"initial={initial} must be at least 1 and below the {len(t)} records of {path}")
    fields = {"u": Array("tensor", f"b t {order}")}
    every = load_arrays(path, fields, [], axes, times=t, strides=strides, splits=splits)
    return _Rollout(every, initial)


class _Rollout(Samples):
    """Records of one unknown, the first of them as its input."""

    def __init__(self, every: Samples, initial: int):
        assert every.times is not None
        self.every, self.initial = every, initial
        self.inputs, self.outputs = ("u0",), ("u",)
        self.axes, self.times, self.splits = every.axes, every.times[initial:], every.splits

    def __len__(self) -> int:
        return len(self.every)

    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        u = self.every._rows("u", rows)
        if name == "u":
            return u[..., self.initial:]
        return u[..., 0] if self.initial == 1 else u[..., :self.initial]
