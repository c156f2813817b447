"""The figures of a run: what they show is what the run folder holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import matplotlib
import meshio
import numpy as np
import pytest
import run_folders
from PIL import Image

import sciml.plot as plot
from sciml.errors import ProblemError
from sciml.plot.comparison import common_seconds
from sciml.plot.cut import cut, default_cuts, delaunay
from sciml.plot.density import cell_centers, inside_of, relative_density
from sciml.plot.streamlines import uniform
from sciml.plot.trail import read_trail

FOLDERS = {
    "steady_line": {"solution", "training", "points"},
    "space_time": {"solution", "lines", "training", "points"},
    "flow": {"solution", "lines", "training", "points", "streamlines"},
    "holes": {"solution", "lines", "training", "points"},
    "plane_time": {"solution", "solution_w", "lines", "points"},
    "five_coordinates": {"solution", "lines", "points"},
    "parametric": {"solution", "lines", "points"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {name: getattr(run_folders, name)(root / name) for name in FOLDERS}


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize("name", FOLDERS)
def test_every_figure_that_applies_is_a_readable_png(runs, name):
    paths = plot.plot_run(runs[name])
    assert {path.stem for path in paths} == FOLDERS[name]
    for path in paths:
        assert path.parent == runs[name] / "figures"
        with Image.open(path) as image:
            image.verify()
            assert image.format == "PNG" and min(image.size) > 250


def test_drawing_changes_no_global_and_needs_no_pyplot(runs):
    # Asking for the backend would itself import pyplot.
    script = f"""
import sys, matplotlib
state = lambda: {{k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}}
before = state()
import sciml.plot
assert state() == before
sciml.plot.solution_figure(sciml.plot.read_run({str(runs["steady_line"])!r}))
assert state() == before
assert not {{"matplotlib.pyplot", "meshio"}} & set(sys.modules)
"""
    root = Path(plot.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)


def test_the_style_of_the_user_does_not_leak_into_a_figure(runs):
    with matplotlib.rc_context({"axes.titlesize": 30}):
        figure = plot.solution_figure(plot.read_run(runs["steady_line"]))
        assert matplotlib.rcParams["axes.titlesize"] == 30
    assert figure.axes[0].title.get_size() == 10


def test_time_runs_to_the_right_and_prediction_and_reference_share_their_colours(runs):
    run = plot.read_run(runs["space_time"])
    figure = plot.solution_figure(run)
    prediction, reference, error = (a for a in figure.axes if a.get_title())
    assert (prediction.get_xlabel(), prediction.get_ylabel()) == ("t", "x")
    mesh = prediction.collections[0]
    assert mesh.get_clim() == reference.collections[0].get_clim()
    assert np.array_equal(mesh.get_array(), run.prediction["u"])  # stored (x, t): rows are x
    low, high = error.collections[0].get_clim()
    assert low == -high == -np.abs(run.prediction["u"] - run.reference["u"]).max()
    assert titles(figure)[2] == f"u error, relative L2 {run.relative_l2('u'):.2e}"


def test_the_relative_error_is_taken_from_the_result_when_it_is_there(tmp_path):
    folder = run_folders.steady_line(tmp_path)
    run = plot.read_run(folder)
    error = np.linalg.norm(run.prediction["u"] - run.reference["u"])
    assert run.relative_l2("u") == pytest.approx(error / np.linalg.norm(run.reference["u"]))
    (folder / "result.json").write_text(json.dumps({"relative_l2": {"u": 0.125}}))
    assert "relative L2 1.25e-01" in titles(plot.solution_figure(plot.read_run(folder)))[1]


def test_a_line_shows_the_prediction_dashed_over_the_solid_reference(runs):
    run = plot.read_run(runs["steady_line"])
    reference, prediction = plot.solution_figure(run).axes[0].lines
    assert (reference.get_linestyle(), prediction.get_linestyle()) == ("-", "--")
    assert np.array_equal(prediction.get_ydata(), run.prediction["u"])
    assert np.array_equal(reference.get_ydata(), run.reference["u"])


def test_a_plane_with_time_has_a_row_for_each_of_three_times(runs):
    shown = titles(plot.solution_figure(plot.read_run(runs["plane_time"])))
    assert [t for t in shown if "prediction" in t] == [
        f"u prediction, t = {t}" for t in ("0", "0.5", "1")
    ]


def test_more_coordinates_are_cut_through_the_middle_and_the_title_says_so(runs):
    run = plot.read_run(runs["five_coordinates"])
    figure = plot.solution_figure(run)
    assert figure.get_suptitle().endswith("slice at x3 = 0.5, x4 = 0.5, x5 = 0.5")
    drawn = figure.axes[0].collections[0].get_array()
    assert np.array_equal(drawn, run.prediction["u"][:, :, 4, 4, 4].T)
    figure = plot.solution_figure(plot.read_run(runs["parametric"]))
    assert figure.get_suptitle().endswith("slice at nu = 0.1")


def test_a_parameter_is_an_axis_when_there_is_one_other_coordinate(tmp_path):
    axes = {"x": np.linspace(0, 1, 11), "nu": np.linspace(1, 2, 5)}
    formula = {"u": lambda x, nu: x * nu}
    run = plot.read_run(run_folders.write_run(tmp_path, axes, formula, parameters=["nu"]))
    assert default_cuts(run)[0].names == ("nu", "x")
    legend = plot.lines_figure(run).legends[0]
    assert legend.texts[0].get_text() == "nu = 1"


def test_an_unknown_without_reference_is_drawn_alone(runs, tmp_path):
    shown = titles(plot.solution_figure(plot.read_run(runs["flow"])))
    assert len(shown) == 7 and "p prediction (no reference)" in shown
    bare = plot.read_run(run_folders.flow(tmp_path, reference=False))
    assert sorted(titles(plot.solution_figure(bare))) == [f"{u} prediction" for u in "puv"]
    assert "collocation points" in titles(plot.points_figure(bare))


def test_wide_domains_stack_their_panels(tmp_path):
    figure = plot.solution_figure(plot.read_run(run_folders.flow(tmp_path, width=5.0)))
    assert {a.get_subplotspec().colspan.start for a in figure.axes if a.get_title()} == {0}


def test_grid_axes_stored_backwards_are_read_ascending(tmp_path):
    x = np.linspace(1, 0, 11)
    run = plot.read_run(run_folders.write_run(tmp_path, {"x": x}, {"u": lambda x: 3 * x}))
    assert np.array_equal(run.coordinates["x"], x[::-1])
    assert np.allclose(run.reference["u"], 3 * run.coordinates["x"])


def test_triangles_leave_holes_open_and_cover_the_rest():
    rng = np.random.default_rng(3)
    place = rng.uniform(-1, 1, (4000, 2))
    x, y = place[np.hypot(*place.T) > 0.3].T
    triangles = delaunay(x, y)
    center = np.hypot(x[triangles].mean(axis=1), y[triangles].mean(axis=1))
    # Points are 0.03 apart; a triangle on the rim may reach in that far.
    assert (center > 0.25).all()
    a, b, c = (np.stack([x, y], axis=1)[triangles[:, k]] for k in range(3))
    area = 0.5 * np.abs(np.linalg.det(np.stack([b - a, c - a], axis=1))).sum()
    # Without points on the outer wall the rim is ragged, one spacing of 0.03 deep.
    assert area == pytest.approx(4 - np.pi * 0.3**2, rel=0.04)


def test_triangles_of_a_boundary_layer_are_all_kept():
    x, y = np.meshgrid(np.linspace(0, 1, 20), np.geomspace(1e-3, 1, 30))
    assert len(delaunay(x.ravel(), y.ravel())) == 2 * 19 * 29


def test_points_on_a_line_have_no_triangles():
    assert delaunay(np.arange(5.0), np.arange(5.0)) is None


def test_scattered_points_off_the_slice_come_from_a_stated_band(tmp_path):
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(0, 1, 5000) for name in "xyz"}
    folder = run_folders.write_run(
        tmp_path, columns, {"u": lambda x, y, z: x + y}, layout="scattered"
    )
    run = plot.read_run(folder)
    plane = default_cuts(run)[0]
    assert 0 < plane.width["z"] < 0.1 and "±" in plane.where("z")
    assert "slice at z = 0.5 ±" in plot.solution_figure(run).get_suptitle()
    assert plot.lines_figure(run) is None


def test_a_profile_of_scattered_points_interpolates_linearly(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"x": rng.uniform(0, 3, 2000), "t": rng.uniform(0, 1, 2000)}
    formula = {"u": lambda x, t: 2 * x - t}  # linear interpolation has no error
    run = plot.read_run(run_folders.write_run(tmp_path, columns, formula, layout="scattered"))
    line, time = default_cuts(run)[0].profile(1, 0.5)
    inside = slice(10, -10)  # random points leave the ends of the line uncovered
    assert time == 0.5 and line.names == ("x",)
    assert np.allclose(line.reference["u"][inside], 2 * line.axes[0][inside] - 0.5)


def test_profiles_are_taken_at_five_times_along_the_length(runs):
    run = plot.read_run(runs["space_time"])
    axes = plot.lines_figure(run).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert axes.get_xlabel() == "x" and len(dashed) == 5
    for line, i in zip(dashed, (0, 10, 20, 30, 40), strict=True):
        assert np.array_equal(line.get_ydata(), run.prediction["u"][:, i])


def test_centrelines_cross_in_the_middle_of_the_domain(runs):
    shown = titles(plot.lines_figure(plot.read_run(runs["five_coordinates"])))
    assert shown == ["u along x1 at x2 = 0.5", "u along x2 at x1 = 0.5"]


def test_training_names_conditions_stages_best_constant_and_parameter(runs):
    run = plot.read_run(runs["space_time"])
    losses, errors, parameter = plot.training_figure(run).axes
    assert losses.get_yscale() == errors.get_yscale() == "log"
    assert [t.get_text() for t in losses.get_legend().texts] == ["total", "equation", "initial"]
    assert [t.get_text() for t in losses.texts] == ["adam", "gauss-newton"]
    assert [t.get_text() for t in errors.get_legend().texts] == ["u", "u, best constant"]
    assert errors.lines[1].get_ydata()[0] == 0.9
    assert parameter.get_title() == f"nu = {run.history[-1]['parameters']['nu']:.4g}"
    assert losses.lines[-1].get_xdata()[0] == 15.0  # the second stage began at 15 s


def test_losses_that_are_zero_or_infinite_are_gaps(tmp_path):
    folder = run_folders.steady_line(tmp_path)
    losses = [1.0, 0.0, float("inf"), 0.1]
    lines = [dict(seconds=i, loss=v, losses={"a": v}, errors={}) for i, v in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    figure = plot.training_figure(plot.read_run(folder))
    assert len(figure.axes) == 1
    assert np.array_equal(np.isnan(figure.axes[0].lines[0].get_ydata()), [0, 1, 1, 0])


def test_points_lie_over_the_error_and_carry_their_residual(runs):
    run = plot.read_run(runs["space_time"])
    over_error, by_residual, density = (a for a in plot.points_figure(run).axes if a.get_title())
    equation, initial = over_error.collections[1:]
    assert np.array_equal(equation.get_offsets()[:, 0], run.points["equation"]["t"])
    assert initial.get_label() == "initial (60)"
    colors = by_residual.collections[0].get_array()
    assert np.allclose(colors, np.log10(run.residual["equation"]))
    assert density.get_title() == "log₂ density of equation (0: even)"


def test_a_residual_of_the_inside_lies_under_its_points(tmp_path):
    folder = run_folders.space_time(tmp_path)
    with h5py.File(folder / "solution.h5", "a") as file:
        x, t = np.meshgrid(file["coordinates/x"], file["coordinates/t"], indexing="ij")
        file["residual/equation"] = 10.0 ** (2 * x - t)
    run = plot.read_run(folder)
    assert np.allclose(run.residual_field["equation"][3, 5], 10.0 ** (2 * x - t)[3, 5])
    panel = plot.points_figure(run).axes[1]
    assert panel.get_title() == "log₁₀ |residual| under the points"
    mesh, points = panel.collections
    assert np.allclose(np.asarray(mesh.get_array()).reshape(61, 41), (2 * x - t))
    assert np.array_equal(points.get_offsets()[:, 1], run.points["equation"]["x"])


def test_few_points_have_no_density(tmp_path):
    folder = run_folders.space_time(tmp_path)
    with h5py.File(folder / "solution.h5", "a") as file:
        del file["points/equation"]
    assert len(titles(plot.points_figure(plot.read_run(folder)))) == 1


SQUARE = ((0.0, 2.0), (0.0, 1.0))


def test_evenly_spread_points_have_density_one_up_to_the_boundary():
    grid = (np.arange(192) + 0.5) / 192  # four in a cell
    x, y = (a.ravel() for a in np.meshgrid(2 * grid, grid))
    density = relative_density(x, y, SQUARE, np.ones((96, 96), bool))
    assert np.abs(density - 1).max() < 1e-12


def test_points_three_times_as_many_on_one_side_are_one_and_a_half_and_half_as_dense():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, 1, 30_000), rng.uniform(1, 2, 10_000)])
    density = relative_density(x, rng.uniform(0, 1, 40_000), SQUARE, np.ones((96, 96), bool))
    # 4σ of the mean over a third of the sides: √(1/13000).
    assert density[:, :32].mean() == pytest.approx(1.5, rel=0.035)
    assert density[:, -32:].mean() == pytest.approx(0.5, rel=0.06)


def test_a_hole_has_no_density_and_does_not_dilute_its_rim():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 2, 80_000), rng.uniform(0, 1, 80_000)
    across, up = np.meshgrid(*cell_centers(SQUARE))
    hole = np.hypot(across - 1, up - 0.5) < 0.3
    outside = np.hypot(x - 1, y - 0.5) > 0.3
    density = relative_density(x[outside], y[outside], SQUARE, ~hole)
    assert np.isnan(density[hole]).all()
    rim = ~hole & (np.hypot(across - 1, up - 0.5) < 0.33)
    assert np.nanmean(density[rim]) == pytest.approx(1.0, abs=0.1)  # cells that the circle cuts


@pytest.mark.parametrize("name", ["holes", "space_time"])
def test_the_domain_of_a_density_is_where_predictions_are(runs, name):
    run = plot.read_run(runs[name])
    plane = default_cuts(run)[-1]
    inside = inside_of(run, plane.names, plane.extent)
    x, y = np.meshgrid(*cell_centers(plane.extent))
    near = [np.hypot(x - a, y - b) < r for a, b, r in ((0.4, 0.3, 0.2), (-0.4, -0.4, 0.1))]
    if name == "space_time":
        assert inside.all()
    else:
        assert not inside[near[0] | near[1]].any()
        assert inside.mean() == pytest.approx(1 - np.pi * 0.13 / 4, abs=0.08)  # spacings of 0.04 at the rims


def test_points_that_moved_make_a_gif_with_a_frame_per_moment(tmp_path):
    folder = run_folders.space_time(tmp_path)
    rng = np.random.default_rng(0)
    with h5py.File(folder / "points.h5", "w") as file:
        for i in range(3):
            file[f"{i:04d}/equation/x"] = rng.uniform(-1, 1 - 0.4 * i, 300)
            file[f"{i:04d}/equation/t"] = rng.uniform(0, 1, 300)
            file[f"{i:04d}"].attrs.update(step=10 * i, seconds=0.5 * i)
    assert [m.step for m in read_trail(folder, ("x", "t"))] == [0, 10, 20]
    path = plot.animate_points(folder)
    with Image.open(path) as image:
        assert path == folder / "figures" / "points.gif" and image.n_frames == 3


def test_points_at_rest_or_over_a_line_make_no_gif_and_a_file_cut_short_is_named(runs, tmp_path):
    assert plot.animate_points(runs["space_time"]) is None
    assert plot.animate_points(runs["steady_line"]) is None
    folder = run_folders.space_time(tmp_path)
    (folder / "points.h5").write_bytes(b"half")
    with pytest.raises(ProblemError, match="points.h5' is cut short"):
        plot.animate_points(folder)


def test_training_shows_the_share_of_points_kept_and_their_number_where_it_grows(tmp_path):
    folder = run_folders.steady_line(tmp_path)
    lines = [dict(seconds=i, loss=1.0, losses={"a": 1.0, "b": 1.0}, errors={}, **{
        "kept a": 0.4 + 0.1 * i, "points a": 10 * (1 + i)}) for i in range(3)]
    del lines[1]["points a"]  # numbers are written when they change
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    _, kept, numbers = plot.training_figure(plot.read_run(folder)).axes
    assert kept.get_title() == "share of points kept" and kept.get_ylim() == (0, 1)
    assert np.allclose(kept.lines[0].get_ydata(), [0.4, 0.5, 0.6])
    assert numbers.get_title() == "number of points"
    assert np.array_equal(numbers.lines[0].get_xydata(), [[0, 10], [2, 30]])


def test_streamlines_need_two_velocities_over_a_plane_grid(runs):
    figure = plot.streamlines_figure(plot.read_run(runs["flow"]))
    assert titles(figure) == ["streamlines, prediction", "streamlines, reference"]
    assert plot.streamlines_figure(plot.read_run(runs["holes"])) is None
    assert plot.streamlines_figure(plot.read_run(runs["space_time"])) is None


def test_interpolation_to_a_uniform_grid_is_exact_for_bilinear_fields():
    x, y = np.geomspace(1, 4, 9), np.linspace(0, 1, 5) ** 2
    even_x, even_y, values = uniform(x, y, x * y[:, None] + 1)
    assert np.allclose(np.diff(even_x), even_x[1] - even_x[0])
    assert np.allclose(values, even_x * even_y[:, None] + 1)


def test_an_animation_has_a_frame_per_time_and_stays_small(tmp_path):
    axes = {name: np.linspace(0, 1, count) for name, count in (("x", 9), ("y", 9), ("t", 4))}
    run = run_folders.write_run(tmp_path, axes, {"u": lambda x, y, t: np.sin(3 * x * y + t)})
    path = plot.animate(run)
    assert path == run / "figures" / "animation.gif"
    assert path.stat().st_size <= 3_000_000
    with Image.open(path) as image:
        assert image.format == "GIF" and image.n_frames == 4


def test_an_animation_that_is_too_large_is_written_smaller(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("sciml.plot.animation.MOST_BYTES", 1)
    monkeypatch.setattr("sciml.plot.animation.QUALITIES", ((4, 60), (2, 40)))
    path = plot.animate(runs["parametric"], tmp_path / "new" / "small.gif")
    with Image.open(path) as image:
        assert image.n_frames == 2


def test_an_animation_without_time_is_refused(runs):
    with pytest.raises(ProblemError, match="is over x, y; an animation needs time 't'"):
        plot.animate(runs["flow"])


def measure(mesh: meshio.Mesh) -> float:
    """Area or volume of right-angled cells, from the edges at their first corner."""
    corners = mesh.points[mesh.cells[0].data]
    ends = {"quad": (1, 3), "hexahedron": (1, 3, 4)}[mesh.cells[0].type]
    return sum(np.prod([np.linalg.norm(c[e] - c[0]) for e in ends]) for c in corners)


@pytest.mark.parametrize(
    "name, kind, cells, size",
    [
        ("flow", "quad", 40 * 35, 1.0),
        ("space_time", "quad", 60 * 40, 2.0),
        ("plane_time", "hexahedron", 32 * 24 * 4, 2.0),
        ("five_coordinates", "hexahedron", 8**3, 1.0),
    ],
)
def test_an_exported_grid_fills_the_domain(runs, tmp_path, name, kind, cells, size):
    mesh = meshio.read(plot.export_vtu(runs[name], tmp_path / "run.vtu"))
    assert [(block.type, len(block.data)) for block in mesh.cells] == [(kind, cells)]
    assert measure(mesh) == pytest.approx(size)
    data = mesh.point_data
    assert np.allclose(data["u_error"], data["u"] - data["u_reference"])


def test_exported_values_stay_with_their_points(runs, tmp_path):
    mesh = meshio.read(plot.export_vtu(runs["plane_time"], tmp_path / "run.vtu"))
    x, y, t = mesh.points.T
    assert np.allclose(mesh.point_data["w_reference"], np.cos(np.pi * x) * np.exp(-t) * y)


def test_cells_outside_the_domain_are_not_exported(tmp_path):
    axes = {"x": np.linspace(0, 1, 11), "y": np.linspace(0, 1, 11)}
    outside = lambda x, y: (x > 0.55) & (y > 0.55)
    folder = run_folders.write_run(tmp_path, axes, {"u": lambda x, y: x}, outside=outside)
    mesh = meshio.read(plot.export_vtu(folder, tmp_path / "run.vtu"))
    assert len(mesh.cells[0].data) == 100 - 25  # the corner and the cells that touch it
    assert plot.solution_figure(plot.read_run(folder))


def test_scattered_points_are_exported_as_triangles(runs, tmp_path):
    mesh = meshio.read(plot.export_vtu(runs["holes"], tmp_path / "run.vtu"))
    assert mesh.cells[0].type == "triangle"
    center = mesh.points[mesh.cells[0].data].mean(axis=1)[:, :2]
    assert (np.hypot(*(center - [0.4, 0.3]).T) > 0.2).all()


def test_an_export_under_another_name_is_refused(runs, tmp_path):
    with pytest.raises(ProblemError, match=r"must end in \.vtu, as in 'run\.vtu'"):
        plot.export_vtu(runs["flow"], tmp_path / "run.vtk")


def test_seeds_are_compared_at_the_same_seconds_and_keep_their_last_error():
    fast = (np.array([0.0, 1.0, 2.0]), np.array([1.0, np.nan, 0.01]))
    slow = (np.array([1.0, 5.0]), np.array([1.0, 0.1]))
    seconds, errors = common_seconds([fast, slow])
    assert (seconds[0], seconds[-1]) == (1.0, 5.0)
    assert errors[:, 0] == pytest.approx([0.1, 1.0])  # halfway from 1 to 0.01 on a log scale
    assert errors[:, -1] == pytest.approx([0.01, 0.1])


def test_a_comparison_draws_a_median_and_a_band_per_label(tmp_path):
    rates = {"adam": (0.04, 0.05, 0.08), "gauss-newton": (0.2, 0.25, 0.3)}
    runs = {}
    for label, values in rates.items():
        runs[label] = [tmp_path / f"{label}-{i}" for i in range(len(values))]
        for folder, rate in zip(runs[label], values, strict=True):
            run_folders.write_history(folder, ["u"], rate=rate)
    axes = plot.comparison_figure(runs).axes[0]
    assert axes.get_yscale() == "log" and len(axes.collections) == 2
    seconds, median = axes.lines[0].get_data()
    assert np.allclose(median, np.exp(-0.05 * 2 * seconds))  # two steps a second
    path = plot.plot_comparison(runs, tmp_path / "figures" / "comparison.png")
    with Image.open(path) as image:
        assert image.format == "PNG"


def test_a_comparison_of_nothing_is_refused(tmp_path):
    with pytest.raises(ProblemError, match="there are no runs to compare"):
        plot.plot_comparison({}, tmp_path / "c.png")
    with pytest.raises(ProblemError, match="label 'adam' has no runs"):
        plot.plot_comparison({"adam": []}, tmp_path / "c.png")
    run_folders.write_history(tmp_path / "run", [])
    with pytest.raises(ProblemError, match="has no errors in metrics.jsonl"):
        plot.plot_comparison({"adam": [tmp_path / "run"]}, tmp_path / "c.png")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "errors": {"u": 0.1}}\n')
    with pytest.raises(ProblemError, match="has lines without seconds"):
        plot.plot_comparison({"adam": [tmp_path / "run"]}, tmp_path / "c.png")


def test_a_last_line_cut_short_is_skipped_and_any_other_is_named(tmp_path):
    folder = run_folders.steady_line(tmp_path)
    metrics = folder / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + '{"step": 600, "seco')
    assert len(plot.read_run(folder).history) == 60
    metrics.write_text("{oops\n" + whole)
    with pytest.raises(ProblemError, match="line 1 is not a JSON object"):
        plot.read_run(folder)


def test_a_run_without_history_points_or_result_still_shows_its_solution(tmp_path):
    folder = run_folders.steady_line(tmp_path)
    (folder / "metrics.jsonl").unlink()
    (folder / "result.json").unlink()
    with h5py.File(folder / "solution.h5", "a") as file:
        del file["points"]
    assert [path.stem for path in plot.plot_run(folder)] == ["solution"]


def test_a_folder_or_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ProblemError, match="there is no run folder"):
        plot.plot_run(tmp_path / "nowhere")
    with pytest.raises(ProblemError, match=r"has no solution\.h5"):
        plot.plot_run(tmp_path)


def test_files_that_are_cut_short_are_named(tmp_path):
    folder = run_folders.steady_line(tmp_path)
    (folder / "result.json").write_text('{"status": "fin')
    with pytest.raises(ProblemError, match=r"result\.json' is cut short"):
        plot.read_run(folder)
    content = (folder / "solution.h5").read_bytes()
    (folder / "solution.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ProblemError, match=r"solution\.h5' is cut short or not an HDF5 file"):
        plot.read_run(folder)


def spoil_layout(file):
    file.attrs["layout"] = "gird"


def spoil_order(file):
    del file.attrs["order"]


def spoil_empty_order(file):
    file.attrs["order"] = np.array([], dtype="S1")


def spoil_prediction(file):
    del file["prediction"]


def spoil_shape(file):
    del file["prediction/u"]
    file["prediction/u"] = np.zeros((101, 1))


def spoil_coordinate(file):
    del file["coordinates/x"]


def spoil_axis(file):
    del file["coordinates/x"]
    file["coordinates/x"] = np.zeros((101, 1))


def spoil_count(file):
    for name in ("coordinates/x", "prediction/u"):
        del file[name]
        file[name] = np.zeros(0)


@pytest.mark.parametrize(
    "spoil, sentence",
    [(spoil_layout, "unknown layout 'gird'; did you mean 'grid'"),
     (spoil_order, "has no attribute 'order'"),
     (spoil_empty_order, "names no coordinate in its attribute 'order'"),
     (spoil_prediction, "has no group 'prediction'"),
     (spoil_shape, r"prediction/u has shape \(101, 1\), expected \(101,\)"),
     (spoil_coordinate, "has no values of coordinate 'x'"),
     (spoil_axis, r"coordinates/x has shape \(101, 1\), expected a 1-D axis"),
     (spoil_count, "holds no points")],
)  # fmt: skip
def test_a_solution_of_another_form_is_refused_with_what_is_wrong(tmp_path, spoil, sentence):
    folder = run_folders.steady_line(tmp_path)
    with h5py.File(folder / "solution.h5", "a") as file:
        spoil(file)
    with pytest.raises(ProblemError, match=sentence):
        plot.read_run(folder)


@pytest.mark.parametrize("name", ["steady_line", "flow", "holes"])
def test_a_prediction_that_is_nowhere_finite_leaves_its_panels_empty(tmp_path, name):
    folder = getattr(run_folders, name)(tmp_path)
    with h5py.File(folder / "solution.h5", "a") as file:
        for values in file["prediction"].values():
            values[...] = np.nan
    run = plot.read_run(folder)
    assert plot.solution_figure(run) and plot.points_figure(run)
    assert plot.streamlines_figure(run) is None
    assert plot.export_vtu(folder, tmp_path / "run.vtu").is_file()


def test_names_with_dollar_signs_are_drawn_as_they_stand(tmp_path):
    axes = {"x": np.linspace(0, 1, 11)}
    folder = run_folders.write_run(tmp_path, axes, {"u": np.sin}, title=r"$5, not $\frac{")
    assert plot.plot_run(folder)


def test_a_cut_takes_the_nearest_line_of_a_grid(runs):
    run = plot.read_run(runs["space_time"])
    line = cut(run, ("x",), {"t": 0.26})
    assert line.fixed == {"t": 0.25}
    assert np.array_equal(line.prediction["u"], run.prediction["u"][:, 10])


def test_a_few_singular_points_do_not_take_all_the_colours():
    from sciml.plot.style import color_limits, symmetric_limits

    field = np.linspace(-1.0, 1.0, 10_000)
    field[:4], field[-4:] = -50.0, 80.0
    norm = color_limits(field)
    assert -1.0 < norm.vmin < -0.98 and 0.98 < norm.vmax < 1.0
    assert symmetric_limits(field).vmax == pytest.approx(0.99, abs=0.01)
    front = np.where(np.arange(10_000) < 200, 9.0, 0.1 * np.sin(np.arange(10_000)))        # 2 % is no outlier
    assert color_limits(front).vmax == 9.0
