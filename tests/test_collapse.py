"""Operators as streams: found in equations, pushed through fields, the same numbers as their derivatives one by one."""

from math import pi

import pytest
import torch

from sciml.calculus import IndexSet, Jet, TaylorForward, d, laplacian
from sciml.calculus.indices import below
from sciml.fields.build import FieldOptions, build_network
from sciml.fields.constrained import Constrained
from sciml.fields.enriched import Enriched
from sciml.fields.piecewise import Piecewise
from sciml.geometry import Box
from sciml.objective import build_objective, make_recipe
from sciml.problem import Equation, Periodic, Problem, Unknown, load_problem

WAVE = (((0, 2), 1.0), ((2, 0), -0.3))
MIXED = (((1, 0), 2.5), ((0, 3), -0.7), ((2, 2), 0.4))
POINTS = torch.rand(11, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def equation(function, unknowns="u", domain=None, **more):
    problem = Problem(domain=domain or Box(x=(0, 1), y=(0, 1), t=(0, 1)), unknowns=unknowns,
                      conditions=[Equation(function, name="e")], **more)
    return problem.blocks[0].program


def operators(program):
    """By unknown, the operators among what a program asks for."""
    found = {n: [s for s in streams if isinstance(s[0], tuple)] for n, streams in program.collapsed().requests.items()}
    return {n: some for n, some in found.items() if some}


def streams(program, dimension=3):
    return len(IndexSet.closure({s for some in program.requests.values() for s in some}, dimension))


def field_of(name, outputs=2, **options):
    return build_network(name, [(0, 1), (0, 1)], outputs, FieldOptions(width=7, depth=2, **options),
                         torch.Generator().manual_seed(3))


# ---- which operators there are ---------------------------------------------------------------------------------------


def test_highest_derivatives_with_constant_coefficients_are_one_operator():
    program = equation(lambda u: u.t + u * u.x - 0.1 * u.xx)
    assert operators(program) == {"u": [(((0, 0, 1), 1.0), ((2, 0, 0), -0.1))]}
    assert (streams(program), streams(program.collapsed())) == (4, 3)


def test_a_multiple_of_an_operator_is_the_same_operator():
    program = equation(lambda u, v: {"a": 2 * laplacian(u) + v, "b": 3.0 - laplacian(v) / 4 + u.x}, "u v")
    assert operators(program) == {n: [(((0, 2, 0), 1.0), ((2, 0, 0), 1.0))] for n in "uv"}


def test_an_unknown_coefficient_stands_before_an_operator_not_in_it():
    program = equation(lambda u, k: u.t - k * laplacian(u), parameters=dict(k=Unknown(1.0)))
    assert operators(program) == {"u": [(((0, 2, 0), 1.0), ((2, 0, 0), 1.0))]}


@pytest.mark.parametrize("function", [
    lambda u, x: u.xx + x * u.yy,                                    # a coefficient that varies
    lambda u: {"a": u.xx + u.yy, "b": u.xx - u.yy},                  # two operators of the same derivatives
    lambda u: u.xx + u.yy + u.xx**2 + u.yy**2,                       # needed by themselves as well
    lambda u: (u.xx + u.yy) * u.xx * u.yy,
    lambda u: u.xx + u.t * u.yy,
    lambda u: torch.sin(u),
])
def test_derivatives_that_are_needed_one_by_one_stay(function):
    program = equation(function)
    assert program.collapsed() is program


def test_nothing_is_collapsed_where_nothing_is_saved():
    program = equation(lambda u: u.x + u.t + u.xt)                   # u_x and u_t are parts of u_xt
    assert program.collapsed() is program


def test_sums_that_cancel_leave_no_operator():
    program = equation(lambda u: u.xx + u.yy - laplacian(u) + u.t)
    assert not operators(program)


def test_values_are_those_of_the_program(n=9):
    program = equation(lambda u, v: {"a": u.t + u * u.x - 0.3 * laplacian(u) + v.x, "b": 2.0 - (u.t - 0.3 * (
        u.xx + u.yy)) * torch.exp(v) + 1.5}, "u v")
    g = torch.Generator().manual_seed(0)
    leaves = {key: torch.randn(n, generator=g, dtype=torch.float64) for key in program.leaves}
    like = torch.zeros(n, dtype=torch.float64)
    thin = program.collapsed()
    for name, some in operators(program).items():
        for operator in some:
            leaves["unknown", name, operator] = sum(c * leaves["unknown", name, alpha] for alpha, c in operator)
    assert thin is not program and thin.names == program.names
    for a, b in zip(program(leaves, like), thin(leaves, like), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


# ---- operators as streams --------------------------------------------------------------------------------------------


FIELDS = {
    "mlp": lambda: field_of("mlp"), "adaptive": lambda: field_of("mlp", adaptive=True, fourier=6),
    "factorized": lambda: field_of("modified-mlp", factorized=True), "piratenet": lambda: field_of("piratenet"),
    "siren": lambda: field_of("siren"), "fourier": lambda: field_of("fourier"),
    "pieces": lambda: Piecewise(field_of("mlp", 4), {0: (0.5,)}, 2),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("operator", [WAVE, MIXED, (((0, 1), -3.0), ((1, 0), 0.5))], ids=["wave", "mixed", "first"])
def test_an_operator_of_a_field_is_the_sum_of_its_derivatives(name, operator):
    field = FIELDS[name]()
    assert field.collapses
    whole = {"u": {operator, (0, 0)}, "v": {operator}}
    single = {n: {alpha for alpha, _ in operator} for n in "uv"}
    found = TaylorForward().derivatives(field, POINTS, whole, ("u", "v"))
    each = TaylorForward().derivatives(field, POINTS, single, ("u", "v"))
    for n in "uv":
        sums = sum(c * each["unknown", n, alpha] for alpha, c in operator)
        value = found["unknown", n, operator]
        torch.testing.assert_close(value, sums, rtol=1e-11, atol=1e-11 * float(sums.detach().abs().max()))
        weights = torch.linspace(1, 2, len(POINTS), dtype=torch.float64)
        gradients = [torch.autograd.grad((weights * q**2).sum(), tuple(field.parameters()), retain_graph=True,
                                         allow_unused=True) for q in (value, sums)]
        for a, b in zip(*gradients, strict=True):
            if b is not None:
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * float(b.abs().max() + 1))


@pytest.mark.parametrize("make", [
    lambda frame, x, y: Constrained(field_of("mlp"), frame, (torch.sin(x) * y, 1.0), (x * y * (1 - x), 1.0)),
    lambda frame, x, y: Enriched(field_of("mlp"), frame, (torch.cos(x * y), x**3), 2),
    lambda frame, x, y: build_network("mlp", [(0, 1), (0, 1)], 2, FieldOptions(width=6, depth=2),
                                      torch.Generator().manual_seed(0), features=(frame, (torch.exp(x * y), x * x))),
], ids=["constrained", "enriched", "features"])
def test_known_functions_are_differentiated_by_operators_too(make):
    problem = Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u.x)])
    frame = problem.setting.frame
    x, y = (frame.leaf("coordinate", n) for n in "xy")
    field = make(frame, x, y)
    found = TaylorForward().derivatives(field, POINTS, {"u": {WAVE}, "v": {WAVE}}, ("u", "v"))
    each = TaylorForward().derivatives(field, POINTS, dict.fromkeys("uv", {a for a, _ in WAVE}), ("u", "v"))
    for n in "uv":
        torch.testing.assert_close(found["unknown", n, WAVE], sum(c * each["unknown", n, a] for a, c in WAVE))


def test_a_closed_set_holds_what_is_strictly_below_an_operators_derivatives():
    found = IndexSet.closure({MIXED}, 2)
    expected = {b for alpha, _ in MIXED for b in below(alpha) if b != alpha}
    assert set(found.indices) == expected | {MIXED} and found.indices[0] == (0, 0) and found.order == 4


def test_coordinates_have_an_operators_first_order_part():
    jet = Jet.of_coordinates(POINTS, IndexSet.closure({MIXED, WAVE}, 2))
    torch.testing.assert_close(jet.stream(MIXED), torch.tensor([[2.5, 0.0]], dtype=torch.float64).expand(11, 2))
    assert jet.indices.position(WAVE) not in jet.present


# ---- in training -----------------------------------------------------------------------------------------------------


def objective_of(name, **options):
    problem = load_problem(name)
    recipe = make_recipe(problem.defaults, {"points": 20, "constraints": "auto", "precondition": "none",
                                            "refine": "none", "model": {"name": "mlp", "width": 6, "depth": 2},
                                            **options})
    objective, _ = build_objective(problem, recipe)
    g = torch.Generator().manual_seed(5)
    for block in objective.blocks:
        if block.name not in objective.points:
            objective.points[block.name] = block.region.sample(20, generator=g, dtype=objective.dtype).reorder(
                problem.coordinates)
    return objective


@pytest.mark.parametrize("name", ["burgers", "heat", "kovasznay", "poisson5d", "wave"])
def test_losses_gradients_and_jacobians_do_not_depend_on_it(name):
    objective = objective_of(name)
    assert objective.field.collapses
    results = []
    for whole in (True, False):
        objective.field.collapses = whole
        objective.zero_grad()
        loss, _ = objective.backward()
        gradient = torch.cat([p.grad.reshape(-1) for p in objective.trainable if p.grad is not None])
        results.append((loss, gradient, *objective.linearize()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10 * float(b.abs().max()))


def test_a_field_of_ones_own_is_asked_for_derivatives_one_by_one():
    asked = []

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = field_of("mlp", 1)

        def jet(self, x):
            asked.append(x.indices.indices)
            return self.inner.jet(x)

        def forward(self, X):
            return self.inner(X)

    problem = Problem(domain=Box(x=(0, pi), t=(0, 1)), unknowns="u",
                      conditions=[Equation(lambda u: u.t - d(u, "x", "x")), Periodic(on="x")])
    objective, _ = build_objective(problem, make_recipe({}, {"points": 5, "constraints": "soft"}), Own().double())
    block = objective.blocks[0]
    points = block.region.sample(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective.values(block, points.reorder(problem.coordinates))
    assert not any(isinstance(s[0], tuple) for indices in asked for s in indices)


def test_it_compiles_to_one_graph():
    objective = objective_of("burgers")
    block = objective.blocks[0]
    points = objective.points[block.name]
    plain = objective.values(block, points)
    assert objective.compile_pass(backend="eager")
    torch.testing.assert_close(objective._pass(block, points), plain)


