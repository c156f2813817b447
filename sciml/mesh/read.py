"""Mesh files become complexes, with every defect that can be found named.

    read_mesh("part.msh", scale=1e-3)          # millimetres to metres

A file is read by `gmsh`, `abaqus`, or meshio (`foreign`) into a `Raw`; `build` chooses the cells of the highest
dimension, checks them, turns clockwise ones round, and finds the facets that groups name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ProblemError
from . import check
from .abaqus import read_abaqus
from .complex import Cells, Complex
from .foreign import raw_of, read_foreign
from .geometry import mapped
from .gmsh import read_gmsh
from .groups import name_facets
from .kinds import KINDS, CellKind
from .raw import Raw, Unreadable

log = logging.getLogger(__name__)

KNOWN = (".msh", ".vtu", ".vtk", ".xdmf", ".xmf", ".inp", ".stl")        # named in messages first


def read_mesh(path: str | Path, *, unnamed: str | None = None, scale: float = 1.0, dim: int | None = None,
              merge: bool | None = None) -> Complex:
    """The mesh in a file: gmsh (2.2, 4.1), VTU, VTK, XDMF, Abaqus, STL, and what else meshio reads.

    Cells are those of the highest dimension (triangles and quadrilaterals, or tetrahedra and hexahedra, of order 1
    or 2), plane ones with coordinates (x, y). Named groups of them are `volumes`. Named groups of cells of one
    dimension less, and sets of nodes, are `surfaces`: of a set of nodes, the boundary facets with all corners in it
    (inner facets, if there are none). If a mesh is clockwise as a whole, or a geometric entity of it, its cells are
    turned round.
    Nodes of dropped cells of lower dimension, and points of gmsh's geometry, are dropped; the log says how many.

    A surface in space (STL) comes as a complex of triangles with three coordinates; it must be closed and oriented, and
    is turned round if its normals point inwards.

    Args:
        path: The file; its suffix says the format.
        unnamed: Name of the boundary facets that no group has. None: if there are groups, they must have all.
        scale: Factor of coordinates, e.g. 1e-3 for a file in millimetres.
        dim: Dimension of the cells that is expected; None: any.
        merge: What happens to nodes at one place. True: they are joined, and nodes without cells dropped; False: they
            stay, as cracks; None: they are an error.

    Raises:
        ProblemError: The file cannot be read, or the mesh has a defect (see `check`); or a group is empty, names cells
            that are no facets, or leaves boundary facets without name.
    """
    path = Path(path).expanduser()
    what = f"mesh {path.name!r}"
    try:
        raw = _open(path, what)
    except Unreadable as error:
        hint = "" if ";" in str(error) else "; is the file complete? Write it again"
        raise ProblemError(f"{what} cannot be read: {error}{hint}") from error
    except OSError as error:
        raise ProblemError(f"{what} cannot be read: {error.strerror or error}") from error
    return build(raw, what, unnamed=unnamed, scale=scale, dim=dim, merge=merge)


def from_meshio(mesh: Any, *, what: str = "the mesh", unnamed: str | None = None, scale: float = 1.0,
                dim: int | None = None, merge: bool | None = None) -> Complex:
    """A `meshio.Mesh` as a complex; arguments and errors as in `read_mesh`, `what` is its name in messages."""
    try:
        raw = raw_of(mesh)
    except Unreadable as error:
        raise ProblemError(f"{what} cannot be understood: {error}") from error
    return build(raw, what, unnamed=unnamed, scale=scale, dim=dim, merge=merge)


def _open(path: Path, what: str) -> Raw:
    """The content of a file, by its suffix."""
    from meshio._helpers import extension_to_filetypes, reader_map

    if not path.exists():
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, names, n=1)
        raise ProblemError(f"{what} does not exist in {str(path.parent.resolve())!r}"
                           + (f"; did you mean {near[0]!r}?" if near else "; give the path of a mesh file"))
    if path.is_dir():
        raise ProblemError(f"{what} is a folder; give the path of a mesh file in it")
    suffix = path.suffix.lower()
    formats = [f for f in extension_to_filetypes.get(suffix, []) if f in reader_map]
    if not formats:
        others = sorted(s for s in extension_to_filetypes if s not in KNOWN)
        raise ProblemError(f"{what} has the suffix {suffix!r}, which is no known mesh format; known are "
                           f"{', '.join(KNOWN)}, and through meshio {', '.join(others)}")
    if path.stat().st_size == 0:
        raise ProblemError(f"{what} is an empty file; write it again")
    if suffix == ".inp":
        return read_abaqus(path)
    if suffix == ".msh":
        with path.open("rb") as file:
            formats = ["gmsh" if b"$" in file.read(64) else "ansys"]
        raw = read_gmsh(path) if formats == ["gmsh"] else None
        if raw is not None:
            return raw
    return read_foreign(path, formats[0])


def build(raw: Raw, what: str, *, unnamed: str | None, scale: float, dim: int | None,
          merge: bool | None) -> Complex:
    """A complex from what a file says; arguments and errors as in `read_mesh`."""
    if not scale > 0 or scale == float("inf"):
        raise ProblemError(f"{what}: scale={scale!r} must be a positive number, such as 1e-3 for millimetres")
    d = _dimension(raw, what, dim)
    blocks, places = _blocks(raw, d, what)
    X = torch.from_numpy(np.ascontiguousarray(raw.X, dtype=np.float64)) * scale
    made = Complex(X, tuple(blocks))
    check.run((check.empty, check.unknown_nodes, check.not_finite), made, what)
    made = _in_plane(made, what, dim)
    made, sets = _clean(made, raw, d, what, merge)
    found = check.determinants(made)
    turned = _turned(made, found[0] + found[1] < 0, raw, places)
    found = found if turned is made else check.determinants(turned)
    made = turned
    check.run((partial(check.distorted, found=found), *check.THEN[1:]), made, what)
    if made.X.shape[1] > d:
        made = _outwards(made)
    volumes: dict[str, Tensor] = {}
    for (group_dim, name), members in raw.groups.items():
        _usable(name, group_dim, members, d, what)
        if group_dim == d:
            numbers = [torch.from_numpy(positions) + places[b] for b, positions in members]
            volumes[name] = torch.unique(torch.cat(numbers))
    surfaces = name_facets(made, raw, sets, what, unnamed)
    count = check.parts(made)
    if count > 1:
        log.info("%s has %d parts that are not connected", what, count)
    return _with_groups(made, volumes, surfaces)


def _with_groups(made: Complex, volumes: dict[str, Tensor], surfaces: dict[str, Tensor]) -> Complex:
    """The same complex with groups; its facets are not found again."""
    new = Complex(made.X, made.blocks, volumes, surfaces)
    kept = ("facets", "facet_starts", "boundary", "starts")
    new.__dict__.update({k: v for k, v in made.__dict__.items() if k in kept})
    return new


def _dimension(raw: Raw, what: str, dim: int | None) -> int:
    """The dimension of the cells."""
    kinds = {kind for kind, rows in raw.blocks if len(rows)}
    other = sorted(kinds - set(KINDS))
    if other:
        raise ProblemError(f"{what} has cells of kind {', '.join(other)}; supported are "
                           f"{', '.join(k.name for k in KINDS.values() if k.dim > 1)}: mesh it with those")
    if not kinds:
        raise ProblemError(f"{what} has {len(raw.X)} nodes and no cells; write the mesh itself, not only its geometry")
    d = max(KINDS[k].dim for k in kinds)
    if d < 2:
        raise ProblemError(f"{what} has only {' and '.join(sorted(kinds))} cells; expected triangles, quadrilaterals, "
                           "tetrahedra or hexahedra: mesh the area or the volume, not only its edges")
    if dim is not None and d != dim:
        raise ProblemError(f"{what} has cells of dimension {d}, but dim={dim} was asked for; leave dim out, or mesh "
                           f"the {'area' if dim == 2 else 'volume'} only")
    return d


def _blocks(raw: Raw, d: int, what: str) -> tuple[list[Cells], dict[int, int]]:
    """Cells of dimension d by kind, and by block of the file the number of its first cell."""
    here = [(i, KINDS[kind], rows) for i, (kind, rows) in enumerate(raw.blocks)
            if kind in KINDS and KINDS[kind].dim == d and len(rows)]
    kinds = list(dict.fromkeys(kind.name for _, kind, _ in here))
    facets: dict[str, str] = {}
    for name in kinds:
        facet = KINDS[name].facet_kind
        other = facets.setdefault(facet.shape.name, facet.name)
        if other != facet.name:
            raise ProblemError(f"{what} mixes {', '.join(kinds)}, whose facets have different nodes; use one order")
    blocks, places, start = [], {}, 0
    for name in kinds:
        rows = [(i, r) for i, kind, r in here if kind.name == name]
        for i, r in rows:
            places[i] = start
            start += len(r)
        blocks.append(Cells(KINDS[name], torch.from_numpy(np.concatenate([r for _, r in rows]).astype(np.int64))))
    return blocks, places


def _in_plane(made: Complex, what: str, dim: int | None) -> Complex:
    """Plane cells get two coordinates, if z is constant."""
    D, X = made.X.shape[1], made.X
    if D < made.dim or D > 3:
        raise ProblemError(f"{what} has cells of dimension {made.dim}, but nodes with {D} coordinates")
    if made.dim == 3 or D == 2:
        return made
    z = X[check.used(made), 2]
    if float(z.max() - z.min()) <= 1e-12 * max(check.size(X), float(X.abs().max())):
        return Complex(X[:, :2].contiguous(), made.blocks)
    if dim == 2:
        raise ProblemError(f"{what} was asked for with dim=2, but it is a surface in space (z from "
                           f"{float(z.min()):.4g} to {float(z.max()):.4g}); put a plane mesh into z = 0, or make a "
                           "volume of a closed surface by Mesh(...)")
    return made


def _clean(made: Complex, raw: Raw, d: int, what: str, merge: bool | None) -> tuple[Complex, Tensor]:
    """Nodes dropped and joined as allowed, and checked; also the new number of each old node, or −1."""
    V = len(made.X)
    idle = ~check.used(made)
    excused = torch.zeros(V, dtype=torch.bool)
    for kind, rows in raw.blocks:
        if kind in KINDS and KINDS[kind].dim < d and len(rows):
            flat = torch.from_numpy(rows.reshape(-1))
            excused[flat[(flat >= 0) & (flat < V)]] = True
    if raw.loose is not None:
        excused[torch.from_numpy(raw.loose)] = True
    drop = idle if merge else idle & excused
    number = torch.arange(V)
    if drop.any():
        log.info("%s: %d nodes that belong to no cell are dropped", what, int(drop.sum()))
        number = torch.where(drop, -1, (~drop).cumsum(0) - 1)
        made = Complex(made.X[~drop], tuple(Cells(b.kind, number[b.nodes]) for b in made.blocks))
    check.run((check.repeated, check.unused_nodes), made, what)
    if merge is None:
        check.run((check.duplicate_nodes,), made, what)
    if merge:
        made, joined = _joined(made, what)
        number = torch.where(number < 0, -1, joined[number.clamp(min=0)])
        check.run((check.repeated,), made, what)
    return made, number


def _joined(made: Complex, what: str) -> tuple[Complex, Tensor]:
    """Nodes at one place become one; also the new number of each node."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    V, pairs = len(made.X), check.coincident(made.X)
    if len(pairs) == 0:
        return made, torch.arange(V)
    graph = coo_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(V, V))
    labels = connected_components(graph, directed=False)[1]
    _, first, number = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)                                  # nodes keep their order
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    new = torch.from_numpy(rank[number].astype(np.int64))
    log.info("%s: %d nodes are joined with others at the same place", what, V - len(first))
    X = made.X[torch.from_numpy(np.sort(first))]
    return Complex(X, tuple(Cells(b.kind, new[b.nodes]) for b in made.blocks)), new


def _turned(made: Complex, negative: Tensor, raw: Raw, places: dict[int, int]) -> Complex:
    """Cells turned round in entities (without any: in the whole) that are clockwise throughout; mask (E,)."""
    if made.X.shape[1] > made.dim or not negative.any():
        return made
    entity = torch.zeros(len(made), dtype=torch.long)
    if raw.entities is not None:
        for i, start in places.items():
            labels = torch.from_numpy(raw.entities[i].astype(np.int64))
            entity[start:start + len(labels)] = labels
    _, which, count = torch.unique(entity, return_inverse=True, return_counts=True)
    whole = torch.zeros(len(count), dtype=torch.long).index_add_(0, which, negative.long()) == count
    return _flipped(made, whole[which])


def _flipped(made: Complex, mask: Tensor) -> Complex:
    """The complex with some cells turned round."""
    blocks = []
    for block, start in zip(made.blocks, made.starts, strict=True):
        here = mask[start:start + len(block), None]
        blocks.append(Cells(block.kind, torch.where(here, block.nodes[:, mirror(block.kind)], block.nodes)))
    return Complex(made.X, tuple(blocks))


def mirror(kind: CellKind) -> list[int]:
    """The order of a cell's nodes after ξ₀ and ξ₁ change places: the same cell, with the other orientation."""
    nodes = kind.nodes
    swapped = nodes[:, [1, 0, *range(2, kind.dim)]]
    return [int(((nodes - x).abs().sum(1) < 1e-12).nonzero()[0]) for x in swapped]


def _outwards(made: Complex) -> Complex:
    """A closed surface with normals outwards: ∮ x·n dA = 3 |volume| > 0."""
    total = 0.0
    for block in made.blocks:
        xi, w = block.kind.shape.rule(2 * block.kind.order + 1)
        m = mapped(made.X - made.X.mean(0), block, xi)
        total += float(((m.x * torch.linalg.cross(m.J[..., 0], m.J[..., 1])).sum(-1) * w).sum())
    return made if total > 0 else _flipped(made, torch.ones(len(made), dtype=torch.bool))


def _usable(name: str, dim: int, members: Iterable, d: int, what: str) -> None:
    """A group has a name and members."""
    if not name.strip():
        raise ProblemError(f"{what} has a group of dimension {dim} without a name; give it one")
    if not list(members) and dim >= d - 1:
        hint = f"; the mesh has cells of dimension {d} only: was it made up to dimension {dim}?" if dim > d else \
            "; remove the group, or give it a part of the geometry"
        raise ProblemError(f"{what} names the group {name!r} of dimension {dim}, but no cells belong to it{hint}")
