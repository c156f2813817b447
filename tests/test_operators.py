"""Operators on points: one contract for all of them, then what is particular to each."""

import io

import pytest
import torch

from sciml.errors import ProblemError
from sciml.geometry import delaunay_weights
from sciml.operators import GINO, GNO, NUNO, DeepONet, GeoFNO, MeshOperator

BOUNDS = ((0.0, 2.0), (-1.0, 1.0))
SMALL = {
    "mesh": lambda **o: MeshOperator(2, 3, BOUNDS, width=16, layers=2, heads=2, slices=6, **o),
    "mesh without attention": lambda **o: MeshOperator(2, 3, BOUNDS, width=16, layers=2, heads=2, slices=6,
                                                       attention="none", **o),
    "geo-fno": lambda **o: GeoFNO(2, 3, BOUNDS, modes=(3, 4), grid=(8, 9), width=8, layers=2, **o),
    "geo-fno, no map": lambda **o: GeoFNO(2, 3, BOUNDS, modes=(3, 4), grid=(8, 9), width=8, layers=2,
                                          deformation="none", **o),
    "nuno": lambda **o: NUNO(2, 3, BOUNDS, boxes=3, grid=(8, 7), modes=(3, 3), width=8, layers=2, features=4, **o),
    "gno": lambda **o: GNO(2, 3, BOUNDS, radius=0.5, width=8, layers=2, hidden=8, **o),
    "gino": lambda **o: GINO(2, 3, BOUNDS, grid=(8, 9), modes=(3, 3), width=8, layers=2, **o),
}
WEIGHTED = [name for name in SMALL if name != "nuno"]             # NUNO interpolates and reads no weights
PLANNED = {"nuno", "gno", "gino"}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model(name, seed=0):
    return SMALL[name](generator=generator(seed)).double()


def cloud(N=60, B=2, seed=1, own=False):
    g = generator(seed)
    X = torch.rand(*((B,) if own else ()), N, 2, generator=g, dtype=torch.float64)
    X = torch.stack([2 * X[..., 0], 2 * X[..., 1] - 1], -1)
    w = 0.5 + torch.rand(X.shape[:-1], generator=g, dtype=torch.float64)
    return torch.randn(B, N, 2, generator=g, dtype=torch.float64), X, 4 * w / w.sum(-1, keepdim=True)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("own", [False, True], ids=["shared points", "points of their own"])
def test_permuting_the_nodes_permutes_the_output(name, own):
    v, X, w = cloud(own=own)
    order = torch.randperm(v.shape[1], generator=generator(3))
    f = model(name)
    moved = f(v[:, order], X[..., order, :], w[..., order])
    torch.testing.assert_close(moved, f(v, X, w)[:, order], rtol=0, atol=1e-10)      # rounding of sums in another order


@pytest.mark.parametrize("name", SMALL)
def test_a_cloud_shared_by_a_batch_and_copies_of_it_are_the_same(name):
    v, X, w = cloud()
    f = model(name)
    expected = torch.cat([f(v[i:i + 1], X, w) for i in range(2)])                    # one by one
    for output in (f(v, X, w), f(v, X.expand(2, -1, -1), w), f(v, X, w.expand(2, -1)),
                   f(v, X.expand(2, -1, -1), w.expand(2, -1))):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_node_counted_twice_with_half_its_weight_changes_nothing(name):
    v, X, w = cloud()
    twice = torch.cat([torch.arange(60), torch.arange(20)])
    split = torch.ones(80, dtype=torch.float64)
    split[:20] = split[60:] = 0.5
    f = model(name)
    torch.testing.assert_close(f(v[:, twice], X[twice], w[twice] * split)[:, :60], f(v, X, w), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", WEIGHTED)
def test_nodes_of_weight_zero_are_padding(name):
    v, X, w = cloud(own=True)
    pad = lambda a, value: torch.cat([a, torch.full_like(a[:, :7], value)], 1)
    f = model(name)
    padded = f(pad(v, 3.0), pad(X, 0.25), torch.cat([w, torch.zeros(2, 7, dtype=w.dtype)], 1))[:, :60]
    torch.testing.assert_close(padded, f(v, X, w), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_the_output_has_the_dtype_of_the_input_and_weights_survive_a_round_trip(name):
    f = SMALL[name](generator=generator())
    before = {k: p.clone() for k, p in f.state_dict().items()}
    assert not any(p.is_complex() for p in before.values())
    v, X, w = cloud()
    double = f.double()(v, X, w)
    single = f.float()(v.float(), X.float(), w.float())
    assert double.dtype == torch.float64 and single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)        # float32 through a few layers
    assert all(torch.equal(p, before[k]) for k, p in f.state_dict().items())


@pytest.mark.parametrize("name", SMALL)
def test_a_state_dict_is_plain_tensors_and_serves_other_points(name):
    f = model(name)
    v, X, w = cloud()
    f(v, X, w)
    file = io.BytesIO()
    torch.save(f.state_dict(), file)
    file.seek(0)
    g = model(name, seed=9)
    g.load_state_dict(torch.load(file, weights_only=True))
    v, X, w = cloud(N=83, seed=5)
    assert torch.equal(f(v, X, w), g(v, X, w))


@pytest.mark.parametrize("name", SMALL)
def test_one_compiled_graph_gives_the_same_numbers(name):
    f = model(name)
    v, X, w = cloud()
    expected = f(v, X, w)
    more = {"plan": f.plan(X)} if name in PLANNED else {}
    torch._dynamo.reset()
    compiled = torch.compile(f, backend="eager", fullgraph=True)                     # raises at a break
    torch.testing.assert_close(compiled(v, X, w, **more), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_autocast_runs_forward_and_backward(name):
    f = SMALL[name](generator=generator())
    v, X, w = (a.float() for a in cloud())
    with torch.autocast("cpu", torch.bfloat16):
        output = f(v, X, w)
    output.float().square().mean().backward()
    exact = f(v, X, w)
    difference = (output.float() - exact).detach()
    assert float(difference.norm() / exact.detach().norm()) < 0.1                    # eight bits, a few layers
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in f.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_from_the_generator_alone(name):
    state = torch.get_rng_state()
    first, second = SMALL[name](generator=generator(4)), SMALL[name](generator=generator(4))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_differences(name):
    f = model(name)
    v, X, w = cloud(N=30)
    target = torch.randn(2, 30, 3, generator=generator(8), dtype=torch.float64)
    loss = lambda: ((f(v, X, w) - target) ** 2).sum()
    loss().backward()
    direction = [torch.randn(p.shape, generator=generator(i), dtype=p.dtype) for i, p in enumerate(f.parameters())]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(f.parameters(), direction, strict=True))
    sides = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for p, d in zip(f.parameters(), direction, strict=True):
                p += step * d
            sides.append(float(loss()))
    assert slope == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5, abs=1e-4)  # h² and rounding/h at h = 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_what_does_not_fit_is_said_in_a_sentence(name):
    f = model(name)
    v, X, w = cloud()
    with pytest.raises(ProblemError, match="without points"):
        f(v)
    with pytest.raises(ProblemError, match=r"expected \(B, N, 2\)"):
        f(v[..., :1], X, w)
    with pytest.raises(ProblemError, match="points have shape"):
        f(v, X[:5], w)
    with pytest.raises(ProblemError, match="quadrature weights have shape"):
        f(v, X, w[:5])


def test_options_that_do_not_fit_are_refused():
    for make, words in [
        (lambda: MeshOperator(1, 1, width=10, heads=4), "multiple of heads"),
        (lambda: MeshOperator(1, 1, attention="token"), "did you mean 'tokens'"),
        (lambda: MeshOperator(1, 1, bounds=((0, 0), (0, 1))), "low < high"),
        (lambda: GeoFNO(1, 1, modes=(12, 12), grid=(20, 40)), "grid ≥ 2 modes"),
        (lambda: GeoFNO(1, 1, deformation="learnt"), "'learned', 'none'"),
        (lambda: GNO(1, 1, radius=0.0), "must be positive"),
        (lambda: GINO(1, 1, grid=(8,)), "one number for each"),
        (lambda: NUNO(1, 1, boxes=torch.zeros(2, 3)), "low and high corners"),
        (lambda: NUNO(1, 1, grid=(4, 4), modes=(8, 8)), "2 modes"),
        (lambda: DeepONet(1, 1, 0), "at least 1"),
        (lambda: DeepONet(1, 1, 5, embedding={"waves": 3}), "embedding has no waves"),
        (lambda: DeepONet(1, 1, 5, embedding={"periods": {1: 1.0}}), "by column"),
    ]:
        with pytest.raises(ProblemError, match=words):
            make()
    f = GeoFNO(2, 1, BOUNDS, modes=(3, 3), grid=(8, 8), code=4).double()
    v, X, _ = cloud()
    with pytest.raises(ProblemError, match="code of 4 numbers"):
        f(v, X)
    assert f(v, X, code=torch.ones(2, 4, dtype=torch.float64)).shape == (2, 60, 1)
    with pytest.raises(ProblemError, match="latent grid have shape"):
        GINO(2, 1, BOUNDS, latent_inputs=1).double()(v, X)


@pytest.mark.parametrize("name", ["mesh", "mesh without attention", "geo-fno", "gno", "gino"])
def test_with_weights_the_output_does_not_follow_the_density_of_the_points(name):
    """One smooth function on 500 even points and on 1,500 that crowd at a side: outputs at 50 common points agree."""
    def points(N, power, seed):
        U = torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(N).double()
        edge = torch.linspace(0, 1, 17, dtype=torch.float64)
        side = torch.cat([torch.stack([edge, edge * 0 + c], 1) for c in (0.0, 1.0)] +
                         [torch.stack([edge[1:-1] * 0 + c, edge[1:-1]], 1) for c in (0.0, 1.0)])
        U = torch.cat([U, side])
        return torch.stack([2 * U[:, 0] ** power, 2 * U[:, 1] - 1], 1)

    common = points(50, 1.0, 7)[:50]
    function = lambda X: torch.stack([torch.sin(3 * X[:, 0]), torch.cos(2 * X[:, 0] - X[:, 1])], 1)
    f = model(name)
    outputs, plain = [], []
    for X in (points(500, 1.0, 1), points(1500, 2.0, 2)):
        X = torch.cat([common, X])
        v = function(X)[None]
        with torch.no_grad():
            outputs.append(f(v, X, delaunay_weights(X))[0, :50])
            plain.append(f(v, X)[0, :50])
    change = lambda pair: float((pair[0] - pair[1]).norm() / pair[1].norm())
    # what is left is the error of 500 points' quadrature; without weights it is the other density
    assert change(outputs) < 0.02 and change(plain) > 2 * change(outputs), (change(outputs), change(plain))
