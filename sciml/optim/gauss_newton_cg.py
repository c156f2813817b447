"""Gauss–Newton without matrices: the damped normal equations by conjugate gradients on the factors of the Jacobian.

    (JᵀJ + μ Id) v = −Jᵀ r        one product J p and one Jᵀ q for each iteration, M⁻¹ the preconditioner

Memory is that of the factors, N·S·K·width numbers a layer instead of N·K·width² (`calculus/factored.py`). Damping,
refusal and acceleration are those of `gauss_newton.py`; μ follows the gain ratio.
"""

from __future__ import annotations

from math import inf, isfinite

import torch
from torch import Tensor

from ..calculus.factored import FactoredJacobian
from ..errors import ProblemError
from .gauss_newton import GaussNewton

PRECONDITIONERS = ("none", "diagonal", "units")


class GaussNewtonCG(GaussNewton):
    """Matrix-free Levenberg–Marquardt with preconditioned conjugate gradients.

    With the model q(x) = ½ xᵀ(JᵀJ + μ)x − bᵀx and b = Jᵀ r, the iteration i ends where q_i < 0 and

        (q_i − q_{i−k}) / q_i < k ε,   k = max(10, i/10),

    or the preconditioned residual has fallen below its rounding. The gain ratio of a step is

        ρ = (|r|² − |r(θ + v)|²) / (|r|² − |r + J v|²),

    and μ is divided by `lower` where ρ > ¾, multiplied by `raise_` where ρ < ¼ or the step is refused.

    Args:
        params: Parameters, all in one dtype on one device.
        damping: μ at the start.
        preconditioner: "diagonal" of JᵀJ + μ, its blocks for the weights into each unit ("units"), or "none".
        tolerance: ε of the stopping rule.
        iterations: Most iterations of one solve.
        lower, raise_: Factors on μ.
        smallest, largest: Bounds of μ.
        tries: Refusals in a row before the step is given up.
        acceleration, difference: As in `GaussNewton`; the acceleration costs a second solve.

    Source: Martens (2010), sections 4.1, 4.4 and 4.6, "Deep learning via Hessian-free optimization": the stopping rule
        with its ε = 5e-4 and the bounds of ρ; the factors on μ are those of our `GaussNewton` instead of 2/3 and 3/2, a
        solve starts from 0, and the step is its last iterate.

    Note:
        Each iteration costs about as much as a pass through the field and back, without Taylor coefficients to compute.
    """

    needs = "factored"
    name = "gauss-newton-cg"

    def __init__(self, params, damping: float = 1e-2, preconditioner: str = "diagonal", tolerance: float = 5e-4,
                 iterations: int = 250, lower: float = 3.0, raise_: float = 2.0, smallest: float = 1e-16,
                 largest: float = 1e8, tries: int = 20, acceleration: float = 0.75, difference: float = 0.1):
        if preconditioner not in PRECONDITIONERS:
            raise ProblemError(f"{self.name}.preconditioner={preconditioner!r} must be one of "
                               f"{', '.join(PRECONDITIONERS)}")
        if not (tolerance > 0 and iterations >= 1):
            raise ProblemError(f"{self.name} needs tolerance > 0 and iterations ≥ 1")
        super().__init__(params, damping, lower, raise_, smallest, largest, tries, acceleration, difference)
        self.param_groups[0].update(preconditioner=preconditioner, tolerance=tolerance, iterations=int(iterations))

    def equations(self, J: FactoredJacobian) -> ConjugateGradients:
        """The normal equations by their products."""
        group = self.param_groups[0]
        return ConjugateGradients(J, group["preconditioner"], group["tolerance"], group["iterations"])

    def lowered(self, damping, r, J, velocity, moved):
        """μ by the gain ratio."""
        group = self.param_groups[0]
        predicted = float(r @ r - (r + J @ velocity).square().sum())
        gain = float(r @ r - moved @ moved) / predicted if predicted > 0 else inf
        if gain > 0.75:
            return max(damping / group["lower"], group["smallest"])
        return damping if gain >= 0.25 else min(damping * group["raise_"], group["largest"])


class ConjugateGradients:
    """(JᵀJ + μ Id)⁻¹ Jᵀ b by preconditioned conjugate gradients.

    Args:
        J: By its factors.
        preconditioner, tolerance, iterations: See `GaussNewtonCG`.
    """

    def __init__(self, J: FactoredJacobian, preconditioner: str, tolerance: float, iterations: int):
        self.J, self.tolerance, self.iterations = J, tolerance, iterations
        self.blocks = J.unit_blocks() if preconditioner == "units" else []
        self.diagonal = torch.cat([b.diagonal(dim1=1, dim2=2).reshape(-1) for _, b in self.blocks]) if self.blocks \
            else J.diagonal()
        self.plain = preconditioner == "none"
        self.damping = 0.0
        self.factors: list[tuple[slice, Tensor]] = []
        self.done = 0

    def factor(self, damping: float) -> bool:
        """Sets μ; False where a block is not positive definite to rounding."""
        self.damping = damping
        self.factors = []
        for columns, block in self.blocks:
            damped = block + damping * torch.eye(block.shape[1], dtype=block.dtype, device=block.device)
            factor, info = torch.linalg.cholesky_ex(damped)
            if bool(info.any()):
                return False
            self.factors.append((columns, factor))
        return True

    def precondition(self, x: Tensor) -> Tensor:
        """M⁻¹ x."""
        if self.plain:
            return x
        if not self.factors:
            return x / (self.diagonal + self.damping)
        parts = []
        for columns, factor in self.factors:
            b = x[columns].view(len(factor), -1, 1)
            parts.append(torch.cholesky_solve(b, factor).reshape(-1))
        return torch.cat(parts)

    def solve(self, b: Tensor) -> Tensor:
        """(JᵀJ + μ Id)⁻¹ Jᵀ b, shape (P,), for b of shape (R,)."""
        right = self.J.transposed(b)
        x = torch.zeros_like(right)
        left = right.clone()                                     # b − A x
        y = self.precondition(left)
        p, rho = y, float(left @ y)
        floor = (torch.finfo(right.dtype).eps ** 2) * rho
        models: list[float] = []
        for i in range(1, self.iterations + 1):
            if not (rho > floor and isfinite(rho)):
                break
            Ap = self.J.transposed(self.J @ p) + self.damping * p
            curvature = float(p @ Ap)
            if not curvature > 0:
                break
            alpha = rho / curvature
            x = x + alpha * p
            left = left - alpha * Ap
            models.append(-0.5 * float(x @ (left + right)))
            self.done = i
            k = max(10, i // 10)
            if i > k and models[-1] < 0 and (models[-1] - models[-1 - k]) / models[-1] < k * self.tolerance:
                break
            y = self.precondition(left)
            rho, before = float(left @ y), rho
            p = y + (rho / before) * p
        return x
