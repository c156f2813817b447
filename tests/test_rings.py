"""Gaussians on circles and spheres around what is cut out of a domain."""

from math import pi

import pytest
import torch

import sciml
from sciml import Ball, Box, Dirichlet, Disk, Equation, Initial, Problem, ProblemError, laplacian
from sciml.fields import gaussians_of
from sciml.fields.rings import INSIDE, rings
from sciml.objective import build_objective, make_recipe
from sciml.objective.gaussian import round_holes


@pytest.mark.parametrize(("D", "count"), [(2, 16), (3, 12)])
def test_rings_grow_as_they_leave_the_ball_until_the_lattice_is_as_wide(D, count):
    centre = torch.arange(1.0, D + 1, dtype=torch.float64)
    X, s = rings(centre, 0.1, count, 1.5, 0.2)
    r, step = (X - centre).norm(dim=1), 2 * pi / count
    assert torch.allclose(s, 1.5 * step * r)
    radii = torch.unique(torch.round(r * 1e9)) / 1e9
    assert torch.allclose(radii[1:] / radii[:-1], torch.full_like(radii[1:], step).exp(), rtol=1e-6)
    assert float(radii[INSIDE]) == pytest.approx(0.1)
    assert step * float(radii[-2]) < 0.2 <= step * float(radii[-1]) * 1.001
    for radius in radii:
        on = X[(r - radius).abs() < 1e-6]
        gaps = torch.cdist(on, on).fill_diagonal_(torch.inf).amin(1)
        assert bool((gaps > 0.6 * step * radius).all()) and bool((gaps < 1.2 * step * radius).all())
    assert not len(rings(centre, 0.1, count, 1.5, 0.03)[0])                 # a lattice that is finer needs none


def test_holes_are_found_wherever_a_domain_is_cut():
    square, holes = Box(x=(-1, 1), y=(-1, 1)), Disk(center=(0.3, 0), radius=0.1) | Disk(center=(-0.3, 0), radius=0.2)
    assert [h.radius for h in round_holes((square - holes) * Box(t=(0, 1)))] == [0.1, 0.2]
    assert [h.radius for h in round_holes(square - holes - Disk(radius=0.05))] == [0.1, 0.2, 0.05]
    assert round_holes(square) == [] and round_holes(Disk() | square) == []


def field_of(problem, **options):
    recipe = make_recipe({}, {"model": dict(name="gaussian", **options), "constraints": "soft"})
    return gaussians_of(build_objective(problem, recipe)[0].field)


def test_rings_stand_in_for_the_lattice_inside_of_a_hole_and_run_along_other_coordinates():
    domain = (Box(x=(-1, 1), y=(-1, 1)) - Disk(center=(0.2, 0.0), radius=0.3)) * Box(t=(0, 2))
    problem = Problem(domain=domain, unknowns="u", conditions=[
        Equation(lambda u: u.t - laplacian(u)), Initial(u=0.0), Dirichlet(u=1.0, on="disk")])
    bare, own = field_of(problem, centres=8, overlap=1.2), field_of(problem, centres=8, overlap=1.2, rings=12)
    scale = own.log_scales.exp()
    wide = bare.log_scales.exp()[0]
    from_rings = (scale[:, 0] - wide[0]).abs() > 1e-12
    assert torch.allclose(scale[:, 0], scale[:, 1]) and torch.allclose(scale[:, 2], wide[2].expand(len(scale)))
    assert int(from_rings.sum()) % (12 * 8) == 0 and bool(from_rings.any())
    r = (own.centres[:, :2] - torch.tensor([0.2, 0.0])).norm(dim=1)
    assert not bool(((r < 0.2) & ~from_rings).any()) and bool(((r < 0.2) & from_rings).any())


def test_four_holes_are_resolved_as_no_lattice_of_as_many_does():
    options = {"model": "gaussian", "seed": 0, "model.ghosts": 3}
    ringed = sciml.solve("poisson_holes", **options, set={"model.centres": 18, "model.overlap": 1.5, "model.rings": 16})
    lattice = sciml.solve("poisson_holes", **options, set={"model.centres": 28, "model.overlap": 1.3})
    count = [sum(p.numel() for p in s.field.parameters() if p.requires_grad) for s in (ringed, lattice)]
    assert count[0] < count[1] and ringed.relative_l2()["u"] < 2e-4 and lattice.relative_l2()["u"] > 1e-3


def test_a_ball_in_a_box_is_ringed_by_spheres():
    exact = lambda x, y, z: 0.2 / torch.sqrt(x**2 + y**2 + z**2)
    problem = Problem(domain=Box(x=(-1, 1), y=(-1, 1), z=(-1, 1)) - Ball(radius=0.2), unknowns="u",
                      conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=exact)], reference=dict(u=exact))
    options = {"model": "gaussian", "seed": 0, "model.centres": 7, "model.ghosts": 1, "model.overlap": 1.5,
               "constraints": "soft"}
    plain, ringed = (sciml.solve(problem, **options, set={"model.rings": k}).relative_l2()["u"] for k in (0, 12))
    assert ringed < 0.1 * plain


@pytest.mark.parametrize(("rings_", "sentence"), [(16, "has none"), (3, "from 6 to 200")])
def test_rings_without_holes_or_with_too_few_gaussians_are_refused(rings_, sentence):
    problem = Problem(domain=Disk(), unknowns="u", conditions=[Equation(lambda u: laplacian(u) - 1), Dirichlet(u=0.0)])
    with pytest.raises(ProblemError, match=sentence):
        sciml.solve(problem, model="gaussian", set={"model.rings": rings_})


PLATE = Problem(domain=Box(x=(-1, 1), y=(-1, 1)) - Disk(radius=0.1), unknowns="u", conditions=[
    Equation(lambda u: laplacian(u)), Dirichlet(u=lambda x, y: 0.5 * torch.log(x**2 + y**2))],
    reference=dict(u=lambda x, y: 0.5 * torch.log(x**2 + y**2)))
RINGED = {"model": "gaussian", "model.centres": 16, "model.rings": 12, "constraints": "soft", "seed": 0}


def test_rings_work_in_single_precision():
    assert sciml.solve(PLATE, **RINGED, dtype="float32", steps=20).relative_l2()["u"] < 1e-2


def trained(problem, **options):
    from sciml.training import Training
    return Training(problem, make_recipe({}, {**RINGED, **options}))


@pytest.mark.parametrize("rule", ["hammersley", "sobol", "lhs"])
def test_redrawn_points_are_those_of_the_rule_with_others_round_the_holes(rule):
    training = trained(PLATE, sampler=rule, **{f"{rule}.every": 1})
    own, first = training.scene.counts["equation"], len(training.objective.points["equation"])
    assert first > own
    for step in (1, 2):
        training.step = step
        assert training._resample()
        points = training.objective.points["equation"].X
        cells = ((points[:own] + 1) * 3).long().clamp(0, 5)
        assert len(torch.unique(cells[:, 0] * 6 + cells[:, 1])) == 36 and len(points) > own
        assert bool((points[own:].norm(dim=1) < 0.9).all())
    training.step = 2                                                      # nothing is due: all stay
    kept = training.objective.points["equation"]
    training.sampler.every = 10
    assert not training._resample() and training.objective.points["equation"] is kept


def test_rings_in_intervals_of_time_have_their_points_too():
    moving = Problem(domain=PLATE.domain * Box(t=(0, 1)), unknowns="u", conditions=[
        Equation(lambda u: u.t - laplacian(u)), Initial(u=0.0), Dirichlet(u=1.0)])
    training = trained(moving, **{"model.slabs": 2, "model.centres": (8, 8, 6)})
    for name in ("equation", "dirichlet", "initial"):
        assert len(training.objective.points[name]) > training.scene.counts[name]


def test_the_first_points_of_every_box_are_chosen(generator, monkeypatch):
    from sciml.refine.places import _first_of_each
    X = torch.rand(300, 2, generator=generator, dtype=torch.float64)
    mu, half = X[:40] + 0.01, torch.full((40, 2), 0.05, dtype=torch.float64)
    want = set()
    for m, h in zip(mu, half, strict=True):
        want |= set(torch.nonzero(((X - m).abs() <= h).all(1)).flatten()[:2].tolist())
    for candidates in (20, 2**19):
        monkeypatch.setattr("sciml.calculus.pairs.CANDIDATES", candidates)
        assert set(_first_of_each(X, mu, half, 2).tolist()) == want
