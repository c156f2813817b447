"""Gaussians laid out by a metric: the metric of known functions, even spreading, and fields that move to a front."""

from math import pi

import numpy as np
import pytest
import torch

import sciml
from sciml import Box, Dirichlet, Equation, Initial, Periodic, Problem, ProblemError
from sciml.fields import GaussianField, gaussians_of
from sciml.objective import make_recipe
from sciml.refine.cloud import across, chosen, close, contracted, graded, nearest, spread, squares, tabulated
from sciml.training import Training

NU = 1e-3
OPTIONS = {"model": "gaussian", "model.centres": 8, "model.overlap": 1.3, "model.ghosts": 2, "model.covariance": "full",
           "constraints": "soft", "refine": "metric", "refine.rounds": 1, "refine.count": 196, "refine.sweeps": 5,
           "seed": 0}


def layer(x, t):
    return 0.5 * torch.erfc((x - 0.25 - 0.5 * t) / (4 * NU * (t + 0.5)) ** 0.5)


def moving(**changes):
    given = dict(domain=Box(x=(0, 1), t=(0, 1)), unknowns="u", reference=dict(u=layer),
                 conditions=[Equation(lambda u: u.t + 0.5 * u.x - NU * u.xx), Initial(u=lambda x: layer(x, 0 * x)),
                             Dirichlet(u=layer, on=["x-", "x+"])])
    return Problem(**given | changes)


def training(**more):
    return Training(moving(), make_recipe({}, {**OPTIONS, **more}))


def finish(run):
    while not run.finished():
        run.advance(1)
    return run


def test_contracted_derivatives_are_those_of_autograd():
    field = GaussianField(torch.tensor([[0.2, -0.1]], dtype=torch.float64),
                          torch.tensor([[0.5, 0.3]], dtype=torch.float64))
    field.amplitudes.data.fill_(1.0)
    X = torch.tensor([[0.4, 0.3]], dtype=torch.float64)
    f = lambda x: torch.exp(-0.5 * (((x - torch.tensor([0.2, -0.1])) / torch.tensor([0.5, 0.3])) ** 2).sum())
    T = torch.func.jacfwd(torch.func.jacfwd(torch.func.jacfwd(f)))(X[0]).detach().reshape(2, -1)
    want = T @ T.T / field(X).detach() ** 2                     # in units of the field's mean square
    assert torch.allclose(contracted(field, X, 3)[0], want, rtol=1e-6)        # f holds μ and s in float32


def test_the_metric_of_a_wave_looks_along_it_and_has_its_length():
    k, X = torch.tensor([3.0, 4.0], dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    S = 0.5 * 5.0 ** 6 * torch.outer(k, k).expand(4, 2, 2)      # ⟨|∂⁴ sin k·x|²⟩, |k| = 5
    M = tabulated(X, S, 4, 4)(X)
    # (½)^¼ |k|² (k kᵀ/|k|²)
    assert torch.allclose(M, 0.5**0.25 * torch.outer(k, k).expand(4, 2, 2), atol=1e-6)


def test_the_metric_of_a_known_function_is_that_of_its_exact_hessian():
    f = lambda x, y: torch.exp(-50 * (x - y) ** 2)                            # a ridge along (1, 1)
    line = torch.linspace(-0.2, 1.2, 29, dtype=torch.float64)                 # spacing 0.05, ridge 0.07 wide
    mu = torch.cartesian_prod(line, line)
    own = GaussianField(mu, torch.full((len(mu), 2), 0.06, dtype=torch.float64))
    X = torch.cartesian_prod(*[torch.linspace(0, 1, 41, dtype=torch.float64)] * 2)
    a = torch.linalg.lstsq(torch.cat([own.features_at(X), 1e-7 * torch.eye(len(mu), dtype=torch.float64)]),
                           torch.cat([f(*X.T), torch.zeros(len(mu), dtype=torch.float64)])).solution
    own.amplitudes.data.copy_(a[None])
    Y = torch.cartesian_prod(*[torch.linspace(0.1, 0.9, 30, dtype=torch.float64)] * 2)
    H = torch.vmap(torch.func.hessian(lambda z: f(z[0], z[1])))(Y)
    want = H @ H / f(*Y.T).square().mean()
    # the fit is good to 1e-4 in value, and its second derivatives to a few per cent of the largest
    assert float((contracted(own, Y, 2) - want).abs().max()) < 0.05 * float(want.abs().max())


def test_spacing_grows_by_no_more_than_is_allowed(generator):
    X = torch.rand(300, 2, generator=generator, dtype=torch.float64) * 10
    fine, coarse = (torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ((100.0, 4.0), (0.01, 0.01)))
    G = graded(X, coarse.expand(300, 2, 2), torch.zeros(1, 2, dtype=torch.float64), fine[None], 0.3)
    d = (X.square() * torch.tensor([100.0, 4.0])).sum(1).sqrt()
    # √det is 20/(1 + βd)² from the source, and never less than that of the coarse metric
    assert torch.allclose(torch.linalg.det(G).sqrt(), (20 / (1 + 0.3 * d) ** 2).clamp(min=0.01), rtol=1e-9)
    assert torch.equal(torch.linalg.det(G) > 1.1e-4, 20 / (1 + 0.3 * d) ** 2 > 0.0105)


def test_a_layout_has_the_ellipses_of_a_known_metric():
    run = finish(training(**{"refine.rounds": 0}))
    ridge = torch.tensor([[26.0, -24.0], [-24.0, 26.0]], dtype=torch.float64)          # eigenvalues 50 and 2
    X, volumes, inside = run.refiner._samples(run.scene, gaussians_of(run.objective.field))
    measure, kept = run.refiner._measure(lambda Y: ridge.expand(len(Y), 2, 2), X, volumes, inside,
                                         run.scene.generator)
    assert bool(kept[inside].all()) and not bool(kept.all())
    total = float((run.refiner._beyond(measure(X)) * volumes * kept).sum())
    assert total == pytest.approx(196 - 64, rel=0.1)                    # volumes are those of random samples
    values, R = torch.linalg.eigh(measure(X[inside]))
    even = float(run.refiner.spacing[0]) ** -2                          # λM + Id/h², plus Id/h² once more by growth
    assert torch.allclose(R[:, :, 1].abs(), torch.full((1, 2), 0.5**0.5, dtype=torch.float64), atol=1e-6)
    assert torch.allclose((values[:, 1] - 2 * even) / (values[:, 0] - 2 * even), torch.tensor(25.0).double(), rtol=1e-6)


def test_rows_lie_evenly_and_on_what_they_are_of(generator):
    angle = torch.rand(4000, generator=generator, dtype=torch.float64) * 2 * pi
    X = torch.stack([angle.cos(), angle.sin()], 1)
    index = chosen(X, lambda Y: torch.eye(2, dtype=torch.float64).expand(len(Y), 2, 2), 40, 20, generator)
    gaps = angle[index].sort().values.diff()
    # 40 on a circle are 2π/40 apart; random ones would have gaps of a tenth of it and of four times as much
    assert float(gaps.min()) > 0.5 * 2 * pi / 40 and float(gaps.max()) < 2 * 2 * pi / 40


def test_nearest_centres_are_those_of_every_distance_in_turn(generator):
    X, C = (torch.rand(n, 2, generator=generator, dtype=torch.float64) + 50 for n in (200, 20))
    A = torch.rand(20, 2, 2, generator=generator, dtype=torch.float64)
    M = A @ A.mT + torch.eye(2, dtype=torch.float64)
    y = X[:, None] - C
    want = torch.einsum("nmi,mij,nmj->nm", y, M, y).argmin(1)
    assert torch.equal(nearest(X, C, M), want)
    exact = torch.einsum("nmi,mij,nmj->nm", y, M, y)
    assert torch.allclose(squares(X, C, M), exact, atol=1e-12)


def test_points_are_spread_as_thin_as_their_metric(generator):
    M = torch.diag(torch.tensor([1.0, 16.0], dtype=torch.float64))
    X = torch.rand(4000, 2, generator=generator, dtype=torch.float64)
    C = spread(X, lambda Y: M.expand(len(Y), 2, 2), 100, 20, generator)
    y = (C[:, None] - C) * torch.tensor([1.0, 4.0])
    gaps = (y.norm(dim=2) + 1e9 * torch.eye(100)).amin(1)
    # unit cells of 100 points in an area of 4 are 0.2 wide; random points would have gaps of 0.1 on average, some of 0
    assert 0.16 < float(gaps.mean()) < 0.25 and float(gaps.min()) > 0.1


def test_points_near_a_domain_are_measured_by_the_metric():
    X = torch.tensor([[0.0, 0.3], [0.3, 0.0]], dtype=torch.float64)
    M = torch.diag(torch.tensor([1.0, 100.0], dtype=torch.float64))
    assert close(X, torch.zeros(1, 2, dtype=torch.float64), lambda Y: M.expand(len(Y), 2, 2), 1.0).tolist() == \
        [False, True]


def test_density_in_a_face_is_that_of_the_metric_in_it():
    M = torch.tensor([[[5.0, 2.0], [2.0, 3.0]]], dtype=torch.float64)
    for angle in np.linspace(0, pi, 5):
        n, t = (torch.tensor([[np.cos(a), np.sin(a)]]) for a in (angle, angle + pi / 2))
        assert float(across(M, n)) == pytest.approx(float((t @ M[0] @ t.T).sqrt()), rel=1e-12)
    assert float(across(M, None)) == pytest.approx(11**0.25)


def test_as_many_gaussians_that_move_to_a_front_beat_their_lattice():
    even = sciml.solve(moving(), **split({k: v for k, v in {**OPTIONS, "model.centres": 14}.items()
                                          if not k.startswith("refine")}))
    moved = sciml.solve(moving(), **split({**OPTIONS, "refine.rounds": 3}))
    assert moved.result()["parameters"] == even.result()["parameters"] == 196
    assert moved.relative_l2()["u"] < 0.2 * even.relative_l2()["u"]


def split(options):
    return {"set": {k: v for k, v in options.items() if "." in k}, **{k: v for k, v in options.items() if "." not in k}}


def test_gaussians_stretch_along_the_front():
    run = finish(training())
    own, front = gaussians_of(run.objective.field), torch.tensor([0.5, 1.0], dtype=torch.float64)
    parts = own.parts()
    near = ((parts["centres"][:, 0] - 0.25 - 0.5 * parts["centres"][:, 1]).abs() < 0.08) & \
        ((parts["centres"] > 0) & (parts["centres"] < 1)).all(1)
    values, R = torch.linalg.eigh(parts["covariances"][near])
    along = (R[:, :, 1] @ front).abs() / front.norm()
    assert int(near.sum()) > 8 and float(along.median()) > 0.97 and float((values[:, 1] / values[:, 0]).median()) > 4


def test_a_run_that_moves_its_gaussians_resumes_bit_by_bit(tmp_path):
    given, asked = split(OPTIONS), []

    def stop():
        asked.append(1)
        return "asked to stop" if len(asked) > 1 else ""

    whole = sciml.solve(moving(), **given)
    sciml.solve(moving(), out=tmp_path, stop=stop, **given)
    resumed = sciml.solve(moving(), out=tmp_path, resume=True, **given)
    assert resumed.relative_l2() == whole.relative_l2()
    assert torch.equal(gaussians_of(resumed.field).rotations, gaussians_of(whole.field).rotations)


def test_what_cannot_move_is_refused():
    with pytest.raises(ProblemError, match="refine=metric moves Gaussians"):
        Training(moving(), make_recipe({}, {"model": "mlp", "refine": "metric"}))
    around = moving(conditions=[Equation(lambda u: u.t + 0.5 * u.x), Initial(u=lambda x: torch.sin(2 * pi * x)),
                                Periodic(on="x")], reference=None)
    with pytest.raises(ProblemError, match="no periodic coordinates yet"):
        Training(around, make_recipe({}, {**OPTIONS, "constraints": "hard"}))
    with pytest.raises(ProblemError, match="give fewer model.centres, or more refine.count"):
        training(**{"refine.count": 60})
    for option, value in (("rounds", -1), ("count", 2), ("order", 0), ("growth", 0), ("rows", 1), ("rim", -1),
                          ("sweeps", 0)):
        with pytest.raises(ProblemError, match=rf"refine\.{option}={value}"):
            training(**{f"refine.{option}": value})
