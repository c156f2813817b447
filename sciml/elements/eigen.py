"""Eigenmodes: the smallest eigenvalues of −∇·(k ∇u) = λ ρ u."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from ..errors import ProblemError
from .assemble import Coefficient
from .boundary import others
from .discrete import Discrete
from .forms import mass, stiffness
from .space import Space
from .sparse import Factor


def modes(space: Space, count: int, dirichlet: str | Iterable[str] | None = "boundary",
          conductivity: Coefficient = 1.0, density: Coefficient = 1.0) -> tuple[Tensor, Discrete]:
    """The lowest modes, by Lanczos on (K − σ M)⁻¹ M, so that the factors of one matrix do.

    Args:
        space: Of u.
        count: How many.
        dirichlet: Regions where u = 0; None: nowhere, and λ₀ = 0.
        conductivity: k.
        density: ρ.

    Returns:
        λ increasing, shape (K,), and the unknown "u" with coefficients (V, K), ∫ ρ u² = 1, of which the first that is
        larger than half of the largest in modulus is positive.

    Raises:
        ProblemError: More modes than the space has.

    Source: ARPACK through scipy; Lehoucq et al. (1998), doi:10.1137/1.9780898719628.
    """
    fixed = space.on(dirichlet) if dirichlet is not None else space.dofs[0].new_zeros(0)
    free = others(fixed, space.size)
    if count >= len(free):
        raise ProblemError(f"{count} modes of a space with {len(free)} free coefficients; refine the mesh")
    K, M = (A.block(free, free) for A in (stiffness(space, conductivity), mass(space, density)))
    sigma = 0.0
    if dirichlet is None:                                     # λ₀ = 0: a shift below it, of the size of λ₁
        x = space.nodes[:, 0] - space.nodes[:, 0].mean()
        sigma = -float((x @ (K @ x)) / (x @ (M @ x)))
    k, m = K.to_scipy(), M.to_scipy()
    factor = Factor((k - sigma * m).tocsr())
    inverse = LinearOperator(k.shape, matvec=lambda b: factor.lu.solve(np.ascontiguousarray(b)))
    start = np.cos(np.arange(k.shape[0]) ** 2 * 0.7) + 1.5    # deterministic, and in no mode's orthogonal complement
    values, vectors = eigsh(k, count, m, sigma=sigma, OPinv=inverse, v0=start, tol=1e-12)
    order = np.argsort(values)
    found = torch.from_numpy(vectors[:, order]).to(K.values)
    found = found / (found * (M @ found)).sum(0).sqrt()
    large = (found.abs() > 0.5 * found.abs().amax(0)).int().argmax(0)
    found = found * found.gather(0, large[None]).sign()
    u = found.new_zeros(space.size, count).index_copy(0, free, found)
    return torch.from_numpy(values[order]).to(found), Discrete({"u": space}, {"u": u})
