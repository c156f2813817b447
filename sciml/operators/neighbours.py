"""Pairs of near points, found by a k-d tree on the CPU once per point set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError
from .remembered import Remembered

MOST = 2**28                               # pairs; beyond, memory ends before the sums begin


class Pairs(NamedTuple):
    """E pairs of a source j and a target i with |x_j − y_i| ≤ r, targets in order.

    Args:
        source, target: Numbers, shape (E,); of a batch of B clouds those of cloud b begin at b N and b N′.
        counts: Pairs of each target, shape (B N′,) (B = 1 for shared points).
    """

    source: Tensor
    target: Tensor
    counts: Tensor


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def near_pairs(X: Tensor, Y: Tensor, radius: float, seen: Remembered[Arrays] | None = None) -> Pairs:
    """All pairs within a radius.

    Args:
        X: Sources, shape (N, D) or (B, N, D).
        Y: Targets, shape (N′, D) or (B, N′, D).
        radius: r > 0.
        seen: Pairs of clouds that were there before, within the same radius.

    Returns:
        `Pairs` on the device of X.

    Raises:
        ProblemError: A radius that is not positive, or more pairs than fit into memory.
    """
    if not radius > 0:
        raise ProblemError(f"radius={radius} must be positive")
    B = max([len(a) for a in (X, Y) if a.ndim == 3], default=1)
    clouds = [[a.detach().to("cpu", torch.float64).numpy() for a in (Z.expand(B, *Z.shape[-2:]))] for Z in (X, Y)]
    make = lambda x, y: _pairs(x, y, radius)
    found = [make(x, y) if seen is None else seen((x, y), make) for x, y in zip(*clouds, strict=True)]
    N, M = X.shape[-2], Y.shape[-2]
    put = lambda parts: torch.from_numpy(np.concatenate(parts)).to(X.device)
    return Pairs(put([j + b * N for b, (j, _, _) in enumerate(found)]),
                 put([i + b * M for b, (_, i, _) in enumerate(found)]), put([c for _, _, c in found]))


def _pairs(X: np.ndarray, Y: np.ndarray, radius: float) -> Arrays:
    sources, targets = cKDTree(X), cKDTree(Y)
    count = int(targets.count_neighbors(sources, radius))
    if count > MOST:
        raise ProblemError(f"radius={radius:g} gives {count:,} pairs of {len(X):,} and {len(Y):,} points; take a "
                           "smaller radius")
    pairs = targets.sparse_distance_matrix(sources, radius, output_type="ndarray")
    order = np.lexsort((pairs["j"], pairs["i"]))
    target = pairs["i"][order].astype(np.int64)
    return pairs["j"][order].astype(np.int64), target, np.bincount(target, minlength=len(Y))
