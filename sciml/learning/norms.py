"""Norms in which residuals are trained: by the inverse of the equation's leading part.

    steady:     loss² = rᵀ A₀⁻ᵖ r / r₀ᵀ A₀⁻ᵖ r₀,      A₀ = −Δ_h on the nodes inside, p = half the equation's order
    evolution:  loss² = |P₀⁻¹ r|² / |P₀⁻¹ r₀|²,       P₀ = c ∂_t + σ(k) for each mode k in space, u = 0 at the start,
                first order in time; without ∂_t P₀ = σ(k), and of second order the plain mean square

r₀ is the residual of u = G, what a network that gives 0 leaves. For a coefficient between a₋ and a₊, rᵀA₀⁻¹r is
the squared error in the energy norm up to the factor a₊/a₋ (the residual transform of De Ryck et al. 2024,
arXiv:2310.05801, on a grid); |r|² weighs the error of mode k by k⁴ instead. c and σ are the equation's own: its
linearisation at G, averaged over a batch, applied to t and to the modes. On faces that have conditions with derivatives
the modes end level, and the rows of these conditions have the plain mean square.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..calculus import GridAxis, Slope
from ..problem import Block
from .equations import Equations
from .layout import Layout

Norm = Callable[[Tensor], Tensor]
Faces = frozenset[str]


class Plain:
    """The mean square."""

    def __call__(self, r: Tensor) -> Tensor:
        """Squared norm of each sample, (B,), of r (B, m_1, …, m_d, K)."""
        return r.square().flatten(1).mean(1)


class InverseLaplacian:
    """rᵀ A₀⁻ᵖ r, A₀ = −Δ_h with zero values on the faces that are no nodes, p = 1 for equations of second order.

    Args:
        axes: Of the grid; periodic ones keep all nodes, the others those inside.
        power: p.
        like: Dtype and device.
        level: Faces at which functions are level instead of zero.
    """

    def __init__(self, axes: Sequence[GridAxis], power: float, like: Tensor, level: Faces = frozenset()):
        self.bases, sizes = [], []
        for axis in axes:
            values, vectors = torch.linalg.eigh(_second(axis, level))
            self.bases.append(vectors.to(like))
            sizes.append(values.clamp(min=0.0))
        total = torch.zeros(())
        for values in sizes:
            total = total.double()[..., None] + values
        floor = float(total[total > 1e-9 * total.max()].min())          # rounding leaves a zero mode at ±1e-13
        self.weights = total.clamp(min=floor).pow(-power).to(like)

    def __call__(self, r: Tensor) -> Tensor:
        return (_modes(r, self.bases).square() * self.weights[..., None]).flatten(1).sum(1)


def _modes(r: Tensor, bases: Sequence[Tensor]) -> Tensor:
    """Coefficients along the first axes, a basis for each."""
    for i, S in enumerate(bases):
        r = (r.movedim(i + 1, -1) @ S).movedim(-1, i + 1)
    return r


def _second(axis: GridAxis, level: Faces = frozenset()) -> Tensor:
    """−∂² with three points on the nodes inside, symmetric; at level ends the node beyond has its neighbour's value."""
    n = axis.count if axis.periodic else axis.count - 2
    A = 2 * torch.eye(n, dtype=torch.float64)
    A -= torch.diag(torch.ones(n - 1, dtype=torch.float64), 1) + torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
    if axis.periodic:
        A[0, -1] -= 1.0
        A[-1, 0] -= 1.0
    for end, i in (("-", 0), ("+", -1)):
        if f"{axis.name}{end}" in level:
            A[i, i] -= 1.0
    return A / axis.step**2


class InverseEvolution:
    """|P₀⁻¹ r|² of an evolution equation of first order in time.

    Args:
        axes: Of the grid, time the last.
        rate: c by component, (K,); 0: the equation has no ∂_t.
        symbol: σ by mode and component, (modes…, K), at the eigenvectors of −Δ_h in space.
        like: Dtype and device.
        level: Faces at which functions are level instead of zero.
    """

    def __init__(self, axes: Sequence[GridAxis], rate: Tensor, symbol: Tensor, like: Tensor,
                 level: Faces = frozenset()):
        space, time = axes[:-1], axes[-1]
        self.bases = [torch.linalg.eigh(_second(a, level))[1].to(like) for a in space]
        D = time.matrix(1)[1:, 1:]                                  # u = 0 at the first node
        eye = torch.eye(len(D), dtype=torch.float64)
        rate, symbol = rate.double().cpu(), symbol.double().cpu()
        still = rate.abs() * D.abs().max() <= 1e-9 * symbol.abs().flatten(0, -2).amax(0)
        rate = torch.where(still, 0.0, rate)
        sign = torch.where(still, symbol.flatten(0, -2).sum(0), rate).sign()      # an equation may be written as −R = 0
        damping = (sign * symbol).clamp(min=0.0)
        floor = torch.where(damping > 1e-9 * damping.flatten(0, -2).amax(0), damping, torch.inf).flatten(0, -2).amin(0)
        damping = torch.where(still, damping.maximum(torch.where(floor.isfinite(), floor, 1.0)), damping)
        P = (sign * rate)[:, None, None] * D + damping[..., None, None] * eye
        self.inverse = torch.linalg.inv(P).to(like)                 # (modes…, K, m, m)

    def __call__(self, r: Tensor) -> Tensor:
        r = _modes(r, self.bases).movedim(-2, -1)                                       # (B, modes…, K, m)
        return torch.einsum("...ij,...j->...i", self.inverse, r).square().flatten(1).mean(1)


def build_norms(equations: Equations, layout: Layout, inputs: Mapping[str, Tensor], kind: str) -> dict[str, Norm]:
    """A norm for every equation.

    Args:
        equations: Of the family.
        layout: The grid.
        inputs: Some input functions, for averages.
        kind: "inverse" or "none".
    """
    faces: dict[str, Norm] = {b.name: Plain() for b, _ in equations.faces}
    names = [b.name for b in equations.blocks]
    if kind == "none" or equations.free:               # modes vanish at both ends or repeat
        return {n: Plain() for n in names} | faces
    G = equations.lift(layout, inputs)
    level = frozenset(f for _, own in equations.faces for f in own)
    if "t" not in layout.names:
        orders = {b.name: _order(b) for b in equations.blocks}
        return {n: InverseLaplacian(layout.axes, orders[n] / 2, G, level) for n in names} | faces
    if layout.names[-1] != "t":
        return {n: Plain() for n in names} | faces
    found = faces
    time = layout.axes[-1]
    t = (time.nodes() - time.low).to(G)
    ramp = _slope(equations, layout, G, inputs, torch.ones_like(G) * t[:, None])
    for i, block in enumerate(equations.blocks):
        if _order_in_time(block, equations.coordinates) > 1:
            found[block.name] = Plain()
            continue
        rate = ramp[i][..., 0, :].flatten(0, -2).mean(0).double()   # at the first time: c, before σ t counts
        symbol = _symbols(equations, layout, G, inputs, i, level)
        found[block.name] = InverseEvolution(layout.axes, rate, symbol, G, level)
    return found


def sizes(start: Tensor, reach: Tensor) -> Tensor:
    """What squared residuals are measured by, (B,): those of G; of G + s B for an equation that G itself solves.

    Args:
        start: |R[G]|², (B,).
        reach: Mean |R[G + s B]|².
    """
    own = start.max()
    size = torch.where(own > 1e-12 * reach, start.maximum(1e-12 * own), reach.to(start))
    return size.clamp(min=torch.finfo(size.dtype).tiny)


def _slope(equations: Equations, layout: Layout, G: Tensor, inputs: Mapping[str, Tensor], v: Tensor) -> list[Tensor]:
    """R'(G) v of every equation."""
    def residuals(u):
        return tuple(r.values for r in equations.residuals(layout, u, inputs))
    return list(torch.func.jvp(residuals, (G,), (v,))[1])


def _symbols(equations: Equations, layout: Layout, G: Tensor, inputs, block: int, level: Faces) -> Tensor:
    """σ at every mode in space: fitted to c₀ + c₁ λ through the modes of some eigenvalues λ, (modes…, K)."""
    space = layout.axes[:-1]
    pairs = [torch.linalg.eigh(_second(a, level)) for a in space]
    lam = torch.zeros((), dtype=torch.float64)
    for values, _ in pairs:
        lam = lam[..., None] + values.clamp(min=0.0)
    rows, sizes = [], []
    for share in (0.02, 0.08, 0.2):
        v = torch.ones((), dtype=torch.float64)
        value = 0.0
        for values, vectors in pairs:
            k = max(int(share * len(values)), 1)
            v = v[..., None] * vectors[:, k]
            value += float(values[k])
        full = v
        for d, a in enumerate(space):
            full = full if a.periodic else _ended(full, d, [f"{a.name}{end}" in level for end in "-+"])
        image = _slope(equations, layout, G, inputs, torch.ones_like(G) * full.to(G)[..., None, None])[block]
        projected = (image * v.to(G)[..., None, None]).flatten(1, -2).sum(1).mean(0) / (layout.shape[-1] - 1)
        rows.append(projected.double().cpu())
        sizes.append(value)
    A = torch.tensor([[1.0, s] for s in sizes], dtype=torch.float64)
    fit = torch.linalg.lstsq(A, torch.stack(rows)).solution          # (2, K)
    return fit[0] + fit[1] * lam[..., None]


def _ended(v: Tensor, axis: int, level: Sequence[bool]) -> Tensor:
    """Values at the nodes inside and at both ends of an axis, there zero or the neighbour's."""
    ends = [v.narrow(axis, i, 1) * float(same) for i, same in zip((0, v.shape[axis] - 1), level, strict=True)]
    return torch.cat([ends[0], v, ends[1]], axis)


def _order(block: Block) -> int:
    """Highest derivative of an unknown in space, fluxes counted."""
    leaves = max((sum(alpha) for kind, _, alpha in block.program.leaves if kind == "unknown"), default=0)
    return max(leaves + any(isinstance(f, Slope) for f in block.program.functions), 1)


def _order_in_time(block: Block, coordinates: Sequence[str]) -> int:
    """Highest derivative of an unknown in time, slopes of composites counted."""
    t = tuple(coordinates).index("t")
    leaves = max((alpha[t] for kind, _, alpha in block.program.leaves if kind == "unknown"), default=0)
    return leaves + any(isinstance(f, Slope) and f.coordinate == "t" for f in block.program.functions)
