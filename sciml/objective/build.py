"""From a problem and a recipe to an objective: field, unknown parameters, and the blocks that are left to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from ..calculus import ENGINES
from ..calculus.quantity import derivative_suffix
from ..errors import ProblemError
from ..fields import Constrained, Field, Lifted, build_network
from ..geometry.slices import Slices
from ..points import Points
from ..precondition.symbol import precondition_parameters
from ..problem import Block, Problem
from ..problem.hard import Ansatz, build
from .gaussian import gaussian_field
from .nodal import nodal_ansatz, nodal_field
from .objective import Objective
from .parameters import TrainableParameters
from .recipe import DTYPES, Recipe
from .slabs import continuity, knots_of
from .tensor import TENSORS, tensor_ansatz, tensor_field


def build_field(problem: Problem, recipe: Recipe, ansatz: Ansatz) -> nn.Module:
    """The field of a recipe: a network, wrapped in the hard constraints."""
    dtype = DTYPES[recipe.dtype]
    if recipe.model == "nodal":
        return nodal_field(problem, recipe.field_options().order, dtype, ansatz)
    if recipe.model == "gaussian":
        return wrapped(gaussian_field(problem, recipe, ansatz), problem, ansatz)
    if recipe.model in TENSORS:
        return wrapped(tensor_field(problem, recipe.model, recipe.field_options(), dtype, ansatz), problem, ansatz)
    periods = {problem.coordinates.index(c): p for c, p in ansatz.periods.items()}
    breaks = {problem.coordinates.index(c): places for c, places in problem.setting.breaks.items()}
    network = build_network(recipe.model, problem.region.bounds, len(problem.unknowns), recipe.field_options(),
                            torch.Generator().manual_seed(recipe.seed), dtype, periods, breaks,
                            (problem.setting.frame, problem.extra))
    precondition_parameters(network, problem, recipe.model, recipe.field_options(), ansatz)
    return wrapped(network, problem, ansatz)


def wrapped(network: nn.Module, problem: Problem, ansatz: Ansatz) -> nn.Module:
    """A network, or a module of the user's, in lifts and bubbles if there are any."""
    if ansatz.trivial:
        return network
    frame, lifts = problem.setting.frame, [ansatz.lifts[u] for u in problem.unknowns]
    if not isinstance(network, Field):
        return Lifted(network, frame, lifts)               # a user's module has no bubbles
    return Constrained(network, frame, lifts, [ansatz.bubbles[u] for u in problem.unknowns])


def build_objective(problem: Problem, recipe: Recipe, network: nn.Module | None = None) -> tuple[Objective, Ansatz]:
    """The objective, on the recipe's device, with the points that are given (not those that are drawn).

    Args:
        problem: What must hold.
        recipe: How.
        network: A module of the user's (N, D) → (N, C) instead of the recipe's model; then nothing but the problem's
            lift is built in.
    """
    dtype = DTYPES[recipe.dtype]
    own_ansatz: dict[str, Callable[..., Ansatz]] = {
        "nodal": nodal_ansatz, **dict.fromkeys(TENSORS, tensor_ansatz),
        "gaussian-lines": partial(tensor_ansatz, initial=False)}
    make = build if network is not None else own_ansatz.get(recipe.model, build)
    ansatz = make(problem, recipe.constraints if network is None else "soft")
    blocks = [b for b in problem.blocks if b.name not in ansatz.satisfied] or list(problem.blocks)
    if network is None and recipe.model == "gaussian":
        blocks += continuity(problem, knots_of(problem, recipe.field_options().slabs, dtype), dtype)
    own = None if network is None else _own(problem, network, dtype)
    base = build_field(problem, recipe, ansatz) if own is None else wrapped(own, problem, ansatz)
    parameters = TrainableParameters(problem.trainable, dtype)
    engine = None if recipe.engine == "auto" else ENGINES[recipe.engine]
    if recipe.engine == "taylor" and not callable(getattr(base, "jet", None)):
        raise ProblemError("engine=\"taylor\" needs a field with a method jet; network= has none, so leave engine out")
    objective = Objective(problem, base, parameters, blocks, engine, recipe.chunk).to(recipe.device)
    for b in blocks:
        if isinstance(b.region, Points):
            objective.points[b.name] = b.region.to(device=recipe.device, dtype=dtype)
            objective.data[b.name] = {k: v.to(recipe.device, dtype) for k, v in b.data.items()}
        b.program.constants(objective.device, dtype)       # before anything is traced: a traced copy repeats every step
    if own is not None and not isinstance(own, Field):
        _demand_derivatives(objective, own)
    if recipe.compile:
        _demand_static(recipe)
        objective.compile_pass()
    return objective, ansatz


def _demand_static(recipe: Recipe) -> None:
    """Raises where what a pass does depends on where the points lie."""
    if recipe.model != "gaussian":
        return
    options = recipe.field_options()
    option = "model.cutoff" if options.cutoff is not None else "model.slabs" if options.slabs > 1 else ""
    if option:
        raise ProblemError(f"compile makes one graph for all points, and with {option} what is computed depends on "
                           "where they lie; leave compile out")


def _own(problem: Problem, network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The user's module in the recipe's dtype, tried once."""
    D, C = len(problem.coordinates), len(problem.unknowns)
    network = network.to(dtype)
    if not any(p.requires_grad for p in network.parameters()):
        raise ProblemError("network= has no trainable parameters")
    device = next(network.parameters()).device
    X = torch.linspace(0.1, 0.9, 3 * D, dtype=dtype, device=device).reshape(3, D)
    try:
        with torch.no_grad():
            values, fewer = network(X), network(X[:2])
        shape = tuple(values.shape)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ProblemError(f"network= fails on points of shape (3, {D}), the coordinates "
                           f"{', '.join(problem.coordinates)}: {error}") from error
    if shape != (3, C):
        raise ProblemError(f"network= maps (3, {D}) to {shape}, expected (3, {C}) for the unknowns "
                           f"{', '.join(problem.unknowns)}")
    if not torch.allclose(values[:2], fewer, equal_nan=True):
        raise ProblemError("network= gives other values at a point when others are left out (batch normalisation, "
                           "dropout?); derivatives would be wrong, so leave that out, or call its eval() first")
    return network


def _demand_derivatives(objective: Objective, network: nn.Module) -> None:
    """Raises if a derivative beyond the first that the conditions ask of the user's module is zero everywhere."""
    problem = objective.problem
    low, high = torch.tensor(problem.region.bounds, dtype=objective.dtype, device=objective.device).T
    X = low + (high - low) * torch.rand(64, len(low), dtype=torch.float64,
                                        generator=torch.Generator().manual_seed(0)).to(low)
    requests = {u: {a for a in alphas if sum(a) > 1} for u, alphas in problem.derivative_set().items()}
    found = objective.engine.derivatives(network, X, requests, problem.setting.unknowns)
    for (_, name, alpha), values in found.items():
        if not bool(values.detach().any()):
            raise ProblemError(f"network= has {name}{derivative_suffix(alpha, problem.coordinates)} = 0 everywhere, "
                               "which the conditions ask for (ReLU has no curvature); use a smooth activation such as "
                               "tanh")


def unused_options(problem: Problem, objective: Objective) -> list[str]:
    """A sentence for each condition whose weight= or points= does nothing: it is built in, or a preconditioner's."""
    trained = {b.name for b in objective.blocks}
    mixed = {name: len(t.blocks) > 1 for t in objective.transforms for name in t.blocks}
    sentences = []
    for block in problem.blocks:
        given = [f"weight={block.weight:g}"] * (block.weight != 1.0) + [f"points={block.count}"] * bool(block.count)
        if block.name not in trained and given:
            sentences.append(f"{' and '.join(given)} of condition {block.name!r} {'do' if len(given) > 1 else 'does'} "
                             "nothing: the condition is built into the field and holds exactly; constraints=\"soft\" "
                             "puts it into the loss")
        if block.name in mixed:
            if block.weight != 1.0 and mixed[block.name]:
                sentences.append(f"weight={block.weight:g} of condition {block.name!r} does nothing: the "
                                 "preconditioner solves for all conditions at once, which have no weights then")
            if block.count:
                sentences.append(f"points={block.count} of condition {block.name!r} does nothing: the preconditioner "
                                 "puts it on the nodes of its grid")
    return sentences


def point_count(problem: Problem, recipe: Recipe, block: Block) -> int:
    """Number of points of a block; of states at the ends of intervals of time, as many at each as at the beginning."""
    if isinstance(block.region, Points):
        return len(block.region)
    assert recipe.points is not None                       # `Training` fills it in
    inside = block.region is problem.region
    slabs = recipe.field_options().slabs if recipe.model == "gaussian" and block.kind == "initial" else 1
    one = block.count or (recipe.points if inside else recipe.boundary_points or max(recipe.points // (4 * slabs), 1))
    return one * (block.region.copies if isinstance(block.region, Slices) else 1)


def place_points(objective: Objective, stored: Mapping[str, Mapping]) -> None:
    """Puts the points of a checkpoint in place.

    Args:
        objective: Whose points.
        stored: By block name: X, weights and normals, columns in the order of the problem's coordinates, and data where
            a sampler chose among measurements.

    Raises:
        ProblemError: The blocks are others.
    """
    names = [b.name for b in objective.blocks]
    if set(stored) != set(names):
        raise ProblemError(f"it holds points of {', '.join(stored)}, the problem trains {', '.join(names)}")
    for name, p in stored.items():
        objective.points[name] = Points(p["X"], objective.problem.coordinates, p["weights"], p["normals"])
        if p.get("data"):
            objective.data[name] = dict(p["data"])
