"""Measurements chosen by information: gains against dense inverses, goals against plain gradients, a known answer."""

import math

import numpy as np
import pytest
import torch
from small import inverse

from sciml import Box, Dirichlet, Equation, Observations, Problem, ProblemError
from sciml.objective import make_recipe
from sciml.sampling import information
from sciml.sampling.information import PLACES, Information, goals, greedy, most_informative, weighted
from sciml.sampling.nystrom import Rows
from sciml.training import Training

NET = dict(model=dict(width=10, depth=2), points=40, constraints="soft", optimizer="gauss-newton")
SEEN = torch.linspace(0.1, 0.9, 8, dtype=torch.float64)


def training(problem, **options):
    buys = {"every": 2, "measurements": 2, "ahead": 1, "choice": "information"}
    given = {f"pinnacle-k.{k}": v for k, v in buys.items()}
    return Training(problem, make_recipe({}, {**NET, "sampler": "pinnacle-k", "steps": 10, **given, **options}))


def hidden():
    """Two unknowns, of which v is never measured, and no unknown parameter."""
    return Problem(domain=Box(x=(0, 1)), unknowns="u v", conditions=[
        Equation(lambda u, v: u.x - v, name="pde"), Observations(at=dict(x=SEEN), u=SEEN**2, name="few"),
        Observations(at=dict(x=SEEN + 0.05), u=SEEN, name="more")])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variance(H, Q):
    return float(np.trace(Q @ np.linalg.inv(H) @ Q.T))


def plain_choice(H, Q, rows, n):
    """The n measurements by the definition: every candidate tried, a dense inverse each."""
    chosen = []
    for _ in range(n):
        tried = {m: variance(H + rows[m].T @ rows[m], Q) for m in range(len(rows)) if m not in chosen}
        chosen.append(min(tried, key=tried.get))
        H = H + rows[chosen[-1]].T @ rows[chosen[-1]]
    return chosen


@pytest.mark.parametrize("K, G", [(1, 1), (2, 3), (3, 20)])
def test_the_choice_is_that_of_trying_every_candidate_with_a_dense_inverse(K, G, device):
    J, Q, rows = normal(30, 12), normal(G, 12, seed=1), normal(25, K, 12, seed=2)
    H = J.T @ J
    prior = 1e-6 * H.diagonal().mean() * torch.eye(12, dtype=H.dtype)
    known = Information.of(J.to(device), Q.to(device))
    assert variance(known.L.cpu() @ known.L.cpu().T, Q) == pytest.approx(float(known.B.square().sum()), rel=1e-10)
    chosen = greedy(known.whitened(rows.to(device)), known.B, 6)
    assert chosen.tolist() == plain_choice((H + prior).numpy(), Q.numpy(), rows.numpy(), 6)


def test_a_measurement_repeated_and_one_that_says_nothing_come_last():
    rows = normal(5, 1, 6)
    rows[3], rows[4] = rows[0], 0.0
    known = Information.of(1e-3 * normal(6, 6, seed=1), torch.eye(6, dtype=torch.float64), prior=1.0)
    chosen = greedy(known.whitened(rows), known.B, 5).tolist()
    assert chosen[-1] == 4 and set(chosen) == set(range(5)) and abs(chosen.index(0) - chosen.index(3)) > 1


def test_what_is_sought_of_a_coefficient_is_its_relative_change():
    scene = training(inverse()).scene
    Q, trainable = goals(scene), scene.view.trainable
    value, h = (lambda: float(scene.view.parameters_.value("k").detach())), 1e-5
    want = []
    with torch.no_grad():
        for p in trainable:
            for i in range(min(p.numel(), 3)):
                flat = p.view(-1)
                old = float(flat[i]) if p.ndim else float(p)
                flat[i] = old + h
                up = math.log(value())
                flat[i] = old - h
                want.append((up - math.log(value())) / (2 * h))
                flat[i] = old
    assert Q.shape == (1, sum(p.numel() for p in trainable))
    assert float(Q.abs().sum()) == pytest.approx(sum(map(abs, want)), rel=1e-8)   # h² of the central difference


def test_without_coefficients_the_unknown_that_nobody_measures_is_sought_everywhere():
    scene = training(hidden()).scene
    state = scene.generator.get_state()
    Q = goals(scene)
    scene.generator.set_state(state)
    X = scene.view.problem.region.sample(PLACES, generator=scene.generator).X
    rows = [torch.autograd.grad(v, scene.view.trainable, retain_graph=True) for v in scene.view.field(X)[:, 1]]
    want = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows]) / PLACES**0.5
    torch.testing.assert_close(Q, want, rtol=1e-10, atol=1e-13)


def test_rows_of_candidates_are_those_that_training_would_see():
    scene = training(hidden()).scene
    block = next(b for b in scene.measured if b.name == "more")
    n = len(scene.points(block))
    _, J = scene.view.linearize()
    trained = J[-n:]                                         # the last condition's
    at = Rows(block, scene.points(block), scene.view.data["more"])
    torch.testing.assert_close(weighted(scene.view, at)[:, 0], trained, rtol=1e-12, atol=1e-14)


def test_a_coefficient_that_scales_the_solution_is_measured_where_the_solution_is_largest():
    # u = (k₀/k) sin x, so that ∂u/∂ln k = −u; 20 places on (0, π), of which 10 and 9 are in the middle
    run = training(inverse(), **{"pinnacle-k.budget": 2, "model": dict(width=12, depth=2)})
    run.sampler.purchases._own(run.scene, "observations", torch.tensor([3, 17]))
    for _ in range(40):
        run._advance()
    assert run.objective.parameters_.values()["k"] == pytest.approx(0.5, rel=1e-2)
    at = Rows(block := run.scene.measured[0], run.scene.candidates(block), block.data)
    first = int(most_informative(run.scene, [at], 1))
    assert 7 <= first <= 12


def test_conditions_with_different_numbers_of_components_are_compared():
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u v", conditions=[
        Equation(lambda u, v: u.x - v, name="pde"), Observations(at=dict(x=SEEN), u=SEEN**2, v=2 * SEEN, name="both"),
        Observations(at=dict(x=SEEN + 0.05), u=SEEN, name="one"), Dirichlet(u=0.0, on="x-")])
    for dtype in ("float64", "float32"):
        run = training(problem, dtype=dtype, **{"pinnacle-k.every": 1, "pinnacle-k.measurements": 4})
        for step in (1, 2, 3, 4):
            run.sampler.update(run.scene, step, 0.0)
        assert {len(run.objective.points[n]) for n in ("both", "one")} == {8}


def test_a_matrix_that_does_not_fit_is_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(information, "free_memory", lambda device: 2**10)
    with pytest.raises(ProblemError, match=r"choice=information needs .* for matrices of [\d,]+ × [\d,]+ parameters, "
                                           "and cpu has 1 KiB free; take a smaller model, or choice=drift"):
        training(inverse())
    monkeypatch.setattr(information, "free_memory", lambda device: None)
    training(inverse())
