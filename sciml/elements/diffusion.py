"""Diffusion with transport and reaction, steady or in time.

    ρ u_t − ∇·(k ∇u) + b·∇u + c u = f,   u = g on Dirichlet, n·k∇u = q on Neumann, n·k∇u = h (u∞ − u) on Robin regions

Discontinuous k needs nothing further: the flux is continuous in the weak form. Facets in no region are insulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError, TrainingError
from .assemble import Coefficient
from .boundary import Restricted, at_nodes, prescribed
from .discrete import Discrete
from .forms import facet_load, facet_mass, load, mass, stiffness, transport
from .multigrid import solver_for
from .space import Space
from .sparse import Sparse, solve

Data = Mapping[str, object]
Solver = Callable[[Sparse, Tensor], Tensor]
GAMMA = 2 - 2**0.5


def operator(space: Space, conductivity: Coefficient = 1.0, reaction: Coefficient | None = None,
             velocity: Coefficient | None = None, robin: Data | None = None) -> Sparse:
    """∫ k ∇u·∇v + b·∇u v + c u v + ∫_Robin h u v, shape (V, V).

    Args:
        space: Of u and v.
        conductivity: k, a scalar or a matrix, see `assemble.by_point`.
        reaction: c.
        velocity: b.
        robin: (h, u∞) by region.
    """
    A = stiffness(space, conductivity)
    if velocity is not None:
        A = A + transport(space, velocity)
    if reaction is not None:
        A = A + mass(space, reaction)
    for region, pair in (robin or {}).items():
        A = A + facet_mass(space, region, _pair(region, pair)[0])
    return A


def right_side(space: Space, source: Coefficient = 0.0, neumann: Data | None = None,
               robin: Data | None = None) -> Tensor:
    """∫ f v + ∫_Neumann q v + ∫_Robin h u∞ v, shape (V,).

    Args:
        space: Of v.
        source: f.
        neumann: q by region, the flux into the domain.
        robin: (h, u∞) by region.
    """
    b = load(space, source)
    for region, flux in (neumann or {}).items():
        b = b + facet_load(space, region, flux)                                     # type: ignore[arg-type]
    for region, pair in (robin or {}).items():
        h, outside = _pair(region, pair)
        if callable(h) or callable(outside):
            h, outside = (f if callable(f) else lambda *x, c=f: torch.full_like(x[0], c) for f in (h, outside))
            b = b + facet_load(space, region, lambda *x, h=h, u=outside: h(*x) * u(*x))
        else:
            b = b + facet_load(space, region, h * outside)
    return b


def _pair(region: str, pair: object):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ProblemError(f"Robin data on {region!r} is {pair!r}; expected a pair (h, u∞) of n·k∇u = h (u∞ − u)")
    return pair


def diffusion(space: Space, conductivity: Coefficient = 1.0, source: Coefficient = 0.0, *,
              dirichlet: Data | None = None,
              neumann: Data | None = None, robin: Data | None = None, reaction: Coefficient | None = None,
              velocity: Coefficient | None = None, solver: Solver | None = None) -> Discrete:
    """The steady equation of the module; its coefficients carry gradients to tensors among the data.

    Args:
        space: Of u.
        conductivity: k, a scalar or a matrix, see `assemble.by_point`.
        source: f.
        dirichlet: g by region, numbers or functions of the D columns; the first named region takes a corner.
        neumann: q by region, the flux into the domain.
        robin: (h, u∞) by region.
        reaction: c.
        velocity: b; not stabilised, so keep |b| h below 2 k.
        solver: Of the linear system; None: factors, or multigrid where it is sooner.

    Returns:
        The unknown "u".

    Raises:
        ProblemError: Nothing fixes the constant of u.
        TrainingError: The system is singular.
    """
    if not dirichlet and not robin and reaction is None:
        raise ProblemError("neither Dirichlet nor Robin data nor a reaction term, so that u is known up to a constant "
                           "only; give one of them")
    if solver is None:
        solver = solver_for(space.size, space.complex.dim) if velocity is None else solve
    fixed, values = prescribed(space, dirichlet or {})
    system = Restricted(operator(space, conductivity, reaction, velocity, robin), fixed, solver)
    u = system.solve(right_side(space, source, neumann, robin), values)
    return Discrete({"u": space}, {"u": u})


class Heat(NamedTuple):
    """Data of the heat equation; functions of time take the D columns and t.

    Args:
        conductivity: k, a function of x alone, a scalar or a matrix.
        capacity: ρ, a function of x alone.
        source: f.
        dirichlet: g by region.
        neumann: q by region.
        robin: (h, u∞) by region; u∞ may change in time.
        velocity: b, a function of x alone.
    """

    conductivity: Coefficient = 1.0
    capacity: Coefficient = 1.0
    source: Coefficient = 0.0
    dirichlet: Data = {}
    neumann: Data = {}
    robin: Data = {}
    velocity: Coefficient | None = None


def heat(space: Space, problem: Heat, initial: float | Callable[..., Tensor], times: Sequence[float],
         steps: int) -> Discrete:
    """The equation of the module in time, by TR-BDF2: order two, L-stable, one factorisation.

        (M + α K) u* = (M − α K) uⁿ + α (Fⁿ + F*),              t* = tⁿ + γ τ,  γ = 2 − √2,  α = γ τ / 2
        (M + α K) uⁿ⁺¹ = M (u* − (1 − γ)² uⁿ) / (γ (2 − γ)) + α Fⁿ⁺¹

    Args:
        space: Of u.
        problem: The data.
        initial: u at times[0].
        times: Increasing, where u is wanted; the first is the start.
        steps: τ from one of them to the next; the same number each time, and times should be equally spaced, so that
            one factorisation serves all.

    Returns:
        The unknown "u", coefficients (V, T).

    Source: Bank et al. (1985), doi:10.1109/T-ED.1985.22232; L-stability: Hosea and Shampine (1996),
    doi:10.1016/0168-9274(95)00115-8.
    """
    K = operator(space, problem.conductivity, None, problem.velocity, problem.robin)
    M = mass(space, problem.capacity)
    fixed = prescribed(space, _frozen(problem.dirichlet, times[0]))[0]
    u = at_nodes(initial, space.nodes, "the initial value").clone()
    u[fixed] = prescribed(space, _frozen(problem.dirichlet, times[0]))[1]
    moving = any(callable(v) for v in _leaves(problem))
    forces: dict[str, Tensor] = {}

    def force(t: float) -> Tensor:
        if moving or "F" not in forces:
            forces["F"] = right_side(space, _at(problem.source, t), _frozen(problem.neumann, t),
                                     _frozen(problem.robin, t))
        return forces["F"]
    found, system, tau, F = [u], None, 0.0, force(times[0])
    for begin, end in zip(times[:-1], times[1:], strict=True):
        if system is None or abs((end - begin) / steps - tau) > 1e-12 * tau:
            tau = (end - begin) / steps
            system = Restricted(M + K * (GAMMA * tau / 2), fixed)
        for n in range(steps):
            t, alpha = begin + n * tau, GAMMA * tau / 2
            middle, last = t + GAMMA * tau, begin + (n + 1) * tau
            g1, g2 = (prescribed(space, _frozen(problem.dirichlet, s))[1] for s in (middle, last))
            F1, Mu = force(middle), M @ u
            star = system.solve(Mu + alpha * (F + F1 - K @ u), g1)
            F = force(last)
            u = system.solve((M @ star - (1 - GAMMA) ** 2 * Mu) / (GAMMA * (2 - GAMMA)) + alpha * F, g2)
        found.append(u)
    if not bool(torch.isfinite(u).all()):
        raise TrainingError("the heat equation's solution is not finite; are conductivity and capacity positive?")
    return Discrete({"u": space}, {"u": torch.stack(found, 1)})


def _at(value, t: float):
    """A datum at one time."""
    if isinstance(value, (tuple, list)):
        return tuple(_at(v, t) for v in value)
    if isinstance(value, Mapping):
        return _frozen(value, t)
    return (lambda *x: value(*x, t)) if callable(value) else value


def _frozen(data: Data, t: float) -> dict[str, object]:
    return {name: _at(value, t) for name, value in data.items()}


def _leaves(problem: Heat):
    """Everything that may depend on time but Dirichlet data."""
    for data in ({"f": problem.source}, problem.neumann, problem.robin):
        for value in data.values():
            yield from (value if isinstance(value, (tuple, list)) else
                        value.values() if isinstance(value, Mapping) else [value])
