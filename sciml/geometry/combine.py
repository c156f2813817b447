"""Union, intersection and difference of domains with the same coordinates.

The boundary of a combination is made of those parts of the operands' boundaries where one side
is in and the other is out: a point p with normal n is kept if p − εn lies in the set and p + εn
does not. This also settles faces that coincide. Pieces keep their names (see `_label_pieces`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ..errors import ProblemError
from ..points import Points
from .ball import Ball
from .box import Box
from .domain import Domain
from .levels import conjunction, disjunction, trim
from .patch import CHECK_POINTS, Drawn, both, kept_share, mixture
from .region import Region
from .unit import fixed_points


class Combination(Domain):
    """Two domains with the same coordinates, combined.

    Args:
        a: Left operand.
        b: Right operand.

    Raises:
        ProblemError: The operands have different coordinates, or nothing is left.
    """

    joins: bool
    """True for a union: a point is in if it is in either operand; else it has to be in both."""
    flips: bool
    """Whether the right operand enters as its complement."""

    def __init__(self, a: Domain, b: Domain):
        if a.names != b.names:
            raise ProblemError(
                f"cannot combine a domain in ({', '.join(a.names)}) with one in "
                f"({', '.join(b.names)}): |, & and - need the same coordinates in the same "
                "order; * combines different ones"
            )
        self._set(
            a=a, b=b, names=a.names, space=a.space, name=None, kind=type(self).__name__.lower()
        )
        self._set(bounds=self._bounds())
        base = self._base()
        self._set(
            base=base,
            chart_dim=max(p.chart_dim for p in base),
            chart_measure=sum(p.chart_measure for p in base),
        )
        if kept_share(self, CHECK_POINTS) == 0 and self.measure == 0:
            raise ProblemError(self._empty())

    @abstractmethod
    def _bounds(self) -> tuple[tuple[float, float], ...]:
        """Bounding box."""

    @abstractmethod
    def _base(self) -> tuple[Domain, ...]:
        """Domains whose charts together cover the combination."""

    def _empty(self) -> str:
        """Sentence for a combination without points."""
        return (
            f"the {self.kind} of {self.a!r} and {self.b!r} is empty: no point lies inside; "
            "check centers and sizes"
        )

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        live = {
            g: tuple(p for p in members if p in self.pieces)
            for g, members in self._labels[1].items()
        }
        return {g: members for g, members in live.items() if members}

    @cached_property
    def _labels(self):
        return _label_pieces(self.a, self.b)

    def _make_pieces(self) -> dict[str, Region]:
        pieces: dict[str, Region] = {}
        for label, (right, piece) in self._labels[0].items():
            made = CombinationPiece(
                self, piece.flipped() if right and self.flips else piece, right, label
            )
            if kept_share(made, CHECK_POINTS) > 0:
                pieces[label] = made
        return pieces

    def opposite(self, name: str) -> str:
        """The opposite face of the left operand, if both are still on the boundary."""
        if name in self.pieces and name in self.a.pieces:
            across = self.a.opposite(name)
            if across in self.pieces:
                return across
        return super().opposite(name)


class Union(Combination):
    """A ∪ B."""

    joins, flips = True, False

    def _bounds(self):
        return tuple(
            (min(p[0], q[0]), max(p[1], q[1]))
            for p, q in zip(self.a.bounds, self.b.bounds, strict=True)
        )

    def _base(self):
        return self.a, self.b

    def chart(self, U: Tensor) -> Drawn:
        """A and, where it lies outside A, B."""
        drawn, which = mixture(self.base, U)
        return drawn._replace(
            keep=both(drawn.keep, (which == 0) | (self.a.distance(drawn.X) > 0))
        )

    def distance(self, X: Tensor) -> Tensor:
        return torch.minimum(self.a.distance(X), self.b.distance(X))

    def level(self, coords: Mapping):
        return disjunction([self.a.level(coords), self.b.level(coords)], self.size)


class Intersection(Combination):
    """A ∩ B."""

    joins, flips = False, False

    def _bounds(self):
        bounds = tuple(
            (max(p[0], q[0]), min(p[1], q[1]))
            for p, q in zip(self.a.bounds, self.b.bounds, strict=True)
        )
        if any(lo >= hi for lo, hi in bounds):
            raise ProblemError(self._empty())
        return bounds

    def _base(self):
        """The smallest of A, B and the box around both."""
        around = Box(**dict(zip(self.names, self.bounds, strict=True)))
        return (min(self.a, self.b, around, key=lambda p: p.chart_measure),)

    def chart(self, U: Tensor) -> Drawn:
        drawn = self.base[0].chart(U)
        return drawn._replace(keep=both(drawn.keep, self.distance(drawn.X) <= 0))

    def distance(self, X: Tensor) -> Tensor:
        return torch.maximum(self.a.distance(X), self.b.distance(X))

    def level(self, coords: Mapping):
        return conjunction([self.a.level(coords), self.b.level(coords)], self.size)


class Difference(Combination):
    """A ∖ B."""

    joins, flips = False, True

    def _bounds(self):
        return self.a.bounds

    def _base(self):
        return (self.a,)

    @cached_property
    def measure(self) -> float:
        """|A| − |B| if B is a ball that its distance from ∂A proves inside; else estimated."""
        if isinstance(self.b, Ball):
            center = torch.tensor([self.b.center], dtype=torch.float64)
            if self.a.distance(center).item() <= -self.b.radius:
                return self.a.measure - self.b.measure
        return super().measure

    def _empty(self) -> str:
        return (
            f"the difference of {self.a!r} and {self.b!r} is empty: the second covers the "
            "first; check centers and sizes, or swap them"
        )

    def chart(self, U: Tensor) -> Drawn:
        drawn = self.a.chart(U)
        return drawn._replace(keep=both(drawn.keep, self.b.distance(drawn.X) > 0))

    def distance(self, X: Tensor) -> Tensor:
        return torch.maximum(self.a.distance(X), -self.b.distance(X))

    def level(self, coords: Mapping):
        return conjunction([self.a.level(coords), -self.b.level(coords)], self.size)


class CombinationPiece(Region):
    """Part of an operand's boundary that is on the boundary of the combination.

    Args:
        owner: The combination.
        piece: The operand's piece, its normals pointing out of the combination.
        right: Whether it belongs to the right operand.
        label: Its name.
        outside: The piece as seen from outside the combination.
    """

    def __init__(
        self, owner: Combination, piece: Region, right: bool, label: str, outside: bool = False
    ):
        self._set(
            owner=owner,
            piece=piece,
            right=right,
            label=label,
            outside=outside,
            names=owner.names,
            space=owner.space,
            across=piece.across,
            chart_dim=piece.chart_dim,
            chart_measure=piece.chart_measure,
        )

    def chart(self, U: Tensor) -> Drawn:
        X, n, keep = self.piece.chart(U)
        return Drawn(X, -n if self.outside else n, both(keep, self._on_boundary(X, n)))

    @property
    def gaussian(self):
        """Whether nothing of a piece with a Gauss rule is cut away."""
        return self.piece.gaussian and self.measure == self.chart_measure

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        if not self.gaussian:
            return super().quadrature(n, dtype=dtype, device=device)
        found = self.piece.quadrature(n, dtype=dtype, device=device)
        return replace(self._points(Drawn(found.X, self.normal(found.X))), weights=found.weights)

    def contains(self, X: Tensor) -> Tensor:
        return self.piece.contains(X) & self._on_boundary(X, self.piece.normal(X))

    def normal(self, X: Tensor) -> Tensor:
        n = self.piece.normal(X)
        return -n if self.outside else n

    def level(self, coords: Mapping):
        """The piece's level; trimmed where its surface runs on through the other operand.

            φ ∨ (ψ − φ)   with ψ the level of the other operand, positive where it covers

        Raises:
            ProblemError: The operands share a part of this face, where φ = ψ = 0 has no
                smooth continuation.
        """
        owner = self.owner
        piece = self.piece.flipped() if self.outside else self.piece
        if owner.joins == self.outside:
            return piece.level(coords)
        if self._shared:
            raise ProblemError(
                f"region {self.label!r} has no smooth level function: the operands of the "
                f"{owner.kind} share a part of this face; move one of them, or draw the "
                "outline as one Polygon"
            )
        phi = piece.tight().level(coords)
        psi = (owner.a if self.right else owner.b).level(coords)
        complement = owner.flips and not self.right
        tau = phi + psi if self.outside != complement else phi - psi
        return trim(phi, tau, owner.size)

    def flipped(self) -> Region:
        return CombinationPiece(
            self.owner, self.piece, self.right, self.label, not self.outside
        )

    def tight(self) -> Region:
        return CombinationPiece(
            self.owner, self.piece.tight(), self.right, self.label, self.outside
        )

    @cached_property
    def _shared(self) -> bool:
        """Whether a part of the operand's piece lies on the boundary of the other operand."""
        X, _, keep = self.piece.chart(fixed_points(2**10, self.chart_dim))
        other = self.owner.a if self.right else self.owner.b
        on = other.distance(X).abs() <= self.owner.tolerance(X.dtype)
        return bool((on if keep is None else on & keep).any())

    def _on_boundary(self, X: Tensor, n: Tensor) -> Tensor:
        """Whether X has the combination on one side only.

        A face that both operands have counts for the left one.
        """
        tol = self.owner.tolerance(X.dtype)
        inner, outer = (self.owner.distance(X + s * 10 * tol * n) for s in (-1, 1))
        on = (inner <= tol) & (outer > tol)
        return on & (self.owner.a.distance(X).abs() > 3 * tol) if self.right else on


def _label_pieces(a: Domain, b: Domain):
    """Names of the operands' pieces in a combination.

    A domain with one piece lends it its own name, or its kind: ``"hole"``, ``"disk"``,
    ``"disk2"``. The pieces of a named domain are ``"name.x-"`` and together ``"name"``; those
    of an unnamed left operand stay as they are.

    Returns:
        Pieces as name → (right, region), and groups as name → names of pieces.
    """
    pieces: dict[str, tuple[bool, Region]] = {}
    groups: dict[str, tuple[str, ...]] = {}

    def free(name: str) -> str:
        taken = {*pieces, *groups}
        return next(
            c
            for k in range(1, len(taken) + 2)
            if (c := name if k == 1 else f"{name}{k}") not in taken
        )

    for right, domain in ((False, a), (True, b)):
        own = domain.pieces
        clash = isinstance(domain, Combination) and bool(
            {*pieces, *groups} & {*own, *domain.groups}
        )
        plain = domain.name is None and (not right or isinstance(domain, Combination))
        if len(own) == 1 and not isinstance(domain, Combination):
            pieces[free(domain.name or domain.kind)] = (right, next(iter(own.values())))
        elif plain:
            renamed = {p: free(p) if clash else p for p in own}
            pieces.update({renamed[p]: (right, region) for p, region in own.items()})
            groups.update(
                {free(g): tuple(renamed[p] for p in m) for g, m in domain.groups.items()}
            )
        else:
            label = free(domain.name or domain.kind)
            renamed = {p: f"{label}.{p}" for p in own}
            pieces.update({renamed[p]: (right, region) for p, region in own.items()})
            groups[label] = tuple(renamed.values())
    return pieces, groups
