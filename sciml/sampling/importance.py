"""Importance sampling: batches drawn where the loss is large, weighted so that the loss stays what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from scipy.spatial import cKDTree
from torch import Generator, Tensor

from ..points import Points
from ..problem import Block
from .density import power_density
from .sampler import Sampler
from .scene import Scene

TABLE = 2**22


class Importance(Sampler):
    """Batches of n points from a large fixed set of N, with probability q ∝ |r|² and weights that keep the mean.

        q_j = (1 − f) ℓ_s(j) / Σ_i ℓ_s(i) + f / N,    L = Σ_b |r_b|² / (n N q_b),    E L = mean_j |r_j|²

    ℓ = |r|² is evaluated at S seeds, drawn anew from the set each time, and every point inherits that of the nearest
    seed s(j), distances taken in units of the set's extent. Batches are drawn with replacement. The floor f bounds
    weights by 1 / f times that of a uniform batch. Before the first scoring, and with every=0 for ever, q is uniform.

    Args:
        every: Steps between scorings; 0 keeps the first batch.
        redraw: Steps between batches, 1 in the paper; 10 unless given where a stage is of second order.
        set: N as a multiple of n, at least 1.
        seeds: S as a multiple of n; S is N at most.
        floor: f in (0, 1].

    Source: Nabian, Gladstone, Meidani (2021), doi:10.1111/mice.12685. Theirs is without a floor.
    """

    name = "importance"
    weighs = True
    dear: Mapping[str, int] = {"redraw": 10}

    def __init__(self, every: int = 100, redraw: int = 1, set: float = 10.0, seeds: float = 0.5, floor: float = 0.1):
        super().__init__(every)
        self.demand(redraw >= 1, "redraw", redraw, "a number of steps, at least 1")
        self.demand(set >= 1, "set", set, "at least 1, a multiple of the points of a batch")
        self.demand(seeds > 0, "seeds", seeds, "positive, a multiple of the points of a batch")
        self.demand(0 < floor <= 1, "floor", floor, "in (0, 1]: without it weights are unbounded")
        self.redraw, self.multiple, self.seeds, self.floor = int(redraw), float(set), float(seeds), float(floor)
        self.sets: dict[str, Points] = {}
        self.q: dict[str, Tensor] = {}
        self._ends: dict[str, Tensor] = {}

    def begin(self, scene):
        for block in scene.blocks:
            found = scene.draw(block, max(int(self.multiple * scene.counts[block.name]), 1), "sobol")
            self.sets[block.name] = replace(found, weights=None)
            self._take(block.name, torch.full_like(found.X[:, 0], 1 / len(found)))
            self._place(scene, block)

    def update(self, scene, step, progress):
        score = self.every > 0 and step % self.every == 0
        if not score and not (self.every and step % self.redraw == 0):
            return False
        for block in scene.blocks:
            if score:
                self._take(block.name, self._scored(scene, block))
            self._place(scene, block)
        return bool(scene.blocks)

    def _take(self, name: str, q: Tensor) -> None:
        self.q[name], self._ends[name] = q, q.double().cumsum(0)

    def _scored(self, scene: Scene, block: Block) -> Tensor:
        """q over a condition's set, shape (N,)."""
        everything = self.sets[block.name]
        N, S = len(everything), max(round(self.seeds * scene.counts[block.name]), 1)
        generator = scene.generator
        seeds = everything[torch.randperm(N, generator=generator, device=generator.device)[:S]]
        losses = power_density(scene.magnitude(block)(seeds), 2, 0)[nearest(everything.X, seeds.X)]
        return (1 - self.floor) * losses / losses.sum() + self.floor / N

    def _place(self, scene: Scene, block: Block) -> None:
        everything, q, n = self.sets[block.name], self.q[block.name], scene.counts[block.name]
        assert not isinstance(block.region, Points)
        index = draw_with_replacement(self._ends[block.name], n, scene.generator)
        points = everything[index]
        weights = block.region.measure / (n * len(everything)) / q[index]
        scene.place(block, replace(points, weights=weights), weighted=True)

    def state_dict(self):
        return {"sets": {n: {"X": p.X, "normals": p.normals} for n, p in self.sets.items()}, "q": dict(self.q)}

    def load_state_dict(self, scene, state):
        names = scene.view.problem.coordinates
        self.sets = {n: Points(p["X"], names, None, p["normals"]) for n, p in state["sets"].items()}
        for name, q in state["q"].items():
            self._take(name, q)


def draw_with_replacement(ends: Tensor, n: int, generator: Generator) -> Tensor:
    """Positions of n independent points, shape (n,), from the sums of their probabilities so far (N,), for any N."""
    u = torch.rand(n, generator=generator, dtype=ends.dtype, device=ends.device) * ends[-1]
    return torch.searchsorted(ends, u, right=True).clamp_max(len(ends) - 1)


def nearest(X: Tensor, seeds: Tensor) -> Tensor:
    """The position of the nearest of seeds (S, D) to each of points (N, D), shape (N,), in units of the extent of X."""
    low, high = X.amin(0), X.amax(0)
    scale = (high - low).clamp_min(torch.finfo(X.dtype).tiny)
    X, seeds = (X - low) / scale, (seeds - low) / scale
    if X.device.type == "cpu":
        return torch.from_numpy(cKDTree(seeds.numpy()).query(X.numpy())[1])
    return by_table(X, seeds)


def by_table(X: Tensor, seeds: Tensor) -> Tensor:
    """The position of the nearest of seeds (S, D) to each of points (N, D), shape (N,), by all distances in parts."""
    rows = max(TABLE // len(seeds), 1)
    return torch.cat([torch.cdist(part, seeds).argmin(1) for part in X.split(rows)])
