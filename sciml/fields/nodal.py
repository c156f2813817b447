"""Nodal fields: finite-element functions, whose parameters are their values at the nodes of a mesh.

    u_c(x) = Σ_a U_ac φ_a(x)

Beside networks on the same weak forms they are the finite-element method itself: with `precondition=galerkin` one
Gauss–Newton step on a linear problem is its solution.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..calculus.indices import MultiIndex
from ..calculus.jet import Jet
from ..elements.basis import Basis, basis_at
from ..elements.space import Space
from ..errors import ProblemError
from ..kept import Kept
from ..mesh.locate import Locator
from .field import Field


class Nodal(Field):
    """Continuous piecewise polynomials with trained nodal values (finite elements).

    Args:
        space: On the problem's mesh.
        outputs: C.
        fixed: By output, numbers of coefficients that are given and their values: Dirichlet data.
        dtype: Of the parameters.

    Note:
        First derivatives only, one-sided on facets between cells; points outside the mesh take the nearest cell's
        values on its boundary. Equations of second order must be written weakly.
    """

    given: Tensor
    free: Tensor
    position: Tensor

    def __init__(self, space: Space, outputs: int, fixed: Mapping[int, tuple[Tensor, Tensor]] | None = None,
                 dtype: torch.dtype = torch.float64):
        super().__init__()
        self.space, self.outputs = space, outputs
        self.locator = Locator(space.complex)
        given = torch.zeros(space.size, outputs, dtype=dtype)
        free = torch.ones(space.size, outputs, dtype=torch.bool)
        for c, (numbers, values) in (fixed or {}).items():
            given[numbers, c] = values.to(dtype)
            free[numbers, c] = False
        # U by component, so that the unknowns of one component are neighbours in the parameters
        position = torch.cumsum(free.T.reshape(-1), 0).reshape(outputs, space.size).T - 1
        self.register_buffer("given", given)
        self.register_buffer("free", free)
        self.register_buffer("position", torch.where(free, position, -1))
        self.theta = nn.Parameter(torch.zeros(int(free.sum()), dtype=dtype))
        self._kept: Kept[Basis] = Kept()

    @property
    def coefficients(self) -> Tensor:
        """U, shape (V, C)."""
        return torch.where(self.free, self.theta[self.position.clamp(min=0)], self.given)

    def basis(self, X: Tensor) -> Basis:
        """Functions at points X (N, D); kept for the next pass over the same points."""
        return self._kept((X,), lambda: basis_at(self.space, self.locator, X.detach(), extend=True))

    def jet(self, x: Jet) -> Jet:
        X = x.points
        if X is None:
            raise ProblemError("model=nodal reads coordinates as they are; it takes no features of them")
        if x.indices.order > 1:
            raise ProblemError("model=nodal has first derivatives only, and a condition asks for higher ones; write "
                               "the equation as Weak(…), or take a network")
        B = self.basis(X)
        local = self.coefficients[B.dofs]                               # (N, k, C)
        streams = [torch.einsum("nk,nkc->nc", stream(B, alpha), local) for alpha in x.indices.indices]
        return Jet(torch.stack(streams), x.indices, None, x.tape)

    def jacobian(self, slopes: Mapping[tuple[int, int, MultiIndex], Tensor], X: Tensor, components: int) -> Tensor:
        """∂f/∂θ of residuals at points from their slopes in the field's derivatives, sparse.

        Args:
            slopes: ∂f_k/∂(∂^α u_c), shape (N,), by (k, c, α).
            X: Points, shape (N, D).
            components: K.

        Returns:
            A sparse tensor (N K, P) in coordinates, rows by point and component.
        """
        B, N = self.basis(X), len(X)
        rows, columns, values = [], [], []
        point = torch.arange(N, device=X.device)[:, None].expand_as(B.dofs)
        for (k, c, alpha), slope in slopes.items():
            column = self.position[B.dofs, c]
            keep = column >= 0
            rows.append((point * components + k)[keep])
            columns.append(column[keep])
            values.append((slope[:, None] * stream(B, alpha))[keep])
        empty = torch.zeros(0, dtype=torch.long, device=X.device)
        index = torch.stack([torch.cat([empty, *rows]), torch.cat([empty, *columns])])
        return torch.sparse_coo_tensor(index, torch.cat([X.new_zeros(0), *values]),
                                       (N * components, len(self.theta))).coalesce()


def stream(basis: Basis, alpha: MultiIndex) -> Tensor:
    """∂^α φ at the points, shape (N, k); α of order 0 or 1."""
    return basis.gradients[..., alpha.index(1)] if any(alpha) else basis.values
