"""Multi-indices: which derivatives are carried together, and how they combine.

A derivative ∂^α u with α = (α₁, …, α_D) is one *stream*. A set of streams that is closed under taking parts
(β ≤ α ∈ A ⇒ β ∈ A) can be pushed through products and functions without touching any other derivative:

    ∂^α (f g)  = Σ_{β ≤ α} C(α, β) ∂^β f ∂^{α−β} g                     (Leibniz)
    ∂^α σ(h)   = Σ_{partitions π of α} σ^{(|π|)}(h) Π_{β ∈ π} ∂^β h     (Faà di Bruno)

This file makes the tables of both sums once per set; the arithmetic lives in `jet.py`.

A stream may also be an operator with constant coefficients, L = Σ c_α ∂^α, in place of its parts (`collapse.py`):

    L(f g) = f L g + g L f + Σ c_α Σ_{0 < β < α} C(α, β) ∂^β f ∂^{α−β} g
    L σ(h) = σ′(h) L h + Σ c_α (the terms of ∂^α σ(h) with two factors and more)

so that it needs only what lies strictly below its α: Δ in D dimensions 2 + D streams, not 1 + 2 D.

Source: Constantine and Savits (1996), A multivariate Faà di Bruno formula, doi:10.1090/S0002-9947-96-01501-2; for
operators Li et al. (2023), forward Laplacian, arXiv:2307.08214, and Dangel et al. (2025), arXiv:2505.13644.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from math import comb, prod
from typing import Any

MultiIndex = tuple[int, ...]
Operator = tuple[tuple[MultiIndex, float], ...]          # (α, c_α) for each part
Stream = MultiIndex | Operator


def below(alpha: MultiIndex) -> Iterable[MultiIndex]:
    """All β ≤ α, α and 0 included."""
    return product(*(range(a + 1) for a in alpha))


def parts(stream: Stream) -> Operator:
    """The (α, c_α) of a stream; a derivative is its own only part."""
    return stream if isinstance(stream[0], tuple) else ((stream, 1.0),)


@dataclass(frozen=True)
class IndexSet:
    """A set of multi-indices closed under taking parts, sorted by order, the first 0, and operators after them.

    Args:
        indices: The multi-indices, each of length D, and operators.
    """

    indices: tuple[Any, ...]

    @staticmethod
    def closure(requested: Iterable[Stream], dimension: int) -> IndexSet:
        """Smallest closed set that holds `requested` (the value itself is always in it)."""
        found, operators = {(0,) * dimension}, set()
        for stream in requested:
            if isinstance(stream[0], tuple):
                operators.add(stream)
                for alpha, _ in parts(stream):
                    found.update(beta for beta in below(alpha) if beta != alpha)
            else:
                found.update(below(stream))
        ordered = sorted(found, key=lambda a: (sum(a), tuple(-k for k in a)))
        return IndexSet((*ordered, *sorted(operators)))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def dimension(self) -> int:
        """D, the number of coordinates."""
        return len(self.indices[0])

    @property
    def order(self) -> int:
        """Highest total order |α|."""
        return max(sum(a) for stream in self.indices for a, _ in parts(stream))

    def position(self, alpha: Stream) -> int:
        """Row of a stream."""
        return self.indices.index(alpha)

    def leibniz(self) -> tuple[tuple[tuple[float, int, int], ...], ...]:
        """For every α the terms (C(α, β), row of β, row of α − β) of ∂^α (f g)."""
        return _leibniz(self.indices)

    def faa_di_bruno(self, present: tuple[int, ...]):
        """For every α the terms of ∂^α σ(h), grouped by the derivative of σ.

        Args:
            present: Rows of the streams of h that are not identically zero; terms with another are left out.

        Returns:
            One tuple per α of ``(k, ((count, (i, j, …)), …))``: σ^{(k)}(h) multiplies Σ count · h_i h_j …, where i, j
            are positions in `present`.
        """
        return _faa_di_bruno(self.indices, present)


def _tabulated(make: Callable) -> Callable:
    """`make`, remembered by its arguments; torch.compile takes the table as it is, without tracing its making."""
    tables: dict = {}

    def table(*key):
        if key not in tables:
            tables[key] = make(*key)
        return tables[key]

    # torch.compiler.assume_constant_result does this, and imports the compiler
    table._dynamo_marked_constant = True   # type: ignore[attr-defined]
    return table


@_tabulated
def _leibniz(indices: tuple[Stream, ...]):
    rows = {stream: i for i, stream in enumerate(indices)}
    table: list[tuple[tuple[float, int, int], ...]] = []
    for stream in indices:
        if not isinstance(stream[0], tuple):
            table.append(tuple((_choose(stream, beta), rows[beta], rows[_minus(stream, beta)])
                               for beta in below(stream)))
            continue
        counts: dict[tuple[int, int], float] = {(0, rows[stream]): 1, (rows[stream], 0): 1}
        for alpha, c in parts(stream):
            for beta in below(alpha):
                if any(beta) and beta != alpha:
                    key = rows[beta], rows[_minus(alpha, beta)]
                    counts[key] = counts.get(key, 0) + c * _choose(alpha, beta)
        table.append(tuple((count, *key) for key, count in counts.items()))
    return tuple(table)


def _choose(alpha, beta) -> int:
    return prod(map(comb, alpha, beta))


def _minus(alpha, beta) -> MultiIndex:
    return tuple(a - b for a, b in zip(alpha, beta, strict=True))


def _partitions(items: tuple[int, ...]) -> Iterable[list[list[int]]]:
    """All set partitions of a tuple of labels."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for partition in _partitions(rest):
        yield [[first], *partition]
        for i in range(len(partition)):
            yield [*partition[:i], [first, *partition[i]], *partition[i + 1:]]


@_tabulated
def _faa_di_bruno(indices: tuple[Stream, ...], present: tuple[int, ...]):
    rows = {stream: i for i, stream in enumerate(indices)}
    slot = {row: i for i, row in enumerate(present)}
    table = []
    for stream in indices:
        counts: dict[tuple[int, ...], float] = {}
        whole = isinstance(stream[0], tuple)
        if whole and rows[stream] in slot:
            counts[slot[rows[stream]],] = 1
        for alpha, c in parts(stream):
            for partition in _partitions(tuple(axis for axis, count in enumerate(alpha) for _ in range(count))):
                if whole and len(partition) == 1:
                    continue                                  # σ′(h) ∂^α h, all of which are σ′(h) L h
                blocks = [rows[tuple(block.count(axis) for axis in range(len(alpha)))] for block in partition]
                if all(b in slot for b in blocks):
                    key = tuple(sorted(slot[b] for b in blocks))
                    counts[key] = counts.get(key, 0) + (c if whole else 1)
        by_order: dict[int, list] = {}
        for key, count in counts.items():
            by_order.setdefault(len(key), []).append((count, key))
        table.append(tuple((k, tuple(terms)) for k, terms in sorted(by_order.items())))
    return tuple(table)
