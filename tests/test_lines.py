"""The method of lines: cubic pieces in time, the projected equation, its integration, and what it refuses."""

import logging
from math import pi

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline

import sciml
from sciml import Box, Dirichlet, Equation, Initial, Neumann, Periodic, Problem, ProblemError, Unknown, laplacian
from sciml.calculus import NestedReverse, Program, TaylorForward
from sciml.fields import HermiteAxis, TensorField
from sciml.fields.axes import GaussianAxis
from sciml.objective import build_objective, make_recipe
from sciml.objective.lines import Lines
from sciml.optim import build_optimizer
from sciml.problem import load_problem


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lines_of(problem, **model):
    recipe = make_recipe(problem.defaults, dict(model=dict(name="gaussian-lines", **model)))
    return Lines(build_objective(problem, recipe)[0])


def solved(problem, model=None, **options):
    return sciml.solve(problem, model=dict(name="gaussian-lines", **(model or {})), seed=0, **options)


# ---- cubic pieces ----------------------------------------------------------------------------------------------------


def test_cubic_pieces_are_scipys_hermite_splines():
    axis = HermiteAxis(-1.0, 2.0, 5)
    values, slopes = random(6, seed=1), random(6, seed=2)
    coefficients = torch.stack([values, axis.step * slopes], dim=1).reshape(-1)
    x = torch.cat([axis.knots, torch.linspace(-1, 2, 50, dtype=torch.float64)[:-1]])
    want = CubicHermiteSpline(axis.knots.numpy(), values.numpy(), slopes.numpy())
    jets = axis.jets(x, 2) @ coefficients
    for order in (0, 1):
        assert np.allclose(jets[order], want(x.numpy(), order), rtol=0, atol=1e-12)
    inside = x[6:]                                                 # the second derivative jumps at the knots
    assert np.allclose(jets[2][6:], want(inside.numpy(), 2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("held", [(0, 0), (1, 0), (2, 1)])
def test_held_functions_of_cubic_pieces_vanish_at_the_ends_and_their_quadrature_is_exact(held):
    axis = HermiteAxis(0.0, 2.0, 3, held)
    ends = axis.jets(torch.tensor([0.0, 2.0]).double(), 1)
    assert axis.size == 8 - sum(held)
    for end, count in enumerate(held):
        assert not bool(ends[:count, end].any())
    x, w = axis.quadrature()
    assert float((w * x**5).sum()) == pytest.approx(2**6 / 6, rel=1e-14)


def test_a_field_with_cubic_pieces_has_the_derivatives_of_nested_reverse_mode():
    field = TensorField([GaussianAxis(0, 1, 9, 1.2), HermiteAxis(0, 2, 4)], 2)
    with torch.no_grad():
        field.weight.copy_(random(*field.weight.shape))
    X = torch.rand(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * torch.tensor([1.0, 2.0])
    requests = {"u": {(2, 1), (0, 3)}, "v": {(1, 2)}}
    have = TaylorForward().derivatives(field, X, requests, ("u", "v"))
    want = NestedReverse().derivatives(field, X, requests, ("u", "v"))
    for key, values in want.items():
        assert torch.allclose(have[key], values, rtol=0, atol=1e-9 * float(values.detach().abs().max())), key


def test_there_must_be_a_piece():
    with pytest.raises(ProblemError, match="need a piece at least"):
        HermiteAxis(0, 1, 0)
    with pytest.raises(ProblemError, match="model.pieces=0 must be at least 1"):
        solved(heat(), dict(pieces=0))


def test_a_program_gives_the_same_where_some_leaves_are_known_beforehand():
    (block,) = (b for b in load_problem("flow_mixing", {}).blocks if b.kind == "equation")
    program: Program = block.program
    leaves = {key: random(20, seed=i) for i, key in enumerate(program.leaves)}
    still = {key: v for key, v in leaves.items() if key[0] == "coordinate"}
    known = program.known(still, leaves[program.leaves[0]])
    moving = {key: v for key, v in leaves.items() if key not in still}
    like = leaves[program.leaves[0]]
    assert len(known) > len(still)
    assert torch.equal(program(leaves, like)[0], program.after(known, moving, like)[0])


# ---- the projected equation ------------------------------------------------------------------------------------------


def heat():
    """u = e^{−0.1 π² t} sin πx, with data at the ends that move, of a lift 1 + x t."""
    exact = lambda x, t: torch.exp(-0.1 * pi**2 * t) * torch.sin(pi * x) + x * t
    return Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u, x: 2 * u.t - 0.2 * u.xx - 2 * x),
        Initial(u=lambda x: torch.sin(pi * x)), Dirichlet(u=exact, on=["x-", "x+"])], reference=dict(u=exact))


def brusselator():
    """Two unknowns with mixed rates, two space coordinates, one of them periodic."""
    return Problem(Box(x=(0, 1), y=(0, 2), t=(0, 1)), ["u", "v"], [
        Equation(lambda u, v, x: [u.t + v.t - u**2 * v - 0.01 * laplacian(u) * x,
                                  v.t - u.t + u * v.y - 0.02 * v.xy]),
        Initial(u=lambda x, y: torch.cos(pi * y), v=lambda x, y: 1 + x * torch.sin(pi * y)),
        Periodic(on="y")])


def test_rates_are_the_l2_projection_of_what_the_equation_says():
    flow = lines_of(brusselator(), centres=(8, 7), overlap=1.2, pieces=2)
    a = random(int(np.prod(flow.sizes)), seed=3).numpy()
    field, (x, y) = flow.objective.field, flow.ticks
    flow.write(1, torch.from_numpy(a), torch.zeros(len(a), dtype=torch.float64))
    X = torch.cartesian_prod(x, y, torch.tensor([0.5]).double())
    zero, alphas = (0, 0, 0), [(0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 1, 0), (1, 1, 0)]
    d = NestedReverse().derivatives(field, X, {"u": set(alphas), "v": set(alphas)}, ("u", "v"))
    u, v = (lambda alpha: d["unknown", "u", alpha].detach()), (lambda alpha: d["unknown", "v", alpha].detach())
    f = u(zero)**2 * v(zero) + 0.01 * (u((2, 0, 0)) + u((0, 2, 0))) * X[:, 0]          # u_t + v_t
    g = -u(zero) * v((0, 1, 0)) + 0.02 * v((1, 1, 0))                                   # v_t − u_t
    weights = torch.kron(*flow.weights)
    phi = torch.kron(flow.tables[0][0], flow.tables[1][0])
    gram = phi.T @ (weights[:, None] * phi)
    want = [torch.linalg.solve(gram, phi.T @ (weights * rate)) for rate in ((f - g) / 2, (f + g) / 2)]
    have = torch.from_numpy(flow.rate(0.5, a)).reshape(2, -1)
    # second derivatives of functions that are differences of Gaussians, 1e4 times their size
    assert torch.allclose(have, torch.stack(want), rtol=0, atol=1e-8 * float(have.abs().max()))


@pytest.mark.parametrize("make", [heat, brusselator])
def test_the_jacobian_is_that_of_finite_differences(make):
    flow = lines_of(make(), centres=7, overlap=1.2)
    m = int(np.prod(flow.sizes))
    a, v, h = random(m, seed=1).numpy(), random(m, seed=2).numpy(), 1e-4
    want = (flow.rate(0.3, a + h * v) - flow.rate(0.3, a - h * v)) / (2 * h)
    have = flow.jacobian(0.3, a) @ v
    assert np.abs(have - want).max() < 1e-6 * np.abs(want).max()                # h² times the cubic term


def test_initial_data_are_projected_and_a_lift_is_taken_off():
    flow = lines_of(brusselator(), centres=(10, 12), overlap=1.2)
    x, y = torch.meshgrid(*flow.ticks, indexing="ij")
    have = flow.values(flow.start())
    assert torch.allclose(have[0], torch.cos(pi * y), rtol=0, atol=1e-3)        # what ten Gaussians can
    assert torch.allclose(have[1], 1 + x * torch.sin(pi * y), rtol=0, atol=1e-3)
    flow = lines_of(heat(), centres=12)
    assert flow.size(0.0, flow.start()) == pytest.approx(0.5**0.5, rel=1e-6)


def inflow(ends=("x-",)):
    exact = lambda x, t: torch.sin(3 * (x - t))
    return Problem(Box(x=(0, 2), t=(0, 3)), "u", [
        Equation(lambda u: u.t + u.x), Initial(u=lambda x: torch.sin(3 * x)),
        *([Dirichlet(u=exact, on=list(ends))] if ends else [])], reference=dict(u=exact))


@pytest.mark.parametrize("centres", [20, 60])
def test_advection_with_inflow_is_stable(centres):
    flow = lines_of(inflow(), centres=centres, overlap=1.2)
    flow.check_spectrum()
    assert flow.growth <= 1e-8


def test_advection_without_data_at_the_inflow_is_said_to_be_unstable(caplog):
    with caplog.at_level(logging.WARNING):
        solution = solved(inflow(()), dict(centres=40), steps=1)
    assert solution.history[-1]["growth"] > 5 and "are data missing at an inflow" in caplog.text


# ---- solutions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["RK45", "DOP853", "Radau", "BDF"])
def test_heat_with_moving_ends_is_solved_by_every_kind_of_integrator(method):
    solution = solved(heat(), dict(centres=24, pieces=16), optimizer="lines",
                      **{"lines.method": method, "lines.tolerance": 1e-8})
    assert solution.status == "ok" and solution.steps == 16
    # BDF's local error of 1e-8 adds up over its steps; cubic pieces end at (1/16)⁴/384 · |u''''| = 4e-8
    assert solution.relative_l2()["u"] < (1e-6 if method == "BDF" else 1e-7)


def test_halving_the_pieces_shows_the_fourth_order_of_cubics_in_time():
    wave = Problem(Box(x=(0, 1), t=(0, 1)), ["u", "v"], [
        Equation(lambda u, v: [u.t - v, v.t - u.xx]),
        Initial(u=lambda x: torch.sin(pi * x), v=0.0), Dirichlet(u=0.0, v=0.0, on=["x-", "x+"])],
        reference=dict(u=lambda x, t: torch.sin(pi * x) * torch.cos(pi * t),
                       v=lambda x, t: -pi * torch.sin(pi * x) * torch.sin(pi * t)))
    errors = [solved(wave, dict(centres=28, pieces=K), **{"lines.method": "DOP853", "lines.tolerance": 1e-10}
                     ).relative_l2()["u"] for K in (4, 8, 16)]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 12 < coarse / fine < 20                                          # 2⁴, with its own next order


def test_advection_through_an_inflow_is_followed():
    # cubics of 3/64 leave (3/64)⁴/384 · 81 = 1e-6 of it
    assert solved(inflow(), dict(centres=40), **{"lines.tolerance": 1e-9}).relative_l2()["u"] < 2e-6


def test_allen_cahn_reaches_what_our_notes_ask():
    solution = solved("allen_cahn", dict(centres=512))
    assert solution.relative_l2()["u"] < 3e-5                                   # the kink at t = 0 is most of it
    truth = sciml.solution.truth.resolve(solution.problem)
    late = truth.X[:, 1] >= 0.25
    want = truth.values["u"][late]
    have = solution(x=truth.X[late, 0], t=truth.X[late, 1])["u"]
    assert np.linalg.norm(have - want) < 1e-6 * np.linalg.norm(want)


def test_flow_mixing_and_nonlinear_diffusion_are_resolved_by_few_centres():
    # 44 and 30 centres have five and three times the spacing that the recipes' errors of 3e-5 are for
    assert solved("flow_mixing", dict(centres=44, overlap=1.2, pieces=16), points=50).relative_l2()["u"] < 1e-2
    assert solved("nonlinear_diffusion", dict(centres=30, pieces=8), points=50).relative_l2()["u"] < 1e-3


def test_a_run_that_is_cut_and_resumed_is_the_same_bit_by_bit(tmp_path):
    options = dict(model=dict(name="gaussian-lines", centres=20, pieces=6), seed=0)
    whole = sciml.solve(heat(), **options)
    for steps in (2, 4):
        cut = sciml.solve(heat(), out=tmp_path, resume=steps > 2, steps=steps, **options)
        assert cut.steps == steps and cut.history[-1]["t"] == pytest.approx(steps / 6)
    parts = sciml.solve(heat(), out=tmp_path, resume=True, **options)
    assert torch.equal(whole.objective.field.network.weight, parts.objective.field.network.weight)
    loaded = sciml.Solution.load(tmp_path, problem=heat())
    assert loaded(x=0.3, t=0.7)["u"] == whole(x=0.3, t=0.7)["u"]


def test_a_solution_that_blows_up_stops_with_a_sentence():
    problem = Problem(Box(x=(0, 1), t=(0, 2)), "u", [Equation(lambda u: u.t - u**2), Initial(u=1.0), Periodic(on="x")])
    solution = solved(problem, dict(centres=5, pieces=4))
    assert "gave up at t = 1" in solution.status or "not finite" in solution.status
    assert solution.steps in (2, 3) and np.isfinite(solution(x=0.5, t=0.4)["u"])


# ---- what is refused -------------------------------------------------------------------------------------------------


def simple(equation=lambda u: u.t - u.xx, others=None, unknowns="u"):
    others = [Initial(u=0.0), Dirichlet(u=0.0, on=["x-", "x+"])] if others is None else others
    return Problem(Box(x=(0, 1), t=(0, 1)), unknowns, [Equation(equation), *others])


@pytest.mark.parametrize(("problem", "options", "sentence"), [
    (simple(lambda u: u.tt - u.xx), {}, "has u.tt; write u and its rate as a system of first order"),
    (simple(lambda u: u.t - u.xt), {}, "has u.xt; take another optimizer"),
    (simple(lambda u, x: (1 + x) * u.t - u.xx), {}, "divide by what multiplies u.t"),
    (simple(lambda u: u * u.t - u.xx), {}, "divide by what multiplies u.t"),
    (simple(lambda u: u.x - u.xx), {}, "divide by what multiplies u.t"),
    (simple(others=[Initial(u=0.0), Neumann(u=0.0, on=["x-", "x+"])]), {}, "built in, and 'neumann' is not"),
    (simple(others=[Dirichlet(u=0.0, on=["x-", "x+"])]), {}, "initial data of every unknown, and u has none"),
    (simple(), {"model": "gaussian-lattice", "optimizer": "lines"}, "no cubic pieces in t; take model=gaussian-lines"),
    (simple(), {"model": "mlp", "optimizer": "lines"}, "this field is none; take model=gaussian-lines"),
    (simple(), {"dtype": "float32"}, "optimizer=lines needs dtype=float64"),
    (simple(), {"lines.method": "Euler"}, "must be one of RK23, RK45, DOP853, Radau, BDF"),
    (simple(), {"lines.tolerance": 2.0}, "must lie between 1e-12 and 1"),
    (Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx - 1), Dirichlet(u=0.0, on=["x-", "x+"])]), {},
     "problems in space and time t; take model=gaussian-lattice"),
])
def test_what_is_no_evolution_of_first_order_is_refused_with_a_sentence(problem, options, sentence):
    with pytest.raises(ProblemError, match=sentence.replace("(", r"\(")):
        sciml.solve(problem, **{"model": "gaussian-lines", **options})


def test_parameters_to_be_found_are_refused():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u, k: u.t - k * u.xx), Initial(u=0.0), Dirichlet(u=0.0, on=["x-", "x+"])],
        parameters=dict(k=Unknown(1.0)))
    with pytest.raises(ProblemError, match="knows no parameters to be found, and this problem has k"):
        sciml.solve(problem, model="gaussian-lines")


def test_an_optimizer_of_lines_without_a_flow_is_only_its_options():
    weight = torch.zeros(1, 3, requires_grad=True)
    assert build_optimizer("lines", [weight], {"tolerance": 1e-3}).param_groups[0]["tolerance"] == 1e-3
