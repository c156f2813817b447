"""Quadrature weights of scattered points, for sums that must not depend on how densely points lie.

| function | for | exact |
|---|---|---|
| `delaunay_weights` | points that reach the boundary, nodes of a mesh | piecewise linear functions on the triangulation
| | `voronoi_weights` | points anywhere in a domain | the measure; cells up to the number of samples |

`cell_volumes` in `cloud.py`, from distances to neighbours, is a rougher one that needs neither hull nor domain.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np
import torch
from scipy.spatial import Delaunay, cKDTree
from torch import Generator, Tensor

from ..errors import ProblemError
from .domain import Domain


def delaunay_weights(X: Tensor, inside: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """w_i = Σ_{simplices T ∋ i} |T|/(D + 1): each point's share of Delaunay's simplices.

    The sum is the measure of the points' convex hull (less what `inside` takes away); in one dimension it is the
    trapezoidal rule.

    Args:
        X: Points, shape (N, D), N > D.
        inside: Of centres of simplices (M, D), a mask (M,) of those that belong to the domain, for holes and dents.

    Returns:
        Weights, shape (N,), in the dtype and on the device of X; zero at a point without a simplex.

    Raises:
        ProblemError: Too few points, or all of them on a line or plane.
    """
    if X.ndim != 2 or len(X) <= X.shape[1]:
        raise ProblemError(f"points have shape {tuple(X.shape)}, expected (N, D) with more points than coordinates")
    P = X.detach().to("cpu", torch.float64).numpy()
    N, D = P.shape
    if D == 1:
        order = np.argsort(P[:, 0])
        cells = np.stack([order[:-1], order[1:]], 1)
    else:
        spread = np.linalg.svd(P - P.mean(0), compute_uv=False)
        if spread[-1] <= 1e-12 * spread[0]:
            raise ProblemError(f"the {N} points lie on a line or plane of {D}-dimensional space and bound no volume")
        cells = Delaunay(P).simplices
    if inside is not None:
        keep = np.asarray(torch.as_tensor(inside(torch.from_numpy(P[cells].mean(1)))), dtype=bool)
        cells = cells[keep]
    edges = P[cells[:, 1:]] - P[cells[:, :1]]
    volumes = np.abs(np.linalg.det(edges)) / factorial(D)
    w = np.bincount(cells.reshape(-1), np.repeat(volumes / (D + 1), D + 1), minlength=N)
    return torch.from_numpy(w).to(X)


def voronoi_weights(X: Tensor, domain: Domain, samples: int | None = None) -> Tensor:
    """w_i = |Ω ∩ cell of i|: the part of a domain that is nearer to a point than to all others, by samples.

    The sum is the domain's measure exactly; a cell's error is that of counting evenly spread points, some
    samples^(−3/4).

    Args:
        X: Points, shape (N, D).
        domain: Ω.
        samples: Quasi-random points of Ω that are counted; None: 64 for each of the N, at least 4,096.

    Returns:
        Weights, shape (N,), in the dtype and on the device of X; at least 1/4 sample's worth for each before scaling.

    Raises:
        ProblemError: Points of another dimension than the domain.
    """
    if X.ndim != 2 or X.shape[1] != len(domain.names):
        raise ProblemError(f"points have shape {tuple(X.shape)}, expected (N, {len(domain.names)}) for the coordinates "
                           f"{', '.join(domain.names)}")
    M = max(4096, 64 * len(X)) if samples is None else samples
    S = domain.sample(M, generator=Generator().manual_seed(0), rule="sobol").X.numpy()
    nearest = cKDTree(X.detach().to("cpu", torch.float64).numpy()).query(S)[1]
    counts = np.maximum(np.bincount(nearest, minlength=len(X)).astype(float), 0.25)
    return torch.from_numpy(counts * domain.measure / counts.sum()).to(X)
