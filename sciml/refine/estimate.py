"""What a Gaussian more would change: rows in units of the solution, and the gain of every candidate by itself.

    w_n = 1 / max_j |∂r_n/∂a_j|                            a row in units of the amplitudes that it sees
    c_k = −(A_kᵀ r)/(A_kᵀ A_k),   A = W ∂r/∂a,   r ← W r   the amplitude that candidate k alone would get
    g_k = |c_k| (Π_i s_ki)^½                               the L2 norm of what it adds to u, but for a constant

With the Laplacian w is h² of the smallest Gaussians near, as in residual estimators of finite elements; for other
equations, and where data enter, it is what takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..fields import GaussianField
from ..points import Points
from ..problem import Block
from ..sampling.scene import View

SMALLEST = 1e-13         # of the largest row: one that sees no Gaussian has no unit
SEEN = 1e-8              # of the largest column: a candidate that no probe sees gains nothing


class Grown(View, Protocol):
    """An objective whose Jacobian can be asked for by parameters."""

    def jacobian(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None,
                 parameters: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Residual components (N, K) and their gradients (N, K, P) at any points, without weights."""


def row_scales(J: Tensor) -> Tensor:
    """w_n from ∂r/∂a, shape (N, K, P), shape (N,)."""
    sizes = J.abs().amax((1, 2))
    return 1 / sizes.clamp(min=float(sizes.max()) * SMALLEST) if len(J) else sizes


def scales_at(view: Grown, field: GaussianField, block: Block, points: Points) -> Tensor:
    """w_n at the current points of a condition, shape (N,)."""
    data, found = view.data.get(block.name, {}), []
    for start in range(0, len(points), 1024):
        piece = slice(start, start + 1024)
        _, J = view.jacobian(block, points[piece], {k: v[piece] for k, v in data.items()}, [field.amplitudes])
        found.append(J.abs().amax((1, 2)))
    sizes = torch.cat(found)
    return 1 / sizes.clamp(min=float(sizes.max()) * SMALLEST)


def nearest_scales(X: Tensor, rows: Tensor, w: Tensor) -> Tensor:
    """w of the row (M, D) nearest to each point X (N, D), shape (N,)."""
    if not len(X):
        return w[:0]
    _, index = cKDTree(rows.cpu().numpy()).query(X.cpu().numpy())
    return w[torch.as_tensor(index, device=w.device)]


def gains(view: Grown, field: GaussianField, count: int, probes: Sequence[tuple[Block, Points]]) -> Tensor:
    """g_k of the last `count` Gaussians of a field, which have no amplitude yet, shape (count,).

    Args:
        view: The objective.
        field: Its Gaussians, the candidates last.
        count: Candidates.
        probes: Points, by condition, that the solve has not seen.
    """
    C, M = field.outputs, field.count
    above, below = torch.zeros(2, C, count, dtype=field.centres.dtype, device=field.centres.device)
    for block, points in probes:
        for start in range(0, len(points), 1024):
            r, J = view.jacobian(block, points[start:start + 1024], None, [field.amplitudes])
            w = row_scales(J)[:, None] * float(view.weights[block.name]) ** 0.5
            A = (w[:, :, None, None] * J.reshape(*J.shape[:2], C, M)[..., -count:])
            above += torch.einsum("nk,nkcm->cm", w * r, A)
            below += A.square().sum((0, 1))
    c = torch.where(below > SEEN**2 * below.max(), above / below, 0.0)
    volumes = field.shape().detach()[-count:]
    half = 0.5 * volumes.sum(1) if volumes.ndim == 2 else 0.25 * torch.logdet(volumes)
    return c.norm(dim=0) * torch.exp(half)
