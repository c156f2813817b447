"""Checks of meshes: one function for each defect, which returns a sentence or "".

A sentence says how many, which is the first and where it is, and what to do. `check` raises the first one. `FIRST`
are those of nodes and rows, which make sense before nodes are joined and cells turned; `THEN` those of the finished
complex.
Every check is a few sorts or products: all of them take seconds for a million cells.

What is not found: parts that overlap without sharing a facet, and curved cells that fold between their nodes and
quadrature points. A sum of cell volumes against ∮ x·n / d is not made, because it is an identity once every cell has
positive volume and the two cells of every inner facet lie on different sides of it (`twisted`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError
from .complex import Complex, Facets, identify
from .geometry import measure

SAME = 1e-10           # nodes closer than this part of the mesh's size coincide
FLAT = 1e-12           # a cell with less than this part of (longest extent)^d is degenerate
ROUNDING = 1e-15       # of coordinates, relative to the largest
CHUNK = 1 << 14        # cells whose Jacobians are held at a time


def check(complex_: Complex, what: str = "the mesh", *, cracks: bool = False) -> None:
    """Look for every known defect of a mesh.

    Args:
        complex_: The mesh.
        what: What it is called in the message, e.g. "mesh 'part.msh'".
        cracks: Whether nodes that coincide are meant.

    Raises:
        ProblemError: The first defect.
    """
    run((*FIRST, *(() if cracks else (duplicate_nodes,)), *THEN), complex_, what)


def run(checks: tuple[Callable[[Complex], str], ...], complex_: Complex, what: str) -> None:
    """Some checks, in order.

    Raises:
        ProblemError: The first sentence that one of them returns.
    """
    for defect in checks:
        sentence = defect(complex_)
        if sentence:
            raise ProblemError(f"{what}: {sentence}")


def at(x: Tensor) -> str:
    """A position as text."""
    return f"({', '.join(f'{v:.4g}' for v in x.tolist())})"


def size(X: Tensor) -> float:
    """Diagonal of the box around all nodes."""
    return float((X.amax(0) - X.amin(0)).norm()) if len(X) else 0.0


def cell_name(complex_: Complex, number: int) -> str:
    """A cell in messages: its number (from 0, in order of kinds), its kind and its middle."""
    for block, start in zip(complex_.blocks, complex_.starts, strict=True):
        if number < start + len(block):
            return f"cell {number} ({block.kind.name} at {at(complex_.X[block.corners[number - start]].mean(0))})"
    raise IndexError(number)


def empty(complex_: Complex) -> str:
    """No cells, or no nodes."""
    if len(complex_) and len(complex_.X):
        return ""
    return f"it has {len(complex_.X)} nodes and {len(complex_)} cells; write the mesh, not only its geometry"


def unknown_nodes(complex_: Complex) -> str:
    """Cells with numbers of nodes that do not exist."""
    V, bad = len(complex_.X), []
    for block, start in zip(complex_.blocks, complex_.starts, strict=True):
        wrong = ((block.nodes < 0) | (block.nodes >= V)).any(1)
        if wrong.any():
            bad.append((int(wrong.sum()), int(wrong.nonzero()[0]), start, block))
    if not bad:
        return ""
    _, first, start, block = bad[0]
    row = block.nodes[first]
    node = int(row[(row < 0) | (row >= V)][0])
    came = "a node that the file does not define" if node < 0 else f"node {node}, but there are only {V} nodes"
    return (f"{sum(b[0] for b in bad)} cells refer to nodes that do not exist, first cell {start + first} "
            f"({block.kind.name}) to {came}; write the mesh again")


def not_finite(complex_: Complex) -> str:
    """Coordinates that are NaN or infinite."""
    bad = (~torch.isfinite(complex_.X)).any(1).nonzero()[:, 0]
    if len(bad) == 0:
        return ""
    return (f"{len(bad)} nodes have coordinates that are not finite, first node {int(bad[0])} at "
            f"{at(complex_.X[bad[0]])}; write the mesh again")


def repeated(complex_: Complex) -> str:
    """Cells with one node twice."""
    count, first = 0, -1
    for block, start in zip(complex_.blocks, complex_.starts, strict=True):
        rows = block.nodes.sort(dim=1).values
        bad = (rows[:, 1:] == rows[:, :-1]).any(1)
        if bad.any() and first < 0:
            first = start + int(bad.nonzero()[0])
        count += int(bad.sum())
    if not count:
        return ""
    return (f"{count} cells have one node twice, first {cell_name(complex_, first)}; collapsed cells are not "
            "supported: use triangles or tetrahedra there")


def unused_nodes(complex_: Complex) -> str:
    """Nodes of no cell."""
    bad = (~used(complex_)).nonzero()[:, 0]
    if len(bad) == 0:
        return ""
    return (f"{len(bad)} of {len(complex_.X)} nodes belong to no cell, first node {int(bad[0])} at "
            f"{at(complex_.X[bad[0]])}; if cells are not missing, pass merge=True, which drops such nodes")


def used(complex_: Complex) -> Tensor:
    """Mask of the nodes that cells have, shape (V,)."""
    found = torch.zeros(len(complex_.X), dtype=torch.bool)
    for block in complex_.blocks:
        found[block.nodes.reshape(-1)] = True
    return found


def duplicate_nodes(complex_: Complex) -> str:
    """Different nodes at one place."""
    pairs = coincident(complex_.X)
    if len(pairs) == 0:
        return ""
    a, b = pairs[0].tolist()
    count = len(np.unique(pairs[:, 1]))
    return (f"{count} nodes coincide with others, first nodes {a} and {b} at {at(complex_.X[a])}: cells are not "
            "connected there; pass merge=True to join them, or merge=False if they are cracks that are meant")


def coincident(X: Tensor) -> np.ndarray:
    """Pairs of nodes (lower, higher) within `SAME` of the mesh's size, sorted, shape (M, 2).

    One sort along a direction in general position; only nodes with a neighbour in it are compared in space.
    """
    eps = SAME * size(X)
    direction = torch.tensor([2**0.5, 3**0.5, 7**0.5], dtype=X.dtype)[:X.shape[1]] / 3   # grids have no ties along it
    s, order = (X @ direction).sort()
    near = s[1:] - s[:-1] <= eps
    flag = torch.zeros(len(X), dtype=torch.bool)
    flag[1:] |= near
    flag[:-1] |= near
    some = order[flag].sort().values.numpy()
    if len(some) == 0:
        return np.empty((0, 2), dtype=np.int64)
    pairs = some[cKDTree(X.numpy()[some]).query_pairs(eps, output_type="ndarray")].reshape(-1, 2)
    pairs.sort(axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64)


def determinants(complex_: Complex) -> tuple[Tensor, Tensor, Tensor]:
    """Least and greatest det J of each cell at its nodes and quadrature points, and (longest extent)^d: shapes (E,)."""
    lows, highs, scales = [], [], []
    for block in complex_.blocks:
        kind = block.kind
        G = kind.gradients(torch.cat([kind.nodes, kind.shape.rule(2 * kind.order)[0]])).permute(1, 2, 0)   # (k, d, Q)
        for nodes in block.nodes.split(CHUNK):
            x = complex_.X[nodes[:, :kind.corners]]
            if kind.affine:
                low = high = measure((x[:, 1:] - x[:, :1]).transpose(1, 2))
            else:
                low, high = _range(complex_.X[nodes], G)
            lows.append(low)
            highs.append(high)
            corners = x.unbind(1)                              # much faster than amax over a short dimension
            extent = (reduce(torch.maximum, corners) - reduce(torch.minimum, corners)).unbind(1)
            scales.append(reduce(torch.maximum, extent)**kind.dim)
    return torch.cat(lows), torch.cat(highs), torch.cat(scales)


def _range(x: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest determinant of Σ_a x_a ∇N_a: of x (E, k, D) and G (k, d, Q), shapes (E,).

    Each ∂x_c/∂ξ_i is one product of matrices, (E, k) by (k, Q): several times faster than 3 × 3 matrices in a row.
    """
    d = G.shape[1]
    J = [[x[:, :, c] @ G[:, i] for i in range(d)] for c in range(x.shape[2])]
    if x.shape[2] > d:
        det = measure(torch.stack([torch.stack(row, -1) for row in J], -2))
    elif d == 2:
        det = J[0][0] * J[1][1] - J[0][1] * J[1][0]
    else:
        a, b, c = J
        det = (a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2])
               + a[2] * (b[0] * c[1] - b[1] * c[0]))
    return det.amin(1), det.amax(1)


def distorted(complex_: Complex, found: tuple[Tensor, Tensor, Tensor] | None = None) -> str:
    """`degenerate` and `inverted`, with `determinants` taken once."""
    found = found or determinants(complex_)
    return degenerate(complex_, found) or inverted(complex_, found)


def degenerate(complex_: Complex, found: tuple[Tensor, Tensor, Tensor] | None = None) -> str:
    """Cells without volume: less than 1e-12 of their extent's power, or than the rounding of coordinates allows."""
    low, high, scale = found or determinants(complex_)
    noise = ROUNDING * float(complex_.X.abs().max()) * scale ** (1 - 1 / complex_.dim)
    bad = (torch.maximum(low.abs(), high.abs()) <= torch.maximum(FLAT * scale, noise)).nonzero()[:, 0]
    if len(bad) == 0:
        return ""
    return (f"{len(bad)} cells have no volume, first {cell_name(complex_, int(bad[0]))}; mesh that region again, or "
            "remove the cells")


def inverted(complex_: Complex, found: tuple[Tensor, Tensor, Tensor] | None = None) -> str:
    """Cells that are turned inside out, or folded: det J < 0 somewhere, in cells that fill the space."""
    if complex_.X.shape[1] != complex_.dim:
        return ""
    low, high, scale = found or determinants(complex_)
    wrong = low < -FLAT * scale                            # a zero at a node is allowed: quarter-point cells at cracks
    whole = (wrong & (high <= FLAT * scale)).nonzero()[:, 0]
    if len(whole):
        return (f"{len(whole)} of {len(complex_)} cells are inverted (turned against the others, negative volume), "
                f"first {cell_name(complex_, int(whole[0]))}; the mesh is tangled there, or their nodes are in the "
                "wrong order: mesh it again")
    folded = wrong.nonzero()[:, 0]
    if len(folded):
        return (f"{len(folded)} cells are folded (the Jacobian changes sign inside), first "
                f"{cell_name(complex_, int(folded[0]))}; make curved or distorted cells smaller, or straight")
    return ""


def doubled(complex_: Complex) -> str:
    """Cells with the same corners."""
    key = _node_keys(len(complex_.X))
    sums = torch.cat([key[b.corners].sum(1) for b in complex_.blocks])
    values, order = sums.sort(stable=True)
    same = (values[1:] == values[:-1]).nonzero()[:, 0]
    corners = [r for b in complex_.blocks for r in [b.corners.sort(dim=1).values]]
    bad = []
    for a, b in zip(order[same].tolist()[:1000], order[same + 1].tolist()[:1000], strict=True):
        if _row(complex_, corners, a) == _row(complex_, corners, b):
            bad.append((a, b))
    if not bad:
        return ""
    a, b = bad[0]
    many = f"{len(same)}" if len(same) <= 1000 else "more than 1000"
    return f"{many} cells have the same corners as others, first cell {b} as {cell_name(complex_, a)}; remove them"


def _row(complex_: Complex, corners: list[Tensor], number: int) -> list[int]:
    for rows, start in zip(corners, complex_.starts, strict=True):
        if number < start + len(rows):
            return rows[number - start].tolist()
    raise IndexError(number)


def _node_keys(count: int) -> Tensor:
    """A random number of 63 bits by node: sums of them tell sets of nodes apart but for a chance of E² / 2⁶⁴."""
    return torch.randint(-2**62, 2**62, (count,), generator=torch.Generator().manual_seed(0))


def branching(complex_: Complex) -> str:
    """Facets of three or more cells."""
    for facets in complex_.facets:
        kind = facets.kind
        owners = [b for b in complex_.blocks if b.kind.facet_kind is kind]
        total = sum(len(b) * len(b.kind.facets) for b in owners)
        if total == len(facets) + int((facets.cells[:, 1] >= 0).sum()):
            continue
        rows = torch.cat([b.nodes[:, list(f)[:kind.corners]] for b in owners for f in b.kind.facets])
        _, which, count = torch.unique(identify(rows, len(complex_.X)), return_inverse=True, return_counts=True)
        first = int((count[which] > 2).nonzero()[0])
        return (f"{int((count > 2).sum())} facets belong to three or more cells, first the {kind.name} at "
                f"{at(complex_.X[rows[first]].mean(0))} to {int(count[which[first]])}: cells overlap, or a surface "
                "branches; mesh it again")
    return ""


def twisted(complex_: Complex) -> str:
    """Inner facets whose two cells lie on the same side of them: seen from both, the corners run the same way."""
    if complex_.dim < 2:
        return ""
    for facets in complex_.facets:
        inner = facets[facets.cells[:, 1] >= 0]
        c = facets.kind.corners
        mine, other = inner.nodes[:, :c], _seen_from_second(complex_, inner)[:, :c]
        head = (other == mine[:, :1]).long().argmax(1, keepdim=True)          # where the other one has our first node
        before = other.gather(1, (head - 1) % c)                              # where it should have our second
        bad = ((head == 0) if c == 2 else (before != mine[:, 1:2]))[:, 0].nonzero()[:, 0]
        if len(bad) == 0:
            continue
        place = f"first at {at(complex_.X[mine[bad[0]]].mean(0))}"
        if complex_.X.shape[1] > complex_.dim:
            return (f"{len(bad)} edges have triangles or quadrilaterals of opposite orientation, {place}; make the "
                    "normals of the surface all point outwards (in most programs: unify or recalculate normals)")
        return (f"{len(bad)} facets have both cells on the same side, {place}: the mesh folds over itself; mesh it "
                "again")
    return ""


def _seen_from_second(complex_: Complex, inner: Facets) -> Tensor:
    """Nodes of inner facets in the order of their second cell, shape (F, k)."""
    found = torch.empty_like(inner.nodes)
    for block, start in zip(complex_.blocks, complex_.starts, strict=True):
        here = ((inner.cells[:, 1] >= start) & (inner.cells[:, 1] < start + len(block))).nonzero()[:, 0]
        if len(here) and block.kind.facet_kind is inner.kind:
            table = torch.tensor(block.kind.facets)
            found[here] = block.nodes[inner.cells[here, 1] - start].gather(1, table[inner.local[here, 1]])
    return found


def hanging(complex_: Complex) -> str:
    """Boundary nodes inside a boundary facet of another cell: cells of different size meet without being connected."""
    parts = complex_.chosen(complex_.boundary)
    if not parts or complex_.dim < 2:
        return ""
    X = complex_.X
    corners = torch.unique(torch.cat([f.nodes[:, :f.kind.corners].reshape(-1) for f in parts]))
    tree = cKDTree(X[corners].numpy())
    count, place = 0, ""
    for facets in parts:
        own = facets.nodes[:, :facets.kind.corners]
        x = X[own]                                                            # (F, c, D)
        middle = x.mean(1)
        radius = (x - middle[:, None]).norm(dim=2).amax(1)
        near = tree.query_ball_point(middle.numpy(), (radius * (1 - 1e-9)).numpy(), return_sorted=False)
        sizes = np.fromiter((len(n) for n in near), np.int64, len(near))
        if not sizes.any():
            continue
        facet = torch.from_numpy(np.repeat(np.arange(len(near)), sizes))
        node = corners[torch.from_numpy(np.concatenate(near).astype(np.int64))]
        other = (own[facet] != node[:, None]).all(1)
        facet, node = facet[other], node[other]
        halves = [[0, 1, 2], [0, 2, 3]] if own.shape[1] == 4 else [list(range(own.shape[1]))]
        inside = torch.zeros(len(node), dtype=torch.bool)
        for half in halves:
            inside |= _inside(X[node], x[facet][:, half], radius[facet])
        if inside.any():
            hit = node[inside]
            place = place or at(X[hit[0]])
            count += len(torch.unique(hit))
    if not count:
        return ""
    return (f"{count} nodes hang inside facets of other cells that do not have them, first at {place}: cells of "
            "different size meet there without being connected; make the mesh conforming")


def _inside(p: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    """Whether points lie on simplices with corners x (F, c, D), corners themselves left out; mask (F,)."""
    J = (x[:, 1:] - x[:, :1]).transpose(1, 2)
    r = p - x[:, 0]
    G = J.transpose(1, 2) @ J
    bary = torch.linalg.solve(G, J.transpose(1, 2) @ r[:, :, None])           # G is regular: cells have volume
    off = (r[:, :, None] - J @ bary)[..., 0].norm(dim=1)
    all_ = torch.cat([1 - bary.sum(1, keepdim=True), bary], 1)[..., 0]
    tol = 1e-7
    return (off < tol * scale) & (all_.amin(1) > -tol) & (all_.amax(1) < 1 - tol)


def open_surface(complex_: Complex) -> str:
    """Edges of one triangle only, in a surface in space."""
    if complex_.dim != 2 or complex_.X.shape[1] != 3 or len(complex_.boundary) == 0:
        return ""
    edges = complex_.boundary
    x = complex_.X[complex_.chosen(edges[:1])[0].nodes[0]].mean(0)
    return (f"it is a surface in space with {len(edges)} open edges, first at {at(x)}; a closed surface becomes a "
            "volume by Mesh(...), an open one cannot: close the holes, or, if it should be plane, put it into z = 0")


def parts(complex_: Complex) -> int:
    """Number of parts that share no facet."""
    rows, columns = [], []
    for facets in complex_.facets:
        inner = facets.cells[facets.cells[:, 1] >= 0]
        rows.append(inner[:, 0].numpy())
        columns.append(inner[:, 1].numpy())
    r, c = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(r), dtype=np.int8), (r, c)), shape=(len(complex_),) * 2)
    return int(connected_components(graph, directed=False, return_labels=False))


FIRST: tuple[Callable[[Complex], str], ...] = (empty, unknown_nodes, not_finite, repeated, unused_nodes)
THEN: tuple[Callable[[Complex], str], ...] = (distorted, doubled, branching, twisted, open_surface, hanging)
