"""Gaussians that do the same are made one: the counterpart of splitting.

    ⟨G_i, G_j⟩ = ∫ G_i G_j dx = (2π)^(D/2) √(|Σ_i| |Σ_j| / |Σ_i + Σ_j|) exp(−½ dᵀ (Σ_i + Σ_j)⁻¹ d),   d = μ_i − μ_j
    cos_ij = ⟨G_i, G_j⟩ / (‖G_i‖ ‖G_j‖)
    w_k = |a_k| √|Σ_k|,   μ = Σ w_k μ_k / Σ w_k,   Σ = Σ w_k (Σ_k + (μ_k − μ)(μ_k − μ)ᵀ) / Σ w_k
    a = Σ a_k ⟨G_k, G⟩ / ‖G‖²

Pairs with a cosine over a bound are replaced by the Gaussian of their moments, with the amplitude that is nearest to
both in L², if that changes the field by little: Gaussians of opposite signs that stand close are a derivative, and
those of a wide lattice cancel to the last digits. Amplitudes are then best solved for again.
"""

from __future__ import annotations

from math import log, pi, sqrt

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError
from .gaussian import GaussianField, of_covariances


@torch.no_grad()
def merge(field: GaussianField, cosine: float = 0.95, tolerance: float = 1e-3) -> int:
    """Merges pairs until none is left; new parameters, which no optimizer knows, take the place of the old.

    Args:
        field: Changed in place; covariances stay of their kind (the diagonal of Σ, or its mean, is taken).
        cosine: Least cosine of a pair, below 1.
        tolerance: Most that one pair may change u, as a share of ‖u‖ in L² over the whole space.

    Returns:
        How many Gaussians there are fewer.

    Raises:
        ProblemError: The cosine is not between 0 and 1, the tolerance not positive; full covariances in more than three
            dimensions.

    Source: merging where the cosine of influences is large is PINGS-X' (at 0.9, as others report it); inner products of
        Gaussians and moments are textbook. Images along periodic coordinates are not looked at.
    """
    if not 0 < cosine < 1:
        raise ProblemError(f"Gaussians are merged from a cosine between 0 and 1 on, not {cosine}")
    if not tolerance > 0:
        raise ProblemError(f"tolerance={tolerance} of merging must be positive: a share of the field")
    before, refused = field.count, torch.zeros(0, 2, dtype=torch.long)
    size = _norm(field) if field.count else 0.0
    while True:
        mu, sigma, a = (x.double() for x in field.parts().values())
        i, j = _pairs(mu, sigma, cosine, refused)
        if not len(i):
            return before - field.count
        weights = a.norm(dim=1) * (0.5 * torch.linalg.slogdet(sigma)[1]).exp()
        w = torch.stack([weights[i], weights[j]])
        w = torch.where(w.sum(0) > 0, w, torch.ones_like(w))
        w = w / w.sum(0)
        middle = w[0, :, None] * mu[i] + w[1, :, None] * mu[j]
        spread = torch.zeros_like(sigma[i])
        for share, k in zip(w, (i, j), strict=True):
            away = mu[k] - middle
            spread += share[:, None, None] * (sigma[k] + away[:, :, None] * away[:, None, :])
        spread = _of_kind(spread, field.covariance)
        own, ends = product(middle, spread, middle, spread), (i, j)
        found = sum((a[k] * product(mu[k], sigma[k], middle, spread)[:, None] for k in ends), torch.zeros_like(a[i]))
        pair = sum((a[k] * a[m] * product(mu[k], sigma[k], mu[m], sigma[m])[:, None] for k in ends for m in ends),
                   torch.zeros_like(a[i]))
        change = (pair - found**2 / own[:, None]).clamp(min=0).sum(1).sqrt()         # ‖a_i G_i + a_j G_j − a G‖
        good = change <= tolerance * size
        if not bool(good.any()):
            refused = torch.cat([refused, torch.stack([i, j], 1).cpu()])
            continue
        _replace(field, torch.cat([i[good], j[good]]), middle[good], spread[good], (found / own[:, None])[good])
        refused = refused[:0]                                    # numbers are others now


def _norm(field: GaussianField) -> float:
    """‖u‖ in L² over the whole space."""
    mu, sigma, a = (x.double() for x in field.parts().values())
    total, M = 0.0, field.count
    for part in torch.arange(M, device=mu.device).split(max(1, 2**18 // M)):
        i, j = part.repeat_interleave(M), torch.arange(M, device=mu.device).repeat(len(part))
        total += float((product(mu[i], sigma[i], mu[j], sigma[j]) * (a[i] * a[j]).sum(1)).sum())
    return sqrt(max(total, 0.0))


def product(mu: Tensor, sigma: Tensor, nu: Tensor, tau: Tensor) -> Tensor:
    """⟨G, H⟩ = ∫ G H dx of Gaussians with centres μ, ν (K, D) and covariances Σ, T (K, D, D), shape (K,)."""
    both, d = sigma + tau, mu - nu
    one, other, joint = (torch.linalg.slogdet(x)[1] for x in (sigma, tau, both))
    q = (d * torch.linalg.solve(both, d[..., None])[..., 0]).sum(1)
    return (2 * pi) ** (mu.shape[1] / 2) * torch.exp(0.5 * (one + other - joint - q))


def _pairs(mu: Tensor, sigma: Tensor, cosine: float, refused: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs with a cosine over the bound, the closest first, no Gaussian in two, without those that were refused."""
    reach = sqrt(-4 * log(cosine) * float(torch.linalg.eigvalsh(sigma).max()))
    near = torch.from_numpy(cKDTree(mu.cpu().numpy()).query_pairs(reach, output_type="ndarray")).long().to(mu.device)
    if len(refused):
        known = {tuple(pair) for pair in refused.tolist()}
        near = near[torch.tensor([tuple(pair) not in known for pair in near.tolist()], dtype=torch.bool)]
    i, j = near.unbind(1)
    own = lambda k: product(mu[k], sigma[k], mu[k], sigma[k])
    cos = product(mu[i], sigma[i], mu[j], sigma[j]) / (own(i) * own(j)).sqrt()
    order = cos.argsort(descending=True, stable=True)
    taken, chosen = torch.zeros(len(mu), dtype=torch.bool), []
    for k in order[cos[order] > cosine].tolist():
        if not (taken[i[k]] or taken[j[k]]):
            taken[i[k]] = taken[j[k]] = True
            chosen.append(k)
    return i[chosen], j[chosen]


def _of_kind(sigma: Tensor, covariance: str) -> Tensor:
    """Covariances as a kind of field can have them."""
    if covariance == "full":
        return sigma
    squares = sigma.diagonal(dim1=1, dim2=2)
    if covariance == "isotropic":
        squares = squares.mean(1, keepdim=True).expand_as(squares)
    return torch.diag_embed(squares)


def _replace(field: GaussianField, gone: Tensor, mu: Tensor, sigma: Tensor, a: Tensor) -> None:
    """Gaussians `gone` leave, others come."""
    stay = torch.ones(field.count, dtype=torch.bool, device=gone.device)
    stay[gone] = False
    turns = None
    if field.rotations is None:
        logs = 0.5 * sigma.diagonal(dim1=1, dim2=2).log()
        logs = logs[:, :field.log_scales.shape[1]]
    else:
        made = of_covariances(mu, sigma)
        logs = made.log_scales
        none = field.rotations.new_zeros(len(mu), field.rotations.shape[1])              # in one dimension
        turns = torch.cat([field.rotations[stay], none if made.rotations is None else made.rotations.to(none)])
    own = field.centres
    field.put(torch.cat([own[stay], mu.to(own)]), torch.cat([field.log_scales[stay], logs.to(own)]),
              torch.cat([field.amplitudes[:, stay], a.T.to(own)], 1), turns)
