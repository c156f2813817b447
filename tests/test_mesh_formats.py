"""What single formats of mesh files allow, in files written by hand: gmsh 4.1, Abaqus, STL, XDMF."""

import meshio
import numpy as np
import pytest
import torch

from sciml.errors import ProblemError
from sciml.mesh import KINDS, facet_quadrature, read_mesh, volumes
from sciml.mesh.structured import box

GMSH4 = """$MeshFormat
4.1 0 8
$EndMeshFormat
$PhysicalNames
4
1 1 "wall"
1 2 "outlet"
2 3 "wall"
2 4 "all"
$EndPhysicalNames
$Entities
1 3 1 0
1 0 0 0 0
1 0 0 0 1 0 0 1 -1 0
2 1 0 0 1 1 0 2 2 5 0
3 0 0 0 1 1 0 0 0
1 0 0 0 1 1 0 2 3 4 0
$EndEntities
$Nodes
3 5 1 90
0 1 0 2
90
1
0.7 0.3 0
9 9 0
1 1 1 2
10
20
0 0 0 0
1 0 0 1
2 1 0 1
30
1 1 0
$EndNodes
$Elements
4 5 1 9
1 1 1 1
1 10 20
1 2 1 1
2 20 30
1 3 1 1
3 30 10
2 1 2 2
4 10 20 90
5 20 30 90
$EndElements
"""


def test_gmsh_4_files_may_have_all_that_the_format_allows(tmp_path):
    # entities in several groups, with numbers of reversed sign and without names, or in none (Mesh.SaveAll); names
    # twice in different dimensions; node numbers with gaps; parametric nodes; a geometry point that is no node
    more = GMSH4.replace("4 5 1 9\n", "4 6 1 9\n").replace("2 1 2 2\n4", "2 1 2 3\n6 30 10 90\n4")
    (tmp_path / "a.msh").write_text(more)
    with pytest.raises(ProblemError, match="1 of 3 boundary facets belong to none of the groups 5, outlet, wall"):
        read_mesh(tmp_path / "a.msh")
    found = read_mesh(tmp_path / "a.msh", unnamed="diagonal")
    assert {n: len(f) for n, f in found.surfaces.items()} == {"wall": 1, "outlet": 1, "5": 1, "diagonal": 1}
    assert torch.equal(found.surfaces["outlet"], found.surfaces["5"])
    assert {n: len(f) for n, f in found.volumes.items()} == {"wall": 3, "all": 3}
    assert len(found.X) == 4 and abs(volumes(found).sum() - 0.5) < 1e-15


def test_whole_numbers_on_cells_are_groups_but_not_if_they_count(tmp_path):
    made = box([(0, 1), (0, 1)], (2, 3))
    nodes, E = made.blocks[0].nodes.numpy(), len(made)
    data = {"GlobalIds": [np.arange(E)], "f": [np.arange(E) % 2], "pressure": [np.linspace(0, 1, E)]}
    meshio.Mesh(made.X.numpy(), [("triangle", nodes)], cell_data=data).write(tmp_path / "a.xdmf")
    found = read_mesh(tmp_path / "a.xdmf")
    assert found.volumes["0"].tolist() == list(range(0, E, 2)) and set(found.volumes) == {"0", "1"}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("inside_out", [True, False])
def test_a_closed_surface_comes_as_triangles_with_normals_outwards(tmp_path, binary, inside_out):
    surface = box([(0, 1), (-1, 1), (0.5, 3.5)], (2, 3, 2)).surface()
    nodes = surface.blocks[0].nodes.numpy()
    meshio.Mesh(surface.X.numpy(), [("triangle", nodes[:, ::-1] if inside_out else nodes)]).write(
        tmp_path / "a.stl", binary=binary)
    found = read_mesh(tmp_path / "a.stl")
    assert found.dim == 2 and found.X.shape == surface.X.shape and len(found.boundary) == 0
    a, b, c = found.X[found.blocks[0].nodes].unbind(1)
    assert abs((a * torch.linalg.cross(b, c)).sum() / 6 - 6.0) < 1e-6              # binary numbers have 4 bytes


ABAQUS_PART = """*Heading
** two squares
*Part, name=plate
*Node, nset=ALL
1, 0., 0.
2, 1., 0.
3, 1., 1.
4, 0., 1.
15, 2., 0.
16, 2., 1.
*Element, type=CPS4R, elset=left
1, 1, 2, 3, 4
*Element, type=CPE4
7, 2, 15, 16,
3
*Nset, nset=bottom, generate
1, 2, 1
*Nset, nset=bottom
15,
*Elset, elset=right
7
*Elset, elset=both
left, right
*End Part
*Assembly, name=a
*Instance, name=plate-1, part=plate
*End Instance
*Node
1, 5., 5.
*Nset, nset=point
1
*Elset, elset=_wall_S2, internal, instance=plate-1
7
*Elset, elset=_wall_S4, internal, instance=plate-1
1
*Surface, type=ELEMENT, name=wall
_wall_S2, S2
_wall_S4, S4
*Surface, name=top
1, S3
right, S3
*End Assembly
*Material, name=steel
*Elastic
210e9, 0.3
*Include, input=rest.txt
"""


def test_abaqus_files_have_ranges_sets_of_sets_surfaces_and_an_assembly(tmp_path):
    (tmp_path / "a.inp").write_text(ABAQUS_PART)
    with pytest.raises(ProblemError, match="includes .*rest.txt', which does not exist"):
        read_mesh(tmp_path / "a.inp")
    (tmp_path / "rest.txt").write_text("*Elset, elset=again\nboth\n")
    found = read_mesh(tmp_path / "a.inp")
    both = [0, 1]
    assert {n: v.tolist() for n, v in found.volumes.items()} == {"left": [0], "right": [1], "both": both, "again": both}
    faces = {n: sorted(facet_quadrature(found, 1, f).X.tolist()) for n, f in found.surfaces.items()}
    assert faces == {"bottom": [[0.5, 0.0], [1.5, 0.0]], "wall": [[0.0, 0.5], [2.0, 0.5]],
                     "top": [[0.5, 1.0], [1.5, 1.0]]}


@pytest.mark.parametrize("kind", ["tetra", "hexahedron", "triangle6", "tetra10"])
def test_abaqus_sides_of_elements_lie_where_its_manual_says(tmp_path, kind):
    of = KINDS[kind]
    names = {"triangle6": "CPS6", "tetra": "C3D4", "tetra10": "C3D10", "hexahedron": "C3D8R"}
    X = of.nodes.numpy()
    lines = ["*NODE", *(f"{i + 1}, {', '.join(map(str, x))}" for i, x in enumerate(X)), f"*ELEMENT, TYPE={names[kind]}",
             "1, " + ", ".join(str(i + 1) for i in range(of.size))]
    sides = {"triangle": "12 23 31", "tetra": "123 142 243 341", "hexahedron": "1234 5876 1562 2673 3784 4851"}
    sides = sides[of.shape.name].split()
    for i in range(len(sides)):
        lines += [f"*SURFACE, NAME=side{i}", f"1, S{i + 1}"]
    (tmp_path / "a.inp").write_text("\n".join(lines))
    found = read_mesh(tmp_path / "a.inp")
    for i, side in enumerate(sides):
        (facet,) = found.chosen(found.surfaces[f"side{i}"])
        assert {int(c) - 1 for c in side} == set(facet.nodes[0, :len(side)].tolist())
