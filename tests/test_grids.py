"""Derivatives on grids: matrices along axes, and equations replayed on batches of grid functions."""

from math import pi

import pytest
import torch

from sciml import Box, Dirichlet, Equation, GaussianRandomField, Initial, Problem, ProblemError, d
from sciml.calculus import Frame, GridAxis, GridFunctions, Program, on_grid

F = (lambda x: torch.sin(2 * pi * x + 0.3), lambda x: 2 * pi * torch.cos(2 * pi * x + 0.3),
     lambda x: -(2 * pi) ** 2 * torch.sin(2 * pi * x + 0.3), lambda x: -(2 * pi) ** 3 * torch.cos(2 * pi * x + 0.3))


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("places", [(False, False), (False, True), (True, False)], ids=str)
def test_differences_converge_at_their_order_between_nodes_and_half_points(order, periodic, places):
    start, end = places
    for k in range(0 if start != end else 1, 4):
        errors = []
        for n in (32, 64):
            axis = GridAxis("x", 0.0, 1.0, n + (not periodic), periodic, "differences", order)
            found = axis.matrix(k, start, end) @ F[0](axis.nodes(start))
            errors.append(float((found - F[k](axis.nodes(end))).abs().max()))
        rate = torch.log2(torch.tensor(errors[0] / errors[1]))
        assert rate > order - 0.25, (k, errors)          # the asymptotic rate, less what two grids can show


def test_fourier_derivatives_of_a_band_limited_function_are_exact():
    for n in (15, 16):
        axis = GridAxis("x", 0.0, 1.0, n, True, "spectral")
        for k in (1, 2, 3):
            # rounding of the highest mode, (πn)^k
            assert float((axis.matrix(k) @ F[0](axis.nodes()) - F[k](axis.nodes())).abs().max()) < 1e-13 * (pi * n) ** k


def test_continuation_differentiates_smooth_functions_that_do_not_repeat():
    axis = GridAxis("x", 0.0, 1.0, 65, False, "continuation")
    x = axis.nodes()
    f, slope = torch.exp(torch.sin(3 * x)), 3 * torch.cos(3 * x) * torch.exp(torch.sin(3 * x))
    second = GridAxis("x", 0.0, 1.0, 65, False, "differences")
    error = float((axis.matrix(1) @ f - slope).abs().max())
    # 7e-6 measured: the fit of degree 9 at the ends; differences of order 2 have 1e-2
    assert error < 3e-5 and error < 1e-2 * float((second.matrix(1) @ f - slope).abs().max())


@pytest.mark.parametrize("arguments, words", [
    (dict(scheme="spectral"), "is not"), (dict(periodic=True, scheme="continuation"), "nothing is continued"),
    (dict(order=3), "even number"), (dict(count=4), "too few"), (dict(scheme="fourier"), "scheme")])
def test_an_axis_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ProblemError, match=words):
        GridAxis(**{"name": "x", "low": 0.0, "high": 1.0, "count": 33, **arguments})


def replayed(equation, functions, names=("x", "y"), over=None):
    frame = Frame(names, names, expand=False)
    leaf = {n: frame.leaf("coordinate", n) for n in names} | {"u": frame.leaf("unknown", "u")}
    return on_grid(Program({"r": equation(**leaf)}), functions, names)[0]


def grid(n, periodic=False, scheme="differences"):
    axes = tuple(GridAxis(c, 0.0, 1.0, n, periodic, scheme) for c in "xy")
    X, Y = torch.meshgrid(*(a.nodes() for a in axes), indexing="ij")
    return axes, X, Y


def test_a_flux_is_differenced_as_it_is_written():
    axes, X, Y = grid(9)
    u, h = torch.sin(X + 2 * Y)[None], axes[0].step
    found = replayed(lambda u, x, y: d((1 + x * x) * u.x, "x"), GridFunctions(axes, {"u": u}))
    a = 1 + ((X[1:] + X[:-1]) / 2) ** 2
    flux = a * (u[0, 1:] - u[0, :-1]) / h
    assert torch.allclose(found[0, 1:-1], (flux[1:] - flux[:-1]) / h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scheme, periodic", [("differences", False), ("spectral", True)])
def test_equations_on_a_grid_agree_with_formulas(scheme, periodic):
    errors = []
    for n in (32, 64):
        axes, X, Y = grid(n, periodic, scheme)
        u = (torch.sin(2 * pi * X) * torch.cos(2 * pi * Y))[None]
        found = replayed(lambda u, x, y: u * u.x + u.xy + d(torch.cos(2 * pi * x) * u.y, "y"),
                         GridFunctions(axes, {"u": u}))[0]
        s, c = torch.sin(2 * pi * X), torch.cos(2 * pi * X)
        sy, cy = torch.sin(2 * pi * Y), torch.cos(2 * pi * Y)
        exact = s * cy * 2 * pi * c * cy - 4 * pi**2 * c * sy - c * s * 4 * pi**2 * cy
        errors.append(float((found - exact)[1:-1, 1:-1].abs().max()))
    assert errors[1] < 1e-9 if scheme == "spectral" else errors[1] < errors[0] / 3.4      # order 2, near the ends too


def family(**options):
    return Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u, a: u.t - d(a * u.x, "x")), Initial(u=lambda x: x * (1 - x)),
        Dirichlet(u=0.0, on=["x-", "x+"])],
        inputs=dict(a=GaussianRandomField(kind="neumann", tau=3.0, alpha=2.0, over="x", **options)))


def test_a_member_of_a_family_is_a_problem_with_a_known_function():
    problem = family(positive="exp")
    program = problem.blocks[0].program
    x = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    drawn = problem.setting.inputs["a"]
    a, slope = (drawn.family.at(drawn.coefficients, x[:, None], (k,))[0] for k in (0, 1))
    leaves = {k: torch.full_like(x, 2.0 + sum(k[2])) if k[0] == "unknown" else {"x": x, "t": 0 * x}[k[1]]
              for k in program.leaves}
    expected = leaves["unknown", "u", (0, 1)] - slope * leaves["unknown", "u", (1, 0)] - a * leaves[
        "unknown", "u", (2, 0)]
    assert torch.allclose(program(leaves, x)[0], expected, rtol=1e-12)
    assert not problem.rough and family(values=(1.0, 2.0)).rough == ("a",)


def test_inputs_that_nothing_depends_on_or_that_are_no_functions_are_refused():
    box, unknown = Box(x=(0, 1)), [Equation(lambda u: u.xx), Dirichlet(u=0.0)]
    with pytest.raises(ProblemError, match="no condition contains the input 'a'"):
        Problem(box, "u", unknown, inputs=dict(a=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)))
    with pytest.raises(ProblemError, match="must be random functions"):
        Problem(box, "u", [Equation(lambda u, a: u.xx - a), Dirichlet(u=0.0)], inputs=dict(a=3.0))
    with pytest.raises(ProblemError, match="coordinate of input 'a'"):
        Problem(box, "u", [Equation(lambda u, a: u.xx - a), Dirichlet(u=0.0)],
                inputs=dict(a=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0, over="z")))
