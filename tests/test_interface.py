"""Interfaces: kinks and jumps that are part of the problem, not of the error."""

from math import pi

import numpy as np
import pytest
import torch

from sciml import Box, Dirichlet, Disk, Equation, Integral, Interface, Problem, ProblemError
from sciml.calculus import IndexSet, Jet, Program
from sciml.fields import FieldOptions, Piecewise, build_network
from sciml.training import Training, make_recipe


def two_rods(jump=0.0, flux=True, **where):
    """(k u′)′ = 0 on (0, 1), k = 1 left and 3 right of 0.25, [u] = jump, u(0) = 0, u(1) = 1 + jump."""
    k = lambda x: torch.where(x > 0.25, 3.0, 1.0)
    # k is constant on either side, so the equation is k u″ = 0 there; what happens between is the interface's.
    return Problem(
        Box(x=(0, 1)), "u",
        [Equation(lambda u, x: k(x) * u.xx), Dirichlet(u=0.0, on="x-"), Dirichlet(u=1.0 + jump, on="x+"),
         Interface(at=where or dict(x=0.25), u=jump, flux=dict(u=lambda u, x: k(x) * u.x) if flux else None)])


def exact_rods(x, jump=0.0):
    """Slopes 3s and s with 3s/4 + 3s/4 = 1."""
    s = 1 / 1.5
    return np.where(x > 0.25, jump + 0.75 * s + s * (x - 0.25), 3 * s * x)


def solve(problem, steps=40, **options):
    training = Training(problem, make_recipe({}, dict(steps=steps, points=64, sampler="sobol", **options)))
    *_, last = training.run()
    return training, last


@pytest.mark.parametrize("jump", [0.0, 0.5])
def test_a_field_takes_a_kink_and_a_jump(jump):
    training, _ = solve(two_rods(jump))
    x = np.linspace(0, 1, 401)
    x = x[abs(x - 0.25) > 1e-6]
    error = training.predict(x[:, None])["u"] - exact_rods(x, jump)
    # Forty steps reach 1e-5; with the slope's jump left out the error would be 0.5.
    assert np.abs(error).max() < 1e-4


def test_without_a_flux_the_derivative_is_continuous():
    training, _ = solve(two_rods(flux=False))
    x = np.linspace(0, 1, 101)
    assert np.abs(training.predict(x[:, None])["u"] - x).max() < 1e-4


def test_float32_tells_the_two_sides_apart():
    training, last = solve(two_rods(0.5), dtype="float32", optimizer="adam", steps=5)
    block = next(b for b in training.objective.blocks if b.name == "interface")
    points = training.objective.points["interface"]
    piecewise = training.objective.field.network
    other = training.objective.partner(block, points)
    assert points.X.dtype == torch.float32
    assert (piecewise.piece(points.X) == 0).all() and (piecewise.piece(other.X) == 1).all()


def test_both_sides_are_carried_to_the_plane_by_a_taylor_term():
    problem = two_rods(flux=False)
    (block,) = [b for b in problem.blocks if b.name == "interface"]
    point = block.region.sample(1, generator=torch.Generator())
    assert block.count == 1 and block.combine == "difference"
    rows = []
    for x in (point.X[0, 0], point.X[0, 0] + block.partner[1]):
        value = {(0,): torch.sin(9 * x), (1,): 9 * torch.cos(9 * x), (2,): -81 * torch.sin(9 * x)}
        leaves = {key: (value[key[2]] if key[0] == "unknown" else x).reshape(1) for key in block.program.leaves}
        rows.append(torch.stack(block.program(leaves, x.reshape(1))))
    # δ² f″ with δ = 4e-7 and f = 9 cos 9x: 1e-10; without the term it would be 2 δ f′ = 6e-5.
    assert float((rows[0] - rows[1]).abs().max()) < 2e-10


def test_an_interface_in_space_and_time_lies_on_the_plane():
    problem = Problem(Box(x=(0, 1), t=(0, 2)), "u", [
        Equation(lambda u: u.t - u.xx), Interface(at=dict(x=0.4), u=lambda t: t)])
    block = problem.blocks[1]
    points = block.region.sample(50, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(points.column("x"), torch.tensor(0.4, dtype=torch.float64), rtol=0, atol=2e-6)
    assert points.names == ("x", "t") and float(points.column("t").max()) > 1.5
    assert problem.setting.breaks == {"x": (0.4,)} and block.count is None


def test_an_interface_through_a_disk_stays_in_it():
    problem = Problem(Disk(radius=1.0), "u", [Equation(lambda u: u.xx + u.yy), Interface(at=dict(x=0.6), u=0.0)])
    points = problem.blocks[1].region.sample(200, generator=torch.Generator().manual_seed(0))
    assert float(points.column("y").abs().max()) <= 0.8 + 1e-5


def test_integrals_stop_at_interfaces():
    step = lambda u, x: torch.where(x > 0.3, 1.0, 0.0) * u
    condition = [Equation(lambda u: u.xx), Integral(step, equals=0.7, points=8)]
    for conditions, error in ((condition, 1e-3), ([*condition, Interface(at=dict(x=0.3), u=0.0)], 0)):
        block = Problem(Box(x=(0, 1)), "u", conditions).blocks[1]
        points, ones = block.region, torch.ones(len(block.region), dtype=torch.float64)
        leaves = {key: ones if key[0] == "unknown" else points.column(key[1]) for key in block.program.leaves}
        gap = abs(float(points.weights @ block.program(leaves, ones)[0]) - 0.7)
        assert gap < 1e-14 if error == 0 else gap > error
        assert float(points.weights.sum()) == pytest.approx(1.0)


def test_pieces_of_a_field_are_counted_by_coordinate_and_have_their_own_derivatives():
    generator = torch.Generator().manual_seed(0)
    field = build_network("mlp", ((0, 1), (0, 1)), 2, FieldOptions(width=8, depth=2), generator,
                          breaks={0: (0.2, 0.6), 1: (0.5,)})
    X = torch.tensor([[0.1, 0.1], [0.1, 0.9], [0.3, 0.1], [0.9, 0.9], [0.2, 0.5]], dtype=torch.float64)
    assert isinstance(field, Piecewise)
    assert field.piece(X).tolist() == [0, 1, 2, 5, 0]
    jet = field.jet(Jet.of_coordinates(X, IndexSet.closure([(2, 0)], 2)))
    h = 1e-4
    shift = torch.tensor([h, 0.0], dtype=torch.float64)
    inside = slice(0, 4)
    second = (field(X + shift) - 2 * field(X) + field(X - shift)) / h**2
    assert torch.allclose(jet.stream((2, 0))[inside], second[inside], rtol=1e-4, atol=1e-6)
    every = field.network(X).reshape(5, 6, 2)
    assert torch.equal(field(X)[3], every[3, 5])


def test_torch_where_of_two_numbers_has_the_precision_of_the_points():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, x: u.x - torch.where(x > 0.5, pi, 0.1))])
    program: Program = problem.blocks[0].program
    x = torch.tensor([0.2, 0.8], dtype=torch.float64)
    leaves = {key: torch.zeros(2, dtype=torch.float64) if key[0] == "unknown" else x for key in program.leaves}
    assert program(leaves, x)[0].tolist() == [-0.1, -pi]


@pytest.mark.parametrize("condition, sentence", [
    (lambda: Interface(at=dict(x=0.2, y=0.3), u=0.0), "must name one coordinate"),
    (lambda: Interface(at=dict(z=0.2), u=0.0), "coordinate 'z'"),
    (lambda: Interface(at=dict(x=1.0), u=0.0), "does not cut the domain"),
    (lambda: Interface(at=dict(x=0.5)), "says nothing about any unknown"),
    (lambda: Interface(at=dict(x=0.5), v=0.0), "unknown 'v'"),
    (lambda: Interface(at=dict(x=0.5), u=0.0, flux=dict(v=lambda u: u.x)), "gives a flux for it"),
])
def test_mistakes_in_an_interface_get_a_sentence(condition, sentence):
    with pytest.raises(ProblemError, match=sentence):
        Problem(Box(x=(0, 1), y=(0, 1)), "u", [Equation(lambda u: u.xx), condition()])
