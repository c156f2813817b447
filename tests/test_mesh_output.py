"""Solutions on meshes: where errors are measured, what is drawn, and what ParaView gets."""

import shutil

import h5py
import meshio
import numpy as np
import pytest
import torch
from test_weak import laplace, meshed

import sciml
from sciml import Dirichlet, Equation, Problem, Weak
from sciml.elements.diffusion import diffusion
from sciml.elements.space import Space
from sciml.errors import ProblemError
from sciml.mesh import volumes
from sciml.mesh.structured import box, quadratic, refined
from sciml.metrics import mean_absolute, null_score, relative_l2
from sciml.plot import plot_run
from sciml.plot.cells import plane_triangles, slice_of
from sciml.plot.cut import default_cuts
from sciml.plot.run import read_run
from sciml.plot.vtu import export_vtu
from sciml.references.reference import Grid, load, save
from sciml.solution.truth import describe, resolve

KINDS = [("triangle", 2), ("quad", 2), ("tetra", 3), ("hexahedron", 3)]


def areas(a, b, c):
    (x, y), (z, w) = (b - a).T, (c - a).T
    return 0.5 * np.abs(x * w - y * z)


def problem(n=3, dim=2, kind="triangle"):
    form = laplace if dim == 2 else lambda u, v: u.x * v.x + u.y * v.y + u.z * v.z
    exact = (lambda x, y: x * x - y * y) if dim == 2 else lambda x, y, z: x * x - y * y + 0 * z
    return Problem(domain=meshed(n, kind, dim), unknowns="u", conditions=[
        Weak(form), Dirichlet(u=exact, on="boundary")], reference=dict(u=exact))


@pytest.fixture(scope="module", params=KINDS, ids=lambda k: k[0])
def run(request, tmp_path_factory):
    kind, dim = request.param
    folder = tmp_path_factory.mktemp(kind)
    sciml.solve(problem(3, dim, kind), steps=2, optimizer="gauss-newton", out=folder, model=dict(width=6, depth=1),
                constraints="soft", points=50)
    return folder, kind, dim


@pytest.mark.parametrize("kind, dim", KINDS)
def test_errors_are_measured_at_nodes_that_stand_for_their_volume(kind, dim):
    truth = resolve(problem(2, dim, kind))
    assert len(truth.X) >= 4000 and set(truth.cells) == {kind}
    assert truth.cells[kind].max() == len(truth.X) - 1
    assert abs(truth.weights.sum() - 1) < 1e-12 and (truth.weights > 0).all()
    assert np.allclose(truth.values["u"], truth.X[:, 0]**2 - truth.X[:, 1]**2)


def test_weights_count_points_as_often_as_they_say():
    u, v = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    w = np.array([2.0, 1.0, 1.0])
    again = [np.repeat(a, [2, 1, 1]) for a in (u, v)]
    assert np.isclose(relative_l2(u, v, w), relative_l2(*again))
    assert np.isclose(mean_absolute(u, v, w), mean_absolute(*again))
    assert np.isclose(null_score(v, w), null_score(again[1]))
    assert np.isclose(relative_l2(u, np.array([1.5, np.nan, 3.0]), w), relative_l2(u[[0, 0, 2]], v[[0, 0, 2]]))


def test_figures_take_the_cells_of_the_mesh(run):
    folder, kind, dim = run
    data = read_run(folder)
    assert set(data.cells) == {kind}
    cut = default_cuts(data)[0]
    x, y = cut.axes
    a, b, c = (np.stack([x, y], 1)[cut.triangles[:, i]] for i in range(3))
    assert np.isclose(areas(a, b, c).sum(), 1.0)          # the whole square, or the whole slice of the cube
    assert np.allclose(cut.reference["u"], x**2 - y**2, atol=1e-12 if dim == 2 else 0.02)   # linear between nodes
    assert {f.name for f in plot_run(folder)} >= {"solution.png"}


def test_paraview_gets_the_cells_with_prediction_reference_and_error(run, tmp_path):
    folder, kind, dim = run
    mesh = meshio.read(export_vtu(folder, tmp_path / "out.vtu"))
    assert set(mesh.cells_dict) == {kind}
    assert set(mesh.point_data) >= {"u", "u_reference", "u_error"}
    assert np.allclose(mesh.point_data["u_error"], mesh.point_data["u"] - mesh.point_data["u_reference"])
    assert np.ptp(mesh.points[:, 2]) == (0 if dim == 2 else 1)


@pytest.mark.parametrize("kind, dim", KINDS)
@pytest.mark.parametrize("order", [1, 2])
def test_plane_triangles_and_slices_fill_their_plane(kind, dim, order):
    complex_ = refined(box([(0, 1)] * dim, [2] * dim, kind))
    complex_ = quadratic(complex_) if order == 2 else complex_
    X, cells = complex_.X.numpy(), {b.kind.name: b.nodes.numpy() for b in complex_.blocks}
    if dim == 2:
        corners, triangles = X, plane_triangles(cells)
    else:
        assert plane_triangles(cells) is None
        pairs, share, triangles = slice_of(X, cells, 2, 0.3)
        corners = (1 - share)[:, None] * X[pairs[:, 0]] + share[:, None] * X[pairs[:, 1]]
        assert np.allclose(corners[:, 2], 0.3)
        assert slice_of(X, cells, 2, 1.5) is None
        assert len(slice_of(X, cells, 0, 0.5)[2]) > 0      # a plane through nodes
    a, b, c = (corners[triangles[:, i], :2] for i in range(3))
    assert np.isclose(areas(a, b, c).sum(), 1.0)


def test_a_reference_file_keeps_its_mesh(tmp_path):
    complex_ = box([(0, 1), (0, 1)], (2, 2))
    x, y = complex_.X.numpy().T
    grid = Grid({"x": x, "y": y}, {"u": np.arange(9.0)}, "scattered", 1e-3, "made",
                cells={"triangle": complex_.blocks[0].nodes.numpy()}, weights=np.full(9, 1 / 9))
    save(tmp_path / "r.h5", grid, solver="none", arguments={}, seconds=0.0)
    found = load(tmp_path / "r.h5")
    assert np.array_equal(found.cells["triangle"], grid.cells["triangle"])
    assert np.array_equal(found.weights, grid.weights)


def test_cells_that_number_no_points_are_named(run, tmp_path):
    folder, kind, _ = run
    shutil.copytree(folder, tmp_path / "copy")
    with h5py.File(tmp_path / "copy" / "solution.h5", "r+") as file:
        file[f"cells/{kind}"][0, 0] = 10**6
    with pytest.raises(ProblemError, match=f"cells/{kind} does not number"):
        read_run(tmp_path / "copy")


def test_volumes_of_refined_cells_add_up():
    assert torch.isclose(volumes(refined(box([(0, 1)] * 3, [2] * 3))).sum(), torch.tensor(1.0, dtype=torch.float64))


def by_elements(**more):
    mesh = meshed(4)
    found = diffusion(Space(mesh.complex, 2), source=1.0, dirichlet={"boundary": 0.0})
    return Problem(domain=mesh, unknowns="u", conditions=[Weak(lambda u, v: laplace(u, v) - v), Dirichlet(u=0.0)],
                   **{"reference": lambda: found, **more}), found


@pytest.mark.parametrize("called", [True, False])
def test_a_solution_by_finite_elements_is_a_reference(called):
    problem, found = by_elements()
    truth = resolve(problem if called else by_elements(reference=found)[0])
    assert np.allclose(truth.values["u"], found.at(torch.from_numpy(truth.X))["u"], atol=1e-12) and truth.cells
    assert describe(truth).startswith("finite elements of order 2 on 32 cells (accuracy not stated")


def test_references_by_elements_that_do_not_fit_are_refused():
    _, found = by_elements()
    with pytest.raises(ProblemError, match="unknown unknown 'u'"):
        resolve(Problem(domain=meshed(2), unknowns="p", conditions=[Weak(lambda p, v: p * v, tests="v")],
                        reference=found))
    with pytest.raises(ProblemError, match="other coordinates than the problem's, x, y, z"):
        resolve(Problem(domain=meshed(1, "tetra", 3), unknowns="u", conditions=[Equation(lambda u: u)],
                        reference=found))
