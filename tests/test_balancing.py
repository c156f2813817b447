"""Runs with weights: at the door, in every kind of stage, resumed, reported and drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small import SMALL, command, inverse, write
from test_objective import HostTraffic
from test_resume import equal, state_of, stop_at
from test_weights import drift, heat, options, trained

import sciml
from sciml import Box, Dirichlet, Equation, Integral, Observations, Problem, plot
from sciml.balance import BALANCERS, BlockWeights, PointWeights, build_balance
from sciml.errors import ProblemError
from sciml.objective import make_recipe
from sciml.training import Training

WEIGHTS = [n for n, cls in BALANCERS.items() if issubclass(cls, (BlockWeights, PointWeights))]
# each update must do something within a few steps
QUICK = {"grad-norm.every": 3, "grad-norm.first": 1, "ntk.every": 3, "ntk.first": 1, "lra.every": 2, "dwa.window": 2,
         "relobralo.rho": 0.5, "relobralo.alpha": 0.5}


# ---- what holds for all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_constants_of_the_dtype_of_the_parameters(name, dtype):
    training = trained(name, steps=9, dtype=dtype, **QUICK)
    objective = training.objective
    default = {b.name: b.weight for b in objective.blocks}
    found = [*objective.point_weights.values(), *(w for n, w in objective.weights.items() if w is not default[n])]
    assert found
    for w in found:
        assert isinstance(w, torch.Tensor) and not w.requires_grad and w.grad_fn is None
        assert w.dtype == getattr(torch, dtype) and bool(torch.isfinite(w).all()) and bool((w >= 0).all())
    assert training.report().loss > 0


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_do_not_depend_on_the_default_dtype(name):
    found = []
    first, second = (Training(heat(), make_recipe({}, options(name, steps=1, **QUICK))) for _ in range(2))
    for default, training in ((torch.float32, first), (torch.float64, second)):
        torch.set_default_dtype(default)
        try:
            for step in range(7):
                drift(training.objective, step)
                training.balance.update(training.objective, step)
        finally:
            torch.set_default_dtype(torch.float32)
        found.append([training.state_dict()[key] for key in ("weights", "balance")])
    assert equal(*found)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_multiply_those_of_the_problem_and_change_the_run(name):
    weighted, plain = trained(name, steps=9, **QUICK), trained("fixed", steps=9)
    assert not equal(weighted.state_dict()["objective"], plain.state_dict()["objective"])
    part, given = weighted.balance.parts[name], {"equation": 1.0, "initial": 1.0, "dirichlet": 3.0}
    if isinstance(part, BlockWeights):
        found = part.update(weighted.objective, 9)
        part.update = lambda view, step: found
        weighted.balance.update(weighted.objective, part.first)
        for n, w in found.items():
            assert float(weighted.objective.weights[n]) == pytest.approx(given[n] * float(w), rel=1e-14)


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_update_waits_for_no_device(name):
    training = Training(heat(), make_recipe({}, options(name, steps=1, **QUICK)))
    part, objective = training.balance.parts[name], training.objective
    for step in range(5):                       # first updates make tables, and look at losses that are zero
        part.update(objective, step)
    with HostTraffic() as traffic:
        part.update(objective, 5)
    drawn = ["aten::_local_scalar_dense"] if name == "relobralo" else []          # ρ, from a generator of the host
    assert traffic.found == drawn


@pytest.mark.parametrize("order", ["causal+grad-norm", "grad-norm+causal"])
def test_weights_of_conditions_see_the_weights_that_points_have_just_been_given(order):
    training = Training(heat(), make_recipe({}, options(order, steps=1, **{"grad-norm.alpha": 0.0})))
    objective = training.objective
    training.balance.update(objective, 10)
    assert float(objective.point_weights["equation"].min()) < 0.9
    found = dict(objective.weights)
    want = build_balance("grad-norm", {"grad-norm": {"alpha": 0.0}}).parts["grad-norm"].update(objective, 10)
    assert float(found["initial"]) == float(want["initial"])
    objective.point_weights = {}
    other = build_balance("grad-norm", {"grad-norm": {"alpha": 0.0}}).parts["grad-norm"].update(objective, 10)
    assert abs(float(other["equation"] / found["equation"]) - 1) > 1e-3


@pytest.mark.parametrize("name", WEIGHTS)
def test_two_runs_of_one_problem_share_no_weights(name):
    problem = heat()
    make = lambda: Training(problem, make_recipe({}, options(name, steps=6, **QUICK)))
    first, second = make(), make()
    before = second.state_dict()
    list(first.run())
    assert equal(second.state_dict(), before)
    list(second.run())
    different = lambda state: {k: v for k, v in state.items() if k not in ("seconds", "stage_start")}
    assert equal(different(first.state_dict()), different(second.state_dict()))


@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_resumed_run_has_the_same_weights_bit_by_bit(name, k, tmp_path):
    given = {**options(name, steps=11, batch=20), **QUICK}
    whole = sciml.solve(heat(), **given)
    sciml.solve(heat(), out=tmp_path, stop=stop_at(k), **given)
    resumed = sciml.solve(heat(), out=tmp_path, resume=True, **given)
    assert resumed.steps == 11 and equal(state_of(whole), state_of(resumed))
    drop = lambda line: {k: v for k, v in line.items() if k != "seconds"}
    assert drop(whole.history[-1]) == drop(resumed.history[-1])


# ---- second order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["gauss-newton", "lbfgs"])
@pytest.mark.parametrize("name", ["grad-norm", "lra", "ntk", "causal", "vrba"])
def test_second_order_weights_move_at_redraws_only_and_the_loss_falls_in_between(name, optimizer):
    given = options(name, optimizer=optimizer, steps=9, **{"sampler": "sobol", "sampler.every": 4})
    training = Training(heat(), make_recipe({}, given))
    seen = []
    while not training.finished():
        training._redraw()
        before = training.objective.total({n: float(v.detach()) for n, v in training.objective.losses().items()})
        weights = training.state_dict()["weights"]
        training._advance()
        after = float(training.objective.residual().square().sum())
        seen.append((weights, before, after))
    for step, (weights, before, after) in enumerate(seen):
        assert after <= before                                        # exact: a step that does not lower it is refused
        if step:
            assert equal(weights, seen[step - 1][0]) == (step not in (4, 8))
            if step not in (4, 8):
                assert before == pytest.approx(seen[step - 1][2], rel=1e-10)      # the same loss goes on


@pytest.mark.parametrize("name", ["sa", "rba", "relobralo", "dwa", "minmax", "vrba-blocks"])
def test_weights_of_the_first_stage_are_frozen_in_a_second_order_stage(name):
    training = Training(heat(), make_recipe({}, options(name, steps=12, optimizer="adam:6,gauss-newton", **QUICK)))
    list(training.run(stop_at(6)))
    before = training.state_dict()
    assert before["step"] == 6
    training.stopped = ""
    list(training.run())
    assert training.step == 12 and equal(training.state_dict()["weights"], before["weights"])
    assert not equal(before["weights"]["blocks"], {"equation": 1.0, "initial": 1.0, "dirichlet": 3.0}) or \
        before["weights"]["points"]


@pytest.mark.parametrize("given, warned", [
    ({}, True), ({"sampler.every": 4}, False), ({"optimizer": "adam:1,gauss-newton"}, False),
    ({"balance": "fixed"}, False)])
def test_weights_that_nothing_will_move_are_named(given, warned, caplog):
    plain = {"balance": "causal", "optimizer": "gauss-newton", "sampler": "sobol", "sampler.every": 0, **QUICK}
    Training(heat(), make_recipe({}, {**plain, "steps": 2, **given}))
    assert ("balance=causal moves in first-order stages" in caplog.text) == warned


def test_points_that_were_replaced_get_weights_of_their_own():
    training = trained("vrba", steps=5, **{"sampler": "sobol", "sampler.every": 4})
    part, w = training.balance.points, training.objective.point_weights["equation"]
    assert part.updates == 5
    # after the redraw at step 4: λ_max |r| / max |r| with λ_max = 10, before the step moved the field
    assert float(w.max()) == pytest.approx(10.0, rel=1e-12) and float(w.min()) < 5


def test_causal_weights_of_batches_are_those_of_their_points():
    training = trained("causal", steps=1)
    training.balance.update(training.objective, 1)
    objective, w = training.objective, training.objective.point_weights["equation"]
    training.driver._take_batch(10)
    found, order = objective.point_weights["equation"], torch.argsort(objective.points["equation"].column("t"))
    assert found.shape == (10,) and set(found.tolist()) <= set(w.tolist())
    assert bool((found[order].diff() <= 0).all()) and float(found.min()) < 1


# ---- at the door -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given, sentence", [
    ({"balance": "grad-norm", "grad-norm.every": 0}, "grad-norm.every=0 must be a number of steps, at least 1"),
    ({"balance": "grad-norm", "grad-norm.first": -1}, "grad-norm.first=-1 must be"),
    ({"balance": "grad-norm", "grad-norm.alpha": 1.0}, r"grad-norm.alpha=1.0 must be in \[0, 1\)"),
    ({"balance": "grad-norm", "grad-norm.alpha": "much"}, "grad-norm.alpha=.much. must be a number"),
    ({"balance": "lra", "lra.variant": "paper"}, "lra.variant='paper' must be one of reference, pooled"),
    ({"balance": "lra", "lra.cap": 0.5}, "lra.cap=0.5 must be at least 1"),
    ({"balance": "lra", "lra.alpha": 0.0}, r"lra.alpha=0.0 must be in \(0, 1\]"),
    ({"balance": "ntk", "ntk.rows": 0}, "ntk.rows=0 must be a number of points"),
    ({"balance": "relobralo", "relobralo.temperature": 0.0}, "relobralo.temperature=0.0 must be positive"),
    ({"balance": "relobralo", "relobralo.rho": 2.0}, r"relobralo.rho=2.0 must be in \[0, 1\]"),
    ({"balance": "dwa", "dwa.window": 0}, "dwa.window=0 must be"),
    ({"balance": "dwa", "dwa.smoothing": 1.0}, "dwa.smoothing=1.0 must be"),
    ({"balance": "minmax", "minmax.lr": 0.0}, "minmax.lr=0.0 must be positive"),
    ({"balance": "sa", "sa.mask": "cube"}, "sa.mask='cube' must be 'square' or 'sigmoid'"),
    ({"balance": "sa", "sa.cap": 0.0}, "sa.cap=0.0 must be"),
    ({"balance": "sa", "sa.conditions": "walls"}, "sa.conditions='walls' must be 'all' or 'equations'"),
    ({"balance": "rba", "rba.gamma": 1.0}, "rba.gamma=1.0 must be"),
    ({"balance": "vrba", "vrba.potential": "cubic"}, "vrba.potential='cubic' must be one of quadratic"),
    ({"balance": "vrba", "vrba.eta": 20.0}, "vrba.eta=20.0 must be in"),
    ({"balance": "causal", "causal.epsilon": 0.0}, "causal.epsilon=0.0 must be positive"),
    ({"balance": "causal", "causal.chunks": 1}, "causal.chunks=1 must be at least 2"),
    ({"balance": "causal", "causal.eps": 1.0}, "unknown option of balancer causal 'eps'"),
    ({"balance": "causal+rba"}, "causal and rba, both weights of points"),
    ({"balance": "lra+ntk"}, "lra and ntk, both weights of conditions"),
    ({"balance": "rba", "sampler.every": 5}, "balance=rba keeps a weight for every point, and sampler=rad replaces"),
    ({"balance": "sa", "sampler.every": 5}, "balance=sa keeps a weight for every point"),
    ({"balance": "relobralo", "optimizer": "gauss-newton"}, "balance=relobralo moves in first-order stages only, and "
                                                            "optimizer=gauss-newton has none; begin with one, as in "
                                                            "adam:1000,gauss-newton"),
    ({"balance": "rba", "optimizer": "lbfgs"}, "as in adam:1000,lbfgs"),
])
def test_a_balance_that_cannot_work_is_one_sentence(given, sentence):
    with pytest.raises(ProblemError, match=sentence):
        Training(heat(), make_recipe({}, {**options("fixed", steps=1), **given}))


@pytest.mark.parametrize("balance, equation, sentence", [
    ("causal", [Equation(lambda u: u.xx)], "needs a time, a coordinate named t, and this problem has x; leave it out"),
    ("lra", [], "balance=lra weighs other conditions against equations"),
    ("vrba-blocks", [], "trains dirichlet, observations only; use grad-norm"),
    ("rba", [], "rba.conditions=equations needs an equation, and this problem trains dirichlet, observations only"),
])
def test_a_problem_that_a_balance_cannot_work_on_is_refused_before_training(balance, equation, sentence):
    data = Observations(at=dict(x=[0.5]), u=[1.0])
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[*equation, Dirichlet(u=0.0), data])
    with pytest.raises(ProblemError, match=sentence):
        Training(problem, make_recipe({}, {**options(balance, steps=1), "rba.conditions": "equations"}))


def test_causal_weights_need_an_equation_with_rows_in_time():
    problem = Problem(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u",
                      conditions=[Dirichlet(u=0.0, on="x-"), Integral(lambda u: u, equals=1.0)])
    with pytest.raises(ProblemError, match="causal follows the residual of an equation through time"):
        Training(problem, make_recipe({}, options("causal", steps=1)))


def test_a_single_condition_leaves_nothing_to_weigh_and_says_so(caplog):
    given = options("relobralo", steps=3, constraints="hard")
    training = Training(heat(), make_recipe({}, given))
    assert "balance=relobralo changes nothing here: equation is the only condition" in caplog.text
    list(training.run())
    assert float(training.objective.weights["equation"]) == 1.0


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_names_of_the_registry_are_those_in_the_sentences(name):
    assert build_balance(name, {}).parts[name].name == name == BALANCERS[name].name


# ---- shown -------------------------------------------------------------------------------------------------------


def test_weights_are_reported_and_drawn(tmp_path):
    given = options("causal+grad-norm", steps=12, report=0.0, **{**QUICK, "causal.epsilon": 0.5})
    sciml.solve(heat(), out=tmp_path, **given)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    last = lines[-1]
    state = sciml.solve(heat(), **given).state["weights"]
    for n, w in state["blocks"].items():
        assert last[f"weight {n}"] == float(w)
    w = state["points"]["equation"]
    assert last["min point weight equation"] == float(w.min()) < last["mean point weight equation"] == float(w.mean())
    assert last["max point weight equation"] == 1.0
    assert last["min causal weight"] == pytest.approx(float(w.min()) ** 2, rel=1e-14)
    figure = plot.training_figure(plot.read_run(tmp_path))
    axes = next(a for a in figure.axes if a.get_title() == "weights")
    assert [t.get_text() for t in axes.get_legend().texts] == [
        "equation", "initial", "dirichlet", "points of equation"]
    assert axes.lines[0].get_ydata()[-1] == last["weight equation"]
    assert np.isfinite(axes.lines[3].get_ydata()[1:]).all() and len(axes.collections) == 1
    sciml.solve(heat(), out=tmp_path, **options("fixed", steps=3, report=0.0))
    assert all(a.get_title() != "weights" for a in plot.training_figure(plot.read_run(tmp_path)).axes)


def test_weights_are_shown_on_the_command_line(tmp_path, capsys):
    code = command("solve", write(tmp_path), "--steps", 6, "--no-figures", "--out", tmp_path / "run", "--optimizer",
                   "adam", "--constraints", "soft", "--balance", "causal+grad-norm")
    text = capsys.readouterr().out
    assert code == 0 and "weight heat 1" in text and "min causal weight" in text


def test_an_inverse_problem_with_data_takes_every_weight_that_needs_no_time():
    for name in WEIGHTS:
        if name != "causal":
            given = {**SMALL, "optimizer": "adam", "steps": 4, "balance": name, "sampler.every": 0,
                     "constraints": "soft", **QUICK}
            assert sciml.solve(inverse(), **given).status == "ok", name
