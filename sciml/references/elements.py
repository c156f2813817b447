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
from ..elements.discrete import Discrete
from ..elements.eigen import modes
from ..elements.flow import Flow, force_on, navier_stokes
from ..elements.space import Space
from ..geometry import Mesh
from ..mesh.blocks import around, glued
from ..mesh.complex import Complex
from ..mesh.geometry import node_shares
from ..mesh.structured import box, quadratic, refined
from .reference import Grid, relative_l2

Circle = tuple[float, float, float]


def nested(solve: Callable[[int], Discrete], n: int, how: str) -> Grid:
    """Reference from solutions on two meshes.

    Args:
        solve: The solution with n cells, on meshes such that the nodes of elements of order 2 with n cells are
            corners of the cells with 2 n.
        n: Cells of the coarser mesh, in its own measure.
        how: Sentence on method and resolution, for the file.

    Returns:
        Layout "scattered": values of the finer at the nodes of the coarser.
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
    return Grid(coordinates, unknowns, "scattered", accuracy, how, dict(fine.numbers))


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


def halved(complex_: Complex) -> Complex:
    """Triangles of order 2 cut into four each, with nodes on the same curves.

    Groups of cells are inherited, and groups of facets on the boundary.
    """
    (block,) = complex_.blocks
    lattice = [(i, j) for i in range(5) for j in range(5 - i)]
    number = {p: n for n, p in enumerate(lattice)}
    middle = lambda a, b: ((a[0] + b[0]) // 2, (a[1] + b[1]) // 2)
    corners = [((0, 0), (2, 0), (0, 2)), ((2, 0), (4, 0), (2, 2)), ((0, 2), (2, 2), (0, 4)), ((2, 2), (0, 2), (2, 0))]
    children = torch.tensor([[number[p] for p in (a, b, c, middle(a, b), middle(b, c), middle(c, a))]
                             for a, b, c in corners])
    xi = torch.tensor(lattice, dtype=complex_.X.dtype) / 4
    X = torch.einsum("qa,ead->eqd", block.kind.values(xi), complex_.X[block.nodes])
    size = float((complex_.X.amax(0) - complex_.X.amin(0)).max())
    _, place = torch.unique((X.reshape(-1, 2) / (1e-9 * size)).round(), dim=0, return_inverse=True)
    nodes = X.new_zeros(int(place.max()) + 1, 2)
    nodes[place] = X.reshape(-1, 2)
    cells = place.view(len(block), -1)[:, children].reshape(-1, 6)
    volumes = {name: (4 * numbers[:, None] + torch.arange(4)).reshape(-1) for name, numbers in complex_.volumes.items()}
    made = Complex(nodes, (replace(block, nodes=cells),), volumes)
    surfaces = {}
    for name, numbers in complex_.surfaces.items():
        middles = [torch.einsum("qa,fad->fqd", f.kind.values(f.kind.nodes.new_tensor([[0.25], [0.75]])),
                                complex_.X[f.nodes]).reshape(-1, 2) for f in complex_.chosen(numbers)]
        found = [f.nodes[:, 2] for f in made.facets]
        distance, which = cKDTree(made.X[torch.cat(found)].numpy()).query(torch.cat(middles).numpy())
        assert float(distance.max()) < 1e-8 * size, "facets are not halved"
        surfaces[name] = torch.from_numpy(which).sort().values
    return replace(made, surfaces=surfaces)


def on_mesh(mesh: str, solve: Callable[[Complex], Discrete], how: str, finer: Callable[[Complex], Complex]) -> Grid:
    """Reference at the nodes of a mesh file, from solutions on it cut once and twice.

    Args:
        mesh: Name of the file.
        solve: The solution on a mesh.
        how: Sentence on the method, for the file.
        finer: A mesh with every cell cut: `halved`, or `refined` for cells of order 1.
    """
    complex_ = Mesh(mesh).complex
    once = finer(complex_)
    coarse, fine = solve(once), solve(finer(once))
    X = complex_.X
    unknowns, accuracy = {}, 0.0
    for name, space in fine.spaces.items():
        value = fine[name][_same(space.nodes, X)].numpy()
        rough = coarse[name][_same(coarse.spaces[name].nodes, X)].numpy()
        unknowns[name] = value
        accuracy = max(accuracy, relative_l2(rough, value))
    coordinates = {c: x.numpy() for c, x in zip("xyz", X.unbind(1), strict=False)}
    cells = {b.kind.name: b.nodes.numpy() for b in complex_.blocks}
    return Grid(coordinates, unknowns, "scattered", accuracy, how, dict(fine.numbers), cells,
                node_shares(complex_).numpy())


def two_materials(k: float = 100.0) -> Grid:
    """∇·(k ∇u) = 0 on `two_materials.msh`, u = 1 on the left, 0 on the right, insulated above and below.

    Args:
        k: Conductivity of the inclusion; that of the matrix is 1.
    """
    def solve(complex_: Complex) -> Discrete:
        return diffusion(Space(complex_, 2), {"matrix": 1.0, "inclusion": k}, dirichlet={"left": 1.0, "right": 0.0})
    return on_mesh("two_materials.msh", solve, "quadratic elements on the curved mesh, cut twice", halved)


def heat_plate() -> Grid:
    """Δu = 0 on `plate_holes_heat.msh`; ∂u/∂n = 5 − u on large holes, 1 − u on small ones, 0.1 − u outside."""
    def solve(complex_: Complex) -> Discrete:
        return diffusion(Space(complex_, 2), robin={"large": (1.0, 5.0), "small": (1.0, 1.0), "outer": (1.0, 0.1)})
    return on_mesh("plate_holes_heat.msh", solve, "quadratic elements on the curved mesh, cut twice", halved)


def drum(count: int = 1) -> Grid:
    """Lowest modes of −Δu = λ u, u = 0, on `drum.msh`: u1, u2, … with ∫ u² = 1, and λ in the parameters.

    Args:
        count: How many.
    """
    def solve(complex_: Complex) -> Discrete:
        values, found = modes(Space(complex_, 2), count)
        space, u = found.spaces["u"], found["u"]
        names = [f"u{i + 1}" for i in range(count)]
        return Discrete(dict.fromkeys(names, space), dict(zip(names, u.unbind(1), strict=True)),
                        {f"lambda{i + 1}": float(v) for i, v in enumerate(values)})
    return on_mesh("drum.msh", solve, "quadratic elements on the mesh, cut twice", refined)
