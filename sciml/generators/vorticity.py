"""Two-dimensional incompressible flow on a torus, in vorticity form, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ProblemError
from .march import Step, march
from .solver import BatchSolver, Fields, batches, record_times, spacing


def diagonal(x: Tensor, y: Tensor) -> Tensor:
    """f = 0.1 (sin 2π(x + y) + cos 2π(x + y)), the usual forcing of the unit torus."""
    angle = 2 * math.pi * (x + y)
    return 0.1 * (angle.sin() + angle.cos())


@dataclass(frozen=True)
class Vorticity(BatchSolver):
    """Navier–Stokes equations in vorticity form, periodic, Fourier in space, integrating-factor RK4 in time.

        ω_t + u·∇ω = ν Δω + f,   u = (ψ_y, −ψ_x),   −Δψ = ω;   products are cut at |index| < n/3 on each axis

    Args:
        initial: Name of ω₀.
        unknown: Name of ω.
        nu: ν > 0, or the name of an input that is a number for each instance.
        forcing: Function of x and y, the name of an input function, or None. Its mean is left out.
        final: Time of the solution where no times are asked for.
        dt: Largest time step; halved while it exceeds 2.8/(k_max (max|u| + max|v|)), since advection is explicit.

    Raises:
        ProblemError: Numbers that are not positive.

    Note:
        On the unit torus with the usual forcing and ν = 1e-3, 64² nodes and dt = 0.05 are exact to 2e-9 at t = 20 (two
        draws, `accuracy`). Smaller ν needs more nodes and a smaller step: ask `accuracy` before a long run.

    Source: the problem of Li et al. (2021), arXiv:2010.08895, section 5.3; there advection is by explicit Euler.
    """

    initial: str = "w0"
    unknown: str = "w"
    nu: float | str = 1e-3
    forcing: Callable[[Tensor, Tensor], Tensor] | str | None = diagonal
    final: float = 1.0
    dt: float = 0.05
    periodic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.dt > 0 and self.final > 0 and (isinstance(self.nu, str) or self.nu > 0)):
            raise ProblemError(f"Vorticity needs nu, final and dt above 0, not {self.nu!r}, {self.final!r}, "
                               f"{self.dt!r}")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for name in (self.initial, self.nu, self.forcing) if isinstance(name, str))

    def finer(self) -> Vorticity:
        return replace(self, dt=self.dt / 2)

    @torch.no_grad()
    def solve(self, inputs: Fields, axes: Fields, times: Tensor | None = None) -> dict[str, Tensor]:
        steps = spacing(axes, (2,), "Vorticity")
        shape = tuple(len(x) for x in axes.values())
        w0 = self._input(inputs, self.initial, shape)
        nu = self._number(self.nu, inputs, w0)
        force = self._force(inputs, axes, shape).to(w0)
        at = record_times(times, self.final)
        out = w0.new_empty(*w0.shape, len(at))
        units = [2 * math.pi / (n * h) for n, h in zip(shape, steps, strict=True)]
        for part in batches(len(w0), math.prod(shape), w0.device):
            own = [f[part] if len(f) > 1 else f for f in (nu, force)]
            for k, w in enumerate(self._march(w0[part], own[0], own[1], units, at)):
                out[part, ..., k] = torch.fft.irfft2(w, shape)
        return {self.unknown: out if times is not None else out[..., 0]}

    def _force(self, inputs: Fields, axes: Fields, shape: tuple[int, ...]) -> Tensor:
        if isinstance(self.forcing, str):
            return self._input(inputs, self.forcing, shape)
        if self.forcing is None:
            return torch.zeros(1, *shape, dtype=torch.float64)
        x, y = torch.meshgrid(*(x.to(torch.float64) for x in axes.values()), indexing="ij")
        return self.forcing(x, y)[None]

    def _march(self, w0: Tensor, nu: Tensor, force: Tensor, units: list[float], times: list[float]) -> list[Tensor]:
        nx, ny = shape = tuple(w0.shape[1:])
        i = torch.fft.fftfreq(nx, 1 / nx, dtype=w0.dtype, device=w0.device)[:, None]
        j = torch.arange(ny // 2 + 1, dtype=w0.dtype, device=w0.device)
        kx, ky, mask = units[0] * i, units[1] * j, (i.abs() < nx / 3) & (j < ny / 3)
        k2 = kx**2 + ky**2
        inverse = torch.where(k2 > 0, 1 / k2, 0.0)
        to_uvxy = torch.stack([1j * ky * inverse, -1j * kx * inverse, 1j * kx.expand_as(k2), 1j * ky.expand_as(k2)])
        f = torch.fft.rfft2(force)
        f[..., 0, 0] = 0

        def nonlinear(w: Tensor) -> Tensor:
            u, v, wx, wy = torch.fft.irfft2(to_uvxy[:, None] * w, shape)
            return f - mask * torch.fft.rfft2(u * wx + v * wy)

        def limit(w: Tensor) -> float:
            u, v = torch.fft.irfft2(to_uvxy[:2, None] * w, shape)
            speed = float((u.abs() * units[0] * nx / 3 + v.abs() * units[1] * ny / 3).max())
            return 2.8 / (speed + 1e-300)

        return march(lambda h: factored_rk4(-nu * k2, nonlinear, h), torch.fft.rfft2(w0), times, self.dt, limit)


def factored_rk4(L: Tensor, nonlinear: Step, h: float) -> Step:
    """One step of w′ = L w + N(w) by the classical Runge–Kutta method in e^{−tL} w, of fourth order.

        k₁ = N(w), k₂ = N(H(w + h/2 k₁)), k₃ = N(Hw + h/2 k₂), k₄ = N(Ew + hH k₃),
        w⁺ = Ew + h/6 (E k₁ + 2H(k₂ + k₃) + k₄),   E = e^{hL}, H = e^{hL/2}

    Args:
        L: Diagonal, broadcasts with w.
        nonlinear: N.
        h: Step.
    """
    E, H = (h * L).exp(), (h * L / 2).exp()

    def step(w: Tensor) -> Tensor:
        k1 = nonlinear(w)
        Hw, Ew = H * w, E * w
        k2 = nonlinear(Hw + (h / 2) * H * k1)
        k3 = nonlinear(Hw + (h / 2) * k2)
        k4 = nonlinear(Ew + h * H * k3)
        return Ew + (h / 6) * (E * k1 + 2 * H * (k2 + k3) + k4)

    return step
