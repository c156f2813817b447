"""Evolution references against exact solutions, orders, suite values and cross-checks."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from sciml.errors import ProblemError, TrainingError
from sciml.references import (
    burgers_exact,
    chebyshev,
    compute,
    dirichlet,
    etdrk4,
    lines,
    neumann,
    relative_l2,
)
from sciml.references.bases import Fourier, Sine
from sciml.references.etdrk4 import weights

NU = 0.01 / np.pi

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
    grid = compute("burgers_nu", {"points": 17, "outputs": 5, "count": 3})
    one = compute("burgers", {"nu": grid.coordinates["nu"][1], "points": 17, "outputs": 5})
    assert np.array_equal(grid.unknowns["u"][:, :, 1], one.unknowns["u"])


def test_cole_hopf_refuses_negative_viscosity():
    with pytest.raises(ProblemError, match="nu > 0"):
        burgers_exact(np.zeros(1), 0.1, -1.0)


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
