"""Mesh movement without data: the map that spreads a monitor function evenly.

    x = ξ + ∇φ(ξ),   m(x) det(I + ∇²φ) = θ   in a box,   ∂φ/∂n = 0 on its faces,   θ = ∫ m / volume

Of all maps with that density it is the one that moves points the least (optimal transport), and as the gradient of a
convex function it never folds. φ is a cosine series on the centres of a grid, which has the boundary condition built
in: points on a face stay on it. Newton's method on r = log(m det/θ), whose linearisation

    δr = (I + ∇²φ)⁻¹ : ∇²δφ + (∇ log m)(x) · ∇δφ

is solved by GMRES with the inverse Laplacian as a preconditioner; steps are halved until det > 0 and |r| falls.

Source: Budd and Williams (2009), doi:10.1137/080716773; Budd, Russell and Walsh (2015), doi:10.1016/j.jcp.2014.11.007;
its neural form is `problems/monge_ampere.py`, after Yu et al. (2024), arXiv:2312.05583 (data-free mesh mover). They
relax φ in time; Newton's method here needs 5–15 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import pi

import torch
from torch import Tensor

from ..errors import ProblemError
from .geometry import determinant, inverse

Monitor = Callable[[Tensor], Tensor]
CHUNK = 2**24


@dataclass(frozen=True, eq=False)
class Movement:
    """The map x = ξ + ∇φ(ξ) of a box onto itself, with φ a cosine series.

    Args:
        low: Lower corner of the box, shape (D,).
        high: Upper corner, shape (D,).
        coefficients: Of φ, shape (n₁, …, n_D): Σ a_k Π cos(π k_i s_i), s = (ξ − low)/(high − low).
        residual: Standard deviation of m det over its mean, at the corners of the grid's cells: it was solved for at
            their centres.
        least: Smallest det(I + ∇²φ) at centres and corners.
        steps: Newton steps taken.
    """

    low: Tensor
    high: Tensor
    coefficients: Tensor
    residual: float = 0.0
    least: float = 1.0
    steps: int = 0

    def __call__(self, X: Tensor) -> Tensor:
        """Where points X of the box, shape (N, D), move: shape (N, D)."""
        return X + self._sum(X, [_unit(i, len(self.low)) for i in range(len(self.low))])

    def jacobian(self, X: Tensor) -> Tensor:
        """I + ∇²φ at points X, shape (N, D, D)."""
        D = len(self.low)
        pairs = [(i, j) for i in range(D) for j in range(i, D)]
        H = self._sum(X, [tuple(a + b for a, b in zip(_unit(i, D), _unit(j, D), strict=True)) for i, j in pairs])
        J = torch.eye(D, dtype=X.dtype).repeat(len(X), 1, 1)
        for (i, j), h in zip(pairs, H.unbind(1), strict=True):
            J[:, i, j] += h
            if i != j:
                J[:, j, i] += h
        return J

    def potential(self, X: Tensor) -> Tensor:
        """φ at points X, shape (N,); its mean over the box is zero."""
        return self._sum(X, [(0,) * len(self.low)])[:, 0]

    def _sum(self, X: Tensor, orders: Sequence[tuple[int, ...]]) -> Tensor:
        """Derivatives of φ of some orders at points, shape (N, len(orders)), in parts that fit the memory."""
        sides = self.high - self.low
        rows = max(1, CHUNK // self.coefficients.numel() * 16)
        found = []
        for part in X.split(rows):
            s = (part - self.low) / sides
            tables = [[_table(s[:, i], n, k) / sides[i] ** k for k in range(3)]
                      for i, n in enumerate(self.coefficients.shape)]
            columns = []
            for order in orders:
                S = tables[0][order[0]] @ self.coefficients.reshape(self.coefficients.shape[0], -1)
                for i in range(1, len(order)):
                    n = self.coefficients.shape[i]
                    S = torch.einsum("qn,qnr->qr", tables[i][order[i]], S.view(len(part), n, -1))
                columns.append(S[:, 0])
            found.append(torch.stack(columns, 1))
        return torch.cat(found)


def equidistribute(monitor: Monitor, bounds: Sequence[tuple[float, float]], cells: int | Sequence[int] = 64, *,
                   tolerance: float = 1e-8, max_steps: int = 60) -> Movement:
    """Solve the Monge–Ampère equation for a monitor on a box.

    Args:
        monitor: m > 0 by points (N, D): shape (N,). Cells of the moved mesh have volumes in proportion to 1/m.
        bounds: (low, high) by coordinate; two or three.
        cells: Grid cells by coordinate. Layers of m should span a few of them after the movement.
        tolerance: Of the root mean square of r.
        max_steps: Of Newton's method in all. A monitor too steep for a direct start is approached through m^τ.

    Returns:
        The map. Its `residual` says how even the result is: large, take more cells. `least` > 0 says that it does not
        fold; `move` guarantees that for a mesh, whatever the map.

    Raises:
        ProblemError: The monitor is not positive and finite, or there are not two or three bounds.
    """
    D = len(bounds)
    if D not in (2, 3) or any(not lo < hi for lo, hi in bounds):
        raise ProblemError(f"a mesh is moved in a box with two or three bounds low < high, got {list(bounds)}")
    counts = [cells] * D if isinstance(cells, int) else list(cells)
    grid = _Grid(torch.tensor(bounds, dtype=torch.float64), counts)
    phi, tau, stride, used = torch.zeros(counts, dtype=torch.float64), 0.0, 1.0, 0
    while tau < 1 and used < max_steps and stride > 1e-3:
        target = min(1.0, tau + stride)
        loose = tolerance if target == 1 else 1e-2
        found, steps, done = _newton(grid, monitor, target, phi, loose, max_steps - used)
        used += steps
        if done or target == 1 and steps and _size(grid, monitor, 1.0, found) < _size(grid, monitor, 1.0, phi) / 100:
            phi, tau, stride = found, target, min(2 * stride, 1.0)
        else:
            stride /= 2
    if tau < 1:                                      # as even as it got, rather than nothing
        phi = _newton(grid, monitor, 1.0, phi, tolerance, 5)[0]
    # Judged between the points where r vanishes: there it shows whether the grid resolves the map.
    made = Movement(grid.low, grid.high, phi)
    X = torch.cartesian_prod(*[torch.linspace(float(lo), float(hi), n + 1, dtype=torch.float64)
                               for lo, hi, n in zip(grid.low, grid.high, counts, strict=True)])
    det = determinant(made.jacobian(X))
    even = _log(monitor, torch.minimum(torch.maximum(made(X), grid.low), grid.high)).exp() * det
    least = min(float(det.min()), float(grid.state(monitor, phi)[1].min()))
    return replace(made, residual=float(even.std() / even.mean()), least=least, steps=used)


class _Grid:
    """Centres of n₁ × … × n_D cells with cosine series on them."""

    def __init__(self, bounds: Tensor, counts: Sequence[int]):
        self.low, self.high = bounds.unbind(1)
        self.counts = tuple(counts)
        self.sides = self.high - self.low
        axes = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in counts]
        self.tables = [[_table(s, n, k) / L**k for k in range(3)]
                       for s, n, L in zip(axes, counts, self.sides, strict=True)]
        self.back = [2 * t[0].T / n * torch.where(torch.arange(n) == 0, 0.5, 1.0)[:, None]
                     for t, n in zip(self.tables, counts, strict=True)]
        self.X = torch.stack(torch.meshgrid(*[lo + L * s for lo, L, s in zip(self.low, self.sides, axes, strict=True)],
                                            indexing="ij"), -1).reshape(-1, len(counts))
        waves = [(pi * torch.arange(n, dtype=torch.float64) / L) ** 2 for n, L in zip(counts, self.sides, strict=True)]
        self.waves = torch.stack(torch.meshgrid(*waves, indexing="ij"), -1).sum(-1)

    @cached_property
    def orders(self) -> list[tuple[int, ...]]:
        """First derivatives, then second ones by i ≤ j."""
        D = len(self.counts)
        units = [_unit(i, D) for i in range(D)]
        return units + [tuple(a + b for a, b in zip(units[i], units[j], strict=True))
                        for i in range(D) for j in range(i, D)]

    def derivatives(self, a: Tensor) -> Tensor:
        """Of the series with coefficients a: shape (n₁⋯n_D, D + D(D + 1)/2), in the sequence of `orders`."""
        return torch.stack([_apply([t[k] for t, k in zip(self.tables, o, strict=True)], a).reshape(-1)
                            for o in self.orders], 1)

    def series(self, values: Tensor) -> Tensor:
        """Coefficients of values on the grid (the discrete cosine transform)."""
        return _apply(self.back, values.view(self.counts))

    def solve_laplace(self, r: Tensor) -> Tensor:
        """Coefficients of Δ⁻¹ r, with mean zero."""
        a = self.series(r) / -self.waves.clamp(min=1e-300)
        a.view(-1)[0] = 0
        return a

    def state(self, monitor: Monitor, a: Tensor, tau: float = 1.0):
        """r (N,) with mean zero, det (N,), I + ∇²φ (N, D, D) and positions x (N, D)."""
        D = len(self.counts)
        d = self.derivatives(a)
        x = torch.minimum(torch.maximum(self.X + d[:, :D], self.low), self.high)
        J = torch.eye(D, dtype=d.dtype) + _symmetric(d[:, D:], D)
        det = determinant(J)
        r = tau * _log(monitor, x) + det.clamp(min=1e-300).log()
        return r - r.mean(), det, J, x


def _newton(grid: _Grid, monitor: Monitor, tau: float, a: Tensor, tolerance: float, max_steps: int
            ) -> tuple[Tensor, int, bool]:
    """Coefficients of φ for m^τ, steps taken, and whether r is below the tolerance."""
    D = len(grid.counts)
    r, det, J, x = grid.state(monitor, a, tau)
    for step in range(max_steps):
        size = float(r.square().mean().sqrt())
        if size < tolerance:
            return a, step, True
        slope = tau * _slope(monitor, x)
        weights = inverse(J, det)

        def apply(v: Tensor, slope: Tensor = slope, weights: Tensor = weights) -> Tensor:
            d = grid.derivatives(grid.solve_laplace(v))
            out = (weights * _symmetric(d[:, D:], D)).sum((1, 2)) + (slope * d[:, :D]).sum(1)
            return out - out.mean()

        change = grid.solve_laplace(gmres(apply, -r, min(0.1, size), 60))
        length = 1.0
        while True:
            trial = a + length * change
            new = grid.state(monitor, trial, tau)
            fell = float(new[0].square().mean().sqrt()) < (1 - 1e-4 * length) * size
            if bool((new[1] > 0).all()) and positive(new[2]) and fell:
                break
            length /= 2
            if length < 1e-3:
                return a, step + 1, False
        a = trial
        r, det, J, x = new
    return a, max_steps, float(r.square().mean().sqrt()) < tolerance


def gmres(apply: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, size: int) -> Tensor:
    """x with |A x − b| ≤ tolerance |b|, or the best of a Krylov space of some size.

    Source: Saad and Schultz (1986), doi:10.1137/0907058, with orthogonalisation done twice.
    """
    beta = b.norm()
    if beta == 0:
        return torch.zeros_like(b)
    V = b.new_zeros(size + 1, len(b))
    H = b.new_zeros(size + 1, size)
    V[0] = b / beta
    for k in range(size):
        w = apply(V[k])
        for _ in range(2):
            h = V[:k + 1] @ w
            w = w - h @ V[:k + 1]
            H[:k + 1, k] += h
        H[k + 1, k] = w.norm()
        e = torch.zeros(k + 2, dtype=b.dtype)
        e[0] = beta
        y = torch.linalg.lstsq(H[:k + 2, :k + 1], e[:, None]).solution[:, 0]
        if (H[:k + 2, :k + 1] @ y - e).norm() <= tolerance * beta or H[k + 1, k] < 1e-14 * beta:
            break
        V[k + 1] = w / H[k + 1, k]
    return y @ V[:k + 1]


def positive(J: Tensor) -> bool:
    """Whether all of the symmetric matrices (N, D, D) are positive definite, by their leading minors."""
    return all(bool((determinant(J[:, :k, :k]) > 0).all()) for k in range(1, J.shape[1] + 1))


def _size(grid: _Grid, monitor: Monitor, tau: float, a: Tensor) -> float:
    return float(grid.state(monitor, a, tau)[0].square().mean().sqrt())


def _log(monitor: Monitor, x: Tensor) -> Tensor:
    """log m, checked."""
    m = monitor(x)
    if m.shape != x.shape[:1]:
        raise ProblemError(f"the monitor has shape {tuple(m.shape)} for {len(x)} points, expected one value per point")
    if not bool((torch.isfinite(m) & (m > 0)).all()):
        raise ProblemError(f"the monitor has values from {float(m.min()):.3g} to {float(m.max()):.3g}, expected "
                           "positive finite ones; add a constant to it")
    return m.log()


def _slope(monitor: Monitor, x: Tensor) -> Tensor:
    """∇ log m at points (N, D)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = monitor(x).log().sum()
        if not value.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(value, x)[0]


def _symmetric(columns: Tensor, D: int) -> Tensor:
    """Matrices (N, D, D) from their entries i ≤ j by rows, shape (N, D(D + 1)/2)."""
    number = torch.zeros(D, D, dtype=torch.long)
    for k, (i, j) in enumerate((i, j) for i, j in product(range(D), repeat=2) if i <= j):
        number[i, j] = number[j, i] = k
    return columns[:, number]


def _table(s: Tensor, n: int, order: int) -> Tensor:
    """Derivatives of cos πks, k < n, at s: shape (N, n)."""
    k = pi * torch.arange(n, dtype=s.dtype)
    angle = s[:, None] * k
    return (angle.cos(), -k * angle.sin(), -k * k * angle.cos())[order]


def _apply(tables: Sequence[Tensor], a: Tensor) -> Tensor:
    """A matrix along every axis."""
    for i, t in enumerate(tables):
        a = torch.movedim(torch.tensordot(t, a, dims=([1], [i])), 0, i)
    return a.contiguous()


def _unit(i: int, D: int) -> tuple[int, ...]:
    return tuple(int(i == j) for j in range(D))
