"""Equations of a family on the grid: residuals of batches of functions, and the ansatz that builds data in.

    u_θ(x; a) = G(x; a) + s B(x) N_θ(x; a),      r = R[u_θ, a] at the nodes inside

G and B come from `problem/hard.py` like those of networks; G may contain the input functions (u = u₀ at t = 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..calculus import Frame, GridFunctions, Program, on_grid
from ..errors import ProblemError
from ..problem import Block, Condition, Problem
from ..problem.chart import add_chart
from ..problem.condition import faces_of
from ..problem.hard import Ansatz, build
from .layout import Layout


@dataclass(frozen=True)
class Residual:
    """Residuals of one equation and where they count.

    Args:
        name: Of the condition.
        values: (B, m_1, …, m_d, K) at the nodes inside; of a condition on faces at all nodes, 0 but on its faces, with
            components of their own for each axis.
    """

    name: str
    values: Tensor


class Equations:
    """The equations of a family as functions of batches on a grid.

    Args:
        problem: The family.

    Raises:
        ProblemError: A condition is neither an equation inside, nor on whole faces, nor can it be built in.

    Note:
        Conditions on faces with derivatives (Neumann, Robin, an Equation) are rows at the nodes of the face, with
        one-sided differences of the order of the others; equations inside then end at the nodes before it.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.ansatz: Ansatz = build(problem, "auto")
        setting = problem.setting
        self.coordinates = setting.frame.coordinates
        frame = Frame(setting.frame.coordinates, setting.frame.space, expand=False)
        family = replace(setting, frame=frame)
        add_chart(family, problem.chart)
        self.blocks: list[Block] = []
        self.held: list[Block] = []
        self.faces: list[tuple[Block, tuple[str, ...]]] = []
        for name, condition in problem.named_conditions():
            for block in condition.blocks(family, name):
                if block.combine == "each" and block.region is problem.region:
                    self.blocks.append(block)
                elif self._built_in(block):
                    self.held.append(block)
                elif faces := self._whole_faces(condition, block):
                    self.faces.append((block, faces))
                else:
                    why = "; ".join(self.ansatz.refused.values())
                    raise ProblemError(f"condition {block.name!r} cannot be built into an operator on a grid"
                                       f"{': ' + why if why else ''}; train with loss=data, or write it on whole faces "
                                       "of the box, as Dirichlet, Neumann, Robin, Initial or Periodic")
        if problem.trainable:
            raise ProblemError("parameters to be found do not go with random inputs; give them numbers")
        self.free = self._free_faces()
        self._masks: dict[tuple[tuple[int, ...], str], Tensor] = {}
        self._lift = Program(dict(self.ansatz.lifts))
        self._bubble = Program(dict(self.ansatz.bubbles))

    def _built_in(self, block: Block) -> bool:
        return any(b.name in self.ansatz.satisfied and b.kind == block.kind and b.components == block.components
                   for b in self.problem.blocks) or block.kind == "periodic"

    def _whole_faces(self, condition: Condition, block: Block) -> tuple[str, ...]:
        """Faces in space of a condition with derivatives there; () for others."""
        if block.kind not in ("neumann", "robin", "boundary") or block.combine != "each":
            return ()
        every = {f"{c}{end}": None for c in self.problem.domain.names if c != "t" and c not in self.ansatz.periods
                 for end in "-+"}
        names = faces_of(getattr(condition, "on", None))
        found = [f for n in names for f in (every if n == "boundary" else (n,))]
        return tuple(dict.fromkeys(found)) if all(f in every for f in found) else ()

    def _free_faces(self) -> frozenset[str]:
        """Faces in space on which some unknown is not built in: an outflow, say. Equations hold up to there."""
        problem = self.problem
        held: dict[str, set[str]] = {u: set() for u in problem.unknowns}
        space = [c for c in problem.domain.names if c != "t" and c not in self.ansatz.periods]
        every = {f"{c}{end}" for c in space for end in "-+"}
        for h in (h for b in problem.blocks if b.name in self.ansatz.satisfied for h in b.hard):
            if h.kind == "dirichlet":
                held[h.unknown] |= every if "boundary" in h.regions else set(h.regions)
        for block, faces in self.faces:
            for u in block.program.requests:
                held[u] |= set(faces)
        return frozenset(f for f in every if any(f not in faces for faces in held.values()))

    def _functions(self, layout: Layout, unknowns: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> GridFunctions:
        return GridFunctions(layout.axes, {**unknowns, **inputs}, dict(layout.over))

    def lift(self, layout: Layout, inputs: Mapping[str, Tensor]) -> Tensor:
        """G, (B, n_1, …, n_d, C)."""
        return self._evaluate(self._lift, layout, inputs)

    def bubble(self, layout: Layout, inputs: Mapping[str, Tensor]) -> Tensor:
        """B, (B or 1, n_1, …, n_d, C)."""
        return self._evaluate(self._bubble, layout, inputs)

    def _evaluate(self, program: Program, layout: Layout, inputs: Mapping[str, Tensor]) -> Tensor:
        values = on_grid(program, self._functions(layout, {}, inputs), self.coordinates)
        batch = max(len(v) for v in values)
        return torch.stack([v.expand(batch, *layout.shape) for v in values], -1)

    def residuals(self, layout: Layout, u: Tensor, inputs: Mapping[str, Tensor]) -> list[Residual]:
        """r of every equation.

        Args:
            layout: The grid.
            u: (B, n_1, …, n_d, C).
            inputs: (B, …) by name.
        """
        unknowns = {n: u[..., c] for c, n in enumerate(self.problem.unknowns)}
        functions = self._functions(layout, unknowns, inputs)
        found = []
        for block in self.blocks:
            values = on_grid(block.program, functions, self.coordinates)
            batch = max(len(v) for v in (u, *values))
            stacked = torch.stack([v.expand(batch, *layout.shape) for v in values], -1)
            found.append(Residual(block.name, stacked[self.inside(layout)]))
        for block, faces in self.faces:
            found.append(Residual(block.name, self._on_faces(layout, functions, block, faces, len(u))))
        return found

    def _on_faces(self, layout: Layout, functions: GridFunctions, block: Block, faces: tuple[str, ...],
                  batch: int) -> Tensor:
        """Values of a condition at the nodes of its faces, 0 elsewhere, (B, n_1, …, n_d, K · axes)."""
        found = []
        for axis in dict.fromkeys(f[:-1] for f in faces):
            total = functions.like.new_zeros(())
            for face in (f for f in faces if f[:-1] == axis):
                normal = {c: 0.0 for c in layout.names} | {axis: 1.0 if face.endswith("+") else -1.0}
                values = on_grid(block.program, functions, self.coordinates, normal)
                rows = torch.stack([v.expand(batch, *layout.shape) for v in values], -1)
                total = total + rows * self._mask(layout, face).to(rows)[..., None]
            found.append(total)
        return torch.cat(found, -1)

    def _mask(self, layout: Layout, face: str) -> Tensor:
        """1 at the nodes of a face where nothing is built in, (n_1, …, n_d)."""
        if (layout.shape, face) not in self._masks:
            mask, open_ = torch.zeros(layout.shape), self.free | {f for _, faces in self.faces for f in faces}
            i = layout.names.index(face[:-1])
            index = [slice(None) if a.periodic else slice(None if f"{a.name}-" in open_ else 1, None if a.name == "t" or
                                                          f"{a.name}+" in open_ else -1) for a in layout.axes]
            place: list = [*index[:i], 0 if face.endswith("-") else -1, *index[i + 1:]]
            mask[tuple(place)] = 1
            self._masks[layout.shape, face] = mask
        return self._masks[layout.shape, face]

    def check(self, layout: Layout, inputs: Mapping[str, Tensor]) -> None:
        """Raises a ProblemError if the lift of a batch misses data that are built in."""
        G = self.lift(layout, inputs)
        unknowns = {n: G[..., c] for c, n in enumerate(self.problem.unknowns)}
        functions = self._functions(layout, unknowns, inputs)
        for block in (b for b in self.held if b.hard and b.kind in ("dirichlet", "initial")):
            values = on_grid(block.program, functions, self.coordinates)
            for face in {r for h in block.hard for r in h.regions if not any(h.order for h in block.hard)}:
                worst = max(float(v.expand(len(G), *layout.shape)[part].abs().max())
                            for v in values for part in _faces(layout, face))
                if worst > 1e-4 * (1.0 + float(G.abs().max())):
                    raise ProblemError(f"condition {block.name!r}: what is built in misses it by {worst:.2g} on "
                                       f"{face!r} for some input functions; data that meet in a corner must agree "
                                       "there for every input (kind=\"dirichlet\" vanishes on the boundary)")

    def inside(self, layout: Layout) -> tuple:
        """Slices that leave out what is built in: faces in space where all unknowns are, and the initial time."""
        return (slice(None), *(slice(None) if a.periodic else slice(
            None if f"{a.name}-" in self.free else 1,
            None if a.name == "t" or f"{a.name}+" in self.free else -1) for a in layout.axes))


def _faces(layout: Layout, name: str) -> list[tuple]:
    """Indices of the nodes of a face, or of all faces in space."""
    if name == "boundary":
        return [part for a in layout.axes if a.name != "t" and not a.periodic
                for part in (*_faces(layout, f"{a.name}-"), *_faces(layout, f"{a.name}+"))]
    name = "t-" if name == "initial" else name
    i = layout.names.index(name[:-1])
    whole: list = [slice(None)] * (len(layout.axes) + 1)
    whole[i + 1] = 0 if name.endswith("-") else -1
    return [tuple(whole)]
