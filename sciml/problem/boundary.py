"""Conditions on boundaries and across planes: Dirichlet, Neumann, Robin, Periodic, Interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from ..calculus import d, dot, grad
from ..errors import ProblemError, look_up, unknown_name
from ..geometry import Box
from .block import HardData
from .condition import Condition, check_unknowns, component, faces_of, is_box, place
from .setting import Setting, as_number


class Dirichlet(Condition):
    """u = g on a boundary.

    Args:
        on: Face names (default: the whole boundary), a region, or a predicate.
        distance: A function of the coordinates that vanishes on these faces and nowhere else, which multiplies the
            network where the data are built in; by default the domain's own. Give one where that has another shape
            than the solution, as r is at a re-entrant corner where u grows like r^(2/3). Not for boxes.
        values: g by unknown: a number or a function of coordinates and parameters.
    """

    kind = "dirichlet"

    def __init__(self, on="boundary", distance: Callable | None = None, name: str | None = None, weight: float = 1.0,
                 points: int | None = None, **values):
        super().__init__(name, weight, points)
        if distance is not None and not callable(distance):
            raise ProblemError(f"dirichlet: distance={distance!r} must be a function of the coordinates")
        self.on, self.distance, self.values = on, distance, values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        check_unknowns(setting, self.values, where)
        region = place(setting, self.on, where, "boundary")
        outputs, prescribed = {}, {}
        for unknown, value in self.values.items():
            g = setting.datum(value, where, normal=True)
            outputs[component(name, unknown, self.values)] = setting.frame.leaf("unknown", unknown) - g
            prescribed[unknown, 0] = g
        faces = tuple(r for r in faces_of(self.on) if isinstance(r, str))
        hard = tuple(HardData(u, faces, 0, v, "dirichlet", self.distance) for u, v in self.values.items()) \
            if len(faces) == len(faces_of(self.on)) else ()
        return [self._block(name, outputs, region, hard=hard, prescribed=prescribed)]


class Robin(Condition):
    """α u + β ∂u/∂n = g on a boundary.

    Args:
        alpha, beta: Numbers or functions of the coordinates.
        on: Face names (default: the whole boundary), a region, or a predicate.
        values: g by unknown.
    """

    kind = "robin"

    def __init__(self, on="boundary", alpha=1.0, beta=1.0, name: str | None = None, weight: float = 1.0,
                 points: int | None = None, **values):
        super().__init__(name, weight, points)
        self.on, self.alpha, self.beta, self.values = on, alpha, beta, values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        check_unknowns(setting, self.values, where)
        normal = setting.names(normal=True)["normal"]
        alpha, beta = (setting.datum(c, where, normal=True) for c in (self.alpha, self.beta))
        outputs = {}
        for unknown, value in self.values.items():
            u = setting.frame.leaf("unknown", unknown)
            flux = alpha * u + beta * dot(normal, grad(u))
            outputs[component(name, unknown, self.values)] = flux - setting.datum(value, where, normal=True)
        return [self._block(name, outputs, place(setting, self.on, where, "boundary"))]


class Neumann(Robin):
    """∂u/∂n = g on a boundary, n the outward normal: Robin's condition with α = 0, β = 1.

    Args:
        on: Face names (default: the whole boundary), a region, or a predicate.
        values: g by unknown.
    """

    kind = "neumann"

    def __init__(self, on="boundary", name: str | None = None, weight: float = 1.0, points: int | None = None,
                 **values):
        super().__init__(on, 0.0, 1.0, name, weight, points, **values)


class Periodic(Condition):
    """Equal values, and equal derivatives, on two opposite faces of a box or of a mesh.

    Args:
        on: The coordinate that is periodic, e.g. "x"; or two regions, of which the second is the first moved along one
            coordinate, e.g. ["left", "right"].
        unknowns: Which; None for all.
        derivatives: Highest derivative in the direction of `on` that is matched too.
    """

    kind = "periodic"

    def __init__(self, on: str | Sequence[str], unknowns: str | Sequence[str] | None = None, derivatives: int = 1,
                 name: str | None = None, weight: float = 1.0, points: int | None = None):
        super().__init__(name, weight, points)
        pair = isinstance(on, (list, tuple)) and len(on) == 2 and all(isinstance(o, str) for o in on)
        if not isinstance(on, str) and not pair:
            raise ProblemError(f"Periodic takes one coordinate name, or two regions, got {on!r}; write one Periodic "
                               "per coordinate")
        if isinstance(derivatives, bool) or not isinstance(derivatives, int) or derivatives < 0:
            raise ProblemError(f"Periodic: derivatives={derivatives!r} must be a whole number, 0 for equal values only")
        self.on, self.derivatives = on, derivatives
        self.unknowns = unknowns.split() if isinstance(unknowns, str) else unknowns

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        coordinate, face, distance = self._shift(setting, where)
        unknowns = tuple(self.unknowns or setting.unknowns)
        check_unknowns(setting, unknowns, where)
        outputs = {}
        for unknown in unknowns:
            u = setting.frame.leaf("unknown", unknown)
            for order in range(self.derivatives + 1):
                outputs[f"{name}.{unknown}{'_' + coordinate * order if order else ''}"] = d(u, *[coordinate] * order)
        # A periodic network has all derivatives periodic, more than equal values alone ask for.
        hard = tuple(HardData(u, (self.on,), self.derivatives, None, "periodic") for u in unknowns) \
            if self.derivatives and isinstance(self.on, str) else ()
        return [self._block(name, outputs, setting.domain.region(face), combine="difference",
                            partner=(coordinate, distance), hard=hard)]

    def _shift(self, setting: Setting, where: str) -> tuple[str, str, float]:
        """The coordinate, the face that points are drawn on, and how far its partner is."""
        domain = setting.domain
        if not isinstance(self.on, str):
            try:
                coordinate, distance = domain.translation(*self.on)
                return coordinate, self.on[0], distance
            except ProblemError as error:
                raise ProblemError(f"{where}: {error}") from error
        if self.on not in domain.names:
            raise ProblemError(f"{where}: {unknown_name('coordinate', self.on, domain.names)}")
        for face in (f"{self.on}-", f"{self.on}+"):
            if face not in domain.faces:
                raise ProblemError(f"{where}: the domain has no face {face!r}; periodicity needs a box in {self.on}, "
                                   "or two regions: Periodic(on=[\"left\", \"right\"])")
        low, high = domain.bounds[domain.names.index(self.on)]
        return self.on, f"{self.on}-", high - low


class Interface(Condition):
    """[u] = g and [∂u/∂x] = 0 across a plane x = a where the data jump, so that u is smooth on either side only.

    [f] is f just above a minus f just below. An interface splits the fields of its problem: they get one smooth piece
    on either side, and quadrature stops there. Without it a smooth network meets a kink that it resolves slowly.

    Args:
        at: The coordinate and its value, e.g. dict(x=0.4).
        flux: By unknown, what is continuous besides u, e.g. dict(u=lambda u, x: k(x) * u.x); by default ∂u/∂x. It is
            evaluated on either side.
        values: Jump g by unknown, usually 0.0: a number or a function of the coordinates.

    Note:
        Both sides are evaluated at a ∓ δ, δ = 4e-7 of the domain's size, and carried to a by one Taylor term, which
        leaves an error of δ² f″ (1e-13) and works in float32 too.
    """

    kind = "interface"
    DISTANCE = 4e-7

    def __init__(self, at: Mapping[str, float], flux: Mapping[str, Callable] | None = None, name: str | None = None,
                 weight: float = 1.0, points: int | None = None, **values):
        super().__init__(name, weight, points)
        if not isinstance(at, Mapping) or len(at) != 1:
            raise ProblemError(f"Interface: at={at!r} must name one coordinate, e.g. at=dict(x=0.4)")
        ((self.coordinate, position),) = at.items()
        self.position = as_number(position, f"Interface: {self.coordinate}")
        self.flux, self.values = dict(flux or {}), values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        check_unknowns(setting, self.values, where)
        for unknown in self.flux:
            look_up(f"jump in {where}, which gives a flux for it; unknown", unknown, self.values)
        c, a, names = self.coordinate, self.position, setting.domain.names
        if c not in names:
            raise ProblemError(f"{where}: {unknown_name('coordinate', c, names)}")
        bounds = dict(zip(names, setting.domain.bounds, strict=True))
        low, high = bounds[c]
        if not low < a < high:
            raise ProblemError(f"{where}: {c}={a} does not cut the domain, which lies in {c} ∈ ({low}, {high})")
        x = setting.frame.leaf("coordinate", c)
        outputs = {}
        for unknown, jump in self.values.items():
            u = setting.frame.leaf("unknown", unknown)
            step = torch.where(x > a, setting.datum(jump, where), 0.0)
            flux = setting.datum(self.flux[unknown], where) if unknown in self.flux else d(u, c)
            for part, f in ((unknown, u - step), (f"{unknown}.flux", flux)):
                outputs[f"{name}.{part}"] = f + d(f, c) * (a - x)
        delta = self.DISTANCE * max(high - low, abs(low), abs(high))
        region = Box(**{**bounds, c: (low, a - delta)}).region(f"{c}+")
        domain = setting.domain
        if not is_box(domain):
            region = region.where(lambda columns: domain.contains(torch.stack([columns[n] for n in names], dim=1)))
        block = self._block(name, outputs, region, combine="difference", partner=(c, 2 * delta))
        return [replace(block, count=1) if len(names) == 1 else block]
