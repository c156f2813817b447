"""Residuals of DeepONets at points: derivatives through the trunk alone, one pass for all functions of a batch.

    u_θ = G + s B N_θ,   ∂^α N_θ(a)(x) = Σ_k b_k(a) ∂^α t_k(x),      loss = mean over a of |R[u_θ, a]| / |R[G, a]|

at points that are drawn anew in every step. Equations are expanded by the rules of calculus, with the exact derivatives
of the input functions; the norm is the plain mean square (Wang, Wang and Perdikaris 2021, doi:10.1126/sciadv.abi8605).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..calculus import Frame, Program, Quantity
from ..calculus.collapse import Slot
from ..errors import ProblemError
from ..problem import Problem, Setting
from ..problem.family import Drawn
from ..problem.hard import build


@dataclass(frozen=True)
class Ansatz(Setting):
    """A setting in which an unknown is G + s B N, N the trained part.

    Args:
        parts: The expression by unknown.
    """

    parts: Mapping[str, Quantity] | None = None

    def names(self, normal: bool = False) -> dict[str, object]:
        found = super().names(normal)
        found.update(self.parts or {})
        return found


class TrunkResidual:
    """Residuals of a family's equations at points, for a DeepONet.

    Args:
        problem: The family.
        scale: s.

    Raises:
        ProblemError: A condition cannot be built in, or an input has no derivative that the equations ask for.
    """

    def __init__(self, problem: Problem, scale: float):
        if problem.rough:
            raise ProblemError(f"the equations ask for a derivative of the input {problem.rough[0]!r}, which jumps; "
                               "train with residual=grid, where fluxes are differenced")
        self.problem, ansatz = problem, build(problem, "auto")
        setting = problem.setting
        frame: Frame = setting.frame
        parts = {}
        for u in problem.unknowns:
            net = frame.leaf("unknown", u)
            parts[u] = ansatz.lifts[u] + scale * (ansatz.bubbles[u] * net)
        own = Ansatz(**{f.name: getattr(setting, f.name) for f in fields(Setting)}, parts=parts)
        self.programs: dict[str, Program] = {}
        for name, condition in problem.named_conditions():
            for block in condition.blocks(setting, name):
                if block.combine == "each" and block.region is problem.region:
                    (inside,) = condition.blocks(replace(own), name)
                    self.programs[block.name] = inside.program
        requests = [found for p in self.programs.values() for found in p.requests.values()]
        self.alphas = sorted(set().union(*requests))

    def __call__(self, N: Tensor, X: Tensor, coefficients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Components of every equation, (B, N, K).

        Args:
            N: ∂^α of the trained part for `alphas`, (A, B, N, C).
            X: Points, (N, D), columns in the order of the problem's coordinates.
            coefficients: Of the input functions, (B, M) by name.
        """
        names = self.problem.coordinates
        leaves = {("coordinate", n, (0,) * len(names)): X[:, i] for i, n in enumerate(names)}
        for i, alpha in enumerate(self.alphas):
            for c, u in enumerate(self.problem.unknowns):
                leaves["unknown", u, alpha] = N[i, ..., c]
        found = {}
        for name, program in self.programs.items():
            known = {i: self._input(program, step, X, coefficients)
                     for i, step in enumerate(program._steps) if step[0] == "call" and isinstance(step[1], Drawn)}
            found[name] = torch.stack(program.after(known, leaves, N[0, ..., 0]), -1)
        return found

    def _input(self, program: Program, step, X: Tensor, coefficients: Mapping[str, Tensor]) -> Tensor:
        """∂^α of the input functions at the points, (B, N)."""
        drawn, args = step[1], step[2]
        columns = []
        for argument in args:
            if isinstance(argument, Slot):
                (kind, name, _) = program._steps[argument.index][1]
                assert kind == "coordinate"
                columns.append(X[:, self.problem.coordinates.index(name)])
            else:
                columns.append(torch.full_like(X[:, 0], float(argument)))
        places = torch.stack(columns, -1).double() if columns else X.new_zeros(len(X), 0).double()
        return drawn.family.at(coefficients[drawn.name].to(X.device), places, drawn.alpha).to(X)
