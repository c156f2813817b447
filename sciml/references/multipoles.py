"""Laplace's equation on a box minus disks, by harmonic functions fitted to the boundary.

    u = Σ_m Re aₘ (z/R)^m + Σ_disks [ b log|z−c| + Σ_k Re bₖ (r/(z−c))^k − mirror images ]

Each term is harmonic, so the error is largest on the boundary (maximum principle): the boundary
residual is a rigorous bound. With constant data on the box, u minus that constant continues as
an odd function across each side; the mirror images of the disks carry that continuation, and
without them the polynomials hardly converge, because the nearest images lie as close as the
corners.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .reference import Grid

Circle = tuple[float, float, float]


class Harmonic:
    """Fitted harmonic function: `u(x, y)`, and `residual`, the largest error on the boundary.

    Args:
        half: Half side of the square [−half, half]².
        disks: Circles (x, y, r) inside it.
        outer: Constant value on the square.
        inner: Constant value on the circles.
        degree: Highest power of the harmonic polynomials.
        order: Highest multipole of each disk.

    Source: method of Trefethen (2018), Series solution of Laplace problems,
    doi:10.1017/S1446181118000093; the mirror images are ours.
    """

    def __init__(
        self,
        half: float,
        disks: Sequence[Circle],
        outer: float,
        inner: float,
        degree: int = 44,
        order: int = 20,
    ):
        self.half, self.disks, self.outer, self.inner = half, disks, outer, inner
        self.degree, self.order = degree, order
        z, on_square = self._boundary(120)
        target = np.where(on_square, 0.0, inner - outer)
        self.coefficients = np.linalg.lstsq(self._matrix(z), target, rcond=1e-15)[0]
        z, on_square = self._boundary(317)
        error = self._matrix(z) @ self.coefficients - np.where(on_square, 0.0, inner - outer)
        self.residual = float(np.abs(error).max())

    def _boundary(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Complex points on the square and then on the circles, and which are on the square."""
        s = np.sin(np.pi * np.linspace(-0.5, 0.5, 2 * n)) * self.half
        square = np.concatenate(
            [s - 1j * self.half, s + 1j * self.half, -self.half + 1j * s, self.half + 1j * s]
        )
        turn = np.exp(2j * np.pi * np.arange(n) / n)
        circles = [x + 1j * y + r * turn for x, y, r in self.disks]
        z = np.concatenate([square, *circles])
        return z, np.arange(len(z)) < len(square)

    def _multipoles(self, z: np.ndarray, circle: Circle) -> np.ndarray:
        x, y, r = circle
        w = r / (z - (x + 1j * y))
        powers = np.cumprod(np.repeat(w[:, None], self.order, 1), axis=1)
        return np.column_stack([np.log(np.abs(w)), powers.real, powers.imag])

    def _matrix(self, z: np.ndarray) -> np.ndarray:
        """All terms at complex points z (N,), shape (N, terms)."""
        w = z / (np.sqrt(2) * self.half)
        powers = np.cumprod(np.repeat(w[:, None], self.degree, 1), axis=1)
        terms = [np.ones((len(z), 1)), powers.real, powers.imag]
        L = 2 * self.half
        # A function of the mirrored point is harmonic too. x → ±L − x mirrors in a side: odd
        # sign.
        mirror = lambda z, a: (a * L - z.real) + 1j * z.imag if a else z
        flip = lambda z, b: z.real + 1j * (b * L - z.imag) if b else z
        for circle in self.disks:
            terms.append(
                sum(
                    (-1) ** (abs(a) + abs(b)) * self._multipoles(flip(mirror(z, a), b), circle)
                    for a in (-1, 0, 1)
                    for b in (-1, 0, 1)
                )
            )
        return np.concatenate(terms, axis=1)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """u at points (N,), (N,), outside the disks."""
        return (
            self.outer
            + self._matrix(np.asarray(x, float) + 1j * np.asarray(y, float)) @ self.coefficients
        )


def poisson_holes(
    points: int = 81, scale: float = 1.0, degree: int = 44, order: int = 20
) -> Grid:
    """Poisson 2d-C of the suite (section 3).

        Δu = 0 on [−½, ½]² minus four disks of radius 0.1 at (±0.3, ±0.3)

    u = 1 on the square, 0 on the circles; stored at the nodes of a uniform grid that lie in the
    domain.

    Args:
        points: Nodes of that grid per direction.
        scale: Factor on all lengths.
        degree: Highest power of the harmonic polynomials.
        order: Highest multipole of each disk.
    """
    disks = [(0.3 * a, 0.3 * b, 0.1) for a in (-1, 1) for b in (-1, 1)]
    u = Harmonic(0.5, disks, 1.0, 0.0, degree, order)
    axis = np.linspace(-0.5, 0.5, points)
    X, Y = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    # A circle's own nodes stay in; rounding must not decide.
    keep = np.min([np.hypot(X - x, Y - y) - r for x, y, r in disks], axis=0) > -1e-9
    values = u(X[keep], Y[keep])
    accuracy = max(u.residual / np.sqrt(np.mean(values**2)), 1e-14)
    return Grid(
        {"x": scale * X[keep], "y": scale * Y[keep]},
        {"u": values},
        "scattered",
        float(accuracy),
        f"harmonic polynomials of degree {degree} and {order} multipoles per disk with mirror "
        f"images, "
        f"least squares on the boundary; largest boundary residual {u.residual:.1e} (bounds "
        f"the error)",
    )
