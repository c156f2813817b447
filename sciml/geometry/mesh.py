"""Meshes as domains: `Mesh("part.msh")`, cells that fill their space or a closed surface around it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ProblemError, look_up, unknown_name
from ..mesh import Cells, Complex, Facets, quadrature
from ..mesh.bernstein import boxes
from ..mesh.charts import CellChart
from ..mesh.complex import identify
from ..mesh.enclosed import Enclosed
from ..mesh.locate import Locator
from ..points import Points
from .domain import Domain, check_names, check_space, default_space
from .mesh_region import MeshRegion, gauss_degree, split_groups
from .patch import Drawn
from .region import Region


class Mesh(Domain):
    """What the cells of a mesh fill, or what a closed surface of triangles encloses.

    Named groups of facets are the pieces of the boundary, and "boundary" is all of it; groups of cells are sub-domains
    (`part`), in which an equation may be asked to hold, ``Equation(…, on="steel")``, and whose name is 1 there and 0
    elsewhere in equations: ``k = 1 + 99 * steel``.

    Args:
        source: Path of a mesh file (gmsh, VTU, VTK, XDMF, Abaqus, STL, …), looked for as it stands, in `data` and
            `data/meshes` of the current folder and of the checkout, and in `$SCIML_DATA`; or a `Complex`.
        names: Coordinate names; by default the first of x, y, z.
        name: What it is called in combinations.
        unnamed: Name of the boundary facets without group; None: if a file has groups, they must have all of them, and
            those of a `Complex` are called "unnamed".
        scale: Factor of coordinates, e.g. 1e-3 for a file in millimetres.
        merge: Whether nodes at one place are joined; None: they are an error.

    Raises:
        ProblemError: The file is not found or has a defect (see `sciml.mesh.read`); cells without volume; a surface
            that is not closed; groups with names that mean something else.
    """

    unnamed = "unnamed"

    def __init__(self, source: str | os.PathLike | Complex, names: Iterable[str] | None = None,
                 name: str | None = None, *, unnamed: str | None = None, scale: float = 1.0, merge: bool | None = None):
        complex_ = source if isinstance(source, Complex) else _read(source, unnamed, scale, merge)
        if isinstance(source, Complex) and scale != 1.0:
            complex_ = complex_.moved(complex_.X * scale)
        D = complex_.X.shape[1]
        names = check_names(("x", "y", "z")[:D] if names is None else names)
        if len(names) != D:
            raise ProblemError(f"the mesh has {D} coordinates, got {len(names)} names: {', '.join(names)}")
        if complex_.dim not in (D, D - 1):
            raise ProblemError(f"a mesh of cells of dimension {complex_.dim} in {D} coordinates neither fills a space "
                               "nor encloses one")
        filling = _Solid(complex_) if complex_.dim == D else _Inside(complex_)
        if unnamed is not None:
            self._set(unnamed=unnamed)
        self._set(names=names, space=default_space(names), name=name, kind="mesh", complex=filling.complex,
                  filling=filling, bounds=filling.bounds, chart_dim=filling.chart_dim,
                  chart_measure=filling.chart_measure, measure=filling.measure)
        clash = sorted(set(self.complex.volumes) & set(self.complex.surfaces))
        if clash and complex_.dim == D:
            raise ProblemError(f"{clash[0]!r} names a group of cells and a group of facets of the mesh; give each its "
                               "own name")

    def chart(self, U: Tensor) -> Drawn:
        return self.filling.chart(U)

    def contains(self, X: Tensor) -> Tensor:
        return self.filling.contains(X, self.tolerance(X.dtype))

    def distance(self, X: Tensor) -> Tensor:
        """Signed distance to the boundary, exact up to rounding, on the device of X."""
        return self.filling.distance(X)

    def level(self, coords: Mapping):
        """The smooth distance to all of the boundary; it does not change sign across it."""
        return self.region("boundary").level(coords)

    @property
    def gaussian(self) -> bool:
        """Whether `quadrature` is Gauss's rule on every cell, as it is if there are as many points."""
        return isinstance(self.filling, _Solid)

    def quadrature(self, n: int, *, dtype=torch.float64, device="cpu") -> Points:
        """Gauss's rule on every cell, of the highest degree up to 8 with at most n points together.

        With more cells than n, and inside of a closed surface: about n Sobol points with equal weights.
        """
        degree = gauss_degree(self.complex.blocks, n) if self.gaussian else None
        if degree is None:
            return super().quadrature(n, dtype=dtype, device=device)
        rule = quadrature(self.complex, degree)
        weights = rule.weights * (self.measure / rule.weights.sum())
        return Points(rule.X, self.names, weights).to(dtype=dtype, device=device)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.complex.volumes) if isinstance(self.filling, _Solid) else ()

    def part(self, name: str) -> Domain:
        """The cells of a group as a mesh of their own, with the groups of facets that they have."""
        look_up("part", name, {p: p for p in self.parts})
        if name not in self._parts:
            piece = Mesh(restricted(self.complex, self.complex.volumes[name]), self.names, name)
            self._parts[name] = piece.with_space(self.space)
        return self._parts[name]

    def in_part(self, name: str, X: Tensor) -> Tensor:
        """Whether points are in cells of a group; a point between two cells is in that of lower number."""
        look_up("part", name, {p: p for p in self.parts})
        member = torch.zeros(len(self.complex) + 1, dtype=torch.bool)    # the last one: outside of the mesh
        member[self.complex.volumes[name]] = True
        return member.to(X.device)[self.locator.find(X).cell]

    @cached_property
    def locator(self) -> Locator:
        """Finds points in cells.

        Raises:
            ProblemError: The mesh is a surface.
        """
        return self.filling.locator if isinstance(self.filling, _Solid) else Locator(self.complex)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return self._split[1]

    def region(self, name: str) -> Region:
        """The piece or group called `name`; several pieces are one region, so that distances are searched once."""
        members = self._split[1].get(name) or (self._split[2] if name == "boundary" else ())
        if len(members) < 2 or name in self.pieces:
            return super().region(name)
        if name not in self._joined:
            numbers = torch.cat([self._split[0][m] for m in members]).sort().values
            self._joined[name] = MeshRegion(self, self.filling.facets(numbers), name)
        return self._joined[name]

    def opposite(self, name: str) -> str:
        """The piece that this one becomes when it is moved along one coordinate."""
        here = look_up("region", name, dict(self.pieces))
        for other in self._split[2] if name in self._split[2] else ():
            there = self.pieces[other]
            if other != name and shift(here, there, 1e-6 * self.size) is not None:
                return other
        raise ProblemError(f"region {name!r} of {self!r} has no opposite face: no other group is the same moved along "
                           "one coordinate")

    def translation(self, a: str, b: str) -> tuple[str, float]:
        here, there = (self.region(look_up("region", n, {f: f for f in self.faces})) for n in (a, b))
        found = shift(here, there, 1e-6 * self.size)
        if found is None:
            raise ProblemError(f"region {b!r} of {self!r} is not {a!r} moved along one coordinate; periodic conditions "
                               "need faces that match")
        return found

    def with_space(self, names: Iterable[str]) -> Domain:
        new = super().with_space(check_space(names, self.names))
        new.__dict__.pop("_parts", None)
        new.__dict__.pop("_joined", None)
        return new

    @cached_property
    def _joined(self) -> dict[str, Region]:
        return {}

    @cached_property
    def _parts(self) -> dict[str, Domain]:
        return {}

    @cached_property
    def _split(self):
        c = self.complex
        if isinstance(self.filling, _Solid):
            return split_groups(c.surfaces, c.facet_count, c.boundary, self.unnamed)
        return split_groups(c.volumes, len(c), torch.arange(len(c)), self.unnamed)

    def _make_pieces(self) -> dict[str, Region]:
        return {name: MeshRegion(self, self.filling.facets(numbers), name)
                for name, numbers in self._split[0].items()}


class Filling(ABC):
    """How a mesh fills its domain: by cells, or inside of a surface."""

    complex: Complex
    bounds: tuple[tuple[float, float], ...]
    chart_dim: int
    chart_measure: float
    measure: float

    @abstractmethod
    def chart(self, U: Tensor) -> Drawn:
        """As `Patch.chart`."""

    @abstractmethod
    def contains(self, X: Tensor, tolerance: float) -> Tensor:
        """As `Domain.contains`."""

    @abstractmethod
    def distance(self, X: Tensor) -> Tensor:
        """As `Domain.distance`."""

    @abstractmethod
    def facets(self, numbers: Tensor) -> list:
        """Pieces of the boundary by number."""


class _Solid(Filling):
    """Cells that fill their space."""

    def __init__(self, complex_: Complex):
        self.complex = complex_
        self.charted = CellChart(complex_.X, complex_.blocks)
        bad = (~(self.charted.measures > 0)).nonzero()[:, 0]
        if len(bad):
            raise ProblemError(f"{len(bad)} of the {len(complex_)} cells of the mesh have no volume or are turned "
                               f"inside out, the first is number {int(bad[0])}; mend the mesh")
        corners = [boxes(complex_.X, b) for b in complex_.blocks]
        low, high = torch.cat([c[0] for c in corners]).amin(0), torch.cat([c[1] for c in corners]).amax(0)
        self.bounds = tuple(zip(low.tolist(), high.tolist(), strict=True))
        self.chart_dim, self.chart_measure = self.charted.dim, self.charted.envelope_measure
        self.measure = self.charted.measure
        self.locator = Locator(complex_)

    def chart(self, U: Tensor) -> Drawn:
        image = self.charted(U)
        return Drawn(image.x, None, image.keep)

    def contains(self, X: Tensor, tolerance: float) -> Tensor:
        return self.locator.find(X, tolerance).cell >= 0

    def distance(self, X: Tensor) -> Tensor:
        d = self.locator.hull.distance(X)
        return torch.where(self.locator.find(X).cell >= 0, -d, d)

    def facets(self, numbers: Tensor) -> list[Facets]:
        return self.complex.chosen(numbers)


class _Inside(Filling):
    """The inside of a closed surface."""

    def __init__(self, complex_: Complex):
        self.enclosed = Enclosed(complex_)
        self.complex = self.enclosed.complex
        corners = [boxes(self.complex.X, b) for b in self.complex.blocks]
        self.low, self.high = torch.cat([c[0] for c in corners]).amin(0), torch.cat([c[1] for c in corners]).amax(0)
        self.bounds = tuple(zip(self.low.tolist(), self.high.tolist(), strict=True))
        self.chart_dim, self.chart_measure = len(self.low), float((self.high - self.low).prod())
        self.measure = self.enclosed.volume

    def chart(self, U: Tensor) -> Drawn:
        X = self.low.to(U) + (self.high - self.low).to(U) * U
        return Drawn(X, None, self.enclosed.inside(X))

    def contains(self, X: Tensor, tolerance: float) -> Tensor:
        return self.distance(X) <= tolerance

    def distance(self, X: Tensor) -> Tensor:
        d = self.enclosed.surface.distance(X)
        return torch.where(self.enclosed.inside(X), -d, d)

    def facets(self, numbers: Tensor) -> list[Cells]:
        return self.complex.chosen_cells(numbers)


def shift(a: Region, b: Region, tolerance: float) -> tuple[str, float] | None:
    """The coordinate and the distance by which region `a` is moved to become `b`; None if it is not that simple."""
    if not isinstance(a, MeshRegion) or not isinstance(b, MeshRegion):
        return None
    if abs(a.measure - b.measure) > 1e-6 * a.measure:
        return None
    moves = [(low - low_, high - high_) for (low_, high_), (low, high) in zip(a.bounds, b.bounds, strict=True)]
    if any(abs(low - high) > tolerance for low, high in moves):
        return None
    along = [(name, low) for name, (low, _) in zip(a.names, moves, strict=True) if abs(low) > tolerance]
    if len(along) != 1:
        return None
    name, distance = along[0]
    X = a.quadrature(256).X.clone()
    X[:, a.names.index(name)] += distance
    return (name, distance) if bool((b.surface.distance(X) <= tolerance).all()) else None


def restricted(complex_: Complex, numbers: Tensor) -> Complex:
    """The cells with some numbers as a complex of their own; groups keep what is left of them."""
    blocks = complex_.chosen_cells(numbers.unique())
    used, flat = torch.unique(torch.cat([b.nodes.reshape(-1) for b in blocks]), return_inverse=True)
    parts, at = [], 0
    for b in blocks:
        parts.append(Cells(b.kind, flat[at:at + b.nodes.numel()].view_as(b.nodes)))
        at += b.nodes.numel()
    made = Complex(complex_.X[used], tuple(parts))
    place = torch.full((len(complex_.X),), -1)
    place[used] = torch.arange(len(used))
    surfaces = {}
    for name, group in complex_.surfaces.items():
        found = []
        for facets in complex_.chosen(group):
            corners = place[facets.nodes[:, :facets.kind.corners]]
            keys = identify(corners[(corners >= 0).all(1)], len(used))
            for own, start in zip(made.facets, made.facet_starts, strict=True):
                if own.kind is facets.kind:
                    mine = identify(own.nodes[:, :own.kind.corners], len(used))
                    found.append(torch.isin(mine, keys).nonzero()[:, 0] + start)
        if found and len(kept := torch.cat(found).sort().values):
            surfaces[name] = kept
    return Complex(made.X, made.blocks, surfaces=surfaces)


def find_mesh(source: str | os.PathLike) -> Path:
    """Path of a mesh file: as it stands, or in `data`, `data/meshes` here, in the checkout, or in `$SCIML_DATA`.

    Raises:
        ProblemError: It is in none of them; the sentence lists the meshes that are.
    """
    path = Path(source).expanduser()
    places = [Path.cwd()]
    for folder in (Path.cwd() / "data", Path(__file__).resolve().parents[2] / "data"):
        places += [folder, folder / "meshes"]
    places += [Path(p) for p in os.environ.get("SCIML_DATA", "").split(os.pathsep) if p]
    for place in [Path("/")] if path.is_absolute() else places:
        if (place / path).is_file():
            return place / path
    have = {p.name for place in places[1:] for p in place.glob("*")
            if p.suffix in (".msh", ".vtu", ".vtk", ".xdmf", ".inp", ".stl")}
    raise ProblemError(f"{unknown_name('mesh file', str(source), have)} Looked in "
                       + ", ".join(dict.fromkeys(str(p) for p in places)))


def _read(source: str | os.PathLike, unnamed: str | None, scale: float, merge: bool | None) -> Complex:
    if not isinstance(source, (str, os.PathLike)):
        raise ProblemError(f"Mesh takes the path of a file or a Complex, got {type(source).__name__}")
    reader = import_module("sciml.mesh.read")                  # meshio is slow to import: only for files
    return reader.read_mesh(find_mesh(source), unnamed=unnamed, scale=scale, merge=merge)
