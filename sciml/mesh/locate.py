"""Point location: which cell holds a point, and where in it; and the values of nodal functions there.

A tree of boxes gives the cells whose box holds a point. In simplices of order 1 the reference position is affine in x;
in the others Newton's method finds it. Cells are closed: a point on a facet belongs to the cell of lowest number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError
from .bernstein import boxes
from .complex import Cells, Complex
from .geometry import inverse, mapped
from .kinds import CellKind
from .surface import Surface
from .tree import BoxTree, dots, in_chunks

NEWTON = 20                                                    # steps at most; six are usual
BEYOND = 0.5                                                   # how far outside its cell a Newton iterate may go


class Located(NamedTuple):
    """Where N points are in a mesh.

    Args:
        cell: Number of the cell, −1 outside of the mesh, shape (N,).
        xi: Position in the reference cell, NaN outside, shape (N, d).
    """

    cell: Tensor
    xi: Tensor


class Locator:
    """Finds points in the cells of a complex that fills its space; trees and tables are kept for every device.

    Memory: about 200 bytes per tetrahedron, and 100 MB while points are located.

    Args:
        complex_: The mesh.

    Raises:
        ProblemError: Its cells are a surface.
    """

    def __init__(self, complex_: Complex):
        if complex_.dim != complex_.X.shape[1]:
            raise ProblemError(f"points are located in cells that fill their space, got cells of dimension "
                               f"{complex_.dim} in {complex_.X.shape[1]} coordinates; use Surface for "
                               "distances to them")
        self.complex = complex_
        self._on: dict[torch.device, tuple[BoxTree, Tensor, list[_Affine | _Curved]]] = {}
        self._hull: Surface | None = None
        far = complex_.X.abs().max().item()
        self.size = (complex_.X.amax(0) - complex_.X.amin(0)).max().item()
        self.tolerance = max(1e-12 * self.size, 32 * torch.finfo(torch.float64).eps * far)

    def find(self, X: Tensor, tolerance: float | None = None) -> Located:
        """Cells that hold the points, and reference positions; float64 inside, results in the dtype of X.

        Args:
            X: Points, shape (N, D), on any device.
            tolerance: Distance from a cell that still counts as inside; None: the rounding of coordinates. Of the cells
                within it, the one of lowest number is taken.
        """
        rounding = 8 * torch.finfo(X.dtype).eps * X.abs().max().item() if X.dtype != torch.float64 and len(X) else 0.0
        slack = max(self.tolerance, rounding) if tolerance is None else tolerance
        cell, xi = in_chunks(X.double(), lambda part: self._find(part, slack))
        return Located(cell, xi.to(X.dtype))

    def nearest(self, X: Tensor) -> tuple[Located, Tensor]:
        """As `find`; points outside get the nearest point of the boundary and its cell, and their distance (N,).

        Of points inside the distance is zero.
        """
        found = self.find(X)
        distance = X.new_zeros(len(X))
        out = (found.cell < 0).nonzero()[:, 0]
        if not len(out):
            return found, distance
        near = self.hull.nearest(X[out].double())
        facet = self.complex.boundary.to(X.device)[near.facet]
        cells = torch.cat([f.cells[:, 0] for f in self.complex.facets]).to(X.device)[facet]
        # The foot of the perpendicular is on the cell up to rounding; a second search would look at all its neighbours.
        xi = self._invert(near.point, cells)
        found.cell[out], found.xi[out], distance[out] = cells, xi.to(X.dtype), near.distance.to(X.dtype)
        return found, distance

    @property
    def hull(self) -> Surface:
        """The boundary of the mesh."""
        if self._hull is None:
            self._hull = Surface(self.complex.surface())
        return self._hull

    def interpolate(self, values: Tensor, X: Tensor, kinds: tuple[CellKind, ...] | None = None) -> Tensor:
        """Σ_a v_a N_a(ξ): nodal values, shape (V,) or (V, C), at points X (N, D); NaN outside of the mesh."""
        found = self.find(X)
        flat = values.reshape(len(values), -1)
        out = flat.new_full((len(X), flat.shape[1]), torch.nan)
        for block, start in zip(self.complex.blocks, self.complex.starts, strict=True):
            here = ((found.cell >= start) & (found.cell < start + len(block))).nonzero()[:, 0]
            N = block.kind.values(found.xi[here]).to(flat)
            nodes = block.nodes.to(X.device)[found.cell[here] - start]
            out[here] = torch.einsum("na,nac->nc", N, flat[nodes])
        return out.reshape(len(X), *values.shape[1:])

    def _find(self, X: Tensor, slack: float) -> tuple[Tensor, Tensor]:
        tree, starts, blocks = self._tables(X.device)
        point, cell = tree.containing(X, slack)
        N, d, none = len(X), self.complex.dim, len(self.complex)
        owner = torch.searchsorted(starts, cell, right=True) - 1 if len(blocks) > 1 else None
        hits, places = [], []
        for i, block in enumerate(blocks):
            mine = slice(None) if owner is None else (owner == i).nonzero()[:, 0]
            p, c = point[mine], cell[mine]
            inside, xi = block.locate(X[p], c - block.start, slack)
            hits.append((p[inside], c[inside]))
            places.append(xi)
        p, c = (torch.cat(parts) for parts in zip(*hits, strict=True))
        lowest = torch.full((N,), none, device=X.device).scatter_reduce_(0, p, c, "amin")
        xi = X.new_full((N, d), torch.nan)
        won = c == lowest[p]
        xi[p[won]] = torch.cat(places)[won]
        return torch.where(lowest == none, -1, lowest), xi

    def _invert(self, X: Tensor, cell: Tensor) -> Tensor:
        """Reference positions of points in cells that hold them."""
        _, starts, blocks = self._tables(X.device)
        owner = torch.searchsorted(starts, cell, right=True) - 1
        xi = X.new_full(X.shape, torch.nan)
        for i, block in enumerate(blocks):
            mine = (owner == i).nonzero()[:, 0]
            xi[mine] = block.positions(X[mine], cell[mine] - block.start)[0]
        return xi

    def _tables(self, device: torch.device):
        if device not in self._on:
            c = self.complex
            if not self._on:
                parts = [boxes(c.X, b) for b in c.blocks]
                tree = BoxTree(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
            else:
                tree = next(iter(self._on.values()))[0]
            blocks = [(_Affine if b.kind.affine else _Curved)(c.X.to(device), b, start)
                      for b, start in zip(c.blocks, c.starts, strict=True)]
            self._on[device] = tree.to(device), torch.tensor(c.starts, device=device), blocks
        return self._on[device]


class _Block:
    """Cells of one kind, whose number starts at `start`."""

    start: int

    def positions(self, X: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """ξ (P, d) of points X (P, D) in cells, and |∇ of the distances to facets in ξ| (P, d + 1)."""
        raise NotImplementedError

    def locate(self, X: Tensor, cell: Tensor, slack: float) -> tuple[Tensor, Tensor]:
        """Which pairs lie in their cell, as positions, and ξ of these."""
        xi, slopes = self.positions(X, cell)
        inside = (_margins(xi, slopes, slack, self.simplex) >= 0).nonzero()[:, 0]
        return inside, xi[inside]

    simplex: bool


class _Affine(_Block):
    """Simplices of order 1: ξ = A (x − x₀), a row [x₀, A, slopes] for each."""

    simplex = True

    def __init__(self, X: Tensor, cells: Cells, start: int):
        self.start, self.D = start, X.shape[1]
        zero = torch.zeros(1, self.D, dtype=X.dtype, device=X.device)
        A = inverse(mapped(X, Cells(cells.kind, cells.nodes.to(X.device)), zero).J[:, 0])
        self.table = torch.cat([X[cells.nodes[:, 0].to(X.device)], A.flatten(1), _slopes(A, True)], 1)

    def positions(self, X: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        D = self.D
        rows = torch.index_select(self.table, 0, cell)
        r = X - rows[:, :D]
        xi = torch.stack([dots(r, rows[:, D + i * D:]) for i in range(D)], 1)
        return xi, rows[:, D + D * D:]


class _Curved(_Block):
    """All other cells: Newton's method on x(ξ) = x, from the middle, then from the nearest node."""

    def __init__(self, X: Tensor, cells: Cells, start: int):
        self.start, self.kind, self.simplex = start, cells.kind, cells.kind.shape.simplex
        self.P = X[cells.nodes.to(X.device)]                   # (E, k, D)

    def positions(self, X: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        P = self.P[cell]
        middle = self.kind.nodes.mean(0).to(X).expand(len(X), -1)
        xi, slopes, missed = self._newton(X, P, middle)
        again = missed.nonzero()[:, 0]
        if len(again):
            node = (P[again] - X[again, None]).square().sum(2).argmin(1)
            xi[again], slopes[again], _ = self._newton(X[again], P[again], self.kind.nodes.to(X)[node])
        return xi, slopes

    def _newton(self, X: Tensor, P: Tensor, xi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ξ, slopes, and which pairs did not converge: their ξ is NaN."""
        xi = xi.clone()
        slopes = X.new_zeros(len(X), self.kind.dim + self.simplex)
        # Rounding of x is the best that can be reached.
        goal = 1e-13 * ((P.amax(1) - P.amin(1)).amax(1) + X.abs().amax(1))
        missed = torch.ones(len(X), dtype=torch.bool, device=X.device)
        live = torch.arange(len(X), device=X.device)
        for _ in range(NEWTON):
            at, nodes = xi[live], P[live]
            r = X[live] - torch.einsum("na,nad->nd", self.kind.values(at), nodes)
            A = inverse(torch.einsum("nai,nad->ndi", self.kind.gradients(at), nodes))
            done = r.abs().amax(1) <= goal[live]
            slopes[live[done]], missed[live[done]] = _slopes(A[done], self.simplex), False
            new = (at + torch.einsum("nid,nd->ni", A, r)).clamp(-BEYOND, 1 + BEYOND)
            xi[live[~done]] = new[~done]
            live = live[~done & (new != at).any(1)]            # at the rim and going on outwards: given up
            if not len(live):
                break
        return torch.where(missed[:, None], torch.nan, xi), slopes, missed


def _slopes(A: Tensor, simplex: bool) -> Tensor:
    """|∇| in x of the functions of ξ that vanish on facets, from A = ∂ξ/∂x (…, d, D): shape (…, d + 1)."""
    rows = A.norm(dim=-1)
    return torch.cat([rows, A.sum(-2).norm(dim=-1, keepdim=True) if simplex else rows[..., :0]], -1)


def _margins(xi: Tensor, slopes: Tensor, slack: float, simplex: bool) -> Tensor:
    """The least of the functions that are positive in a cell, widened by a distance `slack`, shape (P,)."""
    if simplex:
        inside = torch.cat([xi, 1 - xi.sum(1, keepdim=True)], 1)
    else:
        inside = torch.minimum(xi, 1 - xi)
    return torch.addcmul(inside, slopes, torch.ones_like(slopes), value=slack).amin(1)
