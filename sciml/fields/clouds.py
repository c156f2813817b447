"""Gaussians where something else says that they belong: at points, by a density, on a mesh, along a map.

All give fields with amplitude zero, which a solve or a fit fills in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from scipy.spatial import cKDTree
from torch import Generator, Tensor

from ..errors import ProblemError
from ..mesh.geometry import line_normals, mapped, outward
from .gaussian import GaussianField, of_covariances, tensor_centres
from .lattice import ghosts_of, lattice

if TYPE_CHECKING:
    from ..mesh.complex import Complex
    from ..mesh.mover import Movement

SWEEPS = 50              # of Lloyd's algorithm, at most


def from_points(X: Tensor, overlap: float = 1.2, outputs: int = 1, neighbours: int = 2,
                train: str = "amplitudes") -> GaussianField:
    """A Gaussian at every point, as wide as its neighbours are far: s = c · mean distance of the nearest ones.

    Args:
        X: Points, shape (M, D), M ≥ 2, no two of them equal.
        overlap: c.
        outputs: C.
        neighbours: How many nearest points are averaged over.
        train: "amplitudes" or "shapes".

    Raises:
        ProblemError: Fewer than two points, or points that coincide.
    """
    if X.ndim != 2 or len(X) < 2:
        raise ProblemError(f"points have shape {tuple(X.shape)}, expected (M, D) with M ≥ 2, as scales "
                           "are distances")
    k = min(neighbours, len(X) - 1)
    distances, _ = cKDTree(X.detach().cpu().numpy()).query(X.detach().cpu().numpy(), k=k + 1)
    found = torch.as_tensor(distances[:, 1:].mean(1), dtype=X.dtype, device=X.device)
    if not bool((torch.as_tensor(distances[:, 1]) > 0).all()):
        raise ProblemError("two of the points coincide, and their Gaussians would have no width; remove one")
    return GaussianField(X.detach(), overlap * found, outputs, "isotropic", train, dtype=X.dtype, overlap=overlap)


def from_density(X: Tensor, weights: Tensor, count: int, generator: Generator, overlap: float = 1.2, outputs: int = 1,
                 train: str = "amplitudes") -> GaussianField:
    """Gaussians where weighted points are dense, shaped like the parts that they stand for.

    Weighted k-means; Σ_i is the covariance of the i-th cluster, which for a cell of a lattice is h²/12, scaled to
    (c h)²; its least eigenvalue is at least a hundredth of its largest.

    Args:
        X: Points, shape (N, D).
        weights: Not negative, shape (N,): |r| or |∇u|.
        count: M.
        generator: Of the first centres.
        overlap, outputs, train: As in `GaussianField`.

    Raises:
        ProblemError: Weights are negative or vanish, or there are fewer points with a weight than Gaussians.

    Source: Lloyd (1982), doi:10.1109/TIT.1982.1056489; first centres by Arthur and Vassilvitskii (2007), k-means++;
        gradient-weighted k-means for radial bases as in Chen et al. (2023), NeuRBF, arXiv:2309.15426.
    """
    if weights.shape != X.shape[:1] or not bool((weights >= 0).all()):
        raise ProblemError(f"weights have shape {tuple(weights.shape)}, expected ({len(X)},) and none below zero")
    if int((weights > 0).sum()) < count or count < 1:
        raise ProblemError(f"{int((weights > 0).sum())} points have a weight, and {count} Gaussians are to be made of "
                           "them; give more points, or ask for fewer")
    X, weights = X[weights > 0], weights[weights > 0]
    centres, label = _clusters(X, weights, count, generator)
    D = X.shape[1]
    mass = X.new_zeros(count).index_add_(0, label, weights)
    delta = X - centres[label]
    sigma = X.new_zeros(count, D, D).index_add_(0, label, weights[:, None, None] * delta[:, :, None] * delta[:, None])
    sigma = 12 * overlap**2 * sigma / mass[:, None, None]
    squares, R = torch.linalg.eigh(sigma)
    spread = torch.as_tensor(cKDTree(centres.numpy()).query(centres.numpy(), k=2)[0][:, 1]).to(X) if count > 1 else \
        squares[:, -1].sqrt()
    alone = squares[:, -1] <= 0                                   # a cluster of one point
    squares[alone] = (overlap * spread[alone, None]) ** 2
    squares = torch.maximum(squares, 1e-2 * squares[:, -1:])
    return of_covariances(centres, (R * squares[:, None]) @ R.mT, None, train, overlap, outputs)


def _clusters(X: Tensor, weights: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Centres (M, D) and the cluster (N,) of every point."""
    chosen = [torch.multinomial(weights, 1, generator=generator)]
    nearest = (X - X[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        density = weights * nearest
        left = density if bool((density > 0).any()) else weights
        chosen.append(torch.multinomial(left, 1, generator=generator))
        nearest = torch.minimum(nearest, (X - X[chosen[-1]]).square().sum(1))
    centres, label = X[torch.cat(chosen)].clone(), torch.zeros(len(X), dtype=torch.long)
    for _ in range(SWEEPS):
        last, label = label, torch.as_tensor(cKDTree(centres.numpy()).query(X.numpy())[1])
        mass = X.new_zeros(count).index_add_(0, label, weights)
        total = torch.zeros_like(centres).index_add_(0, label, weights[:, None] * X)
        centres = torch.where(mass[:, None] > 0, total / mass[:, None], centres)
        if torch.equal(last, label):
            break
    return centres, label


def from_mesh(mesh: Complex, overlap: float = 1.2, ghosts: int | None = None, outputs: int = 1,
              train: str = "amplitudes") -> GaussianField:
    """A Gaussian at every node, s = c · mean length of its edges, and rings of ghosts beyond the boundary.

    A boundary node has ghosts at 1, …, g times that length along its outward normal.

    Args:
        mesh: With cells of the dimension of its space.
        overlap: c.
        ghosts: g; None: round(3.3 c).
        outputs, train: As in `GaussianField`.

    Raises:
        ProblemError: The cells are of lower dimension than their space.
    """
    g = ghosts_of(overlap) if ghosts is None else ghosts
    D = mesh.X.shape[1]
    if mesh.dim != D:
        raise ProblemError(f"the mesh has cells of dimension {mesh.dim} in {D} coordinates, and Gaussians fill space; "
                           "give the mesh of a volume")
    length, normals = _edge_lengths(mesh), _normals(mesh)
    used = length > 0
    nodes, length, normals = mesh.X[used], length[used], normals[used]
    size = normals.norm(dim=1, keepdim=True)
    rim = size[:, 0] > 0
    out = normals[rim] / size[rim]
    layers = [nodes, *(nodes[rim] + k * length[rim, None] * out for k in range(1, g + 1))]
    scales = torch.cat([length, *[length[rim]] * g])
    return GaussianField(torch.cat(layers), overlap * scales, outputs, "isotropic", train, overlap=overlap)


def _edge_lengths(mesh: Complex) -> Tensor:
    """Mean length of the edges at every corner, shape (V,); zero at nodes that are no corner."""
    total, count = mesh.X.new_zeros(2, len(mesh.X))
    for block in mesh.blocks:
        for edge in block.kind.shape.edges:
            ends = block.nodes[:, list(edge)]
            length = (mesh.X[ends[:, 0]] - mesh.X[ends[:, 1]]).norm(dim=1)
            for i in range(2):
                total.index_add_(0, ends[:, i], length)
                count.index_add_(0, ends[:, i], torch.ones_like(length))
    return total / count.clamp(min=1)


def _normals(mesh: Complex) -> Tensor:
    """Outward normals of the boundary's facets at every node, weighted by their areas, shape (V, D); zero inside."""
    found = torch.zeros_like(mesh.X)
    for facets in mesh.chosen(mesh.boundary):
        middle = torch.full((1, facets.kind.dim), 1 / (facets.kind.dim + 1) if facets.kind.shape.simplex else 0.5)
        at = mapped(mesh.X, facets, middle.to(mesh.X))
        n = (outward(at.J) if mesh.X.shape[1] > 1 else line_normals(mesh, facets)) * at.measure[..., None]
        for node in facets.nodes.T:
            found.index_add_(0, node, n[:, 0])
    return found


def from_map(movement: Movement | Callable[[Tensor], Tensor], counts: Sequence[int],
             bounds: Sequence[tuple[float, float]], overlap: float = 1.2, ghosts: int = 0, outputs: int = 1,
             train: str = "amplitudes") -> GaussianField:
    """The lattice of a box carried by a map: μ = x(ξ), Σ = c² J diag(h²) Jᵀ, J = ∂x/∂ξ.

    Args:
        movement: x, such as the map of `equidistribute`, or a function of points (N, D).
        counts: Centres along each coordinate, ghosts included.
        bounds: (low, high) by coordinate: the box.
        overlap: c.
        ghosts: Rings beyond the box; the map is asked there too, so it must be good for them.
        outputs, train: As in `GaussianField`.

    Raises:
        ProblemError: The map flattens space, or there are not two or three coordinates.
    """
    made = [lattice(low, high, n, overlap, ghosts) for (low, high), n in zip(bounds, counts, strict=True)]
    xi = tensor_centres([line for line, _ in made])
    field = GaussianField(xi, torch.tensor([s for _, s in made], dtype=torch.float64).expand(len(xi), -1), outputs,
                          "diagonal", train, overlap=overlap)
    jacobian = getattr(movement, "jacobian", None)
    if jacobian is None:
        return field.transport(movement)
    J = jacobian(xi)
    return of_covariances(movement(xi), J @ field.parts()["covariances"] @ J.mT, None, train, overlap, outputs)
