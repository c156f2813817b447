"""Input functions that are sampled in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import torch
from torch import Tensor

from ..errors import ProblemError, look_up, unknown_name
from .function import RandomFunction
from .waves import trigonometric

GROUPS = ("", "inputs/", "outputs/")


@dataclass(frozen=True)
class FromFile(RandomFunction):
    """Functions sampled on a grid in an HDF5 file; a draw is a choice of them without repetition.

    The one coefficient of a function is its number in the file. On the file's own grid the values are returned as they
    are, elsewhere they are interpolated: linearly by coordinate, or by trigonometric polynomials.

    Args:
        path: HDF5 file.
        name: Dataset of shape (B, n_1, …, n_D), alone or in the group "inputs" or "outputs"; axes in the order of
            `over`.
        interpolation: "linear" or "periodic".
        over: Coordinates of its axes. Where the file has "axes/x" (as a `SampleStore` has), these are the points of x;
            else n equispaced points of the box, both ends included, for "periodic" without the upper one.

    Raises:
        ProblemError: No such file, dataset or interpolation; axes that do not go with the box; more functions than
            there are; derivatives of linear interpolants.
    """

    path: str
    name: str
    interpolation: str = "linear"

    @property
    def count(self) -> int:
        """Functions in the file."""
        return self._read(lambda data, _: data.shape[0])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        total = self.count
        if count > total:
            raise ProblemError(f"{self.path} has {total} functions {self.name!r}, but {count} were asked for; ask for "
                               f"at most {total}, or draw from a law such as GaussianRandomField")
        chosen = torch.randperm(total, generator=generator, device=generator.device)[:count]
        return chosen[:, None].to(torch.float64)

    def grid(self) -> tuple[Tensor, ...]:
        """Points of the file by coordinate of `over`, each (n_d,), float64."""
        over = self._bound()
        assert self.sides is not None
        found = []
        for d, (coordinate, (lo, hi)) in enumerate(zip(over, self.sides, strict=True)):
            stored = self._read(lambda _, file, c=coordinate: file[f"axes/{c}"][()] if f"axes/{c}" in file else None)
            n = self._read(lambda data, _, d=d: data.shape[d + 1])
            if stored is None:
                ends = hi - (hi - lo) / n if self.interpolation == "periodic" else hi
                stored = torch.linspace(lo, ends, n, dtype=torch.float64).numpy()
            x = torch.as_tensor(stored, dtype=torch.float64)
            if x.shape != (n,) or bool((x.diff() <= 0).any()):
                raise ProblemError(f"axes/{coordinate} of {self.path} must be {n} increasing numbers, as many as "
                                   f"{self.name!r} has on that axis, not {tuple(x.shape)}")
            found.append(x)
        return tuple(found)

    def _weights(self, coefficients: Tensor) -> Tensor:
        wanted, back = torch.unique(coefficients.detach().long().reshape(-1).cpu(), return_inverse=True)
        values = torch.as_tensor(self._read(lambda data, _: data[wanted.numpy()]))
        return values[back].to(coefficients)

    def _basis(self, d: int, x: Tensor, order: int) -> Tensor | None:
        assert self.sides is not None
        lo, hi = self.sides[d]
        nodes = self.grid()[d].to(x.device)
        if order == 0 and x.shape == nodes.shape and torch.equal(x, nodes):
            return None
        if self.interpolation == "periodic":
            return trigonometric(len(nodes), hi - lo, x - nodes[0], order)
        if order:
            raise ProblemError(f"{self._name} interpolates {self.name!r} linearly and has no derivatives; take "
                               "interpolation='periodic' for periodic functions")
        slack = 1e-6 * (hi - lo)
        if bool((x < nodes[0] - slack).any()) or bool((x > nodes[-1] + slack).any()):
            raise ProblemError(f"{self.name!r} of {self.path} is known on [{float(nodes[0]):g}, "
                               f"{float(nodes[-1]):g}], not at "
                               f"{float(x.max() if x.max() > nodes[-1] else x.min()):g}; store it up to the end, "
                               "or take interpolation='periodic'")
        right = torch.searchsorted(nodes, x.contiguous()).clamp(1, len(nodes) - 1)
        share = ((x - nodes[right - 1]) / (nodes[right] - nodes[right - 1])).clamp(0, 1)
        table = x.new_zeros(len(x), len(nodes))
        rows = torch.arange(len(x), device=x.device)
        table[rows, right - 1], table[rows, right] = 1 - share, share
        return table

    def _read(self, get: Callable):
        with h5py.File(self.path, "r") as file:
            for group in GROUPS:
                data = file.get(group + self.name)
                if isinstance(data, h5py.Dataset):
                    return get(data, file)
            names = [n for g in GROUPS for n in (file[g] if g and g in file else ()) if n]
            raise ProblemError(f"{self.path}: " + unknown_name("dataset", self.name, [*names, *file]))

    def _check(self) -> None:
        look_up("interpolation", self.interpolation, {"linear": 0, "periodic": 1})
        if not Path(self.path).is_file():
            raise ProblemError(f"there is no file {self.path}; write one with SampleStore, or give its whole path")

    def _check_bound(self) -> None:
        D = self._read(lambda data, _: data.ndim) - 1
        if len(self._bound()) != D:
            raise ProblemError(f"{self.name!r} of {self.path} has {D} axes after that of the functions, but is over "
                               f"({', '.join(self._bound())}); name them in over=")
        steps = [x.diff() for x in self.grid()]
        if self.interpolation == "periodic":
            for step, (lo, hi) in zip(steps, self.sides or (), strict=True):
                if not torch.allclose(step, torch.full_like(step, (hi - lo) / (len(step) + 1)), rtol=1e-6):
                    raise ProblemError(f"interpolation='periodic' of {self.name!r} needs n points {hi - lo:g}/n apart, "
                                       "without the upper end; take interpolation='linear'")
