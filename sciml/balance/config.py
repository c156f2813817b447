"""ConFIG: the direction with the same cosine to every gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from .balance import Surgery


class ConFIG(Surgery):
    """g = (Σ_i g_i·d̂) d̂ with d the shortest vector with u_i·d = 1 for every unit gradient u_i.

    Gradients that vanish are left out.

    Source: Liu, Chu, Thuerey (2025), arXiv:2408.11104.
    """

    def aggregate(self, gradients: Tensor, generator=None) -> Tensor:
        lengths = gradients.norm(dim=1)
        kept = gradients[lengths > torch.finfo(gradients.dtype).tiny]
        if len(kept) < 2:
            return kept.sum(0)
        U = kept / kept.norm(dim=1, keepdim=True)
        d = U.T @ (torch.linalg.pinv(U @ U.T, hermitian=True).sum(1))
        return (kept @ d).sum() / (d @ d) * d
