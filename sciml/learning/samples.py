"""Samples of a family: input functions and the reference solver's solutions, drawn, solved and kept on a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ProblemError
from ..generators import Accuracy, BatchSolver
from ..inputs import FromFile, RandomFunction
from ..problem import Problem
from ..samples import make_samples
from .layout import Layout

CHUNK = 100             # functions solved at once
TEST_SEED = 7_919       # further on, for test functions


@dataclass(frozen=True)
class Samples:
    """B functions of a family on one grid.

    Args:
        inputs: By name, (B, n, …) over the coordinates of each input.
        outputs: (B, n_1, …, n_d, C K): unknowns within times; None: not solved.
        seconds: That the reference solver took.
    """

    inputs: Mapping[str, Tensor]
    outputs: Tensor | None = None
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def part(self, index) -> Samples:
        """Some of them."""
        return Samples({n: v[index] for n, v in self.inputs.items()},
                       None if self.outputs is None else self.outputs[index], self.seconds)

    def to(self, like: Tensor) -> Samples:
        """In another dtype, on another device."""
        return Samples({n: v.to(like) for n, v in self.inputs.items()},
                       None if self.outputs is None else self.outputs.to(like), self.seconds)


def draw(problem: Problem, layout: Layout, count: int, seed: int, first: int = 0,
         test: bool = False) -> dict[str, Tensor]:
    """Input functions on the grid, float64; a seed gives the same functions on every grid.

    Args:
        problem: The family.
        layout: The grid.
        count, first: How many, and the number of the first; each has its own seed.
        seed: Of the whole set.
        test: Whether they are test functions, which training never sees.

    Raises:
        ProblemError: A file of functions holds too few.
    """
    nodes = layout.nodes
    found = coefficients(problem, count, seed, first, test)
    return {n: drawn.family.on_grid(found[n], {c: nodes[c] for c in drawn.family.over or ()})
            for n, drawn in problem.setting.inputs.items()}


def coefficients(problem: Problem, count: int, seed: int, first: int = 0, test: bool = False) -> dict[str, Tensor]:
    """Coefficients (B, M) of the functions of `draw`, by name."""
    generator = torch.Generator()
    laws = {n: drawn.family for n, drawn in problem.setting.inputs.items()}
    found: dict[str, list[Tensor]] = {n: [] for n in laws}
    for k in range(first, first + count):
        generator.manual_seed(((seed + TEST_SEED * test) * 1_000_003 + k) % (2**63 - 1))
        for name, law in laws.items():
            if not isinstance(law, FromFile):
                found[name].append(law.draw(1, generator))
    return {n: _chosen(law, count, seed, first, test) if isinstance(law, FromFile) else torch.cat(found[n])
            for n, law in laws.items()}


def _chosen(law: FromFile, count: int, seed: int, first: int, test: bool) -> Tensor:
    """Functions of a file in the random order of the seed: training counts from its front, test from its end."""
    order = law.draw(law.count, torch.Generator().manual_seed(seed))
    if first + count > len(order):
        raise ProblemError(f"{law.path} holds {len(order)} functions, and number {first + count} was asked for; lower "
                           "data.train and data.test, or leave data.fresh out")
    return order.flip(0)[first:first + count] if test else order[first:first + count]


def check_files(problem: Problem, train: int, test: int) -> None:
    """Raises a ProblemError if files of input functions hold too few for a training and a test set of their own."""
    for name, drawn in problem.setting.inputs.items():
        law = drawn.family
        if isinstance(law, FromFile) and train + test > law.count:
            raise ProblemError(f"input {name!r}: {law.path} holds {law.count} functions, and data.train={train} and "
                               f"data.test={test} need {train + test}, since no test function is trained on")


def solve_samples(problem: Problem, layout: Layout, count: int, seed: int, test: bool = False,
                  heard: Callable[[int], None] | None = None) -> Samples:
    """Input functions and their solutions by the problem's reference solver, float64.

    Args:
        problem, layout, count, seed, test: As in `draw`.
        heard: Told how many are solved.

    Raises:
        ProblemError: The reference is no solver of families.
    """
    import time

    if not isinstance(problem.reference, BatchSolver):
        raise ProblemError("the problem's reference solves no family of input functions; give one of sciml.generators "
                           "as reference=, or train with loss=residual")
    inputs = draw(problem, layout, count, seed, test=test)
    outputs = []
    start = time.perf_counter()
    for i in range(0, count, CHUNK):
        outputs.append(_solved(problem, layout, {n: v[i:i + CHUNK] for n, v in inputs.items()}))
        if heard is not None:
            heard(min(i + CHUNK, count))
    return Samples(inputs, torch.cat(outputs), time.perf_counter() - start)


def stored_samples(problem: Problem, layout: Layout, path: str, train: int, test: int, seed: int,
                   heard: Callable[[int, int], None] | None = None) -> tuple[Samples, Samples, float]:
    """Training and test samples of a file, float64, and the seconds of their solutions.

    The file is made if it does not exist, part by part, and a run that was killed goes on with it.

    Args:
        problem, layout: As in `draw`.
        path: HDF5 file, see `found_file`.
        train, test: Numbers of functions.
        seed: Of the draws, which are other functions than those of `draw`.
        heard: Told (done, total).

    Raises:
        ProblemError: The file holds samples of something else.
    """
    laws: dict[str, RandomFunction] = {}
    for name, drawn in problem.setting.inputs.items():
        assert isinstance(drawn.family, RandomFunction)
        laws[name] = drawn.family
    assert isinstance(problem.reference, BatchSolver)
    nodes = layout.nodes
    times = _times(problem, layout, nodes)
    path = found_file(problem, path)
    try:
        store = make_samples(path, laws, problem.reference, nodes, {"train": train, "test": test}, seed, times=times,
                             progress=heard or False)
    except OSError as error:
        raise ProblemError(f"data.file={path!r} is no HDF5 file or cannot be written ({error.strerror or error})") \
            from error
    found = []
    for part in ("train", "test"):
        fields = store.read(part, dtype=torch.float64)
        found.append(Samples({n: fields[n] for n in laws}, _arranged(fields, layout)))
    return found[0], found[1], store.seconds


def found_file(problem: Problem, path: str) -> str:
    """A file that is there, in the current folder or beside the problem file; else the path as it is, to be made."""
    if problem.source is None or Path(path).is_absolute() or Path(path).exists():
        return path
    beside = problem.source.path.resolve().parent / path
    return str(beside) if beside.is_file() else path


def accuracy(problem: Problem, layout: Layout, seed: int, count: int = 4) -> Accuracy:
    """How far the reference solver is from a finer solve, on a few functions."""
    given = coefficients(problem, count, seed, test=True)
    nodes = layout.nodes
    times = _times(problem, layout, nodes)

    def on(axes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: drawn.family.on_grid(given[n], {c: axes[c] for c in drawn.family.over or ()})
                for n, drawn in problem.setting.inputs.items()}

    assert isinstance(problem.reference, BatchSolver)
    return problem.reference.accuracy(on, nodes, times)


def _times(problem: Problem, layout: Layout, nodes: dict[str, Tensor]) -> Tensor | None:
    """Times since the start, which solvers count from; time is taken out of the nodes."""
    times = nodes.pop("t", layout.times)
    bounds = dict(zip(problem.domain.names, problem.domain.bounds, strict=True))
    return times if times is None else times - bounds["t"][0]


def _solved(problem: Problem, layout: Layout, inputs: Mapping[str, Tensor]) -> Tensor:
    """Solutions (B, n_1, …, n_d, C K)."""
    nodes = layout.nodes
    times = _times(problem, layout, nodes)
    assert isinstance(problem.reference, BatchSolver)
    return _arranged(problem.reference.solve(inputs, nodes, times=times), layout)


def _arranged(found: Mapping[str, Tensor], layout: Layout) -> Tensor:
    """Unknowns as channels, within times."""
    if layout.times is None:
        return torch.stack([found[n] for n in layout.unknowns], -1)
    return torch.stack([found[n] for n in layout.unknowns], -1).flatten(-2)          # (B, n…, K, C) → K C
