"""Gaussians laid out anew after each solve, as close and as thin as the solution's own derivatives ask for.

    M(x) from the k-th derivatives (`cloud.py`),   λM + Id/w²: N points in the domain and a rim around it
    μ: centres of their Voronoi cells,   Σ_i = c² M(μ_i)⁻¹

The number of Gaussians stays what it was: they move to where the solution has features, stretch along fronts, and
gather at corners. Nothing of a round before is kept but the function itself, from which the new amplitudes start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import ProblemError
from ..fields import GaussianField, gaussians_of
from ..fields.gaussian import of_covariances
from ..points import Points
from ..problem import Block
from ..sampling import Scene
from .cloud import Metric as Measure
from .cloud import across, chosen, close, contracted, graded, nearest, spread, squares, tabulated
DEBUG=False
from .estimate import nearest_scales, scales_at
from .refiner import Refiner

SOURCES, SOME = 500, 6000
WIDE, EACH = 10000, 25               # samples everywhere, and about every Gaussian
SAMPLES = 25                         # of a Voronoi cell
BOUNDARY = 200_000                   # candidates on a boundary
RIDGE = 1e-7                         # of the fit that carries the old field over


class Metric(Refiner):
    """Moves and stretches Gaussians by a metric of the solution's derivatives, as many as there are or more.

        w_n = v_n^{1/2 − 1/D} / max_j |∂r_n/∂a_j|      rows in units of the solution, v the volume of a cell

    Args:
        rounds: Of laying out, each followed by a solve.
        count: Gaussians; None: as many as there are.
        order: k of the derivatives.
        widest: Largest spacing, as a multiple of that at the start.
        rows: Points of the equation for each Gaussian inside, and on boundaries to a spacing, at least 2.
        rim: How far beyond the domain Gaussians lie, in spacings.
        sweeps: Of Lloyd's algorithm.

    Raises:
        ProblemError: An option makes no sense, or the field is not made of Gaussians, or has periodic coordinates.

    Source: `cloud.py` for metric and cells. The weight is that of residuals in the energy norm, η = h |r|_{L2(cell)}
        (Verfürth 2013, doi:10.1093/acprof:oso/9780199679423.001.0001): the L2 norm's, by h more, holds on convex
        domains only, and at a re-entrant corner lets a solution of infinite energy pass.

    Note:
        Fronts want model.covariance=full. The first solve may be a poor one, as long as it has the features.
    """

    name = "metric"
    weighs = True
    solving: Mapping[str, Mapping[str, object]] = {"least-squares": {"ridge": 1e-14}}

    def __init__(self, rounds: int = 6, count: int | None = None, order: int = 2, growth: float = 0.4, passes: int = 5, alpha: float = 0.0, 
                 rows: float = 4.0, rim: float = 2.5, sweeps: int = 15):
        self.demand(rounds >= 0, "rounds", rounds, "0 or a number of rounds")
        self.demand(count is None or count >= 4, "count", count, "at least 4, or left out")
        self.demand(1 <= order <= 6, "order", order, "an order of derivatives from 1 to 6")
        self.demand(rows >= 2, "rows", rows, "at least 2, for as many rows to an unknown")
        self.demand(rim >= 0, "rim", rim, "at least 0, in spacings")
        self.demand(sweeps >= 1, "sweeps", sweeps, "at least 1")
        self.rounds, self.count, self.order, self.growth = int(rounds), count, int(order), float(growth)
        self.rows, self.rim, self.sweeps, self.done = float(rows), float(rim), int(sweeps), 0
        self.spacing, self.low, self.high = torch.zeros(0), torch.zeros(0), torch.zeros(0)
        self.passes, self.alpha = passes, alpha
        self.first: dict[str, tuple[Tensor, Tensor | None]] = {}

    def check(self, field):
        own = gaussians_of(field)
        if own is None:
            raise ProblemError("refine=metric moves Gaussians, and this field is not made of them; take "
                               "model=gaussian, or leave refine out")
        if own.periods:
            raise ProblemError("refine=metric has no periodic coordinates yet; take refine=splat, or "
                               "constraints=soft with the periodic data in the loss")

    def begin(self, scene, field):
        own = _own(field)
        scales = own.log_scales.detach().exp().expand(-1, own.dimension)
        self.spacing = scales.median(0).values / own.overlap
        self.lattice = own.count
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
        if self.alpha and self.done: S = S * self._unequal(scene, own, X[inside])[:, None, None] ** (self.order * self.alpha)
        measure, kept = self._measure(tabulated(X[inside], S, self.order, 12), X, volumes, inside, scene.generator)
        weight = self._more(measure(X)) * volumes * kept
        count = self.count - self.lattice
        index = torch.multinomial(weight, SAMPLES * count, replacement=True, generator=scene.generator)
        Y = _jittered(X[index], measure, scene.generator)
        centres = spread(Y, measure, count, self.sweeps, scene.generator)
        sigma = own.overlap**2 * torch.linalg.inv(measure(centres))
        self._rows(scene, X, volumes, inside, measure)
        self._put(scene, own, centres, sigma)
        self._weigh(scene, own, measure)
        self.done += 1
        return True

    def _unequal(self, scene: Scene, own: GaussianField, X: Tensor) -> Tensor:
        parts = own.parts()
        C, M = parts["centres"], torch.linalg.inv(parts["covariances"])
        M = M * own.overlap**2
        total, mass = C.new_zeros(len(C)), C.new_zeros(len(C))
        view: Any = scene.view
        region = scene.view.problem.region
        for b in self._blocks(scene):
            points = Points(X, scene.view.problem.coordinates) if b.region is region else scene.draw(b, 4000)
            w = nearest_scales(points.X, scene.points(b).X, view.point_weights[b.name])
            e = (w * view.magnitude(b)(points)).square().detach() * float(view.weights[b.name])
            label = nearest(points.X, C, M)
            total.index_add_(0, label, e)
            mass.index_add_(0, label, torch.ones_like(e))
        E = total / mass.clamp(min=1)
        label = nearest(X, C, M)
        E = E / E[label].median().clamp(min=1e-300)
        if DEBUG: print("unequal", E[mass > 0].quantile(torch.tensor([0.05, .5, .95, 1.0], dtype=E.dtype)))
        return E[label].clamp(1e-2, 1e4)

    def _even(self, like: Tensor) -> Tensor:
        """Id/h² of the lattice."""
        return torch.diag(self.spacing.to(like) ** -2)

    def _more(self, M: Tensor) -> Tensor:
        """Gaussians to a volume beyond those of the lattice."""
        return torch.linalg.det(M).clamp(min=0).sqrt() - 1 / float(self.spacing.prod())

    def _measure(self, raw: Measure, X: Tensor, volumes: Tensor, inside: Tensor, generator: torch.Generator
                 ) -> tuple[Measure, Tensor]:
        """λM + Id/h², graded, with as many points beyond the lattice's as are asked for, and where they lie."""
        M, even, count, D = raw(X), self._even(X), self.count - self.lattice, X.shape[1]
        start, weights = X[inside], volumes * inside
        share = float((count / (weights * torch.linalg.det(M).clamp(min=0).sqrt()).sum()) ** (2 / D))
        pool = torch.randperm(len(X), generator=generator)
        for k in range(self.passes):
            some = pool if k == self.passes - 1 else pool[:SOME]
            here = share * M + even
            weight = (self._more(here) * weights).clamp(min=0)
            index = torch.multinomial(weight + 1e-12 * weight.max(), SOURCES, replacement=False, generator=generator)
            G = graded(X[some], here[some], X[index], here[index], self.growth) + even
            kept = inside[some] | close(X[some], start, lambda _, G=G: G, self.rim)
            found = float((self._more(G) * volumes[some] * kept).sum()) * len(X) / len(some)
            if k < self.passes - 1:
                share *= min(max((count / max(found, 1e-9)) ** (2 / D), 0.05), 20.0)
        if DEBUG: print("share", share, "count", count, "found", found, "sources", len(index))
        back = torch.argsort(pool)
        return tabulated(X, G[back], 1, 2), kept[back]

    def _blocks(self, scene: Scene) -> list[Block]:
        return [b for b in scene.blocks if b.combine in ("each", "difference")]

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
        """Points of all conditions, as dense as the metric says."""
        region = scene.view.problem.region
        for b in self._blocks(scene):
            first, first_normals = self.first[b.name]
            if b.region is region:
                Y, normals = X[inside], None
                density = volumes[inside] * self._more(measure(Y)).clamp(min=0)
                n = round(self.rows * float(density.sum()))
            else:
                drawn = scene.draw(b, BOUNDARY)
                Y, normals = drawn.X, drawn.normals
                density = self._beyond(measure(Y), normals)
                assert not isinstance(b.region, Points)
                n = round(self.rows * float(density.mean()) * float(b.region.measure))
            n = min(n, int((density > 0).sum()))
            pool = torch.multinomial(density, 8 * n, replacement=True, generator=scene.generator) \
                if n else torch.zeros(0, dtype=torch.long)
            index = pool[chosen(Y[pool], measure, n, 4, scene.generator)]
            normals = None if normals is None or first_normals is None else torch.cat([first_normals, normals[index]])
            scene.place(b, Points(torch.cat([first, Y[index]]).contiguous(), scene.view.problem.coordinates, None,
                                  normals))

    def _beyond(self, M: Tensor, normals: Tensor | None) -> Tensor:
        even = self._even(M).expand_as(M)
        return (across(M, normals) - across(even, normals)).clamp(min=0)

    def _put(self, scene: Scene, own: GaussianField, centres: Tensor, sigma: Tensor) -> None:
        """Other Gaussians, with the amplitudes that fit the old field at the rows."""
        X = torch.cat([scene.points(b).X for b in self._blocks(scene)])
        with torch.no_grad():
            old = own(X)
            if own.rotations is None:
                logs, turns = sigma.diagonal(dim1=1, dim2=2).log() / 2, None
            else:
                made = of_covariances(centres, sigma, None, overlap=own.overlap)
                logs, turns = made.log_scales.detach(), made.rotations
            n = self.lattice
            centres, logs = torch.cat([own.centres[:n], centres]), torch.cat([own.log_scales[:n], logs])
            turns = None if turns is None else torch.cat([own.rotations[:n], turns])
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
            density = len(self.first[b.name][0]) / float(b.region.measure)
            if b.region is scene.view.problem.region:
                w = (density + self.rows * self._more(M).clamp(min=0)) ** -0.5 * thin
            else:
                w = (density + self.rows * self._beyond(M, points.normals)) ** -0.5 * thin ** 0.5
            view.point_weights[b.name] = scales_at(view, own, b, points) * w

    def extras(self, field):
        return {"gaussians": float(_own(field).count), "rounds": float(self.done)}

    def state_dict(self):
        return {"done": self.done, "spacing": self.spacing, "low": self.low, "high": self.high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done, self.spacing = int(state["done"]), float(state["spacing"])
        self.low, self.high = state["low"], state["high"]


def _jittered(X: Tensor, measure: Measure, generator: torch.Generator) -> Tensor:
    """Points moved by up to half a spacing."""
    L = torch.linalg.cholesky(torch.linalg.inv(measure(X)))
    z = torch.rand(X.shape, dtype=X.dtype, device=X.device, generator=generator) - 0.5
    return X + (L @ z[:, :, None])[:, :, 0]


def _own(field: Any) -> GaussianField:
    found = gaussians_of(field)
    assert found is not None                             # `check` comes first
    return found
