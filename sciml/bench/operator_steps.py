"""One training step of a Fourier neural operator, beside neuraloperator's of the same shape, in one process.

Batch 20, 4 layers, loss = mean square, forward and backward. The peer is `neuralop.models.FNO` without its channel MLP
and positional embedding, with as many channels and hidden units of the projection; it has complex weights for
2m × … × (m + 1) modes where ours has (2m − 1) × … × m. Repetitions alternate between the two, CPU seconds are
medians, and ratios are medians of the ratios of neighbours. Without the package (`pip install neuraloperator==2.0.0`)
only ours is measured.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from ..operators import FNO

BATCH, LAYERS, PROJECTION, CHANNELS = 20, 4, 128, 3


@dataclass(frozen=True)
class Shape:
    """A row: grid, channels inside, modes along each axis, and the ratio to the peer that is aimed at."""

    grid: tuple[int, ...]
    width: int
    modes: int
    target: float

    @property
    def label(self) -> str:
        """Grid, channels and modes in words."""
        return f"{' × '.join(f'{n:,}' for n in self.grid)}, {self.width} channels, m = {self.modes}"


SHAPES = (Shape((64, 64), 32, 12, 0.5), Shape((85, 85), 32, 12, 0.35), Shape((1024,), 64, 16, 0.5))


def ours(shape: Shape, device: str, dtype: torch.dtype = torch.float32) -> Callable[[], object]:
    """A step of our model."""
    generator = torch.Generator().manual_seed(0)
    model = FNO(CHANNELS, 1, (shape.modes,) * len(shape.grid), width=shape.width, layers=LAYERS, projection=PROJECTION,
                periodic=True, generator=generator, dtype=dtype).to(device)
    return _step(model, torch.randn(BATCH, *shape.grid, CHANNELS, generator=generator, dtype=dtype).to(device))


def peer(shape: Shape, device: str) -> Callable[[], object] | None:
    """A step of neuraloperator's model of the same shape; None if the package is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from neuralop.models import FNO as Peer
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = Peer(n_modes=(2 * shape.modes,) * len(shape.grid), in_channels=CHANNELS, out_channels=1,
                             hidden_channels=shape.width, n_layers=LAYERS, positional_embedding=None,
                             use_channel_mlp=False, lifting_channel_ratio=0,
                             projection_channel_ratio=PROJECTION / shape.width).to(device)
    except ImportError:
        return None
    generator = torch.Generator().manual_seed(0)
    return _step(model, torch.randn(BATCH, CHANNELS, *shape.grid, generator=generator).to(device))


def _step(model: torch.nn.Module, v: torch.Tensor) -> Callable[[], object]:
    def step():
        model.zero_grad(set_to_none=True)
        model(v).square().mean().backward()

    return step


def measure(shapes: Sequence[Shape] = SHAPES, device: str = "cpu", repetitions: int = 9) -> list[dict]:
    """Rows of the table: milliseconds of each model (of the CPU, or of the clock on a GPU) and the ratio."""
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        return [_row(shape, device, repetitions) for shape in shapes]
    finally:
        torch.set_num_threads(threads)


def _row(shape: Shape, device: str, repetitions: int) -> dict:
    found: dict[str, Callable[[], object] | None] = {"ours": ours(shape, device), "peer": peer(shape, device)}
    steps = {name: step for name, step in found.items() if step is not None}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in list(steps.values()) * 2:
        step()
    for _ in range(repetitions):
        for name, step in steps.items():
            _wait(device)
            start = _now(device)
            step()
            _wait(device)
            times[name].append(1e3 * (_now(device) - start))
    ratio = median(a / b for a, b in zip(times["ours"], times["peer"], strict=True)) if "peer" in times else None
    return {"label": shape.label, "target": shape.target, "milliseconds": {n: median(t) for n, t in times.items()},
            "ratio": ratio, "repetitions": repetitions}


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _now(device: str) -> float:
    return time.process_time() if device == "cpu" else time.perf_counter()


def markdown(rows: Sequence[dict]) -> str:
    """The table as Markdown."""
    lines = ["| grid | ours, ms | neuraloperator, ms | ratio | target |", "|---|---|---|---|---|"]
    for row in rows:
        times, ratio = row["milliseconds"], row["ratio"]
        theirs = f"{times['peer']:.0f}" if "peer" in times else "not installed"
        lines.append(f"| {row['label']} | {times['ours']:.0f} | {theirs} | "
                     f"{'–' if ratio is None else f'**{ratio:.2f}**'} | {row['target']} |")
    return "\n".join(lines)
