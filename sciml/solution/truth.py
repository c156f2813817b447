"""A problem's reference, whatever it is given as, on the points where errors are measured.

`reference` may be the name of a file beside `data/`, a dict of formulas by unknown, a solution by finite elements, or
a function that computes one or a `sciml.references.Grid`. Here each becomes a `Truth`: points, values by unknown, exact
parameters, stated accuracy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..calculus import Program
from ..elements.discrete import Discrete
from ..errors import ProblemError, unknown_name
from ..generators import BatchSolver
from ..mesh import Complex
from ..mesh.geometry import node_shares
from ..mesh.structured import refined
from ..problem import Normalized, Problem
from ..problem.setting import function_name
from ..references.reference import Grid, load_with_origin

MEMBER_NODES, MEMBER_TIMES = {1: 256, 2: 65}, 41     # of the grid on which one member of a family is solved


@dataclass(frozen=True, eq=False)
class Truth:
    """Where errors are measured, and what is true there.

    Args:
        X: Points, shape (N, D), columns in the order of the problem's coordinates.
        values: Reference by unknown, shape (N,); empty if the problem has none.
        axes: Axes of the grid the points form, in the order of the coordinates; None: scattered.
        parameters: Exact values of unknown parameters, where known.
        accuracy: Stated relative accuracy; 0 for formulas.
        how: A sentence on where it comes from.
        signless: Unknowns whose sign is a convention: eigenfunctions, which only `Normalized` fixes.
        cells: Where the points are nodes of a mesh, its cells by kind: node numbers (E, k), as in VTK.
        weights: Share of the volume that each point stands for, shape (N,); None: equal.
    """

    X: np.ndarray
    values: dict[str, np.ndarray] = field(default_factory=dict)
    axes: dict[str, np.ndarray] | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    accuracy: float = 0.0
    how: str = "none"
    signless: frozenset[str] = frozenset()
    cells: dict[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None

    def facing(self, prediction: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The reference's values, with eigenfunctions turned to the sign of a prediction."""
        turned = {u for u in self.signless & self.values.keys() & prediction.keys()
                  if float(np.nansum(self.values[u] * prediction[u])) < 0}
        return {u: -v if u in turned else v for u, v in self.values.items()}


def find_data(name: str, problem: Problem) -> Path:
    """Path of a reference file: beside the problem, in the `data/` next to its folder, in `./data`, `$SCIML_DATA`."""
    source = problem.source
    places = [Path.cwd()]
    if source is not None:
        folder = source.path.resolve().parent
        places = [folder, folder / "data", folder.parent / "data", *places]
    places += [Path.cwd() / "data", Path(__file__).resolve().parents[2] / "data"]
    places += [Path(p) for p in os.environ.get("SCIML_DATA", "").split(os.pathsep) if p]
    if Path(name).is_absolute():
        places = [Path("/")]
    for place in places:
        if (place / name).is_file():
            return place / name
    have = {p.name for place in places[1:] for p in place.glob("*.h5")}
    raise ProblemError(f"reference: {unknown_name('file', name, have)} Looked in "
                       + ", ".join(dict.fromkeys(str(p) for p in places)))


def resolve(problem: Problem, compute: bool = True) -> Truth:
    """The reference of a problem on its points; without one, a grid to draw on.

    Args:
        problem: Whose reference.
        compute: Whether a reference that is a function is run, which may take long.

    Raises:
        ProblemError: The file is missing, or has other coordinates or unknowns than the problem.
    """
    signless = frozenset(c.unknown for c in problem.conditions if isinstance(c, Normalized))
    return replace(_resolve(problem, compute), signless=signless)


def _resolve(problem: Problem, compute: bool) -> Truth:
    reference = problem.reference
    if reference is None:
        return _without(problem)
    if isinstance(reference, (str, os.PathLike)):
        path = find_data(str(reference), problem)
        grid, origin = load_with_origin(path)
        changed = _changed(problem, origin["arguments"])
        if changed:
            assert problem.source is not None
            truth = _without(problem)
            return Truth(truth.X, {}, truth.axes, how=f"none: {path.name} was made for {changed}; make one with "
                         f"`sciml reference {problem.source.path.stem} --set …`")
        return _from_grid(problem, grid, path.name)
    if isinstance(reference, Mapping):
        return _from_formulas(problem, reference)
    if isinstance(reference, BatchSolver):
        return _from_grid(problem, _member(problem, reference), "the solver of the family")
    if callable(reference):
        if not compute:
            return replace(_without(problem), how=f"computed by {function_name(reference, 'a function')}; not run here")
        grid = reference()
        if isinstance(grid, Discrete):
            return _from_elements(problem, grid)
        if not isinstance(grid, Grid):
            raise ProblemError("reference: the function must return sciml.references.Grid or a solution by finite "
                               f"elements, got {type(grid).__name__}")
        return _from_grid(problem, grid, "the reference function")
    if isinstance(reference, Discrete):
        return _from_elements(problem, reference)
    raise ProblemError("reference must be a file name, a dict of formulas by unknown, or a function; got "
                       f"{type(reference).__name__}")


def _member(problem: Problem, solver: BatchSolver) -> Grid:
    """One member of a family, on a grid that its solver makes."""
    inputs = problem.setting.inputs
    axes: dict[str, torch.Tensor] = {}
    times: torch.Tensor | None = None
    stated = problem.defaults.get("data")
    stated = stated.get("grid") if isinstance(stated, Mapping) else None        # of a body: its own along each axis
    sizes = dict(zip(problem.domain.space, stated, strict=True)) if problem.chart and isinstance(stated, tuple) and \
        len(stated) == len(problem.domain.space) else {}
    for name, (low, high) in zip(problem.domain.names, problem.domain.bounds, strict=True):
        nodes = sizes.get(name) or MEMBER_NODES.get(len(problem.domain.space), 33)
        if name == "t":
            times = torch.linspace(low, high, MEMBER_TIMES, dtype=torch.float64)
        else:
            axes[name] = torch.linspace(low, high, nodes + solver.periodic, dtype=torch.float64)
            axes[name] = axes[name][:nodes]

    def on(grid):
        return {n: drawn.family.on_grid(drawn.coefficients, {c: grid[c] for c in drawn.family.over or ()})
                for n, drawn in inputs.items()}

    values = solver.solve(on(axes), axes, times)
    accuracy = solver.accuracy(on, axes, times)
    columns = axes if times is None else {**axes, "t": times}
    order = list(columns)
    coordinates = {n: columns[n].numpy() for n in problem.domain.names}
    unknowns = {u: np.moveaxis(v[0].numpy(), range(len(order)), [problem.domain.names.index(n) for n in order])
                for u, v in values.items() if u in solver.gives}
    return Grid(coordinates, unknowns, "grid", accuracy.error, accuracy.how)


def _changed(problem: Problem, arguments: Mapping[str, Any]) -> str:
    """What the file was made for that the user has set to something else."""
    overrides = problem.source.overrides if problem.source is not None else {}
    parts = [f"{k}={arguments[k]}" for k, v in overrides.items()
             if k in arguments and not np.isclose(float(arguments[k]), float(v), rtol=1e-9)]
    unknown = [k for k in overrides if k not in arguments]
    if unknown and not parts:
        parts = [f"the value of {k} in the file" for k in unknown]
    return ", ".join(parts)


def _from_grid(problem: Problem, grid: Grid, name: str) -> Truth:
    names = problem.coordinates
    if set(grid.coordinates) != set(names):
        raise ProblemError(f"reference {name}: has the coordinates {', '.join(grid.coordinates)}, the problem "
                           f"{', '.join(names)}")
    for key in grid.unknowns:
        if key not in problem.unknowns:
            raise ProblemError(f"reference {name}: {unknown_name('unknown', key, problem.unknowns)}")
    if grid.layout == "scattered":
        X = np.stack([grid.coordinates[n] for n in names], axis=1)
        return Truth(X, dict(grid.unknowns), None, dict(grid.parameters), grid.accuracy, grid.how,
                     cells=dict(grid.cells), weights=grid.weights)
    order = [list(grid.coordinates).index(n) for n in names]
    axes = {n: np.asarray(grid.coordinates[n]) for n in names}
    values = {u: np.transpose(v, order).reshape(-1) for u, v in grid.unknowns.items()}
    return Truth(grid_points(axes), values, axes, dict(grid.parameters), grid.accuracy, grid.how)


def _from_elements(problem: Problem, found: Discrete) -> Truth:
    """A solution by finite elements at the points where errors are measured: nodes of the problem's mesh."""
    for name in found.coefficients:
        if name not in problem.unknowns:
            raise ProblemError(f"reference: {unknown_name('unknown', name, problem.unknowns)}")
    truth = _without(problem)
    if truth.X.shape[1] != next(iter(found.spaces.values())).complex.X.shape[1]:
        raise ProblemError(f"reference: the elements have other coordinates than the problem's, "
                           f"{', '.join(problem.coordinates)}")
    values = {u: v.numpy() for u, v in found.at(torch.as_tensor(truth.X)).items()}
    space = next(iter(found.spaces.values()))
    return replace(truth, values=values, accuracy=float("nan"),
                   how=f"finite elements of order {space.order} on {len(space.complex):,} cells")


def grid_points(axes: Mapping[str, np.ndarray]) -> np.ndarray:
    """All points of a tensor grid, shape (N, D), last coordinate fastest."""
    return np.stack([m.reshape(-1) for m in np.meshgrid(*axes.values(), indexing="ij")], axis=1)


def _without(problem: Problem) -> Truth:
    """Points to evaluate and draw on: nodes of a mesh, a grid over up to three coordinates, else a Sobol set."""
    if isinstance(complex_ := getattr(problem.region, "complex", None), Complex) and \
            complex_.dim == complex_.X.shape[1] == len(problem.coordinates):
        return _on_mesh(complex_)
    bounds = problem.region.bounds
    D = len(bounds)
    box_volume = float(np.prod([high - low for low, high in bounds]))
    is_box = abs(problem.region.measure - box_volume) < 1e-9 * box_volume
    if D <= 3:
        counts = {1: 513, 2: 101, 3: 33}[D]
        axes = {n: np.linspace(low, high, counts) for n, (low, high) in zip(problem.coordinates, bounds, strict=True)}
        X = grid_points(axes)
        if is_box:
            return Truth(X, {}, axes)
        inside = problem.region.contains(torch.as_tensor(X)).numpy()
        return Truth(X[inside], {}, None)
    points = problem.region.sample(20000, generator=torch.Generator().manual_seed(0), rule="sobol")
    return Truth(points.X.numpy(), {}, None)


def _on_mesh(complex_: Complex, enough: int = 4000, most: int = 200_000) -> Truth:
    """The nodes of a mesh, refined until there are enough to show what a field does between them."""
    while complex_.order == 1 and len(complex_.X) < enough and 2**complex_.dim * len(complex_) < most:
        complex_ = refined(complex_)
    cells = {b.kind.name: b.nodes.numpy() for b in complex_.blocks}
    return Truth(complex_.X.numpy(), cells=cells, weights=node_shares(complex_).numpy())


def formula_program(problem: Problem, formulas: Mapping[str, object]) -> Program:
    """Program of the formulas of a reference, by unknown."""
    outputs = {u: problem.setting.call(f, f"reference of {u!r}") for u, f in formulas.items() if u in problem.unknowns}
    return Program(outputs)


def _from_formulas(problem: Problem, formulas: Mapping[str, Any]) -> Truth:
    for n in formulas:
        if n not in problem.unknowns and n not in problem.trainable:
            raise ProblemError(f"reference: {unknown_name('unknown', n, [*problem.unknowns, *problem.trainable])}")
    parameters = {n: float(formulas[n]) for n in problem.trainable if n in formulas}
    program = formula_program(problem, formulas)
    truth = _without(problem)
    X = torch.as_tensor(truth.X)
    leaves = {}
    for key in program.leaves:
        kind, name, _ = key
        if kind == "parameter":
            if name not in parameters:
                raise ProblemError(f"reference: the formula uses {name!r}; give its exact value, {name}=…, beside it")
            leaves[key] = torch.full_like(X[:, 0], parameters[name])
        elif kind == "coordinate":
            leaves[key] = X[:, problem.coordinates.index(name)]
        else:
            raise ProblemError(f"reference: a formula may use coordinates and parameters, not the {kind} {name!r}")
    values = program(leaves, X[:, 0])
    return replace(truth, values={n: v.numpy() for n, v in zip(program.names, values, strict=True)},
                   parameters=parameters, accuracy=0.0, how="formula")


def describe(truth: Truth) -> str:
    """The reference in one line, for reports."""
    if not truth.values and not truth.parameters:
        return truth.how
    accuracy = "exact" if truth.accuracy == 0 else f"accuracy {truth.accuracy:.1e}" if truth.accuracy > 0 else \
        "accuracy not stated"
    return f"{truth.how} ({accuracy}, {len(truth.X):,} points)"
