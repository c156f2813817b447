"""Pseudo-time stepping: residuals with the step of a relaxation in them.

    r̃_c = r_c(u_θ) + w_c (u_c,θ − u_c,θ′),        θ′ the parameters before the last step, without gradient

One step of training is then a step of an implicit time stepping ∂u/∂τ = −r(u) of length 1/w, which keeps the field from
running off to states where the residual is small and the solution is not. At rest the added term is zero.
"""

from __future__ import annotations

from dataclasses import replace
from math import cos, log10, pi

import torch
from torch import Tensor

from ..calculus import Program
from ..errors import ProblemError
from ..points import Points
from ..problem import Block
from .preconditioner import Preconditioner, View, inside

LOWEST, HIGHEST, TINY = 1e-2, 100.0, 1e-8


class PseudoTime(Preconditioner):
    """Adds the step of a pseudo-time relaxation to the residuals of equations, with adaptive weights.

        ŵ_c = clip( s_c |r_c(θ) − r_c(θ′)| / (|u_c,θ − u_c,θ′| + 1e-8), 1e-2, 100 )
        w_c ← 0.9 w_c + 0.1 ŵ_c,   w_c(0) = 1
        s_c = 0.1 + 0.45 (1 + cos π p),   p = clip((log₁₀(L_c(0)/L_c) − 2)/4, 0, 1)       (shrink; else s_c = 1)

    |·| is the norm over the current points, and unknowns belong to the components of the equations in their order.

    Args:
        every: Steps between updates of w; 100 to 5000.
        shrink: Whether w fades as the loss falls, by s_c.
        weight: Constant w instead; None: adaptive.

    Raises:
        ProblemError: There are not as many equations as unknowns.

    Source: Wang, Koohy, Lu, Perdikaris (2026), arXiv:2604.23528. In Gauss–Newton the Jacobian of r̃ is J_r + w J_u.

    Note:
        An equation must be written so that ∂u/∂τ = −r is a stable flow: u.t − Δu or −Δu − f, not Δu + f, for which
        w steps backwards. Take it with points that are redrawn. It slows simple problems down.
    """

    mixes = False
    moves = True

    def __init__(self, every: int = 100, shrink: bool = True, weight: float | None = None):
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ProblemError(f"pseudo-time.every={every!r} must be a number of steps between updates of w")
        if weight is not None and (isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0):
            raise ProblemError(f"pseudo-time.weight={weight!r} must be positive, or None for adaptive weights")
        self.every, self.shrink, self.weight = every, bool(shrink), weight
        self.previous: list[Tensor] = []
        self.weights: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.steps: dict[str, dict[str, Tensor]] = {}

    def start(self, view, ansatz, points):
        self.blocks = inside(view.problem, view.blocks)
        unknowns, frame = list(view.problem.unknowns), view.problem.setting.frame
        count = sum(len(b.components) for b in self.blocks)
        if count != len(unknowns):
            raise ProblemError("precondition=pseudo-time steps every unknown by its own equation, and there are "
                               f"{count} equations inside for {len(unknowns)} unknowns; take none")
        self.owned: dict[str, tuple[str, ...]] = {}
        for b in self.blocks:
            self.owned[b.name], unknowns = tuple(unknowns[:len(b.components)]), unknowns[len(b.components):]
            values = Program({u: frame.leaf("unknown", u) for u in self.owned[b.name]})
            view.stand_ins[b.name] = replace(b, program=_Stepped(b.program, values))
        self.weights = {u: 1.0 if self.weight is None else float(self.weight) for u in view.problem.unknowns}
        self.previous = [p.detach().clone() for p in view.trainable]
        return ()

    def update(self, view, step):
        now = [p.detach().clone() for p in view.trainable]
        adapt = self.weight is None and step > 0 and step % self.every == 0
        before = self._at(view, self.previous, adapt or not step)
        if not step:
            self.first = {n: float(r[:, c].square().mean()) for name, (_, r) in before.items() if r is not None
                          for c, n in enumerate(self.owned[name])}
        if adapt:
            self._adapt(self._at(view, now, True), before)
        _put(view, now)
        self.steps = {b.name: self._data(b, before[b.name][0]) for b in self.blocks}
        self._place(view)
        self.previous = now
        return False                  # it moves at every step, which is no reason to forget what an optimizer knows

    def _place(self, view: View) -> None:
        for name, data in self.steps.items():
            view.data[name] = {**view.data.get(name, {}), **data}

    def _data(self, block: Block, u: Tensor) -> dict[str, Tensor]:
        found = {}
        for c, name in enumerate(self.owned[block.name]):
            found[f"{name} before"] = u[:, c]
            found[f"weight of {name}"] = torch.full_like(u[:, c], self.weights[name])
        return found

    @torch.no_grad()
    def _at(self, view: View, parameters: list[Tensor], residuals: bool) -> dict[str, tuple[Tensor, Tensor | None]]:
        """u and, if asked for, r at the current points and given parameters, (N, K) each, by block."""
        _put(view, parameters)
        found = {}
        for b in self.blocks:
            points, columns = view.points[b.name], [view.problem.unknowns.index(u) for u in self.owned[b.name]]
            pieces: list[Points] = [points[i:i + view.chunk] for i in range(0, len(points), view.chunk)]
            u = torch.cat([view.field(p.X)[:, columns] for p in pieces])
            found[b.name] = u, torch.cat([view.values(b, p) for p in pieces]) if residuals else None
        return found

    def _adapt(self, now: dict, before: dict) -> None:
        for b in self.blocks:
            (u, r), (v, s) = now[b.name], before[b.name]
            for c, name in enumerate(self.owned[b.name]):
                loss = float(r[:, c].square().mean())
                ratio = float((r[:, c] - s[:, c]).norm() / ((u[:, c] - v[:, c]).norm() + TINY))
                target = min(max(self._share(self.first[name], loss) * ratio, LOWEST), HIGHEST)
                self.weights[name] = 0.9 * self.weights[name] + 0.1 * target

    def _share(self, first: float, loss: float) -> float:
        if not self.shrink or not first > 0 or not loss > 0:
            return 1.0
        p = min(max((log10(first / loss) - 2) / 4, 0.0), 1.0)
        return 0.1 + 0.9 * 0.5 * (1 + cos(pi * p))

    def state_dict(self):
        return {"previous": self.previous, "weights": dict(self.weights), "first": dict(self.first),
                "steps": self.steps}

    def load_state_dict(self, view, state):
        self.previous, self.weights, self.first = state["previous"], dict(state["weights"]), dict(state["first"])
        self.steps = state["steps"]
        self._place(view)


@torch.no_grad()
def _put(view: View, parameters: list[Tensor]) -> None:
    for p, value in zip(view.trainable, parameters, strict=True):
        p.copy_(value)


class _Stepped(Program):
    """r_c + w_c (u_c − data) for every component of a program."""

    def __init__(self, residual: Program, values: Program):
        self.residual, self.values = residual, values
        self.names = residual.names
        self._thin: Program | None = None
        data = [("data", text, ()) for u in values.names for text in (f"{u} before", f"weight of {u}")]
        self.leaves = tuple(dict.fromkeys([*residual.leaves, *values.leaves, *data]))

    def collapsed(self):
        """With the operators of the residual's program."""
        if self._thin is None:
            thin = self.residual.collapsed()
            self._thin = self if thin is self.residual else _Stepped(thin, self.values)
        return self._thin

    def __call__(self, leaves, like):
        r, u = self.residual(leaves, like), self.values(leaves, like)
        return [a + leaves["data", f"weight of {n}", ()] * (b - leaves["data", f"{n} before", ()])
                for n, a, b in zip(self.values.names, r, u, strict=True)]
