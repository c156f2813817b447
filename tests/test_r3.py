"""R3 and causal R3: the published facts about what is retained, and how the gate opens."""

import logging
import math

import pytest
import torch
from small import HEAT, write

import sciml
from sciml import Ball, Box, Disk, Interval, ProblemError, TrainingError
from sciml.objective import make_recipe
from sciml.points import Points
from sciml.problem import load_problem
from sciml.sampling.r3 import R3, exchange, retained
from sciml.training import Training


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def line(n, generator):
    return Interval(x=(0, 1)).sample(n, generator=generator)


def kept_share(sizes):
    return float(retained(sizes).double().mean())


# ---- what is retained ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes, kept", [
    ((1, 1, 1), (0, 0, 0)),                 # equality is released
    ((0, 1, 2), (0, 0, 1)),
    ((0, 2, 2.2, 3.8), (0, 0, 1, 1)),       # |r|, not r², whose mean 5.82 would keep one
    ((5.0,), (0,)),
    ((0, 0), (0, 0)),
])
def test_sizes_strictly_above_their_mean_are_retained(sizes, kept):
    assert retained(torch.tensor(sizes, dtype=torch.float64)).tolist() == [bool(k) for k in kept]


@pytest.mark.parametrize("draw, share", [
    (lambda n, g: torch.randn(n, generator=g, dtype=torch.float64).abs(), 1 - math.erf(math.pi**-0.5)),
    (lambda n, g: torch.rand(n, generator=g, dtype=torch.float64), 0.5),
    (lambda n, g: -torch.log(torch.rand(n, generator=g, dtype=torch.float64)), math.exp(-1)),
], ids=["half-normal", "uniform", "exponential"])
def test_the_share_that_is_kept_follows_from_the_law_of_the_residual(draw, share):
    n = 100_000
    assert kept_share(draw(n, seeded())) == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / n) + 1e-3)


def test_one_number_that_is_not_finite_releases_nothing():
    assert retained(torch.tensor([1.0, math.nan, 3.0])).all()


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("sizes", [lambda x: torch.ones_like(x), lambda x: (x > x.sort().values[-1] - 1e-12).double(),
                                   lambda x: x], ids=["constant", "one dominant", "linear"])
def test_the_population_keeps_its_size_and_its_retained_points(n, sizes):
    generator = seeded()
    old = line(n, generator)
    F = sizes(old.X[:, 0])
    before = old.X.clone()
    new = R3().redraw(old, Interval(x=(0, 1)), generator, lambda p: sizes(p.X[:, 0]))
    keep = F > F.mean()
    assert len(new) == n and torch.equal(old.X, before) and torch.equal(new.X[keep], old.X[keep])
    assert bool((new.X[~keep] != old.X[~keep]).all()) and new.X.data_ptr() != old.X.data_ptr()


def test_a_field_that_stands_still_collapses_the_population_onto_the_peak():
    generator, sampler = seeded(), R3()
    size = lambda p: torch.exp(-50 * (p.X[:, 0] - 0.3) ** 2)
    points = line(1000, generator)
    first = kept_share(size(points))
    for _ in range(200):
        points = sampler.redraw(points, Interval(x=(0, 1)), generator, size)
    assert first == pytest.approx(0.33, abs=0.05)
    assert kept_share(size(points)) == pytest.approx(0.95, abs=0.03)
    assert float(((points.X[:, 0] - 0.3).abs() < 0.1).double().mean()) > 0.9


@pytest.mark.parametrize("region, share", [
    (Disk((0, 0), 1.0), lambda X: (X.norm(dim=1) < 0.5, 0.25)),
    (Ball((0, 0, 0), 1.0), lambda X: (X.norm(dim=1) < 0.5, 0.125)),
    (Disk((0, 0), 1.0) * Box(t=(0, 2)), lambda X: ((X[:, :2].norm(dim=1) < 0.5) & (X[:, 2] < 1), 0.125)),
], ids=["disk", "ball", "space-time"])
def test_released_points_follow_the_measure_of_the_domain(region, share):
    generator = seeded()
    old = region.sample(20_000, generator=generator)
    new = R3().redraw(old, region, generator, lambda p: torch.ones(len(p), dtype=torch.float64))
    inside, want = share(new.X)
    assert bool(region.contains(new.X).all())
    assert float(inside.double().mean()) == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / len(new)))


def test_normals_move_with_their_points():
    circle, generator = Disk((0, 0), 2.0).region("boundary"), seeded()
    old = circle.sample(50, generator=generator)
    new = R3().redraw(old, circle, generator, lambda p: p.X[:, 0])
    torch.testing.assert_close(new.normals, new.X / 2, rtol=0, atol=1e-12)


def test_exchange_keeps_no_weights_of_a_uniform_sample():
    old = Points(torch.zeros(2, 1), ("x",), torch.ones(2))
    assert exchange(old, Points(torch.ones(2, 1), ("x",)), torch.tensor([True, False])).weights is None


# ---- in training -----------------------------------------------------------------------------------------------------


def training(path, **options):
    problem = load_problem(write(path, HEAT))
    return Training(problem, make_recipe(problem.defaults, {"constraints": "soft", "report": 0.0, **options}))


def finish(run, steps=None):
    for report in run.run():
        if steps is not None and report.step >= steps:
            break
    return run


def test_first_order_training_chooses_by_the_residuals_of_its_own_pass(tmp_path):
    run = training(tmp_path, sampler="r3", optimizer="adam", steps=1)
    block = run.scene.blocks[0]
    before = run.objective.points[block.name]
    sizes = run.objective.magnitudes()[block.name]        # with the parameters before the update
    finish(run)
    torch.testing.assert_close(run.objective.recorded[block.name], sizes, rtol=0, atol=1e-14)
    moved = run.objective.magnitudes()[block.name]
    assert not torch.equal(moved, sizes)
    calls = []
    run.objective.magnitude = lambda b: lambda p: calls.append(b) or moved
    assert run.sampler.update(run.scene, 1, 1.0) and not calls
    keep = sizes > sizes.mean()
    after = run.objective.points[block.name].X
    assert torch.equal(after[keep], before.X[keep]) and not (after[~keep] == before.X[~keep]).any()
    assert run.sampler.extras()[f"kept {block.name}"] == pytest.approx(float(keep.double().mean()))


@pytest.mark.parametrize("optimizer", ["gauss-newton", "lbfgs", "ssbroyden"])
def test_second_order_training_chooses_by_the_residuals_at_the_points_it_is_at(tmp_path, optimizer):
    run = finish(training(tmp_path, sampler="r3", optimizer=optimizer, steps=3))
    block = run.scene.blocks[0]
    sizes, before = run.objective.magnitudes()[block.name], run.objective.points[block.name]
    assert run.sampler.update(run.scene, 3, 1.0)
    keep = sizes > sizes.mean()
    assert torch.equal(run.objective.points[block.name].X[keep], before.X[keep])


def test_with_one_loss_at_a_time_only_points_with_news_are_exchanged(tmp_path):
    run = finish(training(tmp_path, sampler="r3", optimizer="m-config", steps=4))
    before = {n: p for n, p in run.objective.points.items()}
    assert run.sampler.update(run.scene, 4, 1.0)
    changed = [n for n, p in run.objective.points.items() if p is not before[n]]
    assert len(changed) == 1 and len(before) == 3


def test_scaling_an_equation_and_its_weight_changes_nothing_that_is_retained(tmp_path):
    text = HEAT.replace("Equation(heat)", "Equation(lambda u: 10 * (u.t - k * u.xx), name='heat', weight=0.01)")
    (tmp_path / "scaled").mkdir()
    runs = []
    for folder, source in ((tmp_path, HEAT), (tmp_path / "scaled", text)):
        problem = load_problem(write(folder, source))
        recipe = make_recipe(problem.defaults, {"constraints": "soft", "sampler": "r3", "optimizer": "gauss-newton",
                                                "steps": 4})
        runs.append(finish(Training(problem, recipe)))
    a, b = (next(iter(r.objective.points.values())).X for r in runs)
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_residual_that_is_not_finite_stops_the_run_with_a_sentence(tmp_path):
    text = HEAT.replace("return u.t - k * u.xx", "return torch.sqrt(u - 1e6)")
    with pytest.raises(TrainingError, match="not finite"):
        problem = load_problem(write(tmp_path, text))
        finish(Training(problem, make_recipe(problem.defaults, {"constraints": "soft", "sampler": "r3",
                                                                "optimizer": "adam", "steps": 5})))


def test_crowding_is_said_once(tmp_path, caplog):
    run = training(tmp_path, sampler="r3", optimizer="adam", steps=1)
    run.sampler.kept = {"heat": torch.tensor(0.95)}
    with caplog.at_level(logging.WARNING):
        run.sampler.extras(), run.sampler.extras()
    assert len([r for r in caplog.records if "95" in r.message or "crowd" in r.message]) == 1


def test_other_conditions_can_be_left_to_chance(tmp_path):
    run = finish(training(tmp_path, sampler="r3", optimizer="adam", steps=3, **{"r3.conditions": "equations"}))
    assert list(run.sampler.extras()) == [f"kept {run.scene.blocks[0].name}"]
    with pytest.raises(ProblemError, match="conditions=some must be all or equations"):
        training(tmp_path, sampler="r3", **{"r3.conditions": "some"})


# ---- causal R3 -------------------------------------------------------------------------------------------------------


def causal(path, steps=10, **options):
    return training(path, sampler="causal-r3", optimizer="adam", steps=steps, **options)


@pytest.mark.parametrize("gamma, at, value", [(-0.5, 0.0, 6.69e-3), (0.5, 0.0, 0.9933), (0.5, 1.0, 6.69e-3),
                                              (1.5, 1.0, 0.9933)])
def test_the_gate_has_the_published_values(tmp_path, gamma, at, value):
    run = causal(tmp_path)
    block = run.scene.blocks[0]
    run.sampler.gamma = torch.tensor(gamma, dtype=torch.float64)
    points = run.objective.points[block.name]
    X = points.X.clone()
    X[:, 1] = at
    run.objective.points[block.name] = Points(X, points.names)
    assert run.sampler.gate(run.scene, block).tolist() == pytest.approx([value] * len(X), rel=2e-3)


def test_the_gate_weighs_equations_only_and_the_loss_is_the_mean_of_its_square(tmp_path):
    run = causal(tmp_path)
    block = run.scene.blocks[0]
    assert list(run.objective.point_weights) == [block.name]
    g, r = run.sampler.gate(run.scene, block), run.objective.magnitudes()[block.name]
    others = sum(float(v.detach()) for n, v in run.objective.losses().items() if n != block.name)
    assert float(run.objective.loss().detach()) == pytest.approx(float((g * r).square().mean()) + others, rel=1e-12)


@pytest.mark.parametrize("residual, move", [(0.1, 0.1), (1.0, math.exp(-20 * 1.0))])
def test_the_gate_moves_by_the_residuals_at_the_old_times_and_at_most_by_the_limit(tmp_path, residual, move):
    run = causal(tmp_path, **{"causal-r3.rate": 0.5, "causal-r3.gamma": 20.0})     # open: g = 1 up to rounding
    block = run.scene.blocks[0]
    run.objective.recording, run.objective.recorded = True, {
        block.name: torch.full((len(run.objective.points[block.name]),), residual, dtype=torch.float64)}
    run.sampler.update(run.scene, 1, 0.1)
    assert float(run.sampler.gamma) - 20.0 == pytest.approx(0.5 * move, rel=1e-6, abs=1e-12)


def test_the_selection_uses_the_gate_of_the_loss_and_the_weights_are_those_of_the_new_points(tmp_path):
    run = causal(tmp_path, **{"causal-r3.gamma": 0.3})
    block = run.scene.blocks[0]
    old = run.objective.points[block.name]
    r = torch.linspace(0, 1, len(old), dtype=torch.float64)
    F = run.sampler.gate(run.scene, block) * r
    run.objective.recording, run.objective.recorded = True, {block.name: r}
    run.sampler.update(run.scene, 1, 0.1)
    new, keep = run.objective.points[block.name], F > F.mean()
    assert torch.equal(new.X[keep], old.X[keep]) and not (new.X[~keep] == old.X[~keep]).all(1).any()
    t = new.column("t")
    want = 0.5 * (1 - torch.tanh(5 * (t - run.sampler.gamma)))
    torch.testing.assert_close(run.objective.point_weights[block.name], want, rtol=0, atol=1e-15)


def test_without_a_rate_a_small_residual_opens_the_gate_after_half_the_budget(tmp_path):
    run = causal(tmp_path, steps=100)
    block = run.scene.blocks[0]
    seen = []
    for step in range(1, 101):
        run.objective.recording, run.objective.recorded = True, {
            block.name: torch.zeros(len(run.objective.points[block.name]), dtype=torch.float64)}
        run.sampler.update(run.scene, step, step / 100)
        seen.append(float(run.sampler.gamma))
    assert seen[49] == pytest.approx(1.5) and all(a <= b for a, b in zip(seen, seen[1:], strict=False))


def test_a_rate_that_cannot_open_the_gate_is_named(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        causal(tmp_path, steps=1000, **{"causal-r3.rate": 1e-3})
        assert "open at 1.5" in caplog.text
        caplog.clear()
        causal(tmp_path, steps=30_000, **{"causal-r3.rate": 1e-3})
        assert "gate" not in caplog.text


def test_what_cannot_have_a_gate_is_refused(tmp_path):
    steady = sciml.Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u",
                           conditions=[sciml.Equation(lambda u: u.xx + u.yy), sciml.Dirichlet(u=0.0)])
    with pytest.raises(ProblemError, match="needs a time"):
        Training(steady, make_recipe({}, {"sampler": "causal-r3", "steps": 2}))
    with pytest.raises(ProblemError, match="weighs points"):
        causal(tmp_path, balance="causal")
    with pytest.raises(ProblemError, match="every=0"):
        causal(tmp_path, **{"causal-r3.every": 0})


@pytest.mark.parametrize("optimizer", ["adam", "m-config", "adam:6,gauss-newton"])
def test_a_gate_is_resumed_bit_by_bit(tmp_path, optimizer):
    options = dict(steps=12, optimizer=optimizer, sampler="causal-r3", batch=20)
    whole = finish(training(tmp_path, **options))
    first = training(tmp_path, **options)
    steps = iter(range(100))
    list(first.run(lambda: "cut" if next(steps) == 5 else ""))
    second = training(tmp_path, **options)
    second.load_state_dict(first.state_dict())
    finish(second)
    assert torch.equal(whole.sampler.gamma, second.sampler.gamma) and whole.step == second.step == 12
    assert all(torch.equal(p.X, second.objective.points[n].X) for n, p in whole.objective.points.items())
    assert all(torch.equal(a, b) for a, b in zip(whole.objective.trainable, second.objective.trainable, strict=True))


@pytest.mark.parametrize("sampler", ["r3", "causal-r3"])
@pytest.mark.parametrize("optimizer", ["adam", "multiadam", "gauss-newton", "lbfgs"])
def test_every_kind_of_optimizer_trains_with_it(tmp_path, sampler, optimizer):
    run = finish(training(tmp_path, sampler=sampler, optimizer=optimizer, steps=6))
    assert run.step == 6 and math.isfinite(run.report().loss)
