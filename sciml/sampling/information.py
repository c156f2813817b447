"""Which measurements tell most about what is sought: optimal experimental design on the loss' Gauss–Newton matrix.

To second order the loss of the field θ, with all that is trained beside measurements in it, is |J (θ − θ̂)|², J its
weighted rows. Read as the logarithm of a normal distribution, θ has the covariance H⁻¹, H = JᵀJ + δ Id, and what is
sought, g(θ) ∈ ℝᴳ, has Q H⁻¹ Qᵀ, Q = ∂g/∂θ. All other parameters of the field are nuisances, and the inverse projects
them out. A measurement with the weighted rows j ∈ ℝ^{K×P} lowers the sum of the variances, A-optimally, by

    tr Q H⁻¹ Qᵀ − tr Q (H + jᵀj)⁻¹ Qᵀ = tr (Q H⁻¹ jᵀ) (Id + j H⁻¹ jᵀ)⁻¹ (j H⁻¹ Qᵀ)

No measured value enters. What is sought: the unknown parameters, relative to their values; without any, the unknowns
that no measurement sees, on average over the domain; else all unknowns.

Source: Chaloner, Verdinelli (1995), doi:10.1214/ss/1177009939, for A-optimality; Cohn (1996),
doi:10.1016/0893-6080(95)00137-9, for averages of a network's variance; Attia, Alexanderian, Saibaba (2018),
doi:10.1088/1361-6420/aad210, for goals that are not θ itself. Measurements are chosen one after the other (greedily).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ProblemError
from ..memory import free_memory, size_text
from ..problem import Observations
from .nystrom import Rows, pieces
from .scene import Scene, View

PRIOR = 1e-6                       # δ, of the mean of the diagonal of JᵀJ
PLACES = 128                       # where unknowns are sought


@dataclass(frozen=True)
class Information:
    """What the loss knows about θ, and what is sought.

    Args:
        L: Cholesky factor of H, shape (P, P).
        B: L⁻¹ Qᵀ, shape (P, G).
    """

    L: Tensor
    B: Tensor

    @classmethod
    def of(cls, J: Tensor, Q: Tensor, prior: float = PRIOR) -> Information:
        """From weighted rows.

        Args:
            J: Of all that is trained, shape (R, P).
            Q: Gradients of what is sought, shape (G, P).
            prior: δ as a share of the mean of the diagonal of JᵀJ; in float32 at least a thousand units of rounding.
        """
        J = J.nan_to_num(0.0, 0.0, 0.0)                      # the loss reports such points
        H = J.T @ J
        share = max(prior, 1e3 * torch.finfo(J.dtype).eps)
        H.diagonal().add_(share * H.diagonal().mean())
        L = torch.linalg.cholesky(H)
        return cls(L, torch.linalg.solve_triangular(L, Q.T, upper=False))

    def whitened(self, rows: Tensor) -> Tensor:
        """j L⁻ᵀ of weighted rows (M, K, P), in the same shape."""
        M, K, P = rows.shape
        return torch.linalg.solve_triangular(self.L, rows.reshape(M * K, P).T, upper=False).T.reshape(M, K, P)


def greedy(A: Tensor, B: Tensor, n: int) -> Tensor:
    """The n candidates that lower the sum of variances most, one after the other.

    The gain of a candidate with whitened rows a is tr (a B)ᵀ (Id + a aᵀ)⁻¹ (a B). After a choice, row by row,

        A ← A (Id − β aᵀa),   B ← (Id − β aᵀa) B,   β = (1 − 1/√(1 + |a|²)) / |a|²,   (Id − β aᵀa)² = (Id + aᵀa)⁻¹.

    Args:
        A: Whitened rows of the candidates, shape (M, K, P).
        B: Whitened gradients of what is sought, shape (P, G).
        n: How many, at most M.

    Returns:
        Positions, shape (n,), in the order of the choice.
    """
    A, B = A.clone(), B.clone()
    K, chosen = A.shape[1], []
    free = torch.zeros(len(A), dtype=A.dtype, device=A.device)
    identity = torch.eye(K, dtype=A.dtype, device=A.device)
    for _ in range(n):
        C = A @ B
        gain = (C * torch.linalg.solve(identity + A @ A.mT, C)).sum((1, 2))
        best = torch.argmax(gain.nan_to_num(0.0, 0.0, 0.0) + free)
        free[best] = -torch.inf
        chosen.append(best)
        for k in range(K):
            a = A[best, k].clone()
            size = a @ a
            beta = torch.where(size > 1e-12, (1 - (1 + size).rsqrt()) / size.clamp_min(1e-300), 0.5)
            A -= beta * (A @ a)[..., None] * a
            B -= beta * torch.outer(a, a @ B)
    return torch.stack(chosen)


def check(scene: Scene, name: str) -> None:
    """Refuses matrices that do not fit.

    Args:
        scene: The conditions.
        name: Of the sampler, for the sentence.

    Raises:
        ProblemError: H, its factor, or the rows of all candidates are larger than the memory that is left.
    """
    P, device = sum(q.numel() for q in scene.view.trainable), scene.generator.device
    rows = sum(len(scene.candidates(block)) * len(block.components) for block in scene.measured)
    need, have = (2 * P + 3 * rows) * P * scene.view.dtype.itemsize, free_memory(device)
    if have is not None and need > have:
        raise ProblemError(f"{name}.choice=information needs {size_text(need)} for matrices of {P:,} × {P:,} "
                           f"parameters, and {device} has {size_text(have)} free; take a smaller model, or "
                           "choice=drift")


def goals(scene: Scene) -> Tensor:
    """Q, shape (G, P): gradients of ln |k| of the unknown parameters; without any, of unknowns over √G at G places."""
    view, trainable = scene.view, scene.view.trainable
    with torch.enable_grad():
        values = [view.parameters_.value(name) for name in view.parameters_.bounds]
        found = [torch.autograd.grad(k.abs().log(), trainable, allow_unused=True) for k in values]
    if found:
        return torch.stack([torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1)
                                       for g, p in zip(row, trainable, strict=True)]) for row in found])
    setting, seen = view.problem.setting, {u for block in scene.measured for u in block.data}
    sought = [u for u in view.problem.unknowns if u not in seen] or list(view.problem.unknowns)
    places = view.problem.region.sample(PLACES, generator=scene.generator, device=scene.generator.device)
    zeros = dict.fromkeys(sought, torch.zeros(PLACES))
    block, = Observations(places.columns(), None, 1.0, **zeros).blocks(setting, "sought")
    at = places.reorder(view.problem.coordinates).to(dtype=view.dtype)
    _, J = view.jacobian(block, at, {u: zero.to(at.X) for u, zero in zeros.items()})
    return J.reshape(-1, J.shape[2]) / PLACES**0.5


def most_informative(scene: Scene, offers: Sequence[Rows], n: int) -> Tensor:
    """Positions, among the places of all offers one after the other, of the n measurements to buy, shape (n,).

    Args:
        scene: The conditions, with what is trained now.
        offers: Places that could be measured.
        n: How many.
    """
    view = scene.view
    _, J = view.linearize()
    information = Information.of(J, goals(scene))
    K = max(len(at.block.components) for at in offers)
    found = []
    for at in offers:
        rows = weighted(view, at)
        found.append(information.whitened(torch.nn.functional.pad(rows, (0, 0, 0, K - rows.shape[1]))))
    return greedy(torch.cat(found), information.B, n)


def weighted(view: View, at: Rows) -> Tensor:
    """√(λ/N) j of places of a condition, as if they were among the N that are trained, shape (M, K, P)."""
    factor = (view.weights[at.block.name] / len(view.points[at.block.name])) ** 0.5
    return factor * torch.cat([J for _, _, J in pieces(view, at)])
