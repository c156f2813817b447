"""Equations of first order in time as ordinary differential equations, on products of functions in space.

    M u_t + F(t, x, u, ∂u, …) = 0,   u = G(x, t) + Σ_j a_j(t) φ_j(x)    ⇒    a' = −Π M⁻¹ F|_{v_t = 0}

G is the lift that takes the data, the φ vanish where it does or are periodic, and Π is the L² projection on them by
Gauss–Legendre quadrature: the φ are made orthonormal on its points, on which F is evaluated. So (u, u_x) ≥ 0 with u = 0
at the inflow holds exactly, without a penalty, and advection is stable. The equation is the problem's own program.

This is the method of lines, a spectral Galerkin method in space: classical numerics and no training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from copy import deepcopy
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..calculus import Program, d
from ..calculus.indices import MultiIndex
from ..calculus.program import LeafKey
from ..errors import ProblemError
from ..fields import Constrained, HermiteAxis
from ..memory import free_memory, size_text
from ..optim.kronecker import projected
from ..points import Points
from ..precondition.coefficients import coefficients, is_linear, other_leaves
from ..problem import Block
from .tensor import tensor_of

if TYPE_CHECKING:
    from .objective import Objective

log = logging.getLogger(__name__)
RANK = 1e-12               # functions of a coordinate below this share of the largest singular value are left out
SAMPLES = 64
DENSE = 600                # unknowns up to which the spectrum of a linear equation is looked at
GROWTH = 1e6               # over the whole time; above, a linear equation is said to be unstable
INSTEAD = "take another optimizer, such as least-squares"


class Lines:
    """The initial value problem of an objective whose field is a tensor product with `HermiteAxis` in time.

    Args:
        objective: With equations and initial data only; all other conditions built in.

    Raises:
        ProblemError: The field is another one, or the equations are not M u_t + F = 0 with a constant M.

    Attributes:
        knots: Of the time axis, shape (K + 1,).
        growth: The largest real part of the eigenvalues of a linear equation's operator, where it was looked at.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        problem, self.field = objective.problem, tensor_of(objective, "lines")
        self.names, self.unknowns = problem.coordinates, problem.unknowns
        self.time = _time_axis(self.names, self.field.axes)
        axes: Any = self.field.axes
        self.clock: HermiteAxis = axes[self.time]
        self.knots: np.ndarray = self.clock.knots.numpy()
        self.equations, self.initials = _sorted_blocks(objective)
        self.space = [k for k in range(len(self.names)) if k != self.time]
        self._factors()
        self._columns()
        self.mass = self._mass()
        self._lifts()
        self.linear = all(is_linear(objective, b, self._some()) for b in self.equations)
        self.growth: float | None = None

    # ---- functions of space ------------------------------------------------------------------------------------------

    def _factors(self) -> None:
        """T, √w Q and derivatives of each coordinate's orthonormal functions, on its Gauss–Legendre points."""
        requests = {alpha for b in self.equations for alphas in b.program.requests.values() for alpha in alphas}
        self.ticks, self.weights, self.maps, self.tests, self.tables = [], [], [], [], []
        for k in self.space:
            axis: Any = self.field.axes[k]
            axis = deepcopy(axis).cpu()
            x, w = axis.quadrature()
            T, Q, _ = projected(axis, x, w, {}, RANK)
            with torch.no_grad():
                self.tables.append(axis.jets(x, max(alpha[k] for alpha in requests)) @ T)
            self.ticks.append(x)
            self.weights.append(w)
            self.maps.append(T)
            self.tests.append(Q * w.sqrt()[:, None])
        self.sizes = (len(self.unknowns), *(T.shape[1] for T in self.maps))
        self.wanted = {tuple(alpha[k] for k in self.space) for alpha in requests if not alpha[self.time]}

    def _columns(self) -> None:
        """The coordinates on the quadrature points as tensors that broadcast to the grid, and the grid's weights."""
        self.shape = tuple(len(x) for x in self.ticks)
        self.like = torch.zeros(self.shape, dtype=torch.float64)
        along = lambda k: [-1 if j == k else 1 for j in range(len(self.ticks))]
        self.columns: dict[str, Tensor] = {self.names[k]: x.reshape(along(j))
                                           for j, (k, x) in enumerate(zip(self.space, self.ticks, strict=True))}
        self.measure = torch.ones_like(self.like)
        for j, w in enumerate(self.weights):
            self.measure = self.measure * w.reshape(along(j))

    def expand(self, a: Tensor, wanted: Iterable[MultiIndex] | None = None) -> dict[MultiIndex, Tensor]:
        """∂^α Σ a_j φ_j on the grid by α in space, each (C, N_1, …), for a of shape (C, m_1, …)."""
        wanted = self.wanted if wanted is None else wanted
        partial: dict[MultiIndex, Tensor] = {(): a}
        for k, table in enumerate(self.tables):
            heads = dict.fromkeys(alpha[:k + 1] for alpha in wanted)
            partial = {h: torch.tensordot(partial[h[:k]], table[h[k]], dims=([1], [1])) for h in heads}
        return partial

    def values(self, a: np.ndarray) -> Tensor:
        """Σ a_j φ_j on the grid, shape (C, N_1, …), for a of shape (m,)."""
        origin = (0,) * len(self.space)
        return self.expand(torch.from_numpy(a).reshape(self.sizes), [origin])[origin]

    def project(self, values: Tensor) -> Tensor:
        """Π of values (C, N_1, …): coefficients (C, m_1, …)."""
        for test in self.tests:
            values = torch.tensordot(values, test, dims=([1], [0]))
        return values

    # ---- the equation ------------------------------------------------------------------------------------------------

    def _mass(self) -> Tensor:
        """M⁻¹, shape (C, C), with M_kc = ∂r_k/∂(∂_t u_c)."""
        first = tuple(int(k == self.time) for k in range(len(self.names)))
        for block in self.equations:
            for unknown, alphas in block.program.requests.items():
                for alpha in alphas:
                    if alpha[self.time] and alpha != first:
                        suffix = "".join(n * a for n, a in zip(self.names, alpha, strict=True))
                        what = f"write {unknown} and its rate as a system of first order" if sum(alpha) == \
                            alpha[self.time] else INSTEAD
                        raise ProblemError(f"optimizer=lines integrates u.t = F(u, u.x, …), and {block.name!r} has "
                                           f"{unknown}.{suffix}; {what}")
        found = [self._slopes(self.equations, first, seed) for seed in (0, 1)]
        M = found[0].mean(-1)
        size = float(M.abs().max())
        if not bool(((torch.stack(found) - M[..., None]).abs() <= 1e-10 * size).all()) or \
                M.shape[0] != M.shape[1] or not float(torch.linalg.svdvals(M)[-1]) > 1e-10 * size:
            raise ProblemError(f"optimizer=lines integrates u.t = F(u, u.x, …), an equation for each of "
                               f"{', '.join(self.unknowns)} with constant factors of its time derivative, and these "
                               f"are not; divide by what multiplies u.t, or {INSTEAD}")
        return torch.linalg.inv(M)

    def _some(self) -> Points:
        points = self.objective.problem.region.sample(SAMPLES, generator=torch.Generator().manual_seed(0))
        return points.to(device=torch.device("cpu"), dtype=torch.float64)

    def _slopes(self, blocks: list[Block], alpha: MultiIndex, seed: int) -> Tensor:
        """∂r_k/∂(∂^α u_c) at some points and made-up values, shape (K, C, N)."""
        generator, points = torch.Generator().manual_seed(seed), self._some()
        like, rows = points.X[:, 0], []
        for block in blocks:
            made = {key: torch.randn(len(like), generator=generator, dtype=torch.float64)
                    for key in block.program.leaves if key[0] == "unknown"}
            slopes = coefficients(block, made, other_leaves(self.objective, block, points), like)[1]
            zero = torch.zeros_like(like)
            rows += [torch.stack([slopes.get((k, u, alpha), zero) for u in self.unknowns])
                     for k in range(len(block.components))]
        return torch.stack(rows) if rows else torch.zeros(0, len(self.unknowns), SAMPLES, dtype=torch.float64)

    def _lifts(self) -> None:
        """A program for ∂^α G of all that is asked for, and what of it and of the equations stands still."""
        field = self.objective.field
        keys = {key for b in (*self.equations, *self.initials) for key in b.program.leaves if key[0] == "unknown"}
        keys |= {("unknown", u, (0,) * len(self.names)) for u in self.unknowns}
        parts = field.lifts if isinstance(field, Constrained) else [0.0] * len(self.unknowns)
        outputs = {key: d(parts[self.unknowns.index(key[1])],
                          *[n for n, a in zip(self.names, key[2], strict=True) for _ in range(a)]) for key in keys}
        self._lift = Program({key: q for key, q in outputs.items() if not (isinstance(q, (int, float)) and q == 0)})
        self._still = "t" not in self._lift.uses("coordinate")
        self._kept: Mapping[LeafKey, Tensor] | None = None
        try:
            self._known = self._knowledge()
            self._rates(float(self.knots[0]), np.zeros(prod(self.sizes)))
        except RuntimeError:                    # a function that takes columns of one length only
            self.columns = {n: x.expand(self.shape).contiguous() for n, x in self.columns.items()}
            self._known, self._kept = self._knowledge(), None

    def _knowledge(self) -> dict[Program, dict[int, Any]]:
        programs = [self._lift, *(b.program for b in (*self.equations, *self.initials))]
        columns = {key: self.columns[key[1]] for p in programs for key in p.leaves
                   if key[0] == "coordinate" and key[1] != "t"}
        return {p: p.known(columns, self.like) for p in programs}

    def _column(self, key: LeafKey, t: float) -> Tensor:
        return torch.tensor(t, dtype=torch.float64) if key[1] == "t" else self.columns[key[1]]

    def lift(self, t: float) -> Mapping[LeafKey, Tensor]:
        """∂^α G on the grid at a time, by leaf; what vanishes is left out."""
        if self._kept is not None:
            return self._kept
        leaves = {key: self._column(key, t) for key in self._lift.leaves}
        found = dict(zip(self._lift.names, self._lift.after(self._known[self._lift], leaves, self.like), strict=True))
        if self._still:
            self._kept = found
        return found

    def _leaves(self, block: Block, t: float, streams: Mapping[MultiIndex, Tensor]) -> dict[LeafKey, Tensor]:
        """All leaves of a block's program on the grid, with v_t = 0."""
        lift, found = self.lift(t), {}
        for key in block.program.leaves:
            kind, name, alpha = key
            if kind == "coordinate":
                found[key] = self._column(key, t)
                continue
            value = lift.get(key)
            if not alpha[self.time]:
                own = streams[tuple(alpha[k] for k in self.space)][self.unknowns.index(name)]
                value = own if value is None else value + own
            found[key] = self.like if value is None else value
        return found

    def _residuals(self, blocks: list[Block], t: float, streams: Mapping[MultiIndex, Tensor]) -> Tensor:
        """What blocks leave on the grid, shape (K, N_1, …)."""
        return torch.stack([f.expand(self.shape) for b in blocks for f in
                            b.program.after(self._known[b.program], self._leaves(b, t, streams), self.like)])

    @torch.no_grad()
    def _rates(self, t: float, a: np.ndarray) -> Tensor:
        """−M⁻¹ F on the grid, shape (C, N_1, …)."""
        streams = self.expand(torch.from_numpy(a).reshape(self.sizes))
        return -torch.tensordot(self.mass, self._residuals(self.equations, t, streams), dims=([1], [0]))

    def rate(self, t: float, a: np.ndarray) -> np.ndarray:
        """a' at a time, shape (m,), for a of shape (m,), m = C m_1 ⋯."""
        return self.project(self._rates(t, a)).reshape(-1).numpy()

    def defect(self, t: float, a: np.ndarray) -> Tensor:
        """The mean square of what the equation leaves in space at a time: (1 − Π) of the rates, shape ()."""
        rates = self._rates(t, a)
        left = rates - self.values(self.project(rates).reshape(-1).numpy())
        return (left.square() * self.measure).sum() / self.measure.sum()

    def size(self, t: float, a: np.ndarray) -> float:
        """|u| in L² at a time."""
        u, lift, origin = self.values(a), self.lift(t), (0,) * len(self.names)
        whole = [u[c] + lift.get(("unknown", name, origin), 0.0) for c, name in enumerate(self.unknowns)]
        return float((torch.stack(whole).square() * self.measure).sum().sqrt())

    def start(self) -> np.ndarray:
        """a at the first knot: the initial data less the lift, projected."""
        t, origin = float(self.knots[0]), (0,) * len(self.names)
        for block in self.initials:
            if any(alpha != origin for alphas in block.program.requests.values() for alpha in alphas):
                raise ProblemError(f"optimizer=lines starts from u alone, and {block.name!r} gives a derivative too; "
                                   "write a system of first order in time")
        M = self._slopes(self.initials, origin, 0).mean(-1)
        given = M.abs().sum(0) > 0
        missing = [u for u, found in zip(self.unknowns, given, strict=True) if not found]
        if missing:
            raise ProblemError(f"optimizer=lines needs initial data of every unknown, and {missing[0]} has none; add "
                               f"Initial({missing[0]}=…)")
        with torch.no_grad():
            zero = {alpha: self.like.expand(len(self.unknowns), *self.shape) for alpha in [(0,) * len(self.space)]}
            r = self._residuals(self.initials, t, zero)
        return self.project(-torch.tensordot(torch.linalg.pinv(M), r, dims=([1], [0]))).reshape(-1).numpy().copy()

    def jacobian(self, t: float, a: np.ndarray) -> np.ndarray:
        """∂a'/∂a, shape (m, m): of implicit integrators and for spectra.

        Raises:
            ProblemError: There is no memory for it.
        """
        m, N = prod(self.sizes), self.like.numel()
        size, free = 8 * (2 * m * m + 3 * N * m // len(self.unknowns)), free_memory(torch.device("cpu"))
        if free is not None and size > free:
            raise ProblemError(f"optimizer=lines needs {size_text(size)} for the Jacobian of {m:,} coefficients, and "
                               f"{size_text(free)} are free; take an explicit method or fewer model.centres")
        streams = self.expand(torch.from_numpy(a).reshape(self.sizes))
        features = {alpha: self._features(alpha) for alpha in self.wanted}
        slopes: dict[tuple[int, str, MultiIndex], Tensor] = {}
        count = 0
        for block in self.equations:
            leaves = {key: v.expand(self.shape).reshape(-1) for key, v in self._leaves(block, t, streams).items()}
            unknown = {key: v for key, v in leaves.items() if key[0] == "unknown"}
            others = {key: v for key, v in leaves.items() if key[0] != "unknown"}
            found = coefficients(block, unknown, others, self.like.reshape(-1))[1]
            slopes |= {(count + k, u, alpha): v for (k, u, alpha), v in found.items() if not alpha[self.time]}
            count += len(block.components)
        tests = self._tests()
        C, inner = len(self.unknowns), m // len(self.unknowns)
        J = torch.zeros(C, inner, C, inner, dtype=torch.float64)
        for (k, u, alpha), slope in slopes.items():
            part = tests.T @ (slope[:, None] * features[tuple(alpha[s] for s in self.space)])
            for c in range(C):
                J[c, :, self.unknowns.index(u), :] -= self.mass[c, k] * part
        return J.reshape(m, m).numpy()

    def _features(self, alpha: MultiIndex) -> Tensor:
        """∂^α φ on the points, shape (N, m_1 ⋯)."""
        found = self.tables[0][alpha[0]]
        for table, a in zip(self.tables[1:], alpha[1:], strict=True):
            found = torch.kron(found, table[a].contiguous())
        return found

    def _tests(self) -> Tensor:
        found = self.tests[0]
        for test in self.tests[1:]:
            found = torch.kron(found, test)
        return found

    def check_spectrum(self) -> None:
        """Finds `growth` for a linear equation of few unknowns, and warns where it makes the run useless."""
        m = prod(self.sizes)
        if not self.linear or m > DENSE:
            return
        t = float(self.knots[0])
        self.growth = float(np.linalg.eigvals(self.jacobian(t, np.zeros(m))).real.max())
        if self.growth * (float(self.knots[-1]) - t) > np.log(GROWTH):
            log.warning("optimizer=lines: the largest real part of the operator's eigenvalues is %.3g, so that errors "
                        "grow by exp(%.3g t); are data missing at an inflow or a wall?", self.growth, self.growth)

    # ---- the field ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def write(self, knot: int, a: Tensor, rate: Tensor) -> None:
        """Puts a and a' at a knot into the field's coefficients."""
        weight = self.field.coefficients.movedim(1 + self.time, -1)            # a view: the field's own numbers
        for values, raw in ((a, 2 * knot), (self.clock.step * rate, 2 * knot + 1)):
            if raw not in self.clock.kept:
                continue
            coefficients_ = values.reshape(self.sizes)
            for T in self.maps:
                coefficients_ = torch.tensordot(coefficients_, T, dims=([1], [1]))
            weight[..., self.clock.kept.index(raw)] = coefficients_.to(weight)


def _time_axis(names: tuple[str, ...], axes: Any) -> int:
    """The column of t, with its piecewise cubics."""
    found = [k for k, (n, axis) in enumerate(zip(names, axes, strict=True)) if n == "t" and
             isinstance(axis, HermiteAxis)]
    if not found:
        raise ProblemError("optimizer=lines integrates in time, and this field has no cubic pieces in t; take "
                           "model=gaussian-lines on a domain with t")
    if len(names) == 1:
        raise ProblemError("optimizer=lines needs a coordinate besides t; an ordinary differential equation takes "
                           "another model")
    return found[0]


def _sorted_blocks(objective: Objective) -> tuple[list[Block], list[Block]]:
    """Equations and initial data, which must be all there is."""
    problem = objective.problem
    if problem.trainable:
        raise ProblemError(f"optimizer=lines knows no parameters to be found, and this problem has "
                           f"{', '.join(problem.trainable)}; {INSTEAD}")
    if objective.transforms or objective.stand_ins:
        raise ProblemError("optimizer=lines integrates the equation itself; leave precondition= out")
    equations = [b for b in objective.blocks if b.kind == "equation" and b.combine == "each" and
                 b.region is problem.region]
    initials = [b for b in objective.blocks if b.kind == "initial"]
    left = [b.name for b in objective.blocks if b not in equations and b not in initials]
    if left:
        raise ProblemError(f"optimizer=lines needs all conditions but equations and initial data built in, and "
                           f"{left[0]!r} is not; give periodic or Dirichlet data on whole faces of the box, or "
                           f"{INSTEAD}")
    return equations, initials
