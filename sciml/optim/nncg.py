"""Nyström–Newton–CG: damped Newton steps by conjugate gradients on Hessian products.

    (∇²L + μ Id) d = ∇L,     θ ← θ − t d,     t = 1, ½, ¼, … until  L(θ − t d) ≤ L(θ) − c t ∇Lᵀd

A product ∇²L v is a backward pass through the backward pass. The systems are badly conditioned, so they are
preconditioned by a randomised Nyström approximation U Λ Uᵀ ≈ ∇²L of rank s, made anew every `refresh` steps:

    P⁻¹ = (λ_s + μ) U (Λ + μ Id)⁻¹ Uᵀ + (Id − U Uᵀ)
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, sqrt
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from ..errors import NonFiniteError, ProblemError
from ..flat import move, split
from .memory import demand_memory

Product = Callable[[Tensor], Tensor]


class NystromNewtonCG(torch.optim.Optimizer):
    """Newton's method by Nyström-preconditioned conjugate gradients, to polish what other stages have reached.

    Args:
        params: Parameters, all in one dtype on one device.
        damping: μ; it must exceed |λ_min(∇²L)| for exact steps, smaller ones end at negative curvature.
        rank: s, Hessian products per sketch.
        refresh: Steps between sketches.
        cg_tolerance: Residual of the linear system relative to |∇L|.
        cg_iterations: Products per step at most.
        armijo: c.
        halvings: Of the step at most; then it is refused.

    Raises:
        ProblemError: A wrong option, or too little memory.

    Source: Rathore et al. (2024), arXiv:2402.01868, section 7 and appendix E: s = 60, refresh 20, c = 0.1, μ the
        best of 1e-5 … 1e-1. Deviations: the tolerance is relative (theirs is 1e-16, absolute); conjugate gradients
        end at the first direction p with pᵀ(∇²L + μ)p ≤ 0, with what they have, for the Hessian of a neural
        field is indefinite; and a direction that does not descend is replaced by P⁻¹∇L.

    Note:
        The graph of the loss at all points is held during a step. Memory for matrices is 8 (3 s + 6) P bytes.
    """

    needs = "hessian"

    def __init__(self, params, damping: float = 1e-2, rank: int = 60, refresh: int = 20, cg_tolerance: float = 1e-4,
                 cg_iterations: int = 1000, armijo: float = 0.1, halvings: int = 30):
        if not damping > 0:
            raise ProblemError(f"nncg.damping={damping} must be positive")
        if min(rank, refresh, cg_iterations, halvings) < 1:
            raise ProblemError("nncg needs rank, refresh, cg_iterations and halvings of at least 1")
        if not (0 < cg_tolerance < 1 and 0 < armijo < 0.5):
            raise ProblemError("nncg needs cg_tolerance in (0, 1) and armijo in (0, ½)")
        super().__init__(params, {})
        if len(self.param_groups) != 1:
            raise ProblemError("nncg takes one group of parameters")
        self.damping, self.rank, self.refresh = float(damping), int(rank), int(refresh)
        self.cg_tolerance, self.cg_iterations = float(cg_tolerance), int(cg_iterations)
        self.armijo, self.halvings = float(armijo), int(halvings)
        first, P = self._params[0], sum(p.numel() for p in self._params)
        demand_memory("nncg", first.element_size() * P * (3 * min(self.rank, P) + 6), first.device,
                      {"adam": 2 * first.element_size() * P})

    @property
    def refused(self) -> int:
        """Steps in a row that lowered nothing."""
        return self._memory.get("refused", 0)

    def extras(self) -> dict[str, float]:
        """Numbers for reports."""
        return {"cg_iterations": float(self._memory.get("iterations", 0))}

    def forget(self) -> None:
        """Drops the last direction, which belongs to points that are gone; the preconditioner only sets the pace."""
        self._memory.pop("direction", None)

    def step(self, loss: Callable[[], Tensor],  # type: ignore[override]  # twice differentiable, no closure
             generator: Generator | None = None) -> float:
        """One Newton step, or none if it is refused.

        Args:
            loss: L at the current parameters, with graph if gradients are on.
            generator: For the sketches, on the parameters' device.

        Returns:
            The loss after the step.

        Raises:
            NonFiniteError: The loss or its gradient is not finite. Whatever is raised, the parameters are those from
                before the step.
        """
        memory = self._memory
        before, descent, d = self._direction(loss, generator)
        after = self._search(loss, d, before, descent)
        memory["steps"] = memory.get("steps", 0) + 1
        if after is None:
            memory["refused"] = self.refused + 1
            for key in ("direction", "basis", "values"):
                memory.pop(key, None)
            return before
        memory.update(refused=0, direction=d)
        return after

    def _direction(self, loss, generator: Generator | None) -> tuple[float, float, Tensor]:
        """L, ∇Lᵀd and d; the loss's graph ends here."""
        memory, mu = self._memory, self.damping
        with torch.enable_grad():
            L = loss()
            slopes = torch.autograd.grad(L, self._params, create_graph=True, allow_unused=True)
        g = self._flat(slopes)
        before, square = torch.stack([L.detach(), g @ g]).tolist()
        if not isfinite(before):
            raise NonFiniteError("loss")
        if not isfinite(square):
            raise NonFiniteError("gradient")

        def product(v: Tensor) -> Tensor:
            return self._hessian_product(slopes, v)

        if memory.get("steps", 0) % self.refresh == 0 or "basis" not in memory:
            memory["basis"], memory["values"] = nystrom(product, g, self.rank, generator)
        U, values = memory["basis"], memory["values"]
        found = conjugate_gradients(lambda v: product(v) + mu * v, g, memory.get("direction"),
                                    lambda v: precondition(U, values, mu, v), self.cg_tolerance, self.cg_iterations)
        memory["iterations"] = found.iterations
        d, descent = found.solution, float(g @ found.solution)
        if not (isfinite(descent) and descent > 0):
            d = precondition(U, values, mu, g)
            descent = float(g @ d)
        return before, descent, d

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @property
    def _memory(self) -> dict[str, Any]:
        """Direction, sketch and counters, under the first parameter as torch wants it for its state_dict."""
        return self.state[self._params[0]]

    def _flat(self, parts) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if q is None else q.detach()).reshape(-1)
                          for p, q in zip(self._params, parts, strict=True)])

    def _hessian_product(self, slopes, v: Tensor) -> Tensor:
        """∇²L v, shape (P,), from the gradient's graph."""
        outputs, weights = [], []
        for slope, part in zip(slopes, split(v, self._params), strict=True):
            if slope is not None and slope.requires_grad:
                outputs.append(slope)
                weights.append(part)
        if not outputs:                                    # a loss that is linear in the parameters
            return torch.zeros_like(v)
        return self._flat(torch.autograd.grad(outputs, self._params, weights, retain_graph=True, allow_unused=True))

    @torch.no_grad()
    def _search(self, loss, d: Tensor, before: float, descent: float) -> float | None:
        """Moves to the first θ − t d with Armijo's decrease and returns its loss; None, and no move, without one."""
        start = [p.detach().clone() for p in self._params]
        accepted, t = False, 1.0
        try:
            for _ in range(self.halvings):
                move(self._params, start, -t * d)
                after = float(loss())
                if isfinite(after) and after <= before - self.armijo * t * descent and after < before:
                    accepted = True
                    return after
                t *= 0.5
        finally:
            if not accepted:
                for p, origin in zip(self._params, start, strict=True):
                    p.copy_(origin)
        return None


class Solved(NamedTuple):
    """What conjugate gradients found: x, products used, and whether negative curvature ended them."""

    solution: Tensor
    iterations: int
    negative: bool


@torch.no_grad()
def conjugate_gradients(product: Product, b: Tensor, start: Tensor | None, precondition: Product, tolerance: float,
                        iterations: int) -> Solved:
    """x with |A x − b| ≤ tolerance |b|, by preconditioned conjugate gradients.

    Args:
        product: v ↦ A v, A symmetric.
        b: Shape (P,).
        start: First x; None: zero.
        precondition: v ↦ P⁻¹ v, P symmetric positive definite.
        tolerance: Relative.
        iterations: At most.

    Source: Nocedal and Wright (2006), algorithm 5.3, with the exit of algorithm 7.2: at pᵀA p ≤ 0 it ends with what it
        has, or with p if that is nothing.
    """
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b.clone() if start is None else b - product(x)
    p = z = precondition(r)
    size, rz, bound = torch.stack([r @ r, r @ z, b @ b]).tolist()
    bound = tolerance * sqrt(bound)
    for k in range(iterations):
        if not sqrt(size) > bound:
            return Solved(x, k, False)
        Ap = product(p)
        curvature = float(p @ Ap)
        if not curvature > 0:
            return Solved(p if start is None and k == 0 else x, k + 1, True)
        alpha = rz / curvature
        x = torch.add(x, p, alpha=alpha)
        r = torch.sub(r, Ap, alpha=alpha)
        z = precondition(r)
        old = rz
        size, rz = torch.stack([r @ r, r @ z]).tolist()
        p = torch.add(z, p, alpha=rz / old)
    return Solved(x, iterations, False)


@torch.no_grad()
def nystrom(product: Product, like: Tensor, rank: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
    """U of shape (P, s) with orthonormal columns and Λ of shape (s,), falling, with A ≈ U diag(Λ) Uᵀ.

        Ω = qr(randn(P, s)).Q,   Y = A Ω + ν Ω,   C Cᵀ = Ωᵀ Y,   B = Y C⁻ᵀ,   Λ = max(σ(B)² − ν, 0)

    Args:
        product: v ↦ A v, A symmetric.
        like: A vector of the dtype, device and length of v.
        rank: s, at most P.
        generator: Of Ω, on the same device.

    Source: Frangella, Tropp, Udell (2023), doi:10.1137/21M1466244, algorithm 2.1, with ν = ε |Y|. U and σ come from the
        QR decomposition of B and the eigenvectors of R Rᵀ. Where A is so indefinite that the Cholesky factorisation
        fails, U and Λ are the Ritz pairs of A on the range of Y, for s more products (Halko, Martinsson, Tropp, 2011,
        algorithm 5.3), negative ones set to zero. Rathore et al. shift by |λ_min(ΩᵀAΩ)| there; that is less than
        |λ_min(A)|, and on a spectrum from 1e4 to −1e-2 their Λ came out 1e3 times too large.
    """
    P = len(like)
    omega = torch.randn(P, min(rank, P), generator=generator, dtype=like.dtype, device=like.device)
    omega = torch.linalg.qr(omega).Q
    Y = torch.stack([product(column) for column in omega.T.contiguous()], dim=1)
    shift = torch.finfo(like.dtype).eps * Y.norm() + torch.finfo(like.dtype).tiny
    core = omega.T @ Y
    core = 0.5 * (core + core.T) + shift * torch.eye(len(core), dtype=like.dtype, device=like.device)
    C, info = torch.linalg.cholesky_ex(core)
    if int(info):
        return _ritz(product, torch.linalg.qr(Y).Q)
    B = torch.linalg.solve_triangular(C, (Y + shift * omega).T, upper=False).T
    Q, R = torch.linalg.qr(B)
    squares, V = torch.linalg.eigh(R @ R.T)
    return Q @ V.flip(1), (squares.flip(0) - shift).clamp(min=0)


def _ritz(product: Product, Q: Tensor) -> tuple[Tensor, Tensor]:
    """Ritz vectors and values of A on the columns of Q, falling, negative values set to zero."""
    T = Q.T @ torch.stack([product(column) for column in Q.T.contiguous()], dim=1)
    values, V = torch.linalg.eigh(0.5 * (T + T.T))
    return Q @ V.flip(1), values.flip(0).clamp(min=0)


def precondition(U: Tensor, values: Tensor, mu: float, v: Tensor) -> Tensor:
    """P⁻¹ v = (λ_s + μ) U (Λ + μ)⁻¹ Uᵀ v + v − U Uᵀ v."""
    inside = U.T @ v
    return v + U @ (inside * ((values[-1] + mu) / (values + mu) - 1))
