"""Hard constraints: initial, Dirichlet and periodic data built into the field.

    u(x, t) = G(x, t) + B(x, t) N_θ(x, t)

The lift G takes the prescribed values, the bubble B vanishes where they are prescribed (with as many time derivatives
as are given initially), and periodic coordinates enter the network through cos and sin. Then those conditions hold
exactly for every θ and leave the loss.

A lift that the problem states itself (`Problem(lift=…)`) is where G starts: what is built in is the data minus it, and
nothing at all on a face where it takes the data already, even if it jumps at the ends of that face.

On boxes G is the transfinite (Coons) interpolation of the faces' data over the initial data, B a product of linear
factors. On other domains B is the product of the regions' smooth distance functions φ_i and G the blend
Σ w_i g_i, w_i ∝ Π_{j≠i} φ_j (Sukumar and Srivastava 2022, eq. 11, doi:10.1016/j.cma.2021.114333).

Data that contradict each other where faces meet (a lid that moves between fixed walls) have no continuous G; then
`build` says so, and with `constraints="auto"` that unknown's conditions stay in the loss. So do initial data that are
not periodic where the field is: t N_θ with a periodic N_θ would carry their kink through all times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from ..calculus import Program, Quantity, d
from ..calculus.quantity import is_number, substitute
from ..errors import ProblemError
from ..geometry import Box, Mesh
from ..points import Points
from .conditions import HardData
from .problem import Problem


@dataclass(frozen=True)
class Ansatz:
    """What a field is wrapped in.

    Args:
        lifts, bubbles: G and B by unknown (0 and 1 where nothing is built in).
        periods: Period by coordinate.
        satisfied: Names of the conditions that hold exactly.
        refused: Why conditions were left in the loss, by unknown.
    """

    lifts: Mapping[str, Quantity | float]
    bubbles: Mapping[str, Quantity | float]
    periods: dict[str, float]
    satisfied: frozenset[str]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def trivial(self) -> bool:
        """Whether there is no lift and no bubble: the field is the network alone."""
        return (all(is_number(b, 1) for b in self.bubbles.values()) and
                all(is_number(g, 0) for g in self.lifts.values()))


def soft(problem: Problem) -> Ansatz:
    """Nothing built in but the problem's own lift."""
    return Ansatz(dict(problem.known), dict.fromkeys(problem.unknowns, 1.0), {}, frozenset())


def build(problem: Problem, mode: str = "auto", initial: bool = True) -> Ansatz:
    """The ansatz of a problem.

    Args:
        problem: Whose data.
        mode: "hard": everything that can be built in must be, or a sentence says why not; "auto": what cannot stays
            in the loss; "soft": nothing is built in.
        initial: Whether initial data are built in too.

    Raises:
        ProblemError: `mode` is "hard" and some data contradict each other, or mode is unknown.
    """
    if mode == "soft":
        return soft(problem)
    if mode not in ("hard", "auto"):
        raise ProblemError(f"constraints={mode!r} is not one of hard, soft, auto")
    statements = [h for b in problem.blocks for h in b.hard if initial or h.kind != "initial"]
    periods, refused = _periods(problem, statements, mode)
    lifts: dict[str, Quantity | float] = {}
    bubbles: dict[str, Quantity | float] = {}
    done: set[int] = set()
    for unknown in problem.unknowns:
        own = [h for h in statements if h.unknown == unknown and h.kind != "periodic"]
        lifts[unknown], bubbles[unknown] = problem.known[unknown], 1.0
        if not own:
            continue
        try:
            lift, bubble = _one(problem, unknown, own, periods)
            _check(problem, own, lift)
            _check_periodic(problem, [h for h in statements if h.unknown == unknown and h.regions[0] in periods],
                            (lift, bubble))
        except ProblemError as error:
            if mode == "hard":
                raise ProblemError(f"constraints=\"hard\" is impossible for {unknown!r}: {error}") from error
            refused[unknown] = str(error)
            continue
        lifts[unknown], bubbles[unknown] = lift, bubble
        done.update(id(h) for h in own)
    done.update(id(h) for h in statements if h.kind == "periodic" and h.regions[0] in periods)
    satisfied = frozenset(b.name for b in problem.blocks if b.hard and all(id(h) in done for h in b.hard))
    return Ansatz(lifts, bubbles, periods, satisfied, refused)


def _periods(problem: Problem, statements: list[HardData], mode: str) -> tuple[dict[str, float], dict[str, str]]:
    """Coordinates in which every unknown is periodic, and by unknown why a lift is not."""
    found, refused = {}, {}
    bounds = dict(zip(problem.coordinates, problem.region.bounds, strict=True))
    for c in {h.regions[0] for h in statements if h.kind == "periodic"}:
        unknowns = {h.unknown for h in statements if h.kind == "periodic" and h.regions[0] == c}
        if unknowns != set(problem.unknowns):
            continue
        found[c] = bounds[c][1] - bounds[c][0]
        for h in statements:
            if h.kind != "periodic" or h.regions[0] != c or is_number(problem.known[h.unknown], 0):
                continue
            try:
                _check_periodic(problem, [h], (problem.known[h.unknown],), "the problem's lift is")
            except ProblemError as error:
                if mode == "hard":
                    raise ProblemError(f"constraints=\"hard\" is impossible for {h.unknown!r}: {error}") from error
                refused[h.unknown] = str(error)
                found.pop(c, None)
    return found, refused


def _one(problem: Problem, unknown: str, own: list[HardData], periods) -> tuple[Quantity | float, Quantity | float]:
    initial = {h.order: h.value for h in own if h.kind == "initial"}
    if initial and sorted(initial) != list(range(len(initial))):
        raise ProblemError(f"time derivatives {sorted(initial)} are given initially, but not all lower ones")
    if isinstance(problem.domain, Box):
        if any(h.distance is not None for h in own):
            raise ProblemError("distance= is for other domains than a Box, whose data are built in face by face")
        faces = _box_faces(problem, own, periods)
        lift, bubble = _box(problem, problem.known[unknown], initial, faces)
    else:
        lift, bubble = _general(problem, problem.known[unknown], initial, [h for h in own if h.kind == "dirichlet"])
    if initial:
        t = problem.setting.frame.leaf("coordinate", "t")
        low, high = _interval(problem, "t")
        bubble = bubble * ((t - low) / (high - low)) ** len(initial)
    return lift, bubble


def _interval(problem: Problem, name: str) -> tuple[float, float]:
    return problem.region.bounds[problem.coordinates.index(name)]


def _value(problem: Problem, value, where: str = "hard constraint"):
    return problem.setting.call(value, where)


def _box_faces(problem: Problem, own: list[HardData], periods) -> dict[str, object]:
    """Dirichlet value by face; what is declared first wins."""
    found: dict[str, object] = {}
    for h in own:
        if h.kind != "dirichlet":
            continue
        for region in h.regions:
            if region == "boundary":
                names = [f"{c}{s}" for c in problem.domain.space for s in "-+" if c not in periods]
            else:
                names = [region]
            for name in names:
                if name[:-1] not in problem.domain.space or name[-1] not in "-+":
                    raise ProblemError(f"region {name!r} is not a face of the box in a space coordinate")
                found.setdefault(name, h.value)
    return found


def _box(problem: Problem, lift: Quantity | float, initial: dict[int, object], faces: dict[str, object]):
    frame, known = problem.setting.frame, lift
    if initial:
        t = frame.leaf("coordinate", "t")
        start = _interval(problem, "t")[0]
        for order, value in sorted(initial.items()):
            factor = 1.0
            for k in range(1, order + 1):
                factor = factor * (t - start) / k
            there = substitute(d(known, *["t"] * order), {"t": start})
            lift = lift + factor * (_value(problem, value) - there)
    bubble: Quantity | float = 1.0
    for c in problem.domain.space:
        low, high = _interval(problem, c)
        x = frame.leaf("coordinate", c)
        xi = (x - low) / (high - low)
        missing = {}
        for face, end in ((f"{c}-", low), (f"{c}+", high)):
            if face in faces:
                g = problem.setting.call(faces[face], f"face {face!r}")
                gap = substitute(g, {c: end}) - substitute(lift, {c: end})
                held = not is_number(known, 0) and _vanishes(problem, gap, face)
                missing[face] = 0.0 if held else gap
        if len(missing) == 2:
            lift = lift + (1.0 - xi) * missing[f"{c}-"] + xi * missing[f"{c}+"]
            bubble = bubble * (4.0 * xi * (1.0 - xi))
        elif missing:
            ((face, gap),) = missing.items()
            lift = lift + gap
            bubble = bubble * (xi if face.endswith("-") else 1.0 - xi)
    return lift, bubble


def _general(problem: Problem, known: Quantity | float, initial: dict[int, object], dirichlet: list[HardData]):
    frame = problem.setting.frame
    coordinates = {n: frame.leaf("coordinate", n) for n in problem.coordinates}
    # Regions with the same data share a factor: their φ all vanish where they meet, and the blend would be 0/0 there.
    factors: dict[object, Quantity | float] = {}
    for h in dirichlet:
        levels = [problem.region.region(region).bubble(coordinates) for region in h.regions] if h.distance is None \
            else [_own_distance(problem, h)]
        for level in levels:
            factors[h.value] = factors.get(h.value, 1.0) * level
    levels, values = list(factors.values()), [_value(problem, g) for g in factors]
    bubble: Quantity | float = 1.0
    for phi in levels:
        bubble = bubble * phi
    lift = known
    if levels:
        weights = []
        for i in range(len(levels)):
            w: Quantity | float = 1.0
            for j, phi in enumerate(levels):
                w = w if i == j else w * phi
            weights.append(w)
        # At a node where two pieces meet all of them are zero, and so is what they weigh.
        total: Quantity | float = 1e-15 * problem.domain.size if isinstance(problem.domain, Mesh) else 0.0
        for w in weights:
            total = total + w
        if not is_number(known, 0):
            # Away from a box nothing carries g − known inwards without known itself, which would cancel out.
            for h in dirichlet:
                if not all(_vanishes(problem, _value(problem, h.value) - known, r) for r in h.regions):
                    raise ProblemError(f"the problem's lift of {h.unknown!r} does not take the data on region "
                                       f"{h.regions[0]!r}, which only a box can make up for")
            lift = known
        elif all(isinstance(g, (int, float)) and g == values[0] for g in values):
            lift = values[0]
        else:
            for w, g in zip(weights, values, strict=True):
                lift = lift + w * g / total
    if initial:
        t = frame.leaf("coordinate", "t")
        start = _interval(problem, "t")[0]
        correction: Quantity | float = 0.0
        for order, value in sorted(initial.items()):
            factor = 1.0
            for k in range(1, order + 1):
                factor = factor * (t - start) / k
            there = substitute(d(lift, *["t"] * order), {"t": start}) if isinstance(lift, Quantity) else (
                lift if order == 0 else 0.0)
            correction = correction + factor * (_value(problem, value) - there)
        lift = lift + correction
    return lift, bubble


def _own_distance(problem: Problem, h: HardData) -> Quantity:
    """The function that a condition gives as its distance, which must vanish on its faces."""
    distance = _value(problem, h.distance, "distance")
    for region in h.regions:
        points = problem.region.region(region).sample(256, generator=torch.Generator().manual_seed(2))
        largest = float(_evaluate({"distance": distance}, points)[0].abs().max())
        if not largest < 1e-6 * problem.domain.size:
            raise ProblemError(f"distance= of {h.unknown!r} is up to {largest:.2g} on region {region!r}, where it must "
                               "vanish")
    return distance


def _vanishes(problem: Problem, gap, region: str, N: int = 256) -> bool:
    """Whether the lift takes the data on a region by itself; a corner that it leaves undefined has measure zero."""
    points = problem.region.region(region).sample(N, generator=torch.Generator().manual_seed(1))
    return bool(_evaluate({"gap": gap}, points)[0].abs().max() < 1e-10)


def _check(problem: Problem, own: list[HardData], lift, N: int = 256) -> None:
    """Raises if the lift misses some data by more than rounding (faces that contradict each other)."""
    generator = torch.Generator().manual_seed(0)
    stated = not is_number(problem.known[own[0].unknown], 0)
    # On an arc of a mesh φ is that of chords, not quite zero, and G takes that share of the other data.
    largest = max((float(_evaluate({"g": _value(problem, h.value)}, problem.region.region(r).sample(
        N, generator=torch.Generator().manual_seed(1)))[0].abs().max()) for h in own for r in h.regions
        if h.kind == "dirichlet"), default=0.0) if isinstance(problem.domain, Mesh) else 0.0
    for h in own:
        for name in h.regions:
            points = problem.region.region(name).sample(N, generator=generator)
            if stated and h.order == 0:
                _check_approach(problem, lift, points, name)
            derivative = d(lift, *["t"] * h.order)
            value = problem.setting.call(h.value, f"region {name!r}")
            have, want = _evaluate({"have": derivative, "want": value}, points)
            gap = (have - want).abs()
            scale = 1.0 + float(want.abs().max())
            chords = 0.0 if largest == 0 else 100 * largest * _chords(problem, name, points)
            if not bool(torch.isfinite(have).all()) or float(gap.max()) > 1e-8 * scale + chords:
                worst = points.X[int(gap.nan_to_num(torch.inf).argmax())].tolist()
                at = ", ".join(f"{n}={v:.3g}" for n, v in zip(points.names, worst, strict=True))
                raise ProblemError(
                    f"the data on region {name!r} disagree with other data where they meet (gap "
                    f"{float(gap.max()):.2g} at {at}); use constraints=\"soft\" or \"auto\"")


def _chords(problem: Problem, region: str, points: Points) -> float:
    """How far the level of a region is from zero on it, in units of the domain's size."""
    coordinates = {n: problem.setting.frame.leaf("coordinate", n) for n in problem.coordinates}
    level = problem.region.region(region).level(coordinates)
    return float(_evaluate({"level": level}, points)[0].abs().max()) / problem.domain.size


def _check_approach(problem: Problem, lift, points: Points, name: str) -> None:
    """Raises if G just inside the domain differs from G on a region.

    A lift that jumps at a corner has several values there; the Coons patch takes one of them for all faces.
    """
    if points.normals is None:
        return
    near = replace(points, X=points.X - 1e-7 * problem.domain.size * points.normals)
    on, inside = (_evaluate({"lift": lift}, p)[0] for p in (points, near))
    if not bool(((on - inside).abs() <= 1e-2 * (1.0 + on.abs())).all()):   # slopes up to 1e5 are no jump
        raise ProblemError(f"the problem's lift jumps where region {name!r} meets another and does not take the data "
                           "there; let it take the data on these faces, or use constraints=\"soft\" or \"auto\"")


def _check_periodic(problem: Problem, periodic: list[HardData], parts: tuple,
                    what: str = "the initial or boundary data are", N: int = 64) -> None:
    """Raises if lift or bubble is not periodic: a periodic N_θ could not make up for it (B vanishes at t = 0 only)."""
    generator = torch.Generator().manual_seed(0)
    for h in periodic:
        (c,) = h.regions
        points = problem.region.region(f"{c}-").sample(N, generator=generator)
        column = problem.coordinates.index(c)
        low, high = _interval(problem, c)
        across = replace(points, X=points.X.index_fill(1, torch.tensor([column]), high))
        outputs = {(i, k): d(part, *[c] * k) for i, part in enumerate(parts) for k in range(h.order + 1)}
        for (_, k), near, far in zip(outputs, _evaluate(outputs, points), _evaluate(outputs, across), strict=True):
            gap = float((near - far).abs().max())
            if not gap <= 1e-8 * (1.0 + float(near.abs().max())):
                part = "value" if k == 0 else f"derivative of order {k} in {c}"
                raise ProblemError(f"{what} not periodic in {c!r} (the {part} jumps by "
                                   f"{gap:.2g}); use constraints=\"soft\" or \"auto\"")


def _evaluate(outputs: dict, points: Points) -> list[torch.Tensor]:
    """Values of data at points; data that change during training cannot be built in."""
    program = Program(outputs)
    for kind, name, _ in program.leaves:
        if kind != "coordinate":
            raise ProblemError(f"the data depend on the {'unknown ' if kind == 'parameter' else ''}{kind} {name!r}")
    return program({key: points.column(key[1]) for key in program.leaves}, points.X[:, 0])
