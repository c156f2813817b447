"""Natural gradients in the energy metric: ENGD, ENGD-W and SPRING.

    d = (JᵀJ)⁺ Jᵀ r                              ENGD: the pseudo-inverse, truncated
    d = (JᵀJ + λ Id)⁻¹ Jᵀ r = Jᵀ (K + λ Id)⁻¹ r  ENGD-W, K = J Jᵀ
    φ ← μ φ + Jᵀ (K + λ Id)⁻¹ (r − μ J φ)        SPRING: what earlier steps knew is kept where this J says nothing
    θ ← θ − η d

Each takes the smaller of the two Gram matrices, JᵀJ of shape (P, P) or K of shape (R, R); K comes from the factors of J
(`calculus/factored.py`), so that with fewer residuals than parameters J is never formed. The search along d compares
the losses at η ∈ {0} ∪ {2⁰, …, 2⁻³⁰} and takes the best: the loss never increases between redraws.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import torch
from torch import Tensor

from ..calculus.factored import FactoredJacobian
from ..errors import NonFiniteError, ProblemError
from ..flat import move, symmetric_gram
from .memory import demand_gram

FORMS = ("auto", "parameters", "kernel")


class NaturalGradient(torch.optim.Optimizer):
    """What ENGD, ENGD-W and SPRING share: the choice of the form, the step, and its search."""

    needs = "factored"
    name = ""

    def __init__(self, params, defaults: dict):
        form, halvings = defaults["form"], defaults["halvings"]
        if form not in FORMS:
            raise ProblemError(f"{self.name}.form={form!r} must be one of {', '.join(FORMS)}")
        if not halvings >= 0:
            raise ProblemError(f"{self.name}.halvings={halvings} must be a number of halvings of the step, e.g. 30")
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ProblemError(f"{self.name} takes one group of parameters")
        self.refused = 0
        self.eta = 0.0

    def extras(self) -> dict[str, float]:
        """Numbers for reports."""
        return {"step_size": self.eta}

    def state_dict(self):
        """Groups, the refusals in a row and the last η."""
        return {**super().state_dict(), "refused": self.refused, "eta": self.eta}

    def load_state_dict(self, state_dict):
        """Restores `state_dict`."""
        self.refused, self.eta = int(state_dict["refused"]), float(state_dict["eta"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in ("refused", "eta")})

    @torch.no_grad()
    def step(self, linearize: Callable[[], tuple[Tensor, FactoredJacobian]],  # type: ignore[override]
             residual: Callable[[], Tensor]) -> float:
        """One step.

        Args:
            linearize: Gives r of shape (R,) and the factors of J of shape (R, P) at the current parameters.
            residual: Gives r at the current parameters.

        Returns:
            The loss |r|² after the step.

        Raises:
            TrainingError: The Gram matrix is larger than the memory that is left.
            NonFiniteError: r or J is not finite. Whatever is raised, the parameters are those from before the step.
        """
        params = self.param_groups[0]["params"]
        start = [p.detach().clone() for p in params]
        r, F = linearize()
        before = float(r @ r)
        if not isfinite(before):
            raise NonFiniteError("loss")
        demand_gram(*F.shape, self.kernel_form(F), r.dtype, r.device)
        direction, eta = self.direction(r, F)
        if not isfinite(float(direction.square().sum())):
            raise NonFiniteError("gradient")
        done = False
        try:
            if eta is None:
                self.eta, after = self._search(start, direction, before, residual)
            else:
                self.eta = eta
                move(params, start, -eta * direction)
                after = float(residual().square().sum())
            move(params, start, -self.eta * direction if self.eta else None)
            done = True
        finally:
            if not done:
                move(params, start, None)
        self.refused = self.refused + 1 if self.eta == 0 else 0
        return after

    def direction(self, r: Tensor, F: FactoredJacobian) -> tuple[Tensor, float | None]:
        """d of shape (P,), and η if it is known beforehand."""
        raise NotImplementedError

    def _search(self, start: list[Tensor], direction: Tensor, before: float,
                residual: Callable[[], Tensor]) -> tuple[float, float]:
        best, lowest = 0.0, before
        for k in range(int(self.param_groups[0]["halvings"]) + 1):
            move(self.param_groups[0]["params"], start, -0.5**k * direction)
            loss = float(residual().square().sum())
            if loss < lowest:
                best, lowest = 0.5**k, loss
        return best, lowest

    def kernel_form(self, F: FactoredJacobian) -> bool:
        """Whether to work with K of shape (R, R)."""
        form = self.param_groups[0]["form"]
        return form == "kernel" or (form == "auto" and F.shape[0] < F.shape[1])


class ENGD(NaturalGradient):
    """Energy natural gradient descent: the pseudo-inverse by truncation, no damping.

    JᵀJ = V diag(λ) Vᵀ,  d = Σ_{λᵢ > ρ λ₁} vᵢ (vᵢᵀ Jᵀ r) / λᵢ;  by the kernel, d = Jᵀ Σ_{λᵢ > ρ λ₁} uᵢ (uᵢᵀ r) / λᵢ.

    Args:
        params: Parameters, all in one dtype on one device.
        rcond: ρ; None: n ε for a Gram matrix of order n, ε the rounding of the dtype.
        form: "parameters" for (P, P), "kernel" for (R, R), "auto" for the smaller.
        halvings: The search ends at 2^−halvings.

    Source: Müller and Zeinhofer (2023), arXiv:2302.13163. Their code solves JᵀJ d = ∇L by lstsq with its default cutoff
        n ε; the eigenvalues of JᵀJ give the same pseudo-inverse. There d is twice ours, so that their search begins at
        what is η = 2 here. The kernel form and its cutoff are ours.

    Note:
        The truncation is the algorithm: with σ(J) cut at 1e-12 instead of √(n ε) ≈ 1e-7 it stalls. Use float64. The
        errors of the first tens of steps are large; judge by the loss.
    """

    name = "engd"

    def __init__(self, params, rcond: float | None = None, form: str = "auto", halvings: int = 30):
        if rcond is not None and not 0 < rcond < 1:
            raise ProblemError(f"engd.rcond={rcond} must lie between 0 and 1; leave it out for n times the rounding")
        super().__init__(params, dict(rcond=rcond, form=form, halvings=halvings))

    def direction(self, r, F):
        """(JᵀJ)⁺ Jᵀ r."""
        if self.kernel_form(F):
            return F.transposed(self._pseudo_solve(F.kernel(), r)), None
        return self._pseudo_solve(symmetric_gram(F.dense()), F.transposed(r)), None

    def _pseudo_solve(self, G: Tensor, b: Tensor) -> Tensor:
        if not bool(torch.isfinite(G.diagonal()).all()):
            raise NonFiniteError("gradient")
        values, V = torch.linalg.eigh(G)
        rcond = self.param_groups[0]["rcond"]
        rcond = len(G) * torch.finfo(G.dtype).eps if rcond is None else rcond
        kept = values > rcond * values[-1]
        inverse = torch.where(kept, 1 / torch.where(kept, values, 1), 0)
        return V @ (inverse * (V.T @ b))


class DampedNaturalGradient(NaturalGradient):
    """What ENGD-W and SPRING share: (JᵀJ + λ Id)⁻¹ Jᵀ b in either form, with the rows scaled on request."""

    def damped(self, b: Tensor, F: FactoredJacobian) -> Tensor:
        """Jᵀ (K + λ Id)⁻¹ b, or with Δ = diag K, Jᵀ Δ^-½ (Δ^-½ K Δ^-½ + λ Id)⁻¹ Δ^-½ b."""
        group = self.param_groups[0]
        if self.kernel_form(F):
            G = F.kernel()
            root = _inverse_root(G.diagonal()) if group["jacobi"] else None
            if root is not None:
                G = root[:, None] * G * root
            w = self._solve(G, b if root is None else root * b)
            return F.transposed(w if root is None else root * w)
        J = F.dense()
        if group["jacobi"]:
            root = _inverse_root(J.square().sum(1))
            J, b = root[:, None] * J, root * b
        return self._solve(symmetric_gram(J), J.T @ b)

    def _solve(self, G: Tensor, b: Tensor) -> Tensor:
        """(G + λ Id)⁻¹ b; λ is raised to the rounding of G, and on, where it is too small for a factorisation."""
        diagonal = G.diagonal().clone()
        if not bool(torch.isfinite(diagonal).all()):
            raise NonFiniteError("gradient")
        damping = self.param_groups[0]["damping"]
        floor = torch.finfo(G.dtype).eps * float(diagonal.max())
        while True:
            G.diagonal().copy_(diagonal + damping)
            factor, info = torch.linalg.cholesky_ex(G)
            if int(info) == 0 and bool(torch.isfinite(factor[-1, -1])):
                return torch.cholesky_solve(b[:, None], factor)[:, 0]
            damping = max(10 * damping, floor)
            if not isfinite(damping):
                raise NonFiniteError("gradient")


class SPRING(DampedNaturalGradient):
    """ENGD-W with memory: subsampled projected-increment natural gradient descent.

        ζ = r − μ J φ,   φ ← μ φ + Jᵀ (K + λ Id)⁻¹ ζ,   k ← k + 1
        θ ← θ − min(η, √C / |φ|) φ / √(1 − μ^{2k})          or, with a search, η by comparison of losses

    |φ| and the φ that is kept are those before the division by √(1 − μ^{2k}).

    Args:
        params: Parameters, all in one dtype on one device.
        lr: η; None: the search of ENGD takes the place of min(η, √C / |φ|).
        damping: λ.
        momentum: μ in [0, 1).
        norm: C, the largest square of the length of η φ.
        jacobi: Damp by λ diag K in place of λ Id, which is invariant to the scaling of rows.
        form: "parameters" for (P, P), "kernel" for (R, R), "auto" for the smaller.
        halvings: The search ends at 2^−halvings.

    Source: Goldshlager, Abrahamsen, Lin (2024), arXiv:2401.10190; for neural fields with the correction by
        √(1 − μ^{2k}) Guzmán-Cordero et al. (2025), arXiv:2505.12149, who tune λ from 3e-12 to 3e-2 and μ from 0.83 to
        0.98. Jacobi scaling by Jnini et al. (2026), arXiv:2604.05230. λ is raised where K + λ Id cannot be factored.

    Note:
        Meant for points that are drawn anew; on fixed points ENGD and Gauss–Newton are faster.
    """

    name = "spring"

    def __init__(self, params, lr: float | None = None, damping: float = 1e-3, momentum: float = 0.99,
                 norm: float = 1e-3, jacobi: bool = False, form: str = "auto", halvings: int = 30):
        _check_damped(self.name, lr, damping)
        if not 0 <= momentum < 1:
            raise ProblemError(f"{self.name}.momentum={momentum} must lie in [0, 1)")
        if not norm > 0:
            raise ProblemError(f"{self.name}.norm={norm} must be positive")
        super().__init__(params, dict(lr=lr, damping=float(damping), momentum=momentum, norm=norm, jacobi=jacobi,
                                      form=form, halvings=halvings))
        self.k = 0
        self.phi: Tensor | None = None

    def direction(self, r, F):
        """φ / √(1 − μ^{2k}), and the η of its length."""
        group = self.param_groups[0]
        mu, phi = group["momentum"], self.phi
        if phi is None or not mu:
            phi = self.damped(r, F)
        else:
            phi = mu * phi + self.damped(r - mu * (F @ phi), F)
        if not isfinite(float(phi.square().sum())):
            raise NonFiniteError("gradient")
        self.phi, self.k = phi, self.k + 1
        correction = (1 - mu ** (2 * self.k)) ** 0.5
        return phi / correction, None if group["lr"] is None else \
            min(group["lr"], group["norm"] ** 0.5 / max(float(phi.norm()), torch.finfo(phi.dtype).tiny))

    def state_dict(self):
        """With φ and k."""
        return {**super().state_dict(), "phi": self.phi, "k": self.k}

    def load_state_dict(self, state_dict):
        """Restores `state_dict`."""
        like, phi = self.param_groups[0]["params"][0], state_dict["phi"]
        self.phi, self.k = None if phi is None else phi.to(like), int(state_dict["k"])
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in ("phi", "k")})


class ENGDW(DampedNaturalGradient):
    """Energy natural gradient with damping, by Woodbury's identity in the smaller space: d = Jᵀ (K + λ Id)⁻¹ r.

    Args:
        params: Parameters, all in one dtype on one device.
        lr: η; None: the search of ENGD.
        damping: λ.
        jacobi: Damp by λ diag K in place of λ Id, which is invariant to the scaling of rows.
        form: "parameters" for (P, P), "kernel" for (R, R), "auto" for the smaller.
        halvings: The search ends at 2^−halvings.

    Source: Guzmán-Cordero et al. (2025), arXiv:2505.12149, who tune λ from 3e-12 (with the search) to 7e-8 (η = 0.05)
        on Poisson's equation in 5 dimensions. λ is raised where K + λ Id cannot be factored.
    """

    name = "engd-w"

    def __init__(self, params, lr: float | None = None, damping: float = 1e-8, jacobi: bool = False,
                 form: str = "auto", halvings: int = 30):
        _check_damped(self.name, lr, damping)
        super().__init__(params, dict(lr=lr, damping=float(damping), jacobi=jacobi, form=form, halvings=halvings))

    def direction(self, r, F):
        """Jᵀ (K + λ Id)⁻¹ r."""
        return self.damped(r, F), self.param_groups[0]["lr"]


def _check_damped(name: str, lr: float | None, damping: float) -> None:
    if lr is not None and not lr > 0:
        raise ProblemError(f"{name}.lr={lr} must be positive; leave it out for a search of the step")
    if not damping > 0:
        raise ProblemError(f"{name}.damping={damping} must be positive")


def _inverse_root(diagonal: Tensor) -> Tensor:
    """Δ^-½, with 1 for rows that no parameter touches."""
    return torch.where(diagonal > 0, diagonal, 1).rsqrt()
