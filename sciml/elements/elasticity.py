"""Linear elasticity: displacements, stresses, von Mises.

    −∇·σ = f,   σ = λ tr ε(u) I + 2 μ ε(u),   ε(u) = (∇u + ∇uᵀ)/2;   u = g or σ n = t on the boundary
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from .assemble import Coefficient, by_point, chunks
from .boundary import Restricted, prescribed
from .diffusion import Data, Solver
from .discrete import Discrete
from .forms import degree_for, elastic, facet_load, load, mass
from .iterate import cg
from .multigrid import solver_for
from .space import Elements, Space

NAMES = ("u", "v", "w")


@dataclass(frozen=True)
class Material:
    """An isotropic material.

    Args:
        lam: λ of the equation solved; under plane stress 2 λ μ / (λ + 2 μ).
        mu: Shear modulus μ.
        plane: "strain" (also for three dimensions) or "stress".
        ratio: σ_zz / (σ_xx + σ_yy) in two dimensions: Poisson's ratio under plane strain, 0 under plane stress.
    """

    lam: Coefficient
    mu: Coefficient
    plane: str = "strain"
    ratio: Coefficient = 0.0

    @staticmethod
    def of(young: float | Tensor | Mapping, poisson: float | Tensor | Mapping, plane: str = "strain") -> Material:
        """The material with Young's modulus E and Poisson's ratio ν, numbers, by cell, or by group.

            λ = E ν / ((1 + ν)(1 − 2ν)),   μ = E / (2 (1 + ν));   plane stress: λ = E ν / (1 − ν²)

        Raises:
            ProblemError: `plane` is neither "strain" nor "stress", or ν is not below ½.
        """
        look_up("plane", plane, {"strain": 0, "stress": 0})
        if isinstance(young, Mapping) or isinstance(poisson, Mapping):
            names = list(young if isinstance(young, Mapping) else poisson)              # type: ignore[arg-type]
            pick = lambda value, name: value[name] if isinstance(value, Mapping) else value
            parts = {name: Material.of(pick(young, name), pick(poisson, name), plane) for name in names}
            return Material({n: p.lam for n, p in parts.items()}, {n: p.mu for n, p in parts.items()}, plane,
                            {n: p.ratio for n, p in parts.items()})
        nu = torch.as_tensor(poisson, dtype=torch.float64)
        if bool((nu >= 0.5).any()) or bool((nu <= -1).any()):
            raise ProblemError(f"Poisson's ratio {float(nu.max()):g} is not in (−1, ½); an incompressible material "
                               "needs a pressure (`flow.stokes`)")
        lam = young * poisson / ((1 + poisson) * (1 - 2 * poisson)) if plane == "strain" else \
            young * poisson / (1 - poisson**2)
        return Material(lam, young / (2 * (1 + poisson)), plane, poisson if plane == "strain" else 0.0)


def elasticity(space: Space, material: Material, force: Coefficient = 0.0, *, dirichlet: Data,
               traction: Data | None = None, solver: Solver | None = None) -> Discrete:
    """The displacement.

    Args:
        space: Of each component.
        material: λ and μ.
        force: f, D components by volume, see `assemble.by_point`.
        dirichlet: g by region: a tuple of D numbers or functions of the D columns, None where a component is free.
        traction: t = σ n by region, D components.
        solver: Of the linear system; None: factors, or multigrid where it is sooner.

    Returns:
        Unknowns "u", "v" (and "w").

    Raises:
        ProblemError: Data of another form.
        TrainingError: The system is singular, as when rigid motions are free.
    """
    D = space.complex.dim
    fixed, values = prescribed(space, dirichlet, D)
    b = load(space, force, D)
    for region, t in (traction or {}).items():
        b = b + facet_load(space, region, t, D)                                         # type: ignore[arg-type]
    if solver is None:
        whole = bool((torch.bincount(torch.div(fixed, D, rounding_mode="floor"), minlength=space.size) % D == 0).all())
        solver = solver_for(D * space.size, D, D if whole else 1)
    system = Restricted(elastic(space, material.lam, material.mu), fixed, solver)
    u = system.solve(b.reshape(-1), values).view(-1, D)
    return Discrete(dict.fromkeys(NAMES[:D], space), dict(zip(NAMES, u.unbind(1), strict=False)))


def stress_at(found: Discrete, material: Material, part: Elements) -> Tensor:
    """σ at quadrature points, shape (E, Q, 3, 3); in two dimensions σ_zz is that of the plane state."""
    space = found.spaces["u"]
    D = space.complex.dim
    H = torch.stack([found.slopes(name, part) for name in NAMES[:D]], -2)
    strain = (H + H.transpose(-1, -2)) / 2
    lam, mu, ratio = (by_point(c, part, space.complex)[..., None, None]
                      for c in (material.lam, material.mu, material.ratio))
    trace = strain.diagonal(dim1=-1, dim2=-2).sum(-1)[..., None, None]
    plane = lam * trace * torch.eye(D).to(H) + 2 * mu * strain
    sigma = H.new_zeros(*H.shape[:2], 3, 3)
    sigma[..., :D, :D] = plane
    if D == 2:
        sigma[..., 2, 2] = ratio[..., 0, 0] * (plane[..., 0, 0] + plane[..., 1, 1])
    return sigma


def mises(sigma: Tensor) -> Tensor:
    """√(3/2 s : s) with the deviator s of σ (…, 3, 3)."""
    s = sigma - sigma.diagonal(dim1=-1, dim2=-2).sum(-1)[..., None, None] / 3 * torch.eye(3).to(sigma)
    return (1.5 * (s * s).sum((-1, -2))).sqrt()


def stresses(found: Discrete, material: Material) -> Discrete:
    """Stresses as continuous functions of the displacement's space: the L2 projection of σ, ∫ (σ_h − σ) v = 0.

    Of materials that differ by group the projection smears the jump over one cell; ask `stress_at` there.

    Args:
        found: From `elasticity`.
        material: The same.

    Returns:
        Unknowns "sxx", "syy", "sxy", "szz" (3-D: also "sxz", "syz") and "mises", that of the projected stress at nodes.
    """
    space = found.spaces["u"]
    pairs = [(0, 0), (1, 1), (0, 1), (2, 2)] + ([(0, 2), (1, 2)] if space.complex.dim == 3 else [])
    b = space.complex.X.new_zeros(space.size, len(pairs))
    for part in chunks(space, degree_for(space)):
        sigma = stress_at(found, material, part)
        columns = torch.stack([sigma[..., i, j] for i, j in pairs], -1) * part.weights[..., None]
        b.index_add_(0, part.dofs.reshape(-1), torch.einsum("qa,eqc->eac", part.values, columns).flatten(0, 1))
    s = cg(mass(space), b, tolerance=1e-12).x
    full = s.new_zeros(space.size, 3, 3)
    for c, (i, j) in enumerate(pairs):
        full[:, i, j] = full[:, j, i] = s[:, c]
    names = [f"s{'xyz'[i]}{'xyz'[j]}" for i, j in pairs]
    coefficients = {**dict(zip(names, s.unbind(1), strict=True)), "mises": mises(full)}
    return Discrete(dict.fromkeys(coefficients, space), coefficients)
