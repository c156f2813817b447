"""Gauss–Newton steps by orthogonal factorisation: for fields that are linear in their parameters.

    J = A S,   S = diag |J e_j|,   A = Q T,    δ = −S⁻¹ T⁻¹ Qᵀ r               undamped: the least-squares solution
    θ + δ = S⁻¹ T⁻¹ Qᵀ (J θ − r)                                               the same, solved anew
    [T; √μ Id] = Q′ T′,            δ = −S⁻¹ T′⁻¹ Q′ᵀ [Qᵀ r; 0]                  damped, where a plain step is refused

Normal equations square the condition of J, which for smooth bases such as overlapping Gaussians is 10⁸ and more; the
triangle of a Householder factorisation does not. For a linear equation the first step is the solution; for others
the steps are Newton's (quasi-linearisation), and damping is what a step needs that does not lower the loss.

The two undamped forms differ by rounding. An increment, which corrects the rounding errors of the step before, is taken
unless |r| is clearly smaller anew. For amplitudes along directions that rows hardly see stay as large as the first step
made them, and u has an error of their rounding: the solution anew does not know of them. (Klein–Gordon in two
dimensions, overlap 2: amplitudes of 10¹³ and an error of 5e-4 by increments, 10¹¹ and 8e-6 anew.)
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ..calculus.sparse import SparseJacobian
from ..errors import ProblemError
from .gauss_newton import GaussNewton
from .sparse import SparseEquations

AFFINE = 1e-10                   # share of |r| that r may differ from its linearisation where it is linear
NEGLIGIBLE = 1e-3                # share of |r|² under which the decrease of a Newton step no longer pays
CREEP = 0.1                      # the same with a ridge, along whose flat directions every step goes a little on
STILL = 1e-6                     # share under which it is rounding that a damped step still finds something to lower
WORTH = 0.9                      # share of |r| of an increment under which a solution anew is taken
OFF, SLIGHT = 1e-24, 1e-8        # damping that is none, and the least that is some


class LeastSquares(GaussNewton):
    """Levenberg–Marquardt by QR with scaled columns, at first without damping.

    Args:
        params: Parameters, all in one dtype on one device.
        damping: μ at the start, relative to columns of norm 1; what is below 1e-8 is as good as none.
        lower, raise_, largest, tries: As in `GaussNewton`.
        ridge: Damping that stays, at most 1e-8: it keeps amplitudes small that the rows hardly see, at an error of its
            root. For fields that do not resolve the solution yet.

    Raises:
        ProblemError: An option makes no sense.

    Source: unpivoted Householder QR with scaled columns is what our notes (A7.2) found right where pivoted QR with a
        truncated rank, normal equations and LSQR were not; Marquardt (1963) for the damping.

    Note:
        Memory is 16 R P bytes for R residuals and P parameters in float64; time 2 R P² operations a step.
    """

    name = "least-squares"
    sparse = True

    def __init__(self, params, damping: float = OFF, lower: float = 10.0, raise_: float = 10.0,
                 largest: float = 1e8, tries: int = 20, ridge: float = 0.0):
        if not 0 <= ridge <= SLIGHT:
            raise ProblemError(f"least-squares.ridge={ridge} must lie between 0 and {SLIGHT:g}")
        super().__init__(params, max(damping, ridge), lower, raise_, OFF, largest, tries, acceleration=0.0)
        for group in self.param_groups:
            group["ridge"] = float(ridge)
        self._settled, self._idle = False, 0           # found; damped steps in a row that gained next to nothing

    def equations(self, J: Any):
        return SparseEquations(J) if isinstance(J, SparseJacobian) else _Triangle(J)

    def velocity(self, start, r, J, normal, residual):
        plain = super().velocity(start, r, J, normal, residual)
        theta = torch.cat([p.reshape(-1) for p in start])
        if self.damping > max(OFF, self.param_groups[0]["ridge"]) or not theta.any():
            return plain
        anew = normal.solve(J @ theta - r) - theta
        anew = torch.where(torch.isinf(normal.scale), torch.zeros_like(anew), anew)      # no row sees them: they stay
        sizes = []
        for v in (plain, anew):
            self._move(start, v)
            sizes.append(float(residual().norm()))
        better = sizes[1] < WORTH * sizes[0] or (isfinite(sizes[1]) and not isfinite(sizes[0]))
        return anew if better else plain

    @property
    def converged(self) -> bool:
        """Whether another step would change nothing worth its factorisation."""
        return self._settled or self.refused > 0

    def lowered(self, damping, r, J, velocity, moved):
        before = float(r @ r)
        affine = float((moved - (r + J @ velocity)).norm()) <= AFFINE * before**0.5
        share = CREEP if self.param_groups[0]["ridge"] else NEGLIGIBLE
        gain = before - float(moved @ moved)
        self._idle = self._idle + 1 if damping > SLIGHT and gain <= NEGLIGIBLE * before else 0
        self._settled = gain <= STILL * before or self._idle > 1 or \
            damping <= SLIGHT and (affine or gain <= share * before)
        found = super().lowered(damping, r, J, velocity, moved)
        return found if found >= SLIGHT else max(OFF, self.param_groups[0]["ridge"])

    def raised(self, damping):
        return max(super().raised(damping), SLIGHT)

    def state_dict(self):
        """Groups with the damping, the refusals in a row, and whether the solution is found."""
        return {**super().state_dict(), "settled": self._settled, "idle": self._idle}

    def load_state_dict(self, state_dict):
        """Restores `state_dict`."""
        self._settled, self._idle = bool(state_dict["settled"]), int(state_dict.get("idle", 0))
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in ("settled", "idle")})


class _Triangle:
    """(AᵀA + μ Id)⁻¹ Aᵀ b in the scale of J, for several μ, through the triangle of A."""

    def __init__(self, J: Tensor):
        R, P = J.shape
        scale = J.norm(dim=0)
        self.diagonal = scale
        # columns that vanish on all points stay where they are
        self.scale = torch.where(scale > 1e-10 * scale.max(), scale, torch.inf)
        A = J / self.scale
        if R < P:
            A = torch.cat([A, A.new_zeros(P - R, P)])
        self.householder, self.tau = torch.geqrf(A)
        self.rows = R
        self.triangle = self.householder[:P].triu()
        self.smallest = float(self.triangle.diagonal().abs().min())
        self.damped: tuple[Tensor, Tensor, Tensor] | None = None

    def factor(self, damping: float) -> bool:
        """Sets μ."""
        if damping <= 1e-20 and self.smallest > 1e-14:
            self.damped = None
            return True
        P = len(self.triangle)
        ridge = damping**0.5 * torch.eye(P, dtype=self.triangle.dtype, device=self.triangle.device)
        a, tau = torch.geqrf(torch.cat([self.triangle, ridge]))
        self.damped = a, tau, a[:P].triu()
        return bool(torch.isfinite(self.damped[2].diagonal()).all())

    def solve(self, b: Tensor) -> Tensor:
        """The solution, shape (P,), for b of shape (R,)."""
        P = len(self.triangle)
        b = torch.cat([b, b.new_zeros(len(self.householder) - self.rows)])
        c = torch.ormqr(self.householder, self.tau, b[:, None], transpose=True)[:P]
        T = self.triangle
        if self.damped is not None:
            a, tau, T = self.damped
            c = torch.ormqr(a, tau, torch.cat([c, torch.zeros_like(c)]), transpose=True)[:P]
        return torch.linalg.solve_triangular(T, c, upper=True)[:, 0] / self.scale
