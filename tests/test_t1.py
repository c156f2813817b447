"""T1: bases, Parseval, tails, other grids, variances, against quadrature and scipy's transforms."""

import pytest
import scipy.fft
import torch

from sciml.errors import ProblemError
from sciml.operators import T1
from sciml.operators.t1 import BASES
from sciml.operators.tables import MATRICES

D = torch.float64
POINTS = {"dct": lambda n: (torch.arange(n, dtype=D) + 0.5) / n,
          "dct-nodes": lambda n: torch.linspace(0, 1, n, dtype=D),
          "fourier": lambda n: torch.arange(n, dtype=D) / n}


def random(*shape, dtype=D, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def functions(basis, m, x):
    """The first m functions of a basis from their formulas, (m, N)."""
    if basis == "fourier":
        rows = [f(2 * torch.pi * k * x) for k in range(1, m) for f in (torch.cos, torch.sin)]
    else:
        rows = [torch.cos(torch.pi * k * x) for k in range(1, m)]
    return torch.stack([torch.ones_like(x), *(2**0.5 * row for row in rows)])[:m]


@pytest.mark.parametrize("n", [8, 9, 17])
@pytest.mark.parametrize("basis", BASES)
def test_the_functions_of_a_basis_are_orthonormal_on_the_grid_up_to_the_last_one(basis, n):
    m = BASES[basis](n)
    rows, weighted = MATRICES[basis](n, m), MATRICES[basis + "-weighted"](n, m)
    assert torch.allclose(rows, functions(basis, m, POINTS[basis](n)), rtol=0, atol=1e-13)
    assert torch.allclose(weighted @ rows.t(), torch.eye(m, dtype=D), rtol=0, atol=1e-13)


def test_coefficients_are_scipys_orthonormal_cosine_transform_over_the_root_of_the_number_of_points():
    u, model = random(2, 9, 12, 3), T1(3, 1, (9, 12), basis="dct", width=2, layers=0, dtype=D)
    exact = scipy.fft.dctn(u.numpy(), axes=(1, 2), norm="ortho") / (9 * 12)**0.5
    assert torch.allclose(model.encode(u), torch.from_numpy(exact), rtol=0, atol=1e-13)
    assert torch.allclose(model.decode(model.encode(u), (9, 12)), u, rtol=0, atol=1e-13)
    assert torch.allclose(model.encode(u).square().sum((1, 2)), u.square().mean((1, 2)), rtol=1e-12)       # Parseval


@pytest.mark.parametrize("basis", BASES)
def test_coefficients_are_those_of_the_function_at_every_resolution(basis):
    model = T1(2, 1, (5, 6), basis=basis, width=3, layers=2, dtype=D)
    c = random(2, 5, 6, 2)
    fields = {}
    for shape in ((12, 14), (25, 31)):
        rows = [functions(basis, m, POINTS[basis](n)) for m, n in zip((5, 6), shape, strict=True)]
        fields[shape] = torch.einsum("bklc,kx,ly->bxyc", c, *rows)
        assert torch.allclose(model.encode(fields[shape]), c, rtol=0, atol=1e-13)
        assert torch.allclose(model.decode(c, shape), fields[shape], rtol=0, atol=1e-12)
        assert model.tail(fields[shape]).max() < 1e-14
    coarse, fine = (model.spectrum(f) for f in fields.values())
    assert torch.allclose(coarse, fine, rtol=0, atol=1e-12)
    assert torch.allclose(model.decode(fine, (12, 14)), model(fields[12, 14]), rtol=0, atol=1e-12)


def test_the_loss_on_coefficients_is_that_on_the_grid_and_the_tail_is_the_rest():
    model = T1(1, 1, (5, 6), periodic=True, width=3, layers=1, dtype=D)
    v, u = random(3, 9, 11, 1), random(3, 9, 11, 1, seed=2)
    on_grid = (model(v) - u).square().mean((1, 2, 3))
    on_coefficients = (model.spectrum(v) - model.encode(u)).square().sum((1, 2, 3))
    tail = model.tail(u)**2 * u.square().mean((1, 2, 3))
    assert torch.allclose(on_grid, on_coefficients + tail, rtol=1e-12)


def test_the_tail_of_a_function_above_the_limit_is_known():
    x = torch.arange(32, dtype=D) / 32
    u = (3 * torch.cos(2 * torch.pi * x) + 4 * torch.sin(2 * torch.pi * 9 * x))[None, :, None]
    assert T1(1, 1, (8,), periodic=True, width=2, layers=0, dtype=D).tail(u).item() == pytest.approx(0.8, abs=1e-13)


def test_a_coarse_grid_gives_the_coefficients_that_it_carries_and_zeros():
    model = T1(1, 2, (9, 12), periodic=(True, False), width=3, layers=1, dtype=D)
    assert model.kept((8, 8)) == (7, 7) and model.kept((9, 13)) == (9, 12)
    c = model.encode(random(2, 8, 8, 1))
    assert c.shape == (2, 9, 12, 1) and not c[:, 7:].any() and not c[:, :, 7:].any()
    assert model(random(2, 8, 8, 1)).shape == (2, 8, 8, 2)


def test_mixing_is_the_sum_over_coefficients_of_each_axis_for_each_channel():
    model, B = T1(1, 1, (3, 4, 2), width=5, layers=2, dtype=D), 3
    z = random(24, B, 5)
    A, L, K = model.mixing[3:]
    exact = torch.einsum("cai,cbj,cdk,ijknc->abdnc", A, L, K, z.unflatten(0, (3, 4, 2))).flatten(0, 2)
    assert torch.allclose(model._mix(z, 1), exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize("m", [5, 6])
@pytest.mark.parametrize("basis", ["dct", "fourier"])
def test_values_are_an_orthogonal_turn_of_coefficients(basis, m):
    R = MATRICES[basis + "-turned"](m, m)
    assert torch.allclose(R @ R.t(), torch.eye(m, dtype=D), rtol=0, atol=1e-13)
    rows = functions(basis, m, POINTS[basis](m))
    last = m - (basis == "fourier" and m % 2 == 0)                                # cos 2π(m/2)x has norm √2 on m points
    assert torch.allclose(R[:last], rows[:last] / m**0.5, rtol=0, atol=1e-13)


def test_inside_values_layers_see_the_field_on_as_many_points_and_begin_as_convolutions():
    model, v = T1(1, 2, (5, 7), periodic=True, inside="values", width=4, layers=3, dtype=D), random(2, 10, 14, 1)
    low = model.decode(model.encode(v), (5, 7))                                   # on m points, j/m
    assert torch.allclose(model._turned(model.encode(v)), low / 35**0.5, rtol=0, atol=1e-13)
    shifted = model(v.roll((2, 4), (1, 2)))                                       # one place of five, two of seven
    assert torch.allclose(shifted, model(v).roll((2, 4), (1, 2)), rtol=0, atol=1e-12)
    plain = T1(**{**model.config, "inside": "coefficients"}, dtype=D)
    assert not torch.allclose(plain(v.roll((2, 4), (1, 2))), plain(v).roll((2, 4), (1, 2)), rtol=0, atol=1e-3)
    finer = model.decode(model.encode(v), (15, 21))                               # any resolution, as before
    assert torch.allclose(model.spectrum(finer), model.spectrum(v), rtol=0, atol=1e-12)
    with pytest.raises(ProblemError, match="values"):
        T1(1, 1, (5,), inside="nodes")


@pytest.mark.parametrize("layers", [0, 2, 8])
def test_a_field_of_mean_square_one_leaves_as_one_of_order_one_at_any_depth(layers):
    found = []
    for seed in range(5):
        model = T1(1, 1, (8, 8), basis="dct", width=32, layers=layers, generator=torch.Generator().manual_seed(seed))
        c = random(16, 8, 8, 1, dtype=torch.float32, seed=seed)
        v = model.decode(c / c.square().sum((1, 2, 3), keepdim=True).sqrt(), (20, 24))
        found.append(model(v).square().mean())
    expected = 1 if layers == 0 else 2                                            # the branches together add one more
    assert 0.5 * expected < torch.stack(found).mean() < 2 * expected              # random weights: 5 draws


def test_it_follows_dtypes_has_plain_states_and_compiles_to_one_graph():
    model, v = T1(3, 2, (4, 5), width=6, layers=2), random(2, 9, 12, 3, dtype=torch.float32)
    single, again = model(v), T1(**{**model.config, "modes": (4, 5)}, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(again(v), single)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(v), single) and single.dtype == torch.float32
    graphs = []
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=lambda g, _: graphs.append(g) or g.forward)
    assert torch.allclose(compiled(v), single, rtol=0, atol=1e-6) and len(graphs) == 1
    torch._dynamo.reset()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(v)
    half.float().sum().backward()
    assert (half.float() - single).norm() < 0.05 * single.norm()                  # eight bits of mantissa
    double = again.double()(v.double())
    assert double.dtype == D and torch.allclose(double.float(), single, rtol=0, atol=1e-5)
    assert not any(p.is_complex() for p in model.parameters())


@pytest.mark.parametrize("wrong, message", [
    (lambda: T1(1, 1, (4, 4), basis="dtc"), "unknown basis 'dtc'; did you mean 'dct'"),
    (lambda: T1(1, 1, (4, 4), periodic=(True,)), r"periodic=\(True,\) must be one value, or one for each of 2 axes"),
    (lambda: T1(1, 1, (4,), width=2, layers=0).encode(torch.zeros(1, 4, 4, 1)),
     r"T1 got \(1, 4, 4, 1\), expected \(B, n_1, C\)"),
    (lambda: T1(1, 1, (4,), width=2, layers=0).encode(torch.zeros(1, 1, 1)), "too few points to carry a single mode"),
    (lambda: T1(2, 1, (4,), width=2, layers=0)(torch.zeros(1, 9, 1)),
     "T1 got 1 channels, expected 2; channels are the last"),
    (lambda: T1(1, 1, (4,), width=2, layers=0)(torch.zeros(1, 9, 1, dtype=D)),
     "weights of torch.float32 got torch.float64"),
])
def test_mistakes_are_told_in_a_sentence(wrong, message):
    with pytest.raises(ProblemError, match=message):
        wrong()
