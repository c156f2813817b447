"""A plate with a random void under tension, by finite elements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from ..elements.discrete import Discrete
from ..elements.elasticity import Material, elasticity
from ..elements.space import Space
from ..errors import ProblemError
from ..inputs.waves import trigonometric
from ..mesh.complex import Complex
from ..mesh.geometry import inverse, mapped
from .plate import areas, o_grid, scattered
from .solver import Accuracy, BatchSolver, Fields, spacing


@dataclass(frozen=True)
class Elasticity(BatchSolver):
    """Plane stress in the unit square with a star-shaped void, clamped below and pulled above: von Mises stress.

        −∇·σ = 0,   u = 0 on y = 0,   σ n = (0, 1) on y = 1,   σ n = 0 elsewhere;   r(θ) = 0.2 + 0.2/(1 + e^{ξ(θ)})

    Inputs are ξ on the axis "theta" (n equispaced angles from 0, a multiple of 8); the axes are "theta" and "layer"
    (m points from 0 at the void to 1 at the sides). ``GaussianRandomField("periodic", sigma=5.013, tau=3, alpha=1,
    modes=8, over="theta")`` with theta in (0, 2π) is a law of voids that vary much.

    Outputs by name, shape (B, n, m), or (B, n·m) scattered: the unknown, "x", "y", "weight" (nodal quadrature weights,
    a third of the area of the triangles around), and "radius" (B, n).

    Args:
        shape: Name of ξ.
        unknown: Name of the von Mises stress √(σ_x² − σ_x σ_y + σ_y² + 3τ²), of area-weighted means of σ at nodes.
        young, poisson: Of the material.
        order: Of the elements, 1 or 2.
        refine: Solves on an O-grid with so many times the rays and layers and takes its nodes, or, scattered, cubic
            splines in angle and layer between its nodes.
        scatter: Name of an input number in (0, 1), shape (B,), that seeds a scattered mesh of n·m nodes in random order
            for each instance, on whose own triangles the solution is with refine=1; None: the O-grid.

    Raises:
        ProblemError: Arguments out of range.

    Note:
        Against order 2 on four times the nodes, 64×16 nodes had errors of 15 % (order 1), 7 % (order 1, refine 2), 4 %
        (order 2) and 1.4 % (order 2, refine 2) on three draws; clamped corners are singular. `accuracy` tells.
    """

    shape: str = "xi"
    unknown: str = "mises"
    young: float = 1.0
    poisson: float = 0.3
    order: int = 2
    refine: int = 1
    scatter: str | None = None
    periodic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.order not in (1, 2) or self.refine < 1:
            raise ProblemError(f"Elasticity needs order 1 or 2 and refine ≥ 1, not {self.order!r} and {self.refine!r}")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.shape,) if self.scatter is None else (self.shape, self.scatter)

    def finer(self) -> Elasticity:
        return replace(self, refine=2 * self.refine)

    def solve(self, inputs: Fields, axes: Fields, times: Tensor | None = None) -> dict[str, Tensor]:
        n, m = self._sizes(axes, times)
        xi = self._input(inputs, self.shape, (n,))
        radius = 0.2 + 0.2 / (1 + xi.exp())
        seeds = None if self.scatter is None else self._input(inputs, self.scatter).reshape(len(xi), -1)[:, 0].tolist()
        found: dict[str, list[Tensor]] = {self.unknown: [], "x": [], "y": [], "weight": []}
        for i, function in enumerate(xi.cpu()):
            complex_ = self._mesh(function, m, None if seeds is None else seeds[i])
            values = {"x": complex_.X[:, 0], "y": complex_.X[:, 1], "weight": weights(complex_)}
            material, k = Material.of(self.young, self.poisson, "stress"), self.refine
            if k == 1:
                values[self.unknown] = von_mises(complex_, material, self.order)
            else:
                fine = von_mises(self._o_grid(function, m, k), material, self.order).view(n * k, -1)
                values[self.unknown] = fine[::k, ::k] if seeds is None else \
                    between_rays(fine, function, complex_.X).clamp(min=0)
            for name, v in values.items():
                found[name].append(v.reshape((n, m) if self.scatter is None else (n * m,)))
        return {name: torch.stack(parts).to(xi) for name, parts in found.items()} | {"radius": radius}

    def accuracy(self, inputs_on, axes: Fields, times: Tensor | None = None) -> Accuracy:
        """As for grids, but from a mesh of half the spacing of the solver's, of O-grid kind, at the nodes."""
        inputs = inputs_on(axes)
        own = self.solve(inputs, axes, times)
        n, m = self._sizes(axes, times)
        errors, k = [], 2 * self.refine
        for i, xi in enumerate(inputs[self.shape].to("cpu", torch.float64)):
            fine = self._o_grid(xi, m, k)
            space = Space(fine, 1)
            stress = von_mises(fine, Material.of(self.young, self.poisson, "stress"), self.order)
            X = torch.stack([own["x"][i], own["y"][i]], -1).reshape(-1, 2).cpu()
            expected = Discrete({"m": space}, {"m": stress}).at(X)["m"]
            here = torch.isfinite(expected)                           # chords of the void cut off some nodes
            difference = (own[self.unknown][i].cpu().reshape(-1) - expected)[here]
            errors.append(float(difference.norm() / expected[here].norm()))
        how = (f"relative L2 difference of {len(errors)} samples at {n}×{m} nodes from an O-grid of "
               f"{n * k}×{(m - 1) * k + 1} nodes, elements of order {self.order}")
        return Accuracy(sum(errors) / len(errors), max(errors), how)

    def _sizes(self, axes: Fields, times: Tensor | None) -> tuple[int, int]:
        if times is not None:
            raise ProblemError("elasticity is steady and has no times; leave them out")
        if set(axes) != {"theta", "layer"} or next(iter(axes)) != "theta":
            raise ProblemError(f"Elasticity has the axes theta and layer, not {', '.join(axes)}")
        spacing(axes, (2,), "Elasticity")
        if float(axes["layer"][0]) != 0 or float(axes["layer"][-1]) != 1 or float(axes["theta"][0]) != 0:
            raise ProblemError("the axis layer of Elasticity must go from 0 (void) to 1 (sides), theta start at 0")
        return len(axes["theta"]), len(axes["layer"])

    def _mesh(self, xi: Tensor, m: int, seed: float | None) -> Complex:
        if seed is None:
            return self._o_grid(xi, m, 1)
        generator = torch.Generator().manual_seed(int(seed * 2**52))
        return scattered(0.2 + 0.2 / (1 + xi.exp()), m, generator)

    def _o_grid(self, xi: Tensor, m: int, k: int) -> Complex:
        n = len(xi)
        theta = torch.arange(n * k, dtype=torch.float64) * (2 * torch.pi / (n * k))
        fine = trigonometric(n, 2 * torch.pi, theta) @ xi
        return o_grid(0.2 + 0.2 / (1 + fine.exp()), (m - 1) * k + 1)


def between_rays(values: Tensor, xi: Tensor, X: Tensor) -> Tensor:
    """A function known at the nodes of an O-grid, at other points of the plate, shape (V,).

    Args:
        values: (rays, layers), both equispaced.
        xi: ξ on rays of its own, (n,).
        X: Points (V, 2).
    """
    n, m = values.shape
    d = X - 0.5
    theta = torch.atan2(d[:, 1], d[:, 0]) % (2 * torch.pi)
    r = 0.2 + 0.2 / (1 + (trigonometric(len(xi), 2 * torch.pi, theta) @ xi).exp())
    length = d.norm(dim=1)
    s = (length - r) / (0.5 * length / d.abs().amax(1) - r)
    around = torch.cat([values[-4:], values, values[:5]])                       # splines that go once around
    spline = RectBivariateSpline((torch.arange(n + 9, dtype=torch.float64) - 4) * (2 * torch.pi / n),
                                 torch.linspace(0, 1, m, dtype=torch.float64), around)
    return torch.from_numpy(spline.ev(theta.numpy(), s.clamp(0, 1).numpy()))


def von_mises(complex_: Complex, material: Material, order: int) -> Tensor:
    """von Mises stress at the nodes of a plate that is clamped below and pulled above by 1, shape (V,).

    Args:
        complex_: From `plate`.
        material: Under plane stress.
        order: Of the elements.
    """
    space = Space(complex_, order)
    found = elasticity(space, material, dirichlet={"bottom": (0.0, 0.0)}, traction={"top": (0.0, 1.0)})
    (block,), (kind,), (dofs,) = complex_.blocks, space.kinds, space.dofs
    corners = block.kind.nodes[:3]
    at = mapped(complex_.X, block, corners)
    gradients = torch.einsum("qai,eqij->eqaj", kind.gradients(corners), inverse(at.J, at.measure))
    u = torch.stack([found["u"], found["v"]], -1)[dofs]
    H = torch.einsum("eqaj,eac->eqcj", gradients, u)
    strain = (H + H.transpose(-1, -2)) / 2
    lam, mu = (float(torch.as_tensor(c)) for c in (material.lam, material.mu))
    trace = strain.diagonal(dim1=-1, dim2=-2).sum(-1)
    sx, sy = (lam * trace + 2 * mu * strain[..., d, d] for d in (0, 1))
    sigma = torch.stack([sx, sy, 2 * mu * strain[..., 0, 1]], -1)
    area = areas(complex_.X, block.corners)[:, None, None]
    total = sigma.new_zeros(len(complex_.X), 4)
    parts = torch.cat([sigma * area, area.expand(-1, 3, 1)], -1)
    total.index_add_(0, block.corners.reshape(-1), parts.reshape(-1, 4))
    sx, sy, tau = (total[:, :3] / total[:, 3:]).unbind(1)
    return (sx**2 - sx * sy + sy**2 + 3 * tau**2).sqrt()


def weights(complex_: Complex) -> Tensor:
    """Nodal quadrature weights, a third of the area of the triangles around each node, shape (V,)."""
    (block,) = complex_.blocks
    third = areas(complex_.X, block.corners) / 3
    return third.new_zeros(len(complex_.X)).index_add_(0, block.corners.reshape(-1), third.repeat_interleave(3))
