"""Steady flow through a channel with a random lower wall, by finite elements on a grid that follows the wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from ..elements.flow import Flow, navier_stokes
from ..errors import ProblemError
from ..mesh.complex import Cells, Complex
from ..mesh.kinds import KINDS
from .solver import BatchSolver, Fields, spacing

NARROWEST = 0.05          # of the gap between the walls


@dataclass(frozen=True)
class Channel(BatchSolver):
    """Steady Navier–Stokes flow of flux 1 between a lower wall y = b(x) and a flat upper one, y = 1.

        (u·∇)u − ν Δu + ∇p = 0,   div u = 0;   u = 0 on both walls,   ν ∂_x u − p n = 0 at the outlet,
        u = (6 η (1 − η)/(1 − b), 0),  η = (y − b)/(1 − b),  at the inlet;   x = r,   y = b(r) + s (1 − b(r))

    The axes, by any names, are r along the channel and s from 0 (the lower wall) to 1; both have odd numbers of nodes,
    which are the nodes of biquadratic velocities on cells of 2 × 2 intervals that bend with the wall, with
    bilinear pressures (Taylor–Hood). The input is b on the axis r. The Reynolds number by flux is 1/ν.

    Outputs by name, shape (B, n, m): velocities and pressure, "x", "y" and "weight" (nodal quadrature weights).

    Args:
        wall: Name of b < 0.95.
        velocity: Names of the components of u.
        pressure: Name of p.
        nu: ν > 0.
        refine: Solves on a mesh with so many times the cells each way and takes its nodes; the wall between the nodes
            is a cubic spline.
        tolerance: Of Newton's method, see `navier_stokes`.

    Raises:
        ProblemError: Arguments out of range.

    Note:
        A wall instead of an obstacle keeps one smooth chart for all members, so that models on grids need no mask.
        Behind steep walls the flow separates; `accuracy` says what a grid resolves of it.
    """

    wall: str = "b"
    velocity: tuple[str, str] = ("u", "v")
    pressure: str = "p"
    nu: float = 0.02
    refine: int = 1
    tolerance: float = 1e-10
    periodic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.nu > 0 and self.refine >= 1 and 0 < self.tolerance < 1):
            raise ProblemError(f"Channel needs nu > 0, refine ≥ 1 and a tolerance in (0, 1), not {self.nu!r}, "
                               f"{self.refine!r}, {self.tolerance!r}")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.wall,)

    @property
    def gives(self) -> tuple[str, ...]:
        return (*self.velocity, self.pressure)

    def finer(self) -> Channel:
        return self

    def solve(self, inputs: Fields, axes: Fields, times: Tensor | None = None) -> dict[str, Tensor]:
        if times is not None:
            raise ProblemError("the flow through Channel is steady and has no times; leave them out")
        r, s = self._grid(axes)
        wall = self._input(inputs, self.wall, (len(r),))
        if not bool((wall < 1 - NARROWEST).all()):
            raise ProblemError(f"the wall {self.wall!r} of Channel reaches {float(wall.max()):.3g} and the upper one "
                               f"is at 1; keep it below {1 - NARROWEST:g}, e.g. by a smaller sigma of its law")
        k = self.refine
        fine_r, fine_s = (_finer(x, k) for x in (r, s))
        found: dict[str, list[Tensor]] = {name: [] for name in self.gives}
        for b in wall.cpu():
            fine = b if k == 1 else torch.from_numpy(CubicSpline(r.numpy(), b.numpy())(fine_r.numpy()))
            for name, values in zip(self.gives, self._flow(fine, fine_r, fine_s), strict=True):
                found[name].append(values[::k, ::k])
        fields = {name: torch.stack(parts).to(wall) for name, parts in found.items()}
        gap = (1 - wall)[..., None]
        x, y = r.to(wall)[:, None].expand_as(fields[self.pressure]), wall[..., None] + s.to(wall) * gap
        return {**fields, "x": x.clone(), "y": y, "weight": gap * (trapezoid(r)[:, None] * trapezoid(s)).to(wall)}

    def _grid(self, axes: Fields) -> tuple[Tensor, Tensor]:
        spacing(axes, (2,), "Channel")
        r, s = (x.detach().to("cpu", torch.float64) for x in axes.values())
        if abs(float(s[0])) > 1e-12 or abs(float(s[-1]) - 1) > 1e-12:
            raise ProblemError(f"the second axis of Channel must go from 0 (the wall) to 1, not from {float(s[0]):g} "
                               f"to {float(s[-1]):g}")
        if len(r) % 2 == 0 or len(s) % 2 == 0:
            raise ProblemError(f"Channel has cells of 2 × 2 intervals and needs odd numbers of nodes, not {len(r)} × "
                               f"{len(s)}; take {len(r) | 1} × {len(s) | 1}")
        return r, s

    def _flow(self, b: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u, v and p at the nodes, (n, m) each."""
        n, m = len(r), len(s)
        complex_ = channel(b, r, s)
        low, gap = float(b[0]), 1 - float(b[0])

        def inflow(x: Tensor, y: Tensor) -> Tensor:
            eta = (y - low) / gap
            return 6 * eta * (1 - eta) / gap

        flow = Flow(complex_, self.nu, {"walls": (0.0, 0.0), "inlet": (inflow, 0.0)})
        solved = navier_stokes(flow, self.tolerance)
        (block,), (cells,) = complex_.blocks, flow.spaces[0].dofs
        found = []
        for name in "uv":
            values = torch.empty(n * m, dtype=torch.float64)
            values[block.nodes] = solved[name][cells]
            found.append(values.view(n, m))
        p = torch.empty(n * m, dtype=torch.float64)
        (corners,) = flow.spaces[1].dofs
        linear = KINDS["quad"].values(block.kind.nodes)                  # the other nodes lie between corners
        p[block.nodes] = solved["p"][corners] @ linear.T
        return found[0], found[1], p.view(n, m)


def channel(b: Tensor, r: Tensor, s: Tensor) -> Complex:
    """Cells of nine nodes between the walls, with the surfaces "walls", "inlet" and "outlet".

    Args:
        b: Lower wall, (n,).
        r: Nodes along the channel, (n,), n odd.
        s: Nodes across it, (m,), m odd; node (i, j) has number i·m + j.
    """
    n, m = len(r), len(s)
    X = torch.stack([r[:, None].expand(n, m), b[:, None] + s * (1 - b)[:, None]], -1).reshape(-1, 2)
    i, j = torch.meshgrid(torch.arange(0, n - 1, 2), torch.arange(0, m - 1, 2), indexing="ij")
    places = [(0, 0), (2, 0), (2, 2), (0, 2), (1, 0), (2, 1), (1, 2), (0, 1), (1, 1)]        # as VTK numbers them
    cells = torch.stack([((i + di) * m + j + dj).reshape(-1) for di, dj in places], 1)
    made = Complex(X, (Cells(KINDS["quad9"], cells),))
    (facets,) = made.facets
    edge = facets.cells[:, 1] < 0
    at, across = facets.nodes // m, facets.nodes % m
    along = lambda where, value: edge & (where == value).all(1)
    surfaces = {"walls": along(across, 0) | along(across, m - 1), "inlet": along(at, 0), "outlet": along(at, n - 1)}
    return Complex(X, made.blocks, surfaces={name: which.nonzero()[:, 0] for name, which in surfaces.items()})


def trapezoid(x: Tensor) -> Tensor:
    """Weights of the trapezoidal rule on increasing points, (n,)."""
    h = x.diff()
    return (torch.cat([h, h.new_zeros(1)]) + torch.cat([h.new_zeros(1), h])) / 2


def _finer(x: Tensor, k: int) -> Tensor:
    """k − 1 points more in every interval."""
    if k == 1:
        return x
    return torch.from_numpy(np.interp(np.arange((len(x) - 1) * k + 1) / k, np.arange(len(x)), x.numpy()))
