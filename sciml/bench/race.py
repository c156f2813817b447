"""The race: seconds until an error of 1e-3 and of 1e-4, ours against DeepXDE's documented recipe and a raw torch loop.

All three run one after the other in one process on the same machine, and are judged by the same reference at the same
points; the clock stands still while errors are computed. A peer may take `PATIENCE` times as long as we needed to 1e-4;
if it has not got there by then, the ratio is a lower bound and is printed with "≥".
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from math import inf
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ProblemError
from ..problem import load_problem
from ..solution.truth import Truth, resolve
from ..training import solve
from .contests import CONTESTS, Contest

LEVELS = (1e-3, 1e-4)
PATIENCE, LONGEST = 10.5, 900.0


class Clock:
    """Seconds of training at which each level was reached first.

    Args:
        truth: The reference.
        limit: Seconds after which a run ends.
    """

    def __init__(self, truth: Truth, limit: float):
        self.truth, self.limit = truth, limit
        self.exact = next(iter(truth.values.values())).ravel()
        self.reached = dict.fromkeys(LEVELS, inf)
        self.error, self.seconds = inf, 0.0
        self._start = time.perf_counter()

    def look(self, predict: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Computes the error with the clock stopped; returns whether the run is over."""
        self.seconds = time.perf_counter() - self._start
        error = predict(self.truth.X).ravel() - self.exact
        self.note(self.seconds, float(np.linalg.norm(error) / np.linalg.norm(self.exact)))
        self._start = time.perf_counter() - self.seconds
        return self.over()

    def note(self, seconds: float, error: float) -> None:
        """An error at a time."""
        self.seconds, self.error = seconds, error
        for level in LEVELS:
            if error <= level and self.reached[level] == inf:
                self.reached[level] = seconds

    def over(self) -> bool:
        """Whether all levels are reached or the time is up."""
        return self.seconds >= self.limit or all(s < inf for s in self.reached.values())

    def result(self) -> dict:
        """For the table."""
        return {"seconds": {f"{k:g}": (None if v == inf else v) for k, v in self.reached.items()},
                "end": self.seconds, "error": self.error}


def race(name: str, seed: int) -> dict[str, dict]:
    """One problem, one seed: the results of all runners by name."""
    problem, contest = load_problem(name), CONTESTS[name]
    truth = resolve(problem)
    clock = Clock(truth, LONGEST)

    def hear(report):
        clock.note(report.seconds, next(iter(report.errors.values())))

    solve(problem, time=LONGEST, seed=seed, report=0.2, on_report=hear, stop=lambda: "there" if clock.over() else "")
    found = {"sciml": clock.result()}
    ours = clock.reached[LEVELS[-1]]
    limit = min(PATIENCE * ours, LONGEST) if ours < inf else LONGEST
    for label, runner in (("DeepXDE", _deepxde), ("raw torch", raw_torch)):
        clock = Clock(truth, limit)
        runner(contest, clock, seed)
        found[label] = clock.result()
    return found


def _deepxde(contest: Contest, clock: Clock, seed: int) -> None:
    os.environ.setdefault("DDE_BACKEND", "pytorch")
    try:
        from .peers import deepxde_run
    except ImportError as error:
        raise ProblemError("the race needs DeepXDE; install it with pip install -e '.[bench]'") from error
    before = torch.get_default_dtype()
    try:
        deepxde_run(contest, clock, seed)
    finally:
        torch.set_default_dtype(before)


def raw_torch(contest: Contest, clock: Clock, seed: int, warm: int = 2000) -> None:
    """A plain PINN in float64: MLP 3×20 tanh, Adam 1e-3 for `warm` steps, then torch's L-BFGS with strong Wolfe search.

    Points are those of DeepXDE's recipe, at most 5,000 inside; conditions are soft with weight 1.
    """
    generator = torch.Generator().manual_seed(seed)
    names = list(contest.axes)
    low, high = (torch.tensor([float(contest.axes[n][i]) for n in names], dtype=torch.float64) for i in (0, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(),
                            nn.Linear(20, 1)).double()
    inside, edge, start = (torch.rand(n, 2, generator=generator, dtype=torch.float64) * (high - low) + low
                           for n in (min(contest.points[0], 5000), contest.points[1], max(contest.points[2], 1)))
    evolves = names[1] == "t"
    for i, point in enumerate(edge):                       # on the sides in turn; all four of a steady problem
        axis = 0 if evolves else i // 2 % 2
        point[axis] = (low if i % 2 else high)[axis]
    start[:, 1] = low[1]
    sides = [edge, *([start] if evolves else [])]

    def loss() -> Tensor:
        X = inside.clone().requires_grad_()
        u = net(X)
        total = contest.residual(torch, lambda alpha: _derivative(u, X, names, alpha), u, X).square().mean()
        for points in sides:
            total = total + (net(points) - contest.exact(torch, points)).square().mean()
        if contest.speed:
            at = start.clone().requires_grad_()
            total = total + _derivative(net(at), at, names, "t").square().mean()
        return total

    predict = lambda X: net(torch.as_tensor(X)).detach().numpy()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(warm):
        adam.zero_grad()
        loss().backward()
        adam.step()
        if step % 50 == 49 and clock.look(predict):
            return
    lbfgs = torch.optim.LBFGS(net.parameters(), max_iter=20, tolerance_grad=0, tolerance_change=0, history_size=100,
                              line_search_fn="strong_wolfe")

    def closure():
        lbfgs.zero_grad()
        value = loss()
        value.backward()
        return value

    while not clock.look(predict):
        lbfgs.step(closure)


def _derivative(u: Tensor, X: Tensor, names: Sequence[str], alpha: str) -> Tensor:
    for name in alpha:
        u = torch.autograd.grad(u.sum(), X, create_graph=True)[0][:, names.index(name)][:, None]
    return u


def markdown(results: dict[str, list[dict]]) -> str:
    """The table: our median seconds, and how many times as long the peers took."""
    peers = ["DeepXDE", "raw torch"]
    lines = ["| problem | error | sciml, seconds | " + " | ".join(f"{p}, times as long" for p in peers) + " | seeds |",
             "|---" * (4 + len(peers)) + "|"]
    for name, runs in results.items():
        for level in LEVELS:
            key = f"{level:g}"
            ours = [r["sciml"]["seconds"][key] for r in runs]
            if any(s is None for s in ours):
                lines.append(f"| {name} | {key} | not reached | – | – | {len(runs)} |")
                continue
            cells = []
            for peer in peers:
                ratios = [((r[peer]["seconds"][key] or r[peer]["end"]) / o, r[peer]["seconds"][key] is None)
                          for r, o in zip(runs, ours, strict=True)]
                value = median(q for q, _ in ratios)
                bound = "≥ " if any(q >= value and open_ for q, open_ in ratios) else ""
                errors = median(r[peer]["error"] for r in runs)
                cells.append(f"{bound}{value:.0f}" + (f" (ended at {errors:.0e})" if bound else ""))
            lines.append(f"| {name.replace('_', ' ')} | {key} | **{median(ours):.1f}** | " + " | ".join(cells)
                         + f" | {len(runs)} |")
    return "\n".join(lines)
