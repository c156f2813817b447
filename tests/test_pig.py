"""Physics-Informed Gaussians as published: closed-form derivatives, gradients by moments, Jacobians, training."""

import numpy as np
import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Equation, Periodic, Problem, ProblemError
from sciml.calculus import NestedReverse, TaylorForward
from sciml.fields import PIG, FieldOptions, build_network
from sciml.objective import build_objective, make_recipe, place_points
from sciml.points import Points
from sciml.problem import load_problem
from sciml.training import Training

BOUNDS = [(-1.0, 1.0), (0.0, 10.0), (2.0, 2.5)]


def pig(D=2, outputs=2, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    options = FieldOptions(**{**dict(width=5, depth=1, centres=6, channels=3), **options})
    field = build_network("pig", BOUNDS[:D], outputs, options, generator)
    with torch.no_grad():                                         # amplitudes of 0.01 would hide what is nonlinear
        field.amplitudes.mul_(100)
        field.scales.mul_(1 + 0.2 * torch.randn(field.scales.shape, generator=generator, dtype=torch.float64))
    return field


def points(D, N=20):
    low, high = torch.tensor(BOUNDS[:D]).double().T
    return low + (high - low) * torch.rand(N, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2])
def test_closed_form_jets_agree_with_nested_reverse_mode(D, depth):
    field, X = pig(D, depth=depth), points(D)
    requests = {"u": {(2,) + (0,) * (D - 1), (0,) * (D - 1) + (3,)}, "v": {(1,) * D}}
    have = TaylorForward().derivatives(field, X, requests, ("u", "v"))
    want = NestedReverse().derivatives(field, X, requests, ("u", "v"))
    for key, values in want.items():
        assert torch.allclose(have[key], values, rtol=0, atol=1e-11 * float(values.detach().abs().max())), key


def test_values_are_those_of_the_published_formula():
    field, X = pig(3, 1), points(3)
    low, high = (np.array(side) for side in zip(*BOUNDS, strict=True))
    z = 2.0 * (X.numpy() - low) / (high - low)
    mu, s, w = (p.detach().numpy() for p in (field.centres, field.scales, field.amplitudes))
    q = (((z[:, None, None] - mu) / s)**2).sum(-1)                # (N, K, M)
    f = (w * np.exp(-q / 2)).sum(-1)
    layer = field.hidden[0]
    h = np.tanh(f @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    want = h @ field.last.weight.detach().numpy().T + field.last.bias.detach().numpy()
    assert np.allclose(field(X).detach().numpy(), want, rtol=0, atol=1e-7 * np.abs(want).max())     # √(s² + 10⁻⁸)


def wave():
    return Problem(Box(x=(-1, 1), t=(0, 10)), "u", [Equation(lambda u: u.tt - u.xx + u**2), Dirichlet(u=1.0, on="x-")])


def objective_of(problem, **model):
    recipe = make_recipe({}, dict(model=dict(name="pig", centres=7, width=4, channels=2, **model)))
    objective, _ = build_objective(problem, recipe)
    X = torch.stack([2 * torch.rand(30, generator=torch.Generator().manual_seed(2)) - 1,
                     10 * torch.rand(30, generator=torch.Generator().manual_seed(3))], 1).double()
    stored = {b.name: {"X": X, "weights": torch.ones(30).double() / 30, "normals": None} for b in objective.blocks}
    place_points(objective, stored)
    with torch.no_grad():
        objective.field.amplitudes.mul_(100)
    return objective


def test_the_gradient_of_a_loss_is_that_of_finite_differences():
    objective = objective_of(wave())
    objective.backward()
    gradient = [p.grad.clone() for p in objective.trainable]
    generator, h = torch.Generator().manual_seed(0), 1e-5
    along = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in objective.trainable]

    def moved(factor):
        with torch.no_grad():
            for p, v in zip(objective.trainable, along, strict=True):
                p.add_(factor * v)
            return float(objective.loss())

    ahead, behind = moved(h), moved(-2 * h)
    want = sum(float((g * v).sum()) for g, v in zip(gradient, along, strict=True))
    assert (ahead - behind) / (2 * h) == pytest.approx(want, rel=1e-6)         # h² times the third derivative


def test_the_taped_jacobian_is_that_of_reverse_mode():
    objective = objective_of(wave())
    block = objective.blocks[0]
    p = Points(points(2, 12), ("x", "t"))
    r, J = objective.jacobian(block, p)
    for n in range(3):
        value = objective.values(block, p)[n, 0]
        want = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, objective.trainable)])
        assert torch.allclose(J[n, 0], want, rtol=0, atol=1e-10 * float(want.abs().max()))


def test_asked_for_by_name_it_brings_the_papers_recipe():
    problem = load_problem("klein_gordon2d", {})
    recipe = make_recipe(problem.defaults, dict(model="pig"))
    assert (recipe.optimizer, recipe.sampler, recipe.every, recipe.constraints) == ("adam", "uniform", 100, "soft")
    field = Training(problem, make_recipe(problem.defaults, dict(model="pig", points=10))).objective.field
    assert isinstance(field, PIG) and field.centres.shape == (4, 100, 3)
    assert sum(p.numel() for p in field.parameters()) == 4 * 100 * 7 + 4 * 16 + 16 + 16 + 1     # 2897, the paper's


@pytest.mark.parametrize("optimizer, steps", [("adam", 400), ("lbfgs", 30), ("gauss-newton", 15)])
def test_it_is_trained_by_every_kind_of_method(optimizer, steps):
    problem = Problem(Box(x=(-1, 1)), "u", [Equation(lambda u, x: u.xx + 4 * torch.sin(2 * x)),
                                            Dirichlet(u=lambda x: torch.sin(2 * x), on=["x-", "x+"])],
                      reference=dict(u=lambda x: torch.sin(2 * x)))
    model = dict(name="pig", centres=10, channels=2)
    solution = sciml.solve(problem, model=model, optimizer=optimizer, steps=steps, points=60, seed=0, sampler="sobol")
    assert solution.relative_l2()["u"] < (5e-2 if optimizer == "adam" else 5e-3)


@pytest.mark.parametrize(("options", "sentence"), [
    (dict(centres=(4, 4)), "must be one number for model=pig"),
    (dict(start=0.0), "model.start=0.0 and model.extent=2.0 positive"),
    (dict(channels=0), "model.channels=0 must be at least 1"),
    (dict(fourier=3), "takes coordinates as they are"),
])
def test_what_makes_no_sense_is_refused_with_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve(wave(), model=dict(name="pig", **options), steps=1)


def test_periodic_coordinates_are_refused():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx - 1), Periodic(on="x")])
    with pytest.raises(ProblemError, match="constraints=soft for periodic data"):
        sciml.solve(problem, model="pig", constraints="auto", steps=1)
