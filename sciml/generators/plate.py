"""Meshes of the unit square with a star-shaped void at its middle.

The void's boundary is r(θ); nodes lie on rays of n angles from the void to the square's sides, in m layers:

    x = ½ + (1 − s) r(θ) (cos θ, sin θ) + s R(θ) (cos θ, sin θ),   R = ½ / max(|cos θ|, |sin θ|),   s in [0, 1]
"""

from __future__ import annotations

import math

import torch
from scipy.spatial import Delaunay
from torch import Tensor

from ..errors import ProblemError, TrainingError
from ..inputs.waves import trigonometric
from ..mesh.complex import Cells, Complex
from ..mesh.kinds import KINDS


def angles(n: int) -> Tensor:
    """θ of n rays, shape (n,), of which every n/8-th goes to a corner or the middle of a side.

    Raises:
        ProblemError: n is no multiple of 8.
    """
    if n < 8 or n % 8:
        raise ProblemError(f"a plate with a void needs a multiple of 8 rays, so that its corners are nodes, not {n}")
    return torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)


def ring_nodes(r: Tensor, s: Tensor, theta: Tensor | None = None) -> Tensor:
    """Nodes on rays, shape (n, m, 2).

    Args:
        r: Radius on each ray, shape (n,) or (n, m).
        s: Layers from 0 (void) to 1 (sides), shape (m,) or (n, m).
        theta: Angles, shape (n,) or (n, m); None: those of `angles`.
    """
    theta = angles(len(r)) if theta is None else theta
    r, theta = (v if v.ndim == 2 else v[:, None] for v in (r, theta))
    direction = torch.stack([theta.cos(), theta.sin()], -1)
    R = 0.5 / direction.abs().amax(-1)
    X = 0.5 + ((1 - s) * r + s * R)[..., None] * direction
    return torch.where((X - X.round()).abs() < 1e-14, X.round(), X)  # sides are exactly 0 and 1


def triangles(n: int, m: int) -> Tensor:
    """Triangles (2n(m − 1), 3) of n × m nodes, numbered ray after ray, counterclockwise."""
    i, j = torch.meshgrid(torch.arange(n), torch.arange(m - 1), indexing="ij")
    a, b = i * m + j, i * m + j + 1
    c, d = (i + 1) % n * m + j, (i + 1) % n * m + j + 1
    return torch.stack([torch.stack([a, d, c], -1), torch.stack([a, b, d], -1)], 2).reshape(-1, 3)


def plate(X: Tensor, cells: Tensor) -> Complex:
    """The complex of triangles, with the surfaces "bottom", "top" and "void".

    Args:
        X: Nodes (V, 2).
        cells: Triangles (E, 3).
    """
    made = Complex(X, (Cells(KINDS["triangle"], cells),))
    (facets,) = made.facets
    edge = facets.cells[:, 1] < 0
    ends = X[facets.nodes[:, :2]]
    on = lambda d, value: edge & (ends[..., d] == value).all(1)
    sides = on(0, 0) | on(0, 1) | on(1, 0) | on(1, 1)
    named = {"bottom": on(1, 0), "top": on(1, 1), "void": edge & ~sides}
    return Complex(X, made.blocks, surfaces={name: which.nonzero()[:, 0] for name, which in named.items()})


def areas(X: Tensor, cells: Tensor) -> Tensor:
    """Areas of triangles, shape (E,), negative for clockwise ones."""
    a, b, c = X[cells].unbind(1)
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def o_grid(r: Tensor, m: int) -> Complex:
    """The plate on n rays and m equispaced layers; node (i, j) has number i·m + j.

    Args:
        r: Radius (n,).
        m: Layers.
    """
    X = ring_nodes(r, torch.linspace(0, 1, m, dtype=torch.float64)).reshape(-1, 2)
    return plate(X, triangles(len(r), m))


def scattered(r: Tensor, m: int, generator: torch.Generator, jitter: float = 0.35) -> Complex:
    """The plate on n·m scattered nodes in random order: nodes of the O-grid moved, triangulated after Delaunay.

    Inner nodes move by up to `jitter` of a cell along rays and angles, those on the void along it, those on the sides
    not at all. The triangulation is Delaunay's in an annulus of nearly square cells, whose inner circle is the void: as
    that is convex, its edges and those of the sides are always among the triangles'. In the plate itself they are not.

    Args:
        r: Radius (n,).
        m: Layers.
        generator: Of the moves and the order.
        jitter: Below ½; halved while a triangle is turned over in the plate.

    Raises:
        TrainingError: Twelve times were not enough.
    """
    n = len(r)
    theta, s = angles(n), torch.linspace(0, 1, m, dtype=torch.float64)
    moves = 2 * torch.rand(n, m, 2, generator=generator, dtype=torch.float64) - 1
    moves[:, -1] = 0
    moves[:, 0, 1] = 0
    order = torch.randperm(n * m, generator=generator)
    number = torch.empty_like(order)
    number[order] = torch.arange(n * m)
    for _ in range(12):
        turned = theta[:, None] + jitter * (2 * math.pi / n) * moves[..., 0]
        layer = s + jitter / (m - 1) * moves[..., 1]
        radius = (trigonometric(n, 2 * math.pi, turned.reshape(-1)) @ r).view(n, m)
        X = ring_nodes(radius, layer, turned).reshape(-1, 2)
        flat = (2 * math.pi / n * (m - 1) * layer).exp()[..., None] * torch.stack([turned.cos(), turned.sin()], -1)
        flat = flat.reshape(-1, 2)
        cells = torch.as_tensor(Delaunay(flat.numpy()).simplices, dtype=torch.long)
        size = areas(flat, cells)
        cells = torch.where((size < 0)[:, None], cells[:, [0, 2, 1]], cells)
        # void: triangles with all nodes on the inner circle; slivers of rounding on the outer one
        cells = cells[~(cells % m == 0).all(1) & ~(cells % m == m - 1).all(1)]
        if bool((areas(X, cells) > 1e-12).all()):
            return plate(X[order], number[cells])
        jitter /= 2
    raise TrainingError(f"triangles of {n}×{m} scattered nodes turn over in the plate; take more rays, or a void that "
                        "varies less")
