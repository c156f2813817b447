"""Elliptic, cavity and quantum-well references against exact and published numbers."""

from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.linalg import eigh_tridiagonal

from sciml.errors import ProblemError, TrainingError
from sciml.references import (
    Cavity,
    Elliptic,
    Potential,
    compute,
    corner,
    disk,
    elliptic,
    load,
    multipoles,
    relative_l2,
    wells,
)

DATA = Path(__file__).resolve().parent.parent / "data"

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


def test_the_cavity_says_when_newton_fails():
    with pytest.raises(TrainingError, match="did not converge at Re = .* with n = 8; raise n"):
        Cavity(5000.0, (1.0,), 8)


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
