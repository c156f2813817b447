"""PINNACLE: the points of all conditions, and measurements, chosen together by what a step on them would change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..errors import ProblemError
from ..memory import free_memory, size_text
from ..points import Points, concatenate
from . import information
from .nystrom import CHUNK_BYTES, Nystrom, Rows, gradients
from .purchases import Purchases
from .sampler import Sampler
from .scene import Scene
from .seeding import apportion, by_size, plus_plus

DRIFT = 0.5                        # of the kernel, relative, that calls for other points


class Pinnacle(Sampler):
    """Points of all conditions from one pool, by their embeddings e(x) (`nystrom.py`).

    At a refresh, `new` of all points are chosen from a fresh pool of every condition. They join a random part of the
    old ones, each condition's thinned alike, so that there are as many in all as before. A condition keeps one point at
    least, and no other share of its own: their numbers follow the residual and the kernel. Each condition's loss
    remains the mean over its points; integrals and points that are given stay.

    Args:
        every: Steps between refreshes, by default 10 for second-order methods. With the smaller pool one costs as much
            as 6 to 12 steps of Adam, so that 100 are below 15 % (the paper's: 1000 to 5000, at rates of 1e-4 and 1e-3).
        new: Share n_new / n_total of the points that is chosen at a refresh, in (0, 1] (the paper's: 0.1 to 0.5).
        pool: Candidates as a multiple of those that are chosen, at least 2 (the paper says about 4, its code has 12 to
            15), divided among conditions like the recipe's points; by default 20 for second-order methods, which gain
            much from it: Burgers with 1,000 points ends at 5.6e-5 in place of 7.3e-4 (seed 0).
        reference: Rows p of the reference set, fresh at every refresh, divided alike (the paper: 1 to 2 thousand).
        rows: "weighted": by √λ, the step is one on the loss that is trained; "plain": s = 1; "unit": every component's
            rows by 1/√mean |J|², so that units of coordinates and equations do not matter.
        first: "all" points of the recipe, uniform; or "new" ones only, chosen on the untrained field, to which each
            refresh adds until all are there, as in the paper.
        drift_every: Steps between tests of the kernel on the last reference set, ‖K − K_last‖_F > ½ ‖K_last‖_F, which
            calls for a refresh; 0: none. (The paper finds that it rarely does.)
        measurements: Measurements bought per refresh, see `purchases.py`; 0: all are there from the beginning.
        budget: Most measurements in all; 0: as many as there are.
        ahead: Steps over which the field's change ranks measurements, at most those between refreshes.
        choice: Of measurements: by the "drift" of the field, by "information" about what is sought
            (`information.py`), or "random".

    Source: Lau, Hemachandra, Ng, Low (ICLR 2024), arXiv:2404.07662. Here all components of a system enter the kernel
    (the published code takes the first), and the floor 1e-9 and the spectrum's 1e-8 are relative.
    """

    grows = True
    dear: Mapping[str, int] = {"every": 10, "pool": 20}

    def __init__(self, every: int = 100, new: float = 0.2, pool: float = 4.0, reference: int = 256,
                 rows: str = "weighted", first: str = "all", drift_every: int = 0, measurements: int = 0,
                 budget: int = 0, ahead: int = 100, choice: str = "drift"):
        super().__init__(every)
        self.demand(0 < new <= 1, "new", new, "in (0, 1], a share of the points")
        self.demand(pool >= 2, "pool", pool, "at least 2: a pool of no more than what is chosen leaves no choice")
        for option, value, least in (("reference", reference, 1), ("drift_every", drift_every, 0), ("ahead", ahead, 1),
                                     ("measurements", measurements, 0), ("budget", budget, 0)):
            self.demand(value >= least, option, value, f"at least {least}")
        for option, text, among in (("rows", rows, ("plain", "unit", "weighted")), ("first", first, ("all", "new")),
                                    ("choice", choice, ("drift", "information", "random"))):
            self.demand(text in among, option, text, f"one of {', '.join(among)}")
        self.demand(every > 0 or not measurements, "every", every, "positive: measurements are bought at refreshes")
        self.new, self.pool, self.reference = float(new), float(pool), int(reference)
        self.rows, self.first, self.drift_every = rows, first, int(drift_every)
        self.purchases = Purchases(int(measurements), int(budget), int(ahead), choice)
        self.probe: dict[str, Any] = {}                      # reference places, scales and kernel of the last refresh
        self.counts: dict[str, int] = {}
        self.alpha: Tensor | None = None

    @abstractmethod
    def choose(self, E: Tensor, kinds: Tensor, n: int, generator: Generator) -> Tensor:
        """Positions of n candidates with embeddings E, shape (M, p), and one of every kind at least."""

    def check(self, scene):
        buys = self.purchases
        if not scene.blocks and not buys.each:
            raise ProblemError(f"sampler={self.name} has nothing to choose: the points of all conditions are given; "
                               "leave it out")
        if buys.each and not scene.measured:
            raise ProblemError(f"{self.name}.measurements={buys.each} needs a condition with data, Observations; leave "
                               "it out, and all points are those of the conditions")
        self.demand(not buys.each or not buys.budget or buys.budget >= len(scene.measured), "budget", buys.budget,
                    f"at least {len(scene.measured)}, one measurement of every condition with data")
        if buys.each and buys.choice == "information":
            information.check(scene, self.name)
        P, p, size = sum(q.numel() for q in scene.view.trainable), self.reference, scene.view.dtype.itemsize
        need, have = p * P * size + 32 * p**2 + 3 * CHUNK_BYTES, free_memory(scene.generator.device)
        if have is not None and need > have:
            raise ProblemError(
                f"{self.name}.reference={p} needs {size_text(need)} for the gradients of its rows by {P:,} parameters, "
                f"and {scene.generator.device} has {size_text(have)} free; make it smaller, or take sampler=rad")

    def begin(self, scene):
        for block in scene.blocks:
            scene.place(block, scene.draw(block, scene.counts[block.name], "sobol"))
        self.purchases.begin(scene)
        if self.first == "new" and scene.blocks:
            chosen = self._select(scene, self._kernel(scene))
            for block, points in zip(scene.blocks, chosen, strict=True):
                scene.place(block, points)
        elif self.drift_every:
            self._kernel(scene)
        self._count(scene)

    def update(self, scene, step, progress):
        changed = self._test(step) and self._open(scene) and (self.due(step) or self._drifted(scene))
        if changed:
            self._refresh(scene)
        gap = min((s for s in (self.every, self.drift_every) if s), default=0)
        if gap and self._test(step + min(self.purchases.ahead, gap)):
            self.purchases.watch(scene)
        return changed

    def _test(self, step: int) -> bool:
        """Whether the points may be replaced before the step after `step` steps."""
        return self.due(step) or (self.drift_every > 0 and step > 0 and step % self.drift_every == 0)

    def _open(self, scene: Scene) -> bool:
        """Whether there is anything left to choose from."""
        return bool(scene.blocks or self.purchases.candidates(scene))

    def _refresh(self, scene: Scene) -> None:
        nystrom = self._kernel(scene)
        if scene.blocks:
            chosen = self._select(scene, nystrom)
            have = [len(scene.points(b)) for b in scene.blocks]
            left = apportion(sum(scene.counts.values()) - sum(len(points) for points in chosen), have)
            for block, points, n in zip(scene.blocks, chosen, left, strict=True):
                old = scene.points(block)
                order = torch.randperm(len(old), generator=scene.generator, device=scene.generator.device)
                scene.place(block, concatenate([bare(old[order[:n]]), points]))
        self.purchases.buy(scene, nystrom, self.choose)
        self._count(scene)

    def _kernel(self, scene: Scene) -> Nystrom:
        """The kernel on a fresh reference set of all conditions that are chosen from."""
        offers = [at for _, at in self.purchases.candidates(scene)]
        sizes = {b.name: scene.counts[b.name] for b in scene.blocks}
        most = max(max(sizes.values()) // 4, 1) if sizes else self.reference
        sizes |= {at.block.name: min(len(at.points), most) for at in offers}
        wide = {b.name: len(b.components) for b in (*scene.blocks, *(at.block for at in offers))}
        share = self.reference / sum(n * wide[name] for name, n in sizes.items())
        count = {name: max(int(n * share), 1) for name, n in sizes.items()}
        reference = [Rows(b, scene.draw(b, count[b.name])) for b in scene.blocks]
        for at in offers:
            some = torch.randperm(len(at.points), generator=scene.generator, device=scene.generator.device)
            some = some[:count[at.block.name]]
            reference.append(Rows(at.block, at.points[some], {k: v[some] for k, v in at.data.items()}))
        J, scales = gradients(scene.view, reference, self.rows)
        if self.drift_every:
            places = {at.block.name: {"X": at.points.X, "normals": at.points.normals} for at in reference}
            self.probe = {"places": places, "scales": scales, "kernel": J @ J.T}
        return Nystrom.of(J, scales)

    def _drifted(self, scene: Scene) -> bool:
        blocks = {b.name: b for b in (*scene.blocks, *scene.measured)}
        reference = [Rows(blocks[name], Points(p["X"], scene.view.problem.coordinates, normals=p["normals"]),
                          dict.fromkeys(blocks[name].data, torch.zeros_like(p["X"][:, 0])))
                     for name, p in self.probe["places"].items()]
        J, _ = gradients(scene.view, reference, scales=self.probe["scales"])
        last = self.probe["kernel"]
        return bool(torch.linalg.norm(J @ J.T - last) > DRIFT * torch.linalg.norm(last))

    def _select(self, scene: Scene, nystrom: Nystrom) -> list[Points]:
        """The chosen points of every condition."""
        total = sum(scene.counts.values())
        n = min(max(round(self.new * total), len(scene.blocks)), total)
        pool = [scene.draw(b, max(int(self.pool * n * scene.counts[b.name] / total), 2)) for b in scene.blocks]
        E = torch.cat([nystrom.embed(scene.view, Rows(b, points))
                       for b, points in zip(scene.blocks, pool, strict=True)])
        kinds = torch.cat([torch.full((len(points),), i, device=E.device) for i, points in enumerate(pool)])
        chosen = self.choose(E, kinds, n, scene.generator)
        self.alpha = E[chosen].sum(0).square().sum()
        found, start = [], 0
        for i, points in enumerate(pool):
            found.append(bare(points[chosen[kinds[chosen] == i] - start]))
            start += len(points)
        return found

    def _count(self, scene: Scene) -> None:
        self.counts = {b.name: len(scene.points(b)) for b in scene.blocks}

    def extras(self):
        found = {f"points {name}": float(n) for name, n in self.counts.items()}
        if self.alpha is not None:
            found["alpha"] = float(self.alpha)
        if self.purchases.each:
            found["bought"] = float(self.purchases.count)
        return found

    def state_dict(self):
        return {"probe": self.probe, "alpha": self.alpha, "purchases": self.purchases.state_dict()}

    def load_state_dict(self, scene: Scene, state: Mapping[str, Any]) -> None:
        """Restores `state_dict`."""
        self.probe, self.alpha = dict(state["probe"]), state["alpha"]
        self.purchases.load_state_dict(scene, state["purchases"])
        self._count(scene)


def bare(points: Points) -> Points:
    """Points without weights, which mean nothing for a part of a set."""
    return replace(points, weights=None)


class PinnacleS(Pinnacle):
    """PINNACLE-S: points of all conditions drawn with p ∝ |e|², the change a step on each alone would make."""

    name = "pinnacle-s"

    def choose(self, E, kinds, n, generator):
        return by_size(E, kinds, n, generator)


class PinnacleK(Pinnacle):
    """PINNACLE-K: points of all conditions as k-means++ seeds of their embeddings: no two alike."""

    name = "pinnacle-k"

    def choose(self, E, kinds, n, generator):
        return plus_plus(E, kinds, n, generator)
