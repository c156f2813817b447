"""The Jacobian of residuals as the tape gives it: outer products by layer, never the matrix itself.

For a layer z_s = h_s Wᵀ + b on the streams s, row r of a block has ∂r/∂W = Σ_s a_s h_sᵀ with a_s = ∂r/∂z_s. A
`FactoredJacobian` keeps the a and h and computes from them, a layer at a time,

    J v          r ← Σ_s a_s · (V h_s)                                one product with V for all rows and streams
    Jᵀ w         V ← Σ_r,s (w_r a_s) h_sᵀ                             one product
    K = J Jᵀ     K ← Σ_s,s′ (a_s · a′_s′) (h_s · h′_s′)               two products for each pair of streams
    diag JᵀJ     and its blocks, from some columns of J at a time.

Memory is N·S·K·width numbers a layer instead of N·K·width². Vectors (biases, slopes, unknown parameters) have few
columns and are kept as such; so are layers whose matrix is computed from parameters in a way no record describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from .jacobian import contributions, place, relevant

Outer = tuple[Tensor, Tensor]      # adjoint (S, N, K, out), source (S, N, in)
WIDTH = 512                        # columns of J that are formed at a time


@dataclass
class FactoredRows:
    """Factors of the Jacobian of N·K rows, K components of one point after the other.

    Args:
        N, K: Points and components.
        outer: For some tensors, by position, the pairs whose outer products add up to their columns.
        dense: For some tensors, columns as they are, shape (N·K, size).
    """

    N: int
    K: int
    outer: dict[int, list[Outer]] = field(default_factory=dict)
    dense: dict[int, Tensor] = field(default_factory=dict)

    @staticmethod
    def of_matrix(J: Tensor, parameters: Sequence[Tensor]) -> FactoredRows:
        """Rows of a Jacobian (N, K, P) that is known as a matrix."""
        rows, start = FactoredRows(*J.shape[:2]), 0
        for i, p in enumerate(parameters):
            rows.dense[i] = J[:, :, start:start + p.numel()].reshape(rows.N * rows.K, -1)
            start += p.numel()
        return rows

    def add(self, i: int, columns: Tensor) -> None:
        """Adds columns (N·K, size) of the i-th tensor."""
        self.dense[i] = self.dense[i] + columns if i in self.dense else columns

    def scaled(self, factor: float | Tensor) -> FactoredRows:
        """Rows times a number, or times a number for each point, shape (N, 1)."""
        wide = factor.reshape(-1, 1, 1) if isinstance(factor, Tensor) and factor.ndim else factor
        tall = factor.expand(self.N, self.K).reshape(-1, 1) if isinstance(factor, Tensor) and factor.ndim else factor
        return FactoredRows(self.N, self.K, {i: [(wide * a, h) for a, h in pairs] for i, pairs in self.outer.items()},
                            {i: tall * c for i, c in self.dense.items()})

    def minus(self, other: FactoredRows) -> FactoredRows:
        """The difference of two Jacobians with the same rows: the streams of both."""
        found = FactoredRows(self.N, self.K, {i: list(pairs) for i, pairs in self.outer.items()}, dict(self.dense))
        for i, pairs in other.outer.items():
            found.outer[i] = found.outer.get(i, []) + [(-a, h) for a, h in pairs]
        for i, c in other.dense.items():
            found.add(i, -c)
        return found

    def summed(self, weights: Tensor, groups: int) -> FactoredRows:
        """Σ wₙ of the rows of each of some groups of points: few rows, kept as columns.

        Args:
            weights: Shape (N,).
            groups: Number of groups of N / groups consecutive points.
        """
        found = FactoredRows(groups, self.K)
        for i, pairs in self.outer.items():
            for a, h in pairs:
                S, _, K, out = a.shape
                a = (a * weights.reshape(-1, 1, 1)).reshape(S, groups, -1, K * out).permute(1, 3, 0, 2)
                h = h.reshape(S, groups, -1, h.shape[-1]).transpose(0, 1)
                product = a.reshape(groups, K * out, -1) @ h.reshape(groups, -1, h.shape[-1])
                found.add(i, product.reshape(groups * K, -1))
        for i, c in self.dense.items():
            weighted = weights.reshape(-1, 1, 1) * c.reshape(self.N, self.K, -1)
            found.add(i, weighted.reshape(groups, -1, *weighted.shape[1:]).sum(1).reshape(groups * self.K, -1))
        return found

    def columns(self, i: int, start: int, stop: int) -> Tensor | None:
        """Columns of the rows `start` to `stop` of the i-th tensor's matrix, shape (N·K, (stop − start)·in)."""
        total: Tensor | None = None
        for a, h in self.outer.get(i, []):
            part = a[..., start:stop].reshape(len(a), self.N, -1).permute(1, 2, 0) @ h.transpose(0, 1)
            part = part.reshape(self.N * self.K, -1)
            total = part if total is None else total + part
        if i in self.dense:
            width = self.outer[i][0][1].shape[-1] if i in self.outer else None
            part = self.dense[i] if width is None else self.dense[i][:, start * width:stop * width]
            total = part if total is None else total + part
        return total


class RowMap(NamedTuple):
    """A linear map of some rows: those from `start` to `stop` become `size` others.

    Args:
        apply, transpose: Act along the first axis.
    """

    start: int
    stop: int
    size: int
    apply: Callable[[Tensor], Tensor]
    transpose: Callable[[Tensor], Tensor]


class FactoredJacobian:
    """J of shape (R, P) by its factors.

    Args:
        pieces: Rows, from the first to the last.
        parameters: The tensors that the columns belong to.
        maps: Of rows, in their order and without overlap; the other rows stay as they are.
    """

    def __init__(self, pieces: Sequence[FactoredRows], parameters: Sequence[Tensor], maps: Sequence[RowMap] = ()):
        self.pieces, self.maps = list(pieces), list(maps)
        self.shapes = [tuple(p.shape) for p in parameters]
        sizes = [p.numel() for p in parameters]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        ends = [0]
        for p in self.pieces:
            ends.append(ends[-1] + p.N * p.K)
        self.rows = [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
        self._raw = ends[-1]
        self.like = parameters[0].detach()

    @staticmethod
    def of_matrix(J: Tensor) -> FactoredJacobian:
        """A Jacobian (R, P) that is known as a matrix."""
        return FactoredJacobian([FactoredRows.of_matrix(J[:, None], [J[0]])], [J[0]])

    @property
    def shape(self) -> tuple[int, int]:
        """(R, P)."""
        return self._raw + sum(m.size - (m.stop - m.start) for m in self.maps), self.starts[-1]

    @property
    def bytes(self) -> int:
        """Memory of the factors."""
        tensors = [t for p in self.pieces for pairs in p.outer.values() for pair in pairs for t in pair]
        tensors += [c for p in self.pieces for c in p.dense.values()]
        return sum(t.numel() * t.element_size() for t in tensors)

    def __matmul__(self, v: Tensor) -> Tensor:
        """J v, shape (R,), for v of shape (P,)."""
        parts = []
        for p in self.pieces:
            total = torch.zeros(p.N, p.K, dtype=self.like.dtype, device=self.like.device)
            for i, pairs in p.outer.items():
                V = v[self.starts[i]:self.starts[i + 1]].view(self.shapes[i])
                for a, h in pairs:
                    total += (a * (h @ V.T).unsqueeze(2)).sum((0, 3))
            for i, c in p.dense.items():
                total += (c @ v[self.starts[i]:self.starts[i + 1]]).view(p.N, p.K)
            parts.append(total.reshape(-1))
        return self._mapped(torch.cat(parts))

    def transposed(self, w: Tensor) -> Tensor:
        """Jᵀ w, shape (P,), for w of shape (R,)."""
        w = self._unmapped(w)
        found = torch.zeros(self.starts[-1], dtype=self.like.dtype, device=self.like.device)
        for p, rows in zip(self.pieces, self.rows, strict=True):
            own = w[rows].view(p.N, p.K)
            for i, pairs in p.outer.items():
                for a, h in pairs:
                    b = (a * own.unsqueeze(-1)).sum(2) if p.K > 1 else a[:, :, 0] * own
                    G = b.reshape(-1, b.shape[-1]).T @ h.reshape(-1, h.shape[-1])
                    found[self.starts[i]:self.starts[i + 1]] += G.reshape(-1)
            for i, c in p.dense.items():
                found[self.starts[i]:self.starts[i + 1]] += c.T @ w[rows]
        return found

    def _mapped(self, r: Tensor) -> Tensor:
        """What the maps make of rows, along the first axis."""
        parts, at = [], 0
        for m in self.maps:
            parts += [r[at:m.start], m.apply(r[m.start:m.stop])]
            at = m.stop
        return torch.cat([*parts, r[at:]]) if parts else r

    def _unmapped(self, w: Tensor) -> Tensor:
        parts, at, seen = [], 0, 0
        for m in self.maps:
            plain = m.start - at
            parts += [w[seen:seen + plain], m.transpose(w[seen + plain:seen + plain + m.size])]
            at, seen = m.stop, seen + plain + m.size
        return torch.cat([*parts, w[seen:]]) if parts else w

    def blocks(self, i: int, width: int = WIDTH) -> Iterator[tuple[slice, Tensor]]:
        """Columns of the i-th tensor, some whole rows of its matrix at a time, each of shape (R, columns)."""
        for columns, D in self._raw_blocks(i, width):
            yield columns, self._mapped(D)

    def _raw_blocks(self, i: int, width: int = WIDTH) -> Iterator[tuple[slice, Tensor]]:
        layered = any(i in p.outer for p in self.pieces)
        inner = prod(self.shapes[i][1:]) if layered else 1
        count = self.shapes[i][0] if layered else 1
        step = max(1, width // inner) if layered else 1
        for start in range(0, count, step):
            stop = min(start + step, count)
            columns = slice(self.starts[i] + start * inner, self.starts[i] + stop * inner) if layered else \
                slice(self.starts[i], self.starts[i + 1])
            D = torch.zeros(self._raw, columns.stop - columns.start, dtype=self.like.dtype, device=self.like.device)
            for p, rows in zip(self.pieces, self.rows, strict=True):
                own = _columns(p, i, start, stop, inner) if layered else p.dense.get(i)
                if own is not None:
                    D[rows] = own
            yield columns, D

    def dense(self) -> Tensor:
        """J itself, shape (R, P)."""
        J = torch.zeros(self.shape, dtype=self.like.dtype, device=self.like.device)
        for i in range(len(self.shapes)):
            for columns, D in self.blocks(i):
                J[:, columns] = D
        return J

    def diagonal(self) -> Tensor:
        """Diagonal of JᵀJ, shape (P,): the squares of the lengths of the columns."""
        found = torch.zeros(self.starts[-1], dtype=self.like.dtype, device=self.like.device)
        for i in range(len(self.shapes)):
            for columns, D in self.blocks(i):
                found[columns] = D.square().sum(0)
        return found

    def unit_blocks(self) -> list[tuple[slice, Tensor]]:
        """Blocks of JᵀJ: for a layer those of the weights into each unit, (out, in, in); else (size, 1, 1)."""
        found = []
        for i, shape in enumerate(self.shapes):
            inner = shape[1] if len(shape) == 2 and any(i in p.outer for p in self.pieces) else 1
            parts = []
            for _, D in self.blocks(i):
                D = D.reshape(len(D), -1, inner).transpose(0, 1)
                parts.append(D.transpose(1, 2) @ D)
            found.append((slice(self.starts[i], self.starts[i + 1]), torch.cat(parts)))
        return found

    def kernel(self) -> Tensor:
        """K = J Jᵀ, shape (R, R), layer by layer."""
        K = torch.zeros(self._raw, self._raw, dtype=self.like.dtype, device=self.like.device)
        for i in range(len(self.shapes)):
            if self._pairs_are_cheaper(i):
                self._add_pairs(K, i)
                continue
            for _, D in self._raw_blocks(i):
                _add_gram(K, D)
        K = K.tril() + K.tril(-1).T
        return self._mapped(self._mapped(K).T).T if self.maps else K

    def _pairs_are_cheaper(self, i: int) -> bool:
        """Whether K of a layer costs less by pairs of streams than from its columns."""
        if any(i in p.dense for p in self.pieces) or not any(i in p.outer for p in self.pieces):
            return False
        rows = sum(p.N * p.K for p in self.pieces)
        streams = sum(p.N * p.K * sum(len(a) for a, _ in p.outer.get(i, [])) for p in self.pieces) / max(rows, 1)
        out, inner = self.shapes[i]
        return streams**2 * (out + inner) < out * inner

    def _add_pairs(self, K: Tensor, i: int) -> None:
        held = [(rows, p, p.outer[i]) for p, rows in zip(self.pieces, self.rows, strict=True) if i in p.outer]
        for x, (own, p, pairs) in enumerate(held):
            for other, q, more in held[:x + 1]:                 # the lower triangle
                total = K[own, other].view(p.N, p.K, q.N, q.K)
                for a, h in pairs:
                    for b, g in more:
                        for s in range(len(a)):
                            for t in range(len(b)):
                                A = a[s].reshape(p.N * p.K, -1) @ b[t].reshape(q.N * q.K, -1).T
                                total.addcmul_(A.view(p.N, p.K, q.N, q.K), (h[s] @ g[t].T)[:, None, :, None])


def _columns(p: FactoredRows, i: int, start: int, stop: int, inner: int) -> Tensor | None:
    if i in p.outer:
        return p.columns(i, start, stop)
    return p.dense[i][:, start * inner:stop * inner] if i in p.dense else None


def _add_gram(K: Tensor, D: Tensor, block: int = 384) -> None:
    """Adds D Dᵀ to the lower triangle of K."""
    for start in range(0, len(D), block):
        stop = min(start + block, len(D))
        K[start:, start:stop].addmm_(D[start:], D[start:stop].T)


def taped_factors(residual: Tensor, tape: Sequence, parameters: Sequence[Tensor],
                  expanded: Sequence[tuple[Tensor, Tensor]] = ()) -> FactoredRows:
    """Factors of the Jacobian of pointwise residuals, with the arguments of `taped_jacobian`."""
    N, K = residual.shape
    found, tape = FactoredRows(N, K), relevant(tape, parameters)
    position = {id(p): i for i, p in enumerate(parameters)}
    layers: dict[tuple[int, int], list[tuple[int, Tensor, Tensor]]] = {}
    for k in range(K):
        columns: dict[int, Tensor] = {}
        for record, what in contributions(residual[:, k], tape, expanded):
            if what.matrix is not None and id(what.tensor) in position:
                key = position[id(what.tensor)], record
                layers.setdefault(key, []).append((k, what.adjoint, what.matrix))
            else:
                place(columns, what, parameters, position)
        for i, slope in columns.items():
            if i not in found.dense:
                found.dense[i] = torch.zeros(N, K, slope.shape[1], dtype=residual.dtype, device=residual.device)
            found.dense[i][:, k] = slope
    found.dense = {i: c.reshape(N * K, -1) for i, c in found.dense.items()}
    for (i, _), parts in layers.items():
        adjoint = torch.zeros(*parts[0][1].shape[:2], K, parts[0][1].shape[2], dtype=residual.dtype,
                              device=residual.device)
        for k, a, _h in parts:
            adjoint[:, :, k] = a
        found.outer.setdefault(i, []).append((adjoint, parts[0][2]))
    return found
