"""References against truth: exact solutions, orders, published numbers, second computations."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.linalg import eigh_tridiagonal

from sciml.errors import ProblemError, TrainingError
from sciml.references import (
    SOLVERS,
    Cavity,
    Elliptic,
    Grid,
    Potential,
    burgers_exact,
    chebyshev,
    compute,
    corner,
    dirichlet,
    disk,
    elliptic,
    etdrk4,
    lines,
    load,
    load_with_origin,
    multipoles,
    neumann,
    recompute,
    relative_l2,
    save,
    wells,
)
from sciml.references.bases import Fourier, Sine
from sciml.references.etdrk4 import weights

DATA = Path(__file__).resolve().parent.parent / "data"
NU = 0.01 / np.pi

# One small run of every solver, for the contract all of them share.
SMALL = {
    "allen_cahn": {"points": 33, "outputs": 5, "modes": 256, "steps": 50},
    "burgers": {"points": 33, "outputs": 5},
    "burgers_nu": {"points": 17, "outputs": 5, "count": 3},
    "cavity": {"points": 17, "n": 20},
    "gray_scott": {"points": 17, "outputs": 3, "modes": 64, "steps": 10, "final": 10.0},
    "kdv": {"points": 33, "outputs": 5, "modes": 256, "steps": 200},
    "kuramoto_sivashinsky": {"points": 33, "outputs": 5, "modes": 256, "steps": 500},
    "poisson_boltzmann": {"points": 21, "cells": 80},
    "poisson_holes": {"points": 21, "degree": 24, "order": 10},
    "well_barrier": {"points": 41},
    "well_finite": {"points": 51},
    "well_infinite": {"points": 41},
}


# The contract of all solvers, files


def test_the_contract_test_covers_every_solver():
    assert set(SMALL) == set(SOLVERS)


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


# ETDRK4 and its bases


def _kdv(steps):
    basis = Fourier((128,), (2.0,), (-1.0,))
    factor = -0.5 * basis.derivative[0] * basis.keep
    return etdrk4(
        -(0.05**2) * basis.derivative[0] ** 3,
        lambda w: factor * basis.forward(basis.inverse(w) ** 2),
        basis.forward(np.cos(np.pi * basis.nodes[0])),
        np.array([0.0, 0.5]),
        steps,
    )[-1]


def test_etdrk4_is_of_fourth_order_with_a_complex_symbol():
    truth = _kdv(6400)
    errors = [np.linalg.norm(_kdv(n) - truth) for n in (400, 800, 1600)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(rates - 4) < 0.25)  # coarser steps show 4.4, not yet asymptotic


def test_etdrk4_weights_tend_to_runge_kutta_at_zero_and_to_the_formula_away_from_it():
    w = weights(np.array([0.0, -3.0]), 1.0)
    assert np.allclose([w.full[0], w.half[0], w.stage[0]], [1, 1, 0.5], atol=1e-14)
    assert np.allclose([w.first[0], w.middle[0], w.last[0]], 1 / 6, atol=1e-14)
    z, e = -3.0, np.exp(-3.0)
    exact = [(-4 - z + e * (4 - 3 * z + z**2)) / z**3, (2 + z + e * (z - 2)) / z**3]
    assert np.allclose([w.first[1], w.middle[1]], exact, atol=1e-14)


def test_etdrk4_says_when_it_blows_up_and_when_times_do_not_increase():
    grow = lambda w: w**2
    with (
        pytest.raises(TrainingError, match="raise steps_per_output"),
        np.errstate(all="ignore"),
    ):
        etdrk4(np.zeros(1), grow, np.array([5.0]), np.linspace(0, 10, 3), 20)
    with pytest.raises(ProblemError, match="must increase strictly"):
        etdrk4(np.zeros(1), grow, np.ones(1), np.array([0.0, 0.0]), 1)
    with pytest.raises(ProblemError, match="expected at least 1"):
        etdrk4(np.zeros(1), grow, np.ones(1), np.array([0.0, 1.0]), 0)


def test_sine_and_fourier_bases_agree_on_an_odd_solution():
    f, s = Fourier((128,), (2.0,), (-1.0,)), Sine((64,), (1.0,), (0.0,))
    out = []
    for b in (f, s):
        nonlinear = lambda w, b=b: -5 * b.keep * b.forward(b.inverse(w) ** 3)
        w = etdrk4(
            0.01 * b.laplacian + 5,
            nonlinear,
            b.forward(np.sin(np.pi * b.nodes[0])),
            np.linspace(0, 1, 3),
            100,
        )
        out.append(b.inverse(w))
    assert (
        np.abs(out[0][:, 65:] - out[1]).max() < 1e-12
    )  # the same Galerkin system, other transforms


def test_a_two_dimensional_solution_that_does_not_depend_on_y_is_the_one_dimensional_one():
    out = []
    for shape in ((64,), (64, 8)):
        b = Fourier(shape, (2.0,) * len(shape), (-1.0,) * len(shape))
        x = np.meshgrid(*b.nodes, indexing="ij")[0]
        nonlinear = lambda w, b=b: -5 * b.keep * b.forward(b.inverse(w) ** 3)
        w = etdrk4(
            0.01 * b.laplacian + 5,
            nonlinear,
            b.forward(0.5 * np.cos(np.pi * x)),
            np.linspace(0, 0.5, 2),
            50,
        )
        out.append(b.inverse(w)[-1])
    assert np.abs(out[1] - out[0][:, None]).max() < 1e-13


def test_the_two_dimensional_sine_basis_solves_the_heat_equation_exactly():
    b = Sine((16, 12), (1.0, 2.0), (0.0, 0.0))
    x, y = np.meshgrid(*b.nodes, indexing="ij")
    u0 = np.sin(2 * np.pi * x) * np.sin(1.5 * np.pi * y)
    w = etdrk4(b.laplacian, np.zeros_like, b.forward(u0), np.array([0.0, 0.03]), 1)
    assert np.abs(b.inverse(w[-1]) - u0 * np.exp(-0.03 * np.pi**2 * (4 + 2.25))).max() < 1e-14


def test_allen_cahn_has_the_values_of_the_suite():
    u = compute(
        "allen_cahn", {"points": 257, "outputs": 3, "modes": 1024, "steps": 300}
    ).unknowns["u"]
    # Digits of the suite, converged to 1e-5 there (it interpolates the kinked initial state).
    assert u[128, 1] == pytest.approx(0.0012165, abs=1e-7)
    assert u[128, 2] == pytest.approx(0.0295797, abs=1e-7)
    assert u[192, 2] == pytest.approx(-0.06408, abs=1e-5)


def test_kdv_has_the_values_of_the_suite():
    u = compute("kdv", {"points": 257, "outputs": 3, "modes": 512, "steps": 2000}).unknowns["u"]
    # Nine digits of the suite; the temporal error at this step is 1e-8.
    assert u[128, 1] == pytest.approx(0.748361012, abs=5e-8)
    assert u[128, 2] == pytest.approx(-0.651589977, abs=5e-8)
    assert u[192, 2] == pytest.approx(-0.44163054, abs=5e-8)


def test_kuramoto_sivashinsky_has_the_values_of_the_suite():
    grid = compute(
        "kuramoto_sivashinsky", {"points": 129, "outputs": 251, "modes": 256, "steps": 40}
    )
    u, t = grid.unknowns["u"][64], grid.coordinates["t"]
    # The suite's columns t = ¼ and ¾ were read at the nearest of 251 times, 0.248 and 0.752.
    for time, value in (
        (0.248, -0.357609),
        (0.5, 0.913150),
        (0.752, 0.396691),
        (1.0, 0.982566),
    ):
        assert u[np.argmin(np.abs(t - time))] == pytest.approx(
            value, abs=2e-6
        )  # six printed digits


def test_modes_that_miss_the_stored_nodes_are_refused():
    with pytest.raises(ProblemError, match="even multiple of points"):
        compute("kdv", {"points": 100})


# Burgers


def test_burgers_has_the_value_that_the_published_file_misses():
    assert burgers_exact(np.array([-0.02]), 0.4, NU)[0] == pytest.approx(0.9035, abs=5e-5)


def test_cole_hopf_agrees_with_a_spectral_solution():
    nu, b = 0.1 / np.pi, Fourier((256,), (2.0,), (-1.0,))
    factor = -0.5 * b.derivative[0] * b.keep
    w = etdrk4(
        nu * b.laplacian,
        lambda w: factor * b.forward(b.inverse(w) ** 2),
        b.forward(-np.sin(np.pi * b.nodes[0])),
        np.array([0.0, 0.3, 1.0]),
        500,
    )
    for i, t in ((1, 0.3), (2, 1.0)):
        # 500 steps of fourth order: 1e-11.
        assert np.abs(b.inverse(w[i]) - burgers_exact(b.nodes[0], t, nu)).max() < 1e-9


@pytest.mark.parametrize("nu", [1e-4, NU, 0.1, 10.0])
def test_cole_hopf_is_converged_for_small_and_large_viscosity(nu):
    x = np.linspace(-1, 1, 41)
    for t in (1e-6, 0.01, 1.0):
        assert (
            np.abs(burgers_exact(x, t, nu, 0.04) - burgers_exact(x, t, nu, 0.02)).max() < 1e-10
        )


def test_the_viscosity_axis_holds_the_burgers_solution_of_each_viscosity():
    grid = compute("burgers_nu", SMALL["burgers_nu"])
    one = compute("burgers", {"nu": grid.coordinates["nu"][1], "points": 17, "outputs": 5})
    assert np.array_equal(grid.unknowns["u"][:, :, 1], one.unknowns["u"])


def test_cole_hopf_refuses_negative_viscosity():
    with pytest.raises(ProblemError, match="nu > 0"):
        burgers_exact(np.zeros(1), 0.1, -1.0)


# Elliptic


def _manufactured(c=5.0):
    u = lambda x, y: np.exp(x) * np.sin(2 * y)
    return u, Elliptic(
        ((-1, 1), (-1, 1)), [disk(0.1, 0.2, 0.43, u)], lambda x, y: (3 + c) * u(x, y), u, c
    )


def _error(result, u):
    x, y, values = result
    return np.nanmax(np.abs(values - u(*np.meshgrid(x, y, indexing="ij"))))


def test_shortley_weller_is_of_second_order_next_to_a_cut_disk():
    u, problem = _manufactured()
    errors = [_error(elliptic.solve(problem, (n, n)), u) for n in (20, 40, 80)]
    assert np.all(np.abs(np.log2(np.array(errors[:-1]) / errors[1:]) - 2) < 0.2)


def test_richardson_gains_an_order():
    u, problem = _manufactured()
    errors = [_error(elliptic.extrapolated(problem, (n, n)), u) for n in (40, 160)]
    assert (
        errors[0] / errors[1] > 4**2.2
    )  # third order would be 64; cut cells make it irregular


def test_nodes_exactly_on_a_wall_take_its_data():
    u = lambda x, y: 1 + x + 2 * y
    problem = Elliptic(((-1, 1), (-1, 1)), [disk(0.0, 0.0, 0.5, u)], lambda x, y: 0 * x, u)
    # A linear function is reproduced; (±½, 0) and (0, ±½) are nodes on the circle.
    assert _error(elliptic.solve(problem, (8, 8)), u) < 1e-13


def test_poisson_boltzmann_has_the_values_of_the_suite():
    grid = compute("poisson_boltzmann", {"cells": 320, "points": 41})
    x, y, u = grid.coordinates["x"], grid.coordinates["y"], grid.unknowns["u"]
    at = lambda a, b: u[np.argmin(np.hypot(x - a, y - b))]
    assert grid.accuracy < 2e-4
    # All digits that the suite gives.
    assert at(0, 0) == pytest.approx(0.29031, abs=1e-5)
    assert at(-0.5, -0.25) == pytest.approx(0.03893, abs=1e-5)
    assert at(0.75, 0.75) == pytest.approx(0.1351, abs=5e-5)


DISKS = [(0.3 * a, 0.3 * b, 0.1) for a in (-1, 1) for b in (-1, 1)]


def test_multipoles_have_the_values_of_the_suite():
    u = multipoles.Harmonic(0.5, DISKS, 1.0, 0.0)
    values = u(np.array([0, 0.45, 0.15]), np.array([0, 0, 0.15]))
    assert u.residual < 1e-11
    assert np.allclose(
        values, [0.23358492, 0.80965592, 0.19368156], rtol=0, atol=5e-9
    )  # printed digits


def test_multipoles_and_cut_cells_agree_on_four_holes():
    one = lambda x, y: np.ones_like(x)
    problem = Elliptic(
        ((-0.5, 0.5), (-0.5, 0.5)), [disk(*c, 0.0) for c in DISKS], lambda x, y: 0 * x, one
    )
    x, y, values = elliptic.extrapolated(problem, (160, 160))
    X, Y = np.meshgrid(x, y, indexing="ij")
    inside = np.isfinite(values)
    exact = multipoles.Harmonic(0.5, DISKS, 1.0, 0.0)(X[inside], Y[inside])
    assert relative_l2(values[inside], exact) < 3e-4  # 160 cells: 16 per hole radius


def test_a_grid_without_nodes_in_the_domain_is_refused():
    problem = Elliptic(
        ((0, 1), (0, 1)), [disk(0.5, 0.5, 0.9, 0.0)], lambda x, y: 0 * x, lambda x, y: 0 * x
    )
    with pytest.raises(ProblemError, match="use more cells"):
        elliptic.solve(problem, (4, 4))
    with pytest.raises(ProblemError, match="must be multiples"):
        compute("poisson_boltzmann", {"cells": 100, "points": 41})


# Cavity

# Ghia, Ghia & Shin (1982), tables I and II, Re = 100: (y, u(½, y)) and (x, v(x, ½)).
GHIA_U = np.array(
    [
        (0.9766, 0.84123),
        (0.9688, 0.78871),
        (0.9609, 0.73722),
        (0.9531, 0.68717),
        (0.8516, 0.23151),
        (0.7344, 0.00332),
        (0.6172, -0.13641),
        (0.5, -0.20581),
        (0.4531, -0.21090),
        (0.2813, -0.15662),
        (0.1719, -0.10150),
        (0.1016, -0.06434),
        (0.0703, -0.04775),
        (0.0625, -0.04192),
        (0.0547, -0.03717),
    ]
)
GHIA_V = np.array(
    [
        (0.9688, -0.05906),
        (0.9609, -0.07391),
        (0.9531, -0.08864),
        (0.9453, -0.10313),
        (0.9063, -0.16914),
        (0.8594, -0.22445),
        (0.8047, -0.24533),
        (0.5, 0.05454),
        (0.2344, 0.17527),
        (0.2266, 0.17507),
        (0.1563, 0.16077),
        (0.0938, 0.12317),
        (0.0781, 0.10890),
        (0.0703, 0.10091),
        (0.0625, 0.09233),
    ]
)


@pytest.fixture(scope="module")
def flow():
    return Cavity(100.0, (1.0,), 40)


def test_the_cavity_agrees_with_ghia_at_reynolds_100(flow):
    half = np.array([0.5])
    u, v = flow.fields(half, GHIA_U[:, 0])["u"][0], flow.fields(GHIA_V[:, 0], half)["v"][:, 0]
    # Ghia's extrema (second order, 129²) are 1.5 % to 3.4 % short of spectral ones; near the
    # extrema of v that is 9e-3.
    assert np.abs(u - GHIA_U[:, 1]).max() < 6e-3
    assert np.abs(v - GHIA_V[:, 1]).max() < 1e-2


def test_the_cavity_agrees_with_marchi_at_the_centre(flow):
    at = flow.fields(np.array([0.5]), np.array([0.5]))
    # Marchi, Suero & Araki (2009), Richardson on 1024²: −0.209149, 0.0575365.
    assert at["u"][0, 0] == pytest.approx(-0.209149, abs=1e-6)
    assert at["v"][0, 0] == pytest.approx(0.0575365, abs=1e-6)


def test_the_cavity_agrees_with_botella_at_reynolds_1000():
    x, y = np.linspace(0.52, 0.54, 41), np.linspace(0.555, 0.575, 41)
    # Botella & Peyret (1998): the main vortex has ψ = −0.1189366. Degree 32 gives six digits.
    assert Cavity(1000.0, (1.0,), 32).fields(x, y)["psi"].min() == pytest.approx(
        -0.11894, abs=1e-4
    )


def test_the_regularised_cavity_has_the_values_of_the_suite():
    flow = Cavity(100.0, (0.0, 4.0, -4.0), 32)
    at = flow.fields(np.array([0.25, 0.5]), np.array([0.25, 0.5]))
    # All five digits of the suite, NS 2d-C.
    assert at["u"][1, 1] == pytest.approx(-0.17875, abs=5e-6)
    assert at["v"][1, 1] == pytest.approx(0.05436, abs=5e-6)
    assert at["v"][0, 1] == pytest.approx(0.15392, abs=5e-6)
    assert at["u"][1, 0] == pytest.approx(-0.12271, abs=5e-6)


def test_the_cavity_satisfies_the_momentum_equations_with_its_pressure(flow):
    x = np.linspace(0, 1, 129)
    h, at, p = x[1], flow.fields(x, x), flow.pressure(x)
    u, v = at["u"], at["v"]
    dx = lambda f: (f[:-4] - 8 * f[1:-3] + 8 * f[3:-1] - f[4:])[:, 2:-2] / (12 * h)
    dxx = lambda f: (
        (-f[:-4] + 16 * f[1:-3] - 30 * f[2:-2] + 16 * f[3:-1] - f[4:])[:, 2:-2] / (12 * h**2)
    )
    dy = lambda f: dx(f.T).T
    lap = lambda f: dxx(f) + dxx(f.T).T
    inner = (slice(2, -2), slice(2, -2))
    rx = u[inner] * dx(u) + v[inner] * dy(u) + dx(p) - lap(u) / 100
    ry = u[inner] * dx(v) + v[inner] * dy(v) + dy(p) - lap(v) / 100
    X, Y = np.meshgrid(x[2:-2], x[2:-2], indexing="ij")
    away = (np.minimum(np.hypot(X, Y - 1), np.hypot(X - 1, Y - 1)) > 0.25) & (
        np.maximum(np.abs(X - 0.5), np.abs(Y - 0.5)) < 0.45
    )
    # Terms are of size 0.1 to 1; degree 40 leaves noise in third derivatives near the walls.
    assert max(np.abs(rx[away]).max(), np.abs(ry[away]).max()) < 2e-3
    assert np.sqrt(np.mean(rx[away] ** 2 + ry[away] ** 2)) < 2e-4


def test_creeping_flow_in_the_cavity_is_symmetric():
    at = Cavity(1e-3, (1.0,), 24).fields(np.array([0.2, 0.8]), np.array([0.3, 0.7]))
    assert np.abs(at["u"][0] - at["u"][1]).max() < 1e-5  # inertia is Re times 1e-2
    assert np.abs(at["v"][0] + at["v"][1]).max() < 1e-5


def test_corner_flows_satisfy_their_walls_and_the_navier_stokes_equations():
    for factors in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 7.0)):
        s = np.linspace(0.1, 0.9, 5)
        lid, wall = corner._left(s, 1 + 0 * s, *factors), corner._left(0 * s, 1 - s, *factors)
        assert np.abs(lid["psi"]).max() < 1e-12 and np.abs(wall["psi"]).max() < 1e-12
        assert np.abs(lid["psi_y"] - factors[0] - factors[1] * s).max() < 1e-12
        assert np.abs(wall["psi_x"]).max() < 1e-12
    # νΔ²ψ₃ = ψ₁_y (Δψ₁)_x − ψ₁_x (Δψ₁)_y: Δ of L by differences of its exact gradient.
    x, y, h = 0.3, 0.6, 1e-5
    at = lambda a, b, *f: corner._left(np.array(a), np.array(b), *f)
    three = (0.0, 0.0, 1.0)
    bi = (
        at(x + h, y, *three)["L_x"]
        - at(x - h, y, *three)["L_x"]
        + at(x, y + h, *three)["L_y"]
        - at(x, y - h, *three)["L_y"]
    ) / (2 * h)
    one = at(x, y, 1.0, 0.0, 0.0)
    assert bi == pytest.approx(one["psi_y"] * one["L_x"] - one["psi_x"] * one["L_y"], rel=1e-7)


def test_mirrored_corner_flow_carries_the_lid_polynomial_to_first_order():
    lid = Polynomial((0.5, 1.0, -2.0))
    x = np.array([0.25, 0.5])
    flows = corner.Corners(lid, 10.0)
    assert np.allclose(flows(x, np.ones(2))["psi_y"], flows.on_lid(x), atol=1e-13)


def test_the_cavity_refuses_nonsense():
    with pytest.raises(ProblemError, match="needs Re > 0 and n >= 8"):
        Cavity(-1.0)


# Lines


def test_chebyshev_matrices_are_exact_on_polynomials():
    x, D = chebyshev.nodes(8, (1.0, 3.0)), chebyshev.differentiation(8, (1.0, 3.0))
    f = Polynomial((1.0, -2.0, 0.5, 0.0, 0.25, 0.0, 0.1))
    assert np.abs(D @ f(x) - f.deriv()(x)).max() < 1e-10
    z = np.array([1.0, 1.3, 2.0, 2.71])
    assert np.abs(chebyshev.interpolation(8, z, (1.0, 3.0)) @ f(x) - f(z)).max() < 1e-11


HEAT = {
    "dirichlet": (
        lambda x, t: np.sin(np.pi * x) * np.exp(-(np.pi**2) * t) + x,
        dirichlet(0),
        dirichlet(1.0),
    ),
    "neumann": (
        lambda x, t: np.cos(np.pi * x) * np.exp(-(np.pi**2) * t),
        neumann(0),
        neumann(0),
    ),
    "moving": (lambda x, t: np.exp(x + t), dirichlet(np.exp), neumann(lambda t: np.exp(1 + t))),
}


@pytest.mark.parametrize("kind", sorted(HEAT))
def test_lines_solve_the_heat_equation(kind):
    exact, left, right = HEAT[kind]
    grid = lines(
        lambda t, x, u, ux, uxx: uxx,
        lambda x: exact(x, 0),
        (0, 1),
        np.linspace(0, 0.2, 6),
        left,
        right,
        n=20,
    )
    x, t = np.meshgrid(*grid.coordinates.values(), indexing="ij")
    assert relative_l2(grid.unknowns["u"], exact(x, t)) < max(
        1e-8, grid.accuracy
    )  # tolerance 1e-9


def test_lines_agree_with_cole_hopf():
    nu = 0.1 / np.pi
    grid = lines(
        lambda t, x, u, ux, uxx: nu * uxx - u * ux,
        lambda x: -np.sin(np.pi * x),
        (-1, 1),
        np.linspace(0, 1, 3),
        dirichlet(),
        dirichlet(),
        points=41,
        n=96,
        tolerance=1e-7,
    )
    exact = burgers_exact(grid.coordinates["x"], 1.0, nu)
    assert relative_l2(grid.unknowns["u"][:, -1], exact) < min(
        1e-5, grid.accuracy
    )  # tolerance 1e-7 per step of about 100 steps


def test_lines_say_where_they_stopped():
    with (
        pytest.raises(TrainingError, match="method of lines stopped"),
        np.errstate(all="ignore"),
    ):
        lines(
            lambda t, x, u, ux, uxx: 10 * u**2,
            lambda x: 1 + 0 * x,
            (0, 1),
            np.array([0.0, 1.0]),
            neumann(),
            neumann(),
            n=8,
            tolerance=1e-5,
        )


# Wells

FINITE = Potential((-0.5, 0.5), (0.0,), outside=50.0)
BARRIER = Potential((0.0, 0.4, 0.6, 1.0), (0.0, 50.0, 0.0))
ANCHOR = 5e-10  # the anchors have nine decimals


def test_well_energies_are_the_anchors():
    assert (
        np.abs(wells.levels(FINITE, 3) - [5.942242741, 22.976754538, 46.497502357]).max()
        < ANCHOR * 1.01
    )
    barrier = [25.059686290, 41.633531429, 106.017438904, 165.040116424]
    assert np.abs(wells.levels(BARRIER, 4) - barrier).max() < ANCHOR * 1.01
    box = wells.levels(Potential((0.0, 1.0), (0.0,)), 4)
    assert np.abs(box - np.pi**2 * np.arange(1, 5) ** 2).max() < 1e-11


@pytest.mark.parametrize(
    ("qa", "levels"),
    [
        (0.0, [6.262363789, 45.130718432, 50.804668204]),
        (np.pi / 2, [8.262218067, 31.158631054, 70.150954721]),
        (np.pi, [11.577323160, 23.033046606, 96.307020066]),
    ],
)
def test_kronig_penney_bands_are_the_anchors(qa, levels):
    assert np.abs(wells.bands(qa, 0.6, 0.4, 20.0, 3) - levels).max() < ANCHOR * 1.01


def test_well_energies_agree_with_finite_differences():
    x = np.linspace(0, 1, 4001)[1:-1]
    h = x[0]
    V = np.where((x > 0.4 + h / 2) & (x < 0.6 - h / 2), 50.0, 0.0)
    V[np.isclose(x, 0.4) | np.isclose(x, 0.6)] = 25.0  # the mean on the jump keeps second order
    E = eigh_tridiagonal(
        2 / h**2 + V, np.full(len(x) - 1, -1 / h**2), select="i", select_range=(0, 2)
    )[0]
    assert np.allclose(E, wells.levels(BARRIER, 3), rtol=1e-5)  # h² π² E / 12


@pytest.mark.parametrize("potential", [FINITE, BARRIER, Potential((0, 0.3, 1), (5.0, -20.0))])
def test_states_are_orthonormal_and_start_positive(potential):
    x = np.linspace(-6, 6, 24001) if np.isfinite(potential.outside) else np.linspace(0, 1, 4001)
    psi = [wells.state(E, potential, x) for E in wells.levels(potential, 2)]
    overlap = np.array([[np.trapezoid(a * b, x) for b in psi] for a in psi])
    assert np.abs(overlap - np.eye(2)).max() < 1e-6  # trapezoid rule with these nodes
    assert all(p[1] > 0 for p in psi)


def test_states_satisfy_their_equation_inside_each_piece():
    x, h = np.array([0.1, 0.3, 0.47, 0.55, 0.8]), 1e-4
    E = wells.levels(BARRIER, 1)[0]
    psi = lambda x: wells.state(E, BARRIER, x)
    bend = (psi(x + h) - 2 * psi(x) + psi(x - h)) / h**2
    V = np.where((x > 0.4) & (x < 0.6), 50.0, 0.0)
    assert (
        np.abs(-bend + (V - E) * psi(x)).max() < 1e-5
    )  # rounding: 1e-16 / h² = 1e-8, truncation h² E² ψ / 12


def test_the_stored_ground_states_have_unit_norm():
    for name in ("well_finite", "well_barrier"):
        grid = load(DATA / f"{name}.h5")
        x = grid.coordinates["x"]
        for psi in grid.unknowns.values():
            assert np.trapezoid(psi**2, x) == pytest.approx(
                1, abs=1e-4
            )  # trapezoid rule, step 0.01


def test_wells_refuse_what_they_cannot_hold():
    with pytest.raises(ProblemError, match="holds 3 bound states below V = 50; 4 were asked"):
        wells.levels(FINITE, 4)
    with pytest.raises(ProblemError, match="one more than values"):
        Potential((0.0, 1.0), (0.0, 1.0))
    double = Potential((0.0, 0.45, 0.55, 1.0), (0.0, 5e3, 0.0))  # a pair of levels 0.1 apart
    with pytest.raises(ProblemError, match="the scan missed a level"):
        wells.levels(double, 2, step=30.0)
