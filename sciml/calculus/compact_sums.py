"""Sums of Gaussians that end at a radius, over the pairs of points and Gaussians that see each other.

    u_c^{(α)}(x_n) = Σ_{i near n} a_ci D^α F_0(q_i(x_n))

Points are taken in groups whose pairs fit into a fixed amount of memory; the reverse pass looks for the pairs again
instead of keeping them, and adds up by Gaussian in a fixed order. A record on a tape knows the Jacobian by its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .compact import half_widths, moved, pair_streams, plain_streams, shaped, squares
from .indices import IndexSet
from .pairs import Pairs, find_pairs
from .tape import Contribution


class Entries(NamedTuple):
    """Entries of ∂r/∂tensor of one component.

    Args:
        tensor: A parameter, or what was computed from parameters.
        rows: Points, shape (E,).
        columns: Positions in the flattened tensor, shape (E,).
        values: Shape (E,); entries of the same place add up.
    """

    tensor: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor


def near_pairs(X: Tensor, centres: Tensor, shape: Tensor, cutoff: float) -> Iterator[tuple[slice, Pairs]]:
    """Groups of points, and the pairs with q < κ² of each."""
    X, centres, shape = X.detach(), centres.detach(), shape.detach()
    if not all(bool(torch.isfinite(t).all()) for t in (X, centres, shape)):          # NaN must show, and lies nowhere
        return ((slice(n, min(n + 64, len(X))), Pairs.all(min(64, len(X) - n), len(centres), X.device))
                for n in range(0, len(X), 64))
    inverse = torch.exp(-shape) if shape.ndim == 2 else torch.linalg.inv(shape)
    return find_pairs(X, centres, half_widths(shape, cutoff),
                      lambda delta, columns: squares(delta, inverse[columns]) < cutoff**2)


def compact_sums(X: Tensor, centres: Tensor, shape: Tensor, amplitudes: Tensor, indices: IndexSet, cutoff: float
                 ) -> Tensor:
    """Σ_i a_ci D^α F_0 at points, shape (S, N, C).

    Args:
        X: Points, shape (N, D).
        centres: μ, shape (M, D).
        shape: log s, shape (M, D), or Σ, shape (M, D, D).
        amplitudes: a, shape (C, M).
        indices: The set of α.
        cutoff: κ.
    """
    return _CompactSums.apply(X, centres, shape, amplitudes, indices, cutoff)


def _group(X: Tensor, centres: Tensor, shape: Tensor, amplitudes: Tensor, pairs: Pairs, indices: IndexSet,
           cutoff: float) -> Tensor:
    """The sums at the points of one group, shape (S, n, C)."""
    streams = pair_streams(X, centres, shape, pairs, indices, cutoff)
    a = pairs.at_gaussians(amplitudes.t())
    return pairs.over_gaussians(streams.t()[:, :, None] * a[:, None]).transpose(0, 1)


class _CompactSums(torch.autograd.Function):
    """`compact_sums`, group by group."""

    @staticmethod
    def forward(ctx, X, centres, shape, amplitudes, indices, cutoff):
        ctx.indices, ctx.cutoff = indices, cutoff
        ctx.save_for_backward(X, centres, shape, amplitudes)
        out = X.new_empty(len(indices), len(X), len(amplitudes))
        for rows, pairs in near_pairs(X, centres, shape, cutoff):
            out[:, rows] = _group(X[rows], centres, shape, amplitudes, pairs, indices, cutoff)
        return out

    @staticmethod
    def backward(ctx, adjoint):
        needs, saved = ctx.needs_input_grad[:4], ctx.saved_tensors
        again = torch.is_grad_enabled()                                  # another derivative may follow
        totals = [torch.zeros_like(t) for t in saved]
        for rows, pairs in near_pairs(saved[0], saved[1], saved[2], ctx.cutoff):
            with torch.enable_grad():
                X, mu, shape, a = saved if again else (t.detach().requires_grad_(n)
                                                       for t, n in zip(saved, needs, strict=True))
                part = _group(X[rows], mu, shape, a, pairs, ctx.indices, ctx.cutoff)
            wanted = [t for t, n in zip((X, mu, shape, a), needs, strict=True) if n]
            found = iter(torch.autograd.grad(part, wanted, adjoint[:, rows], create_graph=again))
            totals = [t + next(found) if n else t for t, n in zip(totals, needs, strict=True)]
        return *(t if n else None for t, n in zip(totals, needs, strict=True)), None, None


def every(X: Tensor, centres: Tensor, shape: Tensor, indices: IndexSet, cutoff: float) -> Tensor:
    """The same by all pairs and torch's own derivatives, where a transform looks at single points."""
    N, M = len(X), len(centres)
    return plain_streams(X, centres, shape, Pairs.all(N, M, X.device), indices, cutoff, 0).reshape(-1, N, M)


def dense_streams(X: Tensor, centres: Tensor, shape: Tensor, indices: IndexSet, cutoff: float) -> Tensor:
    """D^α F_0 of every Gaussian at every point, shape (S, N, M): zeros beyond the radius."""
    out = X.new_zeros(len(indices), len(X), len(centres))
    for rows, pairs in near_pairs(X, centres, shape, cutoff):
        values = pair_streams(X[rows], centres, shape, pairs, indices, cutoff)
        out = out.index_put((torch.arange(len(indices), device=X.device)[:, None], (pairs.rows + rows.start)[None],
                             pairs.columns[None]), values)
    return out


@dataclass
class CompactRecord:
    """Sums of Gaussians at points, with the tensors that they were made of.

    Args:
        X: Points.
        centres, shape, amplitudes: As they were given, leaves or not.
        indices, cutoff: Of the sums.
        target: What was made, shape (S, N, C).
        shifts: What is added to the points for each image along periodic coordinates, each (D,).
    """

    X: Tensor
    centres: Tensor
    shape: Tensor
    amplitudes: Tensor
    indices: IndexSet
    cutoff: float
    target: Tensor
    shifts: tuple[Tensor, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """a, and μ and log s or Σ where they are trained."""
        return tuple(t for t in (self.amplitudes, self.centres, self.shape) if t.requires_grad)

    def contributions(self, adjoint: Tensor) -> Iterator[Contribution]:
        """Columns (N, …) of each tensor."""
        found: dict[int, Tensor] = {}
        for tensor, rows, columns, values in self.entries(adjoint):
            J = found.get(id(tensor))
            J = values.new_zeros(len(self.X), tensor.numel()) if J is None else J
            found[id(tensor)] = J.index_put((rows, columns), values, accumulate=True)
        for tensor in self.tensors:
            if id(tensor) in found:
                yield Contribution(tensor, found[id(tensor)].reshape(-1, *tensor.shape), adjoint, None)

    @torch.no_grad()
    def entries(self, adjoint: Tensor) -> Iterator[Entries]:
        """Entries of the Jacobian by the trained tensors, for adjoints (S, N, C)."""
        mu, shape, a = self.centres.detach(), self.shape.detach(), self.amplitudes.detach()
        M, D = mu.shape
        for shift in self.shifts:
            X = self.X.detach() + shift
            for rows, pairs in near_pairs(X, mu, shape, self.cutoff):
                n, i, given = pairs.rows, pairs.columns, (X[rows], mu, shape, pairs, self.indices, self.cutoff)
                g = adjoint[:, rows][:, n]                                                    # (S, P, C)
                if self.amplitudes.requires_grad:
                    columns = (g * pair_streams(*given)[:, :, None]).sum(0)                   # (P, C)
                    for c in range(len(a)):
                        yield Entries(self.amplitudes, n + rows.start, i + c * M, columns[:, c])
                if not (self.centres.requires_grad or self.shape.requires_grad):
                    continue
                total = (g * a.t()[i]).sum(2)
                if self.centres.requires_grad:
                    slopes = -moved(*given, 0, total)
                    for k in range(D):
                        yield Entries(self.centres, n + rows.start, i * D + k, slopes[:, k])
                if self.shape.requires_grad:
                    slopes = shaped(*given, 0, total)
                    for k in range(slopes.shape[1]):
                        yield Entries(self.shape, n + rows.start, i * slopes.shape[1] + k, slopes[:, k])
