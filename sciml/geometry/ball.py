"""Balls of any dimension, disks included, and their spheres."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ProblemError
from ..points import Points
from .domain import Domain, check_names, default_space
from .patch import Drawn
from .region import Region
from .unit import gauss, per_axis


class Ball(Domain):
    """Ball {x : |x − c| < R} in D ≥ 2 dimensions.

    Its boundary is one piece: ``"circle"`` in two dimensions, ``"sphere"`` in more.

    Args:
        center: c, D numbers.
        radius: R > 0.
        names: The D coordinate names.
        name: What it is called in combinations.

    Raises:
        ProblemError: A radius that is not positive and finite, or a center that does not fit
            the names.
    """

    def __init__(
        self,
        center: Sequence[float] = (0.0, 0.0, 0.0),
        radius: float = 1.0,
        names: Sequence[str] = ("x", "y", "z"),
        name: str | None = None,
    ):
        names = check_names(names)
        c, R, D = tuple(float(v) for v in center), float(radius), len(names)
        if D < 2:
            raise ProblemError(
                "a ball needs at least two coordinates; in one dimension use Interval"
            )
        if len(c) != D:
            raise ProblemError(
                f"center has {len(c)} numbers, expected {D} for the coordinates "
                f"{', '.join(names)}"
            )
        if not (math.isfinite(R) and R > 0 and all(map(math.isfinite, c))):
            raise ProblemError(
                f"got radius {R} and center {c}, expected a positive radius and finite numbers"
            )
        self._set(
            names=names,
            center=c,
            radius=R,
            space=default_space(names),
            name=name,
            bounds=tuple((v - R, v + R) for v in c),
            kind="disk" if D == 2 else "ball",
            chart_dim=1 + _direction_dim(D),
            chart_measure=sphere_area(D) * R**D / D,
        )

    def chart(self, U: Tensor) -> Drawn:
        r = self.radius * U[:, :1] ** (1 / len(self.names))
        return Drawn(U.new_tensor(self.center) + r * directions(U[:, 1:], len(self.names)))

    def distance(self, X: Tensor) -> Tensor:
        return (X - X.new_tensor(self.center)).norm(dim=1) - self.radius

    def level(self, coords: Mapping):
        """φ = (R² − |x − c|²) / 2R, which has |∇φ| = 1 on the sphere and no square root."""
        square = sum(
            (coords[name] - c) * (coords[name] - c)
            for name, c in zip(self.names, self.center, strict=True)
        )
        return (self.radius**2 - square) / (2 * self.radius)

    @property
    def gaussian(self):
        return len(self.names) <= 3

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Gauss in the radius (and in cos of the polar angle) × three times as many equal angles, 3 kᴰ ≤ n or k = 1.

        Quasi-random for D ≥ 4.
        """
        D = len(self.names)
        if not self.gaussian:
            return super().quadrature(n, dtype=dtype, device=device)
        # Angles oscillate over a whole turn where the radius runs over half a line: three times
        # as many points.
        k = per_axis(n // 3, D)
        u, w = gauss(k)
        turns = 3 * k
        v = (torch.arange(turns, dtype=torch.float64) + 0.5) / turns
        axes = (
            [(u, w * D * u ** (D - 1))]
            + [(u, w)] * (D - 2)
            + [(v, torch.full_like(v, 1 / turns))]
        )
        U = torch.cartesian_prod(*[a for a, _ in axes])
        W = torch.cartesian_prod(*[b for _, b in axes]).prod(1)
        X = U.new_tensor(self.center) + self.radius * U[:, :1] * directions(U[:, 1:], D)
        return Points(X, self.names, self.measure * W / W.sum()).to(dtype=dtype, device=device)

    def _make_pieces(self) -> dict[str, Region]:
        return {"circle" if len(self.names) == 2 else "sphere": Sphere(self)}


def Disk(
    center: Sequence[float] = (0.0, 0.0),
    radius: float = 1.0,
    names: Sequence[str] = ("x", "y"),
    name: str | None = None,
) -> Ball:
    """Disk {(x, y) : |(x, y) − c| < R}; its boundary piece is ``"circle"``.

    Raises:
        ProblemError: As `Ball`; or not exactly two coordinates.
    """
    if len(check_names(names)) != 2:
        raise ProblemError(
            f"a Disk has two coordinates, got {len(check_names(names))}; use Ball"
        )
    return Ball(center, radius, names, name)


class Sphere(Region):
    """Boundary of a ball.

    Args:
        ball: The ball.
        outside: The sphere as seen from outside.
    """

    def __init__(self, ball: Ball, outside: bool = False):
        D = len(ball.names)
        self._set(
            ball=ball,
            outside=outside,
            label=ball.name or ("circle" if D == 2 else "sphere"),
            names=ball.names,
            space=ball.space,
            across=ball.names,
            chart_dim=_direction_dim(D),
            chart_measure=sphere_area(D) * ball.radius ** (D - 1),
        )

    def chart(self, U: Tensor) -> Drawn:
        n = directions(U, len(self.names))
        return Drawn(
            U.new_tensor(self.ball.center) + self.ball.radius * n, -n if self.outside else n
        )

    @property
    def gaussian(self):
        return len(self.names) <= 3

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """n equal angles; in 3-D Gauss in the cosine × twice as many angles, 2 k² ≤ n or k = 1; Sobol for D ≥ 4."""
        if not self.gaussian:
            return super().quadrature(n, dtype=dtype, device=device)
        k = per_axis(n // 2, 2)
        turns = n if len(self.names) == 2 else 2 * k
        v = (torch.arange(turns, dtype=torch.float64) + 0.5) / turns
        u, w = gauss(k)
        U = v[:, None] if len(self.names) == 2 else torch.cartesian_prod(u, v)
        W = torch.ones(turns, dtype=torch.float64) if len(self.names) == 2 else w.repeat_interleave(turns)
        found = replace(self._points(self.chart(U)), weights=self.measure * W / W.sum())
        return found.to(dtype=dtype, device=device)

    def contains(self, X: Tensor) -> Tensor:
        return self.ball.distance(X).abs() <= self.ball.tolerance(X.dtype)

    def normal(self, X: Tensor) -> Tensor:
        n = torch.nn.functional.normalize(X - X.new_tensor(self.ball.center), dim=1)
        return -n if self.outside else n

    def level(self, coords: Mapping):
        phi = self.ball.level(coords)
        return -phi if self.outside else phi

    def flipped(self) -> Region:
        return Sphere(self.ball, not self.outside)


def sphere_area(D: int) -> float:
    """Area of the unit sphere in D dimensions, 2 π^{D/2} / Γ(D/2)."""
    return 2 * math.pi ** (D / 2) / math.gamma(D / 2)


def directions(U: Tensor, D: int) -> Tensor:
    """Unit vectors, uniform on the sphere for uniform U, shape (N, D).

    The angle in 2-D; cosine and angle in 3-D (Archimedes); D normal deviates divided by their
    norm beyond.
    """
    if D > 3:
        eps = torch.finfo(U.dtype).eps
        z = torch.special.ndtri(U.clamp(eps, 1 - eps))
        z[:, 0] += (
            (z == 0).all(1).to(z)
        )  # the midpoint of a grid has no direction: take the first axis
        return torch.nn.functional.normalize(z, dim=1)
    angle = 2 * math.pi * U[:, -1]
    plane = torch.stack([angle.cos(), angle.sin()], 1)
    if D == 2:
        return plane
    z = 2 * U[:, :1] - 1
    return torch.cat([(1 - z * z).sqrt() * plane, z], 1)


def _direction_dim(D: int) -> int:
    """Number of unit coordinates that `directions` takes."""
    return D - 1 if D <= 3 else D
