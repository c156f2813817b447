"""Mesh files: round trips through every format, against volumes and areas known exactly; meshio writes, we read."""

import logging

import meshio
import numpy as np
import pytest
import torch

from sciml.errors import ProblemError
from sciml.mesh import KINDS, Cells, Complex, facet_quadrature, from_meshio, read_mesh, volumes
from sciml.mesh.check import check
from sciml.mesh.gmsh import order
from sciml.mesh.read import mirror
from sciml.mesh.structured import box, quadratic

SIDES = [(0.0, 1.0), (-1.0, 1.0), (0.5, 3.5)]
NAMES = ["x-", "x+", "y-", "y+", "z-", "z+"]
LINEAR = ["triangle", "quad", "tetra", "hexahedron"]
ALL = [k.name for k in KINDS.values() if k.dim > 1]


def made_of(kind):
    """A box of a kind; of order 2, sheared by a quadratic map of determinant one, which such cells have exactly."""
    of = KINDS[kind]
    complex_ = box(SIDES[:of.dim], (2, 3, 2)[:of.dim], of.shape.name)
    if of.order == 1:
        return complex_
    complex_ = quadratic(complex_)
    block = complex_.blocks[0]
    nodes, inverse = torch.unique(block.nodes[:, :of.size], return_inverse=True)       # quad8: without the middle
    X = complex_.X[nodes].clone()
    X[:, 1] += 0.3 * X[:, 0] * (1 - X[:, 0])
    if of.dim == 3:
        X[:, 2] += 0.2 * X[:, 0]**2
    return Complex(X, (Cells(of, inverse),), surfaces=complex_.surfaces)


def as_meshio(complex_, right="right", entities=False):
    """With a block of named facets for each face, and the cells whose middle is right of x = 0.5 in a group."""
    X = complex_.X.numpy()
    if X.shape[1] == 2:
        X = np.column_stack([X, np.zeros(len(X))])
    cells, tags, start = [], [], 0
    for block in complex_.blocks:
        nodes = block.nodes.numpy()
        side = X[nodes[:, :block.kind.corners], 0].mean(1) > 0.5
        for flag, tag in ((False, 0), (True, 20)):
            cells.append((block.kind.name, nodes[side == flag]))
            tags.append(tag)
        start += len(nodes)
    for name, numbers in complex_.surfaces.items():
        for facets in complex_.chosen(numbers):
            cells.append((facets.kind.name, facets.nodes.numpy()))
            tags.append(1 + NAMES.index(name))
    d = complex_.dim
    names = {name: np.array([1 + NAMES.index(name), d - 1]) for name in complex_.surfaces}
    if right:
        names[right] = np.array([20, d])
    data = {"gmsh:physical": [np.full(len(c[1]), t) for c, t in zip(cells, tags, strict=True)],
            "gmsh:geometrical": [np.full(len(c[1]), i + 1) for i, c in enumerate(cells)]}
    points = {}
    if entities:                                  # meshio's writer of format 4.1 finds entities through their nodes
        dims = np.tile([KINDS[cells[0][0]].dim, 1], (len(X), 1))
        for i, (kind, _) in enumerate(cells):
            dims[i] = KINDS[kind].dim, i + 1
        points["gmsh:dim_tags"] = dims
    return meshio.Mesh(X, cells, cell_data=data, field_data=names, point_data=points)


def assert_same(found, made, right="right", names=None):
    """Volume, group of cells, and every face's integral of x and of its normal."""
    assert {b.kind for b in found.blocks} == {b.kind for b in made.blocks} and found.X.shape[1] == made.dim
    assert torch.allclose(volumes(found).sort().values, volumes(made).sort().values, rtol=1e-12)
    assert len(found.X) == len(made.X)
    if right:
        half = volumes(found)[found.volumes[right]].sum() / volumes(found).sum()
        assert abs(half - 0.5) < 1e-12            # the shears keep volumes, and the box has two cells along x
    for name in made.surfaces if names is None else names:
        exact, rule = (facet_quadrature(c, 4, c.surfaces[n])
                       for c, n in ((made, name), (found, names[name] if names else name)))
        for values in (lambda r: r.weights.sum(), lambda r: r.weights @ r.X, lambda r: r.weights @ r.normals):
            assert torch.allclose(values(rule), values(exact), atol=1e-12)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("version, binary", [("gmsh", True), ("gmsh", False), ("gmsh22", True), ("gmsh22", False)])
def test_gmsh_files_come_back_with_groups_and_node_order(tmp_path, kind, version, binary):
    made = made_of(kind)
    mesh = as_meshio(made, entities=True)
    mesh.write(tmp_path / "a.msh", file_format=version, binary=binary)
    assert_same(read_mesh(tmp_path / "a.msh"), made)


@pytest.mark.parametrize("kind", ["tetra10", "hexahedron20", "hexahedron27"])
def test_gmsh_node_order_is_that_of_its_manual(kind):
    # gmsh's manual draws the nodes; here as pairs of corners: edges of a tetrahedron, and of a hexahedron
    pairs = {"tetra10": "01 12 02 03 23 13", "hexahedron20": "01 03 04 12 15 23 26 37 45 47 56 67",
             "hexahedron27": "01 03 04 12 15 23 26 37 45 47 56 67 0123 0145 0347 1256 2367 4567 01234567"}[kind]
    corners = KINDS[kind].nodes[:KINDS[kind].corners]
    gmsh = torch.cat([corners, *(corners[[int(c) for c in word]].mean(0)[None] for word in pairs.split())])
    assert torch.equal(gmsh[order(kind)], KINDS[kind].nodes)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("suffix", ["vtu", "vtk", "xdmf"])
def test_vtk_and_xdmf_files_come_back_with_numbered_groups(tmp_path, kind, suffix):
    made = made_of(kind)
    mesh = as_meshio(made)
    mesh.field_data, mesh.cell_data = {}, {"CellEntityIds": mesh.cell_data["gmsh:physical"]}
    names = {name: str(1 + NAMES.index(name)) for name in made.surfaces}
    if suffix == "xdmf" and made.order == 2:      # meshio reads no mixed quadratic cells in XDMF
        mesh = meshio.Mesh(mesh.points, [(kind, made.blocks[0].nodes.numpy())])
        mesh.write(tmp_path / "a.xdmf")
        assert_same(read_mesh(tmp_path / "a.xdmf"), Complex(made.X, made.blocks), right="")
        return
    mesh.write(tmp_path / f"a.{suffix}")
    assert_same(read_mesh(tmp_path / f"a.{suffix}"), made, right="20", names=names)


ABAQUS = [k for k in ALL if k not in ("hexahedron27",)]


@pytest.mark.parametrize("kind", ABAQUS)
def test_abaqus_files_come_back_with_element_sets(tmp_path, kind):
    made = made_of(kind)
    mesh = as_meshio(made)
    tags = [int(t[0]) for t in mesh.cell_data["gmsh:physical"]]
    empty = np.empty(0, dtype=int)
    sets = {name: [np.arange(len(c.data)) if tag == 1 + NAMES.index(name) else empty
                   for c, tag in zip(mesh.cells, tags, strict=True)] for name in made.surfaces}
    sets["right"] = [np.arange(len(c.data)) if tag == 20 else empty for c, tag in zip(mesh.cells, tags, strict=True)]
    meshio.Mesh(mesh.points, mesh.cells, cell_sets=sets).write(tmp_path / "a.inp")
    assert_same(read_mesh(tmp_path / "a.inp"), made)


@pytest.mark.parametrize("kind", ABAQUS)
def test_sets_of_nodes_mean_boundary_facets(tmp_path, kind):
    made = made_of(kind)
    sets = {}
    for name, numbers in made.surfaces.items():
        sets[name] = torch.unique(torch.cat([f.nodes.reshape(-1) for f in made.chosen(numbers)])).numpy()
    X = np.column_stack([made.X.numpy(), *[np.zeros(len(made.X))] * (3 - made.dim)])
    mesh = meshio.Mesh(X, [(kind, made.blocks[0].nodes.numpy())], point_sets=sets | {"all": np.arange(len(X))})
    mesh.write(tmp_path / "a.inp")
    found = read_mesh(tmp_path / "a.inp")
    assert_same(found, made, right="")
    assert set(found.surfaces) == set(made.surfaces)


@pytest.mark.parametrize("kind", [k for k in ALL if k not in ("quad9", "hexahedron27")])
def test_med_files_come_back_with_families(tmp_path, kind):
    made = made_of(kind)
    mesh = as_meshio(made)
    join = lambda k, a: np.concatenate([v for c, v in zip(mesh.cells, a, strict=True) if c.type == k])
    kinds = list(dict.fromkeys(c.type for c in mesh.cells))
    X = mesh.points[:, :made.dim]
    med = meshio.Mesh(X, [(k, join(k, [c.data for c in mesh.cells])) for k in kinds],
                      cell_data={"cell_tags": [-join(k, mesh.cell_data["gmsh:physical"]) for k in kinds]})
    med.cell_tags = {-1 - NAMES.index(n): [n] for n in made.surfaces} | {-20: ["right", "also"]}
    med.write(tmp_path / "a.med")
    found = read_mesh(tmp_path / "a.med")
    assert_same(found, made)
    assert torch.equal(found.volumes["right"], found.volumes["also"])


@pytest.mark.parametrize("suffix", ["mesh", "meshb"])
@pytest.mark.parametrize("kind", LINEAR)
def test_medit_files_come_back_with_references_as_names(tmp_path, kind, suffix):
    made = made_of(kind)
    mesh = as_meshio(made)
    mesh.field_data, mesh.cell_data = {}, {"medit:ref": mesh.cell_data["gmsh:physical"]}
    mesh.write(tmp_path / f"a.{suffix}")
    names = {name: str(1 + NAMES.index(name)) for name in made.surfaces}
    found = read_mesh(tmp_path / f"a.{suffix}")
    assert_same(found, made, right="20", names=names)
    assert "0" not in found.volumes


@pytest.mark.parametrize("suffix, kinds", [("bdf", ["triangle", "tetra10", "hexahedron20"]), ("su2", LINEAR),
                                           ("h5m", ["tetra"]), ("dato", ["triangle", "hexahedron"]),
                                           ("b8.ugrid", ["tetra", "hexahedron"]), ("avs", ["tetra", "hexahedron"]),
                                           ("f3grid", ["tetra"]), ("dat", ["triangle", "tetra"])])
def test_other_formats_of_meshio_come_back(tmp_path, suffix, kinds):
    for kind in kinds:
        made = made_of(kind)
        X = np.column_stack([made.X.numpy(), *[np.zeros(len(made.X))] * (3 - made.dim)])
        X = X[:, :2] if suffix == "su2" and made.dim == 2 else X.round(4)        # nastran's numbers have few digits
        meshio.Mesh(X, [(kind, made.blocks[0].nodes.numpy())]).write(tmp_path / f"a.{suffix}")
        found = read_mesh(tmp_path / f"a.{suffix}")
        assert torch.isclose(volumes(found).sum(), volumes(made).sum(), rtol=1e-3) and len(found) == len(made), kind


def test_cells_of_two_kinds_come_back(tmp_path):
    quads, triangles = box([(0, 1), (0, 1)], (2, 2), "quad"), box([(1, 2), (0, 1)], (2, 2), "triangle")
    X, which = torch.unique(torch.cat([quads.X, triangles.X]), dim=0, return_inverse=True)
    blocks = (Cells(KINDS["quad"], which[quads.blocks[0].nodes]),
              Cells(KINDS["triangle"], which[triangles.blocks[0].nodes + len(quads.X)]))
    made = Complex(X, blocks)
    made = Complex(X, blocks, surfaces={"x-": made.boundary[:3], "x+": made.boundary[3:]})
    for binary in (True, False):
        as_meshio(made).write(tmp_path / "b.msh", file_format="gmsh22", binary=binary)
        found = read_mesh(tmp_path / "b.msh")
        assert [len(b) for b in found.blocks] == [4, 8] and len(found.boundary) == len(made.boundary)
        assert {n: len(f) for n, f in found.surfaces.items()} == {n: len(f) for n, f in made.surfaces.items()}
        assert abs(volumes(found)[found.volumes["right"]].sum() - 1.5) < 1e-14


@pytest.mark.parametrize("kind", ALL)
def test_a_mesh_that_is_clockwise_as_a_whole_is_turned_round(kind):
    made = made_of(kind)
    nodes = made.blocks[0].nodes[:, mirror(KINDS[kind])]
    assert (volumes(Complex(made.X, (Cells(KINDS[kind], nodes),))) < 0).all()
    found = from_meshio(meshio.Mesh(made.X.numpy(), [(kind, nodes.numpy())]))
    assert torch.allclose(volumes(found), volumes(made), rtol=1e-14)


def test_a_clockwise_entity_of_gmsh_is_turned_round(tmp_path):
    made = made_of("triangle")
    mesh = as_meshio(made, entities=True)
    mesh.cells[1].data = mesh.cells[1].data[:, [1, 0, 2]]
    mesh.write(tmp_path / "a.msh", file_format="gmsh")
    assert_same(read_mesh(tmp_path / "a.msh"), made)
    mesh.cells[1].data[0] = mesh.cells[1].data[0][[1, 0, 2]]            # all of it but one cell
    mesh.write(tmp_path / "a.msh", file_format="gmsh")
    with pytest.raises(ProblemError, match="5 of 12 cells are inverted"):
        read_mesh(tmp_path / "a.msh")


def test_the_rest_of_the_boundary_can_get_a_name(tmp_path):
    made = made_of("tetra")
    mesh = as_meshio(Complex(made.X, made.blocks, surfaces={n: made.surfaces[n] for n in ("x-", "z+")}))
    mesh.write(tmp_path / "a.msh", file_format="gmsh22")
    found = read_mesh(tmp_path / "a.msh", unnamed="walls")
    assert abs(facet_quadrature(found, 1, found.surfaces["walls"]).weights.sum() - (6 + 2 * 3 + 2)) < 1e-12
    found = read_mesh(tmp_path / "a.msh", unnamed="z+")
    assert abs(facet_quadrature(found, 1, found.surfaces["z+"]).weights.sum() - (6 + 2 * 3 + 2 + 2)) < 1e-12


def test_coordinates_are_scaled(tmp_path):
    made = made_of("quad")
    as_meshio(made).write(tmp_path / "a.msh", file_format="gmsh22")
    assert torch.allclose(volumes(read_mesh(tmp_path / "a.msh", scale=1e-3)), 1e-6 * volumes(made).sum() / 6)


def split_square():
    """Two squares side by side that share no nodes, and a node of nothing."""
    X = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [1, 0], [2, 0], [2, 1], [1, 1], [7, 7]], dtype=float)
    return X, np.array([[0, 1, 2, 3], [4, 5, 6, 7]])


def test_nodes_at_one_place_are_joined_or_kept_as_is_said(caplog):
    X, rows = split_square()
    joined = from_meshio(meshio.Mesh(X, [("quad", rows)], point_sets={"right": np.array([5, 6]),
                                                                     "middle": np.array([4, 7])}), merge=True,
                         unnamed="rest")
    assert len(joined.X) == 6 and len(joined.boundary) == 6 and joined.facet_count == 7
    assert torch.allclose(joined.X[joined.chosen(joined.surfaces["right"])[0].nodes[0], 0], joined.X.new_tensor(2.0))
    assert not torch.isin(joined.surfaces["middle"], joined.boundary).any()           # an inner facet
    with caplog.at_level(logging.INFO):
        cracked = from_meshio(meshio.Mesh(X[:8], [("quad", rows)]), merge=False)
    assert len(cracked.X) == 8 and len(cracked.boundary) == 8 and "2 parts" in caplog.text


def test_nodes_of_dropped_lines_are_dropped_and_counted(caplog):
    X, rows = split_square()
    mesh = meshio.Mesh(X, [("quad", rows[:1]), ("line", np.array([[5, 6], [0, 4], [7, 8]]))])
    with caplog.at_level(logging.INFO):
        found = from_meshio(mesh)
    assert len(found.X) == 4 and "5 nodes that belong to no cell are dropped" in caplog.text


def test_inner_facets_can_be_a_group(tmp_path):
    made = box([(0, 2), (0, 1)], (2, 1), "quad")
    inner = np.array([[2, 3]])                                                        # the facet at x = 1
    mesh = meshio.Mesh(made.X.numpy(), [("quad", made.blocks[0].nodes.numpy()), ("line", inner)],
                       cell_sets={"crack": [None, np.array([0])], "steel": [np.array([1]), None]})
    found = from_meshio(mesh, unnamed="rest")
    (facet,) = found.chosen(found.surfaces["crack"])
    assert (facet.cells >= 0).all() and torch.equal(found.X[facet.nodes[0], 0], torch.ones(2, dtype=torch.float64))
    assert found.volumes["steel"].tolist() == [1]


@pytest.mark.parametrize("kind", ALL)
def test_structured_meshes_pass_all_checks(kind):
    check(made_of(kind))


def test_a_cell_that_gmsh_2_writes_once_for_each_group_is_one_cell(tmp_path):
    made = made_of("triangle")
    mesh = as_meshio(made)
    mesh.cells.append(meshio.CellBlock("triangle", mesh.cells[1].data[1:]))
    for data in mesh.cell_data.values():
        data.append(np.full(len(mesh.cells[-1].data), 30))
    mesh.field_data["more"] = np.array([30, 2])
    mesh.write(tmp_path / "a.msh", file_format="gmsh22")
    found = read_mesh(tmp_path / "a.msh")
    assert_same(found, made)
    assert len(found.volumes["right"]) == 6 and len(found.volumes["more"]) == 5
    assert torch.isin(found.volumes["more"], found.volumes["right"]).all()
