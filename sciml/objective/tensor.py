"""Tensor products on boxes: data built in by functions that vanish at the ends, and equations that separate.

    α_1(∂_1) u + … + α_D(∂_D) u + c u = q    ⇒    Σ_d Id ⊗ … ⊗ D_d ⊗ … ⊗ Id + c Id,      D_d = projected α_d(∂_d)

`model=gaussian-lattice`, `gaussian-lines` and `gp` are made here from a problem and a recipe; `separated` reads off an
objective what `optimizer=kronecker` solves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..calculus.indices import MultiIndex
from ..errors import ProblemError
from ..fields import Constrained, FieldOptions, HermiteAxis, TensorField, gaussian_axes, mixture_axes
from ..geometry import Box
from ..memory import free_memory, size_text
from ..optim.kronecker import Separable
from ..points import Points
from ..precondition.coefficients import coefficients, is_linear, other_leaves
from ..problem import Block, Problem
from ..problem.hard import Ansatz, build, soft

if TYPE_CHECKING:
    from .objective import Objective

TENSORS: dict[str, Callable[..., list[Any]]] = {"gaussian-lattice": gaussian_axes, "gaussian-lines": gaussian_axes,
                                                "gp": mixture_axes}
SLAB = 2**19               # points of a grid at which an equation is evaluated at a time
SAMPLES = 64
INSTEAD = "take optimizer=least-squares or varpro"


@dataclass(frozen=True)
class TensorAnsatz(Ansatz):
    """An ansatz without bubbles, whose field vanishes at ends by its functions.

    Args:
        held: Derivatives that vanish at (lower, upper) end, by coordinate.
    """

    held: Mapping[str, tuple[int, int]] | None = None


def tensor_ansatz(problem: Problem, mode: str, initial: bool = True) -> TensorAnsatz:
    """What a tensor product holds by construction: data on whole faces and initial data, as lift and null space.

    Args:
        problem: On a box.
        mode: "hard", "auto" or "soft", as in `problem.hard.build`.
        initial: Whether initial data are built in; the method of lines projects them.

    Raises:
        ProblemError: The domain is no box; with "hard", data that `build` refuses, or unknowns with data on different
            faces.
    """
    if not isinstance(problem.region, Box):
        raise ProblemError("a tensor product needs a problem on a Box; take model=gaussian, or a network such as mlp")
    ansatz = build(problem, mode, initial)
    held = {u: _held(problem, u, ansatz) for u in problem.unknowns}
    first, why = held[problem.unknowns[0]], ""
    if any(h != first for h in held.values()):
        why = "the unknowns have data on different faces, and their functions are the same"
    if any(c in ansatz.periods and any(first[c]) for c in problem.coordinates):
        why = "data are given on a periodic coordinate"
    if why and mode == "hard":
        raise ProblemError(f"constraints=\"hard\" is impossible for a tensor product: {why}; take a network")
    if why:
        ansatz, first = replace(soft(problem), refused=dict.fromkeys(problem.unknowns, why)), {}
    ones = dict.fromkeys(problem.unknowns, 1.0)
    return TensorAnsatz(ansatz.lifts, ones, ansatz.periods, ansatz.satisfied, ansatz.refused, first)


def _held(problem: Problem, unknown: str, ansatz: Ansatz) -> dict[str, tuple[int, int]]:
    """Derivatives of an unknown that are built in at the ends of every coordinate."""
    held = {c: [0, 0] for c in problem.coordinates}
    built = ansatz.satisfied if unknown not in ansatz.refused else frozenset()
    for h in (h for b in problem.blocks if b.name in built for h in b.hard if h.unknown == unknown):
        if h.kind == "initial":
            held["t"][0] = max(held["t"][0], h.order + 1)
        elif h.kind == "dirichlet":
            faces = [f"{c}{s}" for c in problem.domain.space for s in "-+" if c not in ansatz.periods] \
                if "boundary" in h.regions else h.regions
            for face in faces:
                held[face[:-1]]["-+".index(face[-1])] = 1
    return {c: (low, high) for c, (low, high) in held.items()}


def tensor_field(problem: Problem, model: str, options: FieldOptions, dtype: torch.dtype, ansatz: Ansatz
                 ) -> TensorField:
    """The field of `model=gaussian-lattice`, `gaussian-lines` or `gp`, with the functions of its coordinates.

    Raises:
        ProblemError: Features, interfaces or unknown options that tensor products have no place for; lines without t.
    """
    assert isinstance(ansatz, TensorAnsatz)
    if problem.extra or problem.setting.breaks:
        raise ProblemError(f"model={model} takes no features= and no Interface; take a network such as mlp")
    names, held = problem.coordinates, ansatz.held or {}
    lines = model == "gaussian-lines"
    if lines and ("t" not in names or len(names) < 2):
        raise ProblemError("model=gaussian-lines is for problems in space and time t; take model=gaussian-lattice")
    bounds = dict(zip(names, problem.region.bounds, strict=True))
    own = [c for c in names if not (lines and c == "t")]
    axes = TENSORS[model]([bounds[c] for c in own], options, [held.get(c, (0, 0)) for c in own],
                          [c in ansatz.periods for c in own], dtype)
    if lines:
        axes.insert(names.index("t"), HermiteAxis(*bounds["t"], options.pieces, held.get("t", (0, 0)), dtype))
    return TensorField(axes, len(problem.unknowns), dtype)


def tensor_of(objective: Objective, name: str = "kronecker") -> TensorField:
    """The tensor product in an objective's field, without its lift.

    Args:
        objective: Whose field.
        name: The optimizer that asks for it.

    Raises:
        ProblemError: There is none, or it is not in float64.
    """
    field: nn.Module = objective.field
    if isinstance(field, Constrained):
        field = field.network
    if not isinstance(field, TensorField):
        models = "model=gaussian-lines" if name == "lines" else "model=gaussian-lattice or model=gp"
        raise ProblemError(f"optimizer={name} solves for tensor products, and this field is none; take {models}, or "
                           "another optimizer")
    if objective.dtype != torch.float64:
        raise ProblemError(f"optimizer={name} needs dtype=float64: its small numbers are differences of large ones")
    return field


def separated(objective: Objective, evaluate: bool = True) -> Separable:
    """The one equation of an objective as sums of one-dimensional operators, with its residual on a grid.

    Args:
        objective: Of one equation, with everything else built in.
        evaluate: Whether the residual is evaluated; otherwise it is empty.

    Raises:
        ProblemError: Whatever keeps the equation from being one: the field, conditions that are not built in, several
            unknowns or equations, coefficients that vary, mixed derivatives, preconditioners; or too little memory.
    """
    field = tensor_of(objective)
    block = _one_equation(objective)
    names, unknown = objective.problem.coordinates, objective.problem.unknowns[0]
    points = objective.problem.region.sample(SAMPLES, generator=torch.Generator().manual_seed(0))
    points = points.to(device=objective.device, dtype=objective.dtype)
    if not is_linear(objective, block, points):
        raise ProblemError(f"optimizer=kronecker solves linear equations, and {block.name!r} is not linear in "
                           f"{unknown}; {INSTEAD}")
    symbols: list[dict[int, float]] = [{} for _ in names]
    constant = 0.0
    for alpha, value in _constants(objective, block, points).items():
        along = [d for d, a in enumerate(alpha) if a]
        if len(along) > 1:
            mixed = "".join(n * a for n, a in zip(names, alpha, strict=True))
            raise ProblemError(f"optimizer=kronecker needs derivatives along one coordinate each, and {block.name!r} "
                               f"has {unknown}.{mixed}; {INSTEAD}")
        if along:
            symbols[along[0]][alpha[along[0]]] = value
        else:
            constant = value
    axes: list[Any] = [deepcopy(axis).cpu() for axis in field.axes]
    rules = [axis.quadrature() for axis in axes]
    _demand_grid([len(x) for x, _ in rules])
    residual = residual_on(objective, [x for x, _ in rules]) if evaluate else torch.zeros(0)
    return Separable(axes, rules, symbols, constant, residual)


def _one_equation(objective: Objective) -> Block:
    """The only block, an equation of one component for one unknown in the whole domain."""
    problem = objective.problem
    if len(problem.unknowns) != 1 or problem.trainable:
        found = len(problem.unknowns), len(problem.trainable)
        raise ProblemError(f"optimizer=kronecker solves for one unknown, and this problem has {found[0]} and "
                           f"{found[1]} parameters to be found; {INSTEAD}")
    if objective.transforms or objective.stand_ins:
        raise ProblemError("optimizer=kronecker inverts the equation itself; leave precondition= out")
    equations = [b for b in objective.blocks if b.region is problem.region and b.combine == "each"]
    left = [b.name for b in objective.blocks if b not in equations]
    if left:
        raise ProblemError(f"optimizer=kronecker needs all conditions but the equation built in, and {left[0]!r} is "
                           f"not; give data on whole faces of the box with constraints=hard, or {INSTEAD}")
    if len(equations) != 1 or len(equations[0].components) != 1:
        raise ProblemError(f"optimizer=kronecker solves one equation, and this problem has "
                           f"{sum(len(b.components) for b in equations)}; {INSTEAD}")
    return equations[0]


def _constants(objective: Objective, block: Block, points: Points) -> dict[MultiIndex, float]:
    """∂f/∂(∂^α u), which must be the same at all points."""
    made = {key: torch.zeros_like(points.X[:, 0]) for key in block.program.leaves if key[0] == "unknown"}
    found = {}
    for (_, name, alpha), slope in coefficients(block, made, other_leaves(objective, block, points),
                                                points.X[:, 0])[1].items():
        mean = slope.mean()
        if not bool(((slope - mean).abs() <= 1e-12 * slope.abs().max()).all()):
            suffix = "".join(n * a for n, a in zip(objective.problem.coordinates, alpha, strict=True))
            raise ProblemError(f"optimizer=kronecker needs constant coefficients, and that of "
                               f"{name}{'.' * bool(suffix)}{suffix} in {block.name!r} varies; {INSTEAD}")
        found[alpha] = float(mean)
    return found


def _demand_grid(counts: list[int]) -> None:
    """Raises where the grid, its projections and the matrices of all coordinates do not fit into the memory left."""
    size = 8 * (2 * prod(counts) + 24 * SLAB + 12 * prod(c // 2 for c in counts) + sum(24 * c * c for c in counts))
    free = free_memory(torch.device("cpu"))
    if free is not None and size > free:
        grid = " × ".join(f"{c:,}" for c in counts)
        raise ProblemError(f"optimizer=kronecker needs {size_text(size)} for a grid of {grid} points, and "
                           f"{size_text(free)} are free; take fewer model.centres")


@torch.no_grad()
def residual_on(objective: Objective, ticks: list[Tensor]) -> Tensor:
    """What the one equation leaves on a grid of ticks (N_d,), shape (N_1, …, N_D), slab by slab."""
    block = _one_equation(objective)
    others = prod(len(t) for t in ticks[1:])
    lines, parts = max(SLAB // others, 1), []
    names = objective.problem.coordinates
    for start in range(0, len(ticks[0]), lines):
        X = torch.stack(torch.meshgrid(ticks[0][start:start + lines], *ticks[1:], indexing="ij"), -1)
        points = Points(X.reshape(-1, len(ticks)).to(objective.device), names)
        parts.append(objective.values(block, points)[:, 0].cpu())
    return torch.cat(parts).reshape([len(t) for t in ticks])
