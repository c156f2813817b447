"""Quasi-Newton methods with a dense inverse Hessian: BFGS, self-scaled BFGS, self-scaled Broyden.

    p = −H g,   α by strong Wolfe,   s = α p,   y = g⁺ − g,   ρ = 1/yᵀs,   z = H y,   q = yᵀz,   v = ρ s − z/q
    H ← (1/τ) [H − z zᵀ/q + φ q v vᵀ] + ρ s sᵀ

The secant equation H y = s holds for every scaling τ and every φ; the methods differ in these two numbers alone. They
come from h = ρ q and b = sᵀH⁻¹s/yᵀs = −α ρ sᵀg. Written out, the update is one symmetric rank-two term,

    H ← H/τ + [z s] M [z s]ᵀ,     M = [ (φ−1)/(qτ)      −φρ/τ     ]
                                      [   −φρ/τ      φqρ²/τ + ρ   ]

so that it takes the product z and one pass over H, in place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import isfinite, log, sqrt
from typing import Any

import torch
from torch import Tensor

from ..errors import NonFiniteError, ProblemError, look_up
from ..flat import flat, place
from .memory import demand_memory
from .wolfe import Trial, Wolfe, strong_wolfe

# L → (f(L), f′(L)); log and root make the valley of a small sum of squares less flat
TRANSFORMS: dict[str, Callable[[float], tuple[float, float]]] = {
    "none": lambda L: (L, 1.0),
    "sqrt": lambda L: (sqrt(L), 0.5 / sqrt(L)),
    "log": lambda L: (log(L), 1 / L),
}
NOISE = 1e-6        # Hager and Zhang's ε: relative differences of losses below it mean nothing


class DenseQuasiNewton(torch.optim.Optimizer):
    """A quasi-Newton method with a dense inverse Hessian on the parameters' device.

    One call of `step` is up to `max_iter` iterations on fixed points. H is kept when points are redrawn. A line search
    that finds nothing puts H back to the identity; when steepest descent finds nothing either, `stuck` says so.

    Args:
        params: Parameters, all in one dtype on one device; float64 is strongly advised.
        max_iter: Iterations per step.
        transform: What is minimised: "none": L, "sqrt": √L, "log": log L.
        initial_scaling: Scales the identity at the first update, by yᵀs/yᵀy or, in self-scaled Broyden, by τ = h/σ.

    Raises:
        ProblemError: A wrong option, or H does not fit into memory.

    Source: Urbán, Stefanou, Pons (2025), arXiv:2405.04230; Kiyani et al. (2025), arXiv:2501.16371. The first trial of
        the line search is min(1, 2.02 (f − f_old)/gᵀp), Nocedal and Wright (2006), eq. 3.60; f_old = f + |g|/2 where
        there is none. An update with yᵀs ≤ 0 is skipped. When the line search fails, H starts again from the identity.

    Note:
        Memory is 8 P² bytes in float64 for P parameters, and as much again for a moment at redraws.
    """

    needs = "closure"
    name = "quasi-newton"
    scales_by_curvature = True       # what initial_scaling does: H ← (yᵀs/yᵀy) H first, or a τ of the method's own

    def __init__(self, params, max_iter: int = 20, transform: str = "none", initial_scaling: bool = False):
        if max_iter < 1:
            raise ProblemError(f"{self.name}.max_iter={max_iter} must be at least 1")
        look_up(f"{self.name}.transform", transform, TRANSFORMS)
        super().__init__(params, {})
        if len(self.param_groups) != 1:
            raise ProblemError(f"{self.name} takes one group of parameters")
        self.max_iter, self.transform, self.initial_scaling = int(max_iter), transform, bool(initial_scaling)
        self.stuck = False
        self.restarts = 0
        p, P = self._params[0], self._count()
        number = p.element_size()
        demand_memory(self.name, 2 * number * P * P, p.device,
                      {"lbfgs": 202 * number * P, "adam": 2 * number * P})

    @abstractmethod
    def factors(self, h: float, b: float, first: bool) -> tuple[float, float]:
        """(τ, φ) from h = yᵀHy/yᵀs and b = sᵀH⁻¹s/yᵀs; `first` while H is the identity and to be scaled."""

    @property
    def evaluated(self) -> bool:
        """Whether loss and gradient at the current parameters are known, so that a step does not begin with them."""
        return "gradient" in self._memory

    @property
    def inverse_hessian(self) -> Tensor | None:
        """H, shape (P, P); None before the first iteration."""
        return self._memory.get("H")

    def forget(self) -> None:
        """Drops loss and gradient, which belong to points that are gone; H stays if it is positive definite."""
        memory = self._memory
        for key in ("value", "loss", "gradient", "previous"):
            memory.pop(key, None)
        H = memory.get("H")
        if H is None:
            return
        H.add_(H.T.clone()).mul_(0.5)
        if int(torch.linalg.cholesky_ex(H).info):
            del memory["H"]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]  # torch's says float
        """Up to `max_iter` iterations; sets `stuck` if even steepest descent moves nothing.

        Args:
            closure: Returns L and leaves ∇L in the parameters.

        Returns:
            The loss before the step.

        Raises:
            NonFiniteError: Loss or gradient are not finite before the step. Whatever is raised, the parameters are
                those of the last iteration that was finished.
        """
        self.stuck = False
        x = flat(self._params)
        memory = self._memory
        try:
            if not self.evaluated:
                self._start(closure)
            before = memory["loss"]
            with torch.no_grad():
                for _ in range(self.max_iter):
                    if not self._iterate(closure, x):
                        break
        finally:
            place(self._params, x)
        return torch.tensor(before, dtype=x.dtype)

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @property
    def _memory(self) -> dict[str, Any]:
        """H, loss, gradient and the value before, under the first parameter as torch wants it for its state_dict."""
        return self.state[self._params[0]]

    def _count(self) -> int:
        return sum(p.numel() for p in self._params)

    def _evaluate(self, closure, p: Tensor | None, alpha: float) -> tuple[float, Trial]:
        """L, and the transformed objective as a trial, where the parameters are."""
        with torch.enable_grad():
            loss = torch.as_tensor(closure()).detach()
        g = torch.cat([(torch.zeros_like(q) if q.grad is None else q.grad).detach().reshape(-1) for q in self._params])
        L, slope = torch.stack([loss.to(g), g @ (g if p is None else p)]).tolist()   # the only wait for the device
        if not (isfinite(L) and isfinite(slope)) or (L <= 0 and self.transform != "none"):
            return L, Trial(alpha, L if self.transform == "none" else float("nan"), slope, g)
        value, factor = TRANSFORMS[self.transform](L)
        return L, Trial(alpha, value, factor * slope, g if factor == 1 else g.mul_(factor))

    def _start(self, closure) -> None:
        L, trial = self._evaluate(closure, None, 0.0)
        if not isfinite(L):
            raise NonFiniteError("loss")
        if not isfinite(trial.slope):
            raise NonFiniteError("gradient")
        self._memory.update(value=trial.value, loss=L, gradient=trial.gradient)

    def _iterate(self, closure, x: Tensor) -> bool:
        """One iteration, which moves x; False if there was nowhere to go."""
        memory = self._memory
        kept = memory.get("H")
        g = memory["gradient"]
        for H in ([None] if kept is None else [kept, None]):
            p = -g if H is None else -(H @ g)
            slope = float(g @ p)
            found, L = self._search(closure, x, p, slope) if isfinite(slope) and slope < 0 else (None, 0.0)
            if found is not None:
                break
            memory.pop("H", None)
            memory.pop("previous", None)
        else:
            if kept is not None:
                memory["H"] = kept
            self.stuck = True
            return False
        self.restarts += H is not kept
        x.add_(p, alpha=found.alpha)
        self._update(found, p, slope)
        memory.update(previous=memory["value"], value=found.value, loss=L, gradient=found.gradient)
        return True

    def _search(self, closure, x: Tensor, p: Tensor, slope: float) -> tuple[Trial | None, float]:
        memory, losses = self._memory, {}
        f, g = memory["value"], memory["gradient"]
        drop = f - memory["previous"] if "previous" in memory else -0.5 * float(g.norm())
        first = 2.02 * drop / slope

        def evaluate(alpha: float) -> Trial:
            place(self._params, torch.add(x, p, alpha=alpha))
            losses[alpha], trial = self._evaluate(closure, p, alpha)
            return trial

        noise = NOISE if self.transform == "log" else NOISE * abs(f)
        found = strong_wolfe(evaluate, Wolfe(Trial(0.0, f, slope, g), noise), min(1.0, first) if first > 0 else 1.0)
        return found, losses[found.alpha] if found is not None else 0.0

    def _update(self, found: Trial, p: Tensor, slope: float) -> None:
        """The rank-two update, or none where yᵀs ≤ 0."""
        memory = self._memory
        fresh = "H" not in memory
        y = found.gradient - memory["gradient"]
        z = y.clone() if fresh else memory["H"] @ y
        yp, q, yy = torch.stack([y @ p, y @ z, y @ y]).tolist()
        ys = found.alpha * yp
        if not (ys > 0 and q > 0 and isfinite(1 / ys) and isfinite(yy)):
            return
        if fresh:
            memory["H"] = torch.eye(len(y), dtype=y.dtype, device=y.device)
        H, rho = memory["H"], 1 / ys
        b = -found.alpha**2 * rho * slope
        first = fresh and self.initial_scaling
        if first and self.scales_by_curvature:
            gamma = ys / yy
            H.mul_(gamma)
            z, q, b = gamma * z, gamma * q, b / gamma
        tau, phi = self.factors(rho * q, b, first)
        rank_two(H, z, found.alpha * p, q, rho, tau, phi)


def rank_two(H: Tensor, z: Tensor, s: Tensor, q: float, rho: float, tau: float, phi: float) -> None:
    """H ← (1/τ) [H − zzᵀ/q + φ q vvᵀ] + ρ ssᵀ in place, with v = ρ s − z/q.

    Args:
        H: Shape (P, P), symmetric.
        z, s: H y and s, shape (P,).
        q, rho: yᵀz and 1/yᵀs.
        tau, phi: The method's.
    """
    cross, square = -phi * rho / tau, (phi * q * rho / tau + 1) * rho
    right = torch.stack([cross * s + ((phi - 1) / (q * tau)) * z, square * s + cross * z])
    H.addmm_(torch.stack([z, s], dim=1), right, beta=1 / tau)


class BFGS(DenseQuasiNewton):
    """BFGS with a dense inverse Hessian: τ = φ = 1."""

    name = "bfgs"

    def factors(self, h, b, first):
        return 1.0, 1.0


class SSBFGS(DenseQuasiNewton):
    """Self-scaled BFGS: φ = 1, and τ = min(1, 1/b) ("ab") or τ = 1/b ("ol").

    Args:
        scaling: "ab": Al-Baali's, which never shrinks H; "ol": Oren and Luenberger's, not recommended.
    """

    name = "ssbfgs"

    def __init__(self, params, max_iter: int = 20, scaling: str = "ab", transform: str = "none",
                 initial_scaling: bool = False):
        look_up("ssbfgs.scaling", scaling, dict.fromkeys(("ab", "ol")))
        super().__init__(params, max_iter, transform, initial_scaling)
        self.scaling = scaling

    def factors(self, h, b, first):
        return (min(1.0, 1 / b) if self.scaling == "ab" else 1 / b), 1.0


class SSBroyden(DenseQuasiNewton):
    """Self-scaled Broyden: τ and φ follow the curvature that was met.

    Args:
        variant: 2 or 1, see `broyden_factors`.
    """

    name = "ssbroyden"
    scales_by_curvature = False

    def __init__(self, params, max_iter: int = 20, variant: int = 2, transform: str = "none",
                 initial_scaling: bool = False):
        if variant not in (1, 2):
            raise ProblemError(f"ssbroyden.variant={variant} must be 1 or 2")
        super().__init__(params, max_iter, transform, initial_scaling)
        self.variant = int(variant)

    def factors(self, h, b, first):
        tau, phi, sigma = broyden_factors(h, b, self._count(), self.variant)
        return (h / sigma if first else tau), phi


def broyden_factors(h: float, b: float, n: int, variant: int = 2) -> tuple[float, float, float]:
    """(τ, φ, σ) of self-scaled Broyden.

        a = max(hb − 1, 0),   c = √(a/(1+a)),   ρ⁻ = min(1, h(1−c)),   θ⁻ = (ρ⁻−1)/a,   θ = 0 where a < 1e-14
        variant 2:  θ = max(θ⁻, min(1/ρ⁻, (1−b)/b))
        variant 1:  θ = θ⁻ (b = 1),  max(θ⁻, 1/(1−b)) (b > 1),  min(max(1, b(1+c)), 1/(1−b)) (b < 1)
        σ = 1 + θa,   e = |σ|^(−1/(n−1)),   τ = min(ρₖ e, σ) if θ ≤ 0, else ρₖ min(e, 1/θ),   ρₖ = min(1, 1/b)
        φ = (1−θ)/σ

    Args:
        h, b: yᵀHy/yᵀs and sᵀH⁻¹s/yᵀs, both positive; hb ≥ 1 but for rounding.
        n: Number of parameters.
        variant: 1 or 2.

    Source: Urbán, Stefanou, Pons (2025), arXiv:2405.04230. In variant 1, θ⁺ = max(1, b(1+c)); another public definition
        has 1/ρ⁻. 1 − c is computed as 1/((1+a)(1+c)), which keeps its digits for large a.
    """
    a = max(h * b - 1, 0.0)
    theta = 0.0
    if a >= 1e-14:
        c = sqrt(a / (1 + a))
        low = min(1.0, h / ((1 + a) * (1 + c)))
        least = (low - 1) / a
        if variant == 2:
            theta = max(least, min(1 / low, (1 - b) / b))
        elif b == 1:
            theta = least
        elif b > 1:
            theta = max(least, 1 / (1 - b))
        else:
            theta = min(max(1.0, b * (1 + c)), 1 / (1 - b))
    sigma = 1 + theta * a
    scale, e = min(1.0, 1 / b), abs(sigma) ** (-1 / max(n - 1, 1))
    tau = min(scale * e, sigma) if theta <= 0 else scale * min(e, 1 / theta)
    return tau, (1 - theta) / sigma, sigma
