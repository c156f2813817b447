"""Conjugate gradients, for systems too large to factorise and for devices without factorisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import TrainingError
from .sparse import Sparse, product

Linear = Callable[[Tensor], Tensor]


class Iterated(NamedTuple):
    """What an iteration found.

    Args:
        x: The solution, shape of b.
        steps: Iterations.
        residual: ‖b − A x‖ / ‖b‖, the largest of the columns.
    """

    x: Tensor
    steps: int
    residual: float


def cg(A: Sparse | Linear, b: Tensor, preconditioner: Linear | None = None, tolerance: float = 1e-10,
       steps: int = 2000, start: Tensor | None = None) -> Iterated:
    """Preconditioned conjugate gradients for a symmetric positive definite A, on the device of b.

    Columns of b are iterated side by side, each with its own step lengths; the norm is read once in 10 iterations.

    Args:
        A: Matrix, or the product with one.
        b: Shape (N,) or (N, K).
        preconditioner: r ↦ B r, B symmetric positive definite; None: the inverse diagonal of A, if A is a matrix.
        tolerance: Of ‖b − A x‖ / ‖b‖.
        steps: Iterations at most.
        start: First guess; zero by default.

    Raises:
        TrainingError: The tolerance was not reached, or A is not positive definite.

    Source: Hestenes and Stiefel (1952), doi:10.6028/jres.049.044.
    """
    if preconditioner is None:
        preconditioner = jacobi(A) if isinstance(A, Sparse) else torch.clone
    apply = product(A) if isinstance(A, Sparse) else A
    b = b.detach()
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b - apply(x) if start is not None else b.clone()
    z = preconditioner(r)
    p, rz = z, (r * z).sum(0)
    norm = torch.linalg.vector_norm(b, dim=0).clamp_min(torch.finfo(b.dtype).tiny)
    size = 0.0
    for k in range(steps + 1):
        if k % 10 == 0 or k == steps:
            size = float((torch.linalg.vector_norm(r, dim=0) / norm).max())
            if size <= tolerance:
                return Iterated(x, k, size)
            if size != size:
                raise TrainingError("conjugate gradients met a NaN; is the matrix symmetric and positive definite?")
        q = apply(p)
        length = torch.where(rz > 0, rz / (p * q).sum(0), 0.0)
        x, r = x + length * p, r - length * q
        z = preconditioner(r)
        new = (r * z).sum(0)
        p, rz = z + torch.where(rz > 0, new / rz, 0.0) * p, new
    raise TrainingError(f"conjugate gradients left a residual of {size:.1e} after {steps} iterations, "
                        f"{tolerance:.1e} was asked for; use a better preconditioner, or factors (sparse.solve)")


def jacobi(A: Sparse) -> Linear:
    """r ↦ D⁻¹ r with the diagonal D of A."""
    d = A.diagonal().detach()
    return lambda r: r / (d if r.ndim == 1 else d[:, None])
