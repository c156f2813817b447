"""Region: a piece of the boundary of a domain, of one dimension less.

Pieces of primitive shapes live beside their shape; here is the protocol, and the two regions
that exist for every shape: several pieces together, and the part of a piece where a predicate
holds (`Part` is what it shares with the part of a domain).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ProblemError
from ..points import Points, concatenate
from .levels import equivalence
from .patch import Drawn, Patch, both, kept_share, mixture

PREDICATE_POINTS = 4096


class Region(Patch):
    """A piece of a boundary, with outward normals and a level function.

    Attributes:
        label: What the region is called in messages.
        across: Coordinates that the piece bounds, e.g. ``("x",)`` for a face x = const.
        space: Coordinates in which normals have components; the others are masked in samples.
    """

    label: str
    across: tuple[str, ...]
    inner = False
    """Whether it lies inside of the domain, as groups of a mesh may: then it is no part of "boundary"."""

    @abstractmethod
    def contains(self, X: Tensor) -> Tensor:
        """Mask (N,) of the points X, shape (N, D), that lie on the piece up to rounding."""

    @abstractmethod
    def normal(self, X: Tensor) -> Tensor:
        """Outward unit normal over all coordinates at points X on the piece, shape (N, D)."""

    @abstractmethod
    def level(self, coords: Mapping):
        """φ: zero on the piece, positive inside the domain, |∇φ| = 1 on the piece.

        Args:
            coords: Value of each coordinate by name: tensors, or symbolic quantities with
                `__torch_function__`.

        Raises:
            ProblemError: The piece has no such function.
        """

    @abstractmethod
    def flipped(self) -> Region:
        """The same piece from outside: normals reversed, level positive outside the domain."""

    def bubble(self, coords: Mapping):
        """A function that vanishes on the piece, for data that are built in: `level`, or one with better corners."""
        return self.level(coords)

    def tight(self) -> Region:
        """The same piece with a level that vanishes on it only, not on all of its surface."""
        return self

    def where(self, predicate: Callable[[dict[str, Tensor]], Tensor]) -> Region:
        """The part of the region where `predicate` (of a dict name → (N,) tensor) gives True.

        Raises:
            ProblemError: No point of a 4096-point sample matches, or the predicate does not
                return a mask.
        """
        return RegionPart(self, predicate)

    def __repr__(self) -> str:
        return f"region {self.label!r}"


class Join(Region):
    """Several pieces together.

    Args:
        pieces: The regions; their overlaps should have measure zero.
        label: Name in messages.
        space: Coordinates in which normals have components.
        scale: Size of the domain.
    """

    def __init__(
        self, pieces: Sequence[Region], label: str, space: tuple[str, ...], scale: float
    ):
        self._set(
            pieces=tuple(pieces),
            label=label,
            space=space,
            scale=scale,
            names=pieces[0].names,
            across=tuple(dict.fromkeys(c for p in pieces for c in p.across)),
            chart_dim=max(1, *(p.chart_dim for p in pieces)),
            chart_measure=sum(p.chart_measure for p in pieces),
        )

    @property
    def measure(self) -> float:
        """Sum of the pieces' measures."""
        return sum(p.measure for p in self.pieces)

    def chart(self, U: Tensor) -> Drawn:
        return mixture(self.pieces, U)[0]

    def contains(self, X: Tensor) -> Tensor:
        return torch.stack([p.contains(X) for p in self.pieces]).any(0)

    def normal(self, X: Tensor) -> Tensor:
        """Normal of the first piece that contains the point; zero off the region."""
        n = torch.zeros_like(X)
        for piece in reversed(self.pieces):
            n = torch.where(piece.contains(X)[:, None], piece.normal(X), n)
        return n

    def level(self, coords: Mapping):
        return equivalence([p.level(coords) for p in self.pieces], self.scale)

    def flipped(self) -> Region:
        return Join([p.flipped() for p in self.pieces], self.label, self.space, self.scale)

    @property
    def gaussian(self):
        return all(p.gaussian for p in self.pieces)

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """The rules of the pieces together, each with a share of n by its measure."""
        sizes = [max(1, int(n * p.measure / self.measure)) for p in self.pieces]
        found = [p.quadrature(m, dtype=dtype, device=device) for p, m in zip(self.pieces, sizes, strict=True)]
        return concatenate(found)

    def tight(self) -> Region:
        return Join([p.tight() for p in self.pieces], self.label, self.space, self.scale)


class Part(Patch):
    """The part of a domain or of a region where a predicate holds.

    Attributes:
        whole: What it is a part of.
        predicate: Function of a dict name → (N,) tensor that returns a boolean mask (N,).
    """

    whole: Any
    predicate: Callable[[dict[str, Tensor]], Tensor]

    def _select(self, whole: Any, predicate: Callable, called: str, **fields) -> None:
        """Fill attributes from a constructor; `called` is the whole in messages."""
        self._set(
            whole=whole,
            predicate=predicate,
            names=whole.names,
            space=whole.space,
            chart_dim=whole.chart_dim,
            chart_measure=whole.chart_measure,
            **fields,
        )
        if kept_share(self, PREDICATE_POINTS) == 0:
            raise ProblemError(no_match(called))

    def chart(self, U: Tensor) -> Drawn:
        X, normals, keep = self.whole.chart(U)
        return Drawn(X, normals, both(keep, matches(self.predicate, X, self.names)))

    def contains(self, X: Tensor) -> Tensor:
        """Mask (N,) of the points X, shape (N, D), in the whole where the predicate holds."""
        return self.whole.contains(X) & matches(self.predicate, X, self.names)


class RegionPart(Part, Region):
    """The part of a region where a predicate holds. It has no level: its rim is not known.

    Args:
        region: The region it is a part of.
        predicate: Function of a dict name → (N,) tensor that returns a boolean mask (N,).
    """

    def __init__(self, region: Region, predicate: Callable[[dict[str, Tensor]], Tensor]):
        self._select(
            region, predicate, region.label, label=f"part of {region.label}", across=region.across
        )

    def normal(self, X: Tensor) -> Tensor:
        return self.whole.normal(X)

    def level(self, coords: Mapping):
        raise ProblemError(
            f"the {self.label} is chosen by a predicate, so it has no smooth level function; "
            "impose its condition by points, or name a whole face"
        )

    def flipped(self) -> Region:
        return RegionPart(self.whole.flipped(), self.predicate)


def matches(predicate, X: Tensor, names: tuple[str, ...]) -> Tensor:
    """The predicate's mask at X, shape (N,).

    Raises:
        ProblemError: It returns something else than a mask with one value per point.
    """
    mask = predicate({name: X[:, i] for i, name in enumerate(names)})
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != X.shape[:1]:
        came = (
            f"{mask.dtype} of shape {tuple(mask.shape)}"
            if isinstance(mask, Tensor)
            else type(mask).__name__
        )
        raise ProblemError(
            f"the predicate returned {came}, expected a boolean tensor of shape "
            f"({X.shape[0]},); compare tensors, for example lambda c: c['x'] < 0.5"
        )
    return mask


def no_match(label: str) -> str:
    """Sentence for a predicate that selects nothing."""
    return (
        f"the predicate matches no point of {label} (of {PREDICATE_POINTS} tried); check its "
        "sign and units, or give a wider tolerance"
    )
