"""Geo-FNO: points are deformed onto a torus, transformed to a latent grid, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError
from ..kept import Kept
from .latent import LatentFNO
from .nudft import KEPT, NUDFT, Waves
from .pointwise import Bounds, Box, Dense, Perceptron, check_points, with_coordinates

MARGIN = 0.1                               # of the torus, left free between the domain and its periodic copy


class Deformation(nn.Module):
    """φ(ξ) = c + (ξ − c) ⊙ (1 + net(ξ, code)): a learnt map of the unit box, the identity plus a small start.

    Args:
        dimension: D.
        code: Numbers of a shape that the map may depend on.
        width: Of the network's four layers.
        generator: Source of the weights; None: torch's own.

    Source: Li et al. (2023), arXiv:2207.05209: four layers of 128, tanh; here GELU, sines and cosines of ξ as further
        inputs, the centre c of the box as the origin, and a last layer that starts at zero.
    """

    def __init__(self, dimension: int, code: int = 0, width: int = 128, generator: Generator | None = None):
        super().__init__()
        self.net = Perceptron([3 * dimension + code, *[width] * 3, dimension], generator)
        with torch.no_grad():
            self.net.layers[-1].weight.zero_()          # type: ignore[operator]
            self.net.layers[-1].bias.zero_()            # type: ignore[operator]

    def forward(self, Z: Tensor, code: Tensor | None = None) -> Tensor:
        """Unit coordinates (…, N, D) and a code (B, P) → places (…, N, D)."""
        angle = 2 * torch.pi * Z
        features = torch.cat([Z, torch.sin(angle), torch.cos(angle)], -1)
        if code is not None:
            features = features.expand(code.shape[0], *features.shape[-2:])
            features = torch.cat([features, code[:, None].expand(-1, features.shape[1], -1)], -1)
        return 0.5 + (Z - 0.5) * (1 + self.net(features).to(Z.dtype))


class GeoFNO(nn.Module):
    """A Fourier neural operator on points: lifted values → NUDFT → latent grid → NUDFT → points.

        u = Q(W v₀ + B x + NUDFT₂(FNO(GELU(NUDFT₁ v₀ + B′ξ)))),   v₀ = P(v, x),   both transforms at φ(x)

    Args:
        inputs: C_in.
        outputs: C_out.
        bounds: (low, high) per coordinate of the box that the points lie in; its image is the torus less a margin of
            0.1.
        modes: m per coordinate.
        grid: Nodes of the latent grid along each coordinate, 2m − 1 at least.
        width: Channels.
        layers: Layers on the latent grid.
        deformation: "learned"; "none"; or a map of your own, a function or module of X (N, D) or (B, N, D) to places on
            the unit torus (bounds are then used for the input channels only).
        code: P numbers of a shape, given to a learnt deformation and to each point; 0: none.
        projection: Hidden channels of Q.
        lifting: Hidden channels of P; 0: P is linear, as published. Layers before the first transform see products of
            channels that no layer after it can, such as which points lie at a boundary.
        generator: Source of the weights; None: torch's own.

    Raises:
        ProblemError: modes and bounds of different lengths, or a latent grid too coarse for them.

    Source: Li et al. (2023), arXiv:2207.05209. Ours has quadrature weights, the right half spectrum, and the term W v₀.

    Note:
        The learnt deformation depends on the seed: 4.31 ± 2.24 % over five on elasticity in Liu et al. (2023).
    """

    def __init__(self, inputs: int, outputs: int, bounds: Bounds = ((0.0, 1.0), (0.0, 1.0)),
                 modes: Sequence[int] = (12, 12), grid: Sequence[int] = (40, 40), width: int = 32, layers: int = 3,
                 deformation: str | Callable[[Tensor], Tensor] = "learned", code: int = 0, projection: int = 128,
                 lifting: int = 0, generator: Generator | None = None):
        super().__init__()
        self.inputs, self.box, self.code, self.grid = inputs, Box(bounds), code, tuple(grid)
        D = self.box.dimension
        if not len(modes) == len(self.grid) == D or any(n < 2 * m - 1 for n, m in zip(grid, modes, strict=True)):
            raise ProblemError(f"modes={tuple(modes)} and grid={self.grid} must be one number for each of the {D} "
                               "coordinates, with grid ≥ 2 modes − 1")
        if isinstance(deformation, str) and deformation not in ("learned", "none"):
            raise ProblemError(f"deformation={deformation!r} must be 'learned', 'none', or a function of the points")
        self.deformation: Callable | None = None if deformation == "none" else \
            Deformation(D, code, generator=generator) if deformation == "learned" else deformation  # type: ignore
        self.own = deformation not in ("learned", "none")
        channels = inputs + D + code
        self.lift = Perceptron([channels, lifting, width], generator) if lifting else Dense(channels, width, generator)
        waves = Waves(modes)
        self.enter, self.leave = (NUDFT(width, width, waves, generator) for _ in range(2))
        self.still = not isinstance(self.deformation, nn.Module)
        self._places: Kept[Tensor] = Kept(*KEPT)
        self._lattices: dict[torch.device, Tensor] = {}
        self.latent = LatentFNO(width, modes, layers, generator=generator)
        self.at_grid, self.at_points = Dense(D, width, generator), Dense(D, width, generator)
        self.skip = Dense(width, width, generator)
        self.project = Perceptron([width, projection, outputs], generator)

    def places(self, X: Tensor, code: Tensor | None = None) -> Tensor:
        """φ(X) on the unit torus, the shape of X (with a code: (B, N, D))."""
        return self._places((X.reshape(-1, X.shape[-1]),), lambda: self._place(X, code), X.shape) if self.still else \
            self._place(X, code)

    def _place(self, X: Tensor, code: Tensor | None) -> Tensor:
        if self.own:
            assert self.deformation is not None
            return self.deformation(X)
        Z = self.box.unit(X)
        if self.deformation is not None:
            Z = self.deformation(Z, code)
        return MARGIN / 2 + (1 - MARGIN) * Z

    def _lattice(self, device: torch.device) -> Tensor:
        """The latent grid's nodes, the same tensor at every call, so that its tables are made once."""
        if device not in self._lattices:
            self._lattices[device] = lattice(self.grid, device)
        return self._lattices[device]

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None,
                code: Tensor | None = None) -> Tensor:
        """Values at the points.

        Args:
            v: Shape (B, N, C_in).
            X: Points, shape (N, D) or (B, N, D).
            weights: Quadrature weights, shape (N,) or (B, N); None: equal ones.
            code: Numbers of the shape, (B, P), if the model has a code.

        Returns:
            Shape (B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit.
        """
        X = check_points(v, X, weights, self.inputs, self.box.dimension)
        if (0 if code is None else code.shape[-1]) != self.code:
            raise ProblemError(f"the model has a code of {self.code} numbers per shape, got "
                               f"{'none' if code is None else tuple(code.shape)}; pass code= of shape (B, {self.code})")
        Z, P = self.box.centred(X), self.places(X, code)
        lifted = with_coordinates(v, Z)
        if code is not None:
            lifted = torch.cat([lifted, code[:, None].expand(-1, v.shape[1], -1)], -1)
        v0 = self.lift(lifted)
        G = self._lattice(v.device)
        h = nn.functional.gelu(self.enter(v0, P, weights, G) + self.at_grid(2 * G.to(v0.dtype) - 1))
        h = self.latent(h.reshape(len(v), *self.grid, -1)).reshape(len(v), len(G), -1)
        h = self.leave(h, G, None, P)
        return self.project(h + self.skip(v0) + self.at_points(Z.to(v0.dtype)))


def lattice(grid: Sequence[int], device: torch.device) -> Tensor:
    """Nodes i/n of a uniform grid of the unit torus, shape (Π n, D), the last coordinate fastest."""
    axes = [torch.arange(n, dtype=torch.float64, device=device) / n for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
