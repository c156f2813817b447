"""Graph neural operators: integrals over balls, v(y) = ∫_{|x−y|≤r} κ(y, x) f(x) dx, and a latent grid between two.

The integral is a sum with quadrature weights. Without them the result would follow the density of the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gamma, pi, prod

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError
from ..kept import Kept
from .latent import LatentFNO
from .neighbours import Arrays, Pairs, near_pairs
from .pointwise import Bounds, Box, Dense, Perceptron, check_points, with_coordinates
from .remembered import Remembered

KEPT = 2**16, 2**16                        # points of a set, and of all: each has some hundred pairs


class Integral(nn.Module):
    """v(y) = (1/|B_r|) Σ_{|x_j−y|≤r} w_j ψ(|x_j − y|/r) κ(y, x_j, (x_j − y)/r) ⊙ f_j,   ψ(ρ) = (1 − ρ²)²,  |B_r| = ∫ψ.

    Args:
        width: Channels of f and v.
        box: Where the points lie; κ sees coordinates in [−1, 1].
        radius: r, in the unit of the coordinates.
        hidden: Channels of κ's two hidden layers.
        generator: Source of the weights.

    Source: Li et al. (2020), arXiv:2003.03485, with a diagonal kernel, quadrature weights, and the window ψ, without
        which each point that crosses the ball's rim is a jump.
    """

    def __init__(self, width: int, box: Box, radius: float, hidden: int = 64, generator: Generator | None = None):
        super().__init__()
        self.box, self.radius = box, float(radius)
        D = box.dimension
        self.kernel = Perceptron([3 * D, hidden, hidden, width], generator)
        ball = pi ** (D / 2) / gamma(D / 2 + 1) * self.radius**D
        self.measure = ball * 8 / ((D + 2) * (D + 4))                        # ∫ (1 − ρ²)² over the ball

    def kernels(self, X: Tensor, Y: Tensor, pairs: Pairs, weighted: bool, dtype: torch.dtype) -> Tensor:
        """ψ κ/|B_r| of every pair, shape (E, width), for X and Y (·, D) with the batch in the rows.

        Without weights to come, ψ κ/Σψ: the mean over the neighbours.
        """
        x, y = X[pairs.source], Y[pairs.target]
        step = (x - y) / self.radius
        seen = torch.cat([self.box.centred(y), self.box.centred(x), step], -1).to(dtype)
        window = (1 - (step**2).sum(-1)).clamp(min=0) ** 2
        if weighted:
            factor = window / self.measure
        else:
            total = torch.zeros(len(Y), dtype=window.dtype, device=window.device).index_add(0, pairs.target, window)
            factor = window / total.clamp(min=torch.finfo(window.dtype).tiny)[pairs.target]
        return factor.to(dtype)[:, None] * self.kernel(seen)

    def forward(self, f: Tensor, kernels: Tensor, pairs: Pairs, count: int, weights: Tensor | None = None) -> Tensor:
        """Sums over pairs: f (B, N, width), weights (1 or B, N, 1) → (B, count, width).

        For clouds of their own B = 1 and N counts all their points.
        """
        f = f if weights is None else f * weights
        terms = f.index_select(1, pairs.source) * kernels
        return terms.new_zeros(f.shape[0], count, f.shape[-1]).index_add(1, pairs.target, terms)


class GNO(nn.Module):
    """A graph neural operator: v ← GELU(W v + ∫κ v), `layers` times, between a lifting and a projection.

    Args:
        inputs: C_in.
        outputs: C_out.
        bounds: (low, high) per coordinate of the box that the points lie in; the coordinates enter beside the values.
        radius: r of the balls, in the unit of the coordinates; a point sees as far as layers · r.
        width: Channels.
        layers: Number of integrals.
        shared: One kernel for all of them, as in the source, or one each.
        hidden: Channels of the kernels' hidden layers.
        projection: Hidden channels of the projection.
        generator: Source of the weights; None: torch's own.

    Raises:
        ProblemError: A radius that is not positive.

    Source: Li et al. (2020), arXiv:2003.03485; see `Integral` for the differences.
    """

    def __init__(self, inputs: int, outputs: int, bounds: Bounds = ((0.0, 1.0), (0.0, 1.0)), radius: float = 0.2,
                 width: int = 32, layers: int = 4, shared: bool = False, hidden: int = 64, projection: int = 128,
                 generator: Generator | None = None):
        super().__init__()
        if not radius > 0:
            raise ProblemError(f"radius={radius} must be positive, in the unit of the coordinates")
        self.inputs, self.box, self.radius, self.layers = inputs, Box(bounds), radius, layers
        self.lift = Dense(inputs + self.box.dimension, width, generator)
        self.integrals = nn.ModuleList(Integral(width, self.box, radius, hidden, generator)
                                       for _ in range(1 if shared else layers))
        self.local = nn.ModuleList(Dense(width, width, generator) for _ in range(layers))
        self.project = Perceptron([width, projection, outputs], generator)
        self._kept: Kept[Pairs] = Kept(*KEPT)
        self._seen: Remembered[Arrays] = Remembered(KEPT[1])

    def plan(self, X: Tensor) -> Pairs:
        """The neighbours of points (N, D) or (B, N, D), kept for clouds that come back."""
        return self._kept((X.reshape(-1, X.shape[-1]),), lambda: near_pairs(X, X, self.radius, self._seen), X.shape)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None,
                plan: Pairs | None = None) -> Tensor:
        """Values at the points.

        Args:
            v: Shape (B, N, C_in).
            X: Points, shape (N, D) or (B, N, D).
            weights: Quadrature weights, shape (N,) or (B, N), with the measure of the domain as their sum. None: the
                mean over the neighbours, which follows the density of the points where that varies.
            plan: What `plan(X)` gave; needed under torch.compile, which cannot look into the search.

        Returns:
            Shape (B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit.
        """
        X = check_points(v, X, weights, self.inputs, self.box.dimension)
        pairs = self.plan(X) if plan is None else plan
        h = self.lift(with_coordinates(v, self.box.centred(X)))
        B, N, W = h.shape
        flat, w = X.reshape(-1, X.shape[-1]), packed(weights, X, h.dtype)
        integrals = [part for part in self.integrals if isinstance(part, Integral)]
        kernels = [part.kernels(flat, flat, pairs, w is not None, h.dtype) for part in integrals]
        h = h if X.ndim == 2 else h.reshape(1, B * N, W)
        for i, local in enumerate(self.local):
            k = i % len(kernels)
            h = local(h) + integrals[k](h, kernels[k], pairs, h.shape[1], w)
            if i + 1 < self.layers:
                h = nn.functional.gelu(h)
        return self.project(h.reshape(B, N, W))


class GINO(nn.Module):
    """A geometry-informed neural operator: points → ∫ → latent grid → FNO → ∫ → points.

    Args:
        inputs: C_in.
        outputs: C_out.
        bounds: (low, high) per coordinate: the box of the latent grid, and of the points.
        grid: Cells of the latent grid along each coordinate; its nodes are their centres.
        modes: m per coordinate, 2m − 1 ≤ grid + padding.
        radius: r of both integrals; None: 1.5 diagonals of a cell.
        width: Channels.
        layers: Layers of the FNO.
        latent_inputs: Channels that `forward` gets on the latent grid, such as a signed distance.
        projection: Hidden channels of the projection.
        generator: Source of the weights; None: torch's own.

    Raises:
        ProblemError: grid, modes and bounds of different lengths.

    Source: Li et al. (2023), arXiv:2309.00583, with quadrature weights; the last projection also sees the lifted values
        at its point, since input and output share their points here.
    """

    def __init__(self, inputs: int, outputs: int, bounds: Bounds = ((0.0, 1.0), (0.0, 1.0)),
                 grid: Sequence[int] = (32, 32), modes: Sequence[int] = (8, 8), radius: float | None = None,
                 width: int = 32, layers: int = 4, latent_inputs: int = 0, projection: int = 128,
                 generator: Generator | None = None):
        super().__init__()
        self.inputs, self.box, self.grid, self.latent_inputs = inputs, Box(bounds), tuple(grid), latent_inputs
        D = self.box.dimension
        padding = max(2, round(0.09 * max(self.grid)))
        if not len(self.grid) == len(modes) == D or any(2 * m - 1 > n + padding for m, n in
                                                        zip(modes, self.grid, strict=True)):
            raise ProblemError(f"grid={self.grid} and modes={tuple(modes)} must be one number for each of the {D} "
                               f"coordinates, with 2 modes − 1 ≤ grid + {padding}")
        cell = [size / n for size, n in zip(self.box.sizes, self.grid, strict=True)]
        self.cell = prod(cell)
        self.radius = 1.5 * sum(h * h for h in cell) ** 0.5 if radius is None else float(radius)
        self.lift = Dense(inputs + D, width, generator)
        self.enter, self.leave = (Integral(width, self.box, self.radius, generator=generator) for _ in range(2))
        self.mix = Dense(width + D + latent_inputs, width, generator)
        self.latent = LatentFNO(width, modes, layers, padding, generator)
        self.project = Perceptron([2 * width, projection, outputs], generator)
        self._kept: Kept[tuple[Pairs, Pairs]] = Kept(*KEPT)
        self._seen: Remembered[Arrays] = Remembered(4 * KEPT[1])

    def nodes(self, like: Tensor) -> Tensor:
        """Centres of the latent grid's cells, shape (Π n, D), the last coordinate fastest."""
        axes = [low + size * (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / n
                for low, size, n in zip(self.box.lows, self.box.sizes, self.grid, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))

    def plan(self, X: Tensor) -> tuple[Pairs, Pairs]:
        """Pairs from the points to the grid and back, kept for clouds that come back."""
        G = self.nodes(X)
        make = lambda: (near_pairs(X, G, self.radius, self._seen), near_pairs(G, X, self.radius, self._seen))
        return self._kept((X.reshape(-1, X.shape[-1]),), make, X.shape)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None,
                plan: tuple[Pairs, Pairs] | None = None, latent: Tensor | None = None) -> Tensor:
        """Values at the points.

        Args:
            v: Shape (B, N, C_in).
            X: Points, shape (N, D) or (B, N, D).
            weights: Quadrature weights, as for `GNO`.
            plan: What `plan(X)` gave; needed under torch.compile.
            latent: Channels at the latent grid's nodes, shape (B, n_1, …, n_d, latent_inputs).

        Returns:
            Shape (B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit.
        """
        X = check_points(v, X, weights, self.inputs, self.box.dimension)
        B, N, _ = v.shape
        expected = (B, *self.grid, self.latent_inputs)
        if (latent is None) != (self.latent_inputs == 0) or (latent is not None and latent.shape != expected):
            came = None if latent is None else tuple(latent.shape)
            raise ProblemError(f"channels on the latent grid have shape {came}, expected "
                               f"{expected if self.latent_inputs else 'none'}")
        into, out = self.plan(X) if plan is None else plan
        v0 = self.lift(with_coordinates(v, self.box.centred(X)))
        G = self.nodes(X)
        flat, w = X.reshape(-1, X.shape[-1]), packed(weights, X, v0.dtype)
        many = 1 if X.ndim == 2 else B                                      # copies of the grid's nodes in the rows
        GG = G.repeat(many, 1)
        pack = lambda h: h if X.ndim == 2 else h.reshape(1, -1, h.shape[-1])
        kernels = self.enter.kernels(flat, GG, into, w is not None, v0.dtype)
        g = self.enter(pack(v0), kernels, into, len(GG), w).reshape(B, len(G), -1)
        extra = [] if latent is None else [latent.reshape(B, len(G), -1).to(g.dtype)]
        g = self.mix(torch.cat([with_coordinates(g, self.box.centred(G)), *extra], -1))
        g = self.latent(g.reshape(B, *self.grid, -1)).reshape(B, len(G), -1)
        back = self.leave.kernels(GG, flat, out, True, g.dtype)
        h = self.leave(pack(g) * self.cell, back, out, len(flat)).reshape(B, N, -1)
        return self.project(torch.cat([h, v0.to(h.dtype)], -1))


def packed(weights: Tensor | None, X: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Weights as factors of values: (1 or B, N, 1) at shared points, (1, B N, 1) for clouds of their own."""
    if weights is None:
        return None
    w = weights.expand(X.shape[:2]).reshape(1, -1) if X.ndim == 3 else weights.reshape(-1, X.shape[0])
    return w[..., None].to(dtype)
