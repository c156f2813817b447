"""Operators learnt from arrays of one's own, on grids and on points."""

import numpy as np
import pytest
import torch

import sciml
from sciml import ProblemError
from sciml.learning import ArrayTraining
from sciml.samples import ArraySamples

RNG = np.random.default_rng(0)
X = np.linspace(0, 1, 33)
A = RNG.standard_normal((60, 3))
F = sum(A[:, k:k + 1] * np.sin((k + 1) * np.pi * X) for k in range(3))
U = sum(A[:, k:k + 1] * np.sin((k + 1) * np.pi * X) / ((k + 1) * np.pi) ** 2 for k in range(3))
SMALL = {"model.width": 16, "model.modes": 8, "model.layers": 2, "batch": 8, "epochs": 40, "adamw.lr": 1e-2}


def clouds(B=48, N=80, seed=1):
    """u = a · x at random points, with their quadrature weights."""
    rng = np.random.default_rng(seed)
    P = rng.random((B, N, 2))
    a = rng.standard_normal((B, 1))
    return {"x": P[..., 0], "y": P[..., 1], "a": a * np.ones((1, N)), "u": a * P[..., 0] + P[..., 1] ** 2,
            "area": np.full((B, N), 1 / N)}


def test_an_operator_is_learnt_from_arrays_on_a_grid_and_beats_the_mean_field():
    found = sciml.learn({"f": F, "u": U}, inputs=["f"], model="fno", train=48, test=12, **SMALL)
    assert found.status == "ok" and found.relative_l2()["u"] < 0.1 * found.null_score()["u"]
    values = found([0, 59])["u"]
    assert values.shape == (2, 33)
    assert np.linalg.norm(values[1] - U[59]) < 0.2 * np.linalg.norm(U[59])


@pytest.mark.parametrize("model, options", [
    ("mesh-operator", {"model.width": 32, "model.slices": 8, "model.layers": 2}),
    ("geo-fno", {"model.modes": (4, 4), "model.grid": (10, 10), "model.width": 8, "model.layers": 1}),
    ("nuno", {"model.boxes": 2, "model.grid": (8, 8), "model.modes": (3, 3), "model.width": 16, "model.layers": 1}),
    ("gno", {"model.width": 8, "model.layers": 1, "model.hidden": 16}),
    ("gino", {"model.grid": (8, 8), "model.modes": (3, 3), "model.width": 8, "model.layers": 1}),
])
def test_every_model_on_points_learns_a_simple_map(model, options):
    found = sciml.learn(clouds(), inputs=["a"], outputs=["u"], points=("x", "y"), weights="area", model=model, train=40,
                        test=8, batch=8, epochs=30, **{"adamw.lr": 1e-2, **options})
    assert found.relative_l2()["u"] < 0.5 * found.null_score()["u"], found.relative_l2()


def test_without_input_functions_the_places_of_points_are_the_input():
    data = clouds()
    data["u"] = data["x"] ** 2 + data["y"]
    found = sciml.learn({k: data[k] for k in ("x", "y", "u")}, inputs=[], outputs=["u"], points=("x", "y"), train=40,
                        test=8, batch=8, epochs=30, **{"model.width": 32, "adamw.lr": 5e-3})
    assert found.relative_l2()["u"] < 0.3 * found.null_score()["u"]


def test_a_run_is_saved_and_continued(tmp_path):
    options = dict(inputs=["f"], model="fno", train=48, test=12, **{**SMALL, "epochs": 4})
    whole = sciml.learn({"f": F, "u": U}, **options)
    stops = iter([""] * 7 + ["enough"] * 99)
    part = sciml.learn({"f": F, "u": U}, stop=lambda: next(stops), **options)
    assert part.steps == 7 and "enough" in part.status
    rest = sciml.learn({"f": F, "u": U}, restore=part.save(tmp_path / "run"), **options)
    for one, other in zip(whole.training.operator.state_dict().values(), rest.training.operator.state_dict().values(),
                          strict=True):
        assert torch.equal(one, other)
    assert rest.relative_l2() == whole.relative_l2()


def test_reports_that_take_long_come_less_often(monkeypatch):
    now = [0.0]                                   # a clock: a step takes one second, a report `slow` seconds

    def count(slow):
        step, errors = ArrayTraining.loss_of, ArrayTraining.errors
        with monkeypatch.context() as patch:
            patch.setattr("sciml.learning.learner.time.perf_counter", lambda: now[0])
            patch.setattr(ArrayTraining, "loss_of", lambda self, i: (now.__setitem__(0, now[0] + 1), step(self, i))[1])
            patch.setattr(ArrayTraining, "errors", lambda self: (now.__setitem__(0, now[0] + slow), errors(self))[1])
            return len(sciml.learn({"f": F, "u": U}, inputs=["f"], model="fno", train=48, test=12, report=2.0,
                                   **{**SMALL, "epochs": 10}).history)

    assert count(0.0) == 1 + 30 + 1 and count(2.0) == 1 + (60 - 2) // 18 + 1 + 1


def test_large_samples_are_streamed_with_the_same_result(monkeypatch):
    options = dict(inputs=["f"], model="fno", train=48, test=12, **{**SMALL, "epochs": 2})
    held = sciml.learn({"f": F, "u": U}, **options)
    monkeypatch.setattr("sciml.learning.arrays.IN_MEMORY", 0)
    streamed = sciml.learn({"f": F, "u": U}, **options)
    assert streamed.training.kept is None and streamed.relative_l2() == held.relative_l2()


def test_a_k_d_tree_sees_the_training_points_only():
    options = dict(inputs=["a"], outputs=["u"], points=("x", "y"), model="nuno", train=40, test=8, epochs=1,
                   **{"model.boxes": 4, "model.width": 8, "model.grid": (8, 8), "model.modes": (3, 3)})
    data, moved = clouds(), clouds()
    moved["x"][40:] = 0.5 + 0.01 * (moved["x"][40:] - 0.5)             # the test points are elsewhere
    boxes = [sciml.learn(d, **options).training.operator.model.boxes for d in (data, moved)]
    assert torch.equal(*boxes)


@pytest.mark.parametrize("change, words", [
    ({"outputs": ["v"]}, "field of the samples"), ({"model": "mesh-operator"}, "on a grid"),
    ({"train": [0, 1], "test": [1, 2]}, "do not overlap"), ({"train": 100}, "100 samples"),
    ({"loss": "residual"}, "no equations"),
    ({"model": "fno", "points": ("f",), "outputs": ["u"]}, "on points")])
def test_what_makes_no_sense_is_refused_in_a_sentence(change, words):
    with pytest.raises(ProblemError, match=words):
        sciml.learn({"f": F, "u": U}, **{"inputs": ["f"], "epochs": 1, **change})


def test_splits_of_a_store_are_used():
    samples = ArraySamples({"f": F, "u": U}, ["f"], {"x": torch.from_numpy(X)},
                           splits={"train": range(10, 60), "test": range(10)})
    found = sciml.learn(samples, **{**SMALL, "epochs": 1})
    assert found.result()["test"] == list(range(10))
