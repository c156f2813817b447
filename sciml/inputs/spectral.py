"""Gaussian random fields and Fourier series: sums of eigenfunctions of the Laplacian with independent coefficients."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from .function import RandomFunction, exponential
from .waves import KINDS, frequencies, waves

MODES = {0: 0, 1: 128, 2: 32, 3: 12}


@dataclass(frozen=True)
class Spectral(RandomFunction):
    """Sum of eigenfunctions φ_k of the Laplacian on a box.

        g = mean + Σ_k e_k ξ_k φ_k,   ξ_k independent, mean 0, variance 1;   f = g, e^g, or low (g < 0), high (g ≥ 0)

    The coefficients of a draw are ξ, zeros where e_k = 0. φ_k are orthonormal (`waves`), so the mean variance over the
    box is Σ e_k² / |Ω|; `std` is its root, also the pointwise one of "periodic".

    Args:
        kind: "periodic", "neumann" (cosines) or "dirichlet" (sines).
        modes: Highest index, a number or one by coordinate; None: 128, 32, 12 in one, two, three dimensions.
        mean: Added to the sum, before `positive` and `values`.
        positive: "exp": f = e^g.
        values: (low, high): f is low where g < 0, high where g ≥ 0.
    """

    kind: str = field(default="periodic", kw_only=True)
    modes: int | tuple[int, ...] | None = field(default=None, kw_only=True)
    mean: float = field(default=0.0, kw_only=True)
    positive: str | None = field(default=None, kw_only=True)
    values: tuple[float, float] | None = field(default=None, kw_only=True)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        live = self.scale(generator.device).reshape(-1) != 0
        return self._standard((count, live.numel()), generator) * live

    @property
    def std(self) -> float:
        """Root of the mean variance of g over the box, of the modes that are kept."""
        return math.sqrt(float((self.scale() ** 2).sum()) / math.prod(self._lengths()))

    def scale(self, device: torch.device | None = None) -> Tensor:
        """e_k, shape (K_1, …, K_D), float64."""
        pairs = zip(self._numbers(), self._lengths(), strict=True)
        squares = [frequencies(self.kind, m, length, device) ** 2 for m, length in pairs]
        total = reduce(lambda a, b: a[..., None] + b, squares, torch.zeros((), dtype=torch.float64, device=device))
        return self._deviation(total)

    @abstractmethod
    def _deviation(self, eigenvalues: Tensor) -> Tensor:
        """e_k at eigenvalues of −Δ."""

    def _standard(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """ξ: independent, mean 0, variance 1."""
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)

    def _weights(self, coefficients: Tensor) -> Tensor:
        scale = self.scale(coefficients.device)
        if coefficients.ndim != 2 or coefficients.shape[1] != scale.numel():
            raise ProblemError(f"{self._name} has {scale.numel()} coefficients for each function, not a tensor of "
                               f"shape {tuple(coefficients.shape)}; draw them with draw(count, generator)")
        return coefficients.reshape(-1, *scale.shape) * scale.to(coefficients)

    def _basis(self, d: int, x: Tensor, order: int) -> Tensor:
        assert self.sides is not None
        return waves(self.kind, self._numbers()[d], self._lengths()[d], x - self.sides[d][0], order)

    def _outer(self, inner: Callable[[tuple[int, ...]], Tensor], alpha: tuple[int, ...]) -> Tensor:
        if self.values is not None and any(alpha):
            raise ProblemError(f"{self._name} with values={self.values} jumps and has no derivatives; put it inside a "
                               "divergence, or take positive='exp' for a smooth coefficient")
        total = lambda order: inner(order) if any(order) else inner(order) + self.mean
        if self.positive is not None:
            return exponential(total, alpha)
        g = total(alpha)
        if self.values is None:
            return g
        low, high = self.values
        return torch.where(g >= 0, g.new_tensor(high), g.new_tensor(low))

    def _lengths(self) -> list[float]:
        self._bound()
        assert self.sides is not None
        return [hi - lo for lo, hi in self.sides]

    def _numbers(self) -> tuple[int, ...]:
        D = len(self._bound())
        if self.modes is None:
            return (MODES[D],) * D
        return (self.modes,) * D if isinstance(self.modes, int) else tuple(self.modes)

    def _check(self) -> None:
        look_up("kind of random field", self.kind, KINDS)
        numbers = (self.modes,) if isinstance(self.modes, int) else self.modes or (1,)
        if any(isinstance(m, bool) or not isinstance(m, int) or m < 1 for m in numbers):
            raise ProblemError(f"modes={self.modes!r} of {self._name} must be a whole number ≥ 1, or one by coordinate")
        if self.positive not in (None, "exp"):
            raise ProblemError(f"positive={self.positive!r} of {self._name} must be None or 'exp'")
        if self.values is not None and (len(self.values) != 2 or self.values[0] == self.values[1]):
            raise ProblemError(f"values={self.values!r} of {self._name} must be two different numbers (low, high)")
        if self.values is not None and self.positive:
            raise ProblemError(f"{self._name} is either two-phase (values=) or positive='exp', not both; drop one")

    def _check_bound(self) -> None:
        D = len(self._bound())
        if D == 0:
            raise ProblemError(f"{self._name} needs a coordinate in over=; take RandomNumber for a number")
        if not isinstance(self.modes, int) and self.modes is not None and len(self.modes) != D:
            raise ProblemError(f"modes={self.modes} of {self._name} must be one for each of {self.over}")

    def _positive(self, **numbers: float) -> None:
        for name, value in numbers.items():
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise ProblemError(f"{name}={value!r} of {self._name} must be a number > 0")


@dataclass(frozen=True)
class GaussianRandomField(Spectral):
    """Gaussian random field with covariance σ² (−Δ + τ²)^(−α) on a box.

        e_k = σ (ω_k² + τ²)^(−α/2),   ω_k² = Σ_d (2πk_d/L_d)² (periodic) or Σ_d (πk_d/L_d)²

    The constant mode is left out, as `mean` takes its place: for small τ it would dominate. Darcy's usual coefficient
    is ``GaussianRandomField("neumann", sigma=3, tau=3, alpha=2, values=(3, 12))``, the usual initial vorticity
    ``GaussianRandomField("periodic", sigma=7**1.5, tau=7, alpha=2.5)``.

    Args:
        kind: "periodic", "neumann" or "dirichlet".
        sigma: σ > 0.
        tau: τ ≥ 0: wavelengths longer than 2π/τ are equally strong.
        alpha: α > D/2; paths have about α − D/2 derivatives.
        modes, mean, positive, values, over: See `Spectral`.

    Raises:
        ProblemError: Arguments out of range; α ≤ D/2 when bound.

    Source: Li et al. (2021), arXiv:2010.08895, appendix A.3. Here the constant mode is left out for every kind.
    """

    kind: str = "periodic"
    sigma: float = 1.0
    tau: float = 5.0
    alpha: float = 2.0

    def _deviation(self, eigenvalues: Tensor) -> Tensor:
        e = torch.zeros_like(eigenvalues)
        live = eigenvalues > 0
        e[live] = self.sigma * (eigenvalues[live] + self.tau**2) ** (-self.alpha / 2)
        return e

    def _check(self) -> None:
        super()._check()
        self._positive(sigma=self.sigma, alpha=self.alpha)
        if not (isinstance(self.tau, (int, float)) and math.isfinite(self.tau) and self.tau >= 0):
            raise ProblemError(f"tau={self.tau!r} of {self._name} must be a number ≥ 0")

    def _check_bound(self) -> None:
        super()._check_bound()
        D = len(self._bound())
        if self.alpha <= D / 2:
            raise ProblemError(f"alpha={self.alpha:g} of {self._name} must be above {D / 2:g} over "
                               f"({', '.join(self._bound())}): below it draws are no functions; raise alpha")


@dataclass(frozen=True)
class Matern(Spectral):
    """Gaussian random field of a correlation length, a smoothness and a standard deviation.

        e_k ∝ (ω_k² + κ²)^(−(ν + D/2)/2),   κ = √(2ν)/ℓ

    scaled so that `std` is the root of the mean variance over the box, of the modes kept. Far from the boundary, for a
    box much longer than ℓ, the covariance is Matérn's, std² 2^(1−ν)/Γ(ν) (κr)^ν K_ν(κr). The constant mode is kept.

    Args:
        length: ℓ > 0, in the units of the coordinates.
        smoothness: ν > 0; 0.5 is the exponential covariance, paths have about ν derivatives.
        deviation: Standard deviation.
        kind, modes, mean, positive, values, over: See `Spectral`.

    Raises:
        ProblemError: Arguments out of range.

    Source: Lindgren, Rue & Lindström (2011), eq. 2, doi:10.1111/j.1467-9868.2011.00777.x.
    """

    length: float = 0.2
    smoothness: float = 1.5
    deviation: float = 1.0

    def _deviation(self, eigenvalues: Tensor) -> Tensor:
        lengths = self._lengths()
        kappa2 = 2 * self.smoothness / self.length**2
        e = (eigenvalues + kappa2) ** (-(self.smoothness + len(lengths) / 2) / 2)
        return e * (self.deviation * math.sqrt(math.prod(lengths)) / e.norm())

    def _check(self) -> None:
        super()._check()
        self._positive(length=self.length, smoothness=self.smoothness, deviation=self.deviation)


@dataclass(frozen=True)
class FourierSeries(Spectral):
    """Series of sines and cosines whose coefficients fall by a power of the index.

        e_k = amplitude √|Ω| |k|^(−decay),   |k|² = Σ k_d² ≥ 1

    so that in one dimension a cosine has the factor √2 amplitude k^(−decay) ξ_k. The constant mode is left
    out. ξ are normal, or uniform on (−√3, √3).

    Args:
        modes: Highest index by coordinate.
        decay: Power of |k|; 0: equal amplitudes.
        amplitude: > 0.
        law: "normal" or "uniform".
        kind, mean, positive, values, over: See `Spectral`.

    Raises:
        ProblemError: Arguments out of range.
    """

    modes: int | tuple[int, ...] | None = 8
    decay: float = 1.0
    amplitude: float = 1.0
    law: str = "normal"

    def _deviation(self, eigenvalues: Tensor) -> Tensor:
        unit = math.pi * (2 if self.kind == "periodic" else 1)
        pairs = zip(self._numbers(), self._lengths(), strict=True)
        squares = [(frequencies(self.kind, m, L, eigenvalues.device) * L / unit).round() ** 2 for m, L in pairs]
        k2 = reduce(lambda a, b: a[..., None] + b, squares)
        e = torch.zeros_like(k2)
        e[k2 > 0] = self.amplitude * math.sqrt(math.prod(self._lengths())) * k2[k2 > 0] ** (-self.decay / 2)
        return e

    def _standard(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        if self.law == "normal":
            return super()._standard(shape, generator)
        U = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
        return math.sqrt(3) * (2 * U - 1)

    def _check(self) -> None:
        super()._check()
        self._positive(amplitude=self.amplitude)
        look_up("law of coefficients", self.law, {"normal": 0, "uniform": 1})
        if not math.isfinite(self.decay):
            raise ProblemError(f"decay={self.decay!r} of {self._name} must be a finite number")
