"""Malformed meshes: each gets the sentence that names its defect, and none is accepted; also what may be forgiven."""

import meshio
import numpy as np
import pytest
import torch

from sciml.errors import ProblemError
from sciml.mesh import KINDS, Cells, Complex, read_mesh
from sciml.mesh.check import check
from sciml.mesh.structured import box, quadratic

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]], dtype=float)
FAN = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
CUBE = np.array([[x, y, z] for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))], dtype=float)
# two triangles on each side of the cube, normals outwards
SKIN = np.array([t for a, b, c, d in KINDS["hexahedron"].shape.facets for t in ((a, b, c), (a, c, d))])
NAMES = ((1, 1, "south"), (1, 2, "rest"), (2, 7, "all"))
LINES = ((1, 1, 2), (2, 2, 3), (2, 3, 4), (2, 4, 1))
TRIANGLES = ((1, 2, 5), (2, 3, 5), (3, 4, 5), (4, 1, 5))


def vtu(X, *cells, name="a.vtu", **more):
    """A file of meshio in a folder."""
    def write(folder):
        points = np.asarray(X, dtype=float)
        points = np.column_stack([points, np.zeros(len(points))]) if points.shape[1] == 2 else points
        meshio.Mesh(points, [(kind, np.asarray(rows)) for kind, rows in cells], **more).write(folder / name)
        return folder / name
    return write


def text(content, name="a.msh"):
    def write(folder):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name
    return write


def cut(made, share):
    """The first part of a file."""
    def write(folder):
        path = made(folder)
        data = path.read_bytes()
        path.write_bytes(data[:int(share * len(data))])
        return path
    return write


def msh(names=NAMES, lines=LINES, cells=TRIANGLES, X=SQUARE, tag=7):
    """A text file of format 2.2 of the square."""
    rows = [f"{i + 1} {x} {y} 0" for i, (x, y) in enumerate(X)]
    elements = [f"1 2 {t} {t} {a} {b}" for t, a, b in lines]
    elements += [f"2 2 {c[3] if len(c) > 3 else tag} 1 {c[0]} {c[1]} {c[2]}" for c in cells]
    return "\n".join(["$MeshFormat", "2.2 0 8", "$EndMeshFormat", "$PhysicalNames", str(len(names)),
                      *(f'{d} {n} "{name}"' for d, n, name in names), "$EndPhysicalNames", "$Nodes", str(len(rows)),
                      *rows, "$EndNodes", "$Elements", str(len(elements)),
                      *(f"{i + 1} {e}" for i, e in enumerate(elements)), "$EndElements", ""])


def grid(kind="triangle", cells=(4, 4)):
    made = box([(0, 1)] * len(cells), cells, kind)
    return made.X.numpy(), made.blocks[0].nodes.numpy().copy()


def folded_quadratic():
    made = quadratic(box([(0, 1), (0, 1)], (1, 1), "triangle"))
    X = made.X.numpy().copy()
    X[(X == [0.5, 0.5]).all(1)] = [0.95, 0.9]
    return vtu(X, ("triangle6", made.blocks[0].nodes.numpy()))


def turned(index, rows=FAN):
    rows = np.array(rows)
    rows[index] = rows[index][[1, 0, *range(2, rows.shape[1])]]
    return rows


def tangled():
    """One inner node of a grid moved over the edge of its neighbours."""
    X, rows = grid()
    X = X.copy()
    X[(X == [0.5, 0.5]).all(1)] = [0.9, 0.6]
    return vtu(X, ("triangle", rows))


def fan_with(*more):
    return np.concatenate([FAN, np.array(more)])


def abaqus(cards):
    head = "*NODE\n" + "\n".join(f"{i + 1}, {x}, {y}" for i, (x, y) in enumerate(SQUARE))
    return text(head + "\n*ELEMENT, TYPE=CPE3, ELSET=all\n"
                + "\n".join(f"{i + 1}, {a}, {b}, {c}" for i, (a, b, c) in enumerate(TRIANGLES)) + "\n" + cards, "a.inp")


GOOD = vtu(SQUARE, ("triangle", FAN))
HALF = np.array([[0, 0], [2, 0], [2, 1], [0, 1], [1, 1], [1, 2], [0, 2]], dtype=float)
MALFORMED = {
    "no file": (lambda f: [GOOD(f), f / "b.vtu"][1], "does not exist in .* did you mean 'a.vtu'"),
    "folder": (lambda f: f, "is a folder"),
    "suffix": (text("x", "a.dwg"), "suffix '.dwg', which is no known mesh format; known are .msh, .vtu"),
    "empty file": (text("", "a.msh"), "is an empty file"),
    "no gmsh": (text("$Hello\n", "a.msh"), "does not begin with \\$MeshFormat"),
    "garbage": (text(b"\x00\x01" * 500, "a.vtk"), "cannot be read: "),
    "garbage xml": (text("<VTKFile", "a.vtu"), "cannot be read: meshio finds no vtu in it; is the file complete"),
    "cut text": (cut(text(msh()), 0.8), "cannot be read: the section \\$Elements has no end"),
    "cut nodes": (cut(text(msh()), 0.4), "cannot be read: the section \\$Nodes has no end"),
    "cut vtu": (cut(GOOD, 0.7), "cannot be read: meshio finds no vtu in it"),
    "short section": (text(msh().replace("$Nodes\n5", "$Nodes\n6")), "fewer numbers than it announces"),
    "lost cells": (text(msh().replace("$Elements\n8", "$Elements\n9")), "announces 9 cells and has 8"),
    "words": (text(msh().replace("0.5 0.5", "half 0.5")), "\\$Nodes holds something else than numbers"),
    "no cells": (text(msh(lines=(), cells=())), "5 nodes and no cells"),
    "only lines": (vtu(SQUARE[:4], ("line", [[0, 1], [1, 2]])), "only line cells; expected triangles"),
    "kind": (vtu(CUBE[:6], ("wedge", [[0, 1, 2, 4, 5, 3]])), "cells of kind wedge; supported are triangle, triangle6"),
    "mixed orders": (vtu(np.concatenate([SQUARE, [[0.5, 0], [0.75, 0.25], [0.25, 0.25]]]), ("triangle", FAN[1:]),
                         ("triangle6", [[0, 1, 4, 5, 6, 7]])), "mixes triangle, triangle6"),
    "unused node": (vtu(np.concatenate([SQUARE, [[3, 4]]]), ("triangle", FAN)),
                    "1 of 6 nodes belong to no cell, first node 5 at \\(3, 4\\).*merge=True"),
    "duplicate node": (vtu(np.concatenate([SQUARE, SQUARE[4:]]),
                           ("triangle", [[0, 1, 4], [1, 2, 4], [2, 3, 5], [3, 0, 5]])),
                       "1 nodes coincide with others, first nodes 4 and 5 at \\(0.5, 0.5\\).*merge=False if they"),
    "node number": (vtu(SQUARE, ("triangle", fan_with([0, 1, 9]))), "1 cells refer to nodes .* cell 4 .* node 9, but"),
    "node of nowhere": (text(msh(cells=((1, 2, 5), (2, 3, 5), (3, 4, 5), (4, 1, 77)))),
                        "1 cells refer to nodes .* a node that the file does not define"),
    "nan": (vtu([[0, 0], [1, 0], [1, 1], [0, 1], [np.nan, 0.5]], ("triangle", FAN)),
            "1 nodes .* not finite, first node 4"),
    "infinite": (vtu([[0, 0], [1, 0], [1, 1], [0, np.inf], [0.5, 0.5]], ("triangle", FAN)), "not finite, first node 3"),
    "node twice": (vtu(SQUARE, ("triangle", fan_with([1, 2, 1]))),
                   "1 cells have one node twice, first cell 4 \\(triangle"),
    "no volume": (vtu([[0, 0], [1, 0], [2, 0], [1, 1]], ("triangle", [[0, 1, 3], [1, 2, 3], [0, 2, 1]])),
                  "1 cells have no volume, first cell 2 \\(triangle at \\(1, 0\\)\\)"),
    "sliver": (vtu(np.concatenate([CUBE[:4], [[0.5, 0.5, 1e-13], [0.5, 0.5, 1]]]),
                   ("tetra", [[0, 1, 2, 5], [0, 2, 3, 5], [0, 1, 2, 4]])), "1 cells have no volume, first cell 2"),
    "inverted": (vtu(SQUARE, ("triangle", turned(2))), "1 of 4 cells are inverted .* first cell 2 \\(triangle at "),
    "inverted tetrahedron": (vtu(grid("tetra", (1, 1, 1))[0], ("tetra", turned(5, grid("tetra", (1, 1, 1))[1]))),
                             "1 of 6 cells are inverted"),
    "tangled": (tangled(), "cells are inverted"),
    "bow tie": (vtu(SQUARE[:4], ("quad", [[0, 1, 3, 2]])), "folded|no volume"),
    "dart": (vtu([[0, 0], [1, 0], [0.2, 0.2], [0, 1]], ("quad", [[0, 1, 2, 3]])), "1 cells are folded"),
    "folded quadratic": (folded_quadratic(), "cells are folded"),
    "cell twice": (vtu(SQUARE, ("triangle", fan_with([4, 1, 2]))), "1 cells have the same corners .* cell 4 as cell 1"),
    "three at a facet": (vtu(np.concatenate([SQUARE, [[2, 0.5], [3, 0.5]]]),
                             ("triangle", fan_with([2, 1, 5], [2, 1, 6]))),
                         "1 facets belong to three or more cells, first the line at \\(1, 0.5\\) to 3: cells overlap"),
    "same side": (vtu([[0, 0], [1, 0], [0.5, 1], [0.4, 0.7]], ("triangle", [[0, 1, 2], [0, 1, 3]])),
                  "1 facets have both cells on the same side, first at \\(0.5, 0\\)"),
    "hanging": (vtu(HALF, ("quad", [[0, 1, 2, 3], [3, 4, 5, 6]])), "1 nodes hang inside facets .* first at \\(1, 1\\)"),
    "hanging in space": (vtu([*CUBE, *(CUBE[5:] * [0.5, 0.5, 1]), *(CUBE[4:] * [0.5, 0.5, 2])],
                             ("hexahedron", [[0, 1, 2, 3, 4, 5, 6, 7], [4, 8, 9, 10, 11, 12, 13, 14]])),
                         "3 nodes hang inside"),
    "unnamed boundary": (text(msh(lines=LINES[:3])), '1 of 4 boundary facets belong to none of the groups rest, south, '
                         'first the line at \\(0, 0.5\\).*unnamed="walls"'),
    "group off the mesh": (text(msh(lines=(*LINES, (2, 1, 3)))),
                           "group 'rest': 1 of its 4 cells are no facet of a cell, first the line at \\(0.5, 0.5, 0"),
    "empty group": (text(msh(names=(*NAMES, (1, 3, "outlet")))),
                    "names the group 'outlet' of dimension 1, but no cells"),
    "no volume mesh": (text(msh(names=(*NAMES, (3, 3, "fluid")))),
                       "group 'fluid' of dimension 3.*made up to dimension 3"),
    "no name": (text(msh(names=((1, 1, ""), *NAMES[1:]))), "group of dimension 1 without a name"),
    "name twice": (text(msh(names=(*NAMES[:2], (1, 3, "rest"), NAMES[2]))),
                   "groups 2 and 3 .* both called 'rest'; rename"),
    "open surface": (vtu(CUBE, ("triangle", SKIN[1:]), name="a.stl"),
                     "surface in space with 3 open edges, first at .* Mesh\\(...\\), an open one cannot"),
    "torn surface": (vtu(CUBE, ("triangle", turned(4, SKIN)), name="a.stl"), "3 edges have triangles .* of opposite"),
    "branching surface": (vtu(np.concatenate([CUBE, [[0.5, 0.5, 3]]]),
                              ("triangle", np.concatenate([SKIN, [[4, 6, 8]]])), name="a.stl"),
                          "1 facets belong to three or more cells, first the line at \\(0.5, 0.5, 1\\) to 3"),
    "cut stl": (cut(vtu(CUBE, ("triangle", SKIN), name="a.stl"), 0.5), "cannot be read|open edges"),
    "empty stl": (text("solid\nendsolid\n" + 90 * " ", "a.stl"), "cannot be read|no cells"),
    "unknown element": (abaqus("*ELEMENT, TYPE=XYZ3\n9, 1, 2, 3\n"), "elements of type XYZ3 are not known"),
    "set of nothing": (abaqus("*ELSET, ELSET=left\n4, 99\n"), "set 'left' has element 99, which does not exist"),
    "set of sets": (abaqus("*ELSET, ELSET=left\nwest\n"), "set 'left' names 'west', which does not exist"),
    "surface side": (abaqus("*SURFACE, NAME=wall\nall, S4\n"), "'wall' has side S4 of a triangle, which has 3 sides"),
    "two parts": (abaqus("*PART, NAME=a\n*END PART\n*PART, NAME=b\n*END PART"), "several parts or instances"),
    "element twice": (abaqus("*ELEMENT, TYPE=CPE3\n1, 1, 2, 3\n"), "defines element 1 twice"),
    "short element": (abaqus("*ELEMENT, TYPE=CPE3\n7, 1, 2\n"), "\\*ELEMENT has 3 numbers, expected a multiple of 4"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_mesh_gets_the_sentence_that_names_it(tmp_path, case, capfd):
    write, sentence = MALFORMED[case]
    path = write(tmp_path)
    capfd.readouterr()
    with pytest.raises(ProblemError, match=sentence) as raised:
        read_mesh(path)
    message = str(raised.value)
    assert message.startswith("mesh '") and "\n" not in message and len(message) < 420
    assert capfd.readouterr() == ("", "")                      # meshio is kept quiet


@pytest.mark.parametrize("options, sentence", [
    (dict(dim=3), "cells of dimension 2, but dim=3 was asked for"),
    (dict(scale=-1.0), "scale=-1.0 must be a positive number"),
    (dict(scale=float("nan")), "must be a positive number"),
])
def test_options_that_do_not_fit_are_refused(tmp_path, options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        read_mesh(GOOD(tmp_path), **options)


def test_a_surface_in_space_is_no_plane_mesh(tmp_path):
    with pytest.raises(ProblemError, match=r"dim=2, but it is a surface in space \(z from 0 to 1\)"):
        read_mesh(vtu(CUBE, ("triangle", SKIN))(tmp_path), dim=2)


def test_checks_apply_to_meshes_that_come_from_elsewhere():
    made = box([(0, 1), (0, 1)], (2, 2), "triangle")
    check(made)
    other = torch.from_numpy(turned(1, made.blocks[0].nodes.numpy()))
    with pytest.raises(ProblemError, match="my mesh: 1 of 8 cells are inverted"):
        check(Complex(made.X, (Cells(KINDS["triangle"], other),)), "my mesh")
