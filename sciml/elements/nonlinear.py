"""Nonlinear diffusion by Newton's method.

    −∇·(k(u, x) ∇u) = f(u, x);   u = g on Dirichlet, n·k∇u = q on Neumann regions

    J δ = −r:   ∫ (k ∇δ + k_u δ ∇u)·∇v − f_u δ v

k_u and f_u come from autograd at the quadrature points, so that any function of tensors will do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import TrainingError
from .assemble import chunks, pattern
from .boundary import Restricted, prescribed
from .diffusion import Data
from .discrete import Discrete
from .forms import degree_for, facet_load
from .space import Elements, Space
from .sparse import Sparse

Function = Callable[..., Tensor]


def nonlinear_diffusion(space: Space, conductivity: Function, source: Function | float = 0.0, *, dirichlet: Data,
                        neumann: Data | None = None, tolerance: float = 1e-10, steps: int = 30) -> Discrete:
    """The equation of the module.

    Steps that do not lower the residual of the free equations are halved, up to ten times.

    Args:
        space: Of u.
        conductivity: k(u, *x) > 0, a function of tensors.
        source: f(u, *x), or a number.
        dirichlet: g by region.
        neumann: q by region, the flux into the domain.
        tolerance: Of the residual against that of the first guess, which is zero inside.
        steps: Newton's at most.

    Returns:
        The unknown "u"; numbers "residual" and "steps".

    Raises:
        TrainingError: Newton's method does not converge.
    """
    fixed, values = prescribed(space, dirichlet)
    b = space.complex.X.new_zeros(space.size)
    for region, flux in (neumann or {}).items():
        b = b + facet_load(space, region, flux)                                         # type: ignore[arg-type]
    law = source if callable(source) else lambda u, *x: source + 0 * u
    u = b.new_zeros(space.size).index_copy(0, fixed, values)

    def equations(u: Tensor) -> tuple[Tensor, float]:
        r = _residual(space, u, conductivity, law) - b
        return r, float(r.index_fill(0, fixed, 0.0).norm())
    r, size = equations(u)
    first = max(size, 1e-300)
    for n in range(steps + 1):
        if size <= tolerance * first:
            return Discrete({"u": space}, {"u": u}, {"residual": size / first, "steps": float(n)})
        if n == steps or size != size:
            break
        step = Restricted(_jacobian(space, u, conductivity, law), fixed).solve(r, torch.zeros_like(values))
        for halving in range(11):
            trial = u - step / 2**halving
            r, new = equations(trial)
            if new < size:
                break
        if not new < size:
            break
        u, size = trial, new
    raise TrainingError(f"Newton's method for nonlinear diffusion stopped at a residual of {size / first:.1e}, "
                        f"{tolerance:.1e} was asked for; is k(u) positive for every u, and smooth?")


def _at(space: Space, part: Elements, u: Tensor) -> tuple[Tensor, Tensor]:
    """u and ∇u at quadrature points."""
    local = u[part.dofs]
    return torch.einsum("qa,ea->eq", part.values, local), torch.einsum("eqai,ea->eqi", part.gradients, local)


def _residual(space: Space, u: Tensor, k: Function, f: Function) -> Tensor:
    found = torch.zeros_like(u)
    for part in chunks(space, degree_for(space) + 2):
        here, slope = _at(space, part, u)
        x, W = part.x.unbind(-1), part.weights
        entries = torch.einsum("eqai,eqi->ea", part.gradients, (W * k(here, *x))[..., None] * slope)
        entries = entries - torch.einsum("qa,eq->ea", part.values, W * f(here, *x))
        found.index_add_(0, part.dofs.reshape(-1), entries.reshape(-1))
    return found


def _jacobian(space: Space, u: Tensor, k: Function, f: Function) -> Sparse:
    def entries(part: Elements) -> Tensor:
        here, slope = _at(space, part, u)
        x, W, G = part.x.unbind(-1), part.weights, part.gradients
        (value, k_u), (_, f_u) = _derivative(k, here, x), _derivative(f, here, x)
        found = torch.einsum("eqai,eqbi->eab", G, (W * value)[..., None, None] * G)
        drift = torch.einsum("eqai,eqi->eqa", G, (W * k_u)[..., None] * slope)
        found = found + torch.einsum("eqa,qb->eab", drift, part.values)
        return found - torch.einsum("eq,qa,qb->eab", W * f_u, part.values, part.values)
    return pattern(space).sum((p, entries(p)) for p in chunks(space, degree_for(space) + 2))


def _derivative(function: Function, u: Tensor, x: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """A function of u at points, and its derivative there."""
    with torch.enable_grad():
        at = u.detach().requires_grad_()
        value = function(at, *x) + 0 * at
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope
