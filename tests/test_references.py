"""References and their files: the contract of all solvers, saving, loading, recomputing."""

import json
from pathlib import Path

import numpy as np
import pytest

from sciml.errors import ProblemError
from sciml.references import (
    SOLVERS,
    Grid,
    compute,
    load,
    load_with_origin,
    recompute,
    save,
)

DATA = Path(__file__).resolve().parent.parent / "data"

# One small run of every solver, for the contract all of them share.
SMALL = {
    "allen_cahn": {"points": 33, "outputs": 5, "modes": 256, "steps": 50},
    "nonlinear_diffusion": {"points": 11, "outputs": 3, "n": 30},
    "bracket": {"levels": 1},
    "burgers": {"points": 33, "outputs": 5},
    "burgers_nu": {"points": 17, "outputs": 5, "count": 3},
    "cavity": {"points": 17, "n": 20},
    "cylinder_flow": {"n": 2},
    "drum": {"levels": 1},
    "gray_scott": {"points": 17, "outputs": 3, "modes": 64, "steps": 10, "final": 10.0},
    "heat_plate": {"levels": 1},
    "kdv": {"points": 33, "outputs": 5, "modes": 256, "steps": 200},
    "kuramoto_sivashinsky": {"points": 33, "outputs": 5, "modes": 256, "steps": 500},
    "lorenz": {"start": [1.0, 1.0, 20.0], "final": 1.0, "outputs": 11},
    "lshape": {"n": 4},
    "plate_hole": {"levels": 1},
    "poisson_boltzmann": {"points": 21, "cells": 80},
    "poisson_holes": {"points": 21, "degree": 24, "order": 10},
    "poisson_holes_elements": {"n": 2},
    "poisson_l_shape": {"n": 4},
    "two_materials": {"levels": 1},
    "well_barrier": {"points": 41},
    "well_finite": {"points": 51},
    "well_infinite": {"points": 41},
}


# The contract of all solvers, files


def test_the_contract_test_covers_every_solver():
    assert set(SMALL) == set(SOLVERS) - {"step_flow"}    # a minute; its file is tested as a problem's


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_solver_returns_a_grid_with_an_accuracy_and_a_sentence(name):
    grid = compute(name, SMALL[name])
    # Coarse runs: below 20 % says that the self-convergence compares the same nodes and times.
    assert 0 < grid.accuracy < 0.2
    assert len(grid.how) > 20
    for axis in grid.coordinates.values():
        assert grid.layout == "scattered" or np.all(np.diff(axis) > 0)


@pytest.mark.parametrize("name", ["allen_cahn", "kdv", "kuramoto_sivashinsky"])
def test_periodic_references_store_both_ends_with_equal_values(name):
    grid = compute(name, SMALL[name])
    x, u = grid.coordinates["x"], grid.unknowns["u"]
    assert (x[0], x[-1]) in ((-1, 1), (0, 2 * np.pi))
    assert np.allclose(
        u[0], u[-1], rtol=0, atol=1e-14
    )  # the same node, up to the rounding of cos at t = 0


def test_a_saved_reference_loads_as_it_was(tmp_path):
    grid = compute("well_barrier", SMALL["well_barrier"])
    save(
        tmp_path / "w.h5",
        grid,
        solver="well_barrier",
        arguments=SMALL["well_barrier"],
        seconds=0.5,
    )
    back, origin = load_with_origin(tmp_path / "w.h5")
    assert list(back.coordinates) == list(grid.coordinates)
    assert all(np.array_equal(back.unknowns[k], grid.unknowns[k]) for k in grid.unknowns)
    assert (back.layout, back.accuracy, back.how) == (grid.layout, grid.accuracy, grid.how)
    assert back.parameters == grid.parameters
    assert (
        origin["solver"] == "well_barrier"
        and origin["seconds"] == 0.5
        and "numpy" in origin["versions"]
    )
    assert origin["arguments"] == SMALL["well_barrier"]


def test_coordinates_keep_their_order_which_is_not_alphabetical(tmp_path):
    grid = Grid(
        {"y": np.arange(3.0), "a": np.arange(2.0)}, {"u": np.ones((3, 2))}, "grid", 0.1, "ones"
    )
    save(tmp_path / "o.h5", grid, solver="none", arguments={}, seconds=0.0)
    assert list(load(tmp_path / "o.h5").coordinates) == ["y", "a"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    grid = compute("well_barrier", SMALL["well_barrier"])
    path = tmp_path / "w.h5"
    save(path, grid, solver="well_barrier", arguments={}, seconds=0.0)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save(path, grid, solver="well_barrier", arguments={"f": object()}, seconds=0.0)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["w.h5"]


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(
        ProblemError, match="does not exist; make it with 'python data/make.py kdv'"
    ):
        load(tmp_path / "kdv.h5")


def test_a_truncated_file_is_called_so(tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes((DATA / "well_finite.h5").read_bytes()[:3000])
    with pytest.raises(ProblemError, match="truncated or of another kind"):
        load(path)
    path.write_text("x y u\n0 0 1\n")
    with pytest.raises(ProblemError, match="truncated or of another kind"):
        load(path)


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["u"] = np.ones(3)
    with pytest.raises(ProblemError, match="not a reference"):
        load(tmp_path / "f.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "mesh"}, "layout 'mesh'; valid: grid, scattered"),
        ({"unknowns": {}}, "at least one coordinate and one unknown"),
        ({"unknowns": {"u": np.ones((2, 3))}}, r"shape \(2, 3\), expected \(3, 2\)"),
        ({"coordinates": {"x": np.ones((3, 1)), "t": np.ones(2)}}, "expected one axis"),
        ({"layout": "scattered"}, r"lengths \[3, 2\], expected one common length"),
        ({"unknowns": {"u": np.full((3, 2), np.nan)}}, "not finite"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused_with_a_sentence(change, message):
    good = {
        "coordinates": {"x": np.arange(3.0), "t": np.arange(2.0)},
        "unknowns": {"u": np.ones((3, 2))},
        "layout": "grid",
        "accuracy": 0.1,
        "how": "ones",
    }
    Grid(**good)
    with pytest.raises(ProblemError, match=message):
        Grid(**{**good, **change})


def test_recompute_reports_the_difference_to_the_stored_file(tmp_path):
    grid = compute("well_barrier", SMALL["well_barrier"])
    grid.unknowns["psi2"][:] *= 1.001
    save(
        tmp_path / "w.h5",
        grid,
        solver="well_barrier",
        arguments=SMALL["well_barrier"],
        seconds=0.0,
    )
    fresh, report = recompute(tmp_path / "w.h5")
    assert report["difference"]["psi1"] < 1e-14
    assert report["difference"]["psi2"] == pytest.approx(1e-3, rel=2e-3)  # 0.001 / 1.001
    assert report["self_convergence"] == fresh.accuracy and report["solver"] == "well_barrier"


def test_recompute_refuses_unknown_solvers_arguments_and_other_nodes(tmp_path):
    grid, path = compute("well_barrier", SMALL["well_barrier"]), tmp_path / "w.h5"
    save(path, grid, solver="well_barier", arguments={}, seconds=0.0)
    with pytest.raises(ProblemError, match="did you mean 'well_barrier'"):
        recompute(path)
    save(path, grid, solver="well_barrier", arguments={"colour": 1}, seconds=0.0)
    with pytest.raises(ProblemError, match="unexpected keyword argument 'colour'"):
        recompute(path)
    save(path, grid, solver="well_barrier", arguments={"points": 21}, seconds=0.0)
    with pytest.raises(ProblemError, match="does not hold what solver 'well_barrier' makes"):
        recompute(path)


FILES = (
    "allen_cahn",
    "burgers",
    "burgers_nu",
    "cavity_re100",
    "kdv",
    "kuramoto_sivashinsky",
    "lorenz",
    "nonlinear_diffusion",
    "poisson_holes",
    "well_barrier",
    "well_finite",
)


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_file_loads_and_names_its_solver(name):
    grid, origin = load_with_origin(DATA / f"{name}.h5")
    assert origin["solver"] in SOLVERS and json.dumps(origin["arguments"])
    assert grid.accuracy < 1e-4


def test_the_shipped_files_stay_below_three_megabytes():
    assert sum(path.stat().st_size for path in DATA.glob("*.h5")) < 3e6


@pytest.mark.parametrize("name", ["burgers_nu", "poisson_holes", "well_barrier", "well_finite"])
def test_cheap_shipped_files_are_what_their_solver_makes(name):
    _, report = recompute(DATA / f"{name}.h5")
    # Rounding differs between machines, most in the least squares; 1e-10 is far above it.
    assert max(report["difference"].values()) < 1e-10


def test_shipped_files_satisfy_initial_and_boundary_conditions():
    b = load(DATA / "burgers.h5")
    x = b.coordinates["x"]
    assert np.abs(b.unknowns["u"][:, 0] + np.sin(np.pi * x)).max() < 1e-15
    assert np.abs(b.unknowns["u"][[0, -1]]).max() < 1e-12  # sums of odd terms around x = ±1
    c = load(DATA / "cavity_re100.h5")
    assert np.all(c.unknowns["u"][:, -1] == 1) and np.all(c.unknowns["v"][[0, -1]] == 0)
    assert c.unknowns["p"][0, 0] == 0
    k = load(DATA / "kuramoto_sivashinsky.h5")
    x = k.coordinates["x"]
    assert np.abs(k.unknowns["u"][:, 0] - np.cos(x) * (1 + np.sin(x))).max() < 1e-15
