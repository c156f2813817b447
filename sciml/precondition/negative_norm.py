"""Negative Sobolev norms of residuals on boxes, by fast transforms.

    |r|²_{H⁻ˢ} = ⟨(−Δ)⁻ˢ r, r⟩ = Σ_k |r̂_k|² / Λ_kˢ,        Λ_k = Σ_d κ_d²,  κ_d = k_d π/L_d or 2π k_d/L_d

For an operator of second order the plain loss is the H² norm of the error, with κ(JᵀJ) ~ K⁴ over modes up to K; s = 1
leaves K², and s = 2 leaves the L² norm of the error itself.
"""

from __future__ import annotations

from math import pi, prod, sqrt

import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError
from .grid import Axis, axes_of, place
from .preconditioner import Preconditioner, inside
from .transform import Transform


def sine_transform(z: Tensor, dim: int) -> Tensor:
    """Orthonormal DST-I along an axis, √(2/(n+1)) Σ_j z_j sin(π j k/(n+1)); symmetric, and its own inverse."""
    n = z.shape[dim]
    zero = torch.zeros_like(z.narrow(dim, 0, 1))
    odd = torch.cat([zero, z, zero, -z.flip(dim)], dim)
    return torch.fft.rfft(odd, dim=dim).imag.narrow(dim, 1, n) * (-1 / sqrt(2 * (n + 1)))


def hartley_transform(z: Tensor, dim: int) -> Tensor:
    """Orthonormal Hartley transform along an axis, n^{−½} Σ_j z_j (cos + sin)(2π j k/n); its own inverse too."""
    f = torch.fft.fft(z, dim=dim)
    return (f.real - f.imag) / sqrt(z.shape[dim])


class Spectral(Transform):
    """M = √(K Π n_d/(n_d + 1)) Λ^{−s/2} T, T the sine or Hartley transform of each space axis.

    With the rows' factor √(λ/R) the loss is λ/|Ω| times the squared H⁻ˢ norm, summed over the K components: the
    integral over Ω is h^D Σ, and an axis with ends has n nodes but n + 1 cells.

    Args:
        block: Its name.
        axes: Of its nodes; time is left as it is.
        components: K.
        s: Any real number.
    """

    def __init__(self, block: str, axes: tuple[Axis, ...], components: int, s: float):
        super().__init__((block,))
        self.axes, self.components = axes, components
        total = np.zeros([a.n if a.kind != "time" else 1 for a in axes])
        cells = 1.0
        for i, a in enumerate(axes):
            k = np.arange(a.n)
            if a.kind == "ends":
                wave, cells = (k + 1) * pi / a.length, cells * a.n / (a.n + 1)
            elif a.kind == "periodic":
                wave = np.minimum(k, a.n - k) * 2 * pi / a.length
            else:
                continue
            total = total + (wave**2).reshape([-1 if i == j else 1 for j in range(len(axes))])
        total[total == 0] = total[total > 0].min()            # k = 0, the mean: as heavy as the longest wave
        self.scale = torch.as_tensor(sqrt(components * cells) * total ** (-s / 2))

    def _reshaped(self, r: Tensor) -> Tensor:
        return r.reshape(*(a.n for a in self.axes), self.components, -1)

    def _turned(self, z: Tensor) -> Tensor:
        for dim, a in enumerate(self.axes):
            if a.kind != "time":
                z = (sine_transform if a.kind == "ends" else hartley_transform)(z, dim)
        return z

    def apply(self, r):
        return (self._turned(self._reshaped(r)) * self.scale.to(r)[..., None, None]).reshape(r.shape)

    def transpose(self, z):
        return self._turned(self._reshaped(z) * self.scale.to(z)[..., None, None]).reshape(z.shape)


class NegativeNorm(Preconditioner):
    """Residuals of equations in the norm of H⁻ˢ on a grid of nodes, by sine and Fourier transforms.

    Each component of each equation that holds in the whole Box is taken on an interior tensor grid; in time, the norm
    is that of L²(0, T; H⁻ˢ). Other conditions stay as they are.

    Args:
        s: Order; 1 for a loss like the energy, 2 for one like the error itself.
        nodes: Interior nodes per coordinate, a number or one for each; None: from `points`.

    Raises:
        ProblemError: The domain is no Box, or has no space coordinate.

    Source: `De Ryck, Bonnet, Mishra, de Bézenac (2024)`, arXiv:2310.05801, for the role of the operator's symbol. The
        mean over the box takes the place of the integral, and the mean of a periodic residual (k = 0), on which
        (−Δ)⁻ˢ is not defined, counts like the longest wave, so that M stays invertible.

    Note:
        The grid is fixed, so the residual can hide between its nodes if there are fewer nodes than parameters.
        Sines are the right basis for zero Dirichlet data; for others M is the same map, but no longer the operator's.
    """

    def __init__(self, s: float = 1.0, nodes: object = None):
        if isinstance(s, bool) or not isinstance(s, (int, float)):
            raise ProblemError(f"h-minus-s.s={s!r} must be a number")
        self.s, self.nodes = float(s), nodes

    def start(self, view, ansatz, points):
        what = {HMinus1: "h-minus-1", HMinus2: "h-minus-2"}.get(type(self), "h-minus-s")
        axes = axes_of(view.problem, ansatz, points, self.nodes, what)
        blocks = inside(view.problem, view.blocks)
        if not blocks or all(a.kind == "time" for a in axes):
            raise ProblemError(f"precondition={what} smooths equations over space, and this problem has "
                               f"{'no equation inside' if not blocks else 'no space coordinate'}; take none")
        nodes = place(axes, [a.interior for a in axes], view.dtype, view.device)
        for b in blocks:
            view.points[b.name] = nodes
            transform = Spectral(b.name, axes, len(b.components), self.s)
            transform.scale = transform.scale.to(nodes.X)           # else every step copies it to the device
            view.transforms.append(transform)
        assert prod(a.n for a in axes) == len(nodes)
        return tuple(b.name for b in blocks)


class HMinus1(NegativeNorm):
    """Residuals in H⁻¹, the energy norm of the error for an operator of second order.

    Args:
        nodes: As in `NegativeNorm`.
    """

    def __init__(self, nodes: object = None):
        super().__init__(1.0, nodes)


class HMinus2(NegativeNorm):
    """Residuals in H⁻², the L² norm of the error for an operator of second order.

    Args:
        nodes: As in `NegativeNorm`.
    """

    def __init__(self, nodes: object = None):
        super().__init__(2.0, nodes)
