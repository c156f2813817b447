"""The classical method beside the fields on a mesh: a problem's own weak forms in their own test spaces, by Newton.

    ∫ F(u_h, v) = 0 for all v,   u_h = Σ_j U_j φ_j:   U ← U − A⁻¹ r,   A_ij = ∂r_i/∂U_j

The same mesh, quadrature, orders and Dirichlet data as the field has: P1 elements where test functions are linear,
Taylor and Hood's where they are of orders 2, 2 and 1. What is left between the two is the field.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from ..calculus import Program
from ..elements.discrete import Discrete
from ..elements.functionals import Functionals, evaluations
from ..elements.space import Space
from ..errors import ProblemError, TrainingError
from ..points import Points
from ..precondition.coefficients import coefficients
from ..problem import Block, Problem


def finite_elements(problem: Problem, steps: int = 40, tolerance: float = 1e-11) -> Discrete:
    """The finite-element solution of a problem's weak forms, from U = 0 inside.

    Args:
        problem: On a mesh, of weak forms and Dirichlet data on named regions; one test function per unknown.
        steps: Of Newton's method at most; a linear problem takes one.
        tolerance: Of the last step against the solution.

    Returns:
        The unknowns in the spaces of their test functions; numbers "steps" and "unknowns".

    Raises:
        ProblemError: The problem has parameters to be found, or other conditions.
        TrainingError: Newton's method does not converge.
    """
    weak = [(b, b.tests) for b in problem.blocks if isinstance(b.tests, Functionals)]
    if problem.trainable or len(weak) != len(problem.unknowns) or \
            any(not b.hard and b.tests is None for b in problem.blocks):
        raise ProblemError("finite elements are for weak forms with one test function per unknown and Dirichlet data; "
                           "the problem has other conditions, or parameters to be found")
    spaces = {tests.unknown: tests.space for _, tests in weak}
    free = {tests.unknown: tests.free.numpy() for _, tests in weak}
    U = {name: _given(problem, name, space) for name, space in spaces.items()}
    bases = {(b.name, name, alpha): evaluations(spaces[name], tests.where, alpha, torch.arange(spaces[name].size))
             for b, tests in weak for kind, name, alpha in b.program.leaves if kind == "unknown"}
    for k in range(1, steps + 1):
        r, A = _linearised(weak, spaces, free, bases, U)
        step = splu(A.tocsc()).solve(r)
        size, start = 0.0, 0
        for name, numbers in free.items():
            U[name][numbers] -= step[start:start + len(numbers)]
            size, start = size + float(np.square(U[name]).sum()), start + len(numbers)
        if not np.isfinite(size):
            break
        if float(np.linalg.norm(step)) <= tolerance * size**0.5:
            found = {name: torch.from_numpy(u) for name, u in U.items()}
            return Discrete(spaces, found, {"steps": float(k), "unknowns": float(start)})
    raise TrainingError(f"Newton's method for the finite elements of {', '.join(spaces)} does not converge in {steps} "
                        "steps; refine the mesh, or start from an easier problem")


def _given(problem: Problem, unknown: str, space: Space) -> np.ndarray:
    """Coefficients (V,) that take the Dirichlet data, those of the first condition where two meet; 0 elsewhere."""
    values, taken = space.nodes.new_zeros(space.size), torch.zeros(space.size, dtype=torch.bool)
    for h in (h for b in problem.blocks for h in b.hard if h.unknown == unknown):
        numbers = space.on(list(h.regions))
        numbers = numbers[~taken[numbers]]
        program = Program({"value": problem.setting.call(h.value, f"Dirichlet data of {unknown!r}")})
        leaves = {key: space.nodes[numbers, problem.coordinates.index(key[1])] for key in program.leaves}
        (values[numbers],) = program(leaves, space.nodes[numbers, 0])
        taken[numbers] = True
    return values.numpy()


def _linearised(weak: list[tuple[Block, Functionals]], spaces: Mapping[str, Space], free: Mapping[str, np.ndarray],
                bases: Mapping, U: Mapping[str, np.ndarray]) -> tuple[np.ndarray, sparse.csr_matrix]:
    """r (R,) and A (R, R) at coefficients U."""
    rows, matrix = [], []
    for block, tests in weak:
        points = block.region
        assert isinstance(points, Points)
        leaves = {key: torch.from_numpy(bases[block.name, key[1], key[2]] @ U[key[1]])
                  for key in block.program.leaves if key[0] == "unknown"}
        f, slopes = coefficients(block, leaves, _others(block, points), points.X[:, 0])
        N, K = f.shape
        rows.append(tests.matrix @ f.reshape(-1).numpy())
        line = {name: sparse.csr_matrix((N * K, len(numbers))) for name, numbers in free.items()}
        for (k, name, alpha), c in slopes.items():
            spread = sparse.csr_matrix((c.numpy(), (np.arange(N) * K + k, np.arange(N))), shape=(N * K, N))
            line[name] = line[name] + spread @ bases[block.name, name, alpha][:, free[name]]
        matrix.append([tests.matrix @ part for part in line.values()])
    return np.concatenate(rows), sparse.bmat(matrix, format="csr")


def _others(block: Block, points: Points) -> dict[tuple, Tensor]:
    """Coordinates and normals that a form asks for, each of shape (N,)."""
    found: dict[tuple, Tensor] = {}
    for key in block.program.leaves:
        if key[0] == "coordinate":
            found[key] = points.column(key[1])
        elif key[0] == "normal":
            assert points.normals is not None
            found[key] = points.normals[:, points.names.index(key[1])]
    return found
