"""Every example runs and prints a number; here the number is checked."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Bounds are about ten times what the runs gave, for other processors' rounding along a training.
@pytest.mark.parametrize("name, bound", [
    ("first_problem", 1e-4), ("own_network", 1e-4), ("unknown_parameter", 1e-2), ("parametric", 1e-4),
    ("mesh", 2e-3), ("gaussian_lattice", 1e-8)])
def test_an_example_reaches_its_error(name, bound):
    assert load(name).main() < bound


def test_gauss_newton_beats_first_order_methods_in_equal_time():
    errors = load("compare_optimizers").main(seconds=3.0)
    assert errors["gauss-newton"] < 0.1 * errors["adam"]


def test_an_operator_learnt_without_solutions_is_tuned_to_an_input_of_another_kind():
    assert load("darcy_operator").main(epochs=6, seconds=6.0) < 0.05      # 3.5e-3 after 15 epochs and 8 s, 0.6 untuned


def test_stress_is_predicted_in_voids_that_were_never_seen():
    assert load("elasticity_operator").main(plates=20, epochs=8) < 0.8          # 0.14 of 100 plates and 40 epochs


def test_every_example_is_short_and_documented():
    for path in FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith('"""'), path
        assert len(text.splitlines()) <= 60, path
