"""What a finite-element solver returns: coefficients by unknown, and the functions that they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..errors import look_up
from ..mesh.locate import Locator
from .assemble import by_point, chunks
from .basis import Basis, basis_at
from .forms import degree_for
from .space import Elements, Space


@dataclass(frozen=True, eq=False)
class Discrete:
    """Piecewise polynomials by name.

        u(x) = Σ_a u_a φ_a(x)

    Args:
        spaces: Space of each unknown, on one complex.
        coefficients: Of each unknown, shape (V,), or (V, K) for K functions (modes, or times).
        numbers: Single numbers that belong to it: iterations, residuals, forces, eigenvalues.
    """

    spaces: Mapping[str, Space]
    coefficients: Mapping[str, Tensor]
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        """Coefficients of an unknown: its values at the nodes of its space."""
        return look_up("unknown", name, dict(self.coefficients))

    def on(self, name: str, part: Elements) -> Tensor:
        """An unknown at quadrature points of cells or facets, shape (E, Q) or (E, Q, K)."""
        values = part.values if part.values.ndim == 3 else part.values[None].expand(len(part.dofs), -1, -1)
        return torch.einsum("eqa,ea...->eq...", values, self[name][part.dofs])

    def slopes(self, name: str, part: Elements) -> Tensor:
        """Its gradient there, shape (E, Q, D) or (E, Q, D, K)."""
        return torch.einsum("eqad,ea...->eqd...", part.gradients, self[name][part.dofs])

    def at(self, X: Tensor, names: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """Values at points, by unknown: shape (N,) or (N, K); NaN outside the mesh.

        Args:
            X: Shape (N, D).
            names: Unknowns; by default all.
        """
        found = {}
        for name in names or tuple(self.spaces):
            coefficients = self[name]
            B = self.basis(name, X)
            found[name] = torch.einsum("na,na...->n...", B.values, coefficients[B.dofs])
        return found

    def gradients_at(self, X: Tensor, names: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """Gradients at points, by unknown: shape (N, D) or (N, D, K); of the cell that holds the point; NaN outside."""
        found = {}
        for name in names or tuple(self.spaces):
            coefficients = self[name]
            B = self.basis(name, X)
            found[name] = torch.einsum("nad,na...->nd...", B.gradients, coefficients[B.dofs])
        return found

    def basis(self, name: str, X: Tensor) -> Basis:
        """The functions of an unknown's space at points; NaN outside the mesh."""
        return basis_at(self.spaces[name], self._locator, X)

    @cached_property
    def _locator(self) -> Locator:
        return Locator(next(iter(self.spaces.values())).complex)

    def error(self, name: str, exact: Callable[..., Tensor], degree: int | None = None) -> float:
        """‖u − u_exact‖ / ‖u_exact‖ in L2, by quadrature.

        Args:
            name: Unknown.
            exact: Function of the D columns.
            degree: Of the quadrature; None: four above that of a mass matrix.
        """
        space = self.spaces[name]
        gap = size = 0.0
        for part in chunks(space, degree_for(space) + 4 if degree is None else degree):
            truth = by_point(exact, part, space.complex).expand(part.weights.shape)
            gap += float((part.weights * (self.on(name, part) - truth) ** 2).sum())
            size += float((part.weights * truth**2).sum())
        return (gap / size) ** 0.5

    def integral(self, name: str) -> float:
        """∫ u over the mesh."""
        space = self.spaces[name]
        return sum(float((p.weights * self.on(name, p)).sum()) for p in chunks(space, degree_for(space)))


def vertices(space: Space, coefficients: Tensor) -> Tensor:
    """Values at the nodes of the mesh itself, shape (V_mesh,) or (V_mesh, K): what figures and VTU files want."""
    found = coefficients.new_zeros(len(space.complex.X), *coefficients.shape[1:])
    for block, kind, dofs in zip(space.complex.blocks, space.kinds, space.dofs, strict=True):
        N = kind.values(block.kind.nodes).to(coefficients)
        found[block.nodes] = torch.einsum("na,ea...->en...", N, coefficients[dofs])
    return found
