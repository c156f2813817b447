"""Weak forms on meshes: rows against scikit-fem, exact solutions, natural conditions, and what is refused."""

from math import pi

import pytest
import skfem
import torch
from numpy.polynomial.legendre import leggauss
from skfem.helpers import dot, grad

import sciml
from sciml import (
    Box,
    Dirichlet,
    Energy,
    Equation,
    Initial,
    Interval,
    Mesh,
    Periodic,
    Problem,
    ProblemError,
    Range,
    Weak,
)
from sciml.elements.functionals import Functionals, lumped
from sciml.elements.space import Space
from sciml.mesh.structured import box, refined
from sciml.objective import build_objective, make_recipe


def meshed(n=4, kind="", dim=2):
    return Mesh(box([(0, 1)] * dim, [n] * dim, kind))


def laplace(u, v):
    return u.x * v.x + u.y * v.y


def objective_of(conditions, domain=None, unknowns="u", **options):
    problem = Problem(domain=domain or meshed(), unknowns=unknowns, conditions=conditions)
    recipe = make_recipe(problem.defaults, dict(constraints="soft", **options))
    objective, _ = build_objective(problem, recipe)
    return objective


def rows_of(objective, name="weak"):
    (block,) = [b for b in objective.blocks if b.name == name]
    return block, objective.rows(block, objective.points[name])


@pytest.mark.parametrize("order, element", [(1, skfem.ElementTriP1), (2, skfem.ElementTriP2)])
def test_rows_are_those_that_scikit_fem_assembles(order, element):
    domain = meshed(3)
    objective = objective_of([Weak(lambda u, v, x: (1 + x) * u.x * v.x + u.y * v.y + u * v - x * v, order=order,
                                   natural={"x+": lambda u, v: u * v, "y-": lambda v: 3 * v}, degree=8, name="weak")],
                             domain)
    block, rows = rows_of(objective)
    mesh = skfem.MeshTri(domain.complex.X.numpy().T, domain.complex.blocks[0].nodes.numpy().T)
    basis = skfem.Basis(mesh, element(), intorder=8)
    field = objective.field

    def values(x):
        X = torch.from_numpy(x.reshape(2, -1).T.copy()).requires_grad_()
        u = field(X)[:, 0]
        (slope,) = torch.autograd.grad(u.sum(), X)
        return u.detach().numpy().reshape(x.shape[1:]), slope.numpy().T.reshape(x.shape)

    @skfem.LinearForm
    def inside(v, w):
        u, g = values(w.x)
        return (1 + w.x[0]) * g[0] * grad(v)[0] + g[1] * grad(v)[1] + (u - w.x[0]) * v + 0 * dot(g, grad(v))

    expected = inside.assemble(basis)
    for axis, end, form in ((0, 1.0, lambda u, v: u * v), (1, 0.0, lambda u, v: 3 * v)):
        there = mesh.facets_satisfying(lambda x, axis=axis, end=end: abs(x[axis] - end) < 1e-9)
        facets = skfem.FacetBasis(mesh, element(), intorder=8, facets=there)
        on_facets = skfem.LinearForm(lambda v, w, form=form: form(values(w.x)[0], v))
        expected = expected + on_facets.assemble(facets)
    order_of = {tuple(p): i for i, p in enumerate(basis.doflocs.T.round(9).tolist())}
    same = [order_of[tuple(p)] for p in block.tests.space.nodes.numpy().round(9).tolist()]
    found = rows[:, 0].detach() / block.tests.scale
    assert torch.allclose(found, torch.from_numpy(expected[same])[block.tests.free], atol=1e-12)


def test_the_jacobian_of_a_weak_form_is_that_of_its_rows():
    objective = objective_of([Weak(lambda u, v, x: (1 + u * u) * u.x * v.x + u.y * v.y - x * v, name="weak"),
                              Dirichlet(u=0.0, on="boundary", name="walls")], chunk=50, model=dict(width=5, depth=2))
    objective.points["walls"] = objective.problem.region.region("boundary").sample(
        6, generator=torch.Generator().manual_seed(0))
    r, J = objective.linearize()
    assert torch.allclose(r, objective.residual(), atol=1e-14)
    by_autograd = torch.cat([torch.cat([g.reshape(-1) for g in torch.autograd.grad(
        objective._stack()[i], objective.trainable)])[None] for i in range(len(r))])
    assert torch.allclose(J, by_autograd, atol=1e-12)
    loss, _ = objective.backward()
    gradient = torch.cat([p.grad.reshape(-1) for p in objective.trainable])
    assert torch.allclose(gradient, 2 * J.T @ r, atol=1e-12) and torch.isclose(loss, r.square().sum())
    f, factored = objective.factored()
    w = torch.rand(len(r), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(f, r) and torch.allclose(factored.transposed(w), J.T @ w, atol=1e-10)


@pytest.mark.parametrize("kind, dim", [("triangle", 2), ("quad", 2), ("tetra", 3), ("hexahedron", 3)])
@pytest.mark.parametrize("order", [1, 2])
def test_lumped_masses_are_positive_and_fill_the_volume(kind, dim, order):
    m = lumped(Space(refined(box([(0, 1)] * dim, [2] * dim, kind)), order))
    assert (m > 0).all() and abs(m.sum() - 1) < 1e-13


def test_test_functions_vanish_where_their_unknown_is_prescribed():
    domain = meshed(3)
    problem = Problem(domain=domain, unknowns="u p", conditions=[
        Weak(lambda u, p, a, q: u.x * a.x + u.y * a.y + p * q - q, tests=dict(a="u", q="p"), order=dict(a=2, q=1),
             name="w"),
        Dirichlet(u=0.0, on=["x-", "x+"]), Dirichlet(p=1.0, on="y-")])
    blocks = {b.name: b for b in problem.blocks}
    a, q = blocks["w.a"].tests, blocks["w.q"].tests
    assert a.space.order == 2 and q.space.order == 1
    left = a.space.nodes[a.free]
    assert ((left[:, 0] > 0) & (left[:, 0] < 1)).all() and len(left) == 5 * 7
    assert (q.space.nodes[q.free][:, 1] > 0).all() and len(q.free) == 3 * 4


@pytest.mark.parametrize("order", [1, 2])
def test_a_weak_poisson_problem_is_solved_to_the_accuracy_of_the_field(order):
    exact = lambda x, y: torch.sin(pi * x) * torch.sin(pi * y)
    problem = Problem(domain=meshed(12 // order), unknowns="u", conditions=[
        Weak(lambda u, v, x, y: laplace(u, v) - 2 * pi**2 * exact(x, y) * v, order=order, degree=5),
        Dirichlet(u=0.0, on="boundary")], reference=dict(u=exact))
    solution = sciml.solve(problem, optimizer="gauss-newton", steps=20, seed=0, model=dict(width=8, depth=2))
    assert solution.relative_l2()["u"] < 2e-4                    # P1 finite elements on this mesh: 1e-2


def test_a_natural_flux_and_a_robin_term_need_no_boundary_condition():
    # −u″ = 2 on (0, 1)², u = 0 at x = 0, u_x + u = g at x = 1 with u = x(3 − x): u_x + u = 1 + 2
    problem = Problem(domain=meshed(8), unknowns="u", conditions=[
        Weak(lambda u, v: laplace(u, v) - 2 * v, natural={"x+": lambda u, v: (u - 3) * v}),
        Dirichlet(u=0.0, on="x-")], reference=dict(u=lambda x: x * (3 - x)))
    solution = sciml.solve(problem, optimizer="gauss-newton", steps=20, seed=0, model=dict(width=5, depth=2))
    assert solution.relative_l2()["u"] < 1e-3                    # with ∂u/∂n = 0 at x = 1 it would be 0.5


def heat(**options):
    exact = lambda x, y, t: torch.exp(-t) * (torch.sin(x) + y)
    return Problem(domain=meshed(4) * Interval(t=(0, 1)), unknowns="u", conditions=[
        Weak(lambda u, v, y, t: u.t * v + laplace(u, v) + torch.exp(-t) * y * v, degree=4, name="heat",
             natural={"y+": lambda v, t: -torch.exp(-t) * v, "y-": lambda v, t: torch.exp(-t) * v}, **options),
        Initial(u=lambda x, y: torch.sin(x) + y), Dirichlet(u=exact, on=["x-", "x+"])], reference=dict(u=exact))


def test_a_weak_form_holds_at_instants_on_a_mesh_times_time():
    recipe = make_recipe({}, dict(constraints="soft", model=dict(width=4, depth=1)))
    objective, _ = build_objective(heat(instants=3), recipe)
    block, rows = rows_of(objective, "heat")
    points = objective.points["heat"]
    tests, N = block.tests, len(block.tests.where.X)
    assert len(points) == 3 * N and rows.shape == (3 * len(tests.free), 1)
    t, w = leggauss(3)
    assert torch.allclose(points.column("t")[::N], torch.from_numpy((t + 1) / 2))
    # each instant's rows are those of the form with this t, in their share
    alone = Functionals(tests.space, tests.where, [(None, (0, 0)), (None, (1, 0)), (None, (0, 1)), ("y+", (0, 0)),
                                                   ("y-", (0, 0))], tests.free)
    f = objective.values(block, points)
    for m in range(3):
        expected = alone(f[m * N:(m + 1) * N]) * (3 * w[m] / 2) ** 0.5
        assert torch.allclose(rows[m * len(tests.free):(m + 1) * len(tests.free), 0], expected, atol=1e-13)


def test_heat_on_a_mesh_is_solved_weakly():
    solution = sciml.solve(heat(instants=6), optimizer="gauss-newton", steps=15, seed=0, model=dict(width=8, depth=2),
                           points=300)
    assert solution.relative_l2()["u"] < 1e-3


def test_a_weak_form_over_a_range_of_a_parameter():
    problem = Problem(domain=meshed(6), unknowns="u", parameters=dict(k=Range(1.0, 3.0)), conditions=[
        Weak(lambda u, v, k: k * laplace(u, v) - 2 * v, natural={"x+": lambda v: 0 * v}, instants=12),
        Dirichlet(u=0.0, on="x-")], reference=dict(u=lambda x, k: x * (2 - x) / k))
    solution = sciml.solve(problem, optimizer="gauss-newton", steps=15, seed=0, model=dict(width=5, depth=2))
    assert solution.relative_l2()["u"] < 1e-2


def test_more_parameters_than_test_functions_are_warned_of(caplog):
    problem = Problem(domain=meshed(4), unknowns="u", conditions=[Weak(laplace, name="w"), Dirichlet(u=0.0)])
    sciml.solve(problem, steps=1, optimizer="adam", model=dict(width=8, depth=2))
    assert "'w' has 9 test functions, and the field has 105 parameters" in caplog.text
    caplog.clear()
    sciml.solve(problem, steps=1, optimizer="adam", model="nodal")
    sciml.solve(problem, steps=1, optimizer="adam", model=dict(width=2, depth=1))
    assert "test functions" not in caplog.text


@pytest.mark.parametrize("make, sentence", [
    (lambda: Weak(3), "needs a function of unknowns and test functions"),
    (lambda: Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u", conditions=[Weak(laplace)]),
     "need a Mesh of cells as the domain, .* it is a box with none"),
    (lambda: Problem(domain=Mesh(box([(0, 1)], [3])) * Mesh(box([(0, 1)], [3]), "y"), unknowns="u",
                     conditions=[Weak(lambda u, v: u.x * v.x)]), "with 2 of them"),
    (lambda: Problem(domain=meshed() * Interval(t=(0, 1)), unknowns="u", conditions=[Weak(lambda u, v: u * v.t)]),
     "in t, but test functions depend on space only"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(laplace), Periodic(on=["x-", "x+"])]),
     "'laplace' and 'periodic' do not go together"),
    (lambda: Weak(laplace, instants=0), "instants=0 must be a whole number"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda u, v: u * v * v)]),
     "not linear in the test"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda u, v: u * v - 1)]),
     "without a test function"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda u, v: u * v.xx)]),
     "integrate by parts"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda u, v: (u * v, v))]),
     "one expression"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda v, x: x * v), Equation(lambda u: u)]),
     "contains no unknown"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda u, w: u * w)]), "unknown argument 'w'"),
    (lambda: Problem(domain=meshed(), unknowns="u v", conditions=[Weak(lambda u, v: u * v)]), "which test function"),
    (lambda: Problem(domain=meshed(), unknowns="u v", conditions=[Weak(lambda u, v: u * v, tests=dict(v="u"))]),
     "cannot be called 'v'"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Weak(lambda u, a: u * a, tests=dict(a="p"))]),
     "unknown unknown 'p'"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[
        Weak(lambda u, v: u * v, natural={"outlet": lambda v: v})]), "unknown region 'outlet'"),
    (lambda: Problem(domain=meshed(1), unknowns="u", conditions=[Weak(laplace), Dirichlet(u=0.0)]),
     "no test function"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[
        Weak(laplace), Dirichlet(u=0.0, on=lambda x: x < 0.1)]), "name the group"),
    (lambda: Problem(domain=Interval(x=(0, 1)), unknowns="u", conditions=[Weak(lambda u, v: u * v)]), "need a Mesh"),
])
def test_what_makes_no_weak_problem_is_refused(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()


def source(x, y):
    return 2 * (x * (1 - x) + y * (1 - y))


def ritz(**options):
    return Problem(domain=meshed(5), unknowns="u", conditions=[
        Energy(lambda u, x, y: 0.5 * (u.x**2 + u.y**2) - source(x, y) * u, degree=4, name="energy", **options),
        Dirichlet(u=0.0, on="boundary")], reference=dict(u=lambda x, y: x * (1 - x) * y * (1 - y)))


def test_an_energy_is_the_integral_of_its_density():
    objective, _ = build_objective(ritz(natural={"x+": lambda u, y: y * u}), make_recipe({}, dict(
        constraints="soft", model=dict(width=4, depth=1))))
    objective.blocks = objective.energies
    h = 1e-5

    def field(x, y):
        with torch.no_grad():
            return objective.field(torch.stack([x, y], 1))[:, 0]

    x, w = (torch.from_numpy(a) for a in leggauss(20))
    x, w = (x + 1) / 2, w / 2
    X, W = torch.cartesian_prod(x, x), torch.cartesian_prod(w, w).prod(1)
    u_x = (field(X[:, 0] + h, X[:, 1]) - field(X[:, 0] - h, X[:, 1])) / (2 * h)
    u_y = (field(X[:, 0], X[:, 1] + h) - field(X[:, 0], X[:, 1] - h)) / (2 * h)
    expected = (W * (0.5 * (u_x**2 + u_y**2) - source(*X.unbind(1)) * field(*X.unbind(1)))).sum()
    expected += (w * x * field(torch.ones_like(x), x)).sum()
    assert torch.isclose(objective.loss(), expected, rtol=1e-4)          # degree 4 on cells of width 1/5
    loss, losses = objective.backward()
    assert torch.isclose(loss, expected, rtol=1e-4) and torch.isclose(losses["energy"], expected, rtol=1e-4)
    gradient = torch.cat([p.grad.reshape(-1) for p in objective.trainable])
    again = torch.cat([g.reshape(-1) for g in torch.autograd.grad(objective.loss(), objective.trainable)])
    assert torch.allclose(gradient, again, atol=1e-14)
    assert len(objective.residual()) == 0


@pytest.mark.parametrize("optimizer, steps, tolerance", [("ssbroyden", 10, 1e-2), ("lbfgs", 10, 3e-2)])
def test_the_deep_ritz_method_finds_the_smallest_energy(optimizer, steps, tolerance):
    solution = sciml.solve(ritz(), optimizer=optimizer, steps=steps, seed=0, model=dict(width=8, depth=2))
    assert solution.relative_l2()["u"] < tolerance
    assert abs(solution.history[-1]["loss"] + 1 / 90) < tolerance**2     # −½ ∫ f u, approached from above in squares


@pytest.mark.parametrize("options, sentence", [
    (dict(optimizer="gauss-newton"), "'energy' is an energy; take soap or ssbroyden"),
    (dict(optimizer="adam", balance="grad-norm"), "balance=grad-norm weighs squares"),
])
def test_what_needs_squares_refuses_an_energy(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve(ritz(), steps=2, **options)


def test_the_automatic_choice_for_an_energy_takes_a_loss():
    solution = sciml.solve(ritz(), steps=2, optimizer="auto", model=dict(width=4, depth=1))
    assert solution.history[-1]["stage"] == "soap"


@pytest.mark.parametrize("make, sentence", [
    (lambda: Energy(1.0), "needs a function of the unknowns"),
    (lambda: Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Energy(lambda u: u.x**2)]), "need a Mesh"),
    (lambda: Problem(domain=meshed(), unknowns="u", conditions=[Energy(lambda x: x), Equation(lambda u: u)]),
     "contains no unknown"),
    (lambda: Problem(domain=meshed() * Interval(t=(0, 1)), unknowns="u", conditions=[Energy(lambda u: u.x**2)]),
     "an energy is one number, of a mesh without t"),
    (lambda: ritz(natural={"outlet": lambda u: u}), "unknown region 'outlet'"),
])
def test_what_makes_no_energy_is_refused(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()
