"""Optimizers of several losses, and GUA after any first-order optimizer: formulas, groups, resumption, refusals."""

import logging
import math
import re

import numpy as np
import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml import Box, Dirichlet, Equation, Problem
from sciml.balance.cone import cosines, project
from sciml.balance.gua import GUA
from sciml.errors import NonFiniteError, ProblemError
from sciml.objective import make_recipe
from sciml.optim import MConFIG, MultiAdam, build_optimizer
from sciml.training import Training
from sciml.training.drivers import FirstOrder, MultiLoss


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Quadratics:
    """L_i(θ) = c_i |A_i θ − b_i|² of P numbers in tensors of the shapes given."""

    def __init__(self, count=3, shapes=((2, 3), (4,)), scales=None, untouched=0):
        P = sum(math.prod(s) for s in shapes)
        self.A = [random(P, P, seed=10 + i) for i in range(count)]
        self.b = [random(P, seed=20 + i) for i in range(count)]
        if untouched:
            self.A[0][:, :untouched] = 0
        self.c = [1.0] * count if scales is None else scales
        start, self.theta = random(P, seed=30), []
        for shape in shapes:
            n = math.prod(shape)
            self.theta.append(torch.nn.Parameter(start[:n].reshape(shape).clone()))
            start = start[n:]

    @property
    def flat(self):
        return torch.cat([p.detach().reshape(-1) for p in self.theta])

    def gradient(self, i):
        r = self.A[i] @ self.flat - self.b[i]
        return self.c[i] * r.square().sum(), 2 * self.c[i] * self.A[i].T @ r

    def gradients(self):
        return torch.stack([self.gradient(i)[1] for i in range(len(self.A))])

    def fill(self, g):
        for p in self.theta:
            p.grad, g = g[:p.numel()].reshape(p.shape).clone(), g[p.numel():]


# ---- MultiAdam -------------------------------------------------------------------------------------------------


def multiadam_by_numpy(case, steps, lr, betas, eps):
    theta = case.flat.numpy().copy()
    A, b = [a.numpy() for a in case.A], [x.numpy() for x in case.b]
    m, v = np.zeros((2, len(A), len(theta)))
    for t in range(1, steps + 1):
        g = np.stack([2 * c * a.T @ (a @ theta - x) for a, x, c in zip(A, b, case.c, strict=True)])
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        theta -= lr / len(A) * (m / (1 - betas[0]**t) / (np.sqrt(v / (1 - betas[1]**t)) + eps)).sum(0)
    return torch.from_numpy(theta)


@pytest.mark.parametrize("betas", [(0.99, 0.99), (0.8, 0.95)])
def test_multiadam_follows_its_formula(betas):
    case = Quadratics(untouched=3)
    want = multiadam_by_numpy(case, 20, 0.01, betas, 1e-8)
    optimizer = MultiAdam(case.theta, lr=0.01, betas=betas, eps=1e-8)
    for _ in range(20):
        loss = optimizer.step(case.gradient, 3)
    torch.testing.assert_close(case.flat, want, rtol=1e-12, atol=1e-13)
    assert loss.ndim == 0


@pytest.mark.parametrize("make", [MultiAdam, MConFIG])
def test_with_one_loss_they_are_adam(make):
    one, other = Quadratics(count=1), Quadratics(count=1)
    optimizer = make(one.theta, lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    adam = torch.optim.Adam(other.theta, lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(30):
        optimizer.step(one.gradient, 1)
        other.fill(other.gradient(0)[1])
        adam.step()
    torch.testing.assert_close(one.flat, other.flat, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale, bound", [(1e4, 1e-12), (1e-6, 1e-9)])
def test_multiadam_does_not_see_the_scale_of_a_loss(scale, bound):
    one, other = Quadratics(), Quadratics(scales=[1.0, scale, 1.0])
    plain = Quadratics()
    optimizers = [MultiAdam(case.theta, lr=0.01) for case in (one, other)]
    for _ in range(50):
        for case, optimizer in zip((one, other), optimizers, strict=True):
            optimizer.step(case.gradient, 3)
    # ε = 1e-16 against √v̂ of 1e-6 or more, and rounding; after 50 steps of 0.01 everything has moved by about 0.1.
    assert float((one.flat - other.flat).abs().max()) < bound
    assert float((one.flat - plain.flat).abs().min()) > 1e-3


@pytest.mark.parametrize("make", [MultiAdam, MConFIG])
def test_two_parameter_groups_equal_one_and_have_their_own_rates(make):
    one, two, frozen = Quadratics(), Quadratics(), Quadratics()
    optimizers = [make(one.theta, lr=0.01), make([dict(params=[p]) for p in two.theta], lr=0.01),
                  make([dict(params=frozen.theta[:1], lr=0.0), dict(params=frozen.theta[1:])], lr=0.01)]
    before = frozen.theta[0].detach().clone()
    for _ in range(10):
        for case, optimizer in zip((one, two, frozen), optimizers, strict=True):
            optimizer.step(case.gradient, 3)
    assert torch.equal(one.flat, two.flat)
    assert torch.equal(frozen.theta[0].detach(), before) and not torch.equal(frozen.theta[1], one.theta[1])


@pytest.mark.parametrize("make", [MultiAdam, MConFIG])
def test_they_follow_torchs_schedules(make):
    one, two = Quadratics(), Quadratics()
    optimizer, by_hand = make(one.theta, lr=0.02), make(two.theta, lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for k in range(6):
        optimizer.step(one.gradient, 3)
        schedule.step()
        by_hand.param_groups[0]["lr"] = 0.02 * 0.5**k
        by_hand.step(two.gradient, 3)
    torch.testing.assert_close(one.flat, two.flat, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("make", [MultiAdam, MConFIG])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_they_go_on_bit_by_bit_from_their_state(make, k, tmp_path):
    whole, cut = Quadratics(), Quadratics()
    optimizer = make(whole.theta)
    for _ in range(9):
        optimizer.step(whole.gradient, 3)
    first = make(cut.theta)
    for _ in range(k):
        first.step(cut.gradient, 3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(cut.theta)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(9 - k):
        second.step(cut.gradient, 3)
    assert torch.equal(whole.flat, cut.flat)


@pytest.mark.parametrize("make", [MultiAdam, MConFIG])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_keep_the_dtype_of_the_parameters(make, dtype):
    case = Quadratics()
    theta = [torch.nn.Parameter(p.detach().to(dtype)) for p in case.theta]
    optimizer = make(theta)
    for i in range(4):
        optimizer.step(lambda i: (torch.ones((), dtype=dtype), random(10, seed=i).to(dtype)), 3)
    tensors = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    assert tensors and all(v.dtype == dtype for v in tensors)
    assert all(p.dtype == dtype for p in theta)


@pytest.mark.parametrize("make", [MultiAdam, MConFIG])
def test_a_gradient_that_cannot_be_computed_moves_nothing(make):
    case = Quadratics()
    optimizer = make(case.theta)
    for _ in range(3):
        optimizer.step(case.gradient, 3)
    before, state = case.flat, {k: v for k, v in optimizer.state_dict()["state"][0].items() if k == "step"}

    def fails(i):
        raise NonFiniteError("gradient")

    with pytest.raises(NonFiniteError):
        optimizer.step(fails, 3)
    assert torch.equal(case.flat, before) and optimizer.state_dict()["state"][0]["step"] == state["step"]


# ---- M-ConFIG --------------------------------------------------------------------------------------------------


def m_config_by_numpy(case, steps, lr, betas, eps):
    theta = case.flat.numpy().copy()
    A, b = [a.numpy() for a in case.A], [x.numpy() for x in case.b]
    n, P = len(A), len(theta)
    M, seen, s, E, t = np.zeros((n, P)), np.zeros(n), np.zeros(P), np.zeros(P), 0
    for step in range(steps):
        i = step % n
        M[i] = betas[0] * M[i] + (1 - betas[0]) * 2 * A[i].T @ (A[i] @ theta - b[i])
        seen[i] += 1
        if seen.min() == 0:
            continue
        t += 1
        G = M / (1 - betas[0] ** seen)[:, None]
        U = G / np.linalg.norm(G, axis=1, keepdims=True)
        d = np.linalg.lstsq(U, np.ones(n), rcond=None)[0]
        g = (G @ d).sum() / (d @ d) * d
        new = g * (1 - betas[0] ** t)
        virtual = (new - betas[0] * E) / (1 - betas[0])
        E = new
        s = betas[1] * s + (1 - betas[1]) * virtual**2
        theta -= lr * g / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
    return torch.from_numpy(theta)


@pytest.mark.parametrize("count", [2, 3])
def test_m_config_follows_its_formula(count):
    case = Quadratics(count=count)
    want = m_config_by_numpy(case, 25, 0.01, (0.9, 0.999), 1e-8)
    optimizer = MConFIG(case.theta, lr=0.01)
    for _ in range(25):
        optimizer.step(case.gradient, count)
    torch.testing.assert_close(case.flat, want, rtol=1e-10, atol=1e-11)


def test_m_config_moves_only_after_it_has_seen_every_loss_and_asks_for_one_gradient():
    case, asked = Quadratics(), []

    def gradient(i):
        asked.append(i)
        return case.gradient(i)

    optimizer, start = MConFIG(case.theta), case.flat
    for _ in range(2):
        optimizer.step(gradient, 3)
        assert torch.equal(case.flat, start)
    optimizer.step(gradient, 3)
    assert not torch.equal(case.flat, start)
    optimizer.step(gradient, 3)
    assert asked == [0, 1, 2, 0]


@pytest.mark.parametrize("name, options, sentence", [
    ("multiadam", {"lr": -1.0}, "lr=-1.0 must be"),
    ("multiadam", {"betas": (0.9, 1.0)}, "must be two numbers in"),
    ("multiadam", {"betas": 0.9}, "must be two numbers in"),
    ("m-config", {"eps": -1e-8}, "eps=-1e-08 must be"),
    ("m-config", {"groups": "pde"}, "unknown groups 'pde'"),
    ("m-config", {"fallback": "no"}, "unknown fallback 'no'; did you mean 'none'"),
    ("multiadam", {"weight_decay": 1}, "unknown option of multiadam 'weight_decay'"),
])
def test_an_option_that_makes_no_sense_gets_a_sentence(name, options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(2))], options)


# ---- GUA -------------------------------------------------------------------------------------------------------


def proposal(name, steps, **options):
    """A case after some steps along the sum of the gradients, and one more step of which all is returned."""
    case = Quadratics(scales=[1.0, 5.0, 1.0])
    optimizer = build_optimizer(name, case.theta, {"lr": 0.1, **options})
    for _ in range(steps - 1):
        case.fill(case.gradients().sum(0))
        optimizer.step()
    G, before = case.gradients(), case.flat
    case.fill(G.sum(0))
    optimizer.step()
    return case, optimizer, G, before


@pytest.mark.parametrize("name, options", [("adam", {}), ("adamw", {}), ("nadam", {}), ("rmsprop", {}),
                                           ("adam", {"amsgrad": True}), ("rprop", {}),
                                           ("sgd", {"momentum": 0.9, "lr": 1e-3})])
def test_the_applied_update_of_any_optimizer_conflicts_with_no_gradient(name, options):
    met = 0
    for steps in range(5, 50, 3):
        case, optimizer, G, before = proposal(name, steps, **options)
        proposed, after = before - case.flat, case.flat
        applied = GUA().apply(optimizer, case.theta, before, G)
        torch.testing.assert_close(before - case.flat, applied, rtol=0, atol=1e-15 * 10)      # rounding of θ of size 1
        if float(cosines(proposed, G).min()) >= -1e-6:
            assert torch.equal(case.flat, after)
        else:
            met += 1
            assert float(cosines(applied, G).min()) > -1e-11
            assert float(applied.norm()) <= float(proposed.norm()) * 30       # a projection, in a metric that is not 1
    assert met


def test_gua_projects_in_the_metric_of_adam_and_corrects_its_moments():
    t = 44
    case, optimizer, G, before = proposal("adam", t)
    p = (before - case.flat) / 0.1
    assert float(cosines(p, G).min()) < -1e-3
    m, v = (torch.cat([optimizer.state[q][key].reshape(-1) for q in case.theta]).clone()
            for key in ("exp_avg", "exp_avg_sq"))
    D = (v / (1 - 0.999**t)).sqrt() + 1e-8
    x = project(p, G, 1 / D)[0]
    GUA(rho_m=0.3, rho_v=0.2).apply(optimizer, case.theta, before, G)
    torch.testing.assert_close(case.flat, before - 0.1 * x, rtol=1e-12, atol=1e-14)
    h = D * x
    new_m, new_v = (torch.cat([optimizer.state[q][key].reshape(-1) for q in case.theta])
                    for key in ("exp_avg", "exp_avg_sq"))
    # p is a difference of numbers of size 1 over the rate: 1e-15 in p
    torch.testing.assert_close(new_m, 0.7 * m + 0.3 * (1 - 0.9**t) * h, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(new_v, 0.8 * v + 0.2 * (1 - 0.999**t) * h**2, rtol=1e-10, atol=1e-12)


def test_a_step_without_conflicts_leaves_optimizer_and_parameters_bit_by_bit():
    case, optimizer, G, before = proposal("adam", 5)
    G = cosines(before - case.flat, G)[:, None].sign() * G                  # turned so that none conflicts
    after, state = case.flat, {k: v.clone() for k, v in optimizer.state[case.theta[0]].items()}
    GUA().apply(optimizer, case.theta, before, G)
    assert torch.equal(case.flat, after)
    assert all(torch.equal(optimizer.state[case.theta[0]][k], v) for k, v in state.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gua_takes_groups_with_rates_of_their_own_frozen_ones_and_single_numbers(dtype):
    case = Quadratics(shapes=((2, 3), (), (3,)))
    theta = [torch.nn.Parameter(p.detach().to(dtype)) for p in case.theta]
    optimizer = torch.optim.Adam([dict(params=theta[:1], lr=0.0), dict(params=theta[1:2], lr=0.1),
                                  dict(params=theta[2:], lr=0.01)])
    for seed in range(3):
        for p in theta:
            p.grad = random(*p.shape, seed=seed).to(dtype)
        before = torch.cat([p.detach().reshape(-1) for p in theta])
        optimizer.step()
    G = random(2, 10, seed=7).to(dtype)
    proposed = before - torch.cat([p.detach().reshape(-1) for p in theta])
    G[0] -= 3 * proposed / proposed.norm()
    GUA().apply(optimizer, theta, before, G)
    applied = before - torch.cat([p.detach().reshape(-1) for p in theta])
    assert torch.equal(applied[:6], torch.zeros(6, dtype=dtype))
    # float32: θ of size 1 is rounded to 6e-8 in a step of 1e-1
    assert float(cosines(applied, G).min()) > (-1e-5 if dtype == torch.float32 else -1e-12)
    assert all(v.dtype == dtype and bool(torch.isfinite(v).all()) for p in theta
               for k, v in optimizer.state[p].items() if k != "step")


def test_an_optimizer_whose_moments_lie_in_other_coordinates_is_projected_without_them():
    class Rotated(torch.optim.Optimizer):
        def step(self, closure=None):
            """Moves by −1 and leaves moments that are not those of the parameters."""
            for p in self.param_groups[0]["params"]:
                self.state[p].update(step=1, exp_avg=torch.ones_like(p), exp_avg_sq=torch.ones_like(p) * 5)
                p.data.sub_(self.param_groups[0]["lr"])

    case = Quadratics()
    optimizer = Rotated(case.theta, dict(lr=0.1, betas=(0.9, 0.99), eps=1e-8))
    before = case.flat
    optimizer.step()
    G = -torch.ones(1, 10, dtype=torch.float64) + 0.1 * random(1, 10)
    want = project(before - case.flat, G)[0]
    torch.testing.assert_close(GUA().apply(optimizer, case.theta, before, G), want, rtol=1e-12, atol=1e-14)
    assert torch.equal(optimizer.state[case.theta[0]]["exp_avg"], torch.ones(2, 3, dtype=torch.float64))


# ---- in training -----------------------------------------------------------------------------------------------


def conflicting():
    """A boundary value that the equation cannot meet, so that the two losses pull apart."""
    return Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u - 1), Dirichlet(u=-1.0)])


def training(problem=None, **options):
    problem = problem or conflicting()
    return Training(problem, make_recipe({}, {**SMALL, "optimizer": "adam", "constraints": "soft", "steps": 40,
                                              "sampler.every": 0, **options}))


def run(trained):
    for report in trained.run():
        last = report
    return last


@pytest.mark.parametrize("balance, optimizer", [
    ("gua", "adam"), ("config+gua", "adam"), ("pcgrad+gua", "sgd"), ("grad-norm+imtl-g+gua", "nadam"),
    ("gua", "multiadam"), ("gua", "rmsprop")])
def test_with_gua_no_applied_step_conflicts(balance, optimizer):
    extra = {"sgd.momentum": 0.95, "sgd.lr": 0.01} if optimizer == "sgd" else {f"{optimizer}.lr": 0.05}
    trained = training(balance=balance, optimizer=optimizer, **extra)
    report = run(trained)
    assert report.extras["conflicts_applied"] == 0.0
    assert report.extras["conflicts_proposed"] > 0.0
    assert np.isfinite(report.loss)


def test_without_gua_conflicts_of_the_applied_update_are_those_of_the_proposed_one():
    extras = run(training(balance="config", **{"adam.lr": 0.05})).extras
    assert extras["conflicts_applied"] == extras["conflicts_proposed"] > 0
    assert "conflicts_applied" not in run(training()).extras


@pytest.mark.parametrize("optimizer", ["multiadam", "m-config"])
def test_optimizers_of_several_losses_train_with_batches_clipping_and_a_schedule(optimizer):
    trained = training(inverse(), optimizer=optimizer, batch=20, clip=0.5, steps=60, **{f"{optimizer}.lr": 0.01})
    assert isinstance(trained.driver, MultiLoss)
    first = trained.report().loss
    report = run(trained)
    assert report.loss < first
    assert report.extras["learning_rate"] < 2e-4                  # 1 % of the rate at the end of the cosine
    assert all(len(p) > 20 for n, p in trained.objective.points.items() if n in trained.scene.counts and len(p) == 60)


def test_clipping_takes_each_loss_by_itself():
    trained = training(optimizer="multiadam", clip=1e-3, **{"multiadam.groups": "each"})
    seen = []
    step = trained.driver.optimizer.step
    trained.driver.optimizer.step = lambda gradient, count: [
        seen.append(float(gradient(i)[1].norm())) for i in range(count)] and step(gradient, count)
    trained.driver.step(0.0)
    assert seen == pytest.approx([1e-3, 1e-3], rel=1e-2)          # torch's rule divides by the norm + 1e-6
    assert max(seen) <= 1e-3


def test_multiadam_in_training_does_not_see_the_weight_of_a_condition():
    def weighted(weight):
        return Problem(Box(x=(0, 1)), "u", [Equation(lambda u, x: u.xx + x), Dirichlet(u=0.0, weight=weight)])

    one, other = (training(weighted(w), optimizer="multiadam", steps=20) for w in (1.0, 1e4))
    run(one), run(other)
    for p, q in zip(one.objective.trainable, other.objective.trainable, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-9)       # rounding of gradients, divided by their size


def test_kinds_gather_equations_and_all_other_conditions():
    trained = training(inverse(), optimizer="multiadam")
    kinds = trained.driver.losses.names("kind")
    assert [len(names) for names in kinds] == [1, 2]
    one, other = (training(inverse(), balance="pcgrad", steps=5, **{"pcgrad.groups": groups})
                  for groups in ("each", "kind"))
    run(one), run(other)
    assert len(one.driver.by_loss) == 3 and len(other.driver.by_loss) == 2
    mixed = training(inverse(), balance="pcgrad+gua", steps=5, **{"pcgrad.groups": "kind"})
    run(mixed)
    G = mixed.driver.by_loss
    merged = mixed.driver.losses.merged(G, "kind")
    assert len(G) == 3
    torch.testing.assert_close(merged, torch.stack([G[0], G[1] + G[2]]), rtol=0, atol=0)


def test_parameters_that_a_loss_does_not_touch_get_nothing_from_it():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.x - 1), Dirichlet(u=0.0, on="x-")])
    for balance, optimizer in (("config", "adam"), ("gua", "adam"), ("fixed", "multiadam"), ("fixed", "m-config")):
        trained = training(problem, balance=balance, optimizer=optimizer, steps=6)
        run(trained)
        _, G, _ = trained.objective.gradients()
        assert G.shape == (2, sum(p.numel() for p in trained.objective.trainable))
        assert bool((G[0] == 0).any()) and bool(torch.isfinite(G).all())        # the output's bias
        assert all(bool(torch.isfinite(p).all()) for p in trained.objective.trainable)


@pytest.mark.parametrize("options, sentence", [
    ({"optimizer": "multiadam"}, "multiadam: there is one loss only.*acts as Adam"),
    ({"optimizer": "m-config"}, "m-config: there is one loss only.*acts as Adam"),
    ({"balance": "config"}, "balance=config: there is one loss only.*takes its gradient as it is"),
])
def test_a_single_loss_is_said_once_and_is_what_adam_does(options, sentence, caplog):
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, x: u.xx + x), Dirichlet(u=0.0)])
    hard = dict(constraints="hard", steps=8)
    constants = {"betas": (0.9, 0.999), "eps": 1e-8}
    own = {f"{options['optimizer']}.{k}": v for k, v in constants.items()} if "optimizer" in options else {}
    with caplog.at_level(logging.WARNING):
        one = training(problem, **hard, **options, **own)
        run(one)
    told = [r.getMessage() for r in caplog.records if "one loss only" in r.getMessage()]
    assert len(told) == 1
    assert re.search(sentence, told[0])
    adam = training(problem, **hard)
    run(adam)
    for p, q in zip(one.objective.trainable, adam.objective.trainable, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_reports_count_the_steps_in_which_a_formula_failed():
    for name, expected in (("imtl-g", 1.0), ("pcgrad", None)):
        trained = training(balance=name)
        trained.driver.step(0.0)
        if expected is not None:
            assert trained.report().extras["surgery_fallbacks"] == 0.0       # two losses: Σ b > 0
            G = torch.tensor([[1, 0.2, 0], [1, -0.2, 0], [0.5, 0, 0.02]], dtype=torch.float64)
            trained.balance.surgery.aggregate(G)
        assert trained.report().extras.get("surgery_fallbacks") == expected
        again = training(balance=name)
        again.load_state_dict(trained.state_dict())
        assert again.report().extras.get("surgery_fallbacks") == expected


def test_a_step_is_skipped_where_surgery_finds_no_direction(monkeypatch):
    trained = training(balance="config")
    for _ in range(3):
        trained.driver.step(0.0)
    before = [p.detach().clone() for p in trained.objective.trainable]
    monkeypatch.setattr(trained.balance.surgery, "aggregate", lambda G, generator: torch.zeros_like(G[0]))
    trained.driver.step(0.0)                                       # Adam's momentum would move even so
    assert all(torch.equal(p, q) for p, q in zip(trained.objective.trainable, before, strict=True))


def test_gradients_that_are_not_finite_stop_a_run_with_surgery():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: torch.sqrt(torch.sin(u) - torch.sin(u)) + u.x),
                                           Dirichlet(u=0.0, on="x-"), Dirichlet(u=1.0, on="x+")])
    for options in ({"balance": "config"}, {"balance": "imtl-g"}, {"balance": "gua"}, {"optimizer": "multiadam"}):
        solution = sciml.solve(problem, steps=2, constraints="soft", **{"optimizer": "adam", **options}, **SMALL)
        assert "gradient is not finite" in solution.status
        assert all(bool(torch.isfinite(p).all()) for p in solution.objective.trainable)


@pytest.mark.parametrize("options, sentence", [
    ({"optimizer": "lbfgs", "balance": "config"}, "replaces the gradient by another direction, which lbfgs"),
    ({"optimizer": "gauss-newton", "balance": "imtl-g"}, "replaces the gradient by another direction"),
    ({"optimizer": "adam:5,lbfgs", "balance": "pcgrad"}, "which lbfgs with its line search"),
    ({"optimizer": "lbfgs", "balance": "gua"}, "balance=gua moves the optimizer's update, which lbfgs"),
    ({"optimizer": "gauss-newton", "balance": "config+gua"}, "which gauss-newton with its line search or least"),
    ({"optimizer": "multiadam", "balance": "config"}, "optimizer=multiadam takes the gradients themselves"),
    ({"optimizer": "m-config", "balance": "pcgrad"}, "optimizer=m-config takes the gradients themselves"),
    ({"optimizer": "m-config", "balance": "gua"}, "optimizer=m-config computes one"),
])
def test_combinations_that_make_no_sense_are_refused_with_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make_recipe({}, options)


def test_weights_of_config_must_be_as_many_as_the_losses():
    with pytest.raises(ProblemError, match="config.weights has 3 numbers, but there are 2 losses"):
        training(balance="config", **{"config.weights": [1, 2, 3]})
    run(training(balance="config", steps=2, **{"config.weights": [1, 2]}))


def test_first_order_steps_without_surgery_are_what_they_were():
    trained = training(steps=3)
    assert type(trained.driver) is FirstOrder
    run(trained)
    other = training(steps=3)
    optimizer = torch.optim.Adam(other.objective.trainable, lr=1e-3)
    for k in range(3):
        optimizer.param_groups[0]["lr"] = 1e-3 * trained.driver.factor(k / 3)
        optimizer.zero_grad()
        other.objective.backward()
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(trained.objective.trainable, other.objective.trainable, strict=True))
