"""Products of domains with different coordinates.

A disk times a time interval, or a box times a range of parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from ..points import Points
from .domain import Domain, check_space
from .levels import conjunction
from .patch import Drawn, Patch, both
from .region import Region
from .unit import per_axis


class Product(Domain):
    """Product A × B of domains with disjoint coordinates.

    Its pieces are those of A, each times B, and those of B, each times A, under their own names
    (a name that both have gets a 2 for B's).

    Args:
        a: A; its coordinates come first.
        b: B.
        space: Names that count as space; None: those of A and of B.

    Raises:
        ProblemError: The factors share a coordinate, or `space` has a name that neither has.
    """

    def __init__(self, a: Domain, b: Domain, space: Iterable[str] | None = None):
        shared = sorted(set(a.names) & set(b.names))
        if shared:
            raise ProblemError(
                f"the factors of a product share {', '.join(shared)}; "
                "rename the coordinates of one"
            )
        names = a.names + b.names
        space = a.space + b.space if space is None else check_space(space, names)
        self._set(
            a=a,
            b=b,
            names=names,
            bounds=a.bounds + b.bounds,
            space=space,
            name=None,
            kind="product",
            chart_dim=a.chart_dim + b.chart_dim,
            chart_measure=a.chart_measure * b.chart_measure,
        )

    @property
    def measure(self) -> float:
        """Product of the factors' measures."""
        return self.a.measure * self.b.measure

    def chart(self, U: Tensor) -> Drawn:
        k = self.a.chart_dim
        a, b = self.a.chart(U[:, :k]), self.b.chart(U[:, k:])
        return Drawn(torch.cat([a.X, b.X], 1), None, both(a.keep, b.keep))

    def contains(self, X: Tensor) -> Tensor:
        k = len(self.a.names)
        return self.a.contains(X[:, :k]) & self.b.contains(X[:, k:])

    def distance(self, X: Tensor) -> Tensor:
        k = len(self.a.names)
        d = torch.stack([self.a.distance(X[:, :k]), self.b.distance(X[:, k:])], 1)
        return d.clamp(min=0).norm(dim=1) + d.amax(1).clamp(max=0)

    def level(self, coords: Mapping):
        return conjunction([self.a.level(coords), self.b.level(coords)], self.size)

    def opposite(self, name: str) -> str:
        look_up("region", name, {face: face for face in self.faces})
        owner = self.a if name in self.a.faces else self.b
        return owner.opposite(name)

    def translation(self, a: str, b: str) -> tuple[str, float]:
        owner = self.a if a in self.a.faces else self.b
        return owner.translation(a, b)

    @property
    def parts(self) -> tuple[str, ...]:
        return self.a.parts + tuple(p for p in self.b.parts if p not in self.a.parts)

    def part(self, name: str) -> Domain:
        """The sub-domain of one factor times the other factor."""
        look_up("part", name, {p: p for p in self.parts})
        if name in self.a.parts:
            return Product(self.a.part(name), self.b, self.space)
        return Product(self.a, self.b.part(name), self.space)

    def in_part(self, name: str, X: Tensor) -> Tensor:
        look_up("part", name, {p: p for p in self.parts})
        factor = self.a if name in self.a.parts else self.b
        return factor.in_part(name, X[:, [self.names.index(n) for n in factor.names]])

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Every point of A's rule with every point of B's; a Gauss rule if both are."""
        A, B = _rules(self.a, self.b, n, dtype, device)
        X = torch.cat([A.X.repeat_interleave(len(B), 0), B.X.repeat(len(A), 1)], 1)
        return Points(X, self.names, _products(A, B))

    @property
    def gaussian(self):
        return self.a.gaussian and self.b.gaussian

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        of_b = {
            group: tuple(self._name_of_b(p) for p in members)
            for group, members in self.b.groups.items()
        }
        return {**of_b, **self.a.groups}

    def _name_of_b(self, piece: str) -> str:
        """Name of a piece of B in the product."""
        return piece + "2" if piece in self.a.pieces else piece

    def _make_pieces(self) -> dict[str, Region]:
        pieces: dict[str, Region] = {
            name: ProductRegion(p, self.b, True, self.space)
            for name, p in self.a.pieces.items()
        }
        for name, p in self.b.pieces.items():
            pieces[self._name_of_b(name)] = ProductRegion(p, self.a, False, self.space)
        return pieces


class ProductRegion(Region):
    """Piece of one factor's boundary times the other factor.

    Args:
        piece: The piece.
        factor: The other factor.
        first: Whether the piece's coordinates come first.
        space: Space names of the product.
    """

    def __init__(self, piece: Region, factor: Domain, first: bool, space: tuple[str, ...]):
        names = piece.names + factor.names if first else factor.names + piece.names
        self._set(
            piece=piece,
            factor=factor,
            first=first,
            space=space,
            names=names,
            label=piece.label,
            across=piece.across,
            inner=piece.inner,
            chart_dim=piece.chart_dim + factor.chart_dim,
            chart_measure=piece.chart_measure * factor.chart_measure,
        )

    @property
    def measure(self) -> float:
        """Product of the measures."""
        return self.piece.measure * self.factor.measure

    def chart(self, U: Tensor) -> Drawn:
        k = self.piece.chart_dim
        p, q = self.piece.chart(U[:, :k]), self.factor.chart(U[:, k:])
        return Drawn(
            self._join(p.X, q.X),
            self._join(p.normals, torch.zeros_like(q.X)),
            both(p.keep, q.keep),
        )

    @property
    def gaussian(self):
        return self.piece.gaussian and self.factor.gaussian

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Every point of the piece's rule with every point of the factor's."""
        P, Q = _rules(self.piece, self.factor, n, dtype, device)
        X = self._join(P.X.repeat_interleave(len(Q), 0), Q.X.repeat(len(P), 1))
        found = self._points(Drawn(X, self.normal(X)))
        return replace(found, weights=_products(P, Q))

    def contains(self, X: Tensor) -> Tensor:
        P, Q = self._split(X)
        return self.piece.contains(P) & self.factor.contains(Q)

    def normal(self, X: Tensor) -> Tensor:
        P, Q = self._split(X)
        return self._join(self.piece.normal(P), torch.zeros_like(Q))

    def level(self, coords: Mapping):
        return self.piece.level(coords)

    def bubble(self, coords: Mapping):
        return self.piece.bubble(coords)

    def flipped(self) -> Region:
        return ProductRegion(self.piece.flipped(), self.factor, self.first, self.space)

    def tight(self) -> Region:
        return ProductRegion(self.piece.tight(), self.factor, self.first, self.space)

    def _join(self, P: Tensor, Q: Tensor) -> Tensor:
        """Columns of piece and factor in the order of the product."""
        return torch.cat([P, Q] if self.first else [Q, P], 1)

    def _split(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Columns of the piece and of the factor."""
        k = len(self.piece.names)
        return (X[:, :k], X[:, k:]) if self.first else (X[:, -k:], X[:, :-k])


def _rules(a: Patch, b: Patch, n: int, dtype, device) -> tuple[Points, Points]:
    """Quadratures of two factors with about n points together, as many per dimension in one as in the other."""
    k = per_axis(n, a.chart_dim + b.chart_dim)
    A = a.quadrature(max(1, k**a.chart_dim), dtype=dtype, device=device)
    return A, b.quadrature(max(1, n // len(A)), dtype=dtype, device=device)


def _products(A: Points, B: Points) -> Tensor:
    """Weights of every point of A with every point of B."""
    assert A.weights is not None and B.weights is not None
    return torch.outer(A.weights, B.weights).reshape(-1)
