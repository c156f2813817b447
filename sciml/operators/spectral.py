"""Spectral layers: the first Fourier modes of a field, mixed by a matrix for each mode, in real numbers throughout.

    u(x) = Re Σ_k s_k (W_k v̂_k) e^{2πik·x},     v̂_k = (1/n) Σ_j v_j e^{−2πik·x_j},     x_j = j/n

Fields are channels last, so a transform is a product of a small matrix with the array as it lies in memory. Modes are
symmetric, |k| ≤ m − 1 along every axis, of which the last has k ≥ 0 only (s_0 = 1, s_k = 2): a real field needs no
more, and no mode is without its partner. The division by n stands in the forward transform alone; thus weights mean the
same at every resolution, and a layer's output can be asked for on any grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError, look_up
from .tables import along, largest, resize, table
from .weights import ModeWeights, TuckerWeights, counts, seeded

METHODS = {"auto": None, "matrix": None, "fft": None}


def truncate(v: Tensor, modes: Sequence[int]) -> Tensor:
    """The modes |k| < m of real fields, by matrix products.

    Args:
        v: (B, n_1, …, n_d, C).
        modes: (m_1, …, m_d), 2m − 1 ≤ n on each axis.

    Returns:
        (M, 2, B, C): real and imaginary part of v̂, M = (2m_1 − 1) ⋯ (2m_{d−1} − 1) m_d.
    """
    d, C = v.dim() - 2, v.shape[-1]
    z = along(table("analysis", v.shape[d], modes[-1], v), v, d).unflatten(d, (2, modes[-1]))
    for axis in range(d - 1, 0, -1):
        K = 2 * modes[axis - 1] - 1
        z = along(table("analysis-both", v.shape[axis], modes[axis - 1], v), z, axis)
        cos, sin = z.narrow(axis, 0, K), z.narrow(axis, K, K)
        z = torch.stack([cos.select(d, 0) + sin.select(d, 1), cos.select(d, 1) - sin.select(d, 0)], d)
    return z.permute(*range(1, d), d + 1, d, 0, d + 2).reshape(-1, 2, v.shape[0], C)


def evaluate(Z: Tensor, modes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Real fields from their modes |k| < m, by matrix products; the reverse of `truncate`, on any grid.

    Args:
        Z: (M, 2, B, C).
        modes: (m_1, …, m_d).
        shape: (n_1, …, n_d).

    Returns:
        (B, n_1, …, n_d, C).
    """
    d = len(modes)
    z = Z.unflatten(0, counts(modes)).permute(d + 1, *range(d - 1), d, d - 1, d + 2)       # (B, K_1, …, 2, m, C)
    for axis in range(1, d):
        real, imaginary = z.unbind(d)
        z = torch.cat([z, torch.stack([-imaginary, real], d)], axis)                       # z and iz
        z = along(table("synthesis-both", shape[axis - 1], modes[axis - 1], z), z, axis)
    return along(table("synthesis", shape[-1], modes[-1], z), z.flatten(d, d + 1), d)


def truncate_fft(v: Tensor, modes: Sequence[int]) -> Tensor:
    """As `truncate`, by fast Fourier transforms, of which the unused columns are dropped after the first one."""
    d = v.dim() - 2
    z = torch.fft.rfft(v.float() if v.dtype in (torch.bfloat16, torch.float16) else v, dim=d, norm="forward")
    z = z.narrow(d, 0, modes[-1])
    for axis in range(d - 1, 0, -1):
        z = torch.fft.fft(z, dim=axis, norm="forward")
        m, n = modes[axis - 1], v.shape[axis]
        z = torch.cat([z.narrow(axis, 0, m), z.narrow(axis, n - m + 1, m - 1)], axis)
    parts = torch.view_as_real(z).to(v.dtype)
    return parts.permute(*range(1, d + 1), d + 2, 0, d + 1).reshape(-1, 2, v.shape[0], v.shape[-1])


def evaluate_fft(Z: Tensor, modes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """As `evaluate`, by fast Fourier transforms; the parts without meaning at k = 0 are dropped, as `irfft` may not."""
    d = len(modes)
    parts = Z.unflatten(0, counts(modes)).permute(d + 1, *range(d), d + 2, d)
    parts = parts.float() if Z.dtype in (torch.bfloat16, torch.float16) else parts
    z = torch.view_as_complex(parts.contiguous())
    for axis in range(1, d):
        m, n = modes[axis - 1], shape[axis - 1]
        gap = [*z.shape[:axis], n - 2 * m + 1, *z.shape[axis + 1:]]
        z = torch.cat([z.narrow(axis, 0, m), z.new_zeros(gap), z.narrow(axis, m, m - 1)], axis)   # − stands at the end
        z = torch.fft.ifft(z, dim=axis, norm="forward")
    constant = torch.complex(z.real.narrow(d, 0, 1), torch.zeros_like(z.real.narrow(d, 0, 1)))
    z = torch.cat([constant, z.narrow(d, 1, modes[-1] - 1)], d)
    return torch.fft.irfft(z, n=shape[-1], dim=d, norm="forward").to(Z.dtype)


def prefers_fft(shape: Sequence[int], modes: Sequence[int]) -> bool:
    """Whether fast transforms are expected to take less time than matrix products.

    Measured on one core (float32, a layer forward and backward, matrix over fast): 1-D m = 16 0.38 and m = 64 0.71 at
    1,024 points, m = 128 1.01, m = 256 1.7; 2-D 64² m = 12 0.70, 128² m = 32 0.87, m = 64 1.2; 3-D 64³ m = 8 0.60 and
    m = 16 0.96, 32³ m = 8 1.2. On a GPU nothing has been measured.
    """
    if len(modes) == 3:
        return any(4 * m >= n for m, n in zip(modes, shape, strict=True))
    return modes[-1] > 100 or any(m > 50 for m in modes[:-1])


class Convolution(nn.Module):
    """What spectral layers share: how many modes a grid carries, and what a field must look like.

    Args:
        modes: (m_1, …, m_d), d = 1, 2 or 3; |k| ≤ m − 1 is kept. m = 12 here is 12 in Li's code and 24 in
            neuraloperator.
        method: "matrix" for transforms by matrix products, "fft", or "auto" for the one that is expected to be faster.

    Raises:
        ProblemError: There are no or more than three numbers of modes, or one below 1; an unknown method.
    """

    def __init__(self, inputs: int, modes: Sequence[int], method: str, dtype: torch.dtype):
        super().__init__()
        self.inputs, self.modes, self.method, self.dtype = inputs, check_modes(modes), method, dtype
        look_up("method of spectral layers", method, METHODS)

    def kept(self, shape: Sequence[int], out: Sequence[int] | None = None) -> tuple[int, ...]:
        """Numbers of modes that are used between two grids: min(m, (n+1)//2), so that none reaches the Nyquist
        frequency.

        On a grid that is too coarse for all of them the others are left out, in the input and in the output; what is
        trained there alone never trains them.

        Args:
            shape: (n_1, …, n_d) of the input.
            out: That of the output, if it is another.
        """
        return tuple(min(m, largest(a), largest(b)) for m, a, b in zip(self.modes, shape, out or shape, strict=True))

    def check(self, v: Tensor, shape: Sequence[int] | None) -> tuple[int, ...]:
        """Shape of the output, after looking at the input.

        Raises:
            ProblemError: Axes, channels or dtype of `v`, or the axes of `shape`, do not fit.
        """
        d = len(self.modes)
        if v.dim() != d + 2 or v.shape[-1] != self.inputs:
            axes = ", ".join(f"n_{i + 1}" for i in range(d))
            raise ProblemError(f"a spectral layer got {tuple(v.shape)}, expected (B, {axes}, {self.inputs}); channels "
                               "are the last axis")
        weight = next(self.parameters())
        if v.dtype != weight.dtype and not torch.is_autocast_enabled(v.device.type):
            raise ProblemError(f"a spectral layer with weights of {weight.dtype} got {v.dtype}; convert the input, or "
                               f"the model by model.to({v.dtype})")
        if shape is not None and len(shape) != d:
            raise ProblemError(f"shape={tuple(shape)} must have {d} numbers, one for each axis")
        return tuple(v.shape[1:-1]) if shape is None else tuple(shape)

    def transforms(self, shape: Sequence[int], modes: Sequence[int]) -> tuple[Callable, Callable]:
        """The pair of transforms between values and modes."""
        fast = self.method == "fft" or (self.method == "auto" and prefers_fft(shape, modes))
        return (truncate_fft, evaluate_fft) if fast else (truncate, evaluate)


def check_modes(modes: Sequence[int]) -> tuple[int, ...]:
    """The modes as a tuple.

    Raises:
        ProblemError: They are not one to three whole numbers from 1 on.
    """
    found = (modes,) if isinstance(modes, int) else tuple(modes)
    if not 1 <= len(found) <= 3 or not all(isinstance(m, int) and m >= 1 for m in found):
        raise ProblemError(f"modes={modes!r} must be one to three whole numbers from 1 on, one for each axis, such as "
                           "(12, 12)")
    return found


class SpectralConv(Convolution):
    """A spectral layer with a complex matrix for each mode (the module's formula), dense or in Tucker form.

    Args:
        inputs, outputs: C_in and C_out.
        modes: (m_1, …, m_d), d = 1, 2 or 3; modes |k| ≤ m − 1 along each axis.
        tucker: Fraction of the parameters that Tucker form keeps; None for dense weights.
        method: "auto", "matrix" or "fft".
        generator: Of the weights.

    Raises:
        ProblemError: See `Convolution` and `TuckerWeights`.

    Source: Li et al. (2021), arXiv:2010.08895; there the half spectrum has one more negative than positive mode on all
    axes but the last, weights are complex, and both transforms are fast ones on the whole grid.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], *, tucker: float | None = None,
                 method: str = "auto", generator: Generator | None = None, dtype: torch.dtype = torch.float32):
        super().__init__(inputs, modes, method, dtype)
        generator = seeded(generator)
        self.weights: nn.Module
        if tucker is None:
            self.weights = ModeWeights(inputs, outputs, self.modes, generator, dtype)
        else:
            self.weights = TuckerWeights(inputs, outputs, self.modes, tucker, generator, dtype)

    def forward(self, v: Tensor, shape: Sequence[int] | None = None, constant: Tensor | None = None) -> Tensor:
        """Applies the layer.

        Args:
            v: (B, n_1, …, n_d, C_in) at the points j/n of a periodic box.
            shape: Grid of the output (default: that of the input).
            constant: (C_out,), added everywhere; in mode zero, where it costs nothing.

        Returns:
            (B, *shape, C_out).
        """
        out = self.check(v, shape)
        kept = self.kept(v.shape[1:-1], out)
        forward, backward = self.transforms(v.shape[1:-1], kept)
        Z = self.weights(forward(v, kept), kept)
        if constant is not None:
            Z[0, 0] += constant
        return backward(Z, kept, out)


class SeparableConv(Convolution):
    """A spectral layer with one factor for each axis: the sum of transforms along one axis at a time.

        u = Σ_a F_a⁻¹ (W^a_k · F_a v),     W^a: (m_a, C_in, C_out) complex

    Costs d·m matrices of weights instead of (2m − 1)^{d−1} m. The factors belong to their layer (F-FNO can share them
    between layers too; this does not). On another grid for the output, v is brought there by its Fourier series first.

    Args:
        inputs, outputs: C_in and C_out.
        modes: (m_1, …, m_d).
        method: "auto", "matrix" or "fft".
        generator: Of the weights.

    Source: Tran, Mathews, Xie, Ong (2023), arXiv:2111.13802, eq. 6.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], *, method: str = "auto",
                 generator: Generator | None = None, dtype: torch.dtype = torch.float32):
        super().__init__(inputs, modes, method, dtype)
        generator = seeded(generator)
        self.axes = nn.ModuleList(ModeWeights(inputs, outputs, (m,), generator, dtype) for m in self.modes)

    def forward(self, v: Tensor, shape: Sequence[int] | None = None, constant: Tensor | None = None) -> Tensor:
        """Applies the layer; arguments as in `SpectralConv`."""
        out = self.check(v, shape)
        kept = self.kept(v.shape[1:-1], out)
        v = v if out == tuple(v.shape[1:-1]) else resize(v, out)
        total: Tensor | None = None
        for axis, weights in enumerate(self.axes, 1):
            left, n, right = prod(v.shape[:axis]), v.shape[axis], prod(v.shape[axis + 1:-1])
            forward, backward = self.transforms((n,), kept[axis - 1:axis])
            lines = v.reshape(left, n, right, -1).movedim(1, 2).flatten(0, 1) if right > 1 else v.reshape(left, n, -1)
            Z = weights(forward(lines, kept[axis - 1:axis]), kept[axis - 1:axis])
            if constant is not None and axis == 1:
                Z[0, 0] += constant
            u = backward(Z, kept[axis - 1:axis], (n,))
            if right > 1:
                u = u.unflatten(0, (left, right)).movedim(2, 1)
            u = u.reshape(*v.shape[:-1], -1)
            total = u if total is None else total + u
        assert total is not None
        return total


def added(spectral: nn.Module, pointwise: nn.Linear, v: Tensor) -> Tensor:
    """W v + b + S v: the product adds to what the spectral layer returns, and b is in its mode zero.

    Args:
        spectral: S, a spectral layer.
        pointwise: W and b.
        v: (B, n_1, …, n_d, C_in).
    """
    u = spectral(v, constant=pointwise.bias)
    return torch.addmm(u.flatten(0, -2), v.flatten(0, -2), pointwise.weight.t()).view(u.shape)


CONVOLUTIONS: dict[str, Callable[..., Convolution]] = {
    "dense": lambda inputs, outputs, modes, rank, **rest: SpectralConv(inputs, outputs, modes, **rest),
    "separable": lambda inputs, outputs, modes, rank, **rest: SeparableConv(inputs, outputs, modes, **rest),
    "tucker": lambda inputs, outputs, modes, rank, **rest: SpectralConv(inputs, outputs, modes, tucker=rank, **rest)}


def convolution(inputs: int, outputs: int, modes: Sequence[int], *, factorisation: str = "dense", rank: float = 0.25,
                method: str = "auto", generator: Generator | None = None,
                dtype: torch.dtype = torch.float32) -> Convolution:
    """A spectral layer by the form of its weights.

    Args:
        inputs, outputs: C_in and C_out.
        modes: (m_1, …, m_d).
        factorisation: "dense", "separable" or "tucker".
        rank: Fraction of the parameters of dense weights that "tucker" keeps.

    Raises:
        ProblemError: An unknown form, or what the layer itself refuses.
    """
    make = look_up("factorisation", factorisation, CONVOLUTIONS)
    return make(inputs, outputs, modes, rank, method=method, generator=generator, dtype=dtype)
