"""Gaussians laid out anew after each solve, as close and as thin as the solution's own derivatives ask for.

    M = λ ⟨S⟩^{1/k} (E / median E)^α      S of the k-th derivatives (`cloud.py`), E the mean square weighted residual of
                                         the cell, λ so that there are as many points as asked for
    M grows no faster than by β from one point to the next;   M ← M + Id/h²,   h the spacing of the first lattice
    μ: centres of the Voronoi cells of M,   Σ = c² M(μ)⁻¹

The lattice that the field begins with stays, and with it all that is smooth: Gaussians laid out by a metric alone carry
a constant so badly that its ripples ask for Gaussians of their own. The others move to where the solution has features,
stretch along fronts, and gather at corners. Of a round before only the function is kept, from which the new amplitudes
start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from ..errors import ProblemError
from ..fields import GaussianField, gaussians_of
from ..fields.gaussian import of_covariances
from ..points import Points
from ..problem import Block
from ..sampling import Scene
from .cloud import Metric as Measure
from .cloud import across, chosen, close, contracted, graded, nearest, spread, squares, tabulated
from .estimate import nearest_scales, scales_at
from .refiner import Refiner

WIDE, EACH = 10000, 25               # samples everywhere, and about every Gaussian
SOURCES, SOME, PASSES = 500, 6000, 5  # of growth; samples that λ is found on; how often
SAMPLES, POOL = 25, 8                # of a Voronoi cell, and of a row's
BOUNDARY, PROBES = 200_000, 4000     # candidates on a boundary, and points where its residual is looked at
NEIGHBOURS = 12                      # that S is a mean of
UNEQUAL = 0.25                       # α: with 0 corners take twice the rounds, with 0.5 rounds overshoot
FEW, MANY = 1e-2, 1e4                # bounds of E / median E
RIDGE = 1e-7                         # of the fit that carries the old field over


class Metric(Refiner):
    """Lays Gaussians out by a metric of the solution's derivatives, on top of the lattice that there is.

        w_n = √v_n / (h max_j |∂r_n/∂a_j|)  inside,   √(a_n/h) / max_j |∂r_n/∂a_j|  on boundaries

    with v and a the volume and area that a row stands for and h the smallest spacing there: residuals in units of the
    solution, measured in the energy norm for elliptic equations and in L2 for transport.

    Args:
        rounds: Of laying out, each followed by a solve.
        count: Gaussians from the first round on; None: four times the lattice.
        order: k of the derivatives. Ripples of size ε at the spacing count as features of size ε^{1/k}: 4 is too
            much for fronts that the lattice does not resolve, 2 crowds them.
        growth: β.
        rows: Points of the equation for each Gaussian inside, and on boundaries to a spacing, at least 2.
        rim: How far beyond the domain Gaussians lie, in spacings.
        sweeps: Of Lloyd's algorithm.

    Raises:
        ProblemError: An option makes no sense, or the field is not made of Gaussians, or has periodic coordinates, or
            as many already as there shall be.

    Source: `cloud.py` for metric and cells. The weight is that of residual estimators, η = h |r|_{L2(cell)} (Verfürth
        2013, doi:10.1093/acprof:oso/9780199679423.001.0001): the L2 norm's, by h more, holds on convex domains only,
        and at a re-entrant corner lets a solution of infinite energy pass.

    Note:
        Fronts want model.covariance=full. The first solve may be a poor one, as long as it has the features. A front
        that a nonlinear equation itself makes (Burgers) is not found where the first solve puts it elsewhere.
    """

    name = "metric"
    weighs = True
    solving: Mapping[str, Mapping[str, object]] = {"least-squares": {"ridge": 1e-14}}

    def __init__(self, rounds: int = 6, count: int | None = None, order: int = 3, growth: float = 0.4,
                 rows: float = 4.0, rim: float = 1.5, sweeps: int = 12):
        self.demand(rounds >= 0, "rounds", rounds, "0 or a number of rounds")
        self.demand(count is None or count >= 4, "count", count, "at least 4, or left out")
        self.demand(1 <= order <= 6, "order", order, "an order of derivatives from 1 to 6")
        self.demand(0 < growth <= 4, "growth", growth, "in (0, 4], of the spacing from one point to the next")
        self.demand(rows >= 2, "rows", rows, "at least 2, for as many rows to an unknown")
        self.demand(rim >= 0, "rim", rim, "at least 0, in spacings")
        self.demand(sweeps >= 1, "sweeps", sweeps, "at least 1")
        self.rounds, self.count, self.order, self.growth = int(rounds), count, int(order), float(growth)
        self.rows, self.rim, self.sweeps, self.done = float(rows), float(rim), int(sweeps), 0
        self.lattice, self.more = 0, 0                                   # Gaussians that stay, and those that move
        self.spacing, self.low, self.high = torch.zeros(0), torch.zeros(0), torch.zeros(0)
        self.first: dict[str, tuple[Tensor, Tensor | None]] = {}         # rows of the lattice, which stay too

    def check(self, field):
        own = gaussians_of(field)
        if own is None:
            raise ProblemError("refine=metric moves Gaussians, and this field is not made of them, or of several "
                               "fields (model.slabs); take model=gaussian without slabs, or leave refine out")
        if own.periods:
            raise ProblemError("refine=metric has no periodic coordinates yet; take refine=splat, or "
                               "constraints=soft with the periodic data in the loss")
        if self.count is not None and self.count <= own.count:
            raise ProblemError(f"refine.count={self.count} Gaussians are to be there in all, and the lattice has "
                               f"{own.count} of them; give fewer model.centres, or more refine.count")

    def begin(self, scene, field):
        own = _own(field)
        self.spacing = own.log_scales.detach().exp().expand(-1, own.dimension).median(0).values / own.overlap
        self.lattice = own.count
        self.more = (self.count or 4 * own.count) - own.count
        self.low, self.high = own.centres.detach().amin(0), own.centres.detach().amax(0)
        view: Any = scene.view
        for b in self._blocks(scene):
            points = scene.points(b)
            self.first[b.name] = (points.X, points.normals)
            view.point_weights[b.name] = scales_at(view, own, b, points)

    def update(self, scene, field):
        own = _own(field)
        if self.done >= self.rounds:
            return False
        X, volumes, inside = self._samples(scene, own)
        S = contracted(own, X[inside], self.order)
        if self.done:
            S = S * self._unequal(scene, own, X[inside])[:, None, None] ** (self.order * UNEQUAL)
        raw = tabulated(X[inside], S, self.order, NEIGHBOURS)
        measure, kept = self._measure(raw, X, volumes, inside, scene.generator)
        weight = self._beyond(measure(X)) * volumes * kept
        index = torch.multinomial(weight, SAMPLES * self.more, replacement=True, generator=scene.generator)
        centres = spread(_jittered(X[index], measure, scene.generator), measure, self.more, self.sweeps,
                         scene.generator)
        sigma = own.overlap**2 * torch.linalg.inv(measure(centres))
        self._rows(scene, X, volumes, inside, measure)
        self._put(scene, own, centres, sigma)
        self._weigh(scene, own, measure)
        self.done += 1
        return True

    # --- how large --------------------------------------------------------------------------------------

    def _even(self, like: Tensor) -> Tensor:
        """Id/h², the metric of the lattice."""
        return torch.diag(self.spacing.to(like) ** -2)

    def _beyond(self, M: Tensor, normals: Tensor | None = None, face: bool = False) -> Tensor:
        """Gaussians to a volume beyond those of the lattice, or spacings to the area of a boundary, shape (N,)."""
        if face:
            return (across(M, normals) - across(self._even(M).expand_as(M), normals)).clamp(min=0)
        return (torch.linalg.det(M).clamp(min=0).sqrt() - 1 / float(self.spacing.prod())).clamp(min=0)

    def _measure(self, raw: Measure, X: Tensor, volumes: Tensor, inside: Tensor, generator: Generator
                 ) -> tuple[Measure, Tensor]:
        """The metric with as many points beyond the lattice's as are asked for, and where they lie (N,)."""
        M, even, D = raw(X), self._even(X), X.shape[1]
        weights, start = volumes * inside, X[inside]
        share = float((self.more / (weights * torch.linalg.det(M).clamp(min=0).sqrt()).sum()) ** (2 / D))
        pool = torch.randperm(len(X), generator=generator, device=generator.device).to(X.device)
        G, kept = M, inside
        for k in range(PASSES):             # growth and rim add points, in numbers that depend on the spacing
            some = pool if k == PASSES - 1 else pool[:SOME]
            here = share * M + even
            weight = self._beyond(here) * weights
            index = torch.multinomial(weight + 1e-12 * weight.max() + 1e-300, min(SOURCES, len(X)), generator=generator)
            G = graded(X[some], here[some], X[index], here[index], self.growth) + even
            kept = inside[some] | close(X[some], start, lambda _, G=G: G, self.rim)  # type: ignore[misc]
            found = float((self._beyond(G) * volumes[some] * kept).sum()) * len(X) / len(some)
            share *= min(max((self.more / max(found, 1e-9)) ** (2 / D), 0.05), 20.0)
        back = torch.argsort(pool)
        return tabulated(X, G[back], 1, 2), kept[back]

    def _unequal(self, scene: Scene, own: GaussianField, X: Tensor) -> Tensor:
        """E / median E at points inside, shape (N,): E is the mean of w² r² over fresh points of a Gaussian's cell."""
        view: Any = scene.view
        parts = own.parts()
        C, M = parts["centres"], own.overlap**2 * torch.linalg.inv(parts["covariances"])
        total, mass = C.new_zeros(2, len(C))
        for b in self._blocks(scene):
            points = Points(X, view.problem.coordinates) if b.region is view.problem.region else \
                scene.draw(b, PROBES)
            w = nearest_scales(points.X, scene.points(b).X, view.point_weights[b.name])
            size = (w * view.magnitude(b)(points)).square().detach() * float(view.weights[b.name])
            cell = nearest(points.X, C, M)
            total.index_add_(0, cell, torch.where(torch.isfinite(size), size, 0.0))
            mass.index_add_(0, cell, torch.ones_like(size))
        E = (total / mass.clamp(min=1))[nearest(X, C, M)]
        return (E / E.median().clamp(min=1e-300)).clamp(FEW, MANY)

    # --- where ------------------------------------------------------------------------------------------

    def _blocks(self, scene: Scene) -> list[Block]:
        return [b for b in scene.blocks if b.combine in ("each", "difference") and not isinstance(b.region, Points)]

    def _samples(self, scene: Scene, own: GaussianField) -> tuple[Tensor, Tensor, Tensor]:
        """Points of a box round the domain, dense where Gaussians are: X (N, D), the volumes that they stand for (N,)
        and whether they lie inside (N,)."""
        g, D = scene.generator, own.dimension
        make: dict[str, Any] = {"dtype": own.centres.dtype, "device": own.centres.device, "generator": g}
        wide = self.low + (self.high - self.low) * torch.rand(WIDE, D, **make)
        sigma = own.parts()["covariances"]
        L = torch.linalg.cholesky(sigma)
        y = torch.randn(own.count, EACH, D, **make)
        y = y / y.norm(dim=2, keepdim=True) * torch.rand(own.count, EACH, 1, **make) ** (1 / D)
        near = (own.centres.detach()[:, None] + torch.einsum("mij,mkj->mki", L, y)).reshape(-1, D)
        near = near[((near >= self.low) & (near <= self.high)).all(1)]
        X = torch.cat([wide, near])
        ball = torch.pi ** (D / 2) / float(torch.exp(torch.lgamma(torch.tensor(D / 2 + 1))))
        each, inverse = EACH / (ball * torch.linalg.det(L)), torch.linalg.inv(sigma)
        density = []
        for part in X.split(max(2**20 // own.count, 1)):
            near = squares(part, own.centres.detach(), inverse) <= 1
            density.append((near * each).sum(1) + WIDE / float((self.high - self.low).prod()))
        return X, 1 / torch.cat(density), scene.view.problem.region.contains(X)

    def _rows(self, scene: Scene, X: Tensor, volumes: Tensor, inside: Tensor, measure: Measure) -> None:
        """Points of all conditions: those of the lattice, and more of them as dense as the metric says."""
        region = scene.view.problem.region
        for b in self._blocks(scene):
            first, first_normals = self.first[b.name]
            if b.region is region:
                Y, normals = X[inside], None
                density = volumes[inside] * self._beyond(measure(Y))
                n = round(self.rows * float(density.sum()))
            else:
                drawn = scene.draw(b, BOUNDARY)
                Y, normals = drawn.X, drawn.normals
                density = self._beyond(measure(Y), normals, face=True)
                assert not isinstance(b.region, Points)
                n = round(self.rows * float(density.mean()) * float(b.region.measure))
            n = min(n, int((density > 0).sum()))
            index = torch.zeros(0, dtype=torch.long, device=Y.device)
            if n:
                pool = torch.multinomial(density, POOL * n, replacement=True, generator=scene.generator)
                index = pool[chosen(Y[pool], measure, n, 4, scene.generator)]
            normals = None if normals is None or first_normals is None else torch.cat([first_normals, normals[index]])
            scene.place(b, Points(torch.cat([first, Y[index]]).contiguous(), scene.view.problem.coordinates, None,
                                  normals))

    def _put(self, scene: Scene, own: GaussianField, centres: Tensor, sigma: Tensor) -> None:
        """Other Gaussians, with the amplitudes that fit the old field at the rows."""
        X = torch.cat([scene.points(b).X for b in self._blocks(scene)])
        turns: Tensor | None = None
        with torch.no_grad():
            old = own(X)
            if own.rotations is None:
                logs = sigma.diagonal(dim1=1, dim2=2).log() / 2
            else:
                made = of_covariances(centres, sigma, None, overlap=own.overlap)
                logs, turns = made.log_scales.detach(), made.rotations
            if own.log_scales.shape[1] == 1:
                logs = logs.mean(1, keepdim=True)
            stay = slice(self.lattice)
            centres, logs = torch.cat([own.centres[stay], centres]), torch.cat([own.log_scales[stay], logs])
            turns = None if turns is None or own.rotations is None else torch.cat([own.rotations[stay], turns])
            own.put(centres, logs, own.amplitudes.new_zeros(own.outputs, len(centres)), turns)
            G = own.features_at(X)
            size = G.norm(dim=0).clamp(min=1e-300)
            ridge = RIDGE * torch.eye(len(centres), dtype=G.dtype, device=G.device)
            a = torch.linalg.lstsq(torch.cat([G / size, ridge]),
                                   torch.cat([old, old.new_zeros(len(centres), own.outputs)]), driver="gels").solution
            own.amplitudes.copy_((a / size[:, None]).T)

    def _weigh(self, scene: Scene, own: GaussianField, measure: Measure) -> None:
        view: Any = scene.view
        for b in self._blocks(scene):
            points = scene.points(b)
            M = measure(points.X)
            thin = torch.linalg.eigvalsh(M)[:, -1].sqrt()
            assert not isinstance(b.region, Points)
            inside = b.region is scene.view.problem.region
            density = len(self.first[b.name][0]) / float(b.region.measure) + \
                self.rows * self._beyond(M, points.normals, face=not inside)
            w = thin / density.sqrt() if inside else (thin / density).sqrt()
            view.point_weights[b.name] = scales_at(view, own, b, points) * w

    def extras(self, field):
        return {"gaussians": float(_own(field).count), "rounds": float(self.done)}

    def state_dict(self):
        return {"done": self.done, "spacing": self.spacing, "lattice": self.lattice, "more": self.more,
                "low": self.low, "high": self.high, "first": self.first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done, self.lattice, self.more = int(state["done"]), int(state["lattice"]), int(state["more"])
        self.spacing, self.low, self.high, self.first = (state[k] for k in ("spacing", "low", "high", "first"))


def _jittered(X: Tensor, measure: Measure, generator: Generator) -> Tensor:
    """Points moved by up to half a spacing."""
    L = torch.linalg.cholesky(torch.linalg.inv(measure(X)))
    z = torch.rand(X.shape, dtype=X.dtype, device=X.device, generator=generator) - 0.5
    return X + (L @ z[:, :, None])[:, :, 0]


def _own(field: Any) -> GaussianField:
    found = gaussians_of(field)
    assert found is not None                             # `check` comes first
    return found
