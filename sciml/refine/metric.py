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
from .cloud import across, close, contracted, scaled, spread, tabulated
from .estimate import scales_at
from .refiner import Refiner

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

    def __init__(self, rounds: int = 6, count: int | None = None, order: int = 4, widest: float = 3.0,
                 rows: float = 4.0, rim: float = 2.5, sweeps: int = 15):
        self.demand(rounds >= 0, "rounds", rounds, "0 or a number of rounds")
        self.demand(count is None or count >= 4, "count", count, "at least 4, or left out")
        self.demand(1 <= order <= 6, "order", order, "an order of derivatives from 1 to 6")
        self.demand(widest >= 1, "widest", widest, "at least 1, in spacings of the start")
        self.demand(rows >= 2, "rows", rows, "at least 2, for as many rows to an unknown")
        self.demand(rim >= 0, "rim", rim, "at least 0, in spacings")
        self.demand(sweeps >= 1, "sweeps", sweeps, "at least 1")
        self.rounds, self.count, self.order, self.widest = int(rounds), count, int(order), float(widest)
        self.rows, self.rim, self.sweeps, self.done = float(rows), float(rim), int(sweeps), 0
        self.spacing, self.low, self.high = 1.0, torch.zeros(0), torch.zeros(0)

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
        self.spacing = float(own.log_scales.detach().exp().median()) / own.overlap
        self.low, self.high = own.centres.detach().amin(0), own.centres.detach().amax(0)
        view: Any = scene.view
        for b in self._blocks(scene):
            view.point_weights[b.name] = scales_at(view, own, b, scene.points(b))

    def update(self, scene, field):
        own = _own(field)
        if self.done >= self.rounds:
            return False
        X, volumes, inside = self._samples(scene, own)
        S = contracted(own, X[inside], self.order)
        raw = tabulated(X[inside], S, self.order, 12)
        M, count = raw(X), self.count or own.count
        kept, share, widest = inside, 0.0, self.widest * self.spacing
        for _ in range(3):                                  # the rim is as wide as the spacing, which depends on it
            share = scaled(M[kept], volumes[kept], count, widest)
            measure = _floored(raw, share, widest)
            kept = inside | close(X, X[inside], measure, self.rim)
        weight = volumes * torch.linalg.det(measure(X)).sqrt() * kept
        index = torch.multinomial(weight, SAMPLES * count, replacement=True, generator=scene.generator)
        centres = spread(X[index], measure, count, self.sweeps, scene.generator)
        sigma = own.overlap**2 * torch.linalg.inv(measure(centres))
        self._rows(scene, X, volumes, inside, measure)
        self._put(scene, own, centres, sigma)
        self._weigh(scene, own, measure)
        self.done += 1
        return True

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
        each, inverse = EACH / (ball * torch.linalg.det(L)), torch.linalg.inv(L)
        density = []
        for part in X.split(max(2**20 // own.count, 1)):
            z = torch.einsum("mij,nmj->nmi", inverse, part[:, None] - own.centres.detach())
            density.append(((z.square().sum(2) <= 1) * each).sum(1) + WIDE / float((self.high - self.low).prod()))
        return X, 1 / torch.cat(density), scene.view.problem.region.contains(X)

    def _rows(self, scene: Scene, X: Tensor, volumes: Tensor, inside: Tensor, measure: Measure) -> None:
        """Points of all conditions, as dense as the metric says."""
        region = scene.view.problem.region
        for b in self._blocks(scene):
            if b.region is region:
                Y, normals = X[inside], None
                density = volumes[inside] * torch.linalg.det(measure(Y)).sqrt()
                n = round(self.rows * float(density.sum()))
            else:
                drawn = scene.draw(b, BOUNDARY)
                Y, normals = drawn.X, drawn.normals
                density = across(measure(Y), normals)
                assert not isinstance(b.region, Points)
                n = round(self.rows * float(density.mean()) * float(b.region.measure))
            n = max(n, 8)
            index = torch.multinomial(density, min(n, len(Y)), replacement=False, generator=scene.generator)
            scene.place(b, Points(Y[index].contiguous(), scene.view.problem.coordinates, None,
                                  None if normals is None else normals[index]))

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
            own.put(centres, logs, own.amplitudes.new_zeros(own.outputs, len(centres)), turns)
            G = own.features_at(X)
            size = G.norm(dim=0).clamp(min=1e-300)
            ridge = RIDGE * torch.eye(len(centres), dtype=G.dtype, device=G.device)
            a = torch.linalg.lstsq(torch.cat([G / size, ridge]),
                                   torch.cat([old, old.new_zeros(len(centres), own.outputs)])).solution
            own.amplitudes.copy_((a / size[:, None]).T)

    def _weigh(self, scene: Scene, own: GaussianField, measure: Measure) -> None:
        view: Any = scene.view
        for b in self._blocks(scene):
            points = scene.points(b)
            volume = torch.linalg.det(measure(points.X)) ** -0.5
            volume = (volume / volume.max()) ** (0.5 - 1 / own.dimension)
            view.point_weights[b.name] = scales_at(view, own, b, points) * volume

    def extras(self, field):
        return {"gaussians": float(_own(field).count), "rounds": float(self.done)}

    def state_dict(self):
        return {"done": self.done, "spacing": self.spacing, "low": self.low, "high": self.high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done, self.spacing = int(state["done"]), float(state["spacing"])
        self.low, self.high = state["low"], state["high"]


def _floored(raw: Measure, share: float, widest: float) -> Measure:
    """λM + Id/w²."""
    def metric(X: Tensor) -> Tensor:
        return share * raw(X) + torch.eye(X.shape[1], dtype=X.dtype, device=X.device) / widest**2

    return metric


def _own(field: Any) -> GaussianField:
    found = gaussians_of(field)
    assert found is not None                             # `check` comes first
    return found
