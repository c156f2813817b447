"""Point clouds as domains: nothing is known but points, perhaps with weights and normals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError, look_up
from ..mesh.tree import hilbert_order
from ..points import Points
from .domain import Domain, check_names, default_space
from .mesh_region import RESERVED
from .patch import Drawn, Patch
from .region import Region
from .unit import RULES

NEIGHBOURS = 12                                                # for normals
RADII = 2.0                                                    # of the largest gap between neighbours: the radius


class _Chosen(Patch):
    """What the inside and the groups of a cloud share: samples are chosen among given points."""

    X: Tensor
    shares: Tensor
    normals: Tensor | None
    measure: float
    independent = False

    def _fill(self, X: Tensor, weights: Tensor, normals: Tensor | None, **fields) -> None:
        order = hilbert_order(X) if X.shape[1] <= 3 else torch.arange(len(X))
        self._set(X=X[order], shares=weights[order] / weights.sum(),
                  normals=None if normals is None else normals[order], measure=float(weights.sum()),
                  chart_measure=float(weights.sum()), chart_dim=1, **fields)

    def chart(self, U: Tensor) -> Drawn:
        """The unit coordinate chooses a point, by weight, along a Hilbert curve: even numbers give even subsets."""
        return self._at(torch.searchsorted(self.shares.cumsum(0).to(U.device), U[:, 0].double().contiguous(),
                                           right=True), U)

    def sample(self, n: int, *, generator: torch.Generator, rule: str = "uniform", dtype=torch.float64,
               device="cpu") -> Points:
        """n of the points, each chosen with a probability in proportion to its weight.

        No point comes twice while n times the largest share is at most 1 (N points of equal weight: n ≤ N); beyond,
        each comes as often as its share says, rounded up or down.

            point j is taken once for every i with  S_{j−1} < (i + s) / n ≤ S_j,   S the cumulated shares

        Args:
            n: Number of points, N ≥ 1.
            generator: Source of every random number.
            rule: "uniform" cumulates in random order (of equal weights, all subsets are equally probable); every other
                rule along a Hilbert curve, which spreads the subset evenly over the cloud.
            dtype: Floating type of the points.
            device: Where they live.

        Returns:
            Points with weights measure / n.

        Raises:
            ProblemError: n < 1, or an unknown rule.

        Source: Madow (1949), doi:10.1214/aoms/1177729988, systematic sampling.
        """
        look_up("sampling rule", rule, RULES)
        if n < 1:
            raise ProblemError(f"cannot sample {n} points of {self!r}; ask for at least 1")
        N, at = len(self.X), generator.device
        order = torch.randperm(N, generator=generator, device=at).cpu() if rule == "uniform" else torch.arange(N)
        start = torch.rand(1, generator=generator, device=at, dtype=torch.float64).cpu().clamp(1e-6, 1 - 1e-6)
        steps = (torch.arange(n, dtype=torch.float64) + start) / n
        chosen = order[torch.searchsorted(self.shares[order].cumsum(0), steps).clamp(max=N - 1)]
        return self._points(self._at(chosen.to(device), torch.zeros(0, dtype=dtype, device=device)))

    @property
    def gaussian(self) -> bool:
        """The points with their weights are the quadrature, if there may be as many."""
        return True

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """All points with their weights; if there are more than n, n of them, spread evenly, with equal weights."""
        if n < len(self.X):
            return self.sample(n, generator=torch.Generator().manual_seed(0), rule="sobol", dtype=dtype, device=device)
        normals = None if self.normals is None else self._at(torch.arange(len(self.X)), self.X).normals
        return Points(self.X, self.names, self.shares * self.measure, normals).to(dtype=dtype, device=device)

    def _at(self, index: Tensor, like: Tensor) -> Drawn:
        index = index.clamp(max=len(self.X) - 1).to(like.device)
        X = self.X.to(like)[index]
        return Drawn(X, None if self.normals is None else self.normals.to(like)[index])

    @cached_property
    def tree(self) -> cKDTree:
        """For nearest points."""
        return cKDTree(self.X.numpy())

    def _near(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest point and its number, each (N,)."""
        d, i = self.tree.query(X.detach().double().cpu().numpy())
        return torch.from_numpy(np.asarray(d)).to(X), torch.from_numpy(np.asarray(i, dtype=np.int64)).to(X.device)


class PointCloud(_Chosen, Domain):
    """A set of points, with named groups of points on its boundary.

    Args:
        X: Coordinates, shape (N, D), a tensor or an array.
        names: Coordinate names; by default the first of x, y, z.
        weights: Volume of each point, shape (N,); None: estimated, see `cell_volumes`.
        boundary: Points on the boundary by group: numbers or a mask. Without groups the cloud has no faces.
        normals: Outward normals, shape (N, D), read at the points of groups only; None: estimated, see
            `estimated_normals`.
        areas: Area (length) of each point of the boundary, shape (N,); None: estimated as weights are.
        radius: Distance from a point that counts as inside; None: twice the largest distance between neighbours.
        name: What it is called in combinations.

    Raises:
        ProblemError: Shapes that do not fit, numbers that are not finite, duplicate points, weights that are not
            positive, empty groups.

    Note:
        Membership and distance are those of the balls around the points. So combinations (`|`, `&`, `-`) keep points,
        but where a cloud ends is known only up to the radius.
    """

    def __init__(self, X, names: Iterable[str] | None = None, weights=None,
                 boundary: Mapping[str, object] | None = None, normals=None, areas=None,
                 radius: float | None = None, name: str | None = None):
        X = _array(X, "X")
        if X.ndim != 2 or len(X) < 2:
            raise ProblemError(f"a PointCloud takes at least two points in the rows of X, got shape {tuple(X.shape)}")
        N, D = X.shape
        names = check_names(("x", "y", "z")[:D] if names is None else names)
        if len(names) != D:
            raise ProblemError(f"the points have {D} coordinates, got {len(names)} names: {', '.join(names)}")
        nearest = cKDTree(X.numpy()).query(X.numpy(), 2)[0][:, 1]
        if not nearest.min() > 0:
            raise ProblemError(f"{int((nearest == 0).sum())} points of the cloud lie at the place of another; drop the "
                               "duplicates")
        gap = float(nearest.max())
        W = cell_volumes(X, D) if weights is None else _column(weights, "weights", N)
        members = {g: _members(g, which, N) for g, which in (boundary or {}).items()}
        N_ = None if normals is None else _array(normals, "normals")
        if N_ is not None and N_.shape != X.shape:
            raise ProblemError(f"normals have shape {tuple(N_.shape)}, expected {tuple(X.shape)}")
        self._fill(X, W, None, names=names, space=default_space(names), name=name, kind="point cloud",
                   radius=RADII * gap if radius is None else float(radius),
                   bounds=tuple(zip(X.amin(0).tolist(), X.amax(0).tolist(), strict=True)), members=members, given=X,
                   given_normals=N_, areas=None if areas is None else _column(areas, "areas", N))

    def distance(self, X: Tensor) -> Tensor:
        """Distance to the nearest point minus the radius: that of the union of balls, exact outside of them."""
        return self._near(X)[0] - self.radius

    def level(self, coords: Mapping):
        raise ProblemError(f"the {self!r} has no smooth level function; use constraints='soft'")

    def _make_pieces(self) -> dict[str, Region]:
        found: dict[str, Region] = {}
        for group, index in self.members.items():
            X = self.given[index]
            n = estimated_normals(X, self.given) if self.given_normals is None else self.given_normals[index]
            W = cell_volumes(X, len(self.names) - 1) if self.areas is None else self.areas[index]
            found[group] = CloudRegion(self, X, W, torch.nn.functional.normalize(n, dim=1), group)
        return found


class CloudRegion(_Chosen, Region):
    """Points on the boundary of a cloud.

    Args:
        cloud: The cloud.
        X: The points, shape (F, D).
        areas: Their areas, shape (F,).
        normals: Their outward unit normals, shape (F, D).
        label: Name in messages.
    """

    def __init__(self, cloud: PointCloud, X: Tensor, areas: Tensor, normals: Tensor, label: str):
        self._fill(X, areas, normals, cloud=cloud, label=label, names=cloud.names, space=cloud.space,
                   across=cloud.names)

    def contains(self, X: Tensor) -> Tensor:
        return self._near(X)[0] <= self.cloud.tolerance(X.dtype)

    def normal(self, X: Tensor) -> Tensor:
        """That of the nearest point."""
        assert self.normals is not None
        return self.normals.to(X)[self._near(X)[1]]

    def level(self, coords: Mapping):
        raise ProblemError(f"region {self.label!r} of a point cloud has no smooth level function; impose its condition "
                           "by points: constraints='soft'")

    def flipped(self) -> Region:
        assert self.normals is not None
        return CloudRegion(self.cloud, self.X, self.shares * self.measure, -self.normals, self.label)


def cell_volumes(X: Tensor, d: int) -> Tensor:
    """Volume (N,) that belongs to each of N points on a set of dimension d, from its neighbours.

        V_i = (1/K) · v_d h_i^d,   h_i the distance to the K-th neighbour, v_d the volume of the unit ball, K = 2d

    Of independent points the mean is right (Loftsgaarden and Quesenberry 1965, doi:10.1214/aoms/1177700079); on a
    square grid the sum is 0.79 of the area, on a cubic one 0.70 of the volume. Points at a rim see a part of their
    neighbours and count up to twice. Give `weights` if the volume matters.
    """
    if d == 0:
        return torch.ones(len(X), dtype=torch.float64)
    K = min(2 * d, len(X) - 1)
    if K < 1:
        return torch.ones(len(X), dtype=torch.float64)
    h = torch.from_numpy(np.asarray(cKDTree(X.numpy()).query(X.numpy(), [K + 1])[0][:, 0]))
    return math.pi ** (d / 2) / math.gamma(d / 2 + 1) * h**d / K


def estimated_normals(X: Tensor, inside: Tensor) -> Tensor:
    """Unit normals (F, D) at points X (F, D) on the boundary of a cloud `inside` (N, D).

    The direction in which neighbours on the boundary vary least (principal components; Hoppe et al. 1992,
    doi:10.1145/133994.134011), away from the mean of the neighbours in the whole cloud.
    """
    D = X.shape[1]
    k = min(NEIGHBOURS if D > 2 else 5, len(X))
    index = torch.from_numpy(np.atleast_2d(cKDTree(X.numpy()).query(X.numpy(), list(range(1, k + 1)))[1]))
    P = X[index] - X[index].mean(1, keepdim=True)
    n = torch.linalg.eigh(torch.einsum("nki,nkj->nij", P, P))[1][:, :, 0]
    m = min(2 * D * NEIGHBOURS // 2, len(inside))
    around = inside[torch.from_numpy(cKDTree(inside.numpy()).query(X.numpy(), list(range(1, m + 1)))[1])].mean(1)
    return torch.where(((around - X) * n).sum(1, keepdim=True) > 0, -n, n)


def _array(values, what: str) -> Tensor:
    """A float64 tensor on the CPU."""
    found = torch.as_tensor(np.asarray(values.detach().cpu()) if isinstance(values, Tensor) else np.asarray(values))
    found = found.to(torch.float64).contiguous()
    if not bool(torch.isfinite(found).all()):
        raise ProblemError(f"{what} of the point cloud contains NaN or infinite numbers")
    return found


def _column(values, what: str, N: int) -> Tensor:
    found = _array(values, what)
    if found.shape != (N,) or not bool((found > 0).all()):
        raise ProblemError(f"{what} of the point cloud must be {N} positive numbers, one per point; got shape "
                           f"{tuple(found.shape)} with least {float(found.min()) if found.numel() else math.nan:.3g}")
    return found


def _members(group: str, which, N: int) -> Tensor:
    """Numbers of the points of a group."""
    index = torch.as_tensor(np.asarray(which))
    if index.dtype == torch.bool and index.shape == (N,):
        index = index.nonzero()[:, 0]
    if index.ndim != 1 or not len(index) or index.is_floating_point() or index.min() < 0 or index.max() >= N:
        raise ProblemError(f"group {group!r} of the point cloud must be a mask of {N} points or numbers below {N}, at "
                           "least one")
    if group in RESERVED:
        raise ProblemError(f"group {group!r} of the point cloud has a name that stands for something else; choose "
                           "another")
    return index.long().unique()
