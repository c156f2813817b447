"""Conditions: statements that must hold on a part of the domain, R[u] = 0.

Here are those inside the domain and at given points; `boundary.py` and `integral.py` hold the others, `condition.py`
what they share, and `block.py` what they turn into. All can be imported from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ..calculus import d
from ..errors import ProblemError, look_up, unknown_name
from ..geometry import Box
from ..points import Points
from .block import Block, HardData
from .boundary import Dirichlet, Interface, Neumann, Periodic, Robin
from .condition import Condition, check_unknowns, component, place
from .integral import Integral, Normalized
from .setting import Setting, as_number, components, function_name

__all__ = [
    "Block", "Condition", "Dirichlet", "Equation", "HardData", "Initial", "Integral", "Interface", "Neumann",
    "Normalized", "Observations", "Periodic", "Pin", "Robin",
]


class Equation(Condition):
    """A residual that must vanish, inside the domain or on any part of it.

    Args:
        function: Takes unknowns, coordinates, parameters (and `normal` on a boundary) by name and returns the
            residual: an expression, or a dict or tuple of several.
        on: Where: None for the interior; face names, a domain, or a predicate of the coordinates.
    """

    kind = "equation"

    def __init__(self, function: Callable, on=None, name: str | None = None, weight: float = 1.0,
                 points: int | None = None):
        super().__init__(name, weight, points)
        if not callable(function):
            raise ProblemError(f"Equation needs a function of the unknowns, got {function!r}")
        self.function, self.on = function, on

    @property
    def label(self):
        return self.name or function_name(self.function, self.kind)

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        region = place(setting, self.on, where, "interior")
        inside = self.on is None or region is setting.domain
        result = setting.call(self.function, where, normal=not inside)
        return [self._block(name, components(result, name, where), region)]


class Initial(Condition):
    """u = u₀ at the initial time; `u_t=…` gives the initial velocity.

    Args:
        values: By unknown, or unknown and time derivatives (`u_t`, `u_tt`): a number or a function.
    """

    kind = "initial"

    def __init__(self, name: str | None = None, weight: float = 1.0, points: int | None = None, **values):
        super().__init__(name, weight, points)
        self.values = values

    def _parts(self, setting: Setting, where: str) -> list[tuple[str, str, int, object]]:
        parts = []
        for key, value in self.values.items():
            unknown, order = key, 0
            if key not in setting.unknowns and "_" in key:
                unknown, suffix = key.rsplit("_", 1)
                if suffix and set(suffix) == {"t"}:
                    order = len(suffix)
                else:
                    unknown = key
            check_unknowns(setting, [unknown], where)
            parts.append((key, unknown, order, value))
        if not parts:
            check_unknowns(setting, [], where)
        return parts

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        if "initial" not in setting.domain.faces:
            raise ProblemError(f"{where}: the domain has no time coordinate t; its regions are "
                               f"{', '.join(setting.domain.faces)}")
        parts = self._parts(setting, where)
        outputs, prescribed = {}, {}
        for key, unknown, order, value in parts:
            u, g = setting.frame.leaf("unknown", unknown), setting.datum(value, where)
            outputs[component(name, key, parts)] = d(u, *["t"] * order) - g
            prescribed[unknown, order] = g
        hard = tuple(HardData(unknown, ("initial",), order, value, "initial") for _, unknown, order, value in parts)
        return [self._block(name, outputs, setting.domain.region("initial"), hard=hard, prescribed=prescribed)]


class Pin(Condition):
    """u = value at one point: fixes a constant that the equations leave free, such as the pressure's.

    Args:
        at: Coordinates of the point; one that is left out runs over its range.
        values: By unknown.
    """

    kind = "pin"

    def __init__(self, at: Mapping[str, float], name: str | None = None, weight: float = 1.0,
                 points: int | None = None, **values):
        super().__init__(name, weight, points)
        if not isinstance(at, Mapping):
            raise ProblemError(f"Pin: at={at!r} must name coordinates, e.g. at=dict(x=0.0, y=0.0)")
        self.at = {n: as_number(value, f"Pin: {n}") for n, value in at.items()}
        self.values = values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        check_unknowns(setting, self.values, where)
        names = setting.domain.names
        for key in self.at:
            if key not in names:
                raise ProblemError(f"{where}: {unknown_name('coordinate', key, names)}")
        X = self._places(setting)
        X = X[setting.domain.contains(X)]
        if not len(X):
            raise ProblemError(f"{where}: the point {self.at} lies outside the domain")
        prescribed = {(u, 0): setting.datum(v, where) for u, v in self.values.items()}
        outputs = {component(name, u, self.values): setting.frame.leaf("unknown", u) - g
                   for (u, _), g in prescribed.items()}
        return [self._block(name, outputs, Points(X, names), prescribed=prescribed)]

    def _places(self, setting: Setting) -> torch.Tensor:
        """The point, or points that fill the range of what is left out: even in one coordinate, Sobol in several."""
        names = setting.domain.names
        free = [n for n in names if n not in self.at]
        count = (self.count or 64) if free else 1
        X = torch.tensor([[self.at.get(n, 0.0) for n in names]], dtype=torch.float64).repeat(count, 1)
        bounds = dict(zip(names, setting.domain.bounds, strict=True))
        if len(free) == 1:
            X[:, names.index(free[0])] = torch.linspace(*bounds[free[0]], count, dtype=torch.float64)
        elif free:
            drawn = Box(**{n: bounds[n] for n in free}).sample(
                count, generator=torch.Generator().manual_seed(0), rule="sobol")
            for n in free:
                X[:, names.index(n)] = drawn.column(n)
        return X


class Observations(Condition):
    """Measured values at points, for inverse problems.

    Args:
        at: Coordinates of the N measurements: an array of length N per coordinate.
        values: Measured values by unknown: arrays of length N.
    """

    kind = "observations"

    def __init__(self, at: Mapping[str, object], name: str | None = None, weight: float = 1.0, **values):
        super().__init__(name, weight)
        self.at, self.values = dict(at), values

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        check_unknowns(setting, self.values, where)
        names = setting.domain.names
        for n in names:
            look_up(f"coordinate of {where}, which needs every coordinate; missing", n, self.at)
        for n in self.at:
            if n not in names:
                raise ProblemError(f"{where}: {unknown_name('coordinate', n, names)}")
        columns = {n: _measured(self.at[n], n, where) for n in names}
        data = {u: _measured(v, u, where) for u, v in self.values.items()}
        lengths = {n: len(a) for n, a in {**columns, **data}.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ProblemError(f"{where}: arrays have different or zero lengths: "
                               + ", ".join(f"{n} {k}" for n, k in lengths.items()))
        for n, a in {**columns, **data}.items():
            if not bool(torch.isfinite(a).all()):
                raise ProblemError(f"{where}: {n!r} contains NaN or infinite values")
        points = Points(torch.stack([columns[n] for n in names], dim=1), names)
        outside = int((~setting.domain.contains(points.X)).sum())
        if outside:
            raise ProblemError(f"{where}: {outside} of {len(points)} measurements lie outside the domain")
        outputs = {component(name, u, data): setting.frame.leaf("unknown", u) - setting.frame.leaf("data", u)
                   for u in data}
        return [self._block(name, outputs, points, data=data)]


def _measured(values, name: str, where: str) -> torch.Tensor:
    """Measurements as a tensor of shape (N,), a copy of the user's."""
    try:
        return torch.as_tensor(values, dtype=torch.float64).detach().cpu().clone().reshape(-1)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{where}: {name} must be an array of numbers ({error})") from error
