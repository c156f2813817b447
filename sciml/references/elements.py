"""References by finite elements on meshes of blocks, each solved on two nested meshes.

The file holds the solution of the finer mesh at the nodes of the coarser one; the stated accuracy is the difference of
the two there, which is the error of the coarser: the file is better by the order of the elements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree
from torch import Tensor

from ..elements.diffusion import diffusion
from ..elements.discrete import Discrete, vertices
from ..elements.eigen import modes
from ..elements.elasticity import Material, elasticity, stresses
from ..elements.flow import Flow, force_on, navier_stokes
from ..elements.functionals import lumped
from ..elements.space import Space
from ..geometry import Mesh
from ..mesh.blocks import around, glued
from ..mesh.complex import Complex
from ..mesh.geometry import node_shares
from ..mesh.structured import box, quadratic, refined
from .reference import Grid, difference, relative_l2

Circle = tuple[float, float, float]


def nested(solve: Callable[[int], Discrete], n: int, how: str) -> Grid:
    """Reference from solutions on two meshes.

    Args:
        solve: The solution with n cells, on meshes such that the nodes of elements of order 2 with n cells are
            corners of the cells with 2 n.
        n: Cells of the coarser mesh, in its own measure.
        how: Sentence on method and resolution, for the file.

    Returns:
        Layout "scattered": values of the finer at the nodes of the coarser, with its cells and shares of the volume.
    """
    coarse, fine = solve(n), solve(2 * n)
    first = next(iter(coarse.spaces.values()))
    X = first.nodes
    unknowns, accuracy = {}, 0.0
    for name, space in fine.spaces.items():
        unknowns[name] = fine[name][_same(space.nodes, X)].numpy()
        own = coarse.spaces[name]
        there = fine[name][_same(space.nodes, own.nodes)].numpy()
        accuracy = max(accuracy, relative_l2(coarse[name].numpy(), there))
    coordinates = {c: x.numpy() for c, x in zip("xyz", X.unbind(1), strict=False)}
    cells = {kind.name: dofs.numpy() for kind, dofs in zip(first.kinds, first.dofs, strict=True)}
    return Grid(coordinates, unknowns, "scattered", accuracy, how, dict(fine.numbers), cells, lumped(first).numpy())


def on_mesh(solve: Callable[[Complex], Discrete], mesh: Complex, levels: int, how: str,
            apart: Circle | None = None) -> Grid:
    """Reference from solutions on a mesh refined `levels` and `levels` − 1 times.

    Args:
        solve: The solution on a mesh.
        mesh: At whose nodes it is kept.
        levels: At least 1.
        how: Sentence on the method, for the file.
        apart: A disk that the accuracy does not count, around a corner where an unknown is infinite.

    Returns:
        Layout "scattered": values of the finer at the nodes of `mesh`, with its cells and shares of the volume.
    """
    meshes = [mesh]
    for _ in range(levels):
        meshes.append(refined(meshes[-1]))
    unknowns, found = [], None
    for finer in meshes[-2:]:
        found = solve(finer)
        here = _same(finer.X, mesh.X)
        unknowns.append({n: vertices(s, found[n])[here].numpy() for n, s in found.spaces.items()})
    assert found is not None
    x, y, radius = apart or (0.0, 0.0, 0.0)
    far = ((mesh.X[:, :2] - mesh.X.new_tensor([x, y])).norm(dim=1) >= radius).numpy()
    accuracy = difference(*({n: v[far] for n, v in values.items()} for values in unknowns))
    coordinates = {c: x.numpy() for c, x in zip("xyz", mesh.X.unbind(1), strict=False)}
    cells = {b.kind.name: b.nodes.numpy() for b in mesh.blocks}
    return Grid(coordinates, unknowns[1], "scattered", accuracy,
                f"{how} on the mesh refined {levels} times, {len(meshes[-1]):,} cells", dict(found.numbers), cells,
                node_shares(mesh).numpy())


def _same(nodes: Tensor, X: Tensor) -> Tensor:
    """Numbers of the nodes at points X."""
    distance, found = cKDTree(nodes.numpy()).query(X.numpy())
    assert float(distance.max()) < 1e-9, "the meshes are not nested"
    return torch.from_numpy(found)


def four_holes(n: int) -> Complex:
    """(−½, ½)² minus disks of radius 0.1 about (±0.3, ±0.3), n cells per half side."""
    side = {-1: (-0.5, 0.0), 1: (0.0, 0.5)}
    return glued([around((0.3 * i, 0.3 * j, 0.1), [side[i], side[j]], n, n, hole="circles")
                  for i in (-1, 1) for j in (-1, 1)])


def poisson_holes_elements(n: int = 16) -> Grid:
    """`poisson_holes` by elements: an independent check of the multipoles, and they of the elements.

    Args:
        n: Cells per half side of the coarser mesh.
    """
    def solve(n: int) -> Discrete:
        walls = {"circles": 0.0, **dict.fromkeys(("x-", "x+", "y-", "y+"), 1.0)}
        return diffusion(Space(four_holes(n), 2), dirichlet=walls)
    return nested(solve, n, f"biquadratic elements on {2 * n} curved cells per half side")


def l_shape(n: int, grading: float = 50.0) -> Complex:
    """(−1, 1)² minus [0, 1) × (−1, 0]: three squares of n × n cells, graded towards the corner at 0."""
    square = quadratic(box([(0, 1), (0, 1)], (n, n), "quad"))
    X = (grading**square.X - 1) / (grading - 1)
    parts = []
    for sign in ((1, 1), (-1, 1), (-1, -1)):
        moved = X * torch.tensor(sign, dtype=X.dtype)
        if sign == (-1, 1):                                   # mirrored cells are turned back by exchanging x and y
            moved = torch.stack([-X[:, 1], X[:, 0]], 1)
        parts.append(replace(square.moved(moved), surfaces={}))
    return glued(parts)


def poisson_l_shape(n: int = 32) -> Grid:
    """−Δu = 1 on the L-shape, u = 0 on its boundary; u ~ r^(2/3) at the re-entrant corner.

    Args:
        n: Cells per unit length of the coarser mesh, graded by 50 towards the corner.
    """
    def solve(n: int) -> Discrete:
        found = diffusion(Space(l_shape(n), 2), source=1.0, dirichlet={"boundary": 0.0})
        return replace(found, numbers={"integral": found.integral("u")})
    return nested(solve, n, f"biquadratic elements, {2 * n} cells per unit length graded by 50 towards the corner")


def lshape(n: int = 32) -> Grid:
    """`poisson_l_shape` at the nodes of `lshape.msh`, cut once.

    Args:
        n: Cells per unit length of the coarser mesh, graded by 50 towards the corner.
    """
    coarse, fine = (diffusion(Space(l_shape(m), 2), source=1.0, dirichlet={"boundary": 0.0}) for m in (n, 2 * n))
    mesh = refined(Mesh("lshape.msh").complex)
    rough, u = (found.at(mesh.X)["u"].numpy() for found in (coarse, fine))
    how = f"biquadratic elements, {2 * n} cells per unit length graded by 50 towards the corner"
    return Grid(dict(zip("xy", mesh.X.T.numpy(), strict=True)), {"u": u}, "scattered", relative_l2(rough, u), how,
                {"integral": fine.integral("u")}, {b.kind.name: b.nodes.numpy() for b in mesh.blocks},
                node_shares(mesh).numpy())


def channel(n: int, circle: Circle = (0.2, 0.2, 0.05), height: float = 0.41, length: float = 2.2) -> Complex:
    """A channel with a cylinder, "inlet", "outlet" and "walls": 8 n × 2 n cells round it, 5 n × 2 n behind."""
    near = around(circle, [(0, height), (0, height)], 2 * n, 2 * n, 4.0, "cylinder")
    behind = quadratic(box([(0, 1), (0, height)], (5 * n, 2 * n), "quad"))
    x = height + (length - height) * (3.0 ** behind.X[:, 0] - 1) / 2
    walls = torch.cat([near.surfaces["y-"], near.surfaces["y+"]])
    front = {"cylinder": near.surfaces["cylinder"], "inlet": near.surfaces["x-"], "walls": walls}
    back = {"outlet": behind.surfaces["x+"], "walls": torch.cat([behind.surfaces["y-"], behind.surfaces["y+"]])}
    return glued([replace(near, surfaces=front),
                  replace(behind.moved(torch.stack([x, behind.X[:, 1]], 1)), surfaces=back)])


def cylinder_flow(n: int = 5, Re: float = 20.0) -> Grid:
    """Steady flow round a cylinder in a channel: benchmark 2D-1 of Schäfer and Turek.

        (u·∇)u − ν Δu + ∇p = 0, div u = 0;   u = 4 U y (H − y)/H² on the inlet, ν ∂_n u = p n on the outlet

    H = 0.41, U = 0.3, mean velocity 0.2, diameter 0.1, ν = 0.02/Re. The parameters hold drag and lift coefficients
    2 F / (0.2² · 0.1) from the residual, and the pressure difference of front and back.

    Args:
        n: Cells of the coarser mesh, see `channel`.
        Re: Reynolds number of mean velocity and diameter; steady up to about 45.

    Source: Schäfer and Turek (1996), doi:10.1007/978-3-322-89849-4_39; values for Re = 20 by Nabh (1998):
    c_D = 5.57953523384, c_L = 0.010618948146, Δp = 0.11752016697.
    """
    def solve(n: int) -> Discrete:
        flow = Flow(channel(n), 0.02 / Re, {
            "cylinder": (0.0, 0.0), "walls": (0.0, 0.0), "inlet": (lambda x, y: 1.2 * y * (0.41 - y) / 0.41**2, 0.0)})
        found = navier_stokes(flow)
        drag, lift = (force_on(flow, found, "cylinder") * 2 / (0.2**2 * 0.1)).tolist()
        wall = found.spaces["p"].on("cylinder")
        x, y = (found.spaces["p"].nodes[wall] - 0.2).T.numpy()
        angle = np.arctan2(y, x) % (2 * np.pi)
        order = np.argsort(angle)
        a, p = angle[order], found["p"][wall].numpy()[order]
        p_at = CubicSpline([*a, a[0] + 2 * np.pi], [*p, p[0]], bc_type="periodic")
        return replace(found, numbers={"drag": drag, "lift": lift, "pressure_difference": float(p_at(np.pi) - p_at(0))})
    return nested(solve, n, f"biquadratic velocity, bilinear pressure, n = {2 * n}, Newton to 1e-10")


def plate_hole(young: float = 1.0, poisson: float = 0.3, levels: int = 2) -> Grid:
    """Plane stress in a quarter of a plate with a hole, pulled by σ_xx = 1 at its right end.

        ∇·σ = 0;   u = 0 on "left", v = 0 on "bottom", σ n = (1, 0) on "right", σ n = 0 on "top" and "hole"

    The parameters hold the concentration factor σ_xx (0, ½) and the hoop stress σ_yy (½, 0).
    """
    material = Material.of(young, poisson, "stress")

    def solve(mesh: Complex) -> Discrete:
        found = elasticity(Space(mesh, 2), material, dirichlet={"left": (0.0, None), "bottom": (None, 0.0)},
                           traction={"right": (1.0, 0.0)})
        stress = stresses(found, material).at(torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.float64))
        numbers = {"concentration": float(stress["sxx"][0]), "compression": float(stress["syy"][1])}
        return replace(found, numbers=numbers)
    return on_mesh(solve, Mesh("plate_hole.msh").complex, levels, "elements of order 2")


def bracket(young: float = 210.0, poisson: float = 0.3, levels: int = 2) -> Grid:
    """Plane stress in a steel bracket 1 mm thick, held by two bolts and loaded at its tip: lengths in mm, E in GPa.

        ∇·σ = 0;   u = v = 0 on "bolt1" and "bolt2", σ n = (0, −0.01) on "tip", σ n = 0 elsewhere

    −0.01 GPa over 30 mm are 300 N; displacements are in mm. The parameters hold that of the tip's middle.
    """
    material = Material.of(young, poisson, "stress")
    mesh = Mesh("bracket.msh", scale=1e3).complex

    def solve(mesh: Complex) -> Discrete:
        held = {"bolt1": (0.0, 0.0), "bolt2": (0.0, 0.0)}
        found = elasticity(Space(mesh, 2), material, dirichlet=held, traction={"tip": (0.0, -0.01)})
        tip = found.at(torch.tensor([[100.0 - 1e-9, 15.0]], dtype=torch.float64), ("v",))["v"]
        return replace(found, numbers={"tip": float(tip[0])})
    return on_mesh(solve, mesh, levels, "elements of order 2")


def step_flow(Re: float = 50.0, levels: int = 1) -> Grid:
    """Steady flow over a backward-facing step, scaled by the inlet's height and mean velocity.

        (u·∇)u − Δu/Re + ∇p = 0, div u = 0;   u = 6 y (1 − y) on "inlet", ∂_n u / Re = p n on "outlet", else u = 0

    The mesh of the file refined once is that of the points. Pressure is infinite at the edge of the step.

    Args:
        Re: Reynolds number of the inlet's height and mean velocity.
        levels: Of refinement of that mesh.
    """
    def solve(mesh: Complex) -> Discrete:
        walls = {"walls": (0.0, 0.0), "inlet": (lambda x, y: 6 * y * (1 - y), 0.0)}
        return navier_stokes(Flow(mesh, 1 / Re, walls))
    mesh = refined(Mesh("step.msh").complex)
    return on_mesh(solve, mesh, levels, "Taylor–Hood elements", (2.0, 1.0, 0.1))


def two_materials(k: float = 100.0, levels: int = 2) -> Grid:
    """∇·(k ∇u) = 0 on `two_materials.msh`, u = 1 on the left, 0 on the right, insulated above and below.

    Args:
        k: Conductivity of the inclusion; that of the matrix is 1.
        levels: Refinements of the finer mesh.
    """
    def solve(complex_: Complex) -> Discrete:
        return diffusion(Space(complex_, 2), {"matrix": 1.0, "inclusion": k}, dirichlet={"left": 1.0, "right": 0.0})
    return on_mesh(solve, Mesh("two_materials.msh").complex, levels, "quadratic elements")


def heat_plate(levels: int = 2) -> Grid:
    """Δu = 0 on `plate_holes_heat.msh`; ∂u/∂n = 5 − u on large holes, 1 − u on small ones, 0.1 − u outside.

    Args:
        levels: Refinements of the finer mesh.
    """
    def solve(complex_: Complex) -> Discrete:
        return diffusion(Space(complex_, 2), robin={"large": (1.0, 5.0), "small": (1.0, 1.0), "outer": (1.0, 0.1)})
    return on_mesh(solve, Mesh("plate_holes_heat.msh").complex, levels, "quadratic elements")


def drum(count: int = 1, levels: int = 2) -> Grid:
    """Lowest modes of −Δu = λ u, u = 0, on `drum.msh`: u1, u2, … with ∫ u² = 1, and λ in the parameters.

    Args:
        count: How many.
        levels: Refinements of the finer mesh.
    """
    def solve(complex_: Complex) -> Discrete:
        values, found = modes(Space(complex_, 2), count)
        space, u = found.spaces["u"], found["u"]
        names = [f"u{i + 1}" for i in range(count)]
        return Discrete(dict.fromkeys(names, space), dict(zip(names, u.unbind(1), strict=True)),
                        {f"lambda{i + 1}": float(v) for i, v in enumerate(values)})
    return on_mesh(solve, Mesh("drum.msh").complex, levels, "quadratic elements")
