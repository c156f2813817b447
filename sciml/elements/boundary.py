"""Dirichlet data on the coefficients of a space, and systems restricted to the others.

    A_ff u_f = b_f − A_fd g,   u_d = g
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import ProblemError
from .space import Space
from .sparse import Sparse, solve

Value = float | Tensor | Callable[..., object]


def at_nodes(value: object, X: Tensor, name: str = "value") -> Tensor:
    """A number or a function of D columns at points X (N, D): shape (N,).

    Raises:
        ProblemError: It returns another shape.
    """
    found = torch.as_tensor(value(*X.unbind(1)) if callable(value) else value, dtype=X.dtype, device=X.device)
    if found.ndim == 0:
        return found.expand(len(X))
    if found.shape != (len(X),):
        raise ProblemError(f"{name} has shape {tuple(found.shape)} at {len(X)} points; expected one number by point, "
                           f"({len(X)},)")
    return found


def prescribed(space: Space, data: Mapping[str, object], columns: int = 1) -> tuple[Tensor, Tensor]:
    """Numbers of the coefficients that data on named regions fix, increasing, and their values.

    A coefficient of two regions belongs to the one named first.

    Args:
        space: Whose coefficients.
        data: By region: a number or a function of the D columns; of vectors C of these, None where one is free.
        columns: C; component c of coefficient a has number a·C + c.

    Raises:
        ProblemError: An unknown region, or another number of components.
    """
    size = space.size * columns
    values = space.complex.X.new_zeros(size)
    fixed = torch.zeros_like(values, dtype=torch.bool)
    for region in reversed(list(data)):
        entry = data[region]
        parts: Sequence[object] = (entry,) if columns == 1 else entry if isinstance(entry, (tuple, list)) else ()
        if len(parts) != columns:
            raise ProblemError(f"Dirichlet data on {region!r} is {entry!r}; expected a tuple of {columns} components, "
                               "None for one that is free")
        on = space.on(region)
        for c, part in enumerate(parts):
            if part is not None:
                fixed[on * columns + c] = True
                values[on * columns + c] = at_nodes(part, space.nodes[on], f"Dirichlet data on {region!r}")
    numbers = fixed.nonzero()[:, 0]
    return numbers, values[numbers]


def others(numbers: Tensor, size: int) -> Tensor:
    """The numbers below `size` that are not among some, increasing."""
    free = torch.ones(size, dtype=torch.bool, device=numbers.device)
    free[numbers] = False
    return free.nonzero()[:, 0]


class Restricted:
    """A system with some unknowns given: its matrix and factors, for many right-hand sides.

    Args:
        A: The whole matrix.
        fixed: Numbers of the given unknowns, increasing.
        solver: Solves A_ff x = b; `sparse.solve` by default.
    """

    def __init__(self, A: Sparse, fixed: Tensor, solver: Callable[[Sparse, Tensor], Tensor] = solve):
        self.fixed, self.free = fixed, others(fixed, A.shape[0])
        if not len(self.free):
            raise ProblemError("every coefficient is given by Dirichlet data, none is left to solve for; "
                               "refine the mesh or raise the order")
        self.inner, self.edge = A.block(self.free, self.free), A.block(self.free, fixed)
        self.solver = solver

    def solve(self, b: Tensor, values: Tensor) -> Tensor:
        """u with A_ff u_f = b_f − A_fd g and u_d = g.

        Args:
            b: Shape (N,) or (N, K), of all unknowns.
            values: g, shape (d,) or (d, K).
        """
        right = b[self.free] - (self.edge @ values if len(self.fixed) else 0.0)
        found = self.solver(self.inner, right)
        u = found.new_zeros(b.shape).index_copy(0, self.free, found)
        return u.index_copy(0, self.fixed, values.to(u)) if len(self.fixed) else u
