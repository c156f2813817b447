"""Known functions as inputs of networks, and distances that a problem gives itself."""

from math import pi

import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Disk, Equation, Interval, Mesh, Problem, ProblemError, Weak, d, laplacian
from sciml.calculus import Frame
from sciml.fields import FieldOptions, build_network
from sciml.mesh import Complex
from sciml.mesh.structured import box
from sciml.problem.hard import build


def kinked(**options):
    """−(k u′)′ = 1 with k = 1 left of 0.3 and 4 right of it."""
    k = lambda x: torch.where(x < 0.3, 1.0, 4.0)
    return Problem(Mesh(box([(0, 1), (0, 1)], [20, 4])), "u", [
        Weak(lambda u, v, x: k(x) * (u.x * v.x + u.y * v.y) - v),
        Dirichlet(u=0.0, on=["x-", "x+"], distance=lambda x: x * (1 - x))], **options)


def exact(x):
    flux = (0.3**2 / 2 + (1 - 0.09) / 8) / (0.3 + 0.7 / 4)        # k u′ = flux − x
    left, right = flux * x - x**2 / 2, (flux * (x - 1) - (x**2 - 1) / 2) / 4
    return torch.where(x < 0.3, left, right)


def test_a_feature_that_bends_where_the_solution_does_lets_a_network_follow_it():
    recipe = dict(optimizer="gauss-newton", steps=25, seed=0, model=dict(width=5, depth=2))
    plain = sciml.solve(kinked(reference=dict(u=exact)), **recipe).relative_l2()["u"]
    bent = sciml.solve(kinked(reference=dict(u=exact), features=[lambda x: torch.abs(x - 0.3)]), **recipe)
    bent = bent.relative_l2()["u"]
    assert bent < 1e-4 < plain / 5


def test_derivatives_of_a_field_with_features_agree_with_autograd():
    frame = Frame(("x", "y"), ("x", "y"))
    x, y = (frame.leaf("coordinate", n) for n in "xy")
    for options in (FieldOptions(width=5, depth=2), FieldOptions(width=5, depth=1, fourier=3)):
        field = build_network("mlp", [(0, 1), (0, 1)], 1, options, torch.Generator().manual_seed(0),
                              features=(frame, [torch.sin(3 * x) * y, x * x]))
        problem = Problem(Box(x=(0, 1), y=(0, 1)), "u", [Equation(lambda u: laplacian(u) + u.xy)])
        X = torch.rand(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        u = field(X)[:, 0]
        first = torch.autograd.grad(u.sum(), X, create_graph=True)[0]
        second = [torch.autograd.grad(first[:, i].sum(), X, retain_graph=True)[0] for i in range(2)]
        engine = sciml.calculus.ENGINES["taylor"]
        found = engine.derivatives(field, X.detach(), problem.derivative_set(), problem.setting.unknowns)
        assert torch.allclose(found["unknown", "u", (2, 0)], second[0][:, 0], atol=1e-12)
        assert torch.allclose(found["unknown", "u", (1, 1)], second[0][:, 1], atol=1e-12)
        assert torch.allclose(found["unknown", "u", (0, 2)], second[1][:, 1], atol=1e-12)


def test_a_distance_of_the_problem_multiplies_the_network():
    distance = lambda x, y: 1 - x * x - y * y
    problem = Problem(Disk(radius=1.0), "u", [
        Equation(lambda u: laplacian(u) + 4), Dirichlet(u=0.0, distance=distance)], reference=dict(u=distance))
    assert build(problem, "hard").satisfied == {"dirichlet"}
    solution = sciml.solve(problem, steps=8, seed=0, optimizer="gauss-newton", model=dict(width=4, depth=1), points=100)
    assert solution.relative_l2()["u"] < 1e-4                     # the network has to become the constant 1


def disk(distance):
    return Problem(Disk(radius=1.0), "u", [Equation(lambda u: laplacian(u)), Dirichlet(u=0.0, distance=distance)])


@pytest.mark.parametrize("make, sentence", [
    (lambda: Dirichlet(u=0.0, distance=2.0), "must be a function"),
    (lambda: build(disk(lambda x: 1 - x * x), "hard"), "where it must vanish"),
    (lambda: build(Problem(Interval(x=(0, 1)), "u", [
        Equation(lambda u: u.xx), Dirichlet(u=0.0, distance=lambda x: torch.sin(pi * x))]), "hard"), "face by face"),
    (lambda: kinked(features=[lambda: 1.0]), "the same everywhere"),
    (lambda: kinked(features=[lambda u: u]), "depends on the unknown 'u'"),
    (lambda: kinked(features=[lambda x: torch.log(x - 0.5)]), "may be singular on the boundary only"),
    (lambda: sciml.solve(kinked(features=[lambda x: x * x]), model="fourier", steps=1), "takes no features"),
])
def test_features_and_distances_that_make_no_sense_are_refused(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()


def two_halves():
    mesh = box([(0, 1), (0, 1)], [4, 2])
    middle = mesh.X[mesh.blocks[0].nodes].mean(1)[:, 0]
    left, right = (middle < 0.5).nonzero()[:, 0], (middle > 0.5).nonzero()[:, 0]
    return Mesh(Complex(mesh.X, mesh.blocks, {"soft": left, "hard": right}, mesh.surfaces))


def test_a_part_of_a_mesh_is_one_there_and_zero_elsewhere():
    problem = Problem(two_halves(), "u", [Weak(lambda u, v, hard: (1 + 9 * hard) * u.x * v.x + u.y * v.y - v)])
    (block,) = problem.blocks
    X = block.region.X
    leaves = {key: X[:, "xy".index(key[1])] if key[0] == "coordinate" else torch.ones_like(X[:, 0])
              for key in block.program.leaves}
    along = block.program(leaves, X[:, 0])[block.program.names.index("inside.(1, 0)")]
    assert torch.equal(along, torch.where(X[:, 0] < 0.5, 1.0, 10.0).double())
    both = two_halves() * Interval(t=(0, 1))
    assert both.in_part("hard", torch.tensor([[0.7, 0.1, 0.3], [0.2, 0.1, 0.9]])).tolist() == [True, False]


def test_a_part_has_no_derivative():
    with pytest.raises(ProblemError, match="jumps and has no derivative; write Weak"):
        Problem(two_halves(), "u", [Equation(lambda u, hard: d((1 + hard) * u.x, "x"))])
