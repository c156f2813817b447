"""Gauss–Newton with Levenberg–Marquardt damping on a stacked residual vector.

    d = (JᵀJ + μ Id)⁻¹ Jᵀ r,      θ ← θ − d,

with μ lowered after a step that lowers |r|² and raised, with the step refused, otherwise; so the loss never
increases between redraws of the points. When there are fewer residuals than parameters the same d comes from the
smaller system, d = Jᵀ (JJᵀ + μ Id)⁻¹ r.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ProblemError


class GaussNewton(torch.optim.Optimizer):
    """Levenberg–Marquardt on the residual vector of an objective.

    Args:
        params: Parameters, all in one dtype on one device.
        damping: μ at the start.
        lower, raise_: Factors on μ after an accepted and a refused step.
        smallest, largest: Bounds of μ.
        tries: Refusals in a row before the step is given up.

    Source: Marquardt (1963); Müller and Zeinhofer (2023), arXiv:2302.13163, for the use on PINNs. The damping is
        identity damping with the schedule ÷3 / ×2, as measured best in our notes on Poisson's equation.

    Note:
        Memory is 8 (R P + 2 P²) bytes for R residuals and P parameters in float64.
    """

    def __init__(self, params, damping: float = 1e-2, lower: float = 3.0, raise_: float = 2.0,
                 smallest: float = 1e-16, largest: float = 1e8, tries: int = 20):
        if not damping > 0:
            raise ProblemError(f"gauss-newton.damping={damping} must be positive")
        if not (lower >= 1 and raise_ > 1 and tries >= 1):
            raise ProblemError("gauss-newton needs lower ≥ 1, raise_ > 1 and tries ≥ 1")
        super().__init__(params, dict(damping=float(damping), lower=lower, raise_=raise_, smallest=smallest,
                                      largest=largest, tries=tries))
        if len(self.param_groups) != 1:
            raise ProblemError("gauss-newton takes one group of parameters")
        self.refused = 0

    @property
    def damping(self) -> float:
        """The current μ."""
        return self.param_groups[0]["damping"]

    @torch.no_grad()
    def step(self, linearize: Callable[[], tuple[Tensor, Tensor]], loss: Callable[[], Tensor]) -> float:
        """One accepted step, or none after `tries` refusals.

        Args:
            linearize: Gives r of shape (R,) and J of shape (R, P) at the current parameters.
            loss: Gives |r|² at the current parameters, without derivatives.

        Returns:
            The loss |r|² after the step.
        """
        group = self.param_groups[0]
        r, J = linearize()
        before = float(r @ r)
        solve = _normal_equations(r, J)
        start = [p.detach().clone() for p in group["params"]]
        for _ in range(int(group["tries"])):
            direction = solve(group["damping"])
            if direction is not None:
                self._move(start, direction)
                after = float(loss())
                if after < before:
                    self.refused = 0
                    group["damping"] = max(group["damping"] / group["lower"], group["smallest"])
                    return after
            group["damping"] = min(group["damping"] * group["raise_"], group["largest"])
        self._move(start, None)
        self.refused += 1
        return before

    def _move(self, start: list[Tensor], direction: Tensor | None) -> None:
        offset = 0
        for p, origin in zip(self.param_groups[0]["params"], start, strict=True):
            if direction is None:
                p.copy_(origin)
                continue
            p.copy_(origin - direction[offset:offset + p.numel()].view_as(p))
            offset += p.numel()


def _gram(J: Tensor, block: int = 384) -> Tensor:
    """Lower triangle of JᵀJ, block column by block column: near half the work of the full product."""
    P = J.shape[1]
    gram = torch.zeros(P, P, dtype=J.dtype, device=J.device)
    for start in range(0, P, block):
        stop = min(start + block, P)
        torch.mm(J[:, start:].T, J[:, start:stop], out=gram[start:, start:stop])
    return gram


def _normal_equations(r: Tensor, J: Tensor) -> Callable[[float], Tensor | None]:
    """μ ↦ (JᵀJ + μ Id)⁻¹ Jᵀ r through the smaller Gram matrix; None where Cholesky fails."""
    R, P = J.shape
    wide = R < P
    gram = _gram(J.T if wide else J)
    right = r if wide else J.T @ r
    diagonal = gram.diagonal().clone()

    def solve(damping: float) -> Tensor | None:
        gram.diagonal().copy_(diagonal + damping)
        factor, info = torch.linalg.cholesky_ex(gram)
        if int(info) != 0:
            return None
        w = torch.cholesky_solve(right[:, None], factor)[:, 0]
        direction = J.T @ w if wide else w
        return direction if bool(torch.isfinite(direction).all()) else None

    return solve
