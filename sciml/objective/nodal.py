"""Nodal fields on the mesh of a problem: Dirichlet data as given values at nodes, and sparse Jacobians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..calculus import Program
from ..calculus.quantity import is_number
from ..elements.functionals import Functionals
from ..elements.space import Space
from ..errors import ProblemError, TrainingError
from ..fields import Nodal
from ..mesh import Complex
from ..points import Points
from ..precondition.coefficients import coefficients, other_leaves
from ..problem import Block, HardData, Problem
from ..problem.hard import Ansatz

if TYPE_CHECKING:
    from .objective import Objective


def nodal_ansatz(problem: Problem, mode: str) -> Ansatz:
    """What a nodal field holds by construction: Dirichlet data on named regions, at its nodes.

    Args:
        problem: On a mesh.
        mode: "soft" leaves all conditions in the loss.

    Raises:
        ProblemError: The domain is no mesh of cells, or the problem has a lift or unknown parameters.
    """
    complex_ = getattr(problem.region, "complex", None)
    if not isinstance(complex_, Complex) or complex_.dim != len(problem.coordinates):
        raise ProblemError("model=nodal needs a problem on a Mesh of cells without time or ranged parameters; take a "
                           "network, such as mlp")
    if not all(is_number(known, 0) for known in problem.known.values()):
        raise ProblemError("model=nodal takes no lift=; take a network, or leave the lift out")
    if problem.trainable:
        raise ProblemError(f"model=nodal does not find parameters ({', '.join(problem.trainable)}) yet; take a network")
    satisfied = () if mode == "soft" else tuple(
        b.name for b in problem.blocks if b.hard and all(_nodal_data(h, complex_) for h in b.hard))
    return Ansatz(dict.fromkeys(problem.unknowns, 0.0), dict.fromkeys(problem.unknowns, 1.0), {}, frozenset(satisfied))


def _nodal_data(h: HardData, complex_: Complex) -> bool:
    return h.kind == "dirichlet" and all(r == "boundary" or r in complex_.surfaces for r in h.regions)


def nodal_field(problem: Problem, order: int, dtype: torch.dtype, ansatz: Ansatz) -> Nodal:
    """The field, with data at the nodes of the ansatz's conditions; a node of two takes that declared first."""
    space = Space(problem.region.complex, order)
    fixed: dict[int, tuple[Tensor, Tensor]] = {}
    for block in problem.blocks:
        if block.name not in ansatz.satisfied:
            continue
        for h in block.hard:
            c, numbers = problem.unknowns.index(h.unknown), space.on(list(h.regions))
            have = fixed.get(c, (numbers[:0], space.nodes[:0, 0]))
            numbers = numbers[~torch.isin(numbers, have[0])]
            program = Program({"value": problem.setting.call(h.value, f"condition {block.name!r}")})
            leaves = {key: space.nodes[numbers, problem.coordinates.index(key[1])] for key in program.leaves}
            (values,) = program(leaves, space.nodes[numbers, 0])
            fixed[c] = torch.cat([have[0], numbers]), torch.cat([have[1], values])
    return Nodal(space, len(problem.unknowns), fixed, dtype)


def nodal_rows(objective: Objective, field: Nodal, block: Block, points: Points,
               data: Mapping[str, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Pointwise residuals (N, K) of a nodal field and their sparse Jacobian (N K, P)."""
    unknowns = objective.problem.setting.unknowns
    with torch.no_grad():
        leaves = dict(objective.engine.derivatives(field, points.X, block.program.requests, unknowns))
    others = other_leaves(objective, block, points)
    for key in block.program.leaves:
        if key[0] == "data":
            others[key] = (data or {})[key[1]]
    f, slopes = coefficients(block, leaves, others, points.X[:, 0])
    by_output = {(k, unknowns.index(name), alpha): slope for (k, name, alpha), slope in slopes.items()}
    return f, field.jacobian(by_output, points.X, f.shape[1])


def nodal_tests(objective: Objective, field: Nodal, block: Block, tests: Functionals, points: Points
                ) -> tuple[Tensor, Tensor]:
    """Rows of a weak form (R, 1) of a nodal field and their Jacobian (R, 1, P): the finite-element matrix."""
    f, J = nodal_rows(objective, field, block, points, None)
    T, _ = tests.on(f.device, f.dtype)
    return tests(f)[:, None], torch.sparse.mm(T, J.to_sparse_csr()).to_dense()[:, None]


def demand_all(field: Nodal, parameters: object) -> None:
    """Raises where only some of the parameters are asked for, as variable projection does."""
    if parameters is not None and [id(p) for p in parameters] != [id(field.theta)]:  # type: ignore[attr-defined]
        raise TrainingError("a nodal field has one kind of parameters, so varpro has nothing to separate; take "
                            "gauss-newton")
