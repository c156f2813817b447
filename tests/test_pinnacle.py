"""PINNACLE against a brute-force kernel by torch.func, and what its choices keep whatever the problem."""

import math

import numpy as np
import pytest
import torch
from small import inverse

import sciml
from sciml import Box, Dirichlet, Disk, Equation, Initial, Neumann, Observations, Problem, ProblemError
from sciml.objective import make_recipe
from sciml.sampling import SAMPLERS, nystrom, pinnacle
from sciml.sampling.nystrom import Nystrom, Rows, gradients
from sciml.sampling.purchases import at_parameters
from sciml.sampling.seeding import apportion, by_size, plus_plus
from sciml.training import Training

BOTH = ("pinnacle-s", "pinnacle-k")
NET = dict(model=dict(width=12, depth=2), points=40, constraints="soft", optimizer="adam", schedule="constant")


def pair(first=1.0, second=1.0):
    """Two unknowns, two equations, two conditions; the equations' residuals times given factors."""
    return Problem(
        domain=Box(x=(-1, 1), t=(0, 1)), unknowns="u v",
        conditions=[
            Equation(lambda u, v: {"a": first * (u.t - u.xx + v), "b": second * (v.x - u * v + 0.5)}, name="pde"),
            Initial(u=lambda x: torch.sin(2 * x), name="start"), Dirichlet(v=0.3, on=["x-", "x+"], name="wall")])


def training(problem, name="pinnacle-s", **options):
    given = {(f"{name}.{k}" if k in ARGUMENTS else k): v for k, v in options.items()}
    return Training(problem, make_recipe({}, {**NET, "sampler": name, "steps": 10, **given}))


ARGUMENTS = ("every", "new", "pool", "reference", "rows", "first", "drift_every", "measurements", "budget", "ahead",
             "choice")


def block(scene, name):
    return next(b for b in scene.view.blocks if b.name == name)


def places(scene, n=20, names=("pde", "start", "wall")):
    return [Rows(block(scene, name), scene.draw(block(scene, name), n)) for name in names]


def kernel_of(scene, at, scale="plain", jitter=nystrom.JITTER):
    return Nystrom.of(*gradients(scene.view, at, scale), jitter=jitter)


def oracle(field, at):
    """Residuals (R,) and Jacobian (R, P) of places of `pair`, by nested reverse mode of torch.func, row by row."""
    parameters = {n: p.detach() for n, p in field.named_parameters()}

    def value(theta, x):
        return torch.func.functional_call(field, theta, (x[None],))[0]

    def rows(theta, x, name):
        u, v = value(theta, x)
        if name == "start":
            return torch.stack([u - torch.sin(2 * x[0])])
        if name == "wall":
            return torch.stack([v - 0.3])
        D = torch.func.jacrev(value, argnums=1)(theta, x)
        u_xx = torch.func.hessian(lambda y: value(theta, y)[0])(x)[0, 0]
        return torch.stack([D[0, 1] - u_xx + v, D[1, 0] - u * v + 0.5])

    r = torch.cat([rows(parameters, x, a.block.name) for a in at for x in a.points.X])
    J = [torch.func.jacrev(rows)(parameters, x, a.block.name) for a in at for x in a.points.X]
    return r, torch.cat([torch.cat([part[n].flatten(1) for n in parameters], dim=1) for part in J])


# ---- embeddings ------------------------------------------------------------------------------------------------


def test_the_convergence_degree_of_embeddings_is_that_of_a_brute_force_kernel():
    scene = training(pair(), model=dict(width=40, depth=2)).scene
    with torch.no_grad():                                    # a rough field, whose kernel can be inverted
        scene.view.trainable[0].mul_(8.0)
    reference = [*places(scene, 20, ["pde"]), *places(scene, 5, ["start", "wall"])]    # p = 50 rows
    Z = places(scene, 9)
    _, J_ref = oracle(scene.view.field, reference)
    r, J = oracle(scene.view.field, Z)
    cross = (J @ J_ref.T).numpy()
    assert float(torch.linalg.cond(J_ref)) < 1e4             # of the kernel: 1e8, so that 1e-8 is left
    want = r.numpy() @ cross @ np.linalg.solve((J_ref @ J_ref.T).numpy(), cross.T @ r.numpy())
    found = kernel_of(scene, reference, jitter=0)
    E = torch.cat([found.embed(scene.view, at) for at in Z])
    assert float(E.sum(0).square().sum()) == pytest.approx(want, rel=1e-6)


def test_on_the_reference_set_itself_the_convergence_degree_is_the_quadratic_form_of_the_kernel():
    scene = training(pair()).scene
    Z = places(scene, 13)
    r, J = oracle(scene.view.field, Z)
    E = torch.cat([kernel_of(scene, Z, jitter=0).embed(scene.view, at) for at in Z])
    assert float(E.sum(0).square().sum()) == pytest.approx(float((J.T @ r).square().sum()), rel=1e-6)


def test_an_embedding_is_the_gradient_of_its_point_in_the_span_of_the_reference():
    scene = training(pair()).scene                           # more rows than parameters: everything is in the span
    Z = places(scene, 9)
    r, J = oracle(scene.view.field, Z)
    P = J.shape[1]
    E = torch.cat([kernel_of(scene, places(scene, P), jitter=1e-14).embed(scene.view, at) for at in Z])
    rows = (r[:, None] * J)[:18].view(9, 2, P).sum(1), (r[:, None] * J)[18:]  # both equations of a point together
    # but the directions whose eigenvalue is below 1e-14 of the largest
    torch.testing.assert_close(E.square().sum(1), torch.cat(rows).square().sum(1), rtol=1e-3, atol=0)


def test_a_condition_that_the_reference_lacks_has_embeddings_that_grow_with_the_square_of_its_residual():
    found = []
    for s in (1.0, 3.0):
        scene = training(pair(s, s)).scene
        reference, (at,) = places(scene, 20, ["start", "wall"]), places(scene, 20, ["pde"])
        kernel = kernel_of(scene, reference)
        found.append(Nystrom(kernel.J, kernel.W, {"pde": torch.ones(2).double()}).embed(scene.view, at))
    torch.testing.assert_close(found[1], 9 * found[0], rtol=1e-9, atol=1e-12)


def test_rows_of_unit_length_make_the_units_of_an_equation_irrelevant():
    found = []
    for scale, s in (("unit", 1.0), ("unit", 1e3), ("plain", 1.0), ("plain", 1e3)):
        scene = training(pair(1.0, s)).scene
        reference, Z = places(scene), places(scene)
        kernel = kernel_of(scene, reference, scale)
        found.append(torch.cat([kernel.embed(scene.view, at) for at in Z]).square().sum(1))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-8)  # what the jitter leaves
    assert float(found[3].max() / found[2].max()) > 1e4


def test_weighted_rows_are_those_of_the_weighted_loss():
    scene = training(pair()).scene
    scene.view.weights["start"] = 4.0
    at = places(scene)
    J, scales = gradients(scene.view, at, "weighted")
    plain, _ = gradients(scene.view, at)
    torch.testing.assert_close(J[40:60], 2 * plain[40:60])
    torch.testing.assert_close(J[:40], plain[:40])
    assert scales["start"].tolist() == [2.0] and scales["pde"].tolist() == [1.0, 1.0]


def test_few_candidates_at_a_time_have_the_embeddings_of_all_at_once(monkeypatch):
    scene = training(pair()).scene
    reference, (at, *_) = places(scene), places(scene, 50)
    kernel = kernel_of(scene, reference)
    whole = kernel.embed(scene.view, at)
    # round-off of products of other shapes, amplified by Λ^(−½) up to 1e4
    torch.testing.assert_close(kernel.embed(scene.view, at, chunk=7), whole, rtol=1e-9, atol=1e-10)
    monkeypatch.setattr(nystrom, "CHUNK_BYTES", 1)           # one point at a time
    torch.testing.assert_close(kernel_of(scene, reference).J, kernel.J, rtol=1e-12, atol=1e-13)


def test_the_floor_of_the_spectrum_follows_its_largest_eigenvalue():
    J = torch.diag(torch.tensor([1.0, 1e-3, 1e-6])).double()
    for size in (1.0, 1e6):
        W = Nystrom.of(size * J, {}).W
        assert W.abs().sum(0).count_nonzero() == 2           # λ = 1e-12 λ_max is dropped
        assert float((W.abs() * size).max()) == pytest.approx(1e3, rel=1e-2)  # 1e-6 + 1e-8 is left of 1e-6


def test_points_whose_residual_is_not_finite_have_no_embedding():
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u, x: u.xx + torch.log(x - 0.5), name="pde"), Dirichlet(u=0.0, name="wall")])
    for name in BOTH:
        scene = training(problem, name).scene
        SAMPLERS[name]()._refresh(scene)
        at = Rows(block(scene, "pde"), scene.draw(block(scene, "pde"), 64))
        E = kernel_of(scene, [at]).embed(scene.view, at)
        bad = at.points.X[:, 0] <= 0.5
        assert bool((E[bad] == 0).all()) and bool(torch.isfinite(E).all()) and bool((E[~bad] != 0).any(1).all())


# ---- choosing --------------------------------------------------------------------------------------------------


def seeded(seed=0, device="cpu"):
    return torch.Generator(device=device).manual_seed(seed)


def plain_seeds(E, n, u):
    """k-means++ written as its definition: the first uniformly, then p ∝ D², by the inverse distribution function."""
    chosen = []
    for i in range(n):
        D2 = [1.0 if i == 0 else min(float(((E[m] - E[j]) ** 2).sum()) for j in chosen) for m in range(len(E))]
        p = np.array([0.0 if m in chosen else d for m, d in enumerate(D2)])
        chosen.append(int(np.searchsorted(np.cumsum(p) / p.sum(), u[i], side="right")))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_seeds_are_those_of_a_plain_k_means_plus_plus_with_the_same_random_numbers(seed, device):
    E = torch.randn(60, 8, generator=seeded(seed), dtype=torch.float64) * torch.logspace(0, -3, 8).double()
    u = torch.rand(12, generator=seeded(seed, device), dtype=torch.float64, device=device)
    found = plus_plus(E.to(device), torch.zeros(60, dtype=torch.long, device=device), 12, seeded(seed, device))
    assert found.tolist() == plain_seeds(E.numpy(), 12, u.tolist())


@pytest.mark.parametrize("choose", [by_size, plus_plus])
def test_a_choice_repeats_nothing_keeps_every_kind_and_the_scale_of_residuals_is_irrelevant(choose, device):
    E = torch.randn(90, 5, generator=seeded(), dtype=torch.float64)
    kinds = torch.arange(3).repeat_interleave(30)
    E[30:] *= 1e-12                                          # two kinds that nothing speaks for
    E, kinds = E.to(device), kinds.to(device)
    for n in (3, 4, 20, 90):
        chosen = choose(E, kinds, n, seeded(1, device))
        assert len(chosen.unique()) == n and set(kinds[chosen].tolist()) == {0, 1, 2}
        for size in (2.0, 1e-150, 1e150):
            assert torch.equal(choose(size * E, kinds, n, seeded(1, device)), chosen)
    for nothing in (torch.zeros_like(E), torch.ones_like(E), torch.zeros_like(E).float()):
        chosen = choose(nothing, kinds, 20, seeded(2, device))
        assert len(chosen.unique()) == 20 and len(set(kinds[chosen].tolist())) == 3


def test_points_are_drawn_in_proportion_to_the_square_of_their_embedding():
    E = torch.ones(400, 2, dtype=torch.float64)
    E[:100] *= 2                                             # p of the first quarter: 4 · 100 / (4 · 100 + 300)
    kinds = torch.zeros(400, dtype=torch.long)
    drawn = torch.stack([by_size(E, kinds, 4, seeded(s)) for s in range(500)])
    # 4σ of 2000 draws, and the 0.3 % that drawing four of 400 without replacement takes away
    assert float((drawn < 100).double().mean()) == pytest.approx(4 / 7, abs=4 * math.sqrt(12 / 49 / 2000) + 0.003)


def test_seeds_do_not_repeat_each_other():
    E = torch.zeros(300, 3, dtype=torch.float64)
    E[:200, 0], E[200:299, 1], E[299, 2] = 1.0, 1.0, 1.0     # three directions, one of them rare
    kinds = torch.zeros(300, dtype=torch.long)
    for s in range(20):
        assert len({int(E[i].argmax()) for i in plus_plus(E, kinds, 3, seeded(s))}) == 3
    assert sum(299 in by_size(E, kinds, 3, seeded(s)).tolist() for s in range(20)) < 10


def test_shares_are_whole_numbers_in_proportion():
    assert apportion(10, [50, 30, 20]) == [5, 3, 2]
    assert apportion(7, [10, 10, 10]) in ([3, 2, 2], [2, 3, 2], [2, 2, 3])
    assert apportion(0, [3, 4]) == [0, 0] and apportion(9, [3, 4]) == [3, 4] and apportion(5, [0, 0]) == [0, 0]
    for total in range(12):
        parts = apportion(total, [1, 7, 3])
        assert sum(parts) == min(total, 11) and all(p <= s for p, s in zip(parts, [1, 7, 3], strict=True))


# ---- refreshes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first, begin", [("all", 60), ("new", 12)])
@pytest.mark.parametrize("name", BOTH)
def test_every_condition_keeps_a_point_and_the_total_is_never_exceeded(name, first, begin, device):
    run = training(pair(1e4, 1e4), name, every=1, first=first, device=str(device))
    scene, state, totals = run.scene, torch.get_rng_state(), []
    for step in range(7):
        if step:
            before = {b.name: scene.points(b) for b in scene.blocks}
            kept = {n: p.X.clone() for n, p in before.items()}
            assert run.sampler.update(scene, step, 0.0)
            assert all(torch.equal(before[n].X, kept[n]) for n in before)     # graphs may hold them
        counts = {b.name: len(scene.points(b)) for b in scene.blocks}
        totals.append(sum(counts.values()))
        assert min(counts.values()) >= 1 and counts == {n.removeprefix("points "): int(v) for n, v in
                                                        run.sampler.extras().items() if n.startswith("points")}
        for b in scene.blocks:
            assert bool(b.region.contains(scene.points(b).X).all())
            assert scene.points(b).X.device.type == device.type
    assert totals == [min(begin + 12 * i, 60) for i in range(7)] and sum(scene.counts.values()) == 60
    assert counts["pde"] > 45                                # it had 40, and its residual is ten thousand times larger
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", BOTH)
def test_a_refresh_takes_its_share_of_new_points_and_thins_the_old_ones_alike(name):
    run = training(pair(), name, every=1, new=0.5)
    old = {b.name: scene_rows(run.scene, b) for b in run.scene.blocks}
    run.sampler.update(run.scene, 1, 0.0)
    kept = {b.name: len(old[b.name] & scene_rows(run.scene, b)) for b in run.scene.blocks}
    assert kept == {"pde": 20, "start": 5, "wall": 5}


def scene_rows(scene, b):
    return {tuple(x) for x in scene.points(b).X.tolist()}


@pytest.mark.parametrize("name", BOTH)
def test_the_second_equation_of_a_system_has_its_say(name):
    def chosen(second):
        run = training(pair(1.0, second), name)              # the same field, pool and random numbers
        run.sampler._refresh(run.scene)
        return run.scene.points(block(run.scene, "pde")).X

    once, again, other = chosen(1.0), chosen(1.0), chosen(30.0)
    assert torch.equal(once, again) and not (once.shape == other.shape and torch.equal(once, other))


def test_points_go_where_a_step_would_change_most():
    # a source at x > 0.8 that the field knows nothing of
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u, x: u.xx + 100 * torch.sigmoid(200 * (x - 0.8)), name="pde"), Dirichlet(u=0.0, name="wall")])
    for name in BOTH:
        run = training(problem, name, points=200, new=0.5, every=1, rows="unit")
        for step in (1, 2, 3, 4):
            run.sampler.update(run.scene, step, 0.0)
        assert float((run.scene.points(block(run.scene, "pde")).X > 0.78).double().mean()) > 0.4


@pytest.mark.parametrize("name", BOTH)
def test_new_points_of_a_boundary_keep_their_normals_and_single_precision_works(name):
    problem = Problem(domain=Disk((0, 0), 2.0), unknowns="u", conditions=[
        Equation(lambda u: u.xx + u.yy - u - 1), Neumann(u=0.5, name="rim")])
    run = training(problem, name, every=1, dtype="float32")
    assert run.sampler.update(run.scene, 1, 0.0)
    rim = run.scene.points(block(run.scene, "rim"))
    assert rim.X.dtype == torch.float32 and rim.weights is None
    torch.testing.assert_close(rim.normals, rim.X / 2.0, rtol=0, atol=1e-5)


def test_points_are_replaced_when_due_or_when_the_kernel_has_drifted():
    run = training(pair(), every=0, drift_every=2)
    scene, sampler = run.scene, run.sampler
    assert not sampler.update(scene, 1, 0.0) and not sampler.update(scene, 2, 0.0)
    with torch.no_grad():
        for p in scene.view.trainable:
            p.mul_(2.0)
    assert not sampler.update(scene, 3, 0.0) and sampler.update(scene, 4, 0.0)
    assert not sampler.update(scene, 6, 0.0)                 # compared with the kernel of step 4
    run = training(pair(), every=3)
    assert [run.sampler.update(run.scene, step, 0.0) for step in range(7)] == [s in (3, 6) for s in range(7)]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("optimizer", ["adam", "gauss-newton", "lbfgs"])
def test_training_goes_on_across_refreshes(name, optimizer):
    solution = sciml.solve(pair(), **{**NET, "optimizer": optimizer, "sampler": name, f"{name}.every": 2, "steps": 6,
                                      "report": 0.0})
    assert solution.status == "ok" and solution.steps == 6
    assert solution.history[-1]["alpha"] > 0 and "points pde" in solution.history[-1]


# ---- measurements ----------------------------------------------------------------------------------------------


def buying(name="pinnacle-k", **options):
    return training(inverse(), name, **{"every": 2, "measurements": 3, "ahead": 1, **options})


@pytest.mark.parametrize("choice", ["drift", "information", "random"])
@pytest.mark.parametrize("name", BOTH)
def test_measurements_are_bought_a_few_at_a_time_within_the_budget_and_never_given_back(name, choice):
    run = buying(name, choice=choice, budget=8)
    view, seen, numbers = run.objective, set(), []
    for report in run.run():
        points, data = view.points["observations"], view.data["observations"]["u"]
        x = points.X[:, 0]
        torch.testing.assert_close(data, torch.sin(x), rtol=0, atol=1e-15)
        now = set(x.tolist())
        assert seen <= now
        seen = now
        numbers.append(len(now))
        assert report.extras["bought"] == len(now)
    assert numbers[0] == 3 and numbers[-1] == 8
    assert run.state_dict()["points"]["observations"]["X"].shape == (8, 1)


def test_everything_is_bought_in_the_end_where_there_is_no_budget():
    run = buying(every=1, measurements=7)
    for step in (1, 2, 3):
        run.sampler.update(run.scene, step, 0.0)
    assert len(run.objective.points["observations"]) == 20 and len(run.objective.data["observations"]["u"]) == 20


def test_two_conditions_with_data_have_a_measurement_each_from_the_beginning():
    x = torch.linspace(0.1, 0.9, 6)
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: u.xx), Observations(at=dict(x=x), u=x, name="many"),
        Observations(at=dict(x=x[:1]), u=x[:1], name="one")])
    run = training(problem, measurements=1, every=1)
    assert {n: len(run.objective.points[n]) for n in ("many", "one")} == {"many": 1, "one": 1}
    run.sampler.update(run.scene, 1, 0.0)
    assert len(run.objective.points["many"]) == 2


@pytest.mark.parametrize("choice", ["drift", "information"])
@pytest.mark.parametrize("name", BOTH)
def test_values_that_are_not_bought_yet_have_no_influence(name, choice):
    def run(spoil):
        problem = inverse()
        run = Training(problem, make_recipe({}, {**NET, "sampler": name, "steps": 3, f"{name}.every": 2,
                                                 f"{name}.measurements": 3, f"{name}.ahead": 1,
                                                 f"{name}.choice": choice}))
        given = next(b for b in run.objective.blocks if b.data).data["u"]
        if spoil:
            free = torch.ones(20, dtype=torch.bool)
            free[run.sampler.purchases.bought["observations"]] = False
            given[free] = math.nan
        for step in range(3):
            run._redraw()
            if step < 2:
                run._advance()
        return run.sampler.purchases.bought["observations"]

    assert torch.equal(run(False), run(True))


def test_what_stands_for_a_residual_is_the_change_of_the_field_since_the_snapshot():
    run = buying()
    scene, purchases = run.scene, run.sampler.purchases
    purchases.watch(scene)
    before = [p.detach().clone() for p in scene.view.trainable]
    (index, at), = purchases.candidates(scene)
    was = scene.view.field(at.points.X).detach()
    assert len(index) == 17 and at.data["u"].count_nonzero() == 0
    with torch.no_grad():
        for p in scene.view.trainable:
            p.add_(0.1)
    now = [p.detach().clone() for p in scene.view.trainable]
    r = scene.view.rows(at.block, at.points, at.data).detach()
    got = purchases._change(scene, at)(slice(0, 17), r)
    torch.testing.assert_close(got, scene.view.field(at.points.X).detach() - was, rtol=0, atol=1e-14)
    assert all(torch.equal(p, q) for p, q in zip(scene.view.trainable, now, strict=True))
    with pytest.raises(ZeroDivisionError), at_parameters(scene, torch.cat([p.reshape(-1) for p in before])):
        assert all(torch.equal(p, q) for p, q in zip(scene.view.trainable, before, strict=True))
        raise ZeroDivisionError
    assert all(torch.equal(p, q) for p, q in zip(scene.view.trainable, now, strict=True))


def test_measurements_are_bought_where_the_field_has_moved_most():
    run = buying("pinnacle-s", measurements=2, budget=4)
    scene, purchases = run.scene, run.sampler.purchases
    counts = torch.zeros(20)
    for seed in range(60):
        scene.generator.manual_seed(seed)
        purchases.bought = {"observations": torch.tensor([0, 1])}
        purchases.watch(scene)
        purchases.before = torch.cat([p.detach().reshape(-1) for p in scene.view.trainable])
        purchases._change = lambda scene, at: (lambda part, r: (at.points.X[part] > 2.5).to(r))
        purchases.buy(scene, run.sampler._kernel(scene), run.sampler.choose)
        counts[purchases.bought["observations"]] += 1
    assert counts[2:16].sum() < 6 and counts[16:].sum() > 114             # x > 2.5: the last four of twenty


def test_a_run_folder_holds_the_measurements_that_were_bought(tmp_path):
    options = {**NET, "sampler": "pinnacle-k", "pinnacle-k.every": 2, "pinnacle-k.measurements": 3, "steps": 5}
    solution = sciml.solve(inverse(), out=tmp_path, **options)
    loaded = sciml.Solution.load(tmp_path, problem=inverse())
    assert len(loaded.objective.data["observations"]["u"]) == len(loaded.objective.points["observations"]) == 9
    want, found = solution.objective.losses(), loaded.objective.losses()
    assert all(torch.equal(want[n], found[n]) for n in want)


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, sentence", [
    (dict(new=0), r"pinnacle-s.new=0 must be in \(0, 1\]"), (dict(new=1.5), "new=1.5"),
    (dict(pool=1), "pool=1 must be"), (dict(reference=0), "reference=0 must be at least 1"),
    (dict(drift_every=-1), "drift_every=-1"),
    (dict(ahead=0), "ahead=0"), (dict(measurements=-1), "measurements=-1"), (dict(budget=-1), "budget=-1"),
    (dict(rows="unity"), "rows=unity must be one of plain, unit, weighted"), (dict(first="none"), "first=none"),
    (dict(choice="best"), "choice=best must be one of drift, information, random"),
    (dict(every=0, measurements=3), "every=0 must be positive: measurements are bought at refreshes")])
def test_options_that_make_no_choice_are_refused(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        SAMPLERS["pinnacle-s"](**options)


def test_problems_without_anything_to_choose_or_to_buy_are_refused():
    x = torch.linspace(0, 1, 5)
    given = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Observations(at=dict(x=x), u=x)])
    with pytest.raises(ProblemError, match="sampler=pinnacle-s has nothing to choose"):
        training(given)
    alone = training(given, measurements=2, every=1, drift_every=1)
    numbers = [len(alone.objective.points["observations"])]
    for step in (1, 2, 3, 4):
        alone.sampler.update(alone.scene, step, 0.0)
        numbers.append(len(alone.objective.points["observations"]))
    assert numbers == [2, 4, 5, 5, 5]
    with pytest.raises(ProblemError, match="pinnacle-k.measurements=3 needs a condition with data"):
        training(pair(), "pinnacle-k", measurements=3)
    both = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: u.xx), Observations(at=dict(x=x), u=x, name="a"), Observations(at=dict(x=x), u=x, name="b")])
    with pytest.raises(ProblemError, match="budget=1 must be at least 2, one measurement of every condition"):
        training(both, measurements=1, budget=1)


def test_a_reference_set_that_does_not_fit_is_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(pinnacle, "free_memory", lambda device: 2**20)
    with pytest.raises(ProblemError, match=r"pinnacle-s.reference=256 needs .* MiB for the gradients of its rows by "
                                           r"[\d,]+ parameters, and cpu has 1 MiB free; make it smaller, or take"):
        training(pair())
    monkeypatch.setattr(pinnacle, "free_memory", lambda device: None)
    training(pair())
