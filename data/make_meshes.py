"""Make the mesh files again: `python data/make_meshes.py cylinder drum`; without names, all of them."""

from __future__ import annotations

import sys
import time
from math import pi
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import meshio  # noqa: E402
import numpy as np  # noqa: E402

from sciml.errors import SciMLError, look_up  # noqa: E402
from sciml.geometry import Ball, Box  # noqa: E402
from sciml.geometry.meshing import mesh_of  # noqa: E402
from sciml.mesh import Complex  # noqa: E402
from sciml.mesh.generate import between  # noqa: E402
from sciml.mesh.outline import arc, circle, line, polygon  # noqa: E402
from sciml.mesh.quality import quality  # noqa: E402

HERE = Path(__file__).resolve().parent / "meshes"


def graded(*places, most, growth=0.2):
    """Size of cells: h at points (x, y, h), or at circles (x, y, h, radius), growing with distance up to `most`."""

    def size(X):
        found = X.new_full((len(X),), most)
        for x, y, h, *radius in places:
            away = (X - X.new_tensor([x, y])).norm(dim=1) - (radius[0] if radius else 0)
            found = found.minimum(h + growth * away.clamp(min=0))
        return found

    return size


def lshape() -> Complex:
    """(−1, 1)² without its lower right quarter, graded to the re-entrant corner at the origin."""
    P = [(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)]
    return between(polygon(P, "wall"), graded((0, 0, 0.004), most=0.08), ("inside",))


def four_holes() -> Complex:
    """(−½, ½)² without four disks of radius 0.1 around (±0.3, ±0.3)."""
    holes = [(x, y) for x in (-0.3, 0.3) for y in (-0.3, 0.3)]
    curves = polygon([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], "square")
    curves += [circle(c, 0.1, f"hole{i}", -1, 0) for i, c in enumerate(holes, 1)]
    return between(curves, graded(*[(x, y, 0.03, 0.1) for x, y in holes], most=0.045), ("inside",), order=2)


def plate_hole() -> Complex:
    """Quarter of a plate of side 4 with a hole of radius ½ in its middle: (0, 2)² without the disk at the origin."""
    curves = [line((0.5, 0), (2, 0), "bottom"), line((2, 0), (2, 2), "right"), line((2, 2), (0, 2), "top"),
              line((0, 2), (0, 0.5), "left"), arc((0, 0), 0.5, (pi / 2, 0), "hole")]
    return between(curves, graded((0, 0, 0.03, 0.5), most=0.16), ("plate",), order=2)


def bracket() -> Complex:
    """L-shaped bracket, 100 × 120 mm with arms of 30 mm, a fillet of 15 mm and two bolt holes of 12 mm, in metres."""
    a, w, H, W, r = 0.015, 0.03, 0.12, 0.1, 0.006
    curves = [line((0, 0), (W, 0), "bottom"), line((W, 0), (W, w), "tip"), line((W, w), (w + a, w), "inner"),
              arc((w + a, w + a), a, (-pi / 2, -pi), "fillet"), line((w, w + a), (w, H), "inner"),
              line((w, H), (0, H), "top"), line((0, H), (0, 0), "back"),
              circle((w / 2, 0.1), r, "bolt1", -1, 0), circle((w / 2, 0.06), r, "bolt2", -1, 0)]
    places = [(w / 2, 0.1, 0.0012, r), (w / 2, 0.06, 0.0012, r), (w + a, w + a, 0.0014, a)]
    return between(curves, graded(*places, most=0.005), ("bracket",), order=2)


def plate_holes_heat() -> Complex:
    """(−8, 8) × (−12, 12) without 11 disks of radius 1 and 6 of radius 0.4 (case Heat 2d-CG of PINNacle)."""
    large = [(x, y) for x in (-4, 4) for y in (-9, -3, 3, 9)] + [(0, y) for y in (-6, 0, 6)]
    small = [(x, y) for x in (-3.2, 3.2) for y in (-6, 0, 6)]
    curves = polygon([(-8, -12), (8, -12), (8, 12), (-8, 12)], "outer")
    curves += [circle(c, 1.0, "large", -1, 0) for c in large] + [circle(c, 0.4, "small", -1, 0) for c in small]
    places = [(x, y, 0.55, 1.0) for x, y in large] + [(x, y, 0.28, 0.4) for x, y in small]
    return between(curves, graded(*places, most=1.2), ("plate",), order=2)


def step() -> Complex:
    """Backward step, (0, 4) × (0, 2) without (0, 2) × (1, 2), graded to the edge (case NS 2d-CG of PINNacle)."""
    P = [(0, 0), (4, 0), (4, 2), (2, 2), (2, 1), (0, 1)]
    names = ["walls", "outlet", "walls", "walls", "walls", "inlet"]
    return between(polygon(P, names), graded((2, 1, 0.02), most=0.12), ("fluid",))


def cylinder() -> Complex:
    """Channel (0, 2.2) × (0, 0.41) with a cylinder of radius 0.05 around (0.2, 0.2) (DFG benchmark 2D-1)."""
    names = ["walls", "outlet", "walls", "inlet"]
    curves = polygon([(0, 0), (2.2, 0), (2.2, 0.41), (0, 0.41)], names) + [circle((0.2, 0.2), 0.05, "cylinder", -1, 0)]
    return between(curves, graded((0.2, 0.2, 0.01, 0.05), most=0.06), ("fluid",), order=2)


def two_materials() -> Complex:
    """Unit square with a round inclusion of radius 0.25 in its middle; edges follow the interface."""
    curves = polygon([(0, 0), (1, 0), (1, 1), (0, 1)], ["bottom", "right", "top", "left"])
    curves += [circle((0.5, 0.5), 0.25, "interface", 1, 0)]
    return between(curves, graded((0.5, 0.5, 0.04, 0.25), most=0.06), ("matrix", "inclusion"), order=2)


def drum() -> Complex:
    """The first of the isospectral drums of Gordon, Webb and Wolpert (1992), of seven triangles with legs of 1."""
    P = [(0, 0), (1, 0), (1, 1), (2, 1), (3, 2), (2, 2), (2, 3), (0, 1)]
    return between(polygon(P, "rim"), graded((1, 1, 0.015), (2, 2, 0.015), most=0.1), ("drum",))


def part3d() -> Complex:
    """Unit cube with a spherical cavity of radius 0.3 in its middle."""
    cube = Box(x=(0, 1), y=(0, 1), z=(0, 1)) - Ball((0.5, 0.5, 0.5), 0.3, name="cavity")
    return mesh_of(cube, 0.13, grade={"cavity": 0.1})


MESHES = {f.__name__: f for f in (lshape, four_holes, plate_hole, bracket, plate_holes_heat, step, cylinder,
                                  two_materials, drum, part3d)}


def write(path: Path, mesh: Complex) -> None:
    """Gmsh's format 2.2 in text, with groups as physical names; all cells have to be in one."""
    (block,), (facets,) = mesh.blocks, mesh.facets
    volumes = dict(mesh.volumes) or {"inside": np.arange(len(mesh))}
    cells, tags, names = [], [], {}
    for dim, kind, nodes, groups in ((block.kind.dim - 1, facets.kind.name, facets.nodes, mesh.surfaces),
                                     (block.kind.dim, block.kind.name, block.nodes, volumes)):
        for name, numbers in groups.items():
            names[name] = np.array([len(names) + 1, dim])
            cells.append((kind, np.asarray(nodes[numbers])))
            tags.append(np.full(len(numbers), len(names)))
    X = np.asarray(mesh.X)
    X = np.concatenate([X, np.zeros((len(X), 3 - X.shape[1]))], 1)
    data = {"gmsh:physical": tags, "gmsh:geometrical": tags}
    found = meshio.Mesh(X, cells, cell_data=data, field_data=names)
    meshio.write(path, found, file_format="gmsh22", binary=False, float_fmt=".15g")


def main(wanted: list[str]) -> int:
    try:
        for name in wanted:
            look_up("mesh file", name, MESHES)
    except SciMLError as error:
        print(error, file=sys.stderr)
        return 1
    HERE.mkdir(exist_ok=True)
    for name in wanted or MESHES:
        began = time.perf_counter()
        mesh = MESHES[name]()
        path = HERE / f"{name}.msh"
        write(path, mesh)
        q = quality(mesh)
        print(f"{name:16s} {len(mesh.X):4d} nodes, {len(mesh):4d} cells, {q.min_angle:4.1f} to {q.max_angle:5.1f}° "
              f"{path.stat().st_size / 1024:4.0f} KiB  {time.perf_counter() - began:4.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
