"""Learning the spectrum of a Gaussian process from what an equation is given: its log marginal likelihood.

    u ~ GP(0, s² k)   ⇒   A u ~ GP(0, s² k_A),   k_A(Δ) = Σ_kl a_k a_l (−1)^l ∂^{k+l} k(Δ)
    −log p(q) = N/2 log (qᵀ C⁻¹ q / N) + 1/2 log det C + const,   C = k_A(X, X)/k_A(0) + ε Id

for an equation Σ_k a_k ∂^k u = q in one coordinate; s² is where the likelihood is largest. On equally spaced points
C depends on their distances alone, and the kernel is evaluated at N of them and not N². With several coordinates
each one's kernel is learnt by lines of the right side along it, as independent draws: exact for one coordinate, a
heuristic for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..errors import NonFiniteError, ProblemError
from ..fields.mixture import Profile, covariance


def negative_log_evidence(profile: Profile, parameters: tuple[Tensor, Tensor, Tensor], symbol: Mapping[int, float],
                          spacing: float, Y: Tensor, noise: float) -> Tensor:
    """−log p of right sides at equally spaced points, up to a constant and divided by their number of values.

    Args:
        profile: γ of the kernel.
        parameters: log w, f and log ρ, each of shape (Q,).
        symbol: a_k by order k.
        spacing: Of the points.
        Y: M draws, shape (N, M).
        noise: ε, a share of the variance.

    Returns:
        A number, differentiable in the parameters.

    Raises:
        NonFiniteError: C is not positive definite.
    """
    N, M = Y.shape
    number = torch.arange(N)
    k = covariance(profile, spacing * number.to(Y), Y.new_zeros(1), *parameters, 2 * max(symbol))[:, :, 0]
    image = sum((((-1) ** j * a * b) * k[i + j] for i, a in symbol.items() for j, b in symbol.items()),
                torch.zeros_like(k[0]))
    distance = (number[:, None] - number).abs()
    L, failed = torch.linalg.cholesky_ex((image / image[0])[distance] + noise * torch.eye(N, dtype=Y.dtype))
    if bool(failed):
        raise NonFiniteError("log marginal likelihood")
    white = torch.linalg.solve_triangular(L, Y, upper=False)
    return 0.5 * (white.square().sum() / (N * M)).log() + L.diagonal().log().sum() / N


class Evidence(torch.optim.Adam):
    """Adam on the log marginal likelihood of the right side, for the spectrum of `model=gp` and not its coefficients.

    Args:
        params: log w, f L and log ρ of every coordinate, f in cycles over its length L.
        lr: Of log w and log ρ per step, and of f L.
        noise: ε, the share of the right side's variance that is not the process's.
        points: Along a coordinate, equally spaced.

    Raises:
        ProblemError: An option makes no sense.

    Note:
        It is a stage before the solution: optimizer=evidence:50,kronecker.
    """

    needs = "evidence"
    name = "evidence"

    def __init__(self, params, lr: float = 0.1, noise: float = 1e-6, points: int = 600):
        if not (lr > 0 and 0 < noise < 1 and points >= 4):
            raise ProblemError(f"evidence needs lr > 0, 0 < noise < 1 and points ≥ 4, got lr={lr}, noise={noise}, "
                               f"points={points}")
        super().__init__(params, lr=lr)
        self.noise, self.points = noise, int(points)

    def learn(self, loss: Callable[[], Tensor]) -> float:
        """One step down −log p.

        Args:
            loss: Gives −log p with its graph.

        Raises:
            NonFiniteError: It is not finite; the parameters are those from before.
        """
        self.zero_grad()
        with torch.enable_grad():
            value = loss()
            if not bool(torch.isfinite(value)):
                raise NonFiniteError("log marginal likelihood")
            value.backward()
        self.step()
        return float(value.detach())
