"""Building blocks of fields, each a module that maps a jet to a jet.

Initial weights are drawn from a `torch.Generator` on the CPU and are the same on every device.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Generator, Tensor, nn

from ..calculus.activations import ACTIVATIONS
from ..calculus.jet import Jet, activate, channels, join, linear, scale
from ..errors import look_up


def glorot_normal(rows: int, columns: int, generator: Generator, dtype: torch.dtype) -> Tensor:
    """Matrix (rows, columns) of variance 2/(rows + columns), Glorot and Bengio (2010)."""
    return torch.randn(rows, columns, generator=generator, dtype=dtype) * sqrt(2.0 / (rows + columns))


class Dense(nn.Module):
    """h Wᵀ + b.

    Args:
        inputs, outputs: Channels.
        bound: If given, W is uniform in (−bound, bound) instead of Glorot normal.
    """

    def __init__(self, inputs: int, outputs: int, generator: Generator, dtype: torch.dtype,
                 bound: float | None = None):
        super().__init__()
        if bound is None:
            weight = glorot_normal(outputs, inputs, generator, dtype)
        else:
            weight = (2 * torch.rand(outputs, inputs, generator=generator, dtype=dtype) - 1) * bound
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=dtype))

    def forward(self, h: Jet) -> Jet:
        return linear(h, self.weight, self.bias)


@torch.no_grad()
def random_features(layer: nn.Module, scale: float, generator: Generator) -> None:
    """W uniform in (−a, a) and b = −W x_c with a centre x_c uniform in [−1, 1]ⁿ for every unit.

    Every unit then bends somewhere inside the domain, at a slope of its own; a last layer that is solved for by
    least squares (`optimizer="varpro"`) makes a good basis of them, even without training.

    Args:
        layer: A `Dense` on inputs in [−1, 1]ⁿ.
        scale: a; on the unit square a = 1 here is 2 in the coordinates themselves.

    Source: the baseline of our notes; similar to Huang, Zhu, Siew (2006), doi:10.1016/j.neucom.2005.12.126.
    """
    W = layer.weight
    assert isinstance(W, Tensor) and isinstance(layer.bias, Tensor)
    uniform = lambda: 2 * torch.rand(W.shape, generator=generator, dtype=W.dtype) - 1
    W.copy_(scale * uniform())
    layer.bias.copy_(-(W * uniform()).sum(1))


class FactorizedDense(nn.Module):
    """Random weight factorisation W = diag(eˢ) V.

    Source: Wang, Wang, Seidman, Perdikaris (2022), arXiv:2210.01274; s ~ N(μ, σ²), μ = 1, σ = 0.1.
    """

    def __init__(self, inputs: int, outputs: int, generator: Generator, dtype: torch.dtype,
                 mean: float = 1.0, spread: float = 0.1):
        super().__init__()
        weight = glorot_normal(outputs, inputs, generator, dtype)
        s = mean + spread * torch.randn(outputs, generator=generator, dtype=dtype)
        self.s = nn.Parameter(s)
        self.v = nn.Parameter(weight / torch.exp(s)[:, None])
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=dtype))

    def forward(self, h: Jet) -> Jet:
        return linear(h, self.v, self.bias, torch.exp(self.s))


class Activate(nn.Module):
    """σ(h), or σ(n a h) with a trainable slope a (layer-wise adaptive activation).

    Args:
        name: One of `ACTIVATIONS`.
        adaptive: Trainable slope, with a = 1/n at the start, Jagtap et al. (2020), doi:10.1098/rspa.2020.0334.
        n: Fixed factor that speeds the slope's training.
    """

    def __init__(self, name: str, adaptive: bool = False, dtype: torch.dtype = torch.float64, n: float = 10.0):
        super().__init__()
        self.function = look_up("activation", name, ACTIVATIONS)
        self.n = n
        self.slope = nn.Parameter(torch.tensor(1.0 / n, dtype=dtype)) if adaptive else None

    def forward(self, h: Jet) -> Jet:
        if self.slope is not None:
            h = scale(h.with_data(self.n * h.data), self.slope)
        return activate(h, self.function)


class Embedding(nn.Module):
    """Inputs of a network: coordinates scaled to [−1, 1], periodic ones as Fourier modes of their period.

    A coordinate x with period L becomes cos 2πkx/L, sin 2πkx/L, k = 1..K, so the field is periodic exactly.

    Args:
        bounds: (low, high) per coordinate.
        periods: Period by column for periodic coordinates.
        harmonics: K.
    """

    middle: Tensor
    factor: Tensor
    waves: Tensor
    columns: Tensor

    def __init__(self, bounds, periods: dict[int, float], harmonics: int, dtype: torch.dtype):
        super().__init__()
        self.bounds, self.harmonics = tuple(bounds), harmonics
        low = torch.tensor([b[0] for b in bounds], dtype=dtype)
        high = torch.tensor([b[1] for b in bounds], dtype=dtype)
        self.register_buffer("middle", (low + high) / 2, persistent=False)
        self.register_buffer("factor", 2 / (high - low), persistent=False)
        self.plain = [i for i in range(len(bounds)) if i not in periods]
        self.register_buffer("columns", torch.tensor(self.plain, dtype=torch.long), persistent=False)
        rows = []
        for column, period in periods.items():
            for k in range(1, harmonics + 1):
                row = torch.zeros(len(bounds), dtype=dtype)
                row[column] = 2 * pi * k / period
                rows.append(row)
        waves = torch.stack(rows) if rows else torch.zeros(0, len(bounds), dtype=dtype)
        self.register_buffer("waves", waves, persistent=False)
        self.outputs = len(self.plain) + 2 * len(rows)

    def forward(self, x: Jet) -> Jet:
        parts = []
        if self.plain:
            data = x.data * self.factor
            shift = torch.zeros(data.shape[0], 1, 1, dtype=data.dtype, device=data.device)
            shift[0].fill_(1)
            scaled = x.with_data(data - shift * (self.middle * self.factor))
            parts.append(channels(scaled, self.columns) if len(self.plain) < x.data.shape[-1] else scaled)
        if len(self.waves):
            phase = x.with_data(x.data @ self.waves.t())
            parts += [activate(phase, ACTIVATIONS["cos"]), activate(phase, ACTIVATIONS["sin"])]
        return parts[0] if len(parts) == 1 else join(parts)


class FourierFeatures(nn.Module):
    """cos Bh, sin Bh with a fixed random matrix B ~ N(0, σ²) (Tancik et al. 2020, arXiv:2006.10739).

    Args:
        inputs: Channels of h.
        count: Number of rows of B; the output has twice as many channels.
        sigma: σ, the highest frequencies reached are about 2σ per unit of the scaled input.
    """

    B: Tensor

    def __init__(self, inputs: int, count: int, sigma: float, generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("B", sigma * torch.randn(count, inputs, generator=generator, dtype=dtype))
        self.outputs = 2 * count

    def forward(self, h: Jet) -> Jet:
        phase = h.with_data(h.data @ self.B.t())
        return join([activate(phase, ACTIVATIONS["cos"]), activate(phase, ACTIVATIONS["sin"])])
