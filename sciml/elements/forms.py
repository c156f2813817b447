"""The bilinear and linear forms of second-order equations, assembled.

    mass        ∫ ρ u v            stiffness   ∫ ∇v · k ∇u          transport  ∫ v b·∇u
    elastic     ∫ λ div u div v + 2 μ ε(u) : ε(v)                   divergence ∫ q div u
    load        ∫ f v              facet_mass  ∫_Γ h u v            facet_load ∫_Γ g v

Each integrand of polynomial coefficients is integrated exactly on straight simplices: the quadrature has degree 2p for
spaces of order p (2p − 2 for `stiffness` and `elastic` with coefficients constant by cell), and d (g − 1) more on cells
of geometric order g. On cubes that is the degree in each coordinate, and Gauss's rules exceed it by one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .assemble import Coefficient, by_point, chunks, full, pattern, vector_dofs
from .space import Elements, Space
from .sparse import Sparse


def degree_for(space: Space, derivatives: int = 0) -> int:
    """Degree of the quadrature of a product of two functions of a space, that many derivatives taken on simplices."""
    curved = space.complex.dim * (space.complex.order - 1)
    simplices = all(b.kind.shape.simplex for b in space.complex.blocks)
    return 2 * space.order + curved - (derivatives if simplices and not curved else 0)


def _constant(value: Coefficient) -> bool:
    """Whether a coefficient is constant by cell."""
    if isinstance(value, dict):
        return all(_constant(v) for v in value.values())
    return not callable(value) and (not isinstance(value, Tensor) or value.ndim in (0, 1))


def mass(space: Space, density: Coefficient = 1.0, degree: int | None = None) -> Sparse:
    """∫ ρ u v, shape (V, V).

    Args:
        space: Of u and v.
        density: ρ, see `assemble.by_point`.
        degree: Of the quadrature; None: see the module.
    """
    def entries(part: Elements) -> Tensor:
        weights = part.weights * by_point(density, part, space.complex)
        return torch.einsum("eq,qa,qb->eab", weights, part.values, part.values)
    parts = chunks(space, degree_for(space) if degree is None else degree)
    return pattern(space).sum((p, entries(p)) for p in parts)


def stiffness(space: Space, conductivity: Coefficient = 1.0, degree: int | None = None) -> Sparse:
    """∫ ∇v · k ∇u, shape (V, V).

    Args:
        space: Of u and v.
        conductivity: k, a scalar or a D × D matrix, see `assemble.by_point`.
        degree: Of the quadrature; None: see the module.
    """
    D = space.complex.X.shape[1]

    def entries(part: Elements) -> Tensor:
        k, G = by_point(conductivity, part, space.complex, (D, D)), part.gradients
        if k.ndim > 2:
            flux = torch.einsum("eqij,eqaj->eqai", k.expand(*part.x.shape, D), G) * part.weights[..., None, None]
        else:
            flux = (part.weights * k)[..., None, None] * G
        return torch.einsum("eqai,eqbi->eab", G, flux)
    if degree is None:
        degree = degree_for(space, 2 if _constant(conductivity) else 0)
    return pattern(space).sum((p, entries(p)) for p in chunks(space, degree))


def transport(space: Space, velocity: Coefficient, degree: int | None = None) -> Sparse:
    """∫ v b·∇u, shape (V, V).

    Args:
        space: Of u and v.
        velocity: b, D components, see `assemble.by_point`.
        degree: Of the quadrature; None: see the module.
    """
    D = space.complex.X.shape[1]

    def entries(part: Elements) -> Tensor:
        b = by_point(velocity, part, space.complex, (D,))
        b = (full(b, (D,)) if b.ndim == 2 else b).expand(part.x.shape)
        slope = torch.einsum("eqbi,eqi->eqb", part.gradients, b) * part.weights[..., None]
        return torch.einsum("qa,eqb->eab", part.values, slope)
    parts = chunks(space, degree_for(space) if degree is None else degree)
    return pattern(space).sum((p, entries(p)) for p in parts)


def elastic(space: Space, lam: Coefficient, mu: Coefficient, degree: int | None = None) -> Sparse:
    """∫ λ div u div v + 2 μ ε(u) : ε(v) for displacements, shape (V·D, V·D); number a·D + i is component i of node a.

    Args:
        space: Of each component.
        lam: Lamé's λ, see `assemble.by_point`.
        mu: Shear modulus μ.
        degree: Of the quadrature; None: see the module.
    """
    D = space.complex.X.shape[1]

    def entries(part: Elements) -> Tensor:
        G = part.gradients
        weighted = [(part.weights * by_point(c, part, space.complex))[..., None, None] * G for c in (lam, mu)]
        # ∂_i v_i ∂_j u_j λ + ∂_j v_i ∂_i u_j μ + δ_ij ∂_k v_i ∂_k u_j μ
        found = torch.einsum("eqai,eqbj->eaibj", G, weighted[0]) + torch.einsum("eqaj,eqbi->eaibj", G, weighted[1])
        same = torch.einsum("eqak,eqbk->eab", G, weighted[1])
        found = found + same[:, :, None, :, None] * torch.eye(D).to(same)[None, None, :, None, :]
        return found.flatten(3).flatten(1, 2)
    if degree is None:
        degree = degree_for(space, 2 if _constant(lam) and _constant(mu) else 0)
    return pattern(space, columns=(D, D)).sum((p, entries(p)) for p in chunks(space, degree))


def divergence(velocity: Space, pressure: Space, degree: int | None = None) -> Sparse:
    """∫ q div u, shape (V_p, V_u·D).

    Args:
        velocity: Space of each component of u.
        pressure: Space of q, on the same mesh.
        degree: Of the quadrature; None: see the module.
    """
    D = velocity.complex.X.shape[1]
    degree = degree_for(velocity) if degree is None else degree
    found = pattern(pressure, velocity, (1, D))
    return found.sum((u, torch.einsum("eq,qa,eqbj->eabj", u.weights, p.values, u.gradients).flatten(2))
                     for u, p in zip(velocity.cells(degree), pressure.cells(degree), strict=True))


def facet_mass(space: Space, on: str | Iterable[str] | Tensor | None = None, factor: Coefficient = 1.0,
               degree: int | None = None) -> Sparse:
    """∫_Γ h u v over facets, shape (V, V), in the pattern of the other forms.

    Args:
        space: Of u and v.
        on: Names of surface groups, or numbers of facets; None: the boundary.
        factor: h.
        degree: Of the quadrature; None: see the module.
    """
    parts = space.facets(degree_for(space) if degree is None else degree, on)
    return pattern(space).sum(
        (p, torch.einsum("eq,eqa,eqb->eab", p.weights * by_point(factor, p, space.complex), p.values, p.values))
        for p in parts)


def load(space: Space, source: Coefficient, columns: int = 1, degree: int | None = None) -> Tensor:
    """∫ f v, shape (V,), or (V, C) of a vector f.

    Args:
        space: Of v.
        source: f, see `assemble.by_point`; C components for vectors.
        columns: C.
        degree: Of the quadrature; None: see the module.
    """
    parts = chunks(space, degree_for(space) if degree is None else degree)
    return _loads(space, source, columns, parts)


def facet_load(space: Space, on: str | Iterable[str] | Tensor | None, flux: Coefficient, columns: int = 1,
               degree: int | None = None) -> Tensor:
    """∫_Γ g v over facets, shape (V,), or (V, C) of a vector g.

    Args:
        space: Of v.
        on: Names of surface groups, or numbers of facets; None: the boundary.
        flux: g, see `assemble.by_point`.
        columns: C.
        degree: Of the quadrature; None: see the module.
    """
    return _loads(space, flux, columns, space.facets(degree_for(space) if degree is None else degree, on))


def _loads(space: Space, source: Coefficient, columns: int, parts: Iterable[Elements]) -> Tensor:
    shape = (columns,) if columns > 1 else ()
    found = space.complex.X.new_zeros(space.size * columns)
    for part in parts:
        f = by_point(source, part, space.complex, shape)
        f = full(f, shape) if f.ndim == 2 else f
        values = part.values if part.values.ndim == 3 else part.values[None]
        weighted = (f * part.weights.reshape(*part.weights.shape, *(1 for _ in shape)))
        entries = torch.einsum("eqa,eq...->ea...", values.expand(len(part.cells), *values.shape[1:]), weighted)
        found = found.index_add(0, vector_dofs(part.dofs, columns).reshape(-1), entries.reshape(-1))
    return found.view(space.size, columns) if columns > 1 else found
