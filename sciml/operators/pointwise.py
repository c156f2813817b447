"""What operators on points share: linear layers drawn from a generator, networks of them, and the check at the door.

Weights are drawn in float32; `model.double()` and `model.to(…)` move them, and the output has the dtype of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Generator, Tensor, nn

from ..errors import ProblemError

Bounds = Sequence[tuple[float, float]]


class Dense(nn.Module):
    """h Wᵀ + b on the last axis; W and b uniform in ±1/√inputs.

    Args:
        inputs, outputs: Channels.
        generator: Source of the weights; None: torch's own.
    """

    def __init__(self, inputs: int, outputs: int, generator: Generator | None = None):
        super().__init__()
        bound = 1 / sqrt(inputs)
        draw = lambda *shape: (2 * torch.rand(*shape, generator=generator, dtype=torch.float32) - 1) * bound
        self.weight = nn.Parameter(draw(outputs, inputs))
        self.bias = nn.Parameter(draw(outputs))

    def forward(self, h: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        return nn.functional.linear(h, self.weight, self.bias)


class Perceptron(nn.Module):
    """Linear layers with GELU between them, none after the last.

    Args:
        widths: Channels from input to output, at least two numbers.
        generator: Source of the weights; None: torch's own.
    """

    def __init__(self, widths: Sequence[int], generator: Generator | None = None):
        super().__init__()
        self.layers = nn.ModuleList(Dense(a, b, generator) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, h: Tensor) -> Tensor:
        """(…, widths[0]) → (…, widths[-1])."""
        for layer in self.layers[:-1]:
            h = nn.functional.gelu(layer(h))
        return self.layers[-1](h)


class Constant:
    """A table of numbers as a tensor, copied to each device and dtype once.

    It is no buffer: a buffer is rounded by `.to(float32)`, and a period or a frequency with it.

    Args:
        numbers: Nested sequences of numbers.
    """

    def __init__(self, numbers: Sequence):
        self.numbers = numbers
        self._made: dict[tuple, Tensor] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def to(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The tensor."""
        if torch.compiler.is_compiling():
            return torch.tensor(self.numbers, dtype=dtype, device=device)
        if (dtype, device) not in self._made:
            self._made[dtype, device] = torch.tensor(self.numbers, dtype=dtype, device=device)
        return self._made[dtype, device]


class Box:
    """The box that a model's points lie in, and coordinates relative to it.

    Args:
        bounds: (low, high) per coordinate.

    Raises:
        ProblemError: A side that has no length.
    """

    def __init__(self, bounds: Bounds):
        low, high = torch.tensor([[float(a), float(b)] for a, b in bounds], dtype=torch.float64).T
        if not bool((high > low).all()):
            raise ProblemError(f"bounds={tuple(map(tuple, bounds))} must be one (low, high) per coordinate with low < "
                               "high")
        self.lows, self.sizes = tuple(low.tolist()), tuple((high - low).tolist())
        self._low, self._size = Constant(self.lows), Constant(self.sizes)

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.lows)

    def unit(self, X: Tensor) -> Tensor:
        """X in [0, 1]^D, in its own dtype, shape (…, N, D)."""
        return (X - self._low.to(X.dtype, X.device)) / self._size.to(X.dtype, X.device)

    def centred(self, X: Tensor) -> Tensor:
        """X in [−1, 1]^D, shape (…, N, D)."""
        return 2 * self.unit(X) - 1


def check_points(v: Tensor, X: Tensor | None, weights: Tensor | None, inputs: int, dimension: int) -> Tensor:
    """The points of a call, after a look at all shapes.

    Args:
        v: Values, shape (B, N, inputs).
        X: Points, shape (N, D) or (B, N, D).
        weights: Quadrature weights, shape (N,) or (B, N), or None.
        inputs, dimension: C_in and D of the model.

    Returns:
        X.

    Raises:
        ProblemError: A shape that does not fit, or no points.
    """
    if X is None:
        raise ProblemError("an operator on points was called without points; pass X of shape (N, D) or (B, N, D)")
    if v.ndim != 3 or v.shape[-1] != inputs:
        raise ProblemError(f"values have shape {tuple(v.shape)}, expected (B, N, {inputs}): instances, points, "
                           "channels")
    B, N, _ = v.shape
    if X.shape not in ((N, dimension), (B, N, dimension)):
        raise ProblemError(f"points have shape {tuple(X.shape)}, expected ({N}, {dimension}) or ({B}, {N}, {dimension})"
                           f" for values of shape {tuple(v.shape)}")
    if weights is not None and weights.shape not in ((N,), (B, N)):
        raise ProblemError(f"quadrature weights have shape {tuple(weights.shape)}, expected ({N},) or ({B}, {N})")
    return X


def shares(weights: Tensor | None, v: Tensor) -> Tensor:
    """Quadrature weights divided by their sum, shape (1 or B, N, 1), in the dtype of v; None: equal ones."""
    if weights is None:
        return v.new_full((1, v.shape[1], 1), 1 / v.shape[1])
    w = weights.to(v.dtype)
    return (w / w.sum(-1, keepdim=True)).reshape(-1, v.shape[1], 1)


def with_coordinates(v: Tensor, Z: Tensor) -> Tensor:
    """Values (B, N, C) and coordinates (N, D) or (B, N, D) side by side, shape (B, N, C + D)."""
    return torch.cat([v, Z.to(v.dtype).expand(v.shape[0], *Z.shape[-2:])], -1)
