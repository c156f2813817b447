"""Collapsing: derivatives that enter equations only as a sum with constant coefficients become one stream.

In u_t + u u_x − ν u_xx the highest derivatives appear as L u = u_t − ν u_xx alone. L can be pushed through a network in
their place (`indices.py`): three streams, u, u_x and L u, and not four; Poisson's equation in five dimensions takes
seven in place of eleven. Values are the same to rounding, and so are gradients and Jacobians.

Source: Li et al. (2023), arXiv:2307.08214, for the Laplacian; Dangel et al. (2025), arXiv:2505.13644, for linear
operators. Here the operators are found in the equations, which may be nonlinear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .indices import IndexSet, MultiIndex, Operator, Stream, below


@dataclass(frozen=True)
class Slot:
    """Reference to an earlier value of a program."""

    index: int


MOST = 64                  # terms of a sum that is looked through
Sum = dict[int | None, float]       # coefficients by step; None: of 1
Steps = list[tuple]


def collapse(steps: Steps, results: Sequence[Any]) -> tuple[Steps, tuple[Any, ...]] | None:
    """The steps of a program with operators in place of derivatives, and its results; None where nothing is gained.

    An operator is taken only if none of its derivatives is needed besides: in another sum, or for a higher one.

    Args:
        steps: ("leaf", key) or ("call", function, arguments, options), arguments that are `Slot`s before their use.
        results: Slots, or whatever stands still.
    """
    asked = [step[1] for step in steps if step[0] == "leaf" and step[1][0] == "unknown"]
    if not asked or not all(alpha and not isinstance(alpha[0], tuple) for _, _, alpha in asked):
        return None
    alphas = {alpha for _, _, alpha in asked}
    lower = {beta for alpha in alphas for beta in below(alpha) if beta != alpha}
    sums = _sums(steps)
    roots = _roots(steps, results, sums)
    found: dict[tuple[int, str], Operator] = {}                  # L by root and unknown, as it stands there
    for root in roots:
        by_name: dict[str, list[tuple[MultiIndex, float]]] = {}
        for i, c in sums[root].items():
            if i is not None and _highest(steps[i], lower):
                _, name, alpha = steps[i][1]
                by_name.setdefault(name, []).append((alpha, c))
        found.update({(root, name): tuple(sorted(terms)) for name, terms in by_name.items()})
    owners: dict[MultiIndex, set[Operator]] = {}
    for operator in found.values():
        for alpha, _ in operator:
            owners.setdefault(alpha, set()).add(_scaled(operator))
    taken = {operator for some in owners.values() for operator in some if len(operator) > 1
             and all(len(owners[alpha]) == 1 for alpha, _ in operator)}
    use = {key: operator for key, operator in found.items() if _scaled(operator) in taken}
    if not use or not _fewer(alphas, taken):
        return None
    return _rewritten(steps, results, sums, use)


def _highest(step: tuple, lower: set[MultiIndex]) -> bool:
    """Whether a step is a derivative of an unknown that no other derivative is made of."""
    if step[0] != "leaf":
        return False
    kind, _, alpha = step[1]
    return kind == "unknown" and any(alpha) and alpha not in lower


def _scaled(operator: Operator) -> Operator:
    """The operator whose first coefficient is 1."""
    first = operator[0][1]
    return tuple((alpha, c / first) for alpha, c in operator)


def _fewer(alphas: set[MultiIndex], taken: set[Operator]) -> bool:
    dimension = len(next(iter(alphas)))
    gone = {alpha for operator in taken for alpha, _ in operator}
    mixed: list[Stream] = [*(alphas - gone), *taken]
    return len(IndexSet.closure(mixed, dimension)) < len(IndexSet.closure(alphas, dimension))


def _number(a: Any) -> bool:
    return isinstance(a, (int, float)) and not isinstance(a, bool)


def _sums(steps: Steps) -> list[Sum]:
    """Every step as a sum of others that are none, with coefficients."""
    sums: list[Sum] = []
    for i, step in enumerate(steps):
        own: Sum | None = None
        if step[0] == "call" and not step[3]:
            own = _sum(step[1], [sums[a.index] if isinstance(a, Slot) else {None: float(a)} if _number(a) else None
                                 for a in step[2]])
        sums.append({i: 1.0} if own is None or len(own) > MOST else own)
    return sums


def _sum(function: Any, args: Sequence[Sum | None]) -> Sum | None:
    if any(a is None for a in args):
        return None
    first, second = (*args, None)[:2]
    assert first is not None
    if function is torch.neg and len(args) == 1:
        return {k: -c for k, c in first.items()}
    if len(args) != 2 or second is None:
        return None
    if function in (torch.add, torch.sub):
        sign, total = (1.0 if function is torch.add else -1.0), dict(first)
        for k, c in second.items():
            total[k] = total.get(k, 0.0) + sign * c
        return {k: c for k, c in total.items() if c != 0} or {None: 0.0}
    if function is torch.mul and set(first) == {None}:
        first, second = second, first
    if function in (torch.mul, torch.div) and set(second) == {None}:
        factor = second[None]
        if factor == 0:
            return None
        return {k: c * factor if function is torch.mul else c / factor for k, c in first.items()}
    return None


def _inner(step: tuple) -> list[int]:
    """Steps that a call takes."""
    return [a.index for a in (*step[2], *step[3].values()) if isinstance(a, Slot)] if step[0] == "call" else []


def _roots(steps: Steps, results: Sequence[Any], sums: Sequence[Sum]) -> list[int]:
    """Steps whose value is used other than in a sum: results, and arguments of calls that are no sums."""
    roots: dict[int, None] = {}
    todo = [a.index for a in results if isinstance(a, Slot)]
    while todo:
        i = todo.pop()
        if i not in roots:
            roots[i] = None
            todo += [j for k in sums[i] if k is not None for j in _inner(steps[k])]
    return list(roots)


def _rewritten(steps: Steps, results: Sequence[Any], sums: Sequence[Sum],
               use: Mapping[tuple[int, str], Operator]) -> tuple[Steps, tuple[Any, ...]]:
    changed = {root: {n: op for (r, n), op in use.items() if r == root} for root in {r for r, _ in use}}
    needed: set[int] = set()
    todo = [a.index for a in results if isinstance(a, Slot)]
    while todo:
        i = todo.pop()
        if i not in needed:
            needed.add(i)
            todo += [k for k in _left(steps, sums[i], changed[i])[0] if k is not None] if i in changed \
                else _inner(steps[i])
    made: Steps = []
    places: dict[Any, int] = {}

    def put(step: tuple) -> int:
        made.append(step)
        return len(made) - 1

    def leaf(name: str, operator: Operator) -> int:
        key = ("unknown", name, operator)
        if key not in places:
            places[key] = put(("leaf", key))
        return places[key]

    for i in sorted(needed):
        if i not in changed:
            move = lambda a: Slot(places[a.index]) if isinstance(a, Slot) else a
            step = steps[i]
            places[i] = put(step if step[0] == "leaf" else
                            ("call", step[1], tuple(map(move, step[2])), {k: move(a) for k, a in step[3].items()}))
            continue
        others, operators = _left(steps, sums[i], changed[i])
        terms: list[tuple[Any, float]] = [(Slot(leaf(n, _scaled(op))), op[0][1]) for n, op in operators.items()]
        terms += [(None if k is None else Slot(places[k]), c) for k, c in others.items()]
        total: Any = None
        for term, c in terms:
            value = c if term is None else term if c == 1 else Slot(put(("call", torch.mul, (term, c), {})))
            total = value if total is None else Slot(put(("call", torch.add, (total, value), {})))
        places[i] = total.index
    return made, tuple(Slot(places[a.index]) if isinstance(a, Slot) else a for a in results)


def _left(steps: Steps, total: Sum, operators: Mapping[str, Operator]) -> tuple[Sum, Mapping[str, Operator]]:
    """What of a sum no operator stands for, and the operators."""
    inside = {("unknown", name, alpha) for name, operator in operators.items() for alpha, _ in operator}
    return {k: c for k, c in total.items()
            if k is None or steps[k][0] != "leaf" or steps[k][1] not in inside}, operators
