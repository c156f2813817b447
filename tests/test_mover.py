"""Mesh movement: equidistribution by the Monge–Ampère equation, no inverted cell, lower errors at equal cost."""

import numpy as np
import pytest
import torch

from sciml import Disk
from sciml.errors import ProblemError
from sciml.geometry import Box
from sciml.geometry.meshing import mesh_of
from sciml.mesh import quadrature, volumes
from sciml.mesh.mover import equidistribute, gmres
from sciml.mesh.moving import displaced, move, moved_points, slope_monitor
from sciml.mesh.quality import least_jacobian, quality
from sciml.mesh.structured import box, quadratic

UNIT = [(0.0, 1.0), (0.0, 1.0)]
SQUARE = Box(x=(0, 1), y=(0, 1))


def bump(X, contrast=19.0, width=50.0):
    return 1 + contrast * torch.exp(-width * (X - 0.5).square().sum(1))


def layer(X):
    return torch.tanh((X[:, 0] + 0.5 * X[:, 1] - 0.75) / 0.03)


def interpolation_error(c, u):
    rule, block = quadrature(c, 4), c.blocks[0]
    values = (u(c.X)[block.nodes] @ block.kind.values(block.kind.shape.rule(4)[0]).T).reshape(-1)
    return float((rule.weights * (values - u(rule.X)) ** 2).sum().sqrt())


MONITORS = {
    "bump": (bump, UNIT, 64),
    "ring": (lambda X: 1 + 3 * torch.exp(-(((X - 0.5).square().sum(1) - 0.0625) / 0.06) ** 2), UNIT, 64),
    "corner": (lambda X: 1 + 30 * torch.exp(-50 * X.square().sum(1)), UNIT, 64),
    "long box": (lambda X: bump(X, 9.0, 20.0), [(0.0, 2.0), (0.0, 1.0)], [88, 56]),
    "cube": (lambda X: bump(X, 4.0, 25.0), [(0.0, 1.0)] * 3, 24),
}


@pytest.mark.parametrize("name", MONITORS)
def test_the_monitor_times_the_volume_of_moved_cells_is_constant(name):
    monitor, bounds, cells = MONITORS[name]
    map_ = equidistribute(monitor, bounds, cells)
    assert map_.residual < 5e-3 and map_.least > 0
    # Independent of cosine series: the volumes of moved cells and quadrature of m over them. The mass of every cell is
    # that of the box over their number, up to the curvature of the moved sides.
    counts = [60 if len(bounds) == 2 else 20] * len(bounds)
    c = box(bounds, counts, "quad" if len(bounds) == 2 else "hexahedron")
    moved = c.moved(map_(c.X))
    rule = quadrature(moved, 4)
    mass = torch.zeros(len(c), dtype=torch.float64).index_add_(0, rule.cell, rule.weights * monitor(rule.X))
    assert float(mass.std() / mass.mean()) < 2e-2 and float(volumes(moved).min()) > 0
    assert float((mass / mass.mean() - 1).abs().mean()) < 5e-3
    low, high = torch.tensor(bounds, dtype=torch.float64).unbind(1)
    on = (c.X == low) | (c.X == high)
    assert float((moved.X - c.X)[on].abs().max()) < 1e-12


def test_a_map_of_one_coordinate_is_the_inverse_of_the_cumulated_monitor():
    # m = 1/(1 + (x − ½)²/w²) has the map x = ½ + w tan(α(2ξ − 1)), w tan α = ½.
    w = 0.2
    alpha = np.arctan(0.5 / w)
    map_ = equidistribute(lambda X: 1 / (1 + ((X[:, 0] - 0.5) / w) ** 2), UNIT, [96, 8])
    X = torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = 0.5 + w * torch.tan(alpha * (2 * X[:, 0] - 1))
    # The even, periodic continuation of m has a kink at the ends, so its series for x converges like n⁻²: 1/96² = 1e-4.
    assert float((map_(X)[:, 0] - want).abs().max()) < 5e-4
    assert torch.allclose(map_(X)[:, 1], X[:, 1], rtol=0, atol=1e-9)
    J = map_.jacobian(X)
    h = 1e-6
    for i in range(2):
        e = torch.zeros(2, dtype=torch.float64)
        e[i] = h
        assert torch.allclose((map_(X + e) - map_(X - e)) / (2 * h), J[:, :, i], rtol=0, atol=1e-7)
    phi = (map_.potential(X + e) - map_.potential(X - e)) / (2 * h)
    assert torch.allclose(phi, map_(X)[:, 1] - X[:, 1], rtol=0, atol=1e-8)


def test_a_steep_monitor_that_simple_iterations_do_not_solve_is_solved():
    map_ = equidistribute(lambda X: 1 + 50 * torch.exp(-((X - 0.4) ** 2).sum(1) / 0.1**2), UNIT, 64)
    assert map_.residual < 0.05 and map_.least > 0             # the grid's: 0.06 on 48² cells, 0.03 on 64²


def test_a_steep_function_is_interpolated_better_on_a_moved_mesh_with_as_many_nodes():
    c = box(UNIT, [20, 20])
    moved = move(c, slope_monitor(layer, c.X, 0.6), cells=32)
    assert interpolation_error(moved, layer) < 0.5 * interpolation_error(c, layer)       # measured: 0.25
    nodal = move(c, slope_monitor(layer, c.X, 0.6)(c.X), cells=32)
    assert interpolation_error(nodal, layer) < 0.5 * interpolation_error(c, layer)
    assert quality(moved).inverted == quality(nodal).inverted == 0


@pytest.mark.parametrize("order", [1, 2])
def test_boundaries_off_the_box_stay_and_no_cell_of_a_mesh_with_a_hole_is_inverted(order):
    c = mesh_of(SQUARE - Disk((0.5, 0.5), 0.2), 0.08, order)
    moved = move(c, slope_monitor(layer, c.X, 0.6), cells=32)
    assert bool((least_jacobian(moved.X, moved.blocks[0]) > 0).all())
    hole = torch.cat([f.nodes.reshape(-1) for f in c.chosen(c.surfaces["disk"])]).unique()
    assert torch.equal(moved.X[hole], c.X[hole])
    left = c.X[:, 0] == 0
    assert float(moved.X[left, 0].abs().max()) == 0 and float((moved.X - c.X)[left, 1].abs().max()) > 0.01
    assert float(volumes(moved).sum()) == pytest.approx(float(volumes(c).sum()), rel=1e-12)
    assert interpolation_error(moved, layer) < 0.9 * interpolation_error(c, layer)


@pytest.mark.parametrize("kind", ["triangle", "quad", "triangle6", "tetra", "hexahedron"])
def test_no_map_however_wild_inverts_a_cell(kind):
    D = 3 if kind in ("tetra", "hexahedron") else 2
    c = box([(0, 1)] * D, [6] * D, kind.rstrip("6"))
    c = quadratic(c) if kind == "triangle6" else c
    noise = torch.randn(c.X.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = displaced(c, lambda X: X + 0.3 * noise)
    assert bool((least_jacobian(moved.X, moved.blocks[0]) > 0).all())
    assert float((moved.X - c.X).abs().max()) > 1e-3


def test_points_follow_the_monitor():
    X = torch.rand(20000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Y = moved_points(X, bump, UNIT, cells=32)
    inside = float(((Y - 0.5).norm(dim=1) < 0.1).double().mean())
    grid = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    P = torch.cartesian_prod(grid, grid)
    m = bump(P)
    share = float(m[(P - 0.5).norm(dim=1) < 0.1].sum() / m.sum())
    # The share of 20,000 random points is known to √(share/20000) = 0.003; four times that.
    assert inside == pytest.approx(share, abs=0.012)


def test_gmres_solves_a_system_that_is_not_symmetric():
    g = torch.Generator().manual_seed(0)
    A = torch.eye(30, dtype=torch.float64) * 3 + 0.3 * torch.randn(30, 30, generator=g, dtype=torch.float64)
    b = torch.randn(30, generator=g, dtype=torch.float64)
    assert torch.allclose(gmres(lambda v: A @ v, b, 1e-12, 30), torch.linalg.solve(A, b), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: equidistribute(lambda X: X[:, 0] - 0.5, UNIT, 8), "expected positive"),
    (lambda: equidistribute(lambda X: X, UNIT, 8), "one value per point"),
    (lambda: equidistribute(bump, [(0.0, 1.0)], 8), "two or three bounds"),
    (lambda: move(box(UNIT, [2, 2]), torch.ones(3)), "one value for each of 9 nodes"),
    (lambda: slope_monitor(layer, torch.zeros(1, 2, dtype=torch.float64), 1.5), "between 0 and 1"),
    (lambda: displaced(box(UNIT, [2, 2]), lambda X: X / 0), "not finite"),
    (lambda: displaced(box(UNIT, [2, 2]).moved(torch.zeros(9, 2, dtype=torch.float64)), lambda X: X), "inverted"),
])
def test_mistakes_get_a_sentence(make, words):
    with pytest.raises(ProblemError, match=words):
        make()
