"""Fourier neural operators on grids: the plain one and the factorised one.

    v⁰ = P a,     v^{l+1} = σ(W v^l + b + S v^l),     u = Q v^L

S is a spectral layer (`spectral.py`), W, P and Q act at every point. Fields that do not repeat are continued by zeros
on one side of their axis after P, and cropped before Q.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..errors import ProblemError
from .spectral import added, check_modes, convolution
from .weights import dense, seeded


def padding_of(n: int, padding: float) -> int:
    """Zeros behind n points: the box gets 1 + padding times as long, whatever n is.

    The points stand at i/(n − 1), ends included, so that n + p = (1 + padding)(n − 1) up to rounding, and one mode of
    the continued box means the same function at every resolution.

    Raises:
        ProblemError: Fewer than two points.
    """
    if n < 2:
        raise ProblemError(f"an axis that does not repeat has {n} points; it needs both ends, so at least 2")
    return max(1, round((1 + padding) * (n - 1)) - n) if padding > 0 else 0


class Frame(nn.Module):
    """What operators on grids share: which axes repeat, the zeros on the others, the projection, the configuration.

    Args:
        inputs: C_in.
        modes: (m_1, …, m_d).
        periodic: One truth for all axes, or one for each.
        padding: Length of the zeros, as a fraction of the box.

    Raises:
        ProblemError: `periodic` has not one truth for each axis; a padding outside [0, 1].
    """

    config: dict[str, object]

    def __init__(self, inputs: int, modes: Sequence[int], periodic: bool | Sequence[bool], padding: float):
        super().__init__()
        self.inputs, self.modes, self.padding = inputs, check_modes(modes), padding
        d = len(self.modes)
        self.periodic = (periodic,) * d if isinstance(periodic, bool) else tuple(periodic)
        if len(self.periodic) != d:
            raise ProblemError(f"periodic={periodic} must be True, False, or one of them for each of {d} axes")
        if not 0 <= padding <= 1:
            raise ProblemError(f"padding={padding} must be a fraction of the box, 0 to 1")

    def pads(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Zeros behind each axis of a grid (n_1, …, n_d)."""
        return tuple(0 if p else padding_of(n, self.padding) for n, p in zip(shape, self.periodic, strict=True))

    def pad(self, v: Tensor) -> Tensor:
        """(B, n_1, …, n_d, C) with its zeros."""
        zeros = self.pads(v.shape[1:-1])
        return functional.pad(v, [0, 0, *(x for p in reversed(zeros) for x in (0, p))]) if any(zeros) else v

    def crop(self, v: Tensor, shape: Sequence[int]) -> Tensor:
        """The part of a field without the zeros."""
        for axis, n in enumerate(shape, 1):
            v = v.narrow(axis, 0, n) if n != v.shape[axis] else v
        return v

    def check(self, v: Tensor) -> None:
        """Looks at the axes and channels of an input.

        Raises:
            ProblemError: They are not those of the model.
        """
        d = len(self.modes)
        if v.dim() != d + 2 or v.shape[-1] != self.inputs:
            axes = ", ".join(f"n_{i + 1}" for i in range(d))
            raise ProblemError(f"{type(self).__name__} got {tuple(v.shape)}, expected (B, {axes}, {self.inputs}): "
                               "instances, points along each axis, channels (coordinates among them) last")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config.items())})"


def settings(values: dict[str, object]) -> dict[str, object]:
    """The options of a constructor that a configuration file can hold: its arguments without generator and dtype."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()
            if k not in ("self", "generator", "dtype", "__class__")}


class Projection(nn.Module):
    """Q: two layers at every point with a GELU between them; as inner width 0, one layer."""

    def __init__(self, inputs: int, inner: int, outputs: int, generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.first = dense(inputs, inner, generator, dtype) if inner else None
        self.last = dense(inner or inputs, outputs, generator, dtype)

    def forward(self, v: Tensor) -> Tensor:
        return self.last(v if self.first is None else functional.gelu(self.first(v)))


class FNO(Frame):
    """Fourier neural operator in one, two or three dimensions.

        v^{l+1} = GELU(W v^l + b + S v^l), without GELU after the last layer;     u = W₂ GELU(W₁ v^L + b₁) + b₂

    Args:
        inputs, outputs: C_in (with coordinates, which the caller appends) and C_out.
        modes: (m_1, …, m_d): |k| ≤ m − 1 along each axis; 12 is 12 in Li's code and 24 in neuraloperator.
        width: Channels inside.
        layers: L.
        projection: Inner width of Q.
        periodic: Whether an axis repeats (points i/n) or has two ends (points i/(n−1)); one for all or one for each.
        padding: Zeros behind axes with ends, as a fraction of the box.
        factorisation: Weights of S: "dense", "separable" (a factor for each axis, summed), "tucker".
        rank: Fraction of the parameters of dense weights that "tucker" keeps.
        method: Transforms by "matrix" products or "fft"; "auto" takes the faster one.
        generator: Of the weights.

    Raises:
        ProblemError: Modes, periodic, padding, factorisation, rank or method make no sense.

    Source: Li et al. (2021), arXiv:2010.08895. Symmetric modes, the padding's length and GELU are ours (ReLU in the
    paper, GELU in later code of the authors).
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], *, width: int = 32, layers: int = 4,
                 projection: int = 128, periodic: bool | Sequence[bool] = False, padding: float = 0.09,
                 factorisation: str = "dense", rank: float = 0.25, method: str = "auto",
                 generator: Generator | None = None, dtype: torch.dtype = torch.float32):
        config = settings(locals())
        super().__init__(inputs, modes, periodic, padding)
        self.config = config
        generator = seeded(generator)
        self.lift = dense(inputs, width, generator, dtype)
        self.spectral = nn.ModuleList(
            convolution(width, width, self.modes, factorisation=factorisation, rank=rank, method=method,
                        generator=generator, dtype=dtype) for _ in range(layers))
        self.pointwise = nn.ModuleList(dense(width, width, generator, dtype) for _ in range(layers))
        self.project = Projection(width, projection, outputs, generator, dtype)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """(B, n_1, …, n_d, C_in) to (B, n_1, …, n_d, C_out); X and weights are those of points and not used."""
        self.check(v)
        shape = v.shape[1:-1]
        v = self.pad(self.lift(v))
        for number, (spectral, pointwise) in enumerate(zip(self.spectral, self.pointwise, strict=True), 1):
            assert isinstance(pointwise, nn.Linear)
            v = added(spectral, pointwise, v)
            v = functional.gelu(v) if number < len(self.spectral) else v
        return self.project(self.crop(v, shape))


class FFNO(Frame):
    """Factorised Fourier neural operator: separable spectral layers inside a residual block with a feed-forward net.

        v^{l+1} = v^l + W₂ GELU(W₁ S v^l + b₁) + b₂

    Spectral weights grow with d·m instead of m^d, so more layers and modes are affordable.

    Args:
        inputs, outputs: C_in and C_out.
        modes: (m_1, …, m_d).
        width: Channels inside.
        layers: L; the paper goes to 24.
        expansion: Inner width of the feed-forward net over `width`.
        projection, periodic, padding, method, generator, dtype: As in `FNO`.

    Raises:
        ProblemError: As `FNO`.

    Source: Tran, Mathews, Xie, Ong (2023), arXiv:2111.13802, eqs. 5–6; GELU here, ReLU there.
    """

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], *, width: int = 64, layers: int = 4,
                 expansion: int = 4, projection: int = 128, periodic: bool | Sequence[bool] = False,
                 padding: float = 0.09, method: str = "auto", generator: Generator | None = None,
                 dtype: torch.dtype = torch.float32):
        config = settings(locals())
        super().__init__(inputs, modes, periodic, padding)
        self.config = config
        generator = seeded(generator)
        self.lift = dense(inputs, width, generator, dtype)
        self.spectral = nn.ModuleList(
            convolution(width, width, self.modes, factorisation="separable", method=method, generator=generator,
                        dtype=dtype) for _ in range(layers))
        self.feed = nn.ModuleList(Projection(width, expansion * width, width, generator, dtype) for _ in range(layers))
        self.project = Projection(width, projection, outputs, generator, dtype)

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """(B, n_1, …, n_d, C_in) to (B, n_1, …, n_d, C_out); X and weights are those of points and not used."""
        self.check(v)
        shape = v.shape[1:-1]
        v = self.pad(self.lift(v))
        for spectral, feed in zip(self.spectral, self.feed, strict=True):
            v = v + feed(spectral(v))
        return self.project(self.crop(v, shape))
