"""Multi-indices: which derivatives are carried together, and how they combine.

A derivative ∂^α u with α = (α₁, …, α_D) is one *stream*. A set of streams that is closed under taking parts
(β ≤ α ∈ A ⇒ β ∈ A) can be pushed through products and functions without touching any other derivative:

    ∂^α (f g)  = Σ_{β ≤ α} C(α, β) ∂^β f ∂^{α−β} g                     (Leibniz)
    ∂^α σ(h)   = Σ_{partitions π of α} σ^{(|π|)}(h) Π_{β ∈ π} ∂^β h     (Faà di Bruno)

This file makes the tables of both sums once per set; the arithmetic lives in `jet.py`.

Source: Constantine and Savits (1996), A multivariate Faà di Bruno formula, doi:10.1090/S0002-9947-96-01501-2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from math import comb, prod

MultiIndex = tuple[int, ...]


def below(alpha: MultiIndex) -> Iterable[MultiIndex]:
    """All β ≤ α, α and 0 included."""
    return product(*(range(a + 1) for a in alpha))


@dataclass(frozen=True)
class IndexSet:
    """A set of multi-indices closed under taking parts, sorted by order; the first is 0.

    Args:
        indices: The multi-indices, each of length D.
    """

    indices: tuple[MultiIndex, ...]

    @staticmethod
    def closure(requested: Iterable[MultiIndex], dimension: int) -> IndexSet:
        """Smallest closed set that holds `requested` (the value itself is always in it)."""
        found = {(0,) * dimension}
        for alpha in requested:
            found.update(below(alpha))
        return IndexSet(tuple(sorted(found, key=lambda a: (sum(a), tuple(-k for k in a)))))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def dimension(self) -> int:
        """D, the number of coordinates."""
        return len(self.indices[0])

    @property
    def order(self) -> int:
        """Highest total order |α|."""
        return max(sum(a) for a in self.indices)

    def position(self, alpha: MultiIndex) -> int:
        """Row of the stream ∂^α."""
        return self.indices.index(alpha)

    def leibniz(self) -> tuple[tuple[tuple[int, int, int], ...], ...]:
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

    table._dynamo_marked_constant = True   # torch.compiler.assume_constant_result does this, and imports the compiler
    return table


@_tabulated
def _leibniz(indices: tuple[MultiIndex, ...]):
    rows = {alpha: i for i, alpha in enumerate(indices)}
    table = []
    for alpha in indices:
        terms = []
        for beta in below(alpha):
            rest = tuple(a - b for a, b in zip(alpha, beta, strict=True))
            terms.append((prod(map(comb, alpha, beta)), rows[beta], rows[rest]))
        table.append(tuple(terms))
    return tuple(table)


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
def _faa_di_bruno(indices: tuple[MultiIndex, ...], present: tuple[int, ...]):
    rows = {alpha: i for i, alpha in enumerate(indices)}
    slot = {row: i for i, row in enumerate(present)}
    table = []
    for alpha in indices:
        labels = tuple(axis for axis, count in enumerate(alpha) for _ in range(count))
        counts: Counter = Counter()
        for partition in _partitions(labels):
            blocks = []
            for block in partition:
                beta = tuple(block.count(axis) for axis in range(len(alpha)))
                blocks.append(rows[beta])
            if all(b in slot for b in blocks):
                counts[tuple(sorted(slot[b] for b in blocks))] += 1
        by_order: dict[int, list] = {}
        for blocks, count in counts.items():
            by_order.setdefault(len(blocks), []).append((count, blocks))
        table.append(tuple((k, tuple(terms)) for k, terms in sorted(by_order.items())))
    return tuple(table)
