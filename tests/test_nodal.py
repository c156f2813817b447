"""Nodal fields: finite elements among the fields, trained by the same methods."""

from math import log2, pi

import pytest
import torch
from test_weak import laplace, meshed

import sciml
from sciml import Box, Dirichlet, Energy, Equation, Observations, Points, Problem, ProblemError, Unknown, Weak
from sciml.elements.space import Space
from sciml.fields import Nodal
from sciml.mesh.structured import box
from sciml.objective import build_objective, make_recipe


def exact(x, y):
    return torch.sin(pi * x) * torch.sin(pi * y) + x


def poisson(n, order=1):
    return Problem(domain=meshed(n), unknowns="u", conditions=[
        Weak(lambda u, v, x, y: laplace(u, v) - 2 * pi**2 * torch.sin(pi * x) * torch.sin(pi * y) * v, order=order,
             degree=5),
        Dirichlet(u=exact, on="boundary")], reference=dict(u=exact))


def solved(problem, order=1, **options):
    return sciml.solve(problem, **{"model": dict(name="nodal", order=order), "optimizer": "gauss-newton", "steps": 6,
                                   **options})


@pytest.mark.parametrize("kind, dim", [("triangle", 2), ("quad", 2), ("tetra", 3), ("hexahedron", 3)])
@pytest.mark.parametrize("order", [1, 2])
def test_a_nodal_field_interpolates_with_derivatives(kind, dim, order):
    space = Space(box([(0, 1)] * dim, [2] * dim, kind), order)
    field = Nodal(space, 2)
    polynomial = lambda *x: sum((i + 1) * (c + 0.5) ** order for i, c in enumerate(x))
    with torch.no_grad():
        field.theta.copy_(torch.cat([space.interpolate(polynomial), space.interpolate(lambda *x: x[0])]))
    X = torch.rand(40, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(field(X)[:, 0], polynomial(*X.unbind(1)), atol=1e-12)
    assert torch.allclose(field(X)[:, 1], X[:, 0], atol=1e-13)
    objective = build_objective(Problem(domain=meshed(2, kind, dim), unknowns="u", conditions=[
        Equation(lambda u, x: u.x - x)]), make_recipe({}, dict(model=dict(name="nodal", order=order))))[0]
    with torch.no_grad():
        objective.field.theta.copy_(space.interpolate(polynomial))
    rows = objective.values(objective.blocks[0], Points(X, tuple("xyz"[:dim])))
    assert torch.allclose(rows[:, 0], order * (X[:, 0] + 0.5) ** (order - 1) - X[:, 0], atol=1e-11)


@pytest.mark.parametrize("order", [1, 2])
def test_its_error_falls_at_the_rate_of_finite_elements(order):
    errors = [solved(poisson(n, order), order).relative_l2()["u"] for n in (4, 8)]
    assert abs(log2(errors[0] / errors[1]) - (order + 1)) < 0.25


def test_with_the_galerkin_preconditioner_it_is_the_same_solution():
    plain, conditioned = (solved(poisson(4), precondition=p, steps=12) for p in ("none", "galerkin"))
    X = poisson(4).domain.complex.X.numpy()
    assert abs(plain.predict(X)["u"] - conditioned.predict(X)["u"]).max() < 1e-5


def test_dirichlet_data_hold_at_nodes_and_the_first_condition_wins_at_corners():
    problem = Problem(domain=meshed(3), unknowns="u", conditions=[
        Weak(laplace), Dirichlet(u=1.0, on="x-"), Dirichlet(u=lambda y: 2 * y, on=["y+", "y-"])])
    objective, ansatz = build_objective(problem, make_recipe({}, dict(model="nodal")))
    field, X = objective.field, objective.field.space.nodes
    assert len(ansatz.satisfied) == 2 and [b.name for b in objective.blocks] == ["laplace"]
    U = field.coefficients[:, 0]
    assert (U[X[:, 0] == 0] == 1).all()
    assert (U[(X[:, 0] > 0) & (X[:, 1] == 1)] == 2).all() and (U[(X[:, 0] > 0) & (X[:, 1] == 0)] == 0).all()
    assert len(field.theta) == 2 * 3                                     # nodes inside and on x+


def test_the_jacobian_of_its_rows_is_that_of_autograd():
    problem = Problem(domain=meshed(3), unknowns="u p", conditions=[
        Weak(lambda u, p, a, q: (1 + u * u) * (u.x * a.x + u.y * a.y) + p * a + (p.x - u) * q,
             tests=dict(a="u", q="p"), order=1),
        Dirichlet(u=1.0, on="x-"), Equation(lambda u, p, x: u * p.y - x, on="y+", name="top")])
    objective, _ = build_objective(problem, make_recipe({}, dict(model=dict(name="nodal", order=2))))
    objective.points["top"] = problem.region.region("y+").sample(7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        objective.field.theta.normal_(generator=torch.Generator().manual_seed(1))
    r, J = objective.linearize()
    rows = objective._stack()
    by_autograd = torch.stack([torch.autograd.grad(row, objective.trainable, retain_graph=True)[0] for row in rows])
    assert torch.allclose(r, rows) and torch.allclose(J, by_autograd, atol=1e-12)
    _, factored = objective.factored()
    w = torch.rand(len(r), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(factored.transposed(w), J.T @ w, atol=1e-11)


def test_an_energy_is_minimised_by_the_same_elements():
    problem = Problem(domain=meshed(4), unknowns="u", conditions=[
        Energy(lambda u, x, y: 0.5 * (u.x**2 + u.y**2) - 2 * pi**2 * torch.sin(pi * x) * torch.sin(pi * y) * u,
               degree=5),
        Dirichlet(u=exact, on="boundary")], reference=dict(u=exact))
    ritz = solved(problem, optimizer="lbfgs", steps=20)
    galerkin = solved(poisson(4))
    X = problem.domain.complex.X.numpy()
    assert abs(ritz.predict(X)["u"] - galerkin.predict(X)["u"]).max() < 1e-4


def test_it_is_saved_and_loaded(tmp_path):
    solution = solved(poisson(3), steps=2, out=tmp_path)
    again = sciml.Solution.load(tmp_path, problem=poisson(3))
    X = poisson(5).domain.complex.X.numpy()
    assert (solution.predict(X)["u"] == again.predict(X)["u"]).all()


@pytest.mark.parametrize("make, sentence", [
    (lambda: solved(Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u)])),
     "needs a problem on a Mesh"),
    (lambda: solved(Problem(domain=meshed(), unknowns="u", conditions=[Equation(lambda u: u.xx)])),
     "has first derivatives only"),
    (lambda: solved(Problem(domain=meshed(), unknowns="u", lift=dict(u=lambda x: x), conditions=[Weak(laplace)])),
     "takes no lift"),
    (lambda: solved(Problem(domain=meshed(), unknowns="u", parameters=dict(k=Unknown(1.0)), conditions=[
        Weak(lambda u, v, k: k * laplace(u, v)), Observations(at=dict(x=[0.5], y=[0.5]), u=[1.0])])),
     "does not find parameters"),
    (lambda: solved(poisson(2), order=3), "order 3 do not exist"),
])
def test_what_has_no_nodal_field_is_refused(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()
