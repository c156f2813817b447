"""Pieces of the boundary of a mesh: groups of facets, and how overlapping groups become pieces that do not overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ProblemError
from ..mesh import Cells, Complex, Facets
from ..mesh.charts import CellChart
from ..mesh.geometry import mapped, outward
from ..mesh.smooth import SmoothDistance, straight_pieces
from ..mesh.surface import Surface
from ..points import Points
from .levels import equivalence
from .patch import Drawn
from .region import Region

if TYPE_CHECKING:
    from .mesh import Mesh

MOST_PLANES = 8
DEGREES = (8, 6, 4, 3, 2, 1)
RESERVED = ("interior", "initial", "final", "t-", "t+")


class MeshRegion(Region):
    """Some facets of a mesh.

    Normals point out of the mesh; on facets inside of it, from the cell of lower number to the other one.

    Args:
        mesh: The mesh.
        facets: Its facets, by kind.
        label: Name in messages.
        outside: The region as seen from outside.
    """

    def __init__(self, mesh: Mesh, facets: Sequence[Facets | Cells], label: str, outside: bool = False):
        first = facets[0]
        self._set(mesh=mesh, facets=tuple(facets), label=label, outside=outside, names=mesh.names, space=mesh.space,
                  across=mesh.names, inner=isinstance(first, Facets) and int(first.cells[0, 1]) >= 0)

    @cached_property
    def charted(self) -> CellChart:
        """The chart of the facets."""
        return CellChart(self.mesh.complex.X, self.facets)

    @cached_property
    def surface(self) -> Surface:
        """The facets by themselves, for distances."""
        return Surface(Complex(self.mesh.complex.X, tuple(Cells(f.kind, f.nodes) for f in self.facets)))

    @cached_property
    def chart_dim(self) -> int:                                # type: ignore[override]
        """Dimension of the cube: one coordinate chooses the facet."""
        return self.charted.dim

    @cached_property
    def chart_measure(self) -> float:                          # type: ignore[override]
        """Measure of the whole cube."""
        return self.charted.envelope_measure

    @cached_property
    def measure(self) -> float:
        """Length or area: exact for straight facets, by Gauss's rule of degree 8 for curved ones.

        In 1-D the number of points.
        """
        return self.charted.measure

    @cached_property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Bounding box of the nodes, (lo, hi) per coordinate."""
        X = self.mesh.complex.X[torch.cat([f.nodes.reshape(-1) for f in self.facets])]
        return tuple(zip(X.amin(0).tolist(), X.amax(0).tolist(), strict=True))

    def chart(self, U: Tensor) -> Drawn:
        image = self.charted(U)
        n = outward(image.J) if len(self.names) > 1 else self._ends.to(U)[image.cell]
        return Drawn(image.x, self._signed(n), image.keep)

    def contains(self, X: Tensor) -> Tensor:
        return self.surface.distance(X) <= self.mesh.tolerance(X.dtype)

    def normal(self, X: Tensor) -> Tensor:
        """That of the nearest facet, at its nearest point."""
        near = self.surface.nearest(X)
        return self._signed(self.surface.normals(near) if len(self.names) > 1 else self._ends.to(X)[near.facet])

    def level(self, coords: Mapping):
        """`SmoothDistance` from the facets, but from those on a plane that the mesh only touches the plane's.

        The smooth distance has a slope that depends on the direction where its facets end, which no network makes up
        for; the distance from a plane goes on. Positive inside.
        """
        if len(self.names) == 1:
            raise ProblemError(f"region {self.label!r} of a mesh on a line has no smooth level function; take Interval")
        columns, levels = [coords[n] for n in self.names], []
        planes, rest = self._planes
        for normal, offset in planes:
            level = offset
            for n, x in zip(normal, columns, strict=True):
                level = level if n == 0 else level - n * x
            levels.append(level)
        if rest:
            levels.append(rest[0](*columns))
        phi = equivalence(levels, self.mesh.size)
        return -phi if self.outside else phi

    @cached_property
    def _planes(self) -> tuple[list[tuple[list[float], float]], list[SmoothDistance]]:
        """Planes n·x = c with the mesh in n·x ≤ c that it touches in facets of this region only, and the distance
        from the other facets, if there are any.
        """
        X, tolerance = self.mesh.complex.X, 1e-9 * self.mesh.size
        planes, others = [], []
        for facets in self.facets:
            xi, _ = facets.kind.shape.rule(2)
            m = mapped(X, facets, xi)
            n, x = outward(m.J), m.x
            offset = (n * x).sum(2)
            flat = ((n - n[:, :1]).norm(dim=2).amax(1) < 1e-9) & ((offset - offset[:, :1]).abs().amax(1) < tolerance)
            where = torch.cat([n[:, 0], offset[:, :1] / self.mesh.size], 1)
            left = torch.ones(len(facets.nodes), dtype=torch.bool)
            found, count = torch.unique((where[flat] * 1e8).round(), dim=0, return_counts=True)
            for plane in found[count.argsort(descending=True)][:MOST_PLANES + 1] / 1e8:
                own = left & flat & ((where - plane).abs().amax(1) < 1e-7)
                if not own.any():                              # a plane that rounding told in two
                    continue
                normal, c = n[own][0, 0], float(offset[own].mean())
                gap = c - X @ normal
                on = torch.zeros(len(X), dtype=torch.bool)
                on[facets.nodes[own]] = True
                if bool((gap > -tolerance).all()) and bool(on[gap < tolerance].all()):
                    planes.append((normal.round(decimals=12).tolist(), c))
                    left &= ~own
            others.append((facets, left))
        if len(planes) > MOST_PLANES:                          # an arc of straight facets
            planes, others = [], [(f, torch.ones_like(left)) for f, left in others]
        rest = [f[left] if isinstance(f, Facets) else Cells(f.kind, f.nodes[left]) for f, left in others if left.any()]
        return planes, [SmoothDistance(straight_pieces(X, rest))] if rest else []

    def flipped(self) -> Region:
        return MeshRegion(self.mesh, self.facets, self.label, not self.outside)

    @property
    def gaussian(self) -> bool:
        """`quadrature` is Gauss's rule on every facet, if there are as many points."""
        return True

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Gauss's rule on every facet, of the highest degree up to 8 with at most n points together.

        With more facets than n: n Sobol points with equal weights.
        """
        degree = gauss_degree(self.facets, n)
        if degree is None:
            return super().quadrature(n, dtype=dtype, device=device)
        X, weights, normals = [], [], []
        for facets in self.facets:
            xi, w = facets.kind.shape.rule(degree)
            m = mapped(self.mesh.complex.X, facets, xi)
            X.append(m.x.flatten(0, 1))
            weights.append((m.measure * w).reshape(-1))
            normals.append(outward(m.J).flatten(0, 1) if len(self.names) > 1 else self._ends)
        # The rule may be less exact for curved facets than their measure; the sum of weights is the measure.
        W = torch.cat(weights)
        found = Points(torch.cat(X), self.names, W * (self.measure / W.sum()), self._signed(torch.cat(normals)))
        return found.to(dtype=dtype, device=device)

    @cached_property
    def _ends(self) -> Tensor:
        """±1 at the ends of a mesh on a line, shape (F, 1)."""
        local = torch.cat([f.local[:, 0] for f in self.facets if isinstance(f, Facets)])
        return torch.where(local == 0, -1.0, 1.0).double()[:, None]

    def _signed(self, n: Tensor) -> Tensor:
        return -n if self.outside else n


def gauss_degree(blocks: Sequence[Cells | Facets], n: int) -> int | None:
    """The highest degree up to 8 of a rule on every cell with at most n points; None if there are more cells than n."""
    for degree in DEGREES:
        if sum(len(b) * len(b.kind.shape.rule(degree)[1]) for b in blocks) <= n:
            return degree
    return None


def split_groups(surfaces: Mapping[str, Tensor], count: int, boundary: Tensor, unnamed: str = "unnamed"):
    """Groups of facets as pieces that do not overlap, and names for several of them.

    Where two groups overlap, what they share and what they do not are pieces of their own ("wall", "inlet", "wall and
    inlet"), and each group's name stands for its pieces. Boundary facets without group are the piece `unnamed`, or
    "boundary" if there are no groups at all.

    Args:
        surfaces: Numbers of facets by group.
        count: Number of facets.
        boundary: Numbers of those on the boundary.
        unnamed: Name of the rest.

    Returns:
        Facets by piece; pieces by name of a group that is not one piece; the pieces on the boundary.

    Raises:
        ProblemError: A group has a name that means something else.
    """
    outer = torch.zeros(count, dtype=torch.bool)
    outer[boundary] = True
    groups = {name: numbers for name, numbers in surfaces.items() if name != "boundary"}
    named = surfaces.get("boundary")
    if named is not None and not torch.equal(named.unique(), boundary.unique()):
        raise ProblemError(f"group 'boundary' of the mesh has {len(named)} facets, but its boundary has "
                           f"{len(boundary)}; 'boundary' is the name of all of it: call the group otherwise")
    for name in groups:
        if name in RESERVED:
            raise ProblemError(f"group {name!r} of the mesh has a name that stands for something else here; call it "
                               "otherwise in the mesh file")
    # Facets with the same groups, on the same side, make an atom.
    code = outer.long()
    for numbers in groups.values():
        here = torch.zeros(count, dtype=torch.long)
        here[numbers] = 1
        code = torch.unique(code * 2 + here, return_inverse=True)[1]
    members = torch.zeros(count, dtype=torch.bool)
    for numbers in groups.values():
        members[numbers] = True
    members |= outer
    pieces: dict[str, Tensor] = {}
    owners: dict[str, list[str]] = {name: [] for name in groups}
    on_boundary = []
    for atom in torch.unique(code[members]).tolist():
        numbers = ((code == atom) & members).nonzero()[:, 0]
        of = [name for name, group in groups.items() if bool(torch.isin(numbers[:1], group))]
        label = " and ".join(of) or (unnamed if groups else "boundary")
        if label in pieces:                                    # a group with facets inside and on the boundary
            label += " inside" if not bool(outer[numbers[0]]) else " outside"
        pieces[label] = numbers
        for name in of:
            owners[name].append(label)
        if bool(outer[numbers[0]]):
            on_boundary.append(label)
    first = {p: min([i for i, g in enumerate(groups) if p in owners[g]], default=len(groups)) for p in pieces}
    order = sorted(pieces, key=lambda p: first[p])
    return ({p: pieces[p] for p in order}, {g: tuple(p) for g, p in owners.items() if p != [g]},
            tuple(p for p in order if p in on_boundary))
