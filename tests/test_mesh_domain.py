"""Meshes and point clouds as domains: uniform points, groups, sub-domains, time, periodicity, and a first solution."""

from math import pi

import pytest
import torch
from scipy.spatial import Delaunay

import sciml
from sciml import Dirichlet, Disk, Equation, Interval, Mesh, Periodic, PointCloud, Problem, ProblemError
from sciml.geometry.mesh import find_mesh
from sciml.mesh import KINDS, Cells, Complex, volumes
from sciml.mesh.geometry import mapped
from sciml.mesh.structured import box, quadratic

KINDS_OF_BOX = [(1, "line"), (2, "triangle"), (2, "quad"), (3, "tetra"), (3, "hexahedron")]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def distorted(dim, kind, order, cells=3):
    """A box whose inner nodes are moved: cells of different sizes, and of varying Jacobians."""
    made = box([(0, 1)] * dim, [cells] * dim, kind)
    made = quadratic(made) if order > 1 else made
    X = made.X
    bump = 0.1 * (pi * X).sin().prod(1, keepdim=True) * (3 * X + torch.arange(dim)).cos()
    return made.moved(X + bump)


def disk(rings, order):
    """The unit disk: rings of points, triangles between them, nodes in the middle of rim edges moved to the circle."""
    X = [torch.zeros(1, 2, dtype=torch.float64)]
    for k in range(1, rings + 1):
        angle = torch.arange(6 * k, dtype=torch.float64) * (2 * pi / (6 * k))
        X.append(torch.stack([angle.cos(), angle.sin()], 1) * (k / rings))
    X = torch.cat(X)
    nodes = torch.from_numpy(Delaunay(X.numpy()).simplices.astype("int64"))
    made = Complex(X, (Cells(KINDS["triangle"], nodes),))
    nodes[volumes(made) < 0] = nodes[volumes(made) < 0][:, [1, 0, 2]]
    if order == 1:
        return made
    made = quadratic(made)
    rim = made.surface(None).X
    on_rim = (made.X[:, None] == rim).all(2).any(1)
    return made.moved(torch.where(on_rim[:, None], made.X / made.X.norm(dim=1, keepdim=True).clamp(min=0.1), made.X))


def two_metals():
    """A square of copper below and steel above, with the line between them as a group."""
    made = box([(0, 1), (0, 1)], (4, 4))
    high = made.X[made.blocks[0].nodes].mean(1)[:, 1] > 0.5
    (facets,) = made.facets
    middle = made.X[facets.nodes].mean(1)
    seam = ((middle[:, 1] - 0.5).abs() < 1e-12).nonzero()[:, 0]
    return Complex(made.X, made.blocks, {"steel": high.nonzero()[:, 0], "copper": (~high).nonzero()[:, 0]},
                   {**made.surfaces, "seam": seam})


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("dim, kind", KINDS_OF_BOX)
def test_points_fall_into_cells_and_their_halves_in_proportion_to_measure(dim, kind, order):
    """χ² over cells, each cut in two at a half of the first coordinate of its reference cell."""
    made = distorted(dim, kind, order)
    mesh = Mesh(made)
    N = 20000
    X = mesh.sample(N, generator=seeded()).X
    found = mesh.locator.find(X)
    assert (found.cell >= 0).all()
    bins = 2 * found.cell + (found.xi[:, 0] > 0.3)
    count = bins.bincount(minlength=2 * len(made))
    # Shares by quadrature on a reference cell cut at ξ₁ = 0.3: Gauss on either side.
    share = halves(made, 0.3)
    chi2 = ((count - N * share) ** 2 / (N * share)).sum().item()
    freedom = len(share) - 1
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5


def halves(made, cut):
    """Shares of the volume with ξ₁ below and above a cut, shape (2 E,): Gauss on either side, slices of ξ₁ by ξ₁."""
    (block,) = made.blocks
    d = block.kind.dim
    xi, w = block.kind.shape.rule(12)
    parts = []
    for low, high in ((0.0, cut), (cut, 1.0)):
        first = low + (high - low) * xi[:, :1]
        # Slices of a simplex at ξ₁ have the size 1 − ξ₁.
        shrink = (1 - first) / (1 - xi[:, :1]) if block.kind.shape.simplex else torch.ones_like(first)
        weight = w * (high - low) * shrink[:, 0] ** (d - 1)
        parts.append((mapped(made.X, block, torch.cat([first, xi[:, 1:] * shrink], 1)).measure * weight).sum(1))
    both = torch.stack(parts, 1).reshape(-1)
    return both / both.sum()


@pytest.mark.parametrize("dim, kind", KINDS_OF_BOX[1:])
def test_points_of_a_curved_boundary_are_uniform_on_it(dim, kind):
    region = Mesh(distorted(dim, kind, 2)).region("boundary")
    points = region.sample(20000, generator=seeded())
    facet = region.surface.nearest(points.X).facet
    share = region.charted.measures / region.charted.measures.sum()
    chi2 = ((facet.bincount(minlength=len(share)) - 20000 * share) ** 2 / (20000 * share)).sum().item()
    assert chi2 < len(share) + 5 * (2 * len(share)) ** 0.5


@pytest.mark.parametrize("order, rate", [(1, 2), (2, 4)])
def test_the_area_of_a_meshed_disk_tends_to_pi_with_the_order_of_its_cells(order, rate):
    errors = [abs(Mesh(disk(k, order)).measure - pi) for k in (4, 8, 16)]
    for a, b in zip(errors, errors[1:], strict=False):
        assert abs(torch.log2(torch.tensor(a / b)).item() - rate) < 0.1
    rim = Mesh(disk(16, order)).region("boundary")
    assert rim.measure == pytest.approx(2 * pi, rel=2e-3 if order == 1 else 2e-6)


def test_normals_of_a_curved_boundary_tend_to_those_of_the_circle():
    worst = []
    for k in (4, 8):
        points = Mesh(disk(k, 2)).region("boundary").sample(2000, generator=seeded())
        worst.append((points.normals - points.X / points.X.norm(dim=1, keepdim=True)).norm(dim=1).max().item())
    # Slopes of parabolas deviate by O(h³).
    assert worst[1] < worst[0] / 7 and worst[1] < 1e-3


def test_distance_and_membership_are_those_of_the_disk_up_to_its_approximation():
    mesh = Mesh(disk(8, 2))
    X = 2.4 * torch.rand(3000, 2, generator=seeded(), dtype=torch.float64) - 1.2
    exact = Disk((0, 0), 1.0).distance(X)
    assert (mesh.distance(X) - exact).abs().max() < 1e-5       # O(h⁴): h⁴/128 with h = π/24
    sure = exact.abs() > 1e-5
    assert torch.equal(mesh.contains(X)[sure], exact[sure] < 0)


def test_groups_of_cells_are_sub_domains():
    mesh = Mesh(two_metals())
    assert mesh.parts == ("steel", "copper") and "steel" not in mesh.faces
    steel = mesh.part("steel")
    assert steel.measure == pytest.approx(0.5) and steel.bounds == ((0.0, 1.0), (0.5, 1.0))
    assert steel.faces == ("x-", "x+", "y+", "seam", "boundary")
    assert steel.region("x-").measure == pytest.approx(0.5)
    assert steel.region("boundary").measure == pytest.approx(3.0)
    # Seen from the steel, the seam's normal points down.
    assert torch.allclose(steel.region("seam").sample(5, generator=seeded()).normals[:, 1], -torch.ones(5).double())
    moving = mesh * Interval(t=(0, 2))
    assert moving.parts == mesh.parts and moving.part("copper").measure == pytest.approx(1.0)
    with pytest.raises(ProblemError, match="unknown part 'stel'; did you mean 'steel'"):
        mesh.part("stel")


def test_groups_of_facets_inside_are_regions_but_not_boundary():
    mesh = Mesh(two_metals())
    seam = mesh.region("seam")
    points = seam.sample(50, generator=seeded())
    assert torch.allclose(points.X[:, 1], torch.full((50,), 0.5).double())
    assert mesh.region("boundary").measure == pytest.approx(4.0)
    assert (mesh * Interval(t=(0, 1))).region("boundary").measure == pytest.approx(4.0)


def test_groups_that_overlap_become_pieces_that_do_not():
    made = box([(0, 1), (0, 1)], (2, 2))
    faces = made.surfaces
    mesh = Mesh(Complex(made.X, made.blocks, surfaces={
        "wall": torch.cat([faces["x-"], faces["y-"]]), "inlet": faces["x-"], "boundary": made.boundary}))
    assert mesh.faces == ("wall", "wall and inlet", "unnamed", "inlet", "boundary")
    assert mesh.region("inlet").measure == 1.0 and mesh.region("wall").measure == 2.0
    assert mesh.region("boundary").measure == pytest.approx(4.0)
    assert Mesh(Complex(made.X, made.blocks)).faces == ("boundary",)
    assert "rest" in Mesh(Complex(made.X, made.blocks, surfaces={"a": faces["x-"]}), unnamed="rest").faces


def test_an_equation_is_asked_on_a_group_of_cells_by_its_name():
    def problem(domain, on):
        return Problem(domain, "u", [Equation(lambda u: u.xx + u.yy, on=on, name="heat"), Dirichlet(u=0.0)])

    for domain in (Mesh(two_metals()), Mesh(two_metals()) * Interval(t=(0, 1))):
        (block,) = [b for b in problem(domain, "steel").blocks if b.name == "heat"]
        assert (block.region.sample(100, generator=seeded()).column("y") >= 0.5).all()
        with pytest.raises(ProblemError, match="unknown region 'stel'; did you mean 'steel'"):
            problem(domain, "stel")
        with pytest.raises(ProblemError, match="several parts of the inside"):
            problem(domain, ["steel", "copper"])


def test_faces_of_a_mesh_that_match_are_periodic():
    made = box([(0, 2), (0, 1)], (4, 3))
    f = made.surfaces
    made = Complex(made.X, made.blocks, surfaces={"left": f["x-"], "right": f["x+"], "low": f["y-"], "high": f["y+"]})
    for domain in (Mesh(made), Mesh(made) * Interval(t=(0, 1))):
        assert domain.opposite("left") == "right" and domain.translation("right", "left") == ("x", pytest.approx(-2.0))
        problem = Problem(domain, "u", [Equation(lambda u: u.xx + u.yy), Periodic(on=["low", "high"])])
        (block,) = [b for b in problem.blocks if b.kind == "periodic"]
        assert block.partner == ("y", pytest.approx(1.0))
        with pytest.raises(ProblemError, match="'high' .* is not 'left' moved along one coordinate"):
            Problem(domain, "u", [Equation(lambda u: u.xx), Periodic(on=["left", "high"])])
    # A box says it by its coordinate, or in the same way.
    square = sciml.Box(x=(0, 2), y=(0, 1))
    assert square.translation("x+", "x-") == ("x", -2)
    with pytest.raises(ProblemError, match="are not opposite; 'x-' faces 'x\\+'"):
        square.translation("x-", "y+")


def test_a_quadrature_takes_the_highest_degree_that_fits():
    mesh = Mesh(box([(0, 1), (0, 1)], (4, 4)))                   # 32 triangles
    x4 = lambda p: (p.weights * p.column("x") ** 4).sum().item()
    assert len(mesh.quadrature(32 * 6)) == 32 * 6 and x4(mesh.quadrature(32 * 6)) == pytest.approx(0.2, rel=1e-13)
    assert len(mesh.quadrature(32 * 6 - 1)) == 32 * 3 and len(mesh.quadrature(40)) == 32
    few = mesh.quadrature(10)
    assert len(few) == 10 and few.weights.sum().item() == pytest.approx(1.0)


def test_points_come_in_the_dtype_that_is_asked_for_and_are_inside():
    mesh = Mesh(disk(4, 2))
    for rule in ("uniform", "sobol"):
        points = mesh.sample(500, generator=seeded(), rule=rule, dtype=torch.float32)
        assert points.X.dtype == torch.float32 and mesh.contains(points.X).all()
    assert mesh.distance(points.X).dtype == torch.float32


def test_the_inside_of_a_surface_is_the_domain_of_its_cells():
    made = distorted(3, "tetra", 1)
    inside, solid = Mesh(made.surface()), Mesh(made)
    X = 1.6 * torch.rand(2000, 3, generator=seeded(), dtype=torch.float64) - 0.3
    assert torch.allclose(inside.distance(X), solid.distance(X), atol=1e-12)
    assert inside.measure == pytest.approx(solid.measure, rel=1e-12)
    numbers = torch.arange(len(made.surface()))
    grouped = Complex(made.surface().X, made.surface().blocks, {"lid": numbers[:5]})
    assert Mesh(grouped).faces == ("lid", "unnamed", "boundary")
    cube = Mesh(box([(0, 1)] * 3, [2] * 3).surface())
    assert cube.sample(100, generator=seeded()).X.shape == (100, 3)


def test_a_mesh_file_is_found_in_the_folders_of_data(tmp_path, monkeypatch):
    (tmp_path / "data" / "meshes").mkdir(parents=True)
    (tmp_path / "data" / "meshes" / "part.msh").touch()
    monkeypatch.chdir(tmp_path)
    assert find_mesh("part.msh") == tmp_path / "data" / "meshes" / "part.msh"
    with pytest.raises(ProblemError, match="unknown mesh file 'prat.msh'; did you mean 'part.msh'.* Looked in"):
        find_mesh("prat.msh")


def test_poisson_on_a_mesh_is_solved():
    exact = lambda x, y: torch.sin(pi * x) * torch.sin(pi * y)
    problem = Problem(
        domain=Mesh(box([(0, 1), (0, 1)], (6, 6))), unknowns="u",
        conditions=[Equation(lambda u, x, y: u.xx + u.yy + 2 * pi**2 * exact(x, y)), Dirichlet(u=0.0, weight=10.0)],
        reference=dict(u=exact))
    solution = sciml.solve(problem, model="mlp", optimizer="gauss-newton", constraints="soft", steps=25, seed=0,
                           points=300, set={"model.width": 12, "model.depth": 2})
    assert solution.relative_l2()["u"] < 1e-2


# point clouds


def grid(n=20):
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.cartesian_prod(axis, axis)


def square_cloud(n=21, **options):
    axis = torch.linspace(0, 1, n, dtype=torch.float64)
    X = torch.cartesian_prod(axis, axis)
    rim = ((X == 0) | (X == 1)).any(1)
    left = (X[:, 0] == 0) & (X[:, 1] > 0) & (X[:, 1] < 1)
    return PointCloud(X, boundary={"left": left, "rest": rim & ~left}, **options)


@pytest.mark.parametrize("rule", ["uniform", "sobol", "grid"])
def test_samples_of_a_cloud_are_its_points_none_of_them_twice(rule):
    cloud = PointCloud(grid(), weights=torch.full((400,), 1 / 400))
    key = lambda X: (X * 20).long() @ torch.tensor([20, 1])
    points = cloud.sample(300, generator=seeded(), rule=rule)
    assert len(key(points.X).unique()) == 300 and cloud.contains(points.X).all()
    assert torch.isin(key(points.X), key(grid())).all()
    assert len(key(cloud.sample(400, generator=seeded(), rule=rule).X).unique()) == 400
    assert points.weights.sum().item() == pytest.approx(1.0)
    # Beyond its size every point comes equally often, up to one.
    count = key(cloud.sample(1000, generator=seeded(), rule=rule).X).bincount()
    assert set(count.tolist()) == {2, 3}


def test_points_of_a_cloud_are_chosen_in_proportion_to_their_weights():
    W = torch.rand(50, generator=seeded(), dtype=torch.float64) + 0.1
    X = torch.rand(50, 2, generator=seeded(1), dtype=torch.float64)
    cloud = PointCloud(X, weights=W)
    count, g = torch.zeros(50), seeded(2)
    for _ in range(2000):
        drawn = cloud.sample(10, generator=g).X
        count[(drawn[:, None] == X).all(2).nonzero()[:, 1]] += 1
    share = W / W.sum() * 10 * 2000
    # Drawn without replacement, each count has less than the variance of a Poisson variable.
    assert ((count - share).abs() < 5 * share.sqrt()).all()


def test_subsets_along_the_curve_are_even():
    cloud = PointCloud(grid(32), weights=torch.ones(1024) / 1024)
    quarter = lambda X: (X * 4).long().clamp(max=3) @ torch.tensor([4, 1])
    count = quarter(cloud.sample(64, generator=seeded(), rule="sobol").X).bincount(minlength=16)
    assert torch.equal(count, torch.full((16,), 4))


def test_a_cloud_has_boundary_groups_with_estimated_normals():
    cloud = square_cloud()
    assert cloud.faces == ("left", "rest", "boundary")
    points = cloud.region("left").sample(15, generator=seeded())
    assert torch.allclose(points.normals, torch.tensor([-1.0, 0.0]).double().expand(15, 2), atol=1e-12)
    assert cloud.region("left").contains(points.X).all()
    assert cloud.region("boundary").measure == pytest.approx(4.0, rel=0.1)
    angle = torch.linspace(0, 2 * pi, 101, dtype=torch.float64)[:-1]
    rim = torch.stack([angle.cos(), angle.sin()], 1)
    X = torch.cat([rim, Disk((0, 0), 0.95).sample(500, generator=seeded()).X])
    circle = PointCloud(X, boundary={"rim": torch.arange(100)})
    points = circle.region("rim").sample(100, generator=seeded())
    assert torch.allclose(points.normals, points.X, atol=1e-9)
    assert circle.measure == pytest.approx(pi, rel=0.3)          # K = 4 neighbours, and a rim that counts too much


def test_a_cloud_knows_its_neighbourhood_and_works_over_time():
    cloud = square_cloud()
    assert cloud.radius == pytest.approx(0.1)
    X = torch.tensor([[0.51, 0.52], [1.05, 0.5], [1.2, 0.5]], dtype=torch.float64)
    assert cloud.contains(X).tolist() == [True, True, False]
    moving = cloud * Interval(t=(0, 1))
    points = moving.sample(100, generator=seeded(), rule="sobol")
    assert moving.contains(points.X).all()
    assert moving.region("left").sample(10, generator=seeded()).normals.shape == (10, 3)
    right = cloud - sciml.Box(x=(-1, 0.5), y=(-1, 2))
    assert (right.sample(50, generator=seeded()).column("x") > 0.5).all()
    assert len(cloud.quadrature(10**4)) == 441 and len(cloud.quadrature(100)) == 100


@pytest.mark.parametrize("call, sentence", [
    (lambda: Mesh(box([(0, 1)] * 2, [1, 1]), names="x"), "2 coordinates, got 1 names"),
    (lambda: Mesh(3.0), "takes the path of a file or a Complex, got float"),
    (lambda: Mesh(box([(1, 0)] * 3, [1, 1, 1])), "6 of the 6 cells of the mesh have no volume or are turned inside"),
    (lambda: Mesh(box([(0, 1)] * 2, [2, 2])).region("x"), "unknown region 'x'; did you mean"),
    (lambda: renamed("initial").faces, "group 'initial' of the mesh has a name that stands for something else"),
    (lambda: renamed("boundary").faces, "'boundary' is the name of all of it"),
    (lambda: Mesh(Complex(box([(0, 1)] * 2, [1, 1]).X, box([(0, 1)] * 2, [1, 1]).blocks, {"a": torch.tensor([0])},
                          {"a": torch.tensor([0])})), "'a' names a group of cells and a group of facets"),
    (lambda: Mesh(open_surface()), "6 of its 15 edges have no neighbour that continues them; close its holes"),
    (lambda: Mesh(two_metals()).opposite("seam"), "has no opposite face"),
    (lambda: PointCloud(torch.zeros(3)), "at least two points in the rows"),
    (lambda: PointCloud([[0, 0], [1, 1], [0, 0]]), "2 points of the cloud lie at the place of another"),
    (lambda: PointCloud([[0, 0], [1, float("nan")]]), "contains NaN"),
    (lambda: PointCloud(grid(3), weights=torch.zeros(9)), "must be 9 positive numbers"),
    (lambda: PointCloud(grid(3), boundary={"rim": [9]}), "group 'rim' of the point cloud must be a mask of 9 points"),
    (lambda: PointCloud(grid(3), names="x y z"), "2 coordinates, got 3 names"),
    (lambda: PointCloud(grid(3), normals=torch.zeros(3, 2)), "normals have shape \\(3, 2\\), expected \\(9, 2\\)"),
    (lambda: PointCloud(grid(3)).level({}), "no smooth level function"),
    (lambda: PointCloud(grid(3)).sample(0, generator=seeded()), "ask for at least 1"),
    (lambda: square_cloud().region("left").level({}), "constraints='soft'"),
])
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ProblemError, match=sentence):
        call()


def renamed(name):
    made = box([(0, 1)] * 2, [2, 2])
    return Mesh(Complex(made.X, made.blocks, surfaces={name: made.surfaces["x-"]}))


def open_surface():
    made = box([(0, 1)] * 3, [1] * 3).surface()
    return Complex(made.X, (Cells(made.blocks[0].kind, made.blocks[0].nodes[4:]),))
