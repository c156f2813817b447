"""Weak forms through the inverse of their finite-element matrix."""

import numpy as np
import pytest
import skfem
import torch
from scipy import sparse
from skfem.helpers import dot, grad
from test_weak import laplace, meshed

import sciml
from sciml import Box, Dirichlet, Equation, Problem, ProblemError, Weak
from sciml.objective import build_objective, make_recipe
from sciml.precondition.build import build_preconditioner
from sciml.precondition.galerkin import Galerkin, root


def started(conditions, unknowns="u", domain=None, **options):
    problem = Problem(domain=domain or meshed(3), unknowns=unknowns, conditions=conditions)
    recipe = make_recipe(problem.defaults, dict(constraints="soft", model=dict(width=6, depth=2)))
    objective, ansatz = build_objective(problem, recipe)
    objective.blocks = [b for b in objective.blocks if b.tests is not None]
    preconditioner = Galerkin(**options)
    preconditioner.start(objective, ansatz, 100)
    return objective, preconditioner


def test_the_matrix_of_the_laplacian_is_that_of_scikit_fem():
    domain = meshed(3)
    objective, made = started([Weak(laplace, degree=2), Dirichlet(u=0.0, on="x-")], domain=domain)
    mesh = skfem.MeshTri(domain.complex.X.numpy().T, domain.complex.blocks[0].nodes.numpy().T)
    basis = skfem.Basis(mesh, skfem.ElementTriP1())
    K = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v))).assemble(basis).toarray()
    tests = made.weak[0][1]
    where = {tuple(p): i for i, p in enumerate(basis.doflocs.T.round(9).tolist())}
    same = [where[tuple(p)] for p in tests.space.nodes[tests.free].numpy().round(9).tolist()]
    expected = tests.scale.numpy()[:, None] * K[np.ix_(same, same)]
    assert np.allclose(made.matrix().toarray(), expected, atol=1e-13)


def test_rows_of_a_function_of_the_space_become_its_nodal_error():
    # u = x + y² is no solution of −Δu = 0; A⁻¹ r is its distance from the P2 solution with the same boundary values
    objective, made = started([Weak(laplace, order=2, degree=4), Dirichlet(u=0.0, on="boundary")])
    tests = made.weak[0][1]
    X = tests.where.X
    f = torch.stack([torch.ones(len(X), dtype=torch.float64), 2 * X[:, 1]], 1)      # ∇u, the form's coefficients
    z = made.transform.apply(tests(f))
    error = z / torch.from_numpy(made.transform.factors.norm.diagonal())
    K = made.matrix().toarray()
    assert np.allclose(K @ error.numpy(), tests(f).numpy(), atol=1e-12)
    # the error solves −Δe = −2, e = 0 on the boundary: everywhere negative, below −1/8 nowhere
    assert (error < 0).all() and error.min() > -0.25


def test_the_loss_is_the_mean_square_of_the_nodal_error():
    objective, made = started([Weak(lambda u, v: laplace(u, v) - v), Dirichlet(u=0.0, on="boundary")])
    weights = made.transform.factors.norm.diagonal()
    m = weights**2 / len(weights)
    assert (m > 0).all() and m.sum() < 1                       # shares of the inner nodes
    z = objective.residual()
    (block, tests), = made.weak
    r = objective.rows(block, objective.points[block.name])[:, 0].detach().numpy()
    e = np.linalg.solve(made.matrix().toarray(), r)
    assert np.isclose(float(z.square().sum()), (m * e**2).sum(), rtol=1e-10)


def test_in_the_energy_norm_the_loss_is_the_energy_of_the_nodal_error():
    conditions = [Weak(lambda u, v, x: (1 + x) * laplace(u, v) - v), Dirichlet(u=0.0, on="boundary")]
    domain = meshed(3)
    objective, made = started(conditions, domain=domain, norm="energy")
    (block, tests), = made.weak
    r = objective.rows(block, objective.points[block.name])[:, 0].detach().numpy()
    e = np.linalg.solve(made.matrix().toarray(), r)
    mesh = skfem.MeshTri(domain.complex.X.numpy().T, domain.complex.blocks[0].nodes.numpy().T)
    basis = skfem.Basis(mesh, skfem.ElementTriP1())
    K = skfem.BilinearForm(lambda u, v, w: (1 + w.x[0]) * dot(grad(u), grad(v))).assemble(basis).toarray()
    where = {tuple(p): i for i, p in enumerate(basis.doflocs.T.round(9).tolist())}
    same = [where[tuple(p)] for p in tests.space.nodes[tests.free].numpy().round(9).tolist()]
    energy = e @ K[np.ix_(same, same)] @ e / domain.measure
    assert np.isclose(float(objective.residual().square().sum()), energy, rtol=1e-9)


def test_the_root_of_a_positive_matrix_is_one():
    rng = np.random.default_rng(0)
    A = sparse.random(40, 40, 0.1, random_state=rng)
    K = (A @ A.T + sparse.eye(40)).tocsr()
    C = root(K)
    assert abs(C.T @ C - K).max() < 1e-12


def test_systems_have_a_joint_matrix():
    objective, made = started([
        Weak(lambda u, p, a, q: laplace(u, a) + p * a - a + p.x * q.x + p.y * q.y - u * q,
             tests=dict(a="u", q="p"), order=dict(a=2, q=1)),
        Dirichlet(u=0.0, p=0.0, on="boundary")], unknowns="u p")
    A = made.matrix().toarray()
    n = [len(t.free) for _, t in made.weak]
    assert A.shape == (sum(n), sum(n)) and np.linalg.cond(A) < 1e6
    assert np.abs(A[:n[0], n[0]:]).max() > 0 and np.abs(A[n[0]:, :n[0]]).max() > 0


def test_a_nonlinear_form_is_linearised_again():
    conditions = [Weak(lambda u, v: (1 + u * u) * laplace(u, v) - v), Dirichlet(u=0.0, on="boundary")]
    objective, made = started(conditions, every=5)
    before = made.matrix()
    with torch.no_grad():
        for p in objective.trainable:
            p.add_(0.3)
    assert not made.update(objective, 4) and made.update(objective, 5)
    after = made.matrix()
    assert abs(before - after).max() > 1e-3
    again = Galerkin(every=5)
    again.weak, again.transform, again.linear = made.weak, made.transform, False
    again.load_state_dict(objective, made.state_dict())
    assert abs(again.matrix() - after).max() == 0


@pytest.mark.parametrize("solver", ["lu", "ilu"])
def test_it_trains(solver):
    exact = lambda x, y: x * (1 - x) * y * (1 - y)
    problem = Problem(domain=meshed(12), unknowns="u", conditions=[
        Weak(lambda u, v, x, y: laplace(u, v) - 2 * (x * (1 - x) + y * (1 - y)) * v, degree=5),
        Dirichlet(u=0.0, on="boundary")], reference=dict(u=exact))
    solution = sciml.solve(problem, optimizer="gauss-newton", steps=20, seed=0, precondition="galerkin",
                           model=dict(width=8, depth=2), **{"galerkin.solver": solver})
    assert solution.relative_l2()["u"] < 1e-3


@pytest.mark.parametrize("make, sentence", [
    (lambda: build_preconditioner("galerkin", {"galerkin": dict(solver="cg")}), "unknown galerkin.solver 'cg'"),
    (lambda: build_preconditioner("galerkin", {"galerkin": dict(norm="h1")}), "unknown galerkin.norm 'h1'"),
    (lambda: started([Weak(lambda u, v: laplace(u, v) - 1000 * u * v)], norm="energy"), "needs a positive form"),
    (lambda: started([Weak(lambda u, p, a, q: laplace(u, a) + p * q, tests=dict(a="u", q="p"))], "u p", norm="energy"),
     "is for one unknown"),
    (lambda: build_preconditioner("galerkin", {"galerkin": dict(every=0)}), "must be a number of steps"),
    (lambda: build_preconditioner("galerkin", {"galerkin": dict(drop=2.0)}), "drop must lie in"),
    (lambda: started([Equation(lambda u: u.xx)], domain=Box(x=(0, 1), y=(0, 1))), "needs a weak form"),
    (lambda: started([Weak(lambda u, v, w: u * v + u * w, tests=dict(v="u", w="u"))]), "one test function per unknown"),
    (lambda: started([Weak(lambda u, v: (u.x + u.x) * v * 0 + u.x * v * 0 + u * v * 0 + u.x * 0 * v.x + u.y * v.x)]),
     "cannot factorise"),
])
def test_what_cannot_be_preconditioned_is_refused(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()
