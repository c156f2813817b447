"""How far a gradient step on one point would take all residuals: embeddings in the tangent kernel's feature space.

The row of component k of a condition at a point x has the gradient J_k(x) ∈ ℝᴾ. With the kernel Θ(z, z′) = J(z)·J(z′)
over the rows of all conditions together, and a reference set of p rows, Θ_ref = J_ref J_refᵀ = V Λ Vᵀ,

    e(x) = Λ^(−½) Vᵀ J_ref g(x),        g(x) = Σ_k s_k² J_k(x)ᵀ r_k(x)

so that α̂(Z) = |Σ_{x∈Z} e(x)|² estimates the convergence degree of a set of points Z, the squared norm of the change of
the residual function, in the kernel's Hilbert space, by one gradient step on ½ Σ r². All rows of one point are trained
together, hence the sum over k. Kept are J_ref, p × P, and the embeddings; the kernel of the candidates is never formed.

Source: Lau, Hemachandra, Ng, Low (ICLR 2024), arXiv:2404.07662, section 4 and appendix. Theirs has one component per
condition and s = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..points import Points
from ..problem import Block
from .scene import View

JITTER = 1e-8                      # of the largest eigenvalue
CHUNK_BYTES = 2**26                # of a Jacobian that is alive at a time


class Rows(NamedTuple):
    """Places of a condition.

    Args:
        block: The condition.
        points: Where, N of them.
        data: What the rows take beside points, by name, shape (N,).
    """

    block: Block
    points: Points
    data: Mapping[str, Tensor] = {}


def pieces(view: View, at: Rows, chunk: int | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows (n, K) and Jacobians (n, K, P) of some places, so few at a time that they take about `CHUNK_BYTES`.

    Args:
        chunk: Points at a time; None: what fits.
    """
    P, K = sum(p.numel() for p in view.trainable), len(at.block.components)
    n = chunk or max(CHUNK_BYTES // (P * K * view.dtype.itemsize), 1)
    for start in range(0, len(at.points), n):
        part = slice(start, min(start + n, len(at.points)))
        yield part, *view.jacobian(at.block, at.points[part], {k: v[part] for k, v in at.data.items()})


@dataclass(frozen=True)
class Nystrom:
    """Nyström's approximation of the tangent kernel on a reference set.

    Args:
        J: Gradients of the p reference rows, scaled, shape (p, P).
        W: V Λ^(−½), shape (p, p); columns of what is dropped are zero.
        scales: s by condition, shape (K,).
    """

    J: Tensor
    W: Tensor
    scales: Mapping[str, Tensor]

    @classmethod
    def of(cls, J: Tensor, scales: Mapping[str, Tensor], jitter: float = JITTER) -> Nystrom:
        """From the gradients of the reference rows.

        Args:
            J: Shape (p, P).
            scales: By condition.
            jitter: Share j of the largest eigenvalue: j λ_max is added to the diagonal, and λ ≤ j λ_max is dropped. In
                float32, where the kernel itself is known to that, it is at least ten units of rounding. (The paper's
                1e-8 is absolute.)
        """
        tiny = max(jitter, 10 * torch.finfo(J.dtype).eps) if jitter else 0.0
        values, V = torch.linalg.eigh((J @ J.T).double())
        floor = tiny * values[-1]
        kept = values > floor.clamp_min(0.0)
        return cls(J, torch.where(kept, V * (values + floor).clamp_min(1e-300).rsqrt(), 0.0).to(J.dtype), scales)

    def embed(self, view: View, at: Rows, change: Callable[[slice, Tensor], Tensor] | None = None,
              chunk: int | None = None) -> Tensor:
        """e of N places of a condition, shape (N, p); zero where it is not finite: the loss reports those points.

        Args:
            view: The objective.
            at: Which places.
            change: (slice of the places, r of shape (n, K)) ↦ what stands for the residual; None: r itself.
            chunk: Points at a time; None: what memory allows.
        """
        s = self.scales[at.block.name]
        E = torch.empty(len(at.points), len(self.W), dtype=self.J.dtype, device=self.J.device)
        for part, r, J in pieces(view, at, chunk):
            r = r if change is None else change(part, r)
            g = (r[:, None] * s.square()) @ J
            E[part] = g[:, 0] @ self.J.T @ self.W
        return torch.where(torch.isfinite(E).all(1, keepdim=True), E, 0.0)


def gradients(view: View, reference: Sequence[Rows], scale: str = "plain",
              scales: Mapping[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """J_ref, shape (p, P), of the rows of reference places of several conditions, and the scales s by condition.

    Args:
        view: The objective.
        reference: Places of every condition.
        scale: "plain": s = 1; "unit": s_k = 1/√mean |J_k|² of each component; "weighted": s = √λ.
        scales: s of before, instead of new ones.
    """
    p = sum(len(at.points) * len(at.block.components) for at in reference)
    J = torch.empty(p, sum(q.numel() for q in view.trainable), dtype=view.dtype, device=view.trainable[0].device)
    found, start = {}, 0
    for at in reference:
        N, K = len(at.points), len(at.block.components)
        rows = J[start:start + N * K].view(N, K, -1)
        for part, _, slope in pieces(view, at):
            rows[part] = slope.nan_to_num(0.0, 0.0, 0.0)
        s = _scale(view, at.block, rows, scale) if scales is None else scales[at.block.name]
        rows *= s[:, None]
        found[at.block.name], start = s, start + N * K
    return J, found


def _scale(view: View, block: Block, rows: Tensor, scale: str) -> Tensor:
    """s of a condition, shape (K,), from its reference rows (N, K, P)."""
    if scale == "unit":
        mean = rows.square().sum(2).mean(0)
        return torch.where(mean > 0, mean.clamp_min(torch.finfo(mean.dtype).tiny).rsqrt(), 1.0)
    root = view.weights[block.name] ** 0.5 if scale == "weighted" else 1.0
    return torch.ones(rows.shape[1], dtype=rows.dtype, device=rows.device) * root
