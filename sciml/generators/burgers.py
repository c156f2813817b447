"""Burgers' equation on a circle, a batch at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ProblemError
from .march import Step, march
from .solver import BatchSolver, Fields, batches, record_times, spacing

CONTOUR = 32


@dataclass(frozen=True)
class Burgers(BatchSolver):
    """Viscous Burgers' equation, periodic, Fourier in space and ETDRK4 in time.

        u_t + u u_x = ν u_xx,   u(0) = u₀;   N(v) = −½ ik · mask · rfft(irfft(v)²),   mask: index < n/3

    Args:
        initial: Name of u₀.
        unknown: Name of u.
        nu: ν > 0, or the name of an input that is a number for each instance.
        final: Time of the solution where no times are asked for.
        dt: Largest time step; halved while it exceeds 2.8/(U k) with U = max|u| and k = min(k_max, 2U/ν), beyond which
            diffusion outweighs advection.

    Raises:
        ProblemError: Numbers that are not positive.

    Source: Cox & Matthews (2002), eqs. 26-29, doi:10.1006/jcph.2002.6995; coefficients by contour means as Kassam &
    Trefethen (2005), doi:10.1137/S1064827502410633.

    Note:
        On the random fields σ = 25, τ = 5, α = 2 over (0, 2π) the default step is exact to about 1e-7.
    """

    initial: str = "u0"
    unknown: str = "u"
    nu: float | str = 0.1
    final: float = 1.0
    dt: float = 0.005
    periodic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.dt > 0 and self.final > 0 and (isinstance(self.nu, str) or self.nu > 0)):
            raise ProblemError(f"Burgers needs nu, final and dt above 0, not {self.nu!r}, {self.final!r}, {self.dt!r}")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.initial, self.nu) if isinstance(self.nu, str) else (self.initial,)

    def finer(self) -> Burgers:
        return replace(self, dt=self.dt / 2)

    @torch.no_grad()
    def solve(self, inputs: Fields, axes: Fields, times: Tensor | None = None) -> dict[str, Tensor]:
        (h,) = spacing(axes, (1,), "Burgers")
        n = len(next(iter(axes.values())))
        u0 = self._input(inputs, self.initial, (n,))
        nu = self._number(self.nu, inputs, u0)
        at = record_times(times, self.final)
        out = u0.new_empty(*u0.shape, len(at))
        for part in batches(len(u0), n, u0.device):
            own = nu[part] if len(nu) > 1 else nu
            for k, w in enumerate(self._march(u0[part], own, 2 * math.pi / (n * h), at)):
                out[part, :, k] = torch.fft.irfft(w, n)
        return {self.unknown: out if times is not None else out[..., 0]}

    def _march(self, u0: Tensor, nu: Tensor, unit: float, times: list[float]) -> list[Tensor]:
        n = u0.shape[1]
        index = torch.arange(n // 2 + 1, dtype=u0.dtype, device=u0.device)
        k = unit * index
        factor = -0.5j * k * (index < n / 3)
        nonlinear = lambda v: factor * torch.fft.rfft(torch.fft.irfft(v, n) ** 2)

        def limit(v: Tensor) -> float:
            U = torch.fft.irfft(v, n).abs().amax(1, keepdim=True)
            return 2.8 / (float((U * torch.clamp(2 * U / nu, max=unit * n / 3)).max()) + 1e-300)

        return march(lambda h: etdrk4(-nu * k**2, nonlinear, h), torch.fft.rfft(u0), times, self.dt, limit)


def etdrk4(L: Tensor, nonlinear: Step, h: float) -> Step:
    """One step of v′ = L v + N(v) with a real diagonal L ≤ 0, of fourth order.

        a = Hv + Q N(v),  b = Hv + Q N(a),  c = Ha + Q(2N(b) − N(v)),
        v⁺ = Ev + f₁N(v) + 2f₂(N(a) + N(b)) + f₃N(c),   E = e^{hL}, H = e^{hL/2}

    Q, f₁, f₂, f₃ are means over half circles of radius 1 around hL, whose direct formulas cancel at small hL.

    Args:
        L: Real, broadcasts with v.
        nonlinear: N.
        h: Step.
    """
    angle = math.pi * (torch.arange(1, CONTOUR + 1, dtype=L.dtype, device=L.device) - 0.5) / CONTOUR
    z = h * L[..., None] + torch.polar(torch.ones_like(angle), angle)
    e, mean = z.exp(), lambda values: h * values.mean(-1).real
    E, H = (h * L).exp(), (h * L / 2).exp()
    Q = mean(((z / 2).exp() - 1) / z)
    first = mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3)
    middle = 2 * mean((2 + z + e * (z - 2)) / z**3)
    last = mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3)

    def step(v: Tensor) -> Tensor:
        n_v = nonlinear(v)
        Hv = H * v
        a = Hv + Q * n_v
        n_a = nonlinear(a)
        n_b = nonlinear(Hv + Q * n_a)
        n_c = nonlinear(H * a + Q * (2 * n_b - n_v))
        return E * v + first * n_v + middle * (n_a + n_b) + last * n_c

    return step
