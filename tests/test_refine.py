"""Refinement: Gaussians that split, the rows that come with them, growth that survives a resume, and refusals."""

from math import pi

import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Disk, Equation, Periodic, Polygon, Problem, ProblemError, laplacian
from sciml.fields import GaussianField, gaussians_of
from sciml.objective import make_recipe
from sciml.refine import Splat
from sciml.refine.dyadic import Dyadic
from sciml.refine.estimate import gains
from sciml.refine.places import within
from sciml.training import Training

A = 200.0                                                   # of the bump: 0.07 wide
SMALL = {"model": "gaussian", "model.centres": 12, "model.ghosts": 3, "model.overlap": 1.2, "constraints": "soft",
         "refine": "splat", "refine.rounds": 3}


def bump(x, y):
    return torch.exp(-A * ((x - 0.3) ** 2 + (y + 0.2) ** 2)) + x * y


def poisson(domain=None, **changes):
    def equation(u, x, y):
        q = A * ((x - 0.3) ** 2 + (y + 0.2) ** 2)
        return laplacian(u) - 4 * A * (q - 1) * torch.exp(-q)

    given = dict(domain=domain or Box(x=(-1, 1), y=(-1, 1)), unknowns="u", reference=dict(u=bump),
                 conditions=[Equation(equation), Dirichlet(u=bump)])
    return Problem(**given | changes)


def split(options):
    return {"set": {k: v for k, v in options.items() if "." in k}, **{k: v for k, v in options.items() if "." not in k}}


def solve(problem, **more):
    return sciml.solve(problem, **split({**SMALL, **more}))


def training(problem, **more):
    return Training(problem, make_recipe({}, {**SMALL, **more}))


def finish(run):
    """Solves on the present rows."""
    while not run.driver.done():
        run.advance(1)


def test_adaptive_gaussians_beat_a_lattice_of_as_many():
    adaptive = solve(poisson(), **{"refine.rounds": 5})
    count = adaptive.result()["parameters"]
    n = int(count**0.5) + 1
    even = solve(poisson(), **{"refine.rounds": 0, "model.centres": n})
    plain = solve(poisson(), **{"refine": "none", "model.centres": n})
    best = min(even.relative_l2()["u"], plain.relative_l2()["u"])
    assert adaptive.relative_l2()["u"] < 0.1 * best and even.result()["parameters"] >= count


def test_the_residual_on_given_rows_never_rises_when_the_field_grows():
    run = training(poisson(), **{"refine.prune": 0.0})
    finish(run)
    field = gaussians_of(run.objective.field)
    values = run.objective.field(torch.zeros(1, 2, dtype=torch.float64)).detach()
    rows = {n: p for n, p in run.objective.points.items()}
    weights = dict(run.objective.point_weights)
    for _ in range(3):
        run.objective.points, run.objective.point_weights = dict(rows), dict(weights)
        before = float(run.objective.residual().square().sum())
        assert not run.finished()                               # it has grown
        run.objective.points, run.objective.point_weights = dict(rows), dict(weights)
        grown = float(run.objective.residual().square().sum())
        assert grown == pytest.approx(before, rel=1e-9)          # children add nothing
        finish(run)
        # the ridge of 1e-14 moves nothing that the rows see
        assert float(run.objective.residual().square().sum()) <= before * (1 + 1e-6)
    assert field.count > 100 and values.shape == (1, 1)


def test_rows_keep_up_with_unknowns_and_the_cap_is_kept():
    run = training(poisson(), **{"refine.rounds": 9, "refine.most": 200})
    while not run.finished():
        run.advance(1)
    count = gaussians_of(run.objective.field).count
    rows = sum(len(p) for p in run.objective.points.values())
    assert count == 200 and rows >= 2.5 * count
    assert run.report().extras["gaussians"] == 200


def test_growth_stops_where_memory_ends(monkeypatch):
    monkeypatch.setattr("sciml.refine.splat.free_memory", lambda device: 0)
    assert solve(poisson()).result()["parameters"] == 144


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_run_that_grows_resumes_bit_by_bit(k, tmp_path):
    whole = solve(poisson())
    first = solve(poisson(), out=tmp_path, stop=lambda: "asked to stop" if training_step(tmp_path, k) else "")
    assert first.steps <= whole.steps
    resumed = solve(poisson(), out=tmp_path, resume=True)
    assert resumed.result()["parameters"] == whole.result()["parameters"] > 144
    assert resumed.relative_l2() == whole.relative_l2()
    own, other = gaussians_of(whole.field), gaussians_of(resumed.field)
    assert torch.equal(own.amplitudes, other.amplitudes) and torch.equal(own.centres, other.centres)
    assert sciml.Solution.load(tmp_path, problem=poisson()).relative_l2() == whole.relative_l2()


CALLS: dict = {}


def training_step(path, k):
    """Whether a run in a folder has taken k steps: `stop` is asked before each of them."""
    CALLS[path] = CALLS.get(path, 0) + 1
    return CALLS[path] > k


def test_the_gain_of_a_candidate_is_the_amplitude_that_it_would_get_alone(generator):
    run = training(poisson())
    finish(run)
    own = gaussians_of(run.objective.field)
    block = run.objective.blocks[0]
    centre, s = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    own.grow(centre, s)
    points = run.scene.draw(block, 300)
    found = gains(run.objective, own, 1, [(block, points)])
    r, J = run.objective.jacobian(block, points)
    w = 1 / J.abs().amax((1, 2))
    a, b = w * J[:, 0, -1], w * r[:, 0]
    want = float(torch.linalg.lstsq(a[:, None], -b[:, None]).solution) * (0.1 * 0.2) ** 0.5
    assert float(found) == pytest.approx(abs(want), rel=1e-8)


def test_nested_lattices_repeat_nothing():
    lattice = Dyadic(torch.zeros(2, dtype=torch.float64), torch.tensor([0.5, 0.25], dtype=torch.float64), 1.2, {0: 2.0})
    grid = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    coarse = torch.cat([torch.zeros_like(grid), grid], dim=1)
    mu, h = lattice.centres(coarse), lattice.spacings(coarse[:, :2])
    assert torch.equal(lattice.cells_of(mu, 1.2 * h), coarse)
    X = torch.tensor([[0.6, 0.4]], dtype=torch.float64)
    near = lattice.nearest(X, torch.ones(1, 2, dtype=torch.long))
    fresh = lattice.new(near, coarse)
    assert len(near) == 9 and len(fresh) == 7                  # (2, 2) and (2, 4) stand on coarser ones
    assert float((lattice.centres(fresh) - X).abs().max()) <= 0.5
    wrapped = lattice.nearest(torch.tensor([[1.99, 0.0]], dtype=torch.float64), torch.zeros(1, 2, dtype=torch.long))
    assert set(wrapped[:, 2].tolist()) == {0, 1, 3}            # places modulo the period


@pytest.mark.parametrize("domain", [
    Polygon([(0, 0), (0, -1), (-1, -1), (-1, 1), (1, 1), (1, 0)]), Disk((0, 0), 1.0) - Disk((0.2, 0), 0.3)])
def test_points_near_a_place_lie_in_the_domain_and_on_its_boundary(domain, generator):
    corner = domain.region("boundary").sample(1, generator=generator).X
    half = torch.full((1, 2), 1e-4, dtype=torch.float64)
    inside = within(domain, corner, half, 40, generator)
    edge = within(domain.region("boundary"), corner, half, 40, generator)
    assert 0 < len(inside) <= 40 and bool(domain.contains(inside.X).all())
    assert 20 <= len(edge) <= 40 and edge.normals is not None
    assert float(domain.distance(edge.X).abs().max()) < 1e-9
    for found in (inside, edge):
        assert float((found.X - corner).abs().max()) <= 1e-4 * (1 + 1e-9)


def test_boxes_of_all_sizes_get_points_of_a_boundary(generator):
    domain = Polygon([(0, 0), (0, -1), (-1, -1), (-1, 1), (1, 1), (1, 0)])
    places = domain.region("boundary").sample(30, generator=generator).X
    halves = torch.logspace(-6, -1, 30, dtype=torch.float64)[:, None].expand(30, 2)
    found = within(domain.region("boundary"), places, halves, 20, generator)
    inside = ((found.X[:, None] - places).abs() <= halves * (1 + 1e-9)).all(2)
    assert bool(inside.any(1).all()) and int(inside.sum(0).min()) >= 10         # each box, and nothing beside them


def test_periodic_problems_grow_too():
    wave = lambda x, y: torch.exp(20 * (torch.cos(pi * x) - 1))
    problem = Problem(domain=Box(x=(-1, 1), y=(-1, 1)), unknowns="u", reference=dict(u=wave), conditions=[
        Equation(lambda u, x, y: u - wave(x, y)), Periodic(on="x")])
    coarse = solve(problem, **{"refine.rounds": 0, "model.centres": (8, 10), "model.ghosts": (0, 3)})
    fine = solve(problem, **{"refine.rounds": 3, "model.centres": (8, 10), "model.ghosts": (0, 3)})
    assert fine.relative_l2()["u"] < 0.1 * coarse.relative_l2()["u"]


def test_a_round_that_makes_it_worse_is_taken_back():
    run = training(poisson(), **{"refine.worse": 1.0})
    finish(run)
    assert not run.finished()
    finish(run)
    own = gaussians_of(run.objective.field)
    with torch.no_grad():
        own.amplitudes[:, -1] += 1e3                            # as if rounding had ruined it
    assert not run.finished() and own.count == 144 and run.refiner.ended
    finish(run)
    assert run.finished()


def test_gaussians_that_do_nothing_are_left_out():
    far = torch.tensor([[7.0, 7.0]], dtype=torch.float64)
    run = training(poisson(), **{"refine.rounds": 1})
    own = gaussians_of(run.objective.field)
    own.grow(far, torch.full((1, 2), 0.1, dtype=torch.float64))
    run.refiner.begin(run.scene, run.objective.field)
    run.driver = run._driver()
    finish(run)
    assert not run.finished() and run.report().extras["pruned"] >= 1
    assert not bool((own.centres.detach() == 7.0).any())


def test_a_field_takes_the_state_of_a_larger_one(generator):
    small, large = (GaussianField(torch.rand(n, 2, generator=generator, dtype=torch.float64), torch.full((n,), 0.2), 1,
                                  "full", "shapes") for n in (3, 8))
    small.load_state_dict(large.state_dict())
    X = torch.rand(5, 2, generator=generator, dtype=torch.float64)
    assert small.count == 8 and torch.equal(small(X), large(X)) and small.centres.requires_grad


@pytest.mark.parametrize(("options", "sentence"), [
    ({"model": "mlp", "model.centres": None, "model.ghosts": None, "model.overlap": None}, "splits Gaussians"),
    ({"refine": "split"}, "did you mean"),
    ({"refine.round": 3}, "did you mean"),
    ({"refine.rounds": -1}, "refine.rounds=-1 must be 0 or a number of rounds"),
    ({"refine.rows": 1}, "2.5 rows to an unknown"),
    ({"sampler": "rad", "rad.every": 5}, "leave sampler.every out"),
    ({"balance": "ntk"}, "leave balance out"),
    ({"precondition": "lu"}, "leave one of them out"),
    ({"compile": True}, "leave compile out"),
    ({"least-squares.ridge": 1.0}, "must lie between 0 and 1e-08"),
])
def test_senseless_refinements_are_refused(options, sentence):
    with pytest.raises(ProblemError) as found:
        solve(poisson(), **options)
    assert sentence in str(found.value)


def test_a_refiner_chosen_anew_does_not_meet_the_options_of_another():
    metric = dict(model="gaussian", refine=dict(name="metric", count=640))
    options = lambda defaults, **given: dict(make_recipe(defaults, given).options.get("refine", {}))
    assert options(metric, refine="splat") == {} and options(metric, refine="metric") == {"count": 640}
    assert options(metric, refine=dict(name="splat", rounds=2)) == {"rounds": 2}
    assert options(metric, refine="none") == {"count": 640}                      # kept aside
    assert options({"model": "gaussian", "refine.rounds": 9}, refine="splat") == {"rounds": 9}


def test_options_of_the_refiner_have_defaults():
    assert Splat().rounds == 6 and not Splat().ended


def test_a_run_of_gaussians_has_a_figure_of_their_ellipses(tmp_path):
    from sciml.plot import gaussians_figure, read_run
    solution = solve(poisson(), out=tmp_path, **{"refine.rounds": 1})
    run = read_run(tmp_path)
    own = gaussians_of(solution.field)
    assert run.gaussians["centres"].shape == (own.count, 2) and run.gaussians["amplitudes"].shape == (own.count, 1)
    drawn = gaussians_figure(run).axes[0].collections
    widths = next(c for c in drawn if hasattr(c, "_widths"))._widths          # half axes, from those given
    assert len(widths) == own.count
    line = solve(Problem(domain=sciml.Interval(x=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u, x: u - x)]), out=tmp_path / "line", **{"refine": "none"})
    assert line.status == "ok" and gaussians_figure(read_run(tmp_path / "line")) is None
