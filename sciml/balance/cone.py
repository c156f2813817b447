"""The cone of directions that conflict with no gradient, and the nearest point of it.

    cone:  G x ≥ 0        projection:  argmin ½ (x − p)ᵀ D (x − p) over the cone  =  p + D⁻¹ Gᵀ ν

Its dual has one unknown for each of the m losses, ν = argmin_{ν ≥ 0} ½ νᵀ K ν + bᵀ ν with K = G D⁻¹ Gᵀ and b = G p.
Everything runs in float64 whatever the dtype of the gradients, and on the device without waiting for it up to m = 8.
"""

from __future__ import annotations

import torch
from scipy.optimize import nnls
from torch import Tensor

TOLERANCE = 1e-6        # a direction conflicts with a gradient if the cosine of the two is below −TOLERANCE
_NOTHING = 1e-9         # what is left of a vector by projection, as a share of it, is rounding below this
_ROUNDING = 1e-13       # violations of the optimality conditions that are taken for rounding


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Rows over their lengths in float64, and the lengths; rows without a length that can be divided by stay zero."""
    vectors = vectors.double()
    lengths = vectors.norm(dim=-1)
    some = ~(lengths <= torch.finfo(torch.float64).tiny)                   # NaN has a length, and stays NaN
    return torch.where(some[..., None], vectors / torch.where(some, lengths, 1.0)[..., None], 0.0), \
        torch.where(some, lengths, 0.0)


def cosines(direction: Tensor, gradients: Tensor) -> Tensor:
    """Cosine of a direction (P,) and every gradient (m, P), shape (m,) in float64; zero if one of the two is zero."""
    return unit(gradients)[0] @ unit(direction)[0]


def nonnegative(K: Tensor, b: Tensor) -> Tensor:
    """ν = argmin_{ν ≥ 0} ½ νᵀ K ν + bᵀ ν, shape (m,): K ν + b ≥ 0 with equality where ν > 0.

    K is first scaled to a unit diagonal. Up to m = 8, all 2^m active sets are solved at once and the one that violates
    the conditions least is taken, the smallest in a tie; an active set of dependent gradients is never needed. Beyond,
    scipy's Lawson–Hanson method solves it on the host.

    Args:
        K: Symmetric, positive semi-definite, (m, m), float64.
        b: In the range of K, (m,).
    """
    m = len(b)
    diagonal = K.diagonal()
    used = diagonal > 0
    scale = torch.where(used, diagonal, 1.0).rsqrt()
    K = K * scale * scale[:, None]
    c = torch.where(used, b * scale, 0.0)
    size = c.abs().max()
    c = c / torch.where(size > 0, size, 1.0)
    solution = _by_active_sets(K, c) if m <= 8 else _by_lawson_hanson(K, c)
    return solution * size * scale


def _by_active_sets(K: Tensor, c: Tensor) -> Tensor:
    S = (torch.arange(2 ** len(c), device=K.device)[:, None] >> torch.arange(len(c), device=K.device)) & 1
    S = S.index_select(0, S.sum(1).argsort(stable=True)).to(K.dtype)       # row by row a set, the empty one first
    factor, info = torch.linalg.cholesky_ex(K * S[:, :, None] * S[:, None, :] + torch.diag_embed(1 - S))
    nu = torch.cholesky_solve(-(S * c)[:, :, None], factor)[:, :, 0]
    slack = c + nu @ K
    violation = (-nu).amax(1).clamp(min=0) + (-slack).amax(1).clamp(min=0)
    violation = violation.clamp(min=_ROUNDING).where((info == 0) & torch.isfinite(violation), torch.inf)
    return nu.index_select(0, violation.argmin()[None])[0].clamp(min=0)


def _by_lawson_hanson(K: Tensor, c: Tensor) -> Tensor:
    values, V = torch.linalg.eigh(K.cpu())
    root = values.clamp(min=0).sqrt()
    kept = root > 1e-8 * root[-1]
    target = torch.where(kept, -(V.T @ c.cpu()) / torch.where(kept, root, 1.0), 0.0)
    nu, _ = nnls((torch.where(kept, root, 0.0)[:, None] * V.T).numpy(), target.numpy(), maxiter=100 * len(c))
    return torch.from_numpy(nu).to(K)


def project(p: Tensor, gradients: Tensor, inverse_metric: Tensor | None = None,
            tolerance: float = TOLERANCE) -> tuple[Tensor, Tensor]:
    """The nearest direction to p that conflicts with no gradient, in the metric D.

    Gradients and p are divided by their lengths first, and the result is multiplied by |p|, so that thresholds mean the
    same at any scale. A result below 1e-9 |p|, or one that conflicts even so, is rounding and becomes zero: no
    direction of the cone is near p.

    Args:
        p: Direction, (P,).
        gradients: (m, P); zeros constrain nothing.
        inverse_metric: Diagonal of D⁻¹ ≥ 0, (P,), up to a factor; None: the identity.
        tolerance: p stays as it is if no cosine with a gradient is below minus this.

    Returns:
        The projection, (P,), in the dtype of p, p itself where it is feasible; and whether p was changed, a tensor.
    """
    (U, _), (q, length) = unit(gradients), unit(p)
    b = U @ q
    changed = b.min() < -tolerance
    if changed.device.type == "cpu" and not bool(changed):       # elsewhere reading it would wait for the device
        return p, changed
    scaled = U if inverse_metric is None else U * inverse_metric.double()
    x = q + nonnegative(scaled @ U.T, b) @ scaled
    left = (x.norm() > _NOTHING) & (cosines(x, U).min() >= -max(tolerance, TOLERANCE))
    x = torch.where(left, x, 0.0)
    return torch.where(changed, (length * x).to(p.dtype), p), changed
