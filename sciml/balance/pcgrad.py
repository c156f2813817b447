"""PCGrad: every gradient loses what points against another one."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .balance import Surgery


class PCGrad(Surgery):
    """The sum of the gradients, each without its components against the others.

        for each i:  h_i = g_i;   for j ≠ i in random order:  h_i ← h_i − min(h_i·g_j, 0) g_j / |g_j|²
        g = Σ_i h_i

    For m = 2 the order does not matter and g conflicts with neither gradient; for m ≥ 3 it can. A vanishing gradient
    changes nothing. The h_i are kept as coefficients of the g_j, so that products are those of the Gram matrix (m, m).

    Args:
        groups: "each": a loss for every condition; "kind": equations against all other conditions.

    Source: Yu, Kumar, Gupta, Levine, Hausman, Finn (2020), arXiv:2001.06782, algorithm 1. Without a generator, j runs
        in the order of the losses.
    """

    def aggregate(self, gradients: Tensor, generator: Generator | None = None) -> Tensor:
        G = gradients.double()
        m = len(G)
        K = G @ G.T
        squares = K.diagonal()
        if generator is None:
            order = torch.arange(m, device=G.device).repeat(m, 1)
        else:
            order = torch.rand(m, m, generator=generator, device=generator.device).argsort(dim=1).to(G.device)
        H = torch.eye(m, dtype=G.dtype, device=G.device)
        itself = torch.arange(m, device=G.device)
        for j in order.T:
            products = (H @ K).gather(1, j[:, None])[:, 0]
            against = (products < 0) & (j != itself) & (squares[j] > 0)
            removed = torch.where(against, products / torch.where(against, squares[j], 1.0), 0.0)
            H = H.scatter_add(1, j[:, None], -removed[:, None])
        return (H.sum(0) @ G).to(gradients.dtype)
