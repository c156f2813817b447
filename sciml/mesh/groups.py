"""Which facets of a complex the groups and sets of a file mean."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ..errors import ProblemError
from .check import at
from .complex import Complex, identify
from .kinds import KINDS
from .raw import Members, Raw

log = logging.getLogger(__name__)


def name_facets(made: Complex, raw: Raw, numbers: Tensor, what: str, unnamed: str | None) -> dict[str, Tensor]:
    """Numbers of facets by name.

    Args:
        made: The complex.
        raw: What the file says.
        numbers: New number of each node of the file, or −1, shape (V,).
        what: The mesh in messages.
        unnamed: Name of the boundary facets without one.

    Raises:
        ProblemError: A group has cells that are no facets, or boundary facets have no name.
    """
    found: dict[str, list[Tensor]] = {}
    index = _Index(made)
    for (dim, name), members in raw.groups.items():
        if dim == made.dim - 1 and members:
            found[name] = [_facets_of(made, raw, members, numbers, index, f"{what}: group {name!r}")]
        elif dim < made.dim - 1 and members:
            log.info("%s: group %r of dimension %d is not used; only cells and facets have names", what, name, dim)
    for name, nodes in raw.node_sets.items():
        facets = _in_set(made, numbers[torch.from_numpy(nodes)], what, name)
        if facets is not None and name not in found:
            found[name] = [facets]
    surfaces = {name: torch.unique(torch.cat(parts)) for name, parts in found.items()}
    return _complete(made, surfaces, what, unnamed)


class _Index:
    """Finds facets by their corners: on the boundary first, where nearly all groups are, then inside."""

    def __init__(self, made: Complex):
        self.V, self.pools = len(made.X), []
        for border in (True, False):
            for facets, start in zip(made.facets, made.facet_starts, strict=True):
                some = ((facets.cells[:, 1] < 0) == border).nonzero()[:, 0]
                self.pools.append((facets.nodes, facets.kind.corners, some, start))

    def __call__(self, corners: Tensor) -> Tensor:
        """Numbers of the facets with some corners, shape (N, c), or −1: shape (N,)."""
        c = corners.shape[1]
        found = torch.full((len(corners),), -1)
        known = (corners >= 0).all(1)
        for nodes, size, some, start in self.pools:
            left = ((found < 0) & known).nonzero()[:, 0]
            if size != c or len(some) == 0 or len(left) == 0:
                continue
            mask = torch.zeros(self.V, dtype=torch.bool)                        # only facets with corners among ours
            mask[corners[left].reshape(-1)] = True
            near = some[mask[nodes[some, 0]]]
            near = near[mask[nodes[near, :c]].all(1)]
            if len(near) == 0:
                continue
            key = identify(torch.cat([nodes[near, :c], corners[left]]), self.V)
            sorted_, order = key[:len(near)].sort()
            mine = key[len(near):]
            place = torch.searchsorted(sorted_, mine).clamp(max=len(near) - 1)
            hit = sorted_[place] == mine
            found[left[hit]] = near[order[place[hit]]] + start
        return found


def _facets_of(made: Complex, raw: Raw, members: Members, numbers: Tensor, index: _Index, who: str) -> Tensor:
    """The facets that cells of one dimension less lie on."""
    parts, missed, first, total = [], 0, "", 0
    for block, positions in members:
        kind, rows = raw.blocks[block]
        corners = torch.from_numpy(rows[positions][:, :KINDS[kind].corners])
        if ((corners < 0) | (corners >= len(numbers))).any():
            raise ProblemError(f"{who} has {kind} cells with nodes that do not exist; write the mesh again")
        facets = index(numbers[corners])
        bad = (facets < 0).nonzero()[:, 0]
        if len(bad) and not missed:
            x = torch.from_numpy(raw.X[corners[bad[0]].numpy()]).mean(0)
            first = f"first the {kind} at {at(x)} in the file's units"
        missed, total = missed + len(bad), total + len(facets)
        parts.append(facets)
    if missed:
        raise ProblemError(f"{who}: {missed} of its {total} cells are no facet of a cell, {first}; mesh the geometry "
                           "so that they fit, or remove the group")
    return torch.cat(parts)


def _in_set(made: Complex, nodes: Tensor, what: str, name: str) -> Tensor | None:
    """Boundary facets with all corners in a set of nodes; inner ones if there are none; None for other sets."""
    mask = torch.zeros(len(made.X), dtype=torch.bool)
    mask[nodes[nodes >= 0]] = True
    corners = torch.cat([b.corners.reshape(-1) for b in made.blocks])
    if mask[corners].all():
        log.info("%s: the set %r of all nodes is not used", what, name)
        return None
    inside = torch.cat([mask[f.nodes[:, :f.kind.corners]].all(1) for f in made.facets])
    border = torch.zeros(len(inside), dtype=torch.bool)
    border[made.boundary] = True
    chosen = inside & border if (inside & border).any() else inside
    if not chosen.any():
        log.info("%s: the set %r of nodes is not used; no facet has all its corners in it", what, name)
        return None
    return chosen.nonzero()[:, 0]


def _complete(made: Complex, surfaces: dict[str, Tensor], what: str, unnamed: str | None) -> dict[str, Tensor]:
    """Names for all of the boundary."""
    if len(made.boundary) == 0 or (not surfaces and unnamed is None):
        return surfaces
    bare = torch.zeros(made.facet_count, dtype=torch.bool)
    bare[made.boundary] = True
    for facets in surfaces.values():
        bare[facets] = False
    rest = bare.nonzero()[:, 0]
    if len(rest) == 0:
        return surfaces
    if unnamed is not None:
        both = torch.cat([surfaces.get(unnamed, rest[:0]), rest])
        return {**surfaces, unnamed: both.sort().values}
    f = made.chosen(rest[:1])[0]
    x = made.X[f.nodes[0, :f.kind.corners]].mean(0)
    raise ProblemError(f"{what}: {len(rest)} of {len(made.boundary)} boundary facets belong to none of the groups "
                       f"{', '.join(sorted(surfaces))}, first the {f.kind.name} at {at(x)}; name them in the file, or "
                       'pass unnamed="walls"')
