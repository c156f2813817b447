"""Diagnostics say what they claim, and leave the run as it is."""

import json

import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml import Box, Dirichlet, Equation, Problem
from sciml.objective import make_recipe
from sciml.objective.diagnostics import diagnose, effective_dimension
from sciml.plot import diagnostics_figure, read_run
from sciml.training import Training

SOFT = dict(constraints="soft", **SMALL)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("R, P", [(12, 5), (5, 12)])
def test_the_effective_dimension_is_the_trace_of_the_kernel_over_itself_with_damping(R, P):
    J = random(R, P)
    K = J @ J.T
    want = torch.trace(K @ torch.linalg.inv(K + 0.3 * torch.eye(R, dtype=torch.float64)))
    assert effective_dimension(J, 0.3) == pytest.approx(float(want), rel=1e-12)
    assert effective_dimension(J, 1e-14) == pytest.approx(min(R, P), rel=1e-10)      # nothing is damped
    assert effective_dimension(J, 1e14) < 1e-11
    assert effective_dimension(1e3 * J) == pytest.approx(effective_dimension(J), rel=1e-9)   # μ follows the scale
    assert effective_dimension(0 * J) == 0.0


def test_diagnostics_agree_with_gradients_and_the_jacobian():
    training = Training(inverse(), make_recipe({}, dict(optimizer="adam", **SOFT)))
    objective = training.objective
    _, G, _ = objective.gradients()
    a, b = random(7, seed=1), random(7, seed=2)
    trail = [torch.zeros(7, dtype=torch.float64), a, a + b]
    found = diagnose(objective, trail, damping=0.5)
    U = G / G.norm(dim=1, keepdim=True)
    assert found["alignment"] == pytest.approx(2 * float(U.mean(0).square().sum()) - 1, rel=1e-12)
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0)
    assert found["alignment_steps"] == pytest.approx(float(cosine), rel=1e-10)
    _, J = objective.linearize()
    assert found["effective_dimension"] == pytest.approx(effective_dimension(J, 0.5), rel=1e-12)
    assert {f"trace {b.name}" for b in objective.blocks} <= set(found)
    for name, trace in objective.traces(256).items():
        assert found[f"trace {name}"] == pytest.approx(float(trace), rel=1e-12)
    assert "alignment_steps" not in diagnose(objective, trail[:2])


def test_conditions_that_a_preconditioner_mixes_have_one_gradient():
    heat = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u.xx - 1), Dirichlet(u=0.0)])
    training = Training(heat, make_recipe({}, dict(optimizer="adam", precondition="lu", **SOFT)))
    assert len(training.objective.blocks) == 2 and "alignment" not in diagnose(training.objective)


@pytest.mark.parametrize("optimizer", ["adam", "gauss-newton"])
def test_a_run_with_diagnostics_is_the_run_without_and_has_their_figure(optimizer, tmp_path):
    options = dict(optimizer=optimizer, steps=6, report=0.0, **SOFT)
    plain = sciml.solve(inverse(), **options)
    watched = sciml.solve(inverse(), out=tmp_path, diagnose=1e-9, **options)
    for p, q in zip(plain.field.parameters(), watched.field.parameters(), strict=True):
        assert torch.equal(p, q)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "alignment_steps" not in lines[0] and "alignment" in lines[0]
    assert all("alignment_steps" in line and -1.0 <= line["alignment_steps"] <= 1.0 + 1e-12 for line in lines[3:])
    assert ("damping" in lines[-1]) == (optimizer == "gauss-newton")
    figure = diagnostics_figure(read_run(tmp_path))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes][:2] == ["alignment", "NTK trace per row"]


def test_a_run_without_diagnostics_has_no_such_figure(tmp_path):
    sciml.solve(inverse(), out=tmp_path, optimizer="gauss-newton", steps=2, **SMALL)
    assert diagnostics_figure(read_run(tmp_path)) is None
