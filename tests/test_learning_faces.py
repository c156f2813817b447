"""Neumann, Robin and other conditions with derivatives on faces of the grids that operators are trained on."""

from math import pi

import pytest
import torch

from sciml import (
    Box,
    Dirichlet,
    Equation,
    GaussianRandomField,
    Initial,
    Neumann,
    Problem,
    ProblemError,
    RandomNumber,
    Robin,
    d,
    laplacian,
)
from sciml.learning import OperatorTraining, make_operator_recipe
from sciml.learning.data import DataOptions
from sciml.learning.equations import Equations
from sciml.learning.layout import make_layout
from sciml.learning.norms import _second, build_norms

K = RandomNumber(1.0, 2.0, over=())


def grid(problem, n):
    return make_layout(problem, DataOptions(grid=n), True)


def exact(k, x, y):
    """u = sin(kx + y), for which the data below are made."""
    return torch.sin(k * x + y)


def plate():
    """A flux on the left, a Robin condition above, an oblique derivative on the right; u is given below."""
    return Problem(Box(x=(0, 1), y=(0, 1)), "u", [
        Equation(lambda u, k, x, y: laplacian(u) + (k * k + 1) * exact(k, x, y)),
        Dirichlet(u=lambda k, x: exact(k, x, 0.0), on="y-"),
        Neumann(u=lambda k, y: -k * torch.cos(y), on="x-"),
        Robin(alpha=2.0, beta=1.0, u=lambda k, x: 2 * exact(k, x, 1.0) + torch.cos(k * x + 1), on="y+"),
        Equation(lambda u, k, y: u.x + u.y - (k + 1) * torch.cos(k + y), on="x+", name="oblique")], inputs=dict(k=K))


def fields(problem, layout, k):
    """The exact solution at the nodes, (B, n, n, 1)."""
    x, y = torch.meshgrid(*layout.nodes.values(), indexing="ij")
    return exact(k[:, None, None], x, y)[..., None]


def test_rows_on_faces_are_of_second_order_and_lie_on_them():
    problem, k, worst = plate(), torch.tensor([1.2, 1.9], dtype=torch.float64), []
    for n in (17, 33):
        layout = grid(problem, n)
        found = Equations(problem).residuals(layout, fields(problem, layout, k), {"k": k})
        assert [r.name for r in found] == ["equation", "neumann", "robin", "oblique"]
        worst.append([float(r.values.abs().max()) for r in found])
    orders = [torch.tensor(a / b).log2() for a, b in zip(*worst, strict=True)]
    assert all(1.7 < o < 2.3 for o in orders), (worst, orders)
    noise = Equations(problem).residuals(layout, torch.randn(2, 33, 33, 1, dtype=torch.float64), {"k": k})
    for r, place in zip(noise[1:], ((0, slice(1, None)), (slice(None), -1), (-1, slice(1, None))), strict=True):
        own = torch.zeros(33, 33, dtype=torch.bool)
        own[place] = True                                  # without the corners below, where u is given
        assert bool((r.values[..., 0] != 0).equal(own.expand(2, 33, 33)))


def dense(problem, layout, inputs):
    """The functions that all rows vanish for, by a dense solve, and how many rows there are beside unknowns."""
    equations = Equations(problem)
    G, B = equations.lift(layout, inputs), equations.bubble(layout, inputs)
    free = (B[0, ..., 0] > 1e-12).nonzero()
    N = len(free)

    def rows(z):
        w = G.new_zeros(len(z), *layout.shape).index_put((torch.arange(len(z))[:, None], *free.T[:, None]), z)
        return torch.cat([r.values.flatten(1) for r in equations.residuals(layout, G + w[..., None], inputs)], 1)

    base = rows(G.new_zeros(1, N))
    A = (rows(torch.eye(N, dtype=G.dtype)) - base).T
    kept = A.abs().amax(1) > 0
    found = torch.linalg.lstsq(A[kept], -base[0, kept, None]).solution[:, 0]
    w = G.new_zeros(layout.shape).index_put(tuple(free.T), found)
    return G[0] + w[..., None], int(kept.sum()) - N, A[kept]


def test_the_rows_determine_the_solution_to_second_order():
    problem, errors = plate(), []
    k = torch.tensor([1.5], dtype=torch.float64)
    for n in (9, 17):
        layout = grid(problem, n)
        u, more, A = dense(problem, layout, {"k": k})
        # Corners of two such faces have a row of each.
        assert more == 2 and int(torch.linalg.matrix_rank(A)) == A.shape[1]
        exactly = fields(problem, layout, k)[0]
        errors.append(float((u - exactly).norm() / exactly.norm()))
    assert errors[1] < 2e-3 and errors[0] / errors[1] > 3.2, errors


def test_heat_through_an_insulated_end_is_built_of_rows_at_all_times_but_the_first():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u", [
        Equation(lambda u: u.t - u.xx), Initial(u=lambda u0: u0), Dirichlet(u=0.0, on="x-"), Neumann(u=0.0, on="x+")],
        inputs=dict(u0=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=3.0, over="x")))
    sizes = []
    for n in (17, 33):
        layout = grid(problem, n)
        x, t = layout.nodes["x"], layout.nodes["t"]
        u = torch.sin(pi / 2 * x)[:, None] * (-(pi / 2) ** 2 * t).exp()
        found = Equations(problem).residuals(layout, u[None, ..., None], {"u0": torch.sin(pi / 2 * x)[None]})
        sizes.append([float(r.values.abs().max()) for r in found])
        noise = Equations(problem).residuals(layout, torch.randn(1, n, n, 1, dtype=torch.float64),
                                             {"u0": torch.zeros(1, n, dtype=torch.float64)})[1].values[0, ..., 0]
        assert bool((noise[-1, 1:] != 0).all()) and not bool(noise[:-1].any()) and float(noise[-1, 0]) == 0
    assert all(a / b > 3.2 for a, b in zip(*sizes, strict=True)), sizes
    norms = build_norms(Equations(problem), layout, {"u0": torch.sin(pi / 2 * x)[None]}, "inverse")
    assert type(norms["equation"]).__name__ == "InverseEvolution" and type(norms["neumann"]).__name__ == "Plain"


def test_level_ends_have_the_cosines_of_half_cells():
    axis = grid(plate(), 18).axes[0]
    values = torch.linalg.eigvalsh(_second(axis, frozenset(["x-", "x+"])))
    k, h = torch.arange(16, dtype=torch.float64), axis.step
    assert torch.allclose(values, (2 - 2 * torch.cos(pi * k / 16)) / h**2, atol=1e-9)


def test_an_operator_learns_from_its_equation_with_a_flux_on_a_face():
    problem = Problem(Box(x=(0, 1), y=(0, 1)), "u", [
        Equation(lambda u, a: d(a * u.x, "x") + d(a * u.y, "y") + 1.0), Dirichlet(u=0.0, on=["x-", "y-", "y+"]),
        Neumann(u=0.3, on="x+")], inputs=dict(
            a=GaussianRandomField(tau=3.0, alpha=2.0, kind="neumann", positive="exp")))
    recipe = dict(model=dict(name="fno", modes=4, width=10, layers=3), loss="residual", dtype="float64", steps=150,
                  batch=8, **{"data.grid": 13, "data.train": 16})
    training = OperatorTraining(problem, make_operator_recipe({}, recipe))
    few = {n: v[:1] for n, v in training.train.inputs.items()}
    expected = dense(problem, training.layout, few)[0]

    def error():
        with torch.no_grad():
            u = training.predict(training.channels(training.train)[:1], few)[0]
        return float((u - expected).norm() / expected.norm())

    before = error()
    list(training.run())
    assert error() < 0.1 < 0.3 * before, (before, error())


def test_what_does_not_go_with_faces_is_refused():
    bar = [Equation(lambda u, f: u.xx + f), Dirichlet(u=0.0, on="x-"), Neumann(u=1.0, on="x+")]
    make = lambda *conditions: Problem(Box(x=(0, 1)), "u", [*conditions], inputs=dict(
        f=GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)))
    start = lambda problem, **o: OperatorTraining(problem, make_operator_recipe({}, {
        "model": "fno", "loss": "residual", "data.grid": 17, "data.train": 4, **o}))
    with pytest.raises(ProblemError, match="residual=grid"):
        start(make(*bar), model="deeponet", residual="trunk")
    assert start(make(*bar), model="deeponet").trunk is None                    # auto: on the grid
    with pytest.raises(ProblemError, match="and 'x\\+' is free"):
        start(make(*bar), augment="covariance")
    with pytest.raises(ProblemError, match="on whole faces of the box"):
        start(make(*bar[:2], Neumann(u=1.0, on=lambda x: x > 0.5)))
