"""Domain: an open set in named coordinates, with named pieces of its boundary.

A coordinate called ``t`` is time. The others are space unless `with_space` says otherwise; only
space coordinates count for ``"boundary"`` and for normals.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from ..errors import ProblemError, look_up, unknown_name
from .patch import Patch
from .region import Join, Part, Region


class Domain(Patch):
    """An open set Ω in named coordinates.

    Attributes:
        names: Coordinate names, in the order of the columns.
        bounds: Bounding box, (lo, hi) per coordinate.
        space: The names that are space: all but ``"t"`` by default.
        name: What the user calls it, or None.
        kind: What it is called when it has no name, e.g. ``"disk"``.
    """

    bounds: tuple[tuple[float, float], ...]
    name: str | None
    kind: str

    @abstractmethod
    def distance(self, X: Tensor) -> Tensor:
        """Signed distance (N,) to the boundary at X, shape (N, D); negative inside.

        Exact for primitives and products of them. For `|`, `&`, `-` it is the minimum or
        maximum of the operands': right in sign, and never more than the true distance in
        magnitude.
        """

    @abstractmethod
    def level(self, coords: Mapping):
        """Smooth φ: positive inside, negative outside, zero on all of the boundary."""

    @abstractmethod
    def _make_pieces(self) -> dict[str, Region]:
        """The elementary pieces of the boundary by name."""

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names that stand for several pieces, besides ``"boundary"``."""
        return {}

    @cached_property
    def pieces(self) -> dict[str, Region]:
        """The elementary pieces of the boundary by name."""
        return self._make_pieces()

    @property
    def faces(self) -> tuple[str, ...]:
        """Every name that `region` knows: pieces, then aggregates and aliases."""
        return tuple(dict.fromkeys([*self.pieces, *self.groups, *self._aggregates]))

    @cached_property
    def size(self) -> float:
        """Longest side of the bounding box, the unit of tolerances."""
        return max(hi - lo for lo, hi in self.bounds)

    def contains(self, X: Tensor) -> Tensor:
        """Mask (N,) of the points X, shape (N, D), in the closed set, up to `tolerance`."""
        return self.distance(X) <= self.tolerance(X.dtype)

    def tolerance(self, dtype) -> float:
        """Distance that counts as on the boundary: 1e−9 of the size, 2e−6 in float32."""
        far = max(max(abs(lo), abs(hi)) for lo, hi in self.bounds)
        relative = 1e-9 if dtype == torch.float64 else 2e-6
        return max(relative * self.size, 8 * torch.finfo(dtype).eps * far)

    def region(self, name: str) -> Region:
        """The piece or aggregate of the boundary called `name`.

        Raises:
            ProblemError: There is none; the sentence lists the valid names and the nearest.
        """
        members = look_up(
            "region",
            name,
            {**{face: (face,) for face in self.pieces}, **self.groups, **self._aggregates},
        )
        pieces = [self.pieces[member] for member in members]
        return pieces[0] if len(pieces) == 1 else Join(pieces, name, self.space, self.size)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of sub-domains, for `part`: groups of cells of a mesh."""
        return ()

    def part(self, name: str) -> Domain:
        """The sub-domain called `name`, a domain of its own.

        Raises:
            ProblemError: There is none; the sentence lists the valid names and the nearest.
        """
        raise ProblemError(unknown_name("part", name, self.parts))

    def in_part(self, name: str, X: Tensor) -> Tensor:
        """Mask (N,) of points in a sub-domain; one on the surface between two is in one of them only, where possible.

        Raises:
            ProblemError: As `part`.
        """
        return self.part(name).contains(X)

    def translation(self, a: str, b: str) -> tuple[str, float]:
        """The coordinate along which face `a` is moved to become face `b`, and how far, for periodic conditions.

        Raises:
            ProblemError: One of them does not exist, or they are not opposite.
        """
        if self.opposite(a) != b:
            raise ProblemError(f"regions {a!r} and {b!r} of {self!r} are not opposite; {a!r} faces "
                               f"{self.opposite(a)!r}")
        coordinate = a[:-1]
        lo, hi = self.bounds[self.names.index(coordinate)]
        return coordinate, hi - lo if a.endswith("-") else lo - hi

    def opposite(self, name: str) -> str:
        """The face across the domain, for periodic conditions: ``"x-"`` ↔ ``"x+"``.

        Raises:
            ProblemError: The face does not exist, or lies on a shape that has no opposite
                faces.
        """
        look_up("region", name, {face: face for face in self.faces})
        raise ProblemError(
            f"region {name!r} of {self!r} has no opposite face; only faces of a Box have"
        )

    def where(
        self, predicate: Callable[[dict[str, Tensor]], Tensor], of: str | None = None
    ) -> Patch:
        """The part of the inside, or of the region `of`, where a predicate holds.

        Args:
            predicate: Function of a dict name → (N,) tensor that returns a boolean mask (N,).
            of: Name of a region, e.g. ``"boundary"``; None: the inside.

        Raises:
            ProblemError: No point of a 4096-point sample matches, or the predicate does not
                return a mask.
        """
        return DomainPart(self, predicate) if of is None else self.region(of).where(predicate)

    def with_space(self, names: Iterable[str]) -> Domain:
        """A copy in which exactly `names` are space.

        Raises:
            ProblemError: One of the names is not a coordinate.
        """
        space = check_space(names, self.names)
        new = copy.copy(self)
        new.__dict__.pop("pieces", None)  # cached pieces carry the old space
        new._set(space=space)
        return new

    def named(self, name: str) -> Domain:
        """A copy that is called `name` when it is combined with others."""
        new = copy.copy(self)
        new._set(name=name)
        return new

    @property
    def _aggregates(self) -> dict[str, tuple[str, ...]]:
        """Pieces behind ``"boundary"``, ``"initial"`` and ``"final"``, as far as they exist."""
        spatial = tuple(
            f for f, piece in self.pieces.items() if set(piece.across) & set(self.space) and not piece.inner
        )
        found = {"boundary": spatial} if spatial else {}
        for alias, face in (("initial", "t-"), ("final", "t+")):
            if face in self.pieces:
                found[alias] = (face,)
        return found

    # The combinations are domains themselves, so their modules import this one; hence the late
    # imports.

    def __or__(self, other: Domain) -> Domain:
        from .combine import Union

        return Union(self, other)

    def __and__(self, other: Domain) -> Domain:
        from .combine import Intersection

        return Intersection(self, other)

    def __sub__(self, other: Domain) -> Domain:
        from .combine import Difference

        return Difference(self, other)

    def __mul__(self, other: Domain) -> Domain:
        from .product import Product

        return Product(self, other)

    def __repr__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        return f"{label}{self.kind} in {', '.join(self.names)}"


class DomainPart(Part, Domain):
    """The part of the inside of a domain where a predicate holds; without faces or distance.

    Args:
        domain: The domain it is a part of.
        predicate: Function of a dict name → (N,) tensor that returns a boolean mask (N,).
    """

    def __init__(self, domain: Domain, predicate: Callable[[dict[str, Tensor]], Tensor]):
        kind = f"part of {domain.kind}"
        self._select(domain, predicate, f"the {domain!r}", name=None, bounds=domain.bounds, kind=kind)

    def distance(self, X: Tensor) -> Tensor:
        raise ProblemError(
            f"the {self!r} is chosen by a predicate, so it has no signed distance; "
            "combine shapes with |, & and - instead"
        )

    def level(self, coords: Mapping):
        raise ProblemError(
            f"the {self!r} is chosen by a predicate, so it has no level function; "
            "combine shapes with |, & and - instead"
        )

    def _make_pieces(self) -> dict[str, Region]:
        return {}


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Coordinate names as a tuple.

    Raises:
        ProblemError: A name is repeated or is not a Python identifier.
    """
    names = tuple(names.split()) if isinstance(names, str) else tuple(names)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ProblemError(f"{name!r} cannot name a coordinate; use a word such as 'x'")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ProblemError(
            f"coordinate names are repeated: {', '.join(repeated)}; "
            "give each coordinate its own"
        )
    return names


def default_space(names: tuple[str, ...]) -> tuple[str, ...]:
    """All names but time."""
    return tuple(name for name in names if name != "t")


def check_space(space: Iterable[str], names: tuple[str, ...]) -> tuple[str, ...]:
    """Space names in the order of the coordinates.

    Raises:
        ProblemError: One of them is not a coordinate.
    """
    table = {name: name for name in names}
    wanted = {
        look_up("coordinate", name, table)
        for name in (space.split() if isinstance(space, str) else space)
    }
    return tuple(name for name in names if name in wanted)
