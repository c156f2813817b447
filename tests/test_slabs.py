"""Intervals of time with Gaussians of their own, solved for one after the other."""

from math import pi

import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Disk, Equation, Initial, Integral, Problem, ProblemError, Unknown
from sciml.calculus.engines import NestedReverse, TaylorForward
from sciml.calculus.jacobian import taped_jacobian, vmapped_jacobian
from sciml.fields.gaussian import GaussianField
from sciml.fields.slabs import Slabs, slabs_of
from sciml.geometry.slices import Slices
from sciml.objective import make_recipe
from sciml.problem import load_problem
from sciml.training import Training

HEAT = dict(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u",
            reference=dict(u=lambda x, t: torch.exp(-0.1 * pi**2 * t) * torch.sin(pi * x)),
            conditions=[Equation(lambda u: u.t - 0.1 * u.xx), Initial(u=lambda x: torch.sin(pi * x)), Dirichlet(u=0.0)])
OPTIONS = {"model": "gaussian", "model.slabs": 3, "model.centres": 12, "model.overlap": 1.2, "seed": 0}


def field(generator, train="amplitudes", cutoff=None):
    parts = []
    for _ in range(3):
        part = GaussianField(torch.rand(6, 2, generator=generator, dtype=torch.float64), torch.full((6,), 0.4), 2,
                             train=train, cutoff=cutoff)
        with torch.no_grad():
            part.amplitudes.normal_(generator=generator)
        parts.append(part)
    return Slabs(parts, 1, [0.3, 0.7])


@pytest.mark.parametrize("cutoff", [None, 3.0])
def test_each_interval_has_the_values_and_derivatives_of_its_part(generator, cutoff):
    slabs = field(generator, cutoff=cutoff)
    X = torch.rand(40, 2, generator=generator, dtype=torch.float64)
    X[0, 1], X[1, 1] = 0.3, 0.7                                             # a knot belongs to what comes after it
    wanted = {"u": {(0, 0), (2, 0)}, "v": {(0, 1)}}
    ours = TaylorForward().derivatives(slabs, X, wanted, ("u", "v"))
    taped = TaylorForward().derivatives(slabs, X, wanted, ("u", "v"), [])
    nested = NestedReverse().derivatives(slabs, X, wanted, ("u", "v"))
    piece = (X[:, 1] >= 0.3).long() + (X[:, 1] >= 0.7).long()
    assert torch.equal(slabs.piece(X), piece) and set(piece.tolist()) == {0, 1, 2}
    for k, part in enumerate(slabs.parts):
        want = TaylorForward().derivatives(part, X, wanted, ("u", "v"))
        for key, values in want.items():
            for found in (ours[key], taped[key], nested[key]):
                assert torch.allclose(found[piece == k], values[piece == k], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cutoff", [None, 3.0])
def test_jacobians_over_several_intervals_are_those_of_reverse_mode(generator, cutoff):
    slabs = field(generator, cutoff=cutoff)
    X, tape = torch.rand(7, 2, generator=generator, dtype=torch.float64), []
    u = TaylorForward().derivatives(slabs, X, {"u": {(2, 0)}}, ("u", "v"), tape)["unknown", "u", (2, 0)]
    ours = taped_jacobian(u[:, None], tape, [p for p in slabs.parameters() if p.requires_grad])

    class Second(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slabs = slabs

        def forward(self, X):
            return TaylorForward().derivatives(self.slabs, X, {"u": {(2, 0)}}, ("u", "v"))["unknown", "u", (2, 0)]

    oracle = vmapped_jacobian(lambda values, x: torch.func.functional_call(
        Second(), {f"slabs.{k}": v for k, v in values.items()}, (x[None],)), slabs, X)
    assert torch.allclose(ours, oracle, rtol=1e-9, atol=1e-11)


def test_states_at_several_times_share_the_points_evenly(generator):
    domain = Disk() * Box(t=(0, 1))
    states = Slices(domain.region("initial"), "t", [0.25, 0.5, 0.75])
    points = states.sample(11, generator=generator, rule="sobol")
    times = points.column("t")
    assert [int((times == t).sum()) for t in (0.25, 0.5, 0.75)] == [4, 4, 3] and len(points) == 11
    assert domain.contains(points.X).all() and states.measure == pytest.approx(3 * pi, rel=1e-3)
    assert float(points.weights.sum()) == pytest.approx(states.measure)
    assert set(states.chart(torch.rand(50, 3, generator=generator)).X[:, 2].tolist()) == {0.25, 0.5, 0.75}


def test_intervals_meet_in_single_precision_too():
    found = sciml.solve(Problem(**HEAT), **OPTIONS, dtype="float32", constraints="soft", steps=30)
    assert found.relative_l2()["u"] < 1e-3
    knots = slabs_of(found.field).knots
    assert torch.equal(knots, knots.float().double())


@pytest.mark.parametrize("refine", ["splat", "metric"])
def test_intervals_are_not_refined(refine):
    with pytest.raises(ProblemError, match="slabs"):
        sciml.solve(Problem(**HEAT), **OPTIONS, refine=refine)


@pytest.mark.parametrize("options", [{}, {"constraints": "soft"}, {"model.cutoff": 5.0, "constraints": "soft"}])
def test_intervals_one_after_the_other_are_as_accurate_as_one(options):
    found = sciml.solve(Problem(**HEAT), **OPTIONS, **options)
    assert found.status == "ok" and found.relative_l2()["u"] < 1e-5
    assert found.steps == 3                                                 # a linear equation: one for each
    assert len(slabs_of(found.field).parts) == 3


def test_what_newtons_iteration_over_all_times_does_not_find_is_found_interval_by_interval():
    problem = load_problem("lorenz")
    found = sciml.solve(problem, seed=0)
    assert found.status == "ok" and max(found.relative_l2().values()) < 1e-5
    once = sciml.solve(problem, seed=0, set={"model.slabs": 1, "model.centres": 300}, points=900)
    assert max(once.relative_l2().values()) > 0.3


def test_another_optimizer_takes_all_intervals_at_once():
    found = sciml.solve(Problem(**HEAT), **OPTIONS, optimizer="gauss-newton", steps=20, constraints="soft")
    assert found.relative_l2()["u"] < 1e-2


def test_a_run_goes_on_in_the_interval_that_it_was_in(tmp_path):
    problem = Problem(domain=Box(t=(0, 2)), unknowns="u", conditions=[
        Equation(lambda u, t: u.t - u**2 * torch.cos(t)), Initial(u=0.4)])
    options = dict(OPTIONS, constraints="soft", points=100)
    whole = sciml.solve(problem, **options)
    assert whole.steps > 6
    half = sciml.solve(problem, **options, steps=whole.steps // 2, out=tmp_path / "run")
    rest = sciml.solve(problem, **options, out=tmp_path / "run", resume=True)
    assert half.steps < rest.steps == whole.steps
    for a, b in zip(whole.field.parameters(), rest.field.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("change", "sentence"), [
    (dict(domain=Box(x=(0, 1)), conditions=[Equation(lambda u: u.xx)], reference=None), "no coordinate t"),
    (dict(conditions=[Equation(lambda u: u.t - u.xx), Dirichlet(u=0.0)]), "no Initial"),
    (dict(conditions=[*HEAT["conditions"], Integral(lambda u: u)]), "takes all times together"),
    (dict(parameters=dict(k=Unknown(1.0)), conditions=[
        Equation(lambda u, k: u.t - k * u.xx), *HEAT["conditions"][1:]]), r"\(k\) act in all"),
])
def test_problems_that_have_no_intervals_are_told(change, sentence):
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve(Problem(**{**HEAT, **change}), **OPTIONS)


def test_a_number_of_intervals_is_at_least_one():
    with pytest.raises(ProblemError, match="slabs"):
        sciml.solve(Problem(**HEAT), **{**OPTIONS, "model.slabs": 0})


def test_intervals_meet_at_late_times_too():
    late = Problem(domain=Box(t=(1e6, 1e6 + 1)), unknowns="u", conditions=[Equation(lambda u: u.t + u), Initial(u=1.0)],
                   reference=dict(u=lambda t: torch.exp(1e6 - t)))
    assert sciml.solve(late, **OPTIONS, constraints="soft").relative_l2()["u"] < 1e-6


def test_points_stay_while_an_interval_is_solved_for():
    found = sciml.solve("lorenz", seed=0, steps=400, set={"sobol.every": 1})
    assert found.status == "ok" and max(found.relative_l2().values()) < 1e-3


def test_a_run_that_ends_before_the_last_interval_says_so():
    found = sciml.solve(Problem(**HEAT), **OPTIONS, steps=2)
    assert "interval 2 of the 3" in found.status and "t = 0.666667" in found.status


def test_an_interval_that_is_not_solved_for_is_told_of(caplog):
    sciml.solve("lorenz", seed=0, set={"model.slabs": 4}, time=20)
    assert "begins with a wrong state" in caplog.text


def test_states_between_intervals_take_as_many_points_as_the_initial_one():
    counts = []
    for slabs in (1, 6):
        recipe = make_recipe({}, {**OPTIONS, "model.slabs": slabs, "constraints": "soft"})
        counts.append({n: len(p) for n, p in Training(Problem(**HEAT), recipe).objective.points.items()})
    assert counts[1]["initial"] == counts[0]["initial"]
    assert counts[1]["initial at 5 later times"] == 5 * counts[0]["initial"]
    assert counts[1]["equation"] == 6 * counts[0]["equation"]


@pytest.mark.parametrize("option", ["model.slabs", "model.rings"])
def test_options_of_gaussians_are_told_of_where_another_model_ignores_them(option, caplog):
    sciml.solve(Problem(**HEAT), model="mlp", set={option: 8}, steps=1, points=20)
    assert f"{option}=8 does nothing" in caplog.text
