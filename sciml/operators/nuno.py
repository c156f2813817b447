"""NUNO: points in the boxes of a k-d tree, a grid in each, one Fourier neural operator for all of them, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError
from ..kept import Kept
from .latent import LatentFNO
from .pointwise import Bounds, Box, Dense, Perceptron, check_points, with_coordinates
from .remembered import Remembered
from .subdomains import Links, box_grids, kd_boxes, links

KEPT = 2**16, 2**16                        # points of a set, and of all


class NUNO(nn.Module):
    """An FNO on the grids of S boxes, which are its channels, between linear interpolations.

        g_s = I_s v,   h = FNO([g_1 … g_S]),   u(x) = Q(Iᵀ-cell of x in h_{s(x)}, W v₀(x))

    Args:
        inputs: C_in.
        outputs: C_out.
        bounds: (low, high) per coordinate of the box that the points lie in.
        boxes: S; or the corners themselves, shape (S, 2, D), from `kd_boxes` of the training points. A number starts
            with S equal slabs, to be replaced by `fit`.
        grid: Nodes of each box's grid along each coordinate.
        modes: m per coordinate, 2m − 1 ≤ grid.
        width: Channels of the FNO.
        layers: Its layers.
        features: Channels of each box that enter and leave the FNO.
        padding: Nodes of zeros beside each grid, since boxes are not periodic.
        projection: Hidden channels of Q.
        generator: Source of the weights; None: torch's own.

    Raises:
        ProblemError: Shapes that do not fit.

    Source: Liu et al. (2023), arXiv:2305.18694. Grids have a common size from the start, where the source resizes them
        in Fourier space; each grid also gets its distance from the nearest point (a hole shows), and Q the lifted
        values.
    """

    boxes: Tensor

    def __init__(self, inputs: int, outputs: int, bounds: Bounds = ((0.0, 1.0), (0.0, 1.0)), boxes: int | Tensor = 6,
                 grid: Sequence[int] = (24, 24), modes: Sequence[int] = (8, 8), width: int = 64, layers: int = 4,
                 features: int = 16, padding: int = 3, projection: int = 128, generator: Generator | None = None):
        super().__init__()
        self.inputs, self.box, self.grid = inputs, Box(bounds), tuple(grid)
        D = self.box.dimension
        if not len(self.grid) == len(modes) == D or any(n < max(2, 2 * m - 1 - padding) for n, m in
                                                        zip(self.grid, modes, strict=True)):
            raise ProblemError(f"grid={self.grid} and modes={tuple(modes)} must be one number for each of the {D} "
                               f"coordinates, with 2 modes − 1 ≤ grid + {padding}")
        corners = _slabs(boxes, bounds) if isinstance(boxes, int) else torch.as_tensor(boxes, dtype=torch.float64)
        if corners.ndim != 3 or corners.shape[1:] != (2, D):
            raise ProblemError(f"boxes have shape {tuple(corners.shape)}, expected (S, 2, {D}): low and high corners")
        self.register_buffer("boxes", corners.to(torch.float32))
        S = len(corners)
        self.lift = Dense(inputs + D, features, generator)
        self.enter = Dense(S * (features + 1), width, generator)
        self.latent = LatentFNO(width, modes, layers, padding, generator)
        self.leave = Dense(width, S * features, generator)
        self.project = Perceptron([2 * features + D, projection, outputs], generator)
        self._forget()

    def _forget(self) -> None:
        self._kept: Kept[Links] = Kept(*KEPT)
        self._seen: Remembered[tuple] = Remembered()

    def fit(self, points: Tensor) -> None:
        """Places the boxes by the points (…, N, D) of the training shapes, and of nothing else."""
        bounds = [(low, low + size) for low, size in zip(self.box.lows, self.box.sizes, strict=True)]
        self.boxes.copy_(kd_boxes(points.reshape(-1, points.shape[-1]), len(self.boxes), bounds))
        self._forget()

    def plan(self, X: Tensor) -> Links:
        """Interpolation weights of points (N, D) or (B, N, D), kept for clouds that come back."""
        return self._kept((X.reshape(-1, X.shape[-1]),), lambda: links(X, self.boxes, self.grid, self._seen), X.shape)

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._forget()                                       # the boxes are others

    def nodes(self) -> Tensor:
        """Nodes of all grids, shape (S, Π n, D)."""
        return box_grids(self.boxes, self.grid)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None,
                plan: Links | None = None) -> Tensor:
        """Values at the points.

        Args:
            v: Shape (B, N, C_in).
            X: Points, shape (N, D) or (B, N, D).
            weights: Not used: interpolation does not depend on the density of the points.
            plan: What `plan(X)` gave; needed under torch.compile, which cannot look into the triangulation.

        Returns:
            Shape (B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit.
        """
        X = check_points(v, X, weights, self.inputs, self.box.dimension)
        into, into_weights, out, out_weights, gap = self.plan(X) if plan is None else plan
        B, S = len(v), len(self.boxes)
        Z = self.box.centred(X)
        v0 = self.lift(with_coordinates(v, Z))
        g = gathered(v0, into, into_weights)                                          # (B, S G, F)
        g = torch.cat([g, gap.to(g.dtype)[..., None].expand(B, -1, 1)], -1)
        F = g.shape[-1]
        g = g.reshape(B, S, -1, F).transpose(1, 2).reshape(B, *self.grid, S * F)
        h = self.leave(self.latent(self.enter(g)))
        h = h.reshape(B, -1, S, F - 1).transpose(1, 2).reshape(B, -1, F - 1)
        h = gathered(h, out, out_weights)
        return self.project(with_coordinates(torch.cat([h, v0.to(h.dtype)], -1), Z))


def gathered(v: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Σ_k weights_rk v_{index_rk}: rows of a sparse matrix times v.

    Args:
        v: Shape (B, N, C).
        index, weights: Shape (1 or B, R, K).

    Returns:
        Shape (B, R, C).
    """
    B, N, C = v.shape
    if len(index) == 1:
        picked = v[:, index[0].reshape(-1)]
    else:
        first = N * torch.arange(B, device=v.device)[:, None, None]
        picked = v.reshape(B * N, C)[(index + first).reshape(-1)]
    picked = picked.reshape(B, *index.shape[1:], C)
    return (weights.to(v.dtype)[..., None] * picked).sum(2)


def _slabs(count: int, bounds: Bounds) -> Tensor:
    """`count` equal boxes side by side along the first coordinate."""
    low, high = torch.tensor(bounds, dtype=torch.float64).T
    boxes = torch.stack([low, high]).repeat(count, 1, 1)
    ends = torch.linspace(float(low[0]), float(high[0]), count + 1, dtype=torch.float64)
    boxes[:, 0, 0], boxes[:, 1, 0] = ends[:-1], ends[1:]
    return boxes
