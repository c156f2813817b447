"""DeepONets: products of tables, derivatives through the trunk alone, gates, hidden layers, periodic points."""

import pytest
import torch

from sciml.errors import ProblemError
from sciml.operators import DeepONet
from sciml.operators import deeponet as module

BOUNDS = ((0.0, 2.0), (-1.0, 3.0))
VARIANTS = {
    "plain": {}, "gated": {"gated": True}, "multi": {"multi": True}, "gated multi": {"gated": True, "multi": True},
    "sine": {"activation": "sin"}, "periodic": {"embedding": {"periods": {0: 2.0}, "harmonics": 3}},
    "features": {"embedding": {"fourier": 6, "sigma": 1.5}},
}
ALPHAS = [(0, 0), (1, 0), (0, 2), (1, 1), (3, 0), (2, 2)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(name, outputs=2):
    return DeepONet(2, outputs, 7, BOUNDS, width=12, depth=3, functions=10, generator=generator(),
                    **VARIANTS[name]).double()


def data(B=3, N=11):
    U = torch.rand(N, 2, generator=generator(2), dtype=torch.float64)
    X = torch.stack([2 * U[:, 0], 4 * U[:, 1] - 1], 1)
    return torch.randn(B, 7, 2, generator=generator(1), dtype=torch.float64), X


@pytest.mark.parametrize("name", VARIANTS)
def test_derivatives_through_the_trunk_are_those_of_nested_reverse_mode(name):
    f, (v, X) = make(name), data()
    found = f.stream(v, X, ALPHAS)
    assert found.shape == (len(ALPHAS), 3, 11, 2)
    for b in range(3):
        for c in range(2):
            for row, alpha in enumerate(ALPHAS):
                Y = X.clone().requires_grad_()
                value = f(v[b:b + 1], Y)[0, :, c]
                for axis, count in enumerate(alpha):
                    for _ in range(count):
                        (slope,) = torch.autograd.grad(value.sum(), Y, create_graph=True)
                        value = slope[:, axis]
                torch.testing.assert_close(found[row, b, :, c], value, rtol=1e-9, atol=1e-9)   # rounding, 4th order


@pytest.mark.parametrize("name", VARIANTS)
def test_shared_points_and_points_of_each_functions_own_agree(name):
    f, (v, X) = make(name), data()
    torch.testing.assert_close(f(v, X.expand(3, -1, -1)), f(v, X), rtol=0, atol=1e-12)


def test_the_trunk_is_evaluated_once_whatever_the_number_of_functions(monkeypatch):
    f, counted = make("plain"), []
    original = f.trunk.forward
    monkeypatch.setattr(f.trunk, "forward", lambda jet: counted.append(jet.data.numel()) or original(jet))
    v, X = data(B=2)
    f.stream(v, X, ALPHAS)
    few = list(counted)
    counted.clear()
    f.stream(v.repeat(50, 1, 1), X, ALPHAS)
    assert len(few) == 1 and counted == few


def test_the_product_is_the_sum_over_functions():
    f, (v, X) = make("plain"), data()
    b, t = f.coefficients(v), f.tables(X, [(0, 0)])[0]
    assert b.shape == (3, 2, 10) and t.shape == (11, 10)
    by_hand = sum(b[:, None, :, k] * t[None, :, None, k] for k in range(10)) + f.bias
    torch.testing.assert_close(f(v, X), by_hand, rtol=0, atol=1e-12)


def test_multionet_is_the_mean_of_the_hidden_layers_products():
    f, (v, X) = make("multi", outputs=1), data()
    t = f.tables(X, [(0, 0)])[0].reshape(11, 3, 12)
    b = f.coefficients(v)[:, 0].reshape(3, 3, 12) * 3
    products = torch.einsum("blw,nlw->lbn", b, t)
    torch.testing.assert_close(f(v, X)[..., 0], products.mean(0) + f.bias, rtol=0, atol=1e-12)


def test_a_periodic_coordinate_is_periodic_with_all_derivatives():
    f, (v, X) = make("periodic"), data()
    moved = X + torch.tensor([2.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(f.stream(v, moved, ALPHAS), f.stream(v, X, ALPHAS), rtol=1e-9, atol=1e-9)


def test_sensors_may_lie_on_a_grid():
    f = DeepONet(1, 1, 12, BOUNDS, width=8, depth=2, functions=5).double()
    v = torch.randn(2, 3, 4, 1, generator=generator(), dtype=torch.float64)
    assert torch.equal(f(v, data()[1]), f(v.reshape(2, 12, 1), data()[1]))


def test_shapes_that_do_not_fit_are_said_in_a_sentence():
    f, (v, X) = make("plain"), data()
    with pytest.raises(ProblemError, match="same sensors"):
        f(v[:, :5], X)
    with pytest.raises(ProblemError, match="where the output is asked for"):
        f(v)
    with pytest.raises(ProblemError, match="expected \\(N, 2\\)"):
        f.stream(v, X.expand(3, -1, -1), ALPHAS)


@pytest.mark.parametrize("name", ["gated", "periodic"])
def test_one_compiled_graph_gives_the_same_numbers_and_derivatives(name):
    f, (v, X) = make(name), data()
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(f, backend="eager", fullgraph=True)(v, X), f(v, X), rtol=0, atol=1e-12)
    stream = torch.compile(lambda v, X: f.stream(v, X, [(0, 0), (2, 0)]), backend="eager", fullgraph=True)
    torch.testing.assert_close(stream(v, X), f.stream(v, X, [(0, 0), (2, 0)]), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", VARIANTS)
def test_bfloat16_autocast_float32_and_the_generator(name):
    state = torch.get_rng_state()
    f = make(name).float()
    assert torch.equal(state, torch.get_rng_state())
    v, X = (a.float() for a in data())
    assert f(v, X).dtype == torch.float32 and not any(p.is_complex() for p in f.state_dict().values())
    with torch.autocast("cpu", torch.bfloat16):
        output = f(v, X)
        slopes = f.stream(v, X, [(1, 0)])
    output.float().sum().backward()
    exact = f(v, X).detach()
    assert float((output.float() - exact).detach().norm() / exact.norm()) < 0.1      # eight bits
    torch.testing.assert_close(slopes, f.stream(v, X, [(1, 0)]))                     # derivatives keep their digits


def test_the_antiderivative_is_learnt():
    """u(x) = ∫₀ˣ v, v of five random sines, by Adam for 500 steps: well below the 100 % of guessing zero."""
    g = generator(0)
    s = torch.linspace(0, 1, 33, dtype=torch.float64)
    k = torch.arange(1, 6, dtype=torch.float64)
    draw = lambda B: torch.randn(B, 5, generator=g, dtype=torch.float64) / k
    values = lambda a: (a @ torch.sin(torch.pi * k[:, None] * s))[..., None]
    truth = lambda a: (a / (torch.pi * k)) @ (1 - torch.cos(torch.pi * k[:, None] * s))
    f = DeepONet(1, 1, 33, width=32, depth=2, functions=16, generator=g).double()
    a, test = draw(200), draw(50)
    opt = torch.optim.Adam(f.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-2, total_steps=500)
    for _ in range(500):
        opt.zero_grad()
        (((f(values(a), s[:, None])[..., 0] - truth(a)).norm(dim=1) / truth(a).norm(dim=1)).mean()).backward()
        opt.step()
        schedule.step()
    with torch.no_grad():
        error = ((f(values(test), s[:, None])[..., 0] - truth(test)).norm(dim=1) / truth(test).norm(dim=1)).mean()
    assert float(error) < 0.1


def test_the_seen_inputs_are_scaled_coordinates():
    from sciml.calculus import IndexSet, Jet
    X = torch.tensor([[0.0, -1.0], [2.0, 3.0], [1.0, 1.0]])
    jet = module.Inputs(BOUNDS)(Jet.of_coordinates(X, IndexSet.closure((), 2)))
    torch.testing.assert_close(jet.value, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]))
