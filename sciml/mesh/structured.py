"""Meshes of boxes, and uniform refinement: for tests, references and the script that makes mesh files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from ..errors import ProblemError
from .complex import Cells, Complex, identify
from .kinds import KINDS, CellKind, lagrange


def box(bounds: Sequence[tuple[float, float]], cells: Sequence[int], kind: str = "") -> Complex:
    """A box cut into equal cells.

    Args:
        bounds: (low, high) by coordinate.
        cells: Number of them along each coordinate.
        kind: "line", "triangle", "quad", "tetra" or "hexahedron"; by default simplices (Kuhn's six tetrahedra of a
            cube, two triangles of a square). Faces are named "x-", "x+", "y-", ….

    Raises:
        ProblemError: The kind does not fit the dimension.
    """
    D = len(bounds)
    kind = kind or {1: "line", 2: "triangle", 3: "tetra"}[D]
    shape = KINDS[kind].shape
    if shape.dim != D or KINDS[kind].order > 1:
        raise ProblemError(f"a box in {D} dimensions cannot be cut into cells of kind {kind!r}")
    axes = [torch.linspace(lo, hi, n + 1, dtype=torch.float64) for (lo, hi), n in zip(bounds, cells, strict=True)]
    X = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, D)
    strides = [1] * D
    for i in range(D - 2, -1, -1):
        strides[i] = strides[i + 1] * (cells[i + 1] + 1)
    lower = torch.stack(torch.meshgrid(*[torch.arange(n) for n in cells], indexing="ij"), -1).reshape(-1, D)
    base = (lower * torch.tensor(strides)).sum(1)
    if shape.simplex and D > 1:
        paths = []
        for order in permutations(range(D)):
            path, at = [0], 0
            for i in order:
                at += strides[i]
                path.append(at)
            even = sum(a > b for i, a in enumerate(order) for b in order[i + 1:]) % 2 == 0
            paths.append(path if even else [path[2], path[1], path[0], *path[3:]])
        nodes = torch.stack([base[:, None] + torch.tensor(p) for p in paths], 1).reshape(-1, D + 1)
    else:
        corners = [sum(int(c) * s for c, s in zip(corner, strides, strict=True)) for corner in shape.corners]
        nodes = base[:, None] + torch.tensor(corners)
    made = Complex(X, (Cells(KINDS[kind], nodes),))
    return Complex(X, made.blocks, surfaces=_faces(made, bounds))


def _faces(made: Complex, bounds) -> dict[str, Tensor]:
    """Boundary facets by the face of the box that they lie on."""
    found: dict[str, Tensor] = {}
    size = max(hi - lo for lo, hi in bounds)
    (facets,) = made.facets
    middle = made.X[facets.nodes].mean(1)
    for i, (lo, hi) in enumerate(bounds):
        for sign, end in (("-", lo), ("+", hi)):
            name = f"{'xyz'[i]}{sign}"
            found[name] = ((middle[:, i] - end).abs() < 1e-9 * size).nonzero()[:, 0]
    return found


def edges(complex_: Complex) -> tuple[Tensor, list[Tensor]]:
    """All edges as pairs of corners, shape (M, 2), and by block the number of each cell's edges, shape (E, e)."""
    pairs = [b.nodes[:, list(edge)] for b in complex_.blocks for edge in b.kind.shape.edges]
    sizes = [(len(b), len(b.kind.shape.edges)) for b in complex_.blocks]
    rows = torch.cat(pairs)
    _, inverse = torch.unique(identify(rows, len(complex_.X)), return_inverse=True)
    count = int(inverse.max()) + 1
    found = torch.zeros(count, 2, dtype=torch.long)
    found[inverse] = rows.sort(dim=1).values
    numbers, at = [], 0
    for E, e in sizes:
        numbers.append(inverse[at:at + E * e].view(e, E).T.contiguous())
        at += E * e
    return found, numbers


def quadratic(complex_: Complex) -> Complex:
    """The same cells with nodes in the middle of edges (faces, cells): straight cells of order 2.

    Raises:
        ProblemError: Cells have order 2 already.
    """
    if complex_.order > 1:
        raise ProblemError("the cells are quadratic already")
    pairs, numbers = edges(complex_)
    X, V = [complex_.X, complex_.X[pairs].mean(1)], len(complex_.X) + len(pairs)
    blocks = []
    faces = _face_numbers(complex_) if any(b.kind.name == "hexahedron" for b in complex_.blocks) else None
    if faces is not None:
        X.append(complex_.X[faces[0]].mean(1))
    at = V + (len(faces[0]) if faces is not None else 0)
    for i, (block, number) in enumerate(zip(complex_.blocks, numbers, strict=True)):
        kind = lagrange(block.kind.shape, 2)
        columns = [block.nodes, number + len(complex_.X)]
        if "faces" in kind.extra and faces is not None:
            columns.append(faces[1][i] + V)
        if "middle" in kind.extra:
            columns.append(torch.arange(at, at + len(block))[:, None])
            X.append(complex_.X[block.nodes].mean(1))
            at += len(block)
        blocks.append(Cells(kind, torch.cat(columns, 1)))
    # Facets keep their numbers, which depend on corners' order alone.
    return Complex(torch.cat(X), tuple(blocks), complex_.volumes, complex_.surfaces)


def _face_numbers(complex_: Complex) -> tuple[Tensor, list[Tensor]]:
    """Corners of quadrilateral faces, and by block the number of each cell's faces."""
    rows = [b.nodes[:, list(f)] for b in complex_.blocks for f in b.kind.shape.facets]
    key = torch.unique(identify(torch.cat(rows), len(complex_.X)), return_inverse=True)[1]
    found = torch.zeros(int(key.max()) + 1, 4, dtype=torch.long)
    found[key] = torch.cat(rows)
    numbers, at = [], 0
    for b in complex_.blocks:
        f = len(b.kind.shape.facets)
        numbers.append(key[at:at + len(b) * f].view(f, len(b)).T)
        at += len(b) * f
    return found, numbers


def refined(complex_: Complex) -> Complex:
    """Every cell cut into 2^d similar ones (tetrahedra by Bey's rule); groups are inherited.

    Cells of order 2 fill the same curved domain afterwards, node for node.

    Source: Bey (1995), doi:10.1007/BF02238487.
    """
    if complex_.order > 1:
        return _refined_curved(complex_)
    fine = quadratic(complex_)
    blocks, parents, start = [], [], 0
    for old, new in zip(complex_.blocks, fine.blocks, strict=True):
        table = torch.tensor(_children(new.kind))
        blocks.append(Cells(old.kind, new.nodes[:, table].reshape(-1, table.shape[1])))
        parents.append(torch.arange(start, start + len(old)).repeat_interleave(len(table)))
        start += len(old)
    parent = torch.cat(parents)
    made = Complex(fine.X, tuple(blocks))
    volumes = {}
    for name, numbers in complex_.volumes.items():
        mask = torch.zeros(len(complex_), dtype=torch.bool)
        mask[numbers] = True
        volumes[name] = mask[parent].nonzero()[:, 0]
    return Complex(fine.X, made.blocks, volumes, _inherited(complex_, fine, made))


def _refined_curved(complex_: Complex) -> Complex:
    """Cells of order 2: those of order 1 are refined, then moved to where their parents' maps take their nodes."""
    straight = [Cells(lagrange(b.kind.shape, 1), b.nodes[:, :b.kind.corners]) for b in complex_.blocks]
    made = quadratic(refined(Complex(complex_.X, tuple(straight), complex_.volumes, complex_.surfaces)))
    X = made.X.clone()
    for old, new in zip(complex_.blocks, made.blocks, strict=True):
        kind = lagrange(old.kind.shape, 1)
        one = quadratic(refined(Complex(kind.nodes, (Cells(kind, torch.arange(kind.size)[None]),))))
        xi = one.X[one.blocks[0].nodes]                                     # (children, nodes, D)
        X[new.nodes] = torch.einsum("cka,ead->eckd", old.kind.values(xi.flatten(0, 1)).view(*xi.shape[:2], -1),
                                    complex_.X[old.nodes]).flatten(0, 1)
    return without_unused(made.moved(X))


def without_unused(complex_: Complex) -> Complex:
    """The same cells with the nodes that they use, in their order."""
    used, flat = torch.unique(torch.cat([b.nodes.reshape(-1) for b in complex_.blocks]), return_inverse=True)
    blocks, at = [], 0
    for b in complex_.blocks:
        blocks.append(Cells(b.kind, flat[at:at + b.nodes.numel()].view_as(b.nodes)))
        at += b.nodes.numel()
    return Complex(complex_.X[used], tuple(blocks), complex_.volumes, complex_.surfaces)


def _inherited(coarse: Complex, fine: Complex, made: Complex) -> dict[str, Tensor]:
    """Facet groups of a refined complex: the children of a facet are its own refinement."""
    where: dict[int, tuple[Tensor, Tensor]] = {}
    found = {}
    for name, numbers in coarse.surfaces.items():
        parts = []
        for facets in fine.chosen(numbers):
            table = torch.tensor(_children(facets.kind))
            children = facets.nodes[:, table].reshape(-1, table.shape[1])
            for facets_, start in zip(made.facets, made.facet_starts, strict=True):
                if facets_.kind.corners != children.shape[1]:
                    continue
                if start not in where:
                    key = identify(facets_.nodes, len(made.X))
                    where[start] = key.sort()
                keys, order = where[start]
                parts.append(order[torch.searchsorted(keys, identify(children, len(made.X)))] + start)
        found[name] = torch.cat(parts).sort().values if parts else numbers
    return found


def _children(kind: CellKind) -> list[list[int]]:
    """Nodes of a quadratic cell that make the corners of its children."""
    return {"vertex": [[0]], "line3": [[0, 2], [2, 1]],
            "triangle6": [[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]],
            "quad9": [[0, 4, 8, 7], [4, 1, 5, 8], [8, 5, 2, 6], [7, 8, 6, 3]],
            "tetra10": [[0, 4, 6, 7], [4, 1, 5, 8], [6, 5, 2, 9], [7, 8, 9, 3],
                        [4, 6, 7, 8], [5, 6, 4, 8], [6, 7, 8, 9], [8, 5, 6, 9]],
            "hexahedron27": [[_corner27(c, e) for e in _CORNERS] for c in _CORNERS]}[kind.name]


_CORNERS = KINDS["hexahedron"].shape.corners


def _corner27(child, corner) -> int:
    """Node of a hexahedron27 at half the sum of two corners' coordinates."""
    nodes = KINDS["hexahedron27"].nodes.tolist()
    return nodes.index([(a + b) / 2 for a, b in zip(child, corner, strict=True)])
