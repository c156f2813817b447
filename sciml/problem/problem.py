"""Problem: domain, unknowns, parameters, conditions and reference, checked and frozen.

Building a problem runs every equation once on symbolic values (no training, well under two seconds), which finds the
set of derivatives and nearly every mistake: names, regions, shapes, empty sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import torch

from ..calculus import Frame, Quantity
from ..errors import ProblemError
from ..geometry import Box, Domain
from ..points import Points
from .chart import add_chart, check_chart
from .conditions import Block, Condition, Dirichlet, Interface
from .contradictions import check_prescribed
from .family import InputFunctions, draw_inputs, drawn_in
from .lift import check_extra, check_known, extra_inputs, known_part
from .names import check_names
from .setting import Range, Setting, Unknown, check_shape, number


@dataclass(frozen=True)
class Source:
    """Where a problem came from.

    Args:
        path: The file.
        text: Its source.
        doc: Its docstring.
        overrides: Values set from outside (`--set nu=0.02`).
    """

    path: Path
    text: str
    doc: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Problem:
    """Find u such that every condition vanishes on its part of the domain.

    Args:
        domain: Ω, for evolution problems with the time t as a coordinate.
        unknowns: Names, separated by spaces, or a sequence of names.
        conditions: What must hold.
        parameters: By name: a number, `Unknown(…)` (to be found) or `Range(…)` (the solution as a function of it).
        reference: File name beside `data/`, a dict of formulas by unknown, or a function that computes it.
        defaults: The recipe that solves the problem well: options of `solve`.
        title: One line for reports and figures.
        lift: A known part by unknown, u = lift + trained part: a number or a function of coordinates and parameters; or
            one function that returns a dict of them. Conditions, references and solutions are about the total u. It
            takes away what a network cannot follow, such as the singular flow at a corner; its derivatives are exact.
            Unknowns that are left out have none.
        features: Functions of the coordinates that networks take as further inputs: what bends or grows where the
            solution does, such as the distance to an interface or r^(2/3) at a re-entrant corner. Their values
            should be about 1; their derivatives are exact. Other models than networks do without.
        inputs: Random input functions by name (`sciml.inputs`): the problem is then a family, whose solution operator
            can be learnt (`model="fno"`); for other models it is one member of it.
        member: Which one: the seed its input functions are drawn with.
        chart: Coordinates of the body by name, as functions of the box's coordinates and of inputs: equations are
            written in these, and `domain` is the box that the body is the image of. With random inputs in it, the
            family is one of bodies. Faces, fields and points keep the names of the box.

    Attributes:
        known: The lift as expressions of the coordinates, by unknown.
        extra: The features as expressions of the coordinates.

    Raises:
        ProblemError: Anything that does not make sense, in one sentence.
    """

    domain: Domain
    unknowns: str | Sequence[str]
    conditions: Sequence[Condition]
    parameters: Mapping[str, object] = field(default_factory=dict)
    reference: object = None
    defaults: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    lift: Mapping[str, object] | Callable = field(default_factory=dict)
    features: Sequence[Callable] = ()
    inputs: Mapping[str, InputFunctions] = field(default_factory=dict)
    member: int = 0
    chart: Mapping[str, Callable] = field(default_factory=dict)

    def __post_init__(self):
        set_ = lambda name, value: object.__setattr__(self, name, value)
        set_("unknowns", _names(self.unknowns))
        set_("conditions", tuple(self.conditions))
        set_("parameters", dict(self.parameters))
        set_("defaults", dict(self.defaults))
        set_("inputs", dict(self.inputs))
        set_("chart", dict(self.chart))
        set_("lift", dict(self.lift) if isinstance(self.lift, Mapping) else self.lift)
        if not isinstance(self.domain, Domain):
            raise ProblemError(f"domain must be a Domain such as Box(x=(0, 1)), got {self.domain!r}")
        if not self.conditions:
            raise ProblemError("the problem has no conditions; give at least one Equation")
        for c in self.conditions:
            if not isinstance(c, Condition):
                raise ProblemError(f"conditions must be Equation, Dirichlet, …; got {c!r}")
        set_("setting", self._setting())
        set_("known", known_part(self.setting, self.lift))
        set_("features", (self.features,) if callable(self.features) else tuple(self.features))
        set_("extra", extra_inputs(self.setting, self.features))
        set_("blocks", self._blocks())
        check_chart(self.setting, self.chart, self.blocks)
        self._check_names()
        self._check_weak()
        check_prescribed(self.blocks)
        check_known(self.setting, self.known, self.derivative_set())
        check_extra(self.setting, self.extra, self.derivative_set())

    setting: Setting = field(init=False, repr=False)
    blocks: tuple[Block, ...] = field(init=False, repr=False)
    known: dict[str, Quantity | float] = field(init=False, repr=False)
    extra: tuple[Quantity, ...] = field(init=False, repr=False)
    source: Source | None = field(init=False, repr=False, default=None)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Inputs of a field: the domain's coordinates, then the ranged parameters."""
        return self.setting.frame.coordinates

    @property
    def region(self) -> Domain:
        """The domain times the box of ranged parameters."""
        return self.setting.domain

    @property
    def trainable(self) -> dict[str, Unknown]:
        """Parameters to be found."""
        return dict(self.setting.trainable)

    @property
    def ranges(self) -> dict[str, Range]:
        """Parameters the solution is a function of."""
        return {n: p for n, p in self.parameters.items() if isinstance(p, Range)}

    @property
    def rough(self) -> tuple[str, ...]:
        """Inputs that jump and of which an equation, taken point by point, asks a derivative."""
        found = drawn_in(b.program for b in self.blocks)
        return tuple(n for n, functions in found.items() if any(f.rough for f in functions))

    def _setting(self) -> Setting:
        constants, trainable, ranges = {}, {}, {}
        for name, value in self.parameters.items():
            if isinstance(value, Unknown):
                trainable[name] = value
            elif isinstance(value, Range):
                ranges[name] = value
            elif isinstance(value, Real):
                constants[name] = number(value, f"parameter {name!r}")
            else:
                raise ProblemError(f"parameter {name!r} must be a number, Unknown(…) or Range(…), got {value!r}")
        check_names(self.domain.names, _names(self.unknowns), (*self.parameters, *self.inputs, *self.chart))
        domain = self.domain
        if ranges:
            domain = (domain * Box(**{n: (r.low, r.high) for n, r in ranges.items()})).with_space(self.domain.space)
        frame = Frame(tuple(domain.names), tuple(self.chart) or tuple(self.domain.space))
        setting = Setting(frame, domain, _names(self.unknowns), constants, trainable, self._breaks(),
                          tuple(ranges), self._fixed(), inputs=draw_inputs(self.inputs, self.domain, self.member))
        add_chart(setting, self.chart)
        return setting

    def _fixed(self) -> dict[str, tuple]:
        found: dict[str, tuple] = {}
        for c in self.conditions:
            if isinstance(c, Dirichlet):
                for unknown in c.values:
                    found[unknown] = (*found.get(unknown, ()), c.on)
        return found

    def _breaks(self) -> dict[str, tuple[float, ...]]:
        found: dict[str, set[float]] = {}
        for c in self.conditions:
            if isinstance(c, Interface):
                found.setdefault(c.coordinate, set()).add(c.position)
        return {n: tuple(sorted(places)) for n, places in found.items()}

    def _blocks(self) -> tuple[Block, ...]:
        explicit = Counter(c.name for c in self.conditions if c.name)
        for name, k in explicit.items():
            if k > 1:
                raise ProblemError(f"two conditions have the name {name!r}; give each its own")
        blocks: list[Block] = []
        for name, c in self.named_conditions():
            if name in {b.name for b in blocks}:
                raise ProblemError(f"two conditions have the name {name!r}; give each its own")
            for block in c.blocks(self.setting, name):
                _probe(self.setting, block)
                blocks.append(block)
        return tuple(blocks)

    def named_conditions(self) -> list[tuple[str, Condition]]:
        """Conditions with the names of their blocks: labels, numbered where several share one."""
        labels = Counter(c.label for c in self.conditions)
        seen: Counter = Counter()
        found = []
        for c in self.conditions:
            seen[c.label] += 1
            found.append((c.label if labels[c.label] == 1 else f"{c.label} {seen[c.label]}", c))
        return found

    def _check_weak(self) -> None:
        """Test functions are not periodic: each face would get the natural condition of its own."""
        weak = next((b.name for b in self.blocks if b.combine in ("test", "energy")), None)
        periodic = next((b.name for b in self.blocks if b.kind == "periodic"), None)
        if weak and periodic:
            raise ProblemError(f"conditions {weak!r} and {periodic!r} do not go together: what is integrated over the "
                               "mesh demands natural conditions on the periodic faces; write an Equation instead")

    def _check_names(self) -> None:
        used = {n for b in self.blocks for n in b.program.requests}
        for n in self.unknowns:
            if n not in used:
                raise ProblemError(f"no condition contains the unknown {n!r}; nothing determines it")
        used = {n for b in self.blocks for n in b.program.uses("parameter")}
        for n in self.trainable:
            if n not in used:
                raise ProblemError(f"no condition contains the unknown parameter {n!r}; nothing determines it")

        used = set(drawn_in(b.program for b in self.blocks))
        for n in self.inputs:
            if n not in used:
                raise ProblemError(f"no condition contains the input {n!r}, so the solution does not depend on it; ask "
                                   "for it by name in an equation or in initial or boundary data")
        used = {name for b in self.blocks for kind, name, _ in b.program.leaves if kind == "coordinate"}
        for n in self.ranges:
            if n not in used:
                raise ProblemError(f"no condition contains the parameter {n!r}, so the solution does not vary with it; "
                                   "ask for it by name in an equation, or give it a number")

    def derivative_set(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Multi-indices that the conditions ask of each unknown."""
        wanted: dict[str, set] = {}
        for block in self.blocks:
            for name, alphas in block.program.requests.items():
                wanted.setdefault(name, set()).update(alphas)
        return {n: tuple(sorted(wanted[n], key=lambda m: (sum(m), [-k for k in m]))) for n in self.unknowns}


def _names(unknowns) -> tuple[str, ...]:
    names = tuple(unknowns.split()) if isinstance(unknowns, str) else tuple(unknowns)
    if not names:
        raise ProblemError("unknowns is empty; name at least one, e.g. unknowns=\"u\"")
    for n in names:
        if not n.isidentifier():
            raise ProblemError(f"unknown {n!r} is not a name; separate several by spaces, e.g. unknowns=\"u v p\"")
    return names


def _probe(setting: Setting, block: Block, N: int = 7) -> None:
    """Runs a block once on a few points with made-up field values: shapes and regions must be right."""
    generator = torch.Generator().manual_seed(0)
    where = f"condition {block.name!r}"
    if isinstance(block.region, Points):
        points = block.region[:N]
    else:
        try:
            points = block.region.sample(N, generator=generator)
        except ProblemError as error:
            raise ProblemError(f"{where}: {error}") from error
    like = points.X[:, 0]
    leaves = {}
    for key in block.program.leaves:
        kind, name, _ = key
        if kind == "coordinate":
            leaves[key] = points.column(name)
        elif kind == "normal":
            if points.normals is None:
                raise ProblemError(f"{where}: `normal` is known on boundaries only")
            leaves[key] = points.normals[:, points.names.index(name)]
        elif kind == "data":
            leaves[key] = block.data[name][:N]
        else:
            leaves[key] = torch.rand(like.shape, generator=generator, dtype=torch.float64)
    try:
        values = block.program(leaves, like)
        alone = block.program({key: leaf[:2] for key, leaf in leaves.items()}, like[:2])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ProblemError(f"{where}: the residual fails on {len(points)} points ({error})") from error
    for value, few in zip(values, alone, strict=True):
        check_shape(value, len(points), where)
        if not torch.allclose(value[:2], few, equal_nan=True):
            raise ProblemError(f"{where}: the residual at a point depends on the other points (a mean, a norm, random "
                               "numbers?); an equation is written point by point, and integrals are Integral(…)")
