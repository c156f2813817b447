"""Gaussians that split where others would change the solution the most, as splatting does for pictures.

A round looks at the residual on fresh points, marks those where it is large, takes the Gaussians of the next lattice
around them (and those that its own lattice lacks there) for candidates, and keeps the candidates that would change the
solution the most. They start with amplitude zero and their parents stay: the field is the same function in a larger
space, whose least-squares residual on given rows is never larger. Rows are added with them, and weighted anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor

from ..errors import ProblemError
from ..fields import GaussianField, gaussians_of
from ..memory import free_memory
from ..points import Points, concatenate
from ..problem import Block
from ..sampling import Scene
from .dyadic import Dyadic
from .estimate import Grown, gains, nearest_scales, scales_at
from .places import within
from .refiner import Refiner

PROBES = 2000            # drawn anew everywhere in each round
NEAR = 3                 # and near every Gaussian
CANDIDATES = 2000


class Splat(Refiner):
    """Splits Gaussians by what their children would change, clones where a lattice has gaps, prunes what does nothing.

        w_n = √v_n / max_j |∂r_n/∂a_j|       rows in units of the solution, v the volume of a cell

    Args:
        rounds: Of growth, each followed by a solve; 0 only weighs the rows.
        most: Gaussians at the end; fewer where memory would not hold their Jacobian.
        share: Children of a round, at most, as a share of the Gaussians before it.
        mark: Share of the largest weighted residual from which points count as marked.
        gain: Share of all candidates' gains that is taken.
        rows: Points of each condition that come with a child, near it, at least 3.
        levels: How often a coordinate may be halved.
        worse: How many times the residual of the round before, on fresh points, is too much: the round is taken back.
        prune: Share of the mean residual that a Gaussian's part in any row may have at most for it to be left out.

    Raises:
        ProblemError: An option makes no sense, or the field is not made of Gaussians.

    Source: nested levels with solved amplitudes are our own notes', A8, where rows carry h²; densification by
        splitting, cloning and pruning is Kerbl et al. (2023), doi:10.1145/3592433, who look at a picture's error.
        The gain is the first step of orthogonal matching pursuit (Pati et al. 1993, doi:10.1109/ACSSC.1993.342465).

    Note:
        The first lattice should resolve all that is smooth, and needs no more. A round that is taken back is
        the last one: more rows (`rows`) or a finer first lattice are what helps.
    """

    name = "splat"
    weighs = True
    solving: Mapping[str, Mapping[str, object]] = {"least-squares": {"ridge": 1e-14}}

    def __init__(self, rounds: int = 6, most: int = 2000, share: float = 0.5, mark: float = 0.1, gain: float = 0.95,
                 rows: int = 3, levels: int = 20, worse: float = 10.0,
                 prune: float = 1e-3):
        self.demand(rounds >= 0, "rounds", rounds, "0 or a number of rounds")
        self.demand(most >= 1, "most", most, "a number of Gaussians")
        self.demand(0 < share <= 4, "share", share, "in (0, 4], as a share of the Gaussians that there are")
        self.demand(0 < mark < 1, "mark", mark, "between 0 and 1")
        self.demand(0 < gain <= 1, "gain", gain, "in (0, 1]")
        self.demand(rows >= 3, "rows", rows, "at least 3, for 2.5 rows to an unknown")
        self.demand(levels >= 1, "levels", levels, "at least 1")
        self.demand(worse >= 1, "worse", worse, "at least 1")
        self.demand(0 <= prune < 1, "prune", prune, "at least 0 and below 1")
        self.rounds, self.most, self.share, self.mark = int(rounds), int(most), float(share), float(mark)
        self.gain, self.rows = float(gain), int(rows)
        self.levels, self.worse, self.prune = int(levels), float(worse), float(prune)
        self.done, self.ended, self.pruned = 0, False, 0
        self.cells = torch.zeros(0, 0, dtype=torch.long)
        self.before: dict[str, Any] = {}
        self.lattice: Dyadic | None = None

    def check(self, field):
        if gaussians_of(field) is None:
            raise ProblemError("refine=splat splits Gaussians, and this field is not made of them, or of several "
                               "fields (model.slabs); take model=gaussian without slabs, or leave refine out")

    def begin(self, scene, field):
        own = _own(field)
        scales = own.log_scales.detach().exp().expand(-1, own.dimension)
        spacing = scales.median(0).values / own.overlap
        self.lattice = Dyadic(own.centres.detach()[0].clone(), spacing, own.overlap, own.periods)
        self.cells = self.lattice.cells_of(own.centres.detach(), scales)
        self._weigh(scene, own)

    def update(self, scene, field):
        own = _own(field)
        if self.ended or self.done >= self.rounds or own.count >= self.most:
            return False
        probes = self._probes(scene, own)
        if self.before and self._is_worse(scene, own, probes):
            self._take_back(scene, own)
            self.ended = True
            return True
        self.before = self._snapshot(scene, own)
        marked, rest = self._marked(scene, own, probes)
        self._thin(scene, own, rest)
        cells = self._candidates(scene, own, marked)
        grown = self._grow(scene, own, cells) if len(cells) else 0
        self.done += 1
        self.ended = not grown
        if grown:
            self._weigh(scene, own)
        return grown > 0

    # --- where -----------------------------------------------------------------------------------------

    def _blocks(self, scene: Scene) -> list[Block]:
        return [b for b in scene.blocks if b.combine in ("each", "difference")]

    def _near(self, scene: Scene, block: Block, centres: Tensor, halves: Tensor, each: int) -> Points:
        """Random points of a condition within boxes, columns as in the problem."""
        names = scene.view.problem.coordinates
        order = [names.index(n) for n in block.region.names]
        found = within(block.region, centres[:, order], halves[:, order], each, scene.generator)
        return found.reorder(names)

    def _probes(self, scene: Scene, own: GaussianField) -> list[tuple[Block, Points]]:
        """Fresh points, everywhere and near every Gaussian."""
        h = self._spacings()
        found = []
        for b in self._blocks(scene):
            n = PROBES if b.region is scene.view.problem.region else PROBES // 4
            parts = [scene.draw(b, n), self._near(scene, b, own.centres.detach(), h, NEAR)]
            both = concatenate(parts)
            found.append((b, Points(both.X, both.names, None, both.normals)))
        return found

    def _spacings(self) -> Tensor:
        assert self.lattice is not None
        return self.lattice.spacings(self.cells[:, :self.cells.shape[1] // 2].clamp(min=0))

    def _local(self, own: GaussianField, X: Tensor) -> Tensor:
        """Levels of the finest Gaussian whose cell holds a point, shape (N, D) for X of shape (N, D); 0 where none."""
        levels, h, centres = self.cells[:, :own.dimension].clamp(min=0), self._spacings(), own.centres.detach()
        found = []
        for part in X.split(max(2**21 // own.count, 1)):
            inside = ((part[:, None] - centres).abs() <= h).all(2)
            score, which = torch.where(inside, levels.sum(1) + 1, 0).max(1)
            found.append(torch.where(score[:, None] > 0, levels[which], 0))
        return torch.cat(found) if found else X.new_zeros(0, own.dimension, dtype=torch.long)

    # --- how much --------------------------------------------------------------------------------------

    def _volume(self, scene: Scene, own: GaussianField, block: Block, X: Tensor) -> Tensor:
        """√ of the volume (on a boundary: area) of the cell at a point, in cells of the first lattice, shape (N,)."""
        D = own.dimension
        share = (-self._local(own, X).sum(1).to(X)).exp2()
        return share ** (0.5 if block.region is scene.view.problem.region else 0.5 * (D - 1) / D)

    def _weigh(self, scene: Scene, own: GaussianField) -> None:
        """Sets w of all rows."""
        view: Any = scene.view
        for b in self._blocks(scene):
            points = scene.points(b)
            view.point_weights[b.name] = scales_at(view, own, b, points) * self._volume(scene, own, b, points.X)

    def _sizes(self, scene: Scene, block: Block, points: Points) -> Tensor:
        """√λ w |r| at points; w is that of the nearest row."""
        view = scene.view
        w = nearest_scales(points.X, scene.points(block).X, view.point_weights[block.name])
        return w * view.magnitude(block)(points) * float(view.weights[block.name]) ** 0.5

    def _marked(self, scene: Scene, own: GaussianField, probes: list[tuple[Block, Points]]) -> tuple[Tensor, float]:
        """The points where the weighted residual is large, shape (Q, D), and its root mean square."""
        sizes = torch.cat([self._sizes(scene, b, p) for b, p in probes])
        X = torch.cat([p.X for _, p in probes])
        sizes = torch.where(torch.isfinite(sizes), sizes, 0.0)
        return X[sizes > self.mark * sizes.max()], float(sizes.square().mean().sqrt())

    def _is_worse(self, scene: Scene, own: GaussianField, probes: list[tuple[Block, Points]]) -> bool:
        """Whether the field has a larger residual on fresh points than that of the round before."""
        size = lambda: sum(float(self._sizes(scene, b, p).square().mean()) for b, p in probes)
        now, kept = size(), _state(own)
        own.put(**self.before["field"])
        old = size()
        own.put(**kept)
        return not now <= self.worse**2 * old

    # --- what ------------------------------------------------------------------------------------------

    def _thin(self, scene: Scene, own: GaussianField, mean: float) -> None:
        """Leaves out Gaussians whose part in every row is small against the mean residual."""
        view: Any = scene.view
        reach = torch.zeros(own.outputs, own.count, dtype=own.centres.dtype, device=own.centres.device)
        for b in self._blocks(scene):
            points, w = scene.points(b), view.point_weights[b.name] * float(view.weights[b.name]) ** 0.5
            for i in range(0, len(points), 1024):
                _, J = view.jacobian(b, points[i:i + 1024], None, [own.amplitudes])
                part = (w[i:i + 1024, None, None] * J.abs()).amax((0, 1)).reshape(reach.shape)
                reach = torch.maximum(reach, part)
        stays = ((own.amplitudes.detach() * reach).abs() > self.prune * mean).any(0) | (self.prune == 0)
        if bool(stays.all()) or not bool(stays.any()):
            return
        own.keep(stays)
        self.cells = self.cells[stays]
        self.pruned += int((~stays).sum())

    def _candidates(self, scene: Scene, own: GaussianField, marked: Tensor) -> Tensor:
        """Cells (K, 2D) next to marked points: gaps of the lattice there, and places of the next one."""
        assert self.lattice is not None
        local = self._local(own, marked)
        parts = [self.lattice.nearest(marked, local), self.lattice.nearest(marked, (local + 1).clamp(max=self.levels))]
        cells = self.lattice.new(torch.unique(torch.cat(parts), dim=0), self.cells)
        if len(cells) > CANDIDATES:
            order = torch.randperm(len(cells), generator=scene.generator, device=scene.generator.device)
            cells = cells[order[:CANDIDATES].to(cells.device)]
        return cells

    def _grow(self, scene: Scene, own: GaussianField, cells: Tensor) -> int:
        """Takes the best of the candidates and rows for them; returns how many."""
        assert self.lattice is not None
        view: Grown = scene.view  # type: ignore[assignment]  # the objective
        before, room = own.count, self._room(scene, own)
        if room < 1:
            return 0
        centres, h = self.lattice.centres(cells), self.lattice.spacings(cells[:, :own.dimension])
        own.grow(centres, own.overlap * h)
        probes = [(b, self._near(scene, b, centres, h / 2, self.rows)) for b in self._blocks(scene)]
        found = gains(view, own, len(cells), probes)
        order = torch.argsort(found, descending=True, stable=True)
        enough = int((found[order].cumsum(0) < self.gain * found.sum()).sum()) + 1
        taken = order[:min(enough, ceil(self.share * before), room, int((found > 0).sum()))]
        own.keep(torch.cat([torch.arange(before, device=taken.device), before + taken]))
        self.cells = torch.cat([self.cells, cells[taken]])
        for b in self._blocks(scene):
            both = concatenate([scene.points(b), self._near(scene, b, centres[taken], h[taken] / 2, self.rows)])
            scene.place(b, Points(both.X, both.names, None, both.normals))
        return len(taken)

    def _room(self, scene: Scene, own: GaussianField) -> int:
        """How many Gaussians more there may be: by `most`, and by the memory that their Jacobian takes."""
        C, view = own.outputs, scene.view
        free = free_memory(own.centres.device)
        room = min(self.most - own.count, ceil(self.share * own.count))
        if free is None:
            return room
        R = sum(len(scene.points(b)) * len(b.components) for b in view.blocks)
        more = self.rows * sum(len(b.components) for b in self._blocks(scene))
        while room > 0 and 3 * 8 * (R + more * room) * (own.count + room) * C > free:
            room //= 2
        return room

    # --- back ------------------------------------------------------------------------------------------

    def _snapshot(self, scene: Scene, own: GaussianField) -> dict[str, Any]:
        return {"field": _state(own), "cells": self.cells.clone(),
                "points": {b.name: {"X": scene.points(b).X, "normals": scene.points(b).normals,
                                    "weights": scene.view.point_weights[b.name]} for b in self._blocks(scene)}}

    def _take_back(self, scene: Scene, own: GaussianField) -> None:
        own.put(**self.before["field"])
        self.cells = self.before["cells"]
        for b in self._blocks(scene):
            kept = self.before["points"][b.name]
            scene.place(b, Points(kept["X"], scene.view.problem.coordinates, None, kept["normals"]))
            scene.view.point_weights[b.name] = kept["weights"]

    def extras(self, field):
        own = _own(field)
        return {"gaussians": float(own.count), "rounds": float(self.done), "pruned": float(self.pruned)}

    def state_dict(self):
        assert self.lattice is not None
        return {"done": self.done, "ended": self.ended, "pruned": self.pruned, "cells": self.cells,
                "before": self.before, "anchor": self.lattice.anchor, "spacing": self.lattice.spacing}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert self.lattice is not None
        self.done, self.ended, self.pruned = int(state["done"]), bool(state["ended"]), int(state["pruned"])
        self.cells, self.before = state["cells"], dict(state["before"])
        self.lattice.anchor, self.lattice.spacing = state["anchor"], state["spacing"]


def _own(field: Any) -> GaussianField:
    found = gaussians_of(field)
    assert found is not None                             # `check` comes first
    return found


def _state(own: GaussianField) -> dict[str, Any]:
    """What `GaussianField.put` takes back."""
    return {"centres": own.centres.detach().clone(), "log_scales": own.log_scales.detach().clone(),
            "amplitudes": own.amplitudes.detach().clone(),
            "rotations": None if own.rotations is None else own.rotations.detach().clone()}
