"""Assembly: element matrices and vectors added up into sparse matrices and vectors.

    A_ij = Σ_e A^e_ab  over cells e with dofs(e, a) = i, dofs(e, b) = j

Where entries fall is a `Pattern`, found once for a pair of spaces and kept by the space; then assembling is one sum by
index, differentiable in the entries. Cells come in chunks, so that a million of them take little memory.

Coefficients are numbers, tensors by cell or by cell and point, functions of the D columns of x, or a dict of these by
volume group; matrices where a form says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError, unknown_name
from ..mesh.complex import Complex
from .space import Elements, Space
from .sparse import Sparse, Structure

CHUNK = 2**24        # numbers in the gradients of a chunk: 128 MiB
Coefficient = float | Tensor | Callable[..., object] | Mapping[str, object]


class Pattern:
    """Where the element matrices of a pair of spaces fall.

    Args:
        rows: Numbers of the rows of each cell by block, shape (E, k).
        cols: Numbers of its columns by block, shape (E, l).
        shape: Of the matrix.
        starts: Number of the first cell of each block.
    """

    def __init__(self, rows: Sequence[Tensor], cols: Sequence[Tensor], shape: tuple[int, int], starts: Sequence[int]):
        square = all(r is c for r, c in zip(rows, cols, strict=True)) and shape[0] == shape[1]
        names, places = _both_ways(rows, shape[0]) if square else _one_way(rows, cols, shape[1])
        row = torch.div(names, shape[1], rounding_mode="floor")
        counts = torch.bincount(row, minlength=shape[0])
        rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.structure = Structure(rowptr, names - row * shape[1], shape)
        self.places = tuple(places)
        self.starts = tuple(starts)

    def sum(self, parts: Iterable[tuple[Elements, Tensor]]) -> Sparse:
        """The matrix of element matrices (E, k, l) of cells, or of facets on the functions of their cells."""
        values = None
        for part, entries in parts:
            block = max(i for i, start in enumerate(self.starts) if start <= int(part.cells[0]))
            where = self.places[block]
            rows = part.cells - self.starts[block]
            whole = len(rows) == len(where) and part.normals is None
            if values is None:
                values = entries.new_zeros(len(self.structure.col))
            values = values.index_add(0, (where if whole else where[rows]).reshape(-1), entries.reshape(-1))
        if values is None:
            raise ProblemError("no cells to assemble on; does the region have any facet?")
        return Sparse(self.structure, values)


def _numbered(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Different keys, increasing, and the number of each key among them, int32 where that does: half of the memory."""
    if keys.device.type == "cpu":                             # numpy sorts integers several times faster than torch
        order = torch.from_numpy(np.argsort(keys.numpy())).to(keys.device)
    else:
        order = keys.argsort()
    sorted_ = keys[order]
    first = torch.ones_like(sorted_, dtype=torch.bool)
    torch.ne(sorted_[1:], sorted_[:-1], out=first[1:])
    number = torch.empty(len(keys), dtype=torch.int32 if len(keys) < 2**31 else torch.int64, device=keys.device)
    number[order] = (first.cumsum(0) - 1).to(number.dtype)
    return sorted_[first], number


def _one_way(rows: Sequence[Tensor], cols: Sequence[Tensor], width: int) -> tuple[Tensor, list[Tensor]]:
    """Keys row·width + column of all entries, and by block the places of those of each cell, shape (E, k·l)."""
    pairs = [(r[:, :, None] * width + c[:, None, :]).flatten(1) for r, c in zip(rows, cols, strict=True)]
    names, place = _numbered(torch.cat([p.reshape(-1) for p in pairs]))
    return names, [p.view_as(q) for p, q in zip(place.split([q.numel() for q in pairs]), pairs, strict=True)]


def _both_ways(dofs: Sequence[Tensor], size: int) -> tuple[Tensor, list[Tensor]]:
    """`_one_way` of a square matrix, where half of the pairs tell the other half: fewer keys to sort."""
    pairs, keys = [], []
    for d in dofs:
        a, b = torch.triu_indices(d.shape[1], d.shape[1], 1, device=d.device)
        pairs.append((a, b))
        keys.append((torch.minimum(d[:, a], d[:, b]) * size + torch.maximum(d[:, a], d[:, b])).reshape(-1))
    edges, number = _numbered(torch.cat(keys))
    del keys
    low = torch.div(edges, size, rounding_mode="floor")
    high = edges - low * size
    diagonal = torch.arange(size, device=low.device) * (size + 1)
    names, place = _numbered(torch.cat([edges, high * size + low, diagonal]))
    up, down, middle = place.split([len(edges), len(edges), size])
    found, at = [], 0
    for d, (a, b) in zip(dofs, pairs, strict=True):
        n = number[at:at + len(d) * len(a)].view(len(d), -1).long()
        at += n.numel()
        places = torch.empty(len(d), d.shape[1], d.shape[1], dtype=place.dtype, device=d.device)
        forward = d[:, a] < d[:, b]
        there, back = up[n], down[n]
        places[:, a, b], places[:, b, a] = torch.where(forward, there, back), torch.where(forward, back, there)
        places.diagonal(dim1=1, dim2=2).copy_(middle[d])
        found.append(places.flatten(1))
    return names, found


def pattern(rows: Space, cols: Space | None = None, columns: tuple[int, int] = (1, 1)) -> Pattern:
    """The pattern of two spaces on one complex, kept with the first.

    Args:
        rows: Space of the test functions.
        cols: Space of the trial functions; None: the same.
        columns: Components of each; coefficient a of component c has number a·C + c.
    """
    cols = rows if cols is None else cols
    if cols.complex is not rows.complex:
        raise ProblemError("the two spaces of a matrix live on different meshes; make both from one complex")
    kept = vars(rows).setdefault("_patterns", {})
    if (cols, columns) not in kept:
        R = [vector_dofs(d, columns[0]) for d in rows.dofs]
        C = R if cols is rows and columns[0] == columns[1] else [vector_dofs(d, columns[1]) for d in cols.dofs]
        shape = (rows.size * columns[0], cols.size * columns[1])
        kept[cols, columns] = Pattern(R, C, shape, rows.complex.starts)
    return kept[cols, columns]


def vector_dofs(dofs: Tensor, columns: int) -> Tensor:
    """Numbers of the coefficients of C components, shape (E, k·C), from those of one, (E, k)."""
    if columns == 1:
        return dofs
    return (dofs[:, :, None] * columns + torch.arange(columns, device=dofs.device)).flatten(1)


def chunks(space: Space, degree: int) -> Iterator[Elements]:
    """The cells of a space with a quadrature, so many at a time as fit into the memory meant for them.

    Few enough are kept with the space for the next assembly.
    """
    kept = vars(space).setdefault("_elements", {})
    if degree in kept:
        yield from kept[degree]
        return
    D = space.complex.X.shape[1]
    parts = []
    for block, kind, start in zip(space.complex.blocks, space.kinds, space.complex.starts, strict=True):
        Q = len(block.kind.shape.rule(degree)[1])
        parts.append((len(block), max(1, CHUNK // (Q * kind.size * D)), start))
    if all(size <= step for size, step, _ in parts):
        found = space.cells(degree)
        if len(space.complex) < 300_000:
            kept[degree] = found
        yield from found
        return
    for size, step, start in parts:
        for at in range(start, start + size, step):
            numbers = torch.arange(at, min(at + step, start + size), device=space.complex.X.device)
            yield from space.cells(degree, numbers)


def by_point(value: Coefficient, part: Elements, complex_: Complex, shape: tuple[int, ...] = ()) -> Tensor:
    """A coefficient at quadrature points.

    Args:
        value: A number; a tensor of `shape`, or (cells,), (cells, *shape), (cells, Q), (cells, Q, *shape); a function
            of the D columns that returns one value by point; a tuple of components; or a dict of these by volume group.
        part: The cells or facets.
        complex_: Where they are from.
        shape: Of one value: () for a scalar, (C,) for a vector, (D, D) for a matrix.

    Returns:
        Shape (E or 1, Q or 1) where one number stands for all components (or for a multiple of the identity), else
        (E or 1, Q or 1, *shape).

    Raises:
        ProblemError: A shape that fits nothing, an unknown group, or cells in no group of the dict.
    """
    if isinstance(value, Mapping):
        return _by_group(value, part, complex_, shape)
    if callable(value):
        value = value(*part.x.unbind(-1))                                           # type: ignore[assignment]
    if isinstance(value, (tuple, list)):
        columns = [torch.as_tensor(v(*part.x.unbind(-1)) if callable(v) else v, dtype=part.x.dtype) for v in value]
        value = torch.stack(torch.broadcast_tensors(*columns), -1)
    found = torch.as_tensor(value, dtype=part.x.dtype, device=part.x.device)
    points, cells = part.x.shape[:-1], len(complex_)
    if found.ndim == 0 or (shape and found.shape == shape):
        return found[None, None]
    if found.shape in (points, (*points, *shape)):
        return found
    if found.shape in ((cells,), (cells, *shape)):
        return found[part.cells].unsqueeze(1)
    if found.shape in ((cells, points[1]), (cells, points[1], *shape)):
        return found[part.cells]
    raise ProblemError(f"a coefficient has shape {tuple(found.shape)}, expected one value, one by cell ({cells}, …), "
                       f"or one by point {tuple(points)}, each of shape {shape}; does the function return one value "
                       "for each of its points?")


def _by_group(value: Mapping[str, object], part: Elements, complex_: Complex, shape: tuple[int, ...]) -> Tensor:
    group = torch.full((len(complex_),), -1, device=part.cells.device)
    for i, name in enumerate(value):
        if name not in complex_.volumes:
            raise ProblemError(unknown_name("group of cells", name, complex_.volumes))
        group[complex_.volumes[name]] = i
    if bool((group < 0).any()):
        raise ProblemError(f"{int((group < 0).sum())} cells have no value: none of the groups {', '.join(value)} "
                           "contains them; give every group one")
    found = [by_point(v, part, complex_, shape) for v in value.values()]            # type: ignore[arg-type]
    if any(f.ndim > 2 for f in found):
        found = [f if f.ndim > 2 else full(f, shape) for f in found]
    found = [f.expand(*part.x.shape[:-1], *f.shape[2:]) for f in found]
    return torch.stack(found)[group[part.cells], torch.arange(len(part.cells), device=group.device)]


def full(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers (E, Q) as vectors with equal components, or as multiples of the identity: (E, Q, *shape)."""
    if len(shape) == 2:
        return value[..., None, None] * torch.eye(shape[0]).to(value)
    return value.reshape(*value.shape, *(1 for _ in shape)).expand(*value.shape, *shape)
