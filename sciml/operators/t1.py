"""T1, "transform once": one orthonormal transform in, a network on the first coefficients, a loss on coefficients.

    c_k = ∫ v φ_k,  k < m
    h⁰ = P √M c + p_k,     h^{l+1} = h^l + A_d ⋯ A_1 GELU(K_k h^l + b_k),     ĉ = Q h^L / √M

φ are orthonormal in L²(0, 1) and integrals are exact sums on the grid, so coefficients do not depend on the resolution
and, by Parseval, |ĉ − c|² is the mean square of the difference of fields without their tails. Training never goes back
to the grid. With inside="values" layers see R c in place of c and ĉ is turned back by Rᵀ: R is orthogonal, and √M R c
are the values of Σ_k c_k φ_k at m_1 × ⋯ × m_d equally spaced points (along Fourier axes of even m but for the last
cosine, which counts 1/√2). That costs nothing, and there a GELU is one of a field and a product of two fields one of
two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..errors import ProblemError, look_up
from .fno import settings
from .spectral import check_modes
from .tables import along, table
from .weights import dense, seeded

# the most coefficients that n points carry, such that the functions are orthonormal on the grid
BASES = {"dct": lambda n: n, "dct-nodes": lambda n: n - 1, "fourier": lambda n: n - 1 + n % 2}
GELU_SQUARED = 0.4252                                        # mean of GELU(x)² for x ~ N(0, 1)


class T1(nn.Module):
    """An operator on the first coefficients of fields on grids (the module's formula).

    K_k mixes channels, with a matrix for each coefficient; A_a mixes coefficients along axis a, with a matrix for each
    channel; b_k and p_k are vectors for each coefficient. A field of mean square one with no tail enters as
    coefficients of mean square one (√M) and leaves as a field of mean square of order one: every layer keeps the
    variance, and the number of points does not enter.

    Args:
        inputs, outputs: C_in and C_out.
        modes: (m_1, …, m_d): coefficients along each axis.
        width: Channels inside.
        layers: L.
        periodic: Whether an axis repeats; one truth for all or one for each.
        basis: "dct" for points at (i + ½)/n, "dct-nodes" for i/(n − 1), "fourier" for i/n (1, √2 cos 2πx, √2 sin 2πx,
            …); one for all axes or one for each. Default: "fourier" on axes that repeat, else "dct-nodes", which are
            the points of the other operators. "dct" everywhere is the paper's.
        inside: What layers see: "coefficients", the paper's, or "values" at as many points (the module's R). These
            begin with the same K at all points and, along Fourier axes, with circular A: as convolutions.
        generator: Of the weights.

    Raises:
        ProblemError: Modes, periodic or basis make no sense.

    Source: Poli et al. (2022), arXiv:2211.14453. There the standard deviation of a layer's weights is √(N/(fan_in·m)),
    which keeps the variance of white noise on N points; ours are 1/√fan_in on coefficients of mean square one, which
    keeps it for fields without a tail and does not depend on N. The DCT of the paper is one of three bases; biases
    are for each coefficient; a layer's residual branch starts with the variance 1/L.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], *, width: int = 48, layers: int = 8,
                 periodic: bool | Sequence[bool] = False, basis: str | Sequence[str] | None = None,
                 inside: str = "coefficients", generator: Generator | None = None, dtype: torch.dtype = torch.float32):
        config = settings(locals())
        super().__init__()
        self.config: dict[str, object] = config
        self.inputs, self.modes = inputs, check_modes(modes)
        d = len(self.modes)
        repeats = (periodic,) * d if isinstance(periodic, bool) else tuple(periodic)
        if basis is None:
            basis = ["fourier" if p else "dct-nodes" for p in repeats]
        self.basis = (basis,) * d if isinstance(basis, str) else tuple(basis)
        for given, name in ((repeats, "periodic"), (self.basis, "basis")):
            if len(given) != d:
                raise ProblemError(f"{name}={given} must be one value, or one for each of {d} axes")
        for b in self.basis:
            look_up("basis", b, BASES)
        self.inside = look_up("inside", inside, {name: name for name in ("coefficients", "values")})
        generator = seeded(generator)
        M, normal = prod(self.modes), lambda *size: torch.randn(size, generator=generator, dtype=dtype)
        self.lift = dense(inputs, width, generator, dtype)
        self.lift.weight.data = normal(width, inputs) / sqrt(inputs)
        self.lift.bias.data.zero_()
        self.places = nn.Parameter(torch.zeros(M, 1, width, dtype=dtype))
        self.channels = nn.ParameterList([normal(M, width, width) / sqrt(width) for _ in range(layers)])
        self.biases = nn.ParameterList([torch.zeros(M, 1, width, dtype=dtype) for _ in range(layers)])
        gain = 1 / sqrt(GELU_SQUARED * max(layers, 1))
        self.mixing = nn.ParameterList(
            [normal(width, m, m) * (gain if axis == 0 else 1.0) / sqrt(m)
             for _ in range(layers) for axis, m in enumerate(self.modes)])
        if self.inside == "values":
            for K in self.channels:
                K.data[:] = K.data[:1].clone()
            for number, A in enumerate(self.mixing):
                if self.basis[number % d] == "fourier":
                    m = A.shape[1]
                    A.data = A.data[:, 0][:, (torch.arange(m)[:, None] - torch.arange(m)) % m]
        self.project = dense(width, outputs, generator, dtype)
        self.project.weight.data = normal(outputs, width) / sqrt(width)
        self.project.bias.data.zero_()

    def __repr__(self) -> str:
        return f"T1({', '.join(f'{k}={v!r}' for k, v in self.config.items())})"

    def kept(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Coefficients that a grid (n_1, …, n_d) carries: all m, or fewer on a coarse one (the others are 0)."""
        return tuple(min(m, BASES[b](n)) for m, b, n in zip(self.modes, self.basis, shape, strict=True))

    def encode(self, v: Tensor) -> Tensor:
        """Coefficients of fields, c_k = Σ_j w_j v_j φ_k(x_j).

        Args:
            v: (B, n_1, …, n_d, C), any number of channels.

        Returns:
            (B, m_1, …, m_d, C), zero where the grid is too coarse.

        Raises:
            ProblemError: `v` has not one axis for each number of modes, or one that is too short.
        """
        d = len(self.modes)
        if v.dim() != d + 2:
            raise ProblemError(f"T1 got {tuple(v.shape)}, expected (B, {', '.join(f'n_{i + 1}' for i in range(d))}, C)")
        kept = self.kept(v.shape[1:-1])
        if min(kept) < 1:
            raise ProblemError(f"T1 got a grid {tuple(v.shape[1:-1])} with too few points to carry a single mode")
        for axis in range(d, 0, -1):
            v = along(table(self.basis[axis - 1] + "-weighted", v.shape[axis], kept[axis - 1], v), v, axis)
        missing = [m - k for m, k in zip(self.modes, kept, strict=True)]
        return functional.pad(v, [0, 0, *(x for p in reversed(missing) for x in (0, p))]) if any(missing) else v

    def decode(self, c: Tensor, shape: Sequence[int]) -> Tensor:
        """Fields on a grid, Σ_k c_k φ_k(x_j).

        Args:
            c: (B, m_1, …, m_d, C).
            shape: (n_1, …, n_d); coefficients that it does not carry are left out.

        Returns:
            (B, n_1, …, n_d, C).
        """
        for axis, k in enumerate(self.kept(shape), 1):
            c = along(table(self.basis[axis - 1], shape[axis - 1], k, c).t(), c.narrow(axis, 0, k), axis)
        return c

    def spectrum(self, v: Tensor) -> Tensor:
        """Coefficients of the output, (B, m_1, …, m_d, C_out), of fields v (B, n_1, …, n_d, C_in).

        Compare with `encode(u)`: by Parseval Σ_k |ĉ_k − c_k|² is the mean square of û − u without u's tail.

        Raises:
            ProblemError: Axes, channels or dtype are not those of the model.
        """
        if v.shape[-1] != self.inputs:
            raise ProblemError(f"T1 got {v.shape[-1]} channels, expected {self.inputs}; channels are the last axis")
        if v.dtype != self.lift.weight.dtype and not torch.is_autocast_enabled(v.device.type):
            raise ProblemError(f"T1 with weights of {self.lift.weight.dtype} got {v.dtype}; convert the input, or the "
                               f"model by model.to({v.dtype})")
        scale, d, B = sqrt(prod(self.modes)), len(self.modes), v.shape[0]
        c = self._turned(self.encode(v)).flatten(1, d).transpose(0, 1)                    # (M, B, C)
        h = self.lift(c * scale) + self.places
        for number, (K, b) in enumerate(zip(self.channels, self.biases, strict=True)):
            z = functional.gelu(torch.baddbmm(b, h, K))
            h = h + self._mix(z, number)
        return self._turned((self.project(h) / scale).transpose(0, 1).reshape(B, *self.modes, -1), back=True)

    def _turned(self, c: Tensor, back: bool = False) -> Tensor:
        """R c, or Rᵀ c, along every axis; c itself inside coefficients."""
        if self.inside == "values":
            for axis, (b, m) in enumerate(zip(self.basis, self.modes, strict=True), 1):
                rows = table("fourier-turned" if b == "fourier" else "dct-turned", m, m, c)   # Rᵀ: a row for each k
                c = along(rows if back else rows.t(), c, axis)
        return c

    def _mix(self, z: Tensor, number: int) -> Tensor:
        """A_d ⋯ A_1 z for z (M, B, C): products for each channel, so channels stand first in between."""
        d, (M, B, C) = len(self.modes), z.shape
        z = z.permute(2, 0, 1).reshape(C, *self.modes, B)
        for axis in range(d):
            A = self.mixing[number * d + axis]
            z = torch.bmm(A, z.flatten(2)).view(z.shape)                              # along the axis in front
            z = z.movedim(1, d).contiguous() if d > 1 else z
        return z.reshape(C, M, B).permute(1, 2, 0)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """(B, n_1, …, n_d, C_in) to (B, n_1, …, n_d, C_out); X and weights are those of points and not used."""
        return self.decode(self.spectrum(v), v.shape[1:-1])

    def tail(self, u: Tensor) -> Tensor:
        """Relative part of fields that the first coefficients cannot hold, ‖u − u_m‖/‖u‖: a floor of the error.

        Args:
            u: (B, n_1, …, n_d, C).

        Returns:
            (B,).
        """
        rest = u - self.decode(self.encode(u), u.shape[1:-1])
        return rest.flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)
