"""Surroundings of points: exact integrals, independence of density and order, and learning with them."""

from math import erf

import numpy as np
import pytest
import torch

import sciml
from sciml.errors import ProblemError
from sciml.operators import GeoFNO, surroundings

D = torch.float64


def square(n):
    """Midpoints of n × n cells of the unit square and their weights."""
    x = (torch.arange(n, dtype=D) + 0.5) / n
    return torch.cartesian_prod(x, x), torch.full((n * n,), 1 / n**2, dtype=D)


def test_shares_and_moments_are_the_integrals_over_a_square():
    X, w = square(80)
    found = surroundings(X, w, 0.04, 3)
    assert found.shape == (6400, 9)
    for k, length in enumerate((0.04, 0.08, 0.16)):
        side = lambda x, L=length: 0.5 * (erf((1 - x) / (L * 2**0.5)) + erf(x / (L * 2**0.5)))
        density = lambda x, L=length: float(np.exp(-x**2 / (2 * L**2)) / (L * (2 * np.pi)**0.5))
        moment = lambda x, L=length, f=density: L * (f(1 - x) - f(x))          # ∫ (x − y)/ℓ G dy
        for i in (0, 40, 3240, 5000):
            x, y = X[i].tolist()
            expected = [side(x) * side(y), moment(x) * side(y), side(x) * moment(y)]
            assert found[i, 3 * k:3 * k + 3].tolist() == pytest.approx(expected, abs=2e-3)


def test_they_do_not_depend_on_how_densely_points_lie_or_on_their_order():
    X, w = square(20)
    found = surroundings(X, w, 0.1, 2)
    twice = surroundings(torch.cat([X, X]), torch.cat([w, w]) / 2, 0.1, 2)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(twice[:400], found, rtol=0, atol=1e-12)
    assert torch.allclose(surroundings(X[order], w[order], 0.1, 2), found[order], rtol=0, atol=1e-12)
    bodies = surroundings(torch.stack([X, X + 7]), torch.stack([w, w]), 0.1, 2)
    assert torch.allclose(bodies, found.expand(2, -1, -1), rtol=0, atol=1e-12)  # nor on where the body is
    fine, own = surroundings(*square(40), 0.1, 2), found.view(20, 20, 6)
    near = fine.view(20, 2, 20, 2, 6).mean((1, 3))
    assert (near - own).abs().max() < 0.02


def test_wrong_lengths_and_shapes_are_told():
    X, w = square(4)
    for arguments, words in (((X, w, 0.0, 2), "positive"), ((X, w, 0.1, 0), "positive"), ((X, w[1:], 0.1, 2), "fit")):
        with pytest.raises(ProblemError, match=words):
            surroundings(*arguments)


def plates(count=12):
    """Squares with a disk cut out, at points of their own; the function tells how far the disk is."""
    generator = np.random.default_rng(0)
    fields = {"x": [], "y": [], "area": [], "u": []}
    for _ in range(count):
        centre, found = generator.uniform(0.3, 0.7, 2), []
        while len(found) < 150:
            X = generator.uniform(0, 1, 2)
            if np.hypot(*(X - centre)) > 0.2:
                found.append(X)
        X = np.array(found)
        for name, v in (("x", X[:, 0]), ("y", X[:, 1]), ("area", np.full(150, (1 - 0.04 * np.pi) / 150)),
                        ("u", np.exp(-np.hypot(*(X - centre).T)))):
            fields[name].append(v)
    return {n: np.stack(v) for n, v in fields.items()}


def test_a_run_is_restored_with_the_columns_and_the_model_that_it_had(tmp_path):
    options = dict(inputs=[], outputs=["u"], points=("x", "y"), weights="area", train=10, test=2, model="geo-fno")
    small = {"model.modes": (3, 3), "model.grid": (6, 6), "model.width": 6}
    run = sciml.learn(plates(), surroundings=(0.1, 2), **options, **small, steps=2).save(tmp_path / "run")
    again = sciml.learn(plates(), surroundings=(0.1, 2), **options, **small, steps=4, restore=run)
    assert again.steps == 4
    for changed in ({"surroundings": (0.2, 2)}, {"model.grid": (7, 7)}):
        name = next(iter(changed))
        with pytest.raises(ProblemError, match=name):
            sciml.learn(plates(), **options, **{"surroundings": (0.1, 2), **small, **changed}, steps=4, restore=run)


def test_learning_takes_them_as_inputs_and_needs_weights():
    options = dict(inputs=[], outputs=["u"], points=("x", "y"), train=10, test=2, model="geo-fno", steps=2)
    small = {"model.modes": (3, 3), "model.grid": (6, 6), "model.width": 6, "model.lifting": 8}
    found = sciml.learn(plates(), weights="area", surroundings=(0.1, 2), **options, **small)
    assert found.status == "ok" and found.training.operator.model.inputs == 6
    v, X, a, _ = found.training._read(torch.tensor([11, 3]))
    expected = surroundings(X, a, 0.1, 2)
    assert torch.allclose(v, expected, rtol=0, atol=1e-5)
    for wrong, words in ((dict(surroundings=(0.1, 2)), "weights"), (dict(surroundings=(0.1,), weights="area"), "two"),
                         (dict(surroundings=("a", 2), weights="area"), "two numbers")):
        with pytest.raises(ProblemError, match=words):
            sciml.learn(plates(), **options, **small, **wrong)


def test_a_lifting_layer_is_nonlinear_and_a_model_without_is_as_published():
    v, X = torch.randn(1, 30, 2), torch.rand(1, 30, 2)
    plain, deep = (GeoFNO(2, 1, modes=(3, 3), grid=(6, 6), width=4, lifting=n) for n in (0, 8))
    for model, linear in ((plain, True), (deep, False)):
        inputs = torch.cat([v, X], -1)
        middle = model.lift(inputs) + model.lift(-inputs)
        assert torch.allclose(middle, 2 * model.lift(0 * inputs), atol=1e-5) == linear
        assert model(v, X).shape == (1, 30, 1)
