"""AirfRANS: its files in every encoding of VTK's XML, its names and splits, and forces known by hand."""

import base64
import json
import math
import zlib

import meshio
import numpy as np
import pytest
import torch

from sciml.errors import ProblemError
from sciml.mesh.structured import box
from sciml.samples import AirfRANS
from sciml.samples.airfrans import VISCOSITY, Case, Flight, gradients
from sciml.samples.vtkxml import Piece, read_vtk

NAME = "airFoil2D_SST_40.0_30.0_3.551_3.1_1.0_18.252"
KINDS = {np.dtype("f8"): "Float64", np.dtype("f4"): "Float32", np.dtype("i8"): "Int64"}


def block(values, form, compress, header):
    """An array of VTK's XML: text, or header and bytes."""
    if form == "ascii":
        return " ".join(repr(v.item()) for v in values.ravel()).encode()
    raw, code = values.tobytes(), (base64.b64encode if form == "base64" else bytes)
    if not compress:
        return code(np.array([len(raw)], header).tobytes() + raw)
    parts = [zlib.compress(raw[i:i + 64]) for i in range(0, len(raw), 64)]
    head = np.array([len(parts), 64, len(raw) % 64, *map(len, parts)], header)
    return code(head.tobytes()) + code(b"".join(parts))


def write_vtp(path, X, lines, points, form="ascii", compress=False, appended=False, header="u4"):
    """A .vtp file, in the way that is asked for."""
    rest = b""

    def array(name, values, columns=1):
        nonlocal rest
        values = np.ascontiguousarray(values)
        tag = f'<DataArray type="{KINDS[values.dtype]}" Name="{name}" NumberOfComponents="{columns}" '
        data = block(values, form, compress, header)
        if appended:
            tag, rest = tag + f'format="appended" offset="{len(rest)}"/>', rest + data
            return tag.encode()
        kind = "ascii" if form == "ascii" else "binary"
        return (tag + f'format="{kind}">').encode() + data + b"</DataArray>"

    ends = np.cumsum([len(line) for line in lines])
    body = b"<Points>" + array("Points", X, 3) + b"</Points><Lines>" + array("connectivity", np.concatenate(lines))
    body += array("offsets", ends) + b"</Lines><PointData>"
    body += b"".join(array(n, v, 3 if v.ndim > 1 else 1) for n, v in points.items()) + b"</PointData>"
    attributes = ' compressor="vtkZLibDataCompressor"' if compress else ""
    head = (f'<VTKFile type="PolyData" byte_order="LittleEndian" header_type="UInt{8 * int(header[1])}"{attributes}>'
            f'<PolyData><Piece NumberOfPoints="{len(X)}" NumberOfLines="{len(lines)}">').encode()
    tail = f'<AppendedData encoding="{form}">_'.encode() + rest + b"</AppendedData>" if appended else b""
    path.write_bytes(head + body + b"</Piece></PolyData>" + tail + b"</VTKFile>")


def square_loop(n=8):
    """Points (4n, 3) around the square (⅓, ⅔)², counterclockwise, and their normals into the body."""
    s = np.arange(n) / n / 3
    lo, hi = np.full(n, 1 / 3), np.full(n, 2 / 3)
    X = np.stack([np.concatenate([lo + s, hi, hi - s, lo]), np.concatenate([lo, lo + s, hi, hi - s])], 1)
    outward = np.repeat([[0, -1.0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0]], n, 0)
    return np.column_stack([X, np.zeros(4 * n)]), -outward


def fields(X):
    """U = (y − 2x, 3x + 2y), p = 5 + 7x − 2y, ν_t = x."""
    x, y = X[:, 0], X[:, 1]
    return np.stack([y - 2 * x, 3 * x + 2 * y, 5 + 7 * x - 2 * y, x], 1)


def write_case(root, name=NAME, change=lambda f, wall: f):
    """A case around a square body in the unit square, its volume by meshio."""
    complex_ = box([(0, 1), (0, 1)], [24, 24])
    cells = complex_.blocks[0].nodes
    middle = complex_.X[cells].mean(1)
    cells = cells[((middle - 0.5).abs() > 1 / 6).any(1)]
    used, back = torch.unique(cells, return_inverse=True)
    X, cells = complex_.X[used].numpy(), back.numpy()
    loop, normals = square_loop()
    wall = (np.abs(X - 0.5).max(1) < 1 / 6 + 1e-9)
    f = change(fields(X), wall)
    (root / name).mkdir(parents=True)
    data = {"U": np.column_stack([f[:, :2], 0 * f[:, 0]]), "p": f[:, 2], "nut": f[:, 3],
            "implicit_distance": -np.abs(X - 0.5).max(1) + 1 / 6}
    X3 = np.column_stack([X, 0 * X[:, 0]])
    meshio.Mesh(X3, [("triangle", cells)], point_data=data).write(root / name / f"{name}_internal.vtu")
    n = len(loop)
    lines = [np.array([i, (i + 1) % n]) if i % 2 else np.array([(i + 1) % n, i]) for i in range(n)]  # turned at random
    write_vtp(root / name / f"{name}_aerofoil.vtp", loop, lines, {"Normals": normals})
    return f


def still(f, wall):
    f = np.zeros_like(f)
    f[:, 2] = 1
    return f


@pytest.mark.parametrize("header", ["u4", "u8"])
@pytest.mark.parametrize(("form", "compress", "appended"), [
    ("ascii", False, False), ("base64", False, False), ("base64", True, False), ("base64", False, True),
    ("base64", True, True), ("raw", False, True), ("raw", True, True)])
def test_every_encoding_of_vtk_gives_the_same_numbers(tmp_path, form, compress, appended, header):
    X, normals = square_loop()
    lines, p = [np.arange(20), np.arange(19, 32)], np.random.default_rng(0).standard_normal(32).astype("f4")
    write_vtp(tmp_path / "a.vtp", X, lines, {"Normals": normals, "p": p}, form, compress, appended, header)
    found = read_vtk(tmp_path / "a.vtp")
    assert np.array_equal(found.X, X) and np.array_equal(found.points["p"], p)
    assert np.array_equal(found.points["Normals"], normals) and found.ends.tolist() == [20, 33]
    assert np.array_equal(found.cells, np.concatenate(lines))


@pytest.mark.parametrize("options", [{"binary": False}, {"compression": None}, {"compression": "zlib"},
                                     {"compression": "lzma"}], ids=str)
def test_what_meshio_writes_is_read(tmp_path, options):
    X = np.random.default_rng(0).standard_normal((5, 3))
    cells = [("triangle", np.array([[0, 1, 2], [1, 2, 3]])), ("quad", np.array([[0, 1, 3, 4]]))]
    meshio.vtu.write(tmp_path / "a.vtu", meshio.Mesh(X, cells, point_data={"U": 2 * X}), **options)
    found = read_vtk(tmp_path / "a.vtu")
    assert np.allclose(found.X, X, rtol=1e-15) and np.allclose(found.points["U"], 2 * X, rtol=1e-15)
    assert found.cells.tolist() == [0, 1, 2, 1, 2, 3, 0, 1, 3, 4] and found.ends.tolist() == [3, 6, 10]


def test_gradients_of_linear_functions_are_exact_on_polygons_of_either_turn():
    X = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [1, 2, 0], [0, 1, 0], [3, 3, 0.0]])
    piece = Piece(X, np.array([0, 1, 2, 3, 4, 3, 2, 5]), np.array([5, 8]), {}, {})
    found = gradients(piece, torch.as_tensor(fields(X)[:, :2]))
    expected = torch.tensor([[-2.0, 1.0], [3.0, 2.0]], dtype=torch.float64)
    assert torch.allclose(found, expected.expand(6, 2, 2), atol=1e-13)


def test_a_constant_pressure_makes_no_force(tmp_path):
    write_case(tmp_path, change=still)
    (tmp_path / "manifest.json").write_text(json.dumps({"full_train": [], "full_test": [NAME]}))
    case = AirfRANS(tmp_path).case(NAME)
    assert case.force(case.targets()).abs().max() < 1e-12


def test_the_force_of_linear_fields_is_the_one_by_hand(tmp_path):
    write_case(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"full_train": [], "full_test": [NAME]}))
    case = AirfRANS(tmp_path).case(NAME)
    f = case.targets()
    assert torch.allclose(f, torch.as_tensor(fields(case.X.numpy())), atol=1e-15)
    pressure = -torch.tensor([7.0, -2.0], dtype=torch.float64) / 9             # −∮ p n = −|body| ∇p; ∮ τ n = 0
    assert torch.allclose(case.force(f), pressure, atol=1e-12)
    c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
    expected = 2 / 1600 * torch.tensor([-7 * c + 2 * s, 2 * c + 7 * s], dtype=torch.float64) / 9
    assert torch.allclose(case.coefficients(f), expected, atol=1e-14)


def test_a_shear_at_one_side_pulls_by_hand(tmp_path):
    """U = (max(y − ⅔, 0), 0): the gradient is (0, 1) above the body, so the upper side is pulled by ν a length."""
    def above(f, wall):
        return 0 * f

    write_case(tmp_path, change=above)
    (tmp_path / "manifest.json").write_text(json.dumps({"full_train": [], "full_test": [NAME]}))
    case = AirfRANS(tmp_path).case(NAME)
    f = torch.zeros(len(case.X), 4, dtype=torch.float64)
    f[:, 0] = (case.X[:, 1] - 2 / 3).clamp(min=0)
    force = case.force(f)
    # Inner points of the upper side see cells above only; a corner also those beside it, in which the shear is 0.
    corners = 2 * (1 / 24)
    assert VISCOSITY * (1 / 3 - corners) < float(force[0]) < VISCOSITY * 1 / 3 * (1 + 1e-9)
    assert abs(float(force[1])) < VISCOSITY / 12


def test_inputs_hold_the_wall_and_the_flight(tmp_path):
    write_case(tmp_path, change=lambda f, wall: np.where(wall[:, None], 0, f + 10))
    (tmp_path / "manifest.json").write_text(json.dumps({"full_train": [], "full_test": [NAME]}))
    case = AirfRANS(tmp_path).case(NAME)
    given = case.inputs()
    assert int(case.wall.sum()) == 32 and given.shape == (len(case.X), 7)
    assert torch.allclose(given[0, 2:4], 40 * torch.tensor([math.cos(math.pi / 6), 0.5], dtype=torch.float64))
    assert torch.all(given[~case.wall, 5:] == 0)
    top = case.wall & (case.X[:, 1] > 2 / 3 - 1e-9) & ((case.X[:, 0] - 0.5).abs() < 0.1)
    assert torch.all(given[top, 5:] == torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.all(given[:, 4] >= -1e-12)                                     # −implicit_distance, positive outside


def test_scores_are_zero_for_the_truth_and_known_for_a_shift(tmp_path):
    names = [NAME.replace("40.0", v) for v in ("40.0", "50.0", "60.0")]
    still_wall = np.array([True, True, False, True])
    lift = lambda k: lambda f, wall: np.where(wall[:, None] & still_wall, 0, (k + 1) * (f + 10))
    for k, name in enumerate(names):
        write_case(tmp_path, name, lift(k))
    (tmp_path / "manifest.json").write_text(json.dumps({"full_train": names, "full_test": names}))
    data = AirfRANS(tmp_path)
    truth = {name: data.case(name).targets() for name in names}
    std = torch.tensor([1.0, 2.0, 4.0, 1.0], dtype=torch.float64)
    exact = data.score(truth, std)
    assert exact["volume"] == [0] * 4 and exact["drag"] == 0 and abs(exact["lift_rank"] - 1) < 1e-12
    shifted = data.score({name: f + 1 for name, f in truth.items()}, std)
    assert np.allclose(shifted["volume"], [1, 0.25, 0.0625, 1]) and np.allclose(shifted["surface"], [0, 0, 0.0625, 0])


def test_names_and_splits_are_those_of_the_data_set(tmp_path):
    flight = Flight.of(NAME)
    assert flight.speed == 40 and abs(flight.angle - math.pi / 6) < 1e-15 and flight.digits == (3.551, 3.1, 1.0)
    names = [f"c{i}" for i in range(25)]
    lists = {"full_train": names, "full_test": ["t"], "scarce_train": names[:10]}
    (tmp_path / "manifest.json").write_text(json.dumps(lists))
    assert AirfRANS(tmp_path).splits == {"train": names[:23], "valid": names[23:], "test": ["t"]}
    assert AirfRANS(tmp_path, "scarce").splits == {"train": names[:9], "valid": names[9:10], "test": ["t"]}
    for ask, sentence in (
        (lambda: AirfRANS(tmp_path, "half"), "unknown task of AirfRANS 'half'"),
        (lambda: AirfRANS(tmp_path, "aoa"), "unknown list in the manifest"),
        (lambda: AirfRANS(tmp_path / "none"), "there is no"), (lambda: Flight.of("wing"), "is no name of AirfRANS"),
        (lambda: AirfRANS(tmp_path).case(NAME), "there is no file"),
    ):
        with pytest.raises(ProblemError, match=sentence):
            ask()


@pytest.mark.parametrize(("text", "sentence"), [
    ("solid", "is no XML file of VTK"), ("<VTKFile><PolyData/></VTKFile>", "has 0 pieces"),
    ('<VTKFile compressor="vtkLZ4DataCompressor"><P><Piece/></P></VTKFile>', "compressed by vtkLZ4DataCompressor")])
def test_files_that_are_something_else_are_refused(tmp_path, text, sentence):
    (tmp_path / "a.vtp").write_text(text)
    with pytest.raises(ProblemError, match=sentence):
        read_vtk(tmp_path / "a.vtp")


def test_a_case_stands_on_its_own():
    piece = Piece(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, int), {"U": np.zeros((0, 3))}, {})
    assert len(Case(NAME, Flight.of(NAME), piece, piece).X) == 0
