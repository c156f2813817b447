"""Variable projection: the last, linear layer is solved for, and only what is in front of it is trained.

    u = Φ_w c,   A(w) = ∂r/∂c,   c(w) = argmin_c |r(w, c)|²,   F(w) = |r(w, c(w))|²
    ∇F = 2 J_wᵀ r,   J̃ = (Id − A A⁺) J_w                       c held fixed in J_w = ∂r/∂w

For linear equations r is affine in c and c(w) is one least-squares solution; otherwise Gauss–Newton steps on c follow
until it stands still. w takes the steps of `gauss_newton.py` with J̃ in place of J.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

import torch
from torch import Tensor

from ..errors import NonFiniteError, ProblemError
from ..flat import move
from .gauss_newton import GaussNewton

GAIN = 1e-9                       # share of |r|² that a head solved for once more may gain by rounding alone
Linearize = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]


class VarPro(GaussNewton):
    """Levenberg–Marquardt on the residual that is left when the head is optimal.

    Args:
        params: Two groups, the body w and the head c, all in one dtype on one device.
        body: Whether w is trained; otherwise only the head is solved for, in one step.
        rcond: Singular values of A below this share of the largest are left out.
        inner: Most Gauss–Newton steps on c; one is enough for linear equations.
        damping, lower, raise_, smallest, largest, tries, acceleration, difference: As in `GaussNewton`.

    Raises:
        ProblemError: An option makes no sense.

    Source: Golub and Pereyra (1973), doi:10.1137/0710036; Kaufman (1975), doi:10.1007/BF01932995, for J̃ without its
        second term, which vanishes with r and leaves J̃ᵀ r exact. A⁺ by QR and the singular values of its triangle. For
        nonlinear equations the inner loop halves a step that does not lower the loss.
    """

    needs = "head"
    name = "varpro"
    groups = 2

    def __init__(self, params, body: bool = True, rcond: float = 1e-13, inner: int = 10, damping: float = 1e-2,
                 lower: float = 3.0, raise_: float = 2.0, smallest: float = 1e-16, largest: float = 1e8,
                 tries: int = 20, acceleration: float = 0.75, difference: float = 0.1):
        if not 0 < rcond < 1:
            raise ProblemError(f"varpro.rcond={rcond} must lie between 0 and 1")
        if not inner >= 1:
            raise ProblemError(f"varpro.inner={inner} must be at least 1")
        super().__init__(params, damping, lower, raise_, smallest, largest, tries, acceleration, difference)
        for group in self.param_groups:
            group.update(body=body, rcond=rcond, inner=int(inner))

    @property
    def head(self) -> list[Tensor]:
        """The tensors of c."""
        return self.param_groups[-1]["params"]

    @torch.no_grad()
    def step(self, linearize: Linearize, residual: Callable[[], Tensor]) -> float:  # type: ignore[override]
        """Solves for the head, then one accepted step of the body, or none.

        Args:
            linearize: Gives r of shape (R,) and the columns of J that belong to some parameters.
            residual: Gives r at the current parameters.

        Returns:
            The loss |r|² after the step.

        Raises:
            NonFiniteError: r or J is not finite. Whatever is raised, the parameters are those from before the step.
        """
        body = self.param_groups[0]["params"] if self.param_groups[0]["body"] else []
        first = [c.clone() for c in self.head]
        done = False
        try:
            before = float(residual().square().sum())
            if not isfinite(before):
                raise NonFiniteError("loss")
            r = self.project(linearize, residual)
            if not body:
                after = float(r @ r)
                self.refused = 0 if after < (1 - GAIN) * before else self.refused + 1
            else:
                best = [c.clone() for c in self.head]

                def reduced() -> Tensor:
                    move(self.head, best, None)
                    return self.project(linearize, residual)

                after = super().step(lambda: self.reduced(linearize), reduced)
                if self.refused:
                    move(self.head, best, None)
                    self.refused = 0 if after < (1 - GAIN) * before else self.refused
            done = True
        finally:
            if not done:
                move(self.head, first, None)
        return after

    def project(self, linearize: Linearize, residual: Callable[[], Tensor]) -> Tensor:
        """Sets c to c(w) and returns r there."""
        group = self.param_groups[-1]
        for _ in range(group["inner"]):
            r, A = linearize(self.head)
            before = float(r @ r)
            if not (isfinite(before) and bool(torch.isfinite(A).all())):
                return r                                  # the caller refuses this w
            delta = -Range(A, group["rcond"]).solve(r)
            here, share = [c.clone() for c in self.head], 1.0
            move(self.head, here, delta)
            moved = residual()
            while not float(moved @ moved) < before and share > 1e-3:
                share /= 2
                move(self.head, here, share * delta)
                moved = residual()
            if not float(moved @ moved) < before:
                move(self.head, here, None)
                return r
            affine = float((moved - (r + A @ delta)).norm()) <= 1e-9 * before**0.5 and share == 1.0
            if affine or before - float(moved @ moved) <= 1e-12 * before:
                return moved
        return moved

    def reduced(self, linearize: Linearize) -> tuple[Tensor, Tensor]:
        """r and Kaufman's J̃ at c(w)."""
        body = self.param_groups[0]["params"]
        r, J = linearize([*body, *self.head])
        P = sum(p.numel() for p in body)
        if not bool(torch.isfinite(J).all()):
            raise NonFiniteError("gradient")
        return r, Range(J[:, P:], self.param_groups[-1]["rcond"]).complement(J[:, :P])


class Range:
    """The column space of A, shape (R, M), to a relative accuracy: A = Q T, T = U Σ Vᵀ without small σ.

    Args:
        rcond: The relative accuracy.
    """

    def __init__(self, A: Tensor, rcond: float):
        Q, T = torch.linalg.qr(A)
        U, sigma, Vh = torch.linalg.svd(T, full_matrices=False)
        rank = int((sigma > rcond * sigma[0]).sum())
        self.Q, self.sigma, self.Vh = Q @ U[:, :rank], sigma[:rank], Vh[:rank]

    def solve(self, b: Tensor) -> Tensor:
        """A⁺ b, shape (M,), for b of shape (R,)."""
        return self.Vh.T @ ((self.Q.T @ b) / self.sigma)

    def complement(self, B: Tensor) -> Tensor:
        """(Id − A A⁺) B."""
        return B - self.Q @ (self.Q.T @ B)
