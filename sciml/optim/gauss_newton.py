"""Gauss–Newton with Levenberg–Marquardt damping and geodesic acceleration on a stacked residual vector.

    v = −(JᵀJ + μ Id)⁻¹ Jᵀ r                          velocity: the damped Gauss–Newton step
    a = −(JᵀJ + μ Id)⁻¹ Jᵀ r_vv                       acceleration, r_vv = ∂²r/∂v² the curvature of r along v
    θ ← θ + v + ½ a   if 2|a| ≤ α|v|,   else  θ + v

μ is lowered after a step that lowers |r|², and raised, with the step refused, otherwise; so the loss never increases
between redraws of the points. r_vv costs one more residual, by the difference quotient

    r_vv ≈ (2/h) ( (r(θ + h v) − r(θ))/h − J v ).

The loss of a neural field has long curved valleys; the acceleration follows their bend, where the plain step has to
be short. `sciml compare poisson --vary gauss-newton.acceleration=0,0.75` shows what it is worth.

With fewer residuals than parameters the same steps come from the smaller system, Jᵀ (JJᵀ + μ Id)⁻¹.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import NonFiniteError, ProblemError
from ..flat import gram, move


class DampedEquations(Protocol):
    """(JᵀJ + μ Id)⁻¹ Jᵀ b for several μ and b."""

    diagonal: Tensor

    def factor(self, damping: float) -> bool:
        """Sets μ; False where it is too small to solve."""

    def solve(self, b: Tensor) -> Tensor:
        """The solution, shape (P,), for b of shape (R,)."""


class GaussNewton(torch.optim.Optimizer):
    """Levenberg–Marquardt with geodesic acceleration on the residual vector of an objective.

    Args:
        params: Parameters, all in one dtype on one device.
        damping: μ at the start.
        lower, raise_: Factors on μ after an accepted and a refused step.
        smallest, largest: Bounds of μ.
        tries: Refusals in a row before the step is given up.
        acceleration: α, the largest ratio 2|a|/|v| at which the acceleration is used; 0 leaves it out.
        difference: h of the difference quotient.

    Source: Marquardt (1963); Transtrum and Sethna (2012), arXiv:1201.5885, for the acceleration, its bound α = 0.75
        and h = 0.1. They refuse a step whose acceleration is over the bound; here it is taken without the
        acceleration if that lowers the loss. On convection β = 30 (seed 0, 120 steps) refusing ended at an error of
        0.8, no acceleration at 1.8e-2, ours at 3.4e-4.
        Identity damping with ÷3 / ×2 as in our notes; Müller and Zeinhofer (2023), arXiv:2302.13163, for
        Gauss–Newton on such losses.

    Note:
        Memory is 8 (R P + 2 P²) bytes for R residuals and P parameters in float64.
    """

    needs = "residual"
    name = "gauss-newton"
    groups = 1

    def __init__(self, params, damping: float = 1e-2, lower: float = 3.0, raise_: float = 2.0,
                 smallest: float = 1e-16, largest: float = 1e8, tries: int = 20, acceleration: float = 0.75,
                 difference: float = 0.1):
        if not damping > 0:
            raise ProblemError(f"{self.name}.damping={damping} must be positive")
        if not (lower >= 1 and raise_ > 1 and tries >= 1):
            raise ProblemError(f"{self.name} needs lower ≥ 1, raise_ > 1 and tries ≥ 1")
        if acceleration < 0 or not difference > 0:
            raise ProblemError(f"{self.name} needs acceleration ≥ 0 and difference > 0")
        super().__init__(params, dict(damping=float(damping), lower=lower, raise_=raise_, smallest=smallest,
                                      largest=largest, tries=tries, acceleration=acceleration,
                                      difference=difference))
        if len(self.param_groups) > self.groups:
            raise ProblemError(f"{self.name} takes one group of parameters")
        self.refused = 0

    @property
    def damping(self) -> float:
        """The current μ."""
        return self.param_groups[0]["damping"]

    def extras(self) -> dict[str, float]:
        """Numbers for reports."""
        return {"damping": self.damping}

    def equations(self, J: Any) -> DampedEquations:
        """The damped normal equations of a Jacobian."""
        return _NormalEquations(J)

    def lowered(self, damping: float, r: Tensor, J: Any, velocity: Tensor, moved: Tensor) -> float:
        """μ after a step that lowered the loss, from r to the residual `moved`."""
        return max(damping / self.param_groups[0]["lower"], self.param_groups[0]["smallest"])

    def raised(self, damping: float) -> float:
        """μ after a step that did not lower the loss."""
        return min(damping * self.param_groups[0]["raise_"], self.param_groups[0]["largest"])

    @torch.no_grad()
    def step(self, linearize: Callable[[], tuple[Tensor, Tensor]],  # type: ignore[override]  # residuals, no loss
             residual: Callable[[], Tensor]) -> float:
        """One accepted step, or none after `tries` refusals.

        Args:
            linearize: Gives r of shape (R,) and J of shape (R, P) at the current parameters.
            residual: Gives r at the current parameters.

        Returns:
            The loss |r|² after the step.

        Raises:
            NonFiniteError: r or J is not finite. Whatever is raised, the parameters are those from before the step.
        """
        group = self.param_groups[0]
        start = [p.detach().clone() for p in group["params"]]
        r, J = linearize()
        before = float(r @ r)
        if not isfinite(before):
            raise NonFiniteError("loss")
        normal = self.equations(J)
        if not isfinite(float(normal.diagonal.sum())):
            raise NonFiniteError("gradient")
        accepted = False
        try:
            for _ in range(int(group["tries"])):
                if normal.factor(group["damping"]):
                    velocity = self.velocity(start, r, J, normal, residual)
                    step = velocity + self._acceleration(start, r, J, normal, velocity, residual)
                    self._move(start, step)
                    moved = residual()
                    after = float(moved.square().sum())
                    if after < before:
                        accepted = True
                        group["damping"] = self.lowered(group["damping"], r, J, velocity, moved)
                        break
                group["damping"] = self.raised(group["damping"])
        finally:
            if not accepted:
                self._move(start, None)
        self.refused = 0 if accepted else self.refused + 1
        return after if accepted else before

    def state_dict(self):
        """Groups with the damping, and the refusals in a row."""
        return {**super().state_dict(), "refused": self.refused}

    def load_state_dict(self, state_dict):
        """Restores `state_dict`."""
        self.refused = int(state_dict["refused"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "refused"})

    def velocity(self, start: list[Tensor], r: Tensor, J: Any, normal: DampedEquations,
                 residual: Callable[[], Tensor]) -> Tensor:
        """v; it may move the parameters away from the start."""
        return -normal.solve(r)

    def _acceleration(self, start, r: Tensor, J: Any, normal: DampedEquations, velocity: Tensor,
                      residual: Callable[[], Tensor]) -> Tensor | float:
        """½ a, or 0 where it is too large to be trusted."""
        group = self.param_groups[0]
        h = group["difference"]
        if not group["acceleration"]:
            return 0.0
        self._move(start, h * velocity)
        curvature = 2 / h * ((residual() - r) / h - J @ velocity)
        acceleration = -normal.solve(curvature)
        if 2 * float(acceleration.norm()) <= group["acceleration"] * float(velocity.norm()):
            return 0.5 * acceleration
        return 0.0

    def _move(self, start: list[Tensor], by: Tensor | None) -> None:
        """Sets θ to the start plus a move."""
        move(self.param_groups[0]["params"], start, by)


class _NormalEquations:
    """(JᵀJ + μ Id)⁻¹ Jᵀ b for several μ and b, through the smaller of the two Gram matrices."""

    def __init__(self, J: Tensor):
        self.J = J
        self.wide = J.shape[0] < J.shape[1]
        self.gram = gram(J.T if self.wide else J)
        self.diagonal = self.gram.diagonal().clone()
        self.cholesky: Tensor | None = None

    def factor(self, damping: float) -> bool:
        """Factors the damped Gram matrix; False where it is not positive definite to rounding."""
        self.gram.diagonal().copy_(self.diagonal + damping)
        self.cholesky, info = torch.linalg.cholesky_ex(self.gram)
        return int(info) == 0 and bool(torch.isfinite(self.cholesky[-1, -1]))

    def solve(self, b: Tensor) -> Tensor:
        """(JᵀJ + μ Id)⁻¹ Jᵀ b, shape (P,), for b of shape (R,)."""
        assert self.cholesky is not None        # `factor` comes first
        right = b if self.wide else self.J.T @ b
        w = torch.cholesky_solve(right[:, None], self.cholesky)[:, 0]
        return self.J.T @ w if self.wide else w
