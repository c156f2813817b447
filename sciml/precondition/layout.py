"""Which condition owns which node of a grid: as many rows as unknowns at every one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..errors import ProblemError
from ..geometry.region import Region
from ..points import Points
from ..problem import Block, Problem
from ..problem.hard import Ansatz
from .preconditioner import inside


@dataclass(frozen=True)
class Part:
    """A block's nodes.

    Args:
        block: With K components.
        nodes: Positions in the grid.
        points: The same, with normals on boundaries.
        unknowns: The K unknowns whose values at these nodes are its share of the columns.
    """

    block: Block
    nodes: np.ndarray
    points: Points
    unknowns: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Rows and columns of a square matrix, both by part, node and component.

    Args:
        parts: In the order of rows.
        index: Column of an unknown at a node, −1 where it is built in, shape (C, N).
    """

    parts: tuple[Part, ...]
    index: np.ndarray

    @property
    def size(self) -> int:
        """Number of rows and of columns."""
        return sum(len(p.nodes) * len(p.unknowns) for p in self.parts)

    def columns(self, c: int) -> sparse.csr_matrix:
        """The matrix (N, size) that takes values of unknown c at all nodes to their columns, built-in ones dropped."""
        live = np.flatnonzero(self.index[c] >= 0)
        return sparse.csr_matrix((np.ones(len(live)), (live, self.index[c, live])),
                                 shape=(self.index.shape[1], self.size))


def lay_out(problem: Problem, blocks: list[Block], ansatz: Ansatz, grid: Points, what: str) -> Layout:
    """Gives every node to one condition.

    What is built in has no columns; conditions on faces take their nodes in the order initial, then as declared; the
    equations take the rest. Observations, integrals and pins are not asked.

    Raises:
        ProblemError: Some node has not as many rows as unknowns.
    """
    C, N = len(problem.unknowns), len(grid)
    live = np.ones((C, N), dtype=bool)
    for b in problem.blocks:
        if b.name in ansatz.satisfied and b.kind in ("initial", "dirichlet"):
            for h in b.hard:
                live[problem.unknowns.index(h.unknown), _mask(b, grid)] = False
    free = live.any(0)
    owned: list[tuple[Block, np.ndarray, tuple[str, ...]]] = []
    for b in sorted(blocks, key=lambda b: b.kind != "initial"):
        if not isinstance(b.region, Region):
            continue
        if b.combine != "each":
            raise ProblemError(f"precondition={what}: condition {b.name!r} compares two faces and is not built into "
                               "the field; take constraints=hard if that is possible, else pseudo-time or none")
        here = _mask(b, grid) & free
        sets = {tuple(column) for column in live[:, here].T}
        for one in sorted(sets):
            names = tuple(u for u, alive in zip(problem.unknowns, one, strict=True) if alive)
            if len(sets) > 1 or len(names) != len(b.components):
                raise _mismatch(what, b, names, grid.X[np.flatnonzero(here)[0]].tolist(), grid.names)
            owned.append((b, np.flatnonzero(here), names))
        free &= ~here
    equations = inside(problem, blocks)
    rest, count = np.flatnonzero(free), sum(len(b.components) for b in equations)
    if not len(rest) or count != C or not live[:, rest].all():
        worst = rest[int((~live[:, rest]).any(0).argmax())] if len(rest) else 0
        raise ProblemError(f"precondition={what} needs as many equations as unknowns at every node, and there are "
                           f"{count} equations for {int(live[:, worst].sum())} unknowns at "
                           f"{_at(grid.X[worst].tolist(), grid.names)}; take pseudo-time or none")
    if "t" in grid.names:
        t = grid.column("t").cpu().numpy()
        if (t[rest] == t.min()).any():
            raise ProblemError(f"precondition={what} needs initial data for every unknown at all nodes at the first "
                               "time; add Initial(…), or take pseudo-time")
    left = tuple(problem.unknowns)
    for b in equations:
        owned.append((b, rest, tuple(left[:len(b.components)])))
        left = left[len(b.components):]
    order = {b.name: i for i, b in enumerate(blocks)}
    owned.sort(key=lambda entry: order[entry[0].name])
    index, start, parts = np.full((C, N), -1), 0, []
    for b, nodes, own in owned:
        for k, u in enumerate(own):
            index[problem.unknowns.index(u), nodes] = start + np.arange(len(nodes)) * len(own) + k
        start += len(nodes) * len(own)
        points = grid[nodes]
        if isinstance(b.region, Region):
            mask = points.X.new_tensor([float(n in b.region.space) for n in grid.names])
            points = Points(points.X, points.names, None, _ordered(b, points, "normal") * mask)
        parts.append(Part(b, nodes, points, own))
    return Layout(tuple(parts), index)


def _mask(block: Block, grid: Points) -> np.ndarray:
    return _ordered(block, grid, "contains").cpu().numpy()


def _ordered(block: Block, points: Points, method: str):
    """A region's method at points whose columns are in the order of the problem's coordinates."""
    assert not isinstance(block.region, Points)
    if tuple(block.region.names) == points.names:
        return getattr(block.region, method)(points.X)
    found = getattr(block.region, method)(points.reorder(block.region.names).X)
    return found if found.ndim == 1 else found[:, [block.region.names.index(n) for n in points.names]]


def _at(x: list[float], names: tuple[str, ...]) -> str:
    return ", ".join(f"{n}={v:.3g}" for n, v in zip(names, x, strict=True))


def _mismatch(what: str, block: Block, names: tuple[str, ...], x: list[float], coordinates) -> ProblemError:
    return ProblemError(f"precondition={what} needs as many rows as unknowns at every node, and condition "
                        f"{block.name!r} gives {len(block.components)} for {', '.join(names) or 'none'} at "
                        f"{_at(x, coordinates)}; take pseudo-time or none")
