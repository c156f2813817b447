"""Operator runs: files beside problems, folders that cannot be written, |r₀| found once."""

import math
import shutil
from pathlib import Path

import pytest
import torch

import sciml
from sciml import ProblemError
from sciml.learning import OperatorTraining, make_operator_recipe
from sciml.solution import RunFolder

SMALL = {"model": "fno", "model.width": 4, "model.modes": 3, "data.grid": 16, "data.train": 4, "data.test": 2,
         "batch": 2, "steps": 2}
PROBLEMS = Path(__file__).resolve().parent.parent / "problems"


def test_samples_are_looked_for_beside_the_problem_file_too(tmp_path, monkeypatch):
    shutil.copy(PROBLEMS / "burgers_operator.py", tmp_path / "mine.py")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    made = sciml.solve(tmp_path / "mine.py", **SMALL, **{"data.file": "samples.h5"})
    assert (tmp_path / "samples.h5").is_file()
    monkeypatch.chdir(tmp_path / "elsewhere")
    read = sciml.solve(tmp_path / "mine.py", **SMALL, **{"data.file": "samples.h5"})
    assert read.relative_l2() == made.relative_l2()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_that_cannot_be_written_is_told_before_samples_are_made(tmp_path):
    (tmp_path / "taken").write_text("a file")
    told = []
    for out, words in ((tmp_path / "taken" / "run", "is a file"), (tmp_path, "no run folder")):
        with pytest.raises(ProblemError, match=words):
            sciml.solve("burgers_operator", out=out, on_data=lambda *done: told.append(done), **SMALL)
    assert not told
    RunFolder(tmp_path / "new" / "run").check()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("augment", ["none", "symmetry"])
def test_the_residual_of_the_lift_is_found_once_where_functions_stay(augment, monkeypatch):
    options = {**SMALL, "data.grid": 17, "loss": "residual", "dtype": "float64", "augment": augment, "steps": 4}
    training = OperatorTraining(sciml.load_problem("darcy"), make_operator_recipe({}, options))
    count = []
    start = training._start
    monkeypatch.setattr(training, "_start", lambda *args: count.append(1) or start(*args))
    losses = [float(r.loss) for r in training.run()]
    assert len(count) == (1 if augment == "none" else 5) and math.isfinite(losses[-1])
    index = torch.tensor([2, 0])
    batch = training.train.part(index)
    if augment == "none":
        with torch.no_grad():
            assert float(training._loss(batch, index)) == pytest.approx(float(training._loss(batch)), rel=1e-12)


def test_fresh_functions_have_residuals_of_their_own():
    options = {**SMALL, "data.grid": 17, "loss": "residual", "dtype": "float64", "data.fresh": True, "steps": 2}
    training = OperatorTraining(sciml.load_problem("elliptic"), make_operator_recipe({}, options))
    index = torch.arange(4)
    before = training._starts(index)
    training._draw(100)
    after = training._starts(index)
    expected = training._start(training.train.inputs, 4)
    assert torch.allclose(after[0], expected[0]) and not torch.allclose(after[0], before[0], rtol=1e-3)
