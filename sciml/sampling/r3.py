"""R3: points with a large residual are retained, the others are released and resampled; and its causal form."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from ..balance.causal import TIME
from ..errors import ProblemError
from ..points import Points
from ..problem import Block
from .sampler import RegionSampler
from .scene import Scene
from .stock import Stock

CROWDED, OPEN = 0.9, 1.5
log = logging.getLogger(__name__)


class R3(RegionSampler):
    """R3: of N points, those with |r| above the mean are retained, the others released and drawn anew.

        τ = mean_n |r_n|,    P ← {x_n : |r_n| > τ} ∪ {fresh uniform points},    |P| = N

    The residuals are those that the step before computed for its loss, so that in first-order training the choice
    costs nothing; for the other optimizers |r| is evaluated when points are due. The loss stays the plain mean, without
    a correction for the density. Each condition has its own population and threshold.

    Reports carry the share that was kept. It is 0.42 for normally distributed residuals; while training stands still
    the population collapses onto the maxima of |r| and the share goes to one, which is logged above 0.9.

    Args:
        every: Steps between redraws, 1 in the paper.
        conditions: "equations" as in the paper: other conditions draw all their points anew; or "all". Where initial
            values chase their own residual too, convection (β = 30, soft conditions) is learnt several times slower.

    Source: Daw, Bu, Wang, Perdikaris, Karpatne (ICML 2023), algorithm 1, arXiv:2207.02338.
    """

    name = "r3"
    reads = True

    def __init__(self, every: int = 1, conditions: str = "equations"):
        super().__init__(every)
        self.demand(conditions in ("all", "equations"), "conditions", conditions, "all or equations")
        self.conditions = conditions
        self.kept: dict[str, Tensor] = {}                    # masks of the last exchange
        self.stock = Stock(self.every)
        self._warned = False

    def redraw(self, points, region, generator, magnitude):
        return exchange(points, self._fresh(points, region, generator), retained(magnitude(points)))

    def update(self, scene, step, progress):
        if not self.due(step):
            return False
        heard = {b.name: self.fitness(scene, b) if self._chooses(b) else None
                 for b in scene.blocks if scene.has_news(b)}
        for block in scene.blocks:
            if block.name in heard:
                self._exchange(scene, block, heard[block.name])
        self.chosen(scene, heard, progress)
        return bool(heard)

    def fitness(self, scene: Scene, block: Block) -> Tensor:
        """What decides which points stay, shape (N,)."""
        return scene.magnitude(block)(scene.points(block))

    def chosen(self, scene: Scene, fitness: Mapping[str, Tensor | None], progress: float) -> None:
        """Called after points were exchanged, with the fitness of the old ones by condition."""

    def _chooses(self, block: Block) -> bool:
        return self.conditions == "all" or block.kind == "equation"

    def _exchange(self, scene: Scene, block: Block, fitness: Tensor | None) -> None:
        old = scene.points(block)
        fresh = self.stock.draw(scene, block, len(old))
        if fitness is None:
            scene.place(block, Points(fresh.X, fresh.names, None, fresh.normals))
            return
        keep = retained(fitness)
        self.kept[block.name] = keep
        scene.place(block, exchange(old, fresh, keep))

    def _fresh(self, points: Points, region, generator: Generator) -> Points:
        fresh = region.sample(len(points), generator=generator, dtype=points.X.dtype, device=generator.device)
        return fresh if fresh.names == points.names else fresh.reorder(points.names)

    def extras(self):
        found = {f"kept {name}": float(keep.double().mean()) for name, keep in self.kept.items()}
        crowded = [name.removeprefix("kept ") for name, share in found.items() if share > CROWDED]
        if crowded and not self._warned:
            self._warned = True
            log.warning("sampler=%s keeps more than %.0f %% of the points of %s: they crowd where |r| is largest, and "
                        "training does not lower it there; uniform or rad would spread them", self.name, 100 * CROWDED,
                        ", ".join(crowded))
        return found

    def state_dict(self):
        return {"kept": dict(self.kept), "stock": self.stock.state_dict()}

    def load_state_dict(self, scene, state):
        self.kept = dict(state["kept"])
        self.stock.load_state_dict(state.get("stock", {}))


class CausalR3(R3):
    """Causal R3: R3 behind a gate that opens from early to late times.

        g(t) = ½ (1 − tanh α(t̃ − γ)),    L = mean |g r|²,    fitness |g r|,    t̃ = (t − t₀) / (t₁ − t₀) ∈ [0, 1]
        γ ← γ + η min(exp(−ε mean |g r|²), Δ) after each choice of points

    The gate weighs the equations; other conditions are trained from the beginning. It is shut at γ = −½ and open at
    γ = 1.5, and moves at most η Δ at a time. The paper's η = 1e-3 takes 20,000 steps for that. Without `rate`, η
    follows from the budget: a residual that is small from the beginning opens the gate after half of it.

    Args:
        every: Steps between redraws, and between moves of the gate.
        conditions: "equations": other conditions draw all their points anew; or "all".
        alpha: α, steepness.
        gamma: γ at the beginning.
        epsilon: ε, in units of 1/r²: a large residual holds the gate. Where residuals begin at r₀, 20/r₀² is what the
            paper's 20 is where they begin at 1 (convection β = 30: 0.05; with 20 the gate stays shut).
        limit: Δ.
        rate: η; None: from the budget.

    Raises:
        ProblemError: The problem has no coordinate t, or no equation whose points are drawn.

    Source: Daw, Bu, Wang, Perdikaris, Karpatne (ICML 2023), section 5, arXiv:2207.02338.
    """

    name = "causal-r3"
    weighs = True

    def __init__(self, every: int = 1, conditions: str = "equations", alpha: float = 5.0, gamma: float = -0.5,
                 epsilon: float = 20.0, limit: float = 0.1, rate: float | None = None):
        super().__init__(every, conditions)
        self.demand(every > 0, "every", every, "positive: the gate opens when points are redrawn")
        for option, value in (("alpha", alpha), ("epsilon", epsilon), ("limit", limit)):
            self.demand(value > 0, option, value, "positive")
        self.demand(rate is None or rate > 0, "rate", rate, "positive, or left out")
        self.alpha, self.epsilon, self.limit, self.rate = float(alpha), float(epsilon), float(limit), rate
        self.start_gamma = float(gamma)
        self.gamma: Tensor | None = None
        self._gates: dict[str, Tensor] = {}                  # at the current points
        self.progress = 0.0

    def check(self, scene):
        names = scene.view.problem.coordinates
        if TIME not in names:
            raise ProblemError(f"sampler={self.name} needs a time, a coordinate named {TIME}, and this problem has "
                               f"{', '.join(names)}; use r3")
        if not self._gated(scene):
            raise ProblemError(f"sampler={self.name} opens equations from early to late times, and this problem draws "
                               f"points for {', '.join(b.name for b in scene.blocks) or 'no condition'}; use r3")
        if self.rate is not None and scene.steps is not None:
            moves = max((scene.steps - 1) // self.every, 1)
            end = self.start_gamma + moves * self.rate * self.limit
            if end < OPEN:
                log.warning("causal-r3.rate=%g moves the gate to %.2f at most in %d steps, and it is open at %g; leave "
                            "rate out, or set at least %.1e", self.rate, end, scene.steps, OPEN,
                            (OPEN - self.start_gamma) / (moves * self.limit))

    def begin(self, scene):
        super().begin(scene)
        self.gamma = torch.full((), self.start_gamma, dtype=scene.view.dtype, device=scene.generator.device)
        self._shut(scene)

    def chosen(self, scene, fitness, progress):
        assert self.gamma is not None
        sizes = [F for b in self._gated(scene) if (F := fitness.get(b.name)) is not None]
        if sizes:
            self.gamma = self.gamma + self._speed(progress) * torch.exp(
                -self.epsilon * torch.cat(sizes).square().mean()).clamp_max(self.limit)
        self.progress = progress
        self._shut(scene)

    def fitness(self, scene, block):
        sizes = super().fitness(scene, block)
        return self._gates[block.name] * sizes if block.kind == "equation" else sizes

    def gate(self, scene: Scene, block: Block) -> Tensor:
        """g at the current points of a condition, shape (N,)."""
        assert self.gamma is not None
        t0, t1 = scene.view.problem.region.bounds[scene.view.problem.coordinates.index(TIME)]
        t = (scene.points(block).column(TIME) - t0) / (t1 - t0)
        return 0.5 * (1 - torch.tanh(self.alpha * (t - self.gamma)))

    def _speed(self, progress: float) -> float:
        """η: given, or such that η Δ summed over half the budget is the way from shut to open."""
        return self.rate if self.rate is not None else 2.0 / (0.5 * self.limit) * (progress - self.progress)

    def _gated(self, scene: Scene) -> list[Block]:
        return [b for b in scene.blocks if b.kind == "equation"]

    def _at_points(self, scene: Scene) -> dict[str, Tensor]:
        return {b.name: self.gate(scene, b) for b in self._gated(scene)}

    def _shut(self, scene: Scene) -> None:
        self._gates = self._at_points(scene)
        scene.view.point_weights = {**scene.view.point_weights, **self._gates}

    def extras(self):
        return {**super().extras(), "gate": float("nan") if self.gamma is None else float(self.gamma)}

    def state_dict(self):
        return {**super().state_dict(), "gamma": self.gamma, "progress": self.progress}

    def load_state_dict(self, scene, state):
        super().load_state_dict(scene, state)
        self.gamma, self.progress = state["gamma"], state["progress"]
        self._gates = self._at_points(scene)


def retained(sizes: Tensor) -> Tensor:
    """Mask (N,) of sizes above their mean; with one that is not a number, all: the loss must report it."""
    return ~(sizes <= sizes.mean())


def exchange(old: Points, fresh: Points, keep: Tensor) -> Points:
    """The old points where `keep` is true and the fresh ones elsewhere, as new tensors."""
    normals = old.normals
    if normals is not None and fresh.normals is not None:
        normals = torch.where(keep[:, None], normals, fresh.normals)
    return Points(torch.where(keep[:, None], old.X, fresh.X), old.names, None, normals)
