"""`optimizer="auto"` chooses by size and budget, and says so."""

import json

import pytest
from small import SMALL, inverse

import sciml
from sciml.objective import make_recipe
from sciml.objective.auto import choose
from sciml.optim import OPTIMIZERS
from sciml.training import Training

PLENTY = 1e11


def recipe(**options):
    return make_recipe({}, options)


@pytest.mark.parametrize("P, R, options, memory, expected", [
    (900, 4000, {"time": 60.0}, PLENTY, "gauss-newton"),
    (900, 4000, {"time": 0.5}, PLENTY, "soap:1000,ssbroyden"),           # no time for 60 steps
    (900, 4000, {"time": 60.0}, 1e6, "soap:1000,ssbroyden"),             # no memory for the Jacobian
    (50_000, 4000, {"time": 60.0}, PLENTY, "soap"),
    (900, 4000, {"time": 0.5, "sampler": "uniform", "sampler.every": 1}, PLENTY, "soap"),      # the loss jumps
    (900, 4000, {"time": 0.5, "sampler": "uniform", "sampler.every": 50}, PLENTY, "soap:1000,ssbroyden"),
    (900, 4000, {"time": 60.0, "sampler": "uniform", "sampler.every": 1}, PLENTY, "gauss-newton"),
    (20_000, 1000, {"steps": 100}, PLENTY, "gauss-newton"),              # 8 s a step, and nobody counts seconds
    (10_000_000, 40_000, {"steps": 100}, PLENTY, "soap"),
    (900, 4000, {"batch": 100}, PLENTY, "soap"),
    (900, 4000, {"balance": "grad-norm"}, PLENTY, "gauss-newton"),
    (900, 4000, {"balance": "grad-norm+config"}, PLENTY, "adam"),
    (900, 4000, {"balance": "relobralo"}, PLENTY, "adam"),
])
def test_the_choice_follows_size_and_budget(P, R, options, memory, expected, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    chosen, why = choose(P, R, recipe(**options), memory)
    assert chosen == expected
    assert why
    for stage in chosen.split(","):
        assert stage.split(":")[0] in OPTIMIZERS


def test_auto_is_the_default_and_the_run_folder_holds_what_was_chosen(tmp_path):
    assert recipe().optimizer == "auto"
    solution = sciml.solve(inverse(), out=tmp_path, steps=3, **SMALL)
    assert solution.config["optimizer"] == "gauss-newton"
    assert json.loads((tmp_path / "config.json").read_text())["optimizer"] == "gauss-newton"
    assert Training(inverse(), recipe(**SMALL)).stages[0].optimizer == "gauss-newton"
