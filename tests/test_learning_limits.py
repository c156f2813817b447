"""Learning of operators at its limits: scales, signs, systems, other orders of axes, precision, samples at the door."""

import numpy as np
import pytest
import torch

import sciml
from sciml import (
    Box,
    Dirichlet,
    Equation,
    GaussianRandomField,
    Initial,
    Periodic,
    Problem,
    ProblemError,
    RandomNumber,
)
from sciml.learning import OperatorTraining, make_operator_recipe

SMALL = {"model": "fno", "data.grid": 17, "data.train": 6, "data.test": 3, "model.width": 6, "model.modes": 4,
         "batch": 3, "dtype": "float64", "steps": 2}
SINES = GaussianRandomField(kind="dirichlet", tau=3.0, alpha=2.0)


def training(problem, **options):
    problem = problem if isinstance(problem, Problem) else sciml.load_problem(problem)
    return OperatorTraining(problem, make_operator_recipe(problem.defaults, {**SMALL, **options}))


def poisson(**inputs):
    return Problem(Box(x=(0, 1)), "u", [Equation(lambda u, f: u.xx + f), Dirichlet(u=0.0)],
                   inputs=dict(f=SINES, **inputs))


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["fno", "deeponet"])
def test_an_input_of_order_one_is_seen_beside_one_of_order_1e9(model):
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, f, E: E * u.xx + f), Dirichlet(u=0.0)],
                      inputs=dict(E=RandomNumber(1e9, 2e9), f=SINES))
    options = {k: v for k, v in SMALL.items() if k != "model.modes"}
    run = OperatorTraining(problem, make_operator_recipe({}, {**options, "model": model}))
    encoded = run.operator.encoder.encode(run.channels(run.train))
    functions = encoded.unbind(-1) if model == "fno" else encoded[..., 0].split(17, 1)
    for values in functions:
        assert float(values.mean()) == pytest.approx(0.0, abs=1e-9)
        assert float(values.square().mean()) == pytest.approx(1.0, rel=1e-9)


# --- precision and state ---------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_weights_once():
    operator = training("darcy").operator
    assert sum(v.numel() for k, v in operator.state_dict().items() if k.split(".")[0] not in (
        "scale", "encoder", "decoder")) == sum(p.numel() for p in operator.model.parameters())


def test_with_bfloat16_the_residual_keeps_the_digits_of_the_run():
    run = training("darcy", loss="residual", dtype="float32", bfloat16=True)
    seen, residual_loss = [], run._residual_loss
    run._residual_loss = lambda u, inputs: seen.append((u.detach(), inputs)) or residual_loss(u, inputs)
    assert float(run.advance()) == float(residual_loss(*seen[0]))           # as without autocast
