"""Charts: equations on bodies that a box is mapped to, one body or a family of them."""

import math

import pytest
import torch

import sciml
from sciml import (
    Box,
    Dirichlet,
    Equation,
    GaussianRandomField,
    Initial,
    Integral,
    Neumann,
    Problem,
    ProblemError,
    curl,
    d,
    div,
    grad,
    laplacian,
)
from sciml.calculus import Program
from sciml.learning import OperatorTraining, make_operator_recipe
from sciml.learning.data import DataOptions
from sciml.learning.equations import Equations
from sciml.learning.layout import make_layout
from sciml.learning.places import Places
from sciml.learning.samples import draw
from sciml.training import Training, make_recipe

POLAR = dict(x=lambda r, q: r * torch.cos(q), y=lambda r, q: r * torch.sin(q))
RING = Box(r=(1, 2), q=(0.2, 1.2))


def curved(**changes):
    """Poisson's equation on a piece of a ring."""
    given = dict(domain=RING, unknowns="u", chart=POLAR,
                 conditions=[Equation(lambda u, x: laplacian(u) - x), Dirichlet(u=0.0)])
    return Problem(**{**given, **changes})


def values(problem, **expressions):
    """Expressions of the coordinates at some points of the box, with these."""
    points = problem.domain.sample(50, generator=torch.Generator().manual_seed(0))
    program = Program({n: problem.setting.call(f, n) for n, f in expressions.items()})
    columns = {key: points.column(key[1]) for key in program.leaves}
    return points, program(columns, points.X[:, 0])


def test_derivatives_by_the_bodys_coordinates_are_those_of_formulas():
    f = lambda x, y: torch.sin(x) * torch.exp(y / 2) + x * x * y
    points, found = values(
        curved(), x=lambda x, y: x + 0 * y, fx=lambda x, y: d(f(x, y), "x"), fy=lambda x, y: d(f(x, y), y),
        fxy=lambda x, y: d(f(x, y), "x", "y"), lap=lambda x, y: laplacian(f(x, y)),
        div=lambda x, y: div((x * y, y * y)), curl=lambda x, y: curl((x * y, y * x * x)),
        grad=lambda x, y: grad(f(x, y)).x, fr=lambda x, y: d(f(x, y), "r"))
    r, q = points.X.unbind(1)
    x, y = r * q.cos(), r * q.sin()
    fx, fy = x.cos() * (y / 2).exp() + 2 * x * y, x.sin() * (y / 2).exp() / 2 + x * x
    exact = [x, fx, fy, x.cos() * (y / 2).exp() / 2 + 2 * x, -0.75 * x.sin() * (y / 2).exp() + 2 * y, y + 2 * y,
             2 * x * y - x, fx, fx * q.cos() + fy * q.sin()]
    for a, b in zip(found, exact, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_charts_of_one_and_of_three_coordinates():
    line = Problem(domain=Box(s=(0, 1)), unknowns="u", chart=dict(x=lambda s: torch.exp(s)),
                   conditions=[Equation(lambda u: u.xx - 1), Dirichlet(u=0.0)])
    points, (slope,) = values(line, f=lambda x: d(x**3, "x", "x"))
    assert torch.allclose(slope, 6 * points.X[:, 0].exp(), rtol=1e-12)
    space = Problem(domain=Box(a=(0, 1), b=(0, 1), c=(0, 1)), unknowns="u",
                    chart=dict(x=lambda a, b: a + b * b / 4, y=lambda b, c: b - c / 3, z=lambda a, c: c + a * a / 2),
                    conditions=[Equation(lambda u: laplacian(u) - 1), Dirichlet(u=0.0)])
    _, (lap, x, z) = values(space, f=lambda x, y, z: laplacian(x * x * y + z**3), x=lambda x, y: x + 0 * y,
                            z=lambda y, z: 2 * y + 6 * z)
    assert torch.allclose(lap, z, rtol=1e-11) and float(x.std()) > 0.1


def test_a_coordinate_that_is_one_of_the_boxs_is_not_taken_for_it():
    sheared = Problem(domain=Box(r=(0, 1), s=(0, 1)), unknowns="u", chart=dict(x=lambda r: r, y=lambda r, s: s + r * r),
                      conditions=[Equation(lambda u: laplacian(u) - 1), Dirichlet(u=0.0)])
    _, found = values(sheared, name=lambda y: d(y, "x"), itself=lambda x, y: d(y, x), box=lambda r, y: d(y, r) - 2 * r,
                      one=lambda x, y: d(x, "x") + 0 * y)
    name, itself, box, one = (torch.as_tensor(v) for v in found)
    assert float(name.abs().max()) < 1e-14 and float(itself.abs().max()) < 1e-14 and float(box.abs().max()) == 0
    assert bool((one == 1).all())


def test_the_normal_is_the_bodys():
    problem = curved(conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=0.0, on=["q-", "q+", "r-"]),
                                 Neumann(u=lambda normal, x, y: normal.x * x + normal.y * y - 2.0, on="r+")])
    block = next(b for b in problem.blocks if b.kind == "neumann")
    points = block.region.sample(20, generator=torch.Generator().manual_seed(0))
    r, q = points.X.unbind(1)
    leaves = {}
    for kind, name, alpha in block.program.leaves:                  # u = x² + y: u_n = n · (2x, 1)
        x, y = r * q.cos(), r * q.sin()
        if kind == "unknown":
            by_r, by_q = 2 * x * q.cos() + q.sin(), -2 * x * r * q.sin() + r * q.cos()
            leaves[kind, name, alpha] = {(1, 0): by_r, (0, 1): by_q, (0, 0): x * x + y}[alpha]
        else:
            leaves[kind, name, alpha] = points.column(name) if kind == "coordinate" else \
                points.normals[:, points.names.index(name)]
    (found,) = block.program(leaves, r)
    assert torch.allclose(found, 2 * x * q.cos() + q.sin(), rtol=1e-12)         # the data are 0 at r = 2


def test_a_network_solves_on_a_curved_body():
    exact = lambda x, y: torch.log(x * x + y * y) + x * y
    problem = curved(conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=exact)], reference=dict(u=exact))
    solution = sciml.solve(problem, steps=15, seed=0, model=dict(name="mlp", width=12, depth=2))
    assert solution.relative_l2()["u"] < 1e-3              # 15 steps of Gauss–Newton; 40 of the default network: 1e-7


WALL = GaussianRandomField(kind="neumann", sigma=2.0, tau=5.0, alpha=2.0, modes=3, over="r")


def family(equation, **changes):
    """Bodies between a random wall and y = 1."""
    given = dict(domain=Box(r=(0, 2), s=(0, 1)), unknowns="u", inputs=dict(b=WALL),
                 chart=dict(x=lambda r: r, y=lambda s, b: b + s * (1 - b)),
                 conditions=[Equation(equation), Dirichlet(u=0.0, on="boundary")])
    return Problem(**{**given, **changes})


@pytest.mark.parametrize("equation", [
    lambda u, x, y: laplacian(u) + 2 * torch.sin(x) * torch.cos(y),
    lambda u, x, y: div((1 + y * y) * grad(u)) + torch.sin(x) * (2 * (1 + y * y) * torch.cos(y) + 2 * y * torch.sin(y)),
], ids=["expanded", "fluxes"])
def test_equations_on_grids_of_random_bodies_are_of_second_order(equation):
    problem, sizes = family(equation), []
    for n in (33, 65):
        layout = make_layout(problem, DataOptions(grid=n), True)
        inputs = draw(problem, layout, 3, 0)
        at = Places(problem).at(layout, inputs)
        u = (at["x"].sin() * at["y"].cos())[..., None]
        (residual,) = Equations(problem).residuals(layout, u, inputs)
        sizes.append(residual.values.abs().amax((1, 2, 3)))
    orders = (sizes[0] / sizes[1]).log2()
    assert bool((orders > 1.8).all()) and float(sizes[1].max()) < 0.1, (sizes, orders)


def channel():
    return sciml.load_problem("channel")


def test_places_and_weights_are_those_of_the_channels_own_solver():
    problem = channel()
    layout = make_layout(problem, DataOptions(grid=(33, 9)), False)
    inputs = draw(problem, layout, 3, 0)
    solved = problem.reference.solve(inputs, layout.nodes)
    X, weights = Places(problem).weighted(layout, inputs, solved["u"])
    assert torch.allclose(X, torch.stack([solved["x"], solved["y"]], -1).flatten(1, 2), atol=1e-12)
    assert torch.allclose(weights, solved["weight"].flatten(1), rtol=1e-10)


def test_flows_by_finite_elements_satisfy_the_mapped_equations_of_the_channel():
    problem = channel()
    expanded = Problem(**{n: getattr(problem, n) for n in ("domain", "unknowns", "inputs", "chart")},
                       conditions=[c for c in problem.conditions if c.label != "outlet"])
    sizes = []
    for k in (1, 2):                                                # grids of one mesh
        layout = make_layout(expanded, DataOptions(grid=(32 * k + 1, 8 * k + 1)), True)
        inputs = draw(problem, layout, 1, 0)
        solved = type(problem.reference)(nu=0.02, refine=4 // k).solve(inputs, layout.nodes)
        u = torch.stack([solved[name] for name in problem.unknowns], -1)
        (residual,) = Equations(expanded).residuals(layout, u, inputs)
        far = residual.values[0, 2 * k:-2 * k, k:-k]                # differences are one-sided at the walls
        sizes.append(far.square().mean((0, 1)).sqrt())
    assert bool((sizes[1] < 0.45 * sizes[0]).all()) and float(sizes[1].max()) < 0.1, sizes


def trained(problem, **options):
    """Reports of some steps."""
    return list(OperatorTraining(problem, make_operator_recipe({}, options)).run())


@pytest.mark.parametrize("model", [
    dict(name="fno", modes=(4, 3), width=4, layers=1), dict(name="deeponet", width=8, depth=2),
    dict(name="geo-fno", deformation="none", modes=(4, 3), grid=(8, 8), width=4),
    dict(name="mesh-operator", width=8, layers=1, heads=1, slices=4)], ids=lambda m: m["name"])
def test_operators_on_grids_and_points_learn_flows_over_random_walls(model):
    small = {"data.grid": (17, 9), "data.train": 4, "data.test": 2}
    reports = trained(channel(), model=model, steps=3, batch=2, **small)
    assert reports[-1].step == 3 and set(reports[-1].errors) == {"u", "v", "p"}
    assert all(math.isfinite(e) for e in reports[-1].errors.values())


def test_points_move_with_the_wall():
    given = {"data.grid": (17, 9), "data.train": 4, "data.test": 2}
    model = dict(name="mesh-operator", width=8, layers=1, heads=1, slices=4)
    training = OperatorTraining(channel(), make_operator_recipe({}, {"model": model, "steps": 1, **given}))
    inputs = {"b": training.train.inputs["b"][:1]}
    channels = training.channels(training.train)[:1]
    with torch.no_grad():
        one, other = (training.predict(channels, {"b": b}) for b in (inputs["b"], inputs["b"] - 0.5))
    assert not torch.allclose(one, other, rtol=1e-3)                # the channels are the same, the places are not


def test_a_family_of_bodies_is_learnt_from_its_equation_alone():
    problem = family(lambda u: laplacian(u) + 1.0)
    reports = trained(problem, model=dict(name="fno", modes=4, width=8, layers=2), loss="residual", steps=40, batch=4,
                      dtype="float64", **{"data.grid": 17, "data.train": 8})
    assert reports[-1].loss < 0.5 * reports[0].loss, (reports[0].loss, reports[-1].loss)


def test_one_member_of_the_channel_is_a_problem_of_its_own():
    training = Training(channel(), make_recipe({}, dict(steps=1, model=dict(name="mlp", width=8, depth=1))))
    assert set(training.truth.values) == {"u", "v", "p"} and list(map(len, training.truth.axes.values())) == [65, 17]
    assert math.isfinite(float(training.objective.residual().square().sum()))


@pytest.mark.parametrize("make, sentence", [
    (lambda: curved(chart=dict(x=lambda r: r)), "give as many"),
    (lambda: curved(chart=dict(x=lambda r: r, y=lambda r: 2.0)), "is no function of r, q"),
    (lambda: curved(chart=dict(x=lambda u: u, y=lambda q: q)), "depends on the unknown 'u'"),
    (lambda: curved(chart=dict(r=lambda r: r, y=lambda q: q)), "used twice"),
    (lambda: curved(chart=dict(x=lambda r: r, y=lambda r: r * r)), "the chart folds: det .* is 0"),
    (lambda: curved(chart=dict(x=lambda r: (r - 1.5) ** 2, y=lambda q: q)), "it must keep one sign"),
    (lambda: curved(domain=sciml.Disk(names=("r", "q"))), "give a Box"),
    (lambda: curved(conditions=[Equation(lambda u: u.x), Integral(lambda u: u, equals=1.0)]), "is an integral"),
    (lambda: Problem(domain=Box(s=(0, 1), t=(0, 1)), unknowns="u", chart=dict(x=lambda s, t: s * (1 + t)),
                     conditions=[Equation(lambda u: u.t - u.xx), Initial(u=0.0)]), "bodies that move"),
    (lambda: curved(conditions=[Equation(lambda u: u.z), Dirichlet(u=0.0)]), "made of the coordinates r, q, x, y"),
])
def test_charts_that_make_no_sense_are_told_in_a_sentence(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()


def test_snapshots_on_a_chart_are_refused():
    heat = Problem(domain=Box(r=(0, 2), s=(0, 1), t=(0, 1)), unknowns="u", inputs=dict(b=WALL),
                   chart=dict(x=lambda r: r, y=lambda s, b: b + s * (1 - b)),
                   conditions=[Equation(lambda u: u.t - laplacian(u)), Initial(u=1.0)])
    with pytest.raises(ProblemError, match="which body they are of"):
        trained(heat, model="fno", loss="residual", **{"data.grid": 17, "data.times": 4, "data.history": 2})
