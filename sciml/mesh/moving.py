"""Meshes and points moved towards a monitor: the map of the box around them, held at what must stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator, NearestNDInterpolator
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve
from torch import Tensor

from ..errors import ProblemError
from .complex import Complex
from .mover import Monitor, equidistribute
from .quality import least_jacobian, unfolded
from .structured import edges

LEAST = 0.01
"""Share of a cell's least det ∂x/∂ξ that movement leaves it; 1/m is meant to shrink cells, but not to nothing."""


def move(complex_: Complex, monitor: Monitor | Tensor, *, cells: int = 64) -> Complex:
    """A mesh with its nodes drawn to where a monitor is large; its cells are the same, and none is inverted.

    Args:
        complex_: Cells that fill two or three dimensions, none of them inverted.
        monitor: m > 0: a function of points (N, D) with values (N,), or values at the nodes, shape (V,).
        cells: Grid cells of the Monge–Ampère map along the longest side of the bounding box.

    Raises:
        ProblemError: Cells are inverted before, or the monitor is not positive.
    """
    X = complex_.X
    low, high = X.amin(0), X.amax(0)
    counts = [max(8, round(cells * float(L / (high - low).max()))) for L in high - low]
    m = at_nodes(X, monitor) if isinstance(monitor, Tensor) else monitor
    bounds = list(zip(low.tolist(), high.tolist(), strict=True))
    return displaced(complex_, equidistribute(m, bounds, counts, tolerance=1e-6))


def displaced(complex_: Complex, to: Callable[[Tensor], Tensor]) -> Complex:
    """A mesh with its nodes moved by a map of its bounding box, such as x + ∇φ of a network; no cell is inverted.

    Boundary nodes on a face of the box slide along it, all others stay: what keeps them is spread into the mesh as a
    discrete harmonic function. Where a cell would fold all the same, its nodes move by a half, a quarter, …, so that
    none does (`unfolded`). Cells of order 2 move by their corners.

    Args:
        complex_: Cells that fill two or three dimensions, none of them inverted.
        to: Where points (N, D) move: shape (N, D).

    Raises:
        ProblemError: Cells are inverted before, or a position is not finite.
    """
    if any(bool((least_jacobian(complex_.X, b) <= 0).any()) for b in complex_.blocks):
        raise ProblemError("the mesh has inverted or degenerate cells before it is moved; mend them first")
    X = complex_.X
    low, high = X.amin(0), X.amax(0)
    side = float((high - low).max())
    shift = to(X).detach() - X
    if not bool(torch.isfinite(shift).all()):
        raise ProblemError(f"the map moves {int((~torch.isfinite(shift)).any(1).sum())} nodes to positions that are "
                           "not finite; check its formula")
    slides = ((X - low).abs() < 1e-9 * side) | ((X - high).abs() < 1e-9 * side)
    shift[slides] = 0.0
    fixed = slides | _pinned(complex_, slides)[:, None]
    shift = shift - harmonic(complex_, shift, fixed)
    return unfolded(complex_, _by_corners(complex_, shift), LEAST)


def _pinned(complex_: Complex, slides: Tensor) -> Tensor:
    """Mask of the nodes of boundary facets that lie on no face of the box, shape (V,)."""
    mask = torch.zeros(len(complex_.X), dtype=torch.bool)
    for f in complex_.chosen(complex_.boundary):
        mask[f.nodes[~slides[f.nodes].all(1).any(1)].reshape(-1)] = True
    return mask


def harmonic(complex_: Complex, values: Tensor, fixed: Tensor) -> Tensor:
    """The discrete harmonic function with some fixed values, Σ_j (w_j − w_i)/L_ij² = 0 over edges at the other corners.

    Args:
        complex_: Cells; only their corners take part.
        values: By node and component, shape (V, C).
        fixed: Where they hold, shape (V, C). In a component that is zero there, the result is zero.

    Returns:
        Shape (V, C); zero at nodes that are no corners.
    """
    pairs = edges(complex_)[0].numpy()
    weight = 1 / np.square(complex_.X.numpy()[pairs[:, 0]] - complex_.X.numpy()[pairs[:, 1]]).sum(1)
    V = len(complex_.X)
    W = coo_array((weight.repeat(2), (pairs.reshape(-1), pairs[:, ::-1].reshape(-1))), shape=(V, V)).tocsr()
    L = (diags_array(W.sum(1)) - W).tocsr()
    corner = np.zeros(V, bool)
    corner[pairs] = True
    found = torch.zeros_like(values)
    for c in range(values.shape[1]):
        known = fixed[:, c].numpy() & corner
        w = np.where(known, values[:, c].numpy(), 0.0)
        free = corner & ~known
        if np.abs(w).max(initial=0) > 0 and free.any():
            w[free] = spsolve(L[free][:, free].tocsc(), -L[free][:, known] @ w[known])
        found[:, c] = torch.from_numpy(w)
    return found


def _by_corners(complex_: Complex, shift: Tensor) -> Tensor:
    """Shifts of middle nodes as the means of their corners', so that straight cells stay straight."""
    new = shift.clone()
    for b in complex_.blocks:
        for a, support in enumerate(b.kind.supports):
            if len(support) > 1:
                new[b.nodes[:, a]] = shift[b.nodes[:, list(support)]].mean(1)
    return new


def moved_points(X: Tensor, monitor: Monitor, bounds: Sequence[tuple[float, float]], *, cells: int = 64) -> Tensor:
    """Points of a box, shape (N, D), drawn to where a monitor is large: even ones get a density in proportion to m."""
    return equidistribute(monitor, bounds, cells, tolerance=1e-6)(X)


def slope_monitor(u: Callable[[Tensor], Tensor], X: Tensor, share: float = 0.5) -> Monitor:
    """Monitor of a function's steepness.

        m = 1 + (share / (1 − share)) |∇u| / mean |∇u|

    Args:
        u: Function of points (N, D) with values (N,), that torch can differentiate.
        X: Points over which the mean is taken, shape (N, D).
        share: Of all nodes, what is spent on slopes; the rest is spread evenly. In (0, 1).

    Source: Huang (2001), doi:10.1006/jcph.2001.6888, for the choice of the constant.
    """
    if not 0 < share < 1:
        raise ProblemError(f"share={share} of the nodes cannot follow the slope, expected a number between 0 and 1")
    mean = _steepness(u, X).mean().clamp(min=1e-300).detach()
    return lambda x: 1 + share / (1 - share) * _steepness(u, x) / mean


def _steepness(u: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
    """|∇u| at points, itself differentiable."""
    with torch.enable_grad():
        x = X if X.requires_grad else X.detach().requires_grad_()
        g = torch.autograd.grad(u(x).sum(), x, create_graph=True)[0]
        size = (g.square().sum(1) + 1e-24).sqrt()
    return size if X.requires_grad else size.detach()


def at_nodes(X: Tensor, values: Tensor) -> Monitor:
    """A function through values at scattered points, differentiable by torch; nearest values outside their hull.

    Piecewise cubic in the plane (Clough and Tocher, once differentiable), linear in space; not below the least value.

    Raises:
        ProblemError: Not one value by node.
    """
    if values.shape != X.shape[:1]:
        raise ProblemError(f"the monitor has shape {tuple(values.shape)}, expected one value for each of {len(X)} "
                           "nodes")
    P, v = X.numpy(), np.log(values.detach().numpy().clip(min=1e-300))
    inner = CloughTocher2DInterpolator(P, v) if P.shape[1] == 2 else LinearNDInterpolator(P, v)
    outer = NearestNDInterpolator(P, v)
    h = 1e-4 * float((X.amax(0) - X.amin(0)).max())

    def evaluate(x) -> np.ndarray:
        f = np.asarray(inner(x))
        hole = ~np.isfinite(f)
        f[hole] = outer(x[hole])
        return f.clip(v.min(), v.max())

    class Scattered(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.from_numpy(evaluate(x.detach().numpy()))

        @staticmethod
        def backward(ctx, grad):
            x = ctx.saved_tensors[0].numpy()
            D = x.shape[1]
            g = [(evaluate(x + h * e) - evaluate(x - h * e)) / (2 * h) for e in np.eye(D)]
            return grad[:, None] * torch.from_numpy(np.stack(g, 1))

    return lambda x: Scattered.apply(x).exp()
