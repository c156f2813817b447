"""Choosing points from candidates of several kinds, so that every kind has one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from .sampler import draw_without_replacement

FLOOR = 1e-9                       # what every candidate is worth, in units of the mean |e|²


def normalized(E: Tensor) -> Tensor:
    """Embeddings (M, p) over the root of their mean |e|², in float64, so that their scale does not matter."""
    E = E.double() / E.double().abs().amax().clamp_min(1e-300)       # squares of small residuals must not underflow
    return E / E.square().sum(1).mean().sqrt().clamp_min(1e-300)


def principal(E: Tensor) -> Tensor:
    """Embeddings (M, p) in their principal axes, without the last ones that hold less than 1e-9 of Σ |e|² together.

    Kernels of smooth fields have few large eigenvalues: 30 to 80 of 256 axes are left, and seeding is that much faster.
    """
    values, V = torch.linalg.eigh(E.T @ E)                   # from the smallest on
    return E @ V[:, values.clamp_min(0).cumsum(0) > FLOOR * values.sum()]


def plus_plus(E: Tensor, kinds: Tensor, n: int, generator: Generator) -> Tensor:
    """k-means++ seeds: each next one is drawn with p ∝ the squared distance to the nearest one so far.

        p_i ∝ min_{j chosen} |e_i − e_j|² + 1e-9 mean |e|²

    The first is drawn uniformly. No candidate is drawn twice, and when as many seeds are left as kinds without any,
    the rest is drawn among those. Nothing is read from the device between seeds.

    Args:
        E: Embeddings, shape (M, p).
        kinds: Number of the kind of each, shape (M,), from 0.
        n: Seeds, at least as many as kinds, at most M.
        generator: For n uniform numbers, turned into seeds by the inverse of the distribution function.

    Returns:
        Positions, shape (n,), in the order in which they were drawn.

    Source: Arthur, Vassilvitskii (2007), "k-means++: the advantages of careful seeding".
    """
    E = principal(normalized(E))
    u = torch.rand(n, generator=generator, dtype=torch.float64, device=E.device)
    left = torch.ones(len(E), dtype=E.dtype, device=E.device)
    unseen, norms = torch.bincount(kinds) > 0, E.square().sum(1)
    distance, chosen = left.clone(), []
    for i in range(n):
        weights = left * (distance + FLOOR)
        weights = torch.where(unseen.sum() >= n - i, weights * unseen[kinds], weights)
        ladder = weights.cumsum(0)
        seed = torch.searchsorted(ladder, u[i:i + 1] * ladder[-1:], right=True).clamp_max(len(E) - 1)
        chosen.append(seed)
        left.index_fill_(0, seed, 0.0)
        unseen.index_fill_(0, kinds[seed], False)
        away = torch.addmv(norms, E, E[seed][0], alpha=-2).add_(norms[seed]).clamp_min_(0)   # exact to 1e-16 |e|²
        distance = away if i == 0 else torch.minimum(distance, away)
    return torch.cat(chosen)


def by_size(E: Tensor, kinds: Tensor, n: int, generator: Generator) -> Tensor:
    """Candidates drawn without replacement with p ∝ |e|² + 1e-9 mean |e|², the first drawn of every kind among them.

    Args:
        E, kinds, n, generator: As in `plus_plus`.

    Returns:
        Positions, shape (n,).
    """
    density = normalized(E).square().sum(1) + FLOOR
    order = draw_without_replacement(density, len(E), generator)
    ranks, of = torch.arange(len(E), device=E.device), kinds[order]
    present = torch.arange(int(kinds.max()) + 1, device=E.device)
    first = (of == present[:, None]).to(torch.uint8).argmax(1)
    return order[ranks.index_add(0, first, torch.full_like(first, -len(E))).argsort()[:n]]


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Whole numbers of sum min(total, Σ sizes), in proportion to sizes and at most as large (largest remainders)."""
    everything = sum(sizes)
    if total >= everything:
        return list(sizes)
    exact = [total * size / everything for size in sizes]
    parts = [int(e) for e in exact]
    short = sorted(range(len(sizes)), key=lambda i: parts[i] - exact[i])[:total - sum(parts)]
    return [part + (i in short) for i, part in enumerate(parts)]
