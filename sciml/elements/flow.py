"""Stokes flow and steady Navier–Stokes flow by Taylor–Hood elements.

    (u·∇)u − ν Δu + ∇p = f,   div u = 0;   u = g on Dirichlet regions, ν ∂_n u − p n = 0 on the others (outlets)

Velocity of order 2 with pressure of order 1 (P2–P1, Q2–Q1), both continuous. Without an outlet the pressure is
known up to a constant; its mean is then zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import ProblemError, TrainingError
from ..mesh.complex import Complex
from .assemble import Coefficient, Pattern, vector_dofs
from .boundary import Restricted, prescribed
from .diffusion import Data
from .discrete import Discrete
from .forms import degree_for, load
from .space import Elements, Space
from .sparse import Sparse

NAMES = ("u", "v", "w")


@dataclass(frozen=True, eq=False)
class Flow:
    """A steady incompressible flow.

    Args:
        complex_: The mesh.
        viscosity: ν.
        dirichlet: Velocities by region: a tuple of D numbers or functions of the D columns, None where one is free.
        force: f, D components, see `assemble.by_point`.
    """

    complex_: Complex
    viscosity: float
    dirichlet: Data
    force: Coefficient = 0.0

    @cached_property
    def spaces(self) -> tuple[Space, Space]:
        """Of velocity components and of the pressure."""
        return Space(self.complex_, 2), Space(self.complex_, 1)

    @property
    def dim(self) -> int:
        """D."""
        return self.complex_.dim

    @cached_property
    def dofs(self) -> list[Tensor]:
        """Numbers of the coefficients of each cell, velocities (k·D) before pressures (l), by block."""
        V, P = self.spaces
        return [torch.cat([vector_dofs(v, self.dim), p + V.size * self.dim], 1)
                for v, p in zip(V.dofs, P.dofs, strict=True)]

    @cached_property
    def size(self) -> int:
        """Number of coefficients of velocity and pressure."""
        return self.spaces[0].size * self.dim + self.spaces[1].size

    @cached_property
    def pattern(self) -> Pattern:
        """Of the whole system."""
        return Pattern(self.dofs, self.dofs, (self.size, self.size), self.complex_.starts)

    @cached_property
    def elements(self) -> list[tuple[Elements, Elements]]:
        """Velocities and pressures at the quadrature points of the cells; the degree is that of u·∇u·v, 3·2 − 1."""
        degree = degree_for(self.spaces[0]) + 1
        return list(zip(*(s.cells(degree) for s in self.spaces), strict=True))

    @cached_property
    def force_load(self) -> Tensor:
        """∫ f·v, shape (N,) with zeros for pressures."""
        V, P = self.spaces
        return torch.cat([load(V, self.force, self.dim).reshape(-1), self.complex_.X.new_zeros(P.size)])

    @cached_property
    def given(self) -> tuple[Tensor, Tensor]:
        """Numbers of the coefficients that are given, with the first pressure where there is no outlet, and values."""
        V, _ = self.spaces
        fixed, values = prescribed(V, self.dirichlet, self.dim)
        if self.enclosed:
            fixed = torch.cat([fixed, fixed.new_tensor([V.size * self.dim])])
            values = torch.cat([values, values.new_zeros(1)])
        return fixed, values

    @cached_property
    def enclosed(self) -> bool:
        """Whether all components are given on the whole boundary, so that the pressure's constant is free."""
        V, _ = self.spaces
        every = vector_dofs(V.on("boundary")[:, None], self.dim).reshape(-1)
        return bool(torch.isin(every, prescribed(V, self.dirichlet, self.dim)[0]).all())

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity (V, D) and pressure (V_p,) of coefficients (N,)."""
        n = self.spaces[0].size * self.dim
        return z[:n].view(-1, self.dim), z[n:]

    def matrix(self, z: Tensor | None = None, newton: bool = True, transport: float = 1.0) -> Sparse:
        """The system's matrix: of Stokes's equations, and with z the linearised transport.

            ∫ ν ∇u:∇v − p div v − q div u + (z·∇)u·v + [Newton] (u·∇)z·v

        Args:
            z: Coefficients of the flow about which transport is linearised; None: without transport.
            newton: Whether with the second of its terms (else Picard's iteration).
            transport: Factor of both.
        """
        return self.pattern.sum((parts[0], self._entries(i, z, newton, transport))
                                for i, parts in enumerate(self.elements))

    def _entries(self, i: int, z: Tensor | None, newton: bool, transport: float) -> Tensor:
        u, p = self.elements[i]
        D, E, k = self.dim, len(u.cells), u.dofs.shape[1]
        W, G = u.weights, u.gradients
        same = self.viscosity * torch.einsum("eq,eqai,eqbi->eab", W, G, G)
        mixed = None
        if z is not None:
            local = self.split(z)[0][u.dofs]
            here = torch.einsum("qa,ead->eqd", u.values, local)
            same = same + transport * torch.einsum("qa,eqb->eab", u.values, torch.einsum(
                "eqbi,eqi->eqb", G, here * W[..., None]))
            if newton:
                slopes = torch.einsum("eqaj,eai->eqij", G, local) * (transport * W[..., None, None])
                mixed = torch.einsum("qab,eqij->eaibj", u.values[:, :, None] * u.values[:, None, :], slopes)
        A = same[:, :, None, :, None] * torch.eye(D).to(same)[None, None, :, None, :]
        A = (A if mixed is None else A + mixed).flatten(3).flatten(1, 2)
        B = -torch.einsum("eq,qa,eqbj->eabj", W, p.values, G).flatten(2)
        whole = A.new_zeros(E, k * D + p.dofs.shape[1], k * D + p.dofs.shape[1])
        whole[:, :k * D, :k * D], whole[:, k * D:, :k * D], whole[:, :k * D, k * D:] = A, B, B.transpose(1, 2)
        return whole

    def residual(self, z: Tensor, transport: float = 1.0) -> Tensor:
        """Of every equation at coefficients z (N,), given ones included: there it is the force on that node."""
        r = self.stokes @ z - self.force_load
        for (u, _), dofs in zip(self.elements, self.dofs, strict=True):
            if not transport:
                break
            local = self.split(z)[0][u.dofs]
            here = torch.einsum("qa,ead->eqd", u.values, local)
            slopes = torch.einsum("eqaj,eai->eqij", u.gradients, local)
            inertia = torch.einsum("eqij,eqj->eqi", slopes, here) * (transport * u.weights[..., None])
            entries = torch.einsum("qa,eqi->eai", u.values, inertia).flatten(1)
            r = r.index_add(0, dofs[:, :entries.shape[1]].reshape(-1), entries.reshape(-1))
        return r

    @cached_property
    def stokes(self) -> Sparse:
        """The matrix without transport."""
        return self.matrix()

    def result(self, z: Tensor, numbers: dict[str, float]) -> Discrete:
        """Coefficients (N,) as unknowns "u", "v", ("w",) "p"."""
        V, P = self.spaces
        u, p = self.split(z)
        spaces = dict.fromkeys(NAMES[:self.dim], V) | {"p": P}
        found = Discrete(spaces, dict(zip(NAMES, u.unbind(1), strict=False)) | {"p": p}, numbers)
        if not self.enclosed:
            return found
        ones = Discrete(spaces, {"p": torch.ones_like(p)})
        mean = found.integral("p") / ones.integral("p")
        return Discrete(spaces, {**found.coefficients, "p": p - mean}, numbers)


def stokes(flow: Flow) -> Discrete:
    """The flow without inertia: Stokes's equations.

    Returns:
        Unknowns "u", "v", ("w",) of order 2 and "p" of order 1.

    Raises:
        TrainingError: The system is singular.
    """
    z = Restricted(flow.stokes, flow.given[0]).solve(flow.force_load, flow.given[1])
    return flow.result(z, {"residual": _free_norm(flow, flow.residual(z, 0.0))})


def navier_stokes(flow: Flow, tolerance: float = 1e-10, steps: int = 40,
                  ramp: Sequence[float] = (1.0,)) -> Discrete:
    """The steady flow with inertia, by Picard's iteration until its steps are below a tenth, then Newton's method.

    Args:
        flow: The problem.
        tolerance: Of the residual against that of the Stokes flow.
        steps: Of both at most, for each factor.
        ramp: Factors of the transport term, increasing to 1: a continuation in the Reynolds number.

    Returns:
        Unknowns "u", "v", ("w",) "p"; numbers "residual" (relative) and "steps".

    Raises:
        TrainingError: Newton's method does not converge.
    """
    if not ramp or ramp[-1] != 1.0:
        raise ProblemError(f"ramp={tuple(ramp)!r} must end at 1, the whole transport term")
    fixed, values = flow.given
    z = Restricted(flow.stokes, fixed).solve(flow.force_load, values)
    zero, taken, size = torch.zeros_like(values), 0, 0.0
    first = _free_norm(flow, flow.residual(z))
    newton = False
    for factor in ramp:
        for k in range(steps + 1):
            r = flow.residual(z, factor)
            size = _free_norm(flow, r) / max(first, 1e-300)
            if size <= tolerance or first < 1e-14:
                break
            if k == steps or size != size or size > 1e6:
                raise TrainingError(f"Newton's method for the flow is at a residual of {size:.1e} after {k} steps; "
                                    f"refine the mesh, or go through lower Reynolds numbers, ramp=(0.2, 0.5, 1.0)")
            step = Restricted(flow.matrix(z, newton, factor), fixed).solve(r, zero)
            z, taken = z - step, taken + 1
            newton = float(flow.split(step)[0].norm()) < 0.1 * float(flow.split(z)[0].norm())
    return flow.result(z, {"residual": size, "steps": float(taken)})


def _free_norm(flow: Flow, r: Tensor) -> float:
    kept = r.clone()
    kept[flow.given[0]] = 0.0
    return float(kept.norm())


def force_on(flow: Flow, found: Discrete, region: str) -> Tensor:
    """Force of the fluid on a wall, shape (D,), by the residual of the momentum equations at its nodes.

        F_i = −R(u, p; v)  with v = e_i at the nodes of the wall, 0 at the others

    Twice the order of the integral of tractions.

    Args:
        flow: The problem.
        found: Its solution.
        region: The wall; Dirichlet data must be given on it.

    Source: John and Matthies (2001), doi:10.1002/fld.195; Babuška and Miller (1984), doi:10.1002/nme.1620200611.
    """
    V, _ = flow.spaces
    z = torch.cat([torch.stack([found[n] for n in NAMES[:flow.dim]], 1).reshape(-1), found["p"]])
    inertia = found.numbers.get("steps") is not None
    r = flow.residual(z, 1.0 if inertia else 0.0)[:V.size * flow.dim].view(-1, flow.dim)
    return -r[V.on(region)].sum(0)
