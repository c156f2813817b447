"""One residual-and-gradient step (loss and its parameter gradient) under each differential engine, all in one run.

MLP 4×64 with tanh. Times are medians over repetitions that alternate between the methods, so that a noisy machine hits
all of them alike; read the ratios to nested reverse mode, not the milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from ..calculus import ENGINES
from ..fields import FieldOptions, build_network
from ..objective import Objective, TrainableParameters
from .equations import RAW, problems

CHUNK = {torch.float32: 512, torch.float64: 256}


def steppers(name: str, N: int, dtype: torch.dtype, device: str) -> dict[str, Callable[[], object]]:
    """One step by each method on the same number of points; those that cannot run here are left out."""
    problem = problems()[name]
    generator = torch.Generator().manual_seed(0)
    D, C = len(problem.coordinates), len(problem.unknowns)
    found: dict[str, Callable[[], object]] = {}
    for label, engine, chunk, compiled in (
            ("nested reverse", "nested", N, False), ("Taylor eager", "taylor", CHUNK[dtype], False),
            ("Taylor compiled", "taylor", CHUNK[dtype] * 4, True)):
        field = build_network("mlp", problem.region.bounds, C, FieldOptions(width=64, depth=4), generator, dtype)
        objective = Objective(problem, field, TrainableParameters({}, dtype), list(problem.blocks), ENGINES[engine],
                              N if device != "cpu" else chunk).to(device)
        points = problem.region.sample(N, generator=generator, dtype=dtype).to(device=device)
        objective.points = {b.name: points for b in problem.blocks}
        if compiled:
            objective.compile_pass()
        found[label] = _step(objective)
    found["raw torch loop"] = _raw(name, D, C, N, dtype, device)
    peer = _deepxde(name, N, dtype, device)
    if peer is not None:
        found["DeepXDE"] = peer
    return found


def _step(objective: Objective) -> Callable[[], object]:
    def step():
        for p in objective.trainable:
            p.grad = None
        return objective.backward()

    return step


def _raw(name: str, D: int, C: int, N: int, dtype, device) -> Callable[[], object]:
    layers: list[nn.Module] = []
    for a, b in zip([D, 64, 64, 64], [64, 64, 64, 64], strict=True):
        layers += [nn.Linear(a, b), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(64, C)).to(device=device, dtype=dtype)
    X = torch.rand(N, D, device=device, dtype=dtype)

    def step():
        net.zero_grad(set_to_none=True)
        RAW[name](net, X.detach().clone()).square().mean().backward()

    return step


def _deepxde(name: str, N: int, dtype, device) -> Callable[[], object] | None:
    """The same step through DeepXDE's PyTorch backend, if the bench extra is installed."""
    import os

    os.environ.setdefault("DDE_BACKEND", "pytorch")
    try:
        from .peers import deepxde_step
    except ImportError:
        return None
    return deepxde_step(name, N, dtype, device)


def measure(names=None, sizes=(2048, 8192), dtypes=(torch.float32, torch.float64), device: str = "cpu",
            repetitions: int = 7) -> list[dict]:
    """Rows of the step-time table: milliseconds and ratios to nested reverse mode."""
    rows = []
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        for name in names or problems():
            for N in sizes:
                for dtype in dtypes:
                    rows.append(_row(name, N, dtype, device, repetitions))
    finally:
        torch.set_num_threads(threads)
    return rows


def _row(name: str, N: int, dtype, device: str, repetitions: int) -> dict:
    methods = steppers(name, N, dtype, device)
    times: dict[str, list[float]] = {m: [] for m in methods}
    for step in list(methods.values()):
        for _ in range(2):
            step()
    for _ in range(repetitions):
        for m, step in methods.items():
            _synchronize(device)
            start = time.perf_counter()
            step()
            _synchronize(device)
            times[m].append(1e3 * (time.perf_counter() - start))
    middle = {m: median(t) for m, t in times.items()}
    return {"equation": name, "points": N, "dtype": str(dtype).removeprefix("torch."), "device": device,
            "milliseconds": middle, "ratio": {m: t / middle["nested reverse"] for m, t in middle.items()}}


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def markdown(rows: list[dict]) -> str:
    """The table as Markdown: milliseconds, and in brackets the ratio to nested reverse mode."""
    methods = list(dict.fromkeys(m for r in rows for m in r["milliseconds"]))
    lines = ["| equation | points | dtype | " + " | ".join(methods) + " |", "|---" * (3 + len(methods)) + "|"]
    for r in rows:
        cells = []
        for m in methods:
            t = r["milliseconds"].get(m)
            cells.append("–" if t is None else f"{t:.1f} ({r['ratio'][m]:.2f})")
        lines.append(f"| {r['equation']} | {r['points']:,} | {r['dtype']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
