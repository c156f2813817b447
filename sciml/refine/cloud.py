"""Points spread evenly in a metric: what a mesh generator does, without edges.

    S = ⟨T Tᵀ⟩,   T = ∂^k u with one index left open,   M = S^{1/k}      eigenvalues 1/ℓ², ℓ the length of a feature
    |y|_M² = yᵀ M y,   N points of spacing h in that norm:  N h^D = ∫ √det M

With k = 2, M is |∇²u|, the metric of anisotropic meshes for linear elements; larger k, as for elements of higher order,
looks at finer features and grades towards singularities the steeper: h ~ r^{1 − a/k} where u ~ r^a.

Source: Alauzet and Loseille (2016), doi:10.1016/j.cad.2015.09.005, for metrics of Hessians and their complexity; Du and
    Wang (2005), doi:10.1137/S1064827503428527, for anisotropic centroidal Voronoi cells. The power S^{1/k} of the
    contracted derivative is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from scipy.spatial import cKDTree
from torch import Generator, Tensor

from ..calculus.gaussian import sums
from ..calculus.indices import IndexSet
from ..fields import GaussianField

Metric = Callable[[Tensor], Tensor]
SMALLEST = 1e-30
BLOCK = 2**21


@torch.no_grad()
def contracted(field: GaussianField, X: Tensor, order: int) -> Tensor:
    """S = T Tᵀ of the k-th derivatives of a sum of Gaussians at points, summed over its outputs, shape (N, D, D).

    Args:
        field: u, C outputs; each is measured by its own mean square over the points.
        X: Points, shape (N, D).
        order: k ≥ 1.
    """
    D = field.dimension
    words = list(product(range(D), repeat=order))
    alphas = [tuple(word.count(i) for i in range(D)) for word in words]
    indices = IndexSet.closure(alphas, D)
    shape = field.shape()
    streams = torch.stack([sums(X + shift, field.centres, shape, field.amplitudes, indices)
                           for shift in field._images(X)]).sum(0)
    scale = streams[indices.position((0,) * D)].square().mean(0).sqrt()
    T = torch.stack([streams[indices.position(a)] for a in alphas], 1)
    T = (T / torch.where(scale > 0, scale, 1.0)).reshape(len(X), D, -1)
    return T @ T.mT


def power(S: Tensor, exponent: float) -> Tensor:
    """S^p of symmetric positive semidefinite matrices, shape (N, D, D)."""
    values, R = torch.linalg.eigh(S)
    return (R * values.clamp(min=SMALLEST)[:, None] ** exponent) @ R.mT


def tabulated(X: Tensor, S: Tensor, order: int, neighbours: int) -> Metric:
    """M(x) = ⟨S⟩^{1/k}, the mean over the nearest of given points.

    Args:
        X: Points, shape (N, D).
        S: Their S, shape (N, D, D).
        order: k.
        neighbours: How many a mean is of.
    """
    tree, k = cKDTree(X.cpu().numpy()), min(neighbours, len(X))

    def metric(Y: Tensor) -> Tensor:
        index = tree.query(Y.cpu().numpy(), k=k)[1].reshape(len(Y), k)
        mean = S[torch.as_tensor(index, device=S.device)].mean(1)
        return mean if order == 1 else power(mean, 1 / order)

    return metric


def graded(X: Tensor, M: Tensor, Y: Tensor, sources: Tensor, growth: float) -> Tensor:
    """M(x) where spacing grows no faster than by `growth` from one point to the next, shape (N, D, D).

        the one of largest determinant of M(x) and M(y) / (1 + βd)², d = |x − y| in M(y), over y

    Args:
        X: Points x, shape (N, D).
        M: The metric there, whose unit is the spacing, shape (N, D, D).
        Y: Points y, shape (K, D), where M is large.
        sources: The metric there, shape (K, D, D).
        growth: β.

    Source: Alauzet (2010), doi:10.1016/j.finel.2009.06.028, homogeneous growth in the metric; there metrics are
        intersected, here the largest is taken.
    """
    D, found = X.shape[1], []
    size = torch.linalg.det(sources) ** (-0.5 / D)                       # the spacing: (1 + βd) h is the least
    wide = sources * (growth * size)[:, None, None] ** 2
    for x, m in zip(X.split(max(BLOCK // len(Y), 1)), M.split(max(BLOCK // len(Y), 1)), strict=True):
        least, index = squares(x, Y, wide).clamp_(min=0).sqrt_().add_(size).min(1)
        other = sources[index] * (size[index] / least)[:, None, None] ** 2
        found.append(torch.where((least < torch.linalg.det(m) ** (-0.5 / D))[:, None, None], other, m))
    return torch.cat(found)


def spread(X: Tensor, metric: Metric, count: int, sweeps: int, generator: Generator) -> Tensor:
    """Centres of Voronoi cells in a metric, by Lloyd's algorithm on samples, shape (count, D).

    Args:
        X: Samples of density √det M, shape (N, D), N ≥ count.
        metric: M.
        count: Of centres.
        sweeps: Of the algorithm.
        generator: Of the first centres, and of those whose cells are empty.
    """
    device = X.device
    C = X[torch.randperm(len(X), generator=generator, device=device)[:count]].clone()
    for _ in range(sweeps):
        label = nearest(X, C, metric(C))
        mass = X.new_zeros(count).index_add_(0, label, X.new_ones(len(X)))
        total = torch.zeros_like(C).index_add_(0, label, X)
        C = torch.where(mass[:, None] > 0, total / mass[:, None].clamp(min=1), C)
        empty = torch.nonzero(mass == 0)[:, 0]
        if len(empty):
            C[empty] = X[torch.randint(len(X), (len(empty),), generator=generator, device=device)]
    return C


def chosen(X: Tensor, metric: Metric, count: int, sweeps: int, generator: Generator) -> Tensor:
    """Positions of samples that lie as evenly as `spread`: the nearest to each centre, shape (≤ count,).

    Args:
        X: Samples of density √det M, shape (N, D); centres of cells may leave what these lie in.
        metric, count, sweeps, generator: As in `spread`.
    """
    if not count:
        return torch.zeros(0, dtype=torch.long, device=X.device)
    C = spread(X, metric, count, sweeps, generator)
    M, step = metric(C), max(BLOCK // len(X), 1)
    return torch.unique(torch.cat([squares(X, c, m).argmin(0) for c, m in
                                   zip(C.split(step), M.split(step), strict=True)]))


def squares(X: Tensor, C: Tensor, M: Tensor) -> Tensor:
    """(x_n − c_m)ᵀ M_m (x_n − c_m), shape (N, M)."""
    D = X.shape[1]
    middle = X.mean(0)
    X, C = X - middle, C - middle                         # what cancels in the squares below stays small
    linear = torch.einsum("mij,mj->mi", M, C)
    weights = torch.cat([M.reshape(-1, D * D), -2 * linear, (linear * C).sum(1, keepdim=True)], dim=1).T
    products = (X[:, :, None] * X[:, None, :]).reshape(-1, D * D)
    return torch.cat([products, X, X.new_ones(len(X), 1)], dim=1) @ weights


def nearest(X: Tensor, C: Tensor, M: Tensor) -> Tensor:
    """Which centre is nearest to a point, each by its own metric, shape (N,)."""
    return torch.cat([squares(part, C, M).argmin(1) for part in X.split(max(BLOCK // len(C), 1))])


def close(X: Tensor, to: Tensor, metric: Metric, reach: float, neighbours: int = 4) -> Tensor:
    """Mask (N,) of the points X with one of `to` within `reach` in the metric at X; among the nearest few."""
    k = min(neighbours, len(to))
    index = torch.as_tensor(cKDTree(to.cpu().numpy()).query(X.cpu().numpy(), k=k)[1].reshape(len(X), k))
    y = X[:, None] - to[index.to(X.device)]
    return (torch.einsum("nki,nij,nkj->nk", y, metric(X), y) <= reach**2).any(1)


def across(M: Tensor, normals: Tensor | None) -> Tensor:
    """Density of points in a hypersurface, √(det M · nᵀ M⁻¹ n), shape (N,); det M^{(D−1)/2D} where no n is known.

    Args:
        M: Shape (N, D, D).
        normals: Shape (N, D), zero where there is none; None: nowhere.
    """
    size, D = torch.linalg.det(M), M.shape[1]
    usual = size ** ((D - 1) / (2 * D))
    if normals is None:
        return usual
    found = (size * (normals * torch.linalg.solve(M, normals)).sum(1)).clamp(min=0).sqrt()
    return torch.where(normals.square().sum(1) > 0.5, found, usual)
