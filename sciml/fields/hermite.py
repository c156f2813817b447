"""Cubic Hermite pieces of one coordinate, mostly time: values and slopes at equally spaced knots.

    u(t) = Σ_k u(t_k) H₀(s) + h u'(t_k) H₁(s),   s = (t − t_k)/h
    H₀(s) = (1 − |s|)² (1 + 2|s|),   H₁(s) = s (1 − |s|)²   for |s| ≤ 1, otherwise zero

What an integrator finds, values and rates of change, are the coefficients themselves; between knots a smooth function
is reached to h⁴/384 of its fourth derivative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ProblemError
from .axes import Axis, legendre

NODES = 4                  # Gauss–Legendre points in a piece: exact for products of two cubics


class HermiteAxis(Axis):
    """Continuously differentiable piecewise cubics, functions 2k for u(t_k) and 2k + 1 for h u'(t_k).

    Args:
        low, high: The ends.
        pieces: K, of equal length h.
        held: As in `Axis`: those of the first and last knots' functions that are left out.
        dtype: Of what is returned.

    Raises:
        ProblemError: There is no piece, or more than value and slope are held at an end.

    Note:
        Derivatives above the first are those within the pieces: the second jumps at the knots, the fourth is zero.
    """

    def __init__(self, low: float, high: float, pieces: int, held: tuple[int, int] = (0, 0),
                 dtype: torch.dtype = torch.float64):
        super().__init__(low, high, held)
        if pieces < 1 or max(held) > 2:
            raise ProblemError(f"cubic Hermite pieces need a piece at least and hold value and slope at most, got "
                               f"{pieces} pieces and {max(held)} derivatives held; leave constraints=hard out")
        self.pieces, self.step = int(pieces), (self.high - self.low) / pieces
        last = 2 * pieces
        kept = [*range(held[0], last), *range(last + held[1], last + 2)] if pieces else []
        self.register_buffer("transform", torch.eye(last + 2, dtype=dtype)[:, kept], persistent=False)
        self.kept = tuple(kept)

    @property
    def knots(self) -> Tensor:
        """t_k, shape (K + 1,), float64."""
        return torch.linspace(self.low, self.high, self.pieces + 1, dtype=torch.float64)

    def quadrature(self) -> tuple[Tensor, Tensor]:
        """Gauss–Legendre points and weights of every piece."""
        x, w = legendre(0.0, self.step, NODES)
        return (self.knots[:-1, None] + x).reshape(-1), w.repeat(self.pieces)

    def raw(self, x: Tensor, order: int) -> Tensor:
        place = (x - self.low) / self.step
        piece = place.detach().floor().clamp(0, self.pieces - 1).long()
        s = place - piece
        h = self.step
        zero, one = torch.zeros_like(s), torch.ones_like(s)
        # by derivative: value at the left knot, slope there, value at the right knot, slope there
        table = [[(1 + 2 * s) * (1 - s)**2, s * (1 - s)**2, s * s * (3 - 2 * s), s * s * (s - 1)],
                 [6 * s * (s - 1), (1 - s) * (1 - 3 * s), 6 * s * (1 - s), s * (3 * s - 2)],
                 [12 * s - 6, 6 * s - 4, 6 - 12 * s, 6 * s - 2],
                 [12 * one, 6 * one, -12 * one, 6 * one]]
        index = 2 * piece[:, None] + torch.arange(4, device=x.device)
        streams = []
        for k in range(order + 1):
            local = torch.stack(table[k] if k < len(table) else [zero] * 4, dim=1) / h**k
            streams.append(local.new_zeros(len(x), 2 * self.pieces + 2).scatter(1, index, local))
        return torch.stack(streams)
