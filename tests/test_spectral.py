"""Spectral layers and the operators made of them: against FFTs and plane waves; dtypes, state, other grids."""

import io

import pytest
import torch

from sciml.bench import operator_steps, run_suite
from sciml.errors import ProblemError
from sciml.operators import FFNO, FNO, UNO, SeparableConv, SpectralConv, resize
from sciml.operators.fno import padding_of
from sciml.operators.spectral import evaluate, evaluate_fft, prefers_fft, truncate, truncate_fft
from sciml.operators.weights import TuckerWeights, complex_product, counts, tucker_ranks

D = torch.float64
GRIDS = [((17,), (5,)), ((16,), (8,)), ((12, 13), (4, 5)), ((13, 12), (7, 6)), ((9, 10, 11), (3, 4, 5))]
MODELS = {"FNO": lambda **o: FNO(3, 2, (4, 5), width=6, layers=2, **o),
          "FNO tucker": lambda **o: FNO(3, 2, (4, 5), width=6, layers=2, factorisation="tucker", **o),
          "FNO separable": lambda **o: FNO(3, 2, (4, 5), width=6, layers=2, factorisation="separable", **o),
          "FNO by fft": lambda **o: FNO(3, 2, (4, 5), width=6, layers=2, method="fft", **o),
          "FFNO": lambda **o: FFNO(3, 2, (4, 5), width=6, layers=2, **o),
          "UNO": lambda **o: UNO(3, 2, (4, 5), width=4, levels=1, **o)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, dtype=D, seed=1):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def identity(layer):
    """The layer with the weights of the identity on every mode."""
    with torch.no_grad():
        layer.weights.weight.zero_()
        layer.weights.weight[0] = torch.eye(layer.weights.weight.shape[-1])
    return layer


def by_rfftn(v, layer):
    """The layer by torch's real transforms on the whole grid, a complex contraction and an explicit list of modes."""
    d, modes, shape = v.dim() - 2, layer.modes, v.shape[1:-1]
    axes = tuple(range(1, d + 1))
    spectrum = torch.fft.rfftn(v, dim=axes, norm="forward")
    W = torch.complex(*layer.weights.weight.detach()).unflatten(0, counts(modes))
    out = torch.zeros(*spectrum.shape[:-1], W.shape[-1], dtype=spectrum.dtype)
    signed = [[*range(m), *range(1 - m, 0)] for m in modes[:-1]] + [list(range(modes[-1]))]
    for place in torch.cartesian_prod(*(torch.arange(len(s)) for s in signed)).reshape(-1, d).tolist():
        at = tuple(s[i] % n for s, i, n in zip(signed, place, shape, strict=True))
        out[(slice(None), *at)] = spectrum[(slice(None), *at)] @ W[tuple(place)]
    return torch.fft.irfftn(out, s=shape, dim=axes, norm="forward")


def band_limited(shape, modes, seed=3, C=2):
    """A random field with all modes |k| < m, on any grid: the sum itself, without a transform of the package."""
    d, g = len(shape), seeded(seed)
    u = torch.zeros(*shape, C, dtype=D)
    axes = torch.meshgrid(*(torch.arange(n, dtype=D) / n for n in shape), indexing="ij")
    for k in torch.cartesian_prod(*(torch.arange(1 - m, m) for m in modes)).reshape(-1, d):
        phase = 2 * torch.pi * sum(x * int(i) for x, i in zip(axes, k, strict=True))
        a, b = torch.randn(2, C, generator=g, dtype=D)
        u += phase.cos()[..., None] * a + phase.sin()[..., None] * b
    return u[None]


@pytest.mark.parametrize("method", ["matrix", "fft"])
@pytest.mark.parametrize("shape, modes", GRIDS)
def test_a_layer_equals_real_transforms_on_the_whole_grid(shape, modes, method):
    layer = SpectralConv(4, 5, modes, dtype=D, method=method)
    v = random(3, *shape, 4)
    assert torch.allclose(layer(v), by_rfftn(v, layer), rtol=0, atol=1e-13)      # rounding of sums of order one


@pytest.mark.parametrize("shape, modes", GRIDS)
def test_both_transforms_agree_on_modes_and_on_other_grids(shape, modes):
    v, finer = random(2, *shape, 3), [2 * n + 1 for n in shape]
    Z = truncate(v, modes)
    assert torch.allclose(Z, truncate_fft(v, modes), rtol=0, atol=1e-14)
    assert torch.allclose(evaluate(Z, modes, finer), evaluate_fft(Z, modes, finer), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["matrix", "fft"])
@pytest.mark.parametrize("shape, modes", [((32,), (9,)), ((16, 15), (5, 8)), ((10, 12, 9), (3, 4, 5))])
def test_identity_weights_return_a_band_limited_field_on_any_grid(shape, modes, method):
    layer = identity(SpectralConv(2, 2, modes, dtype=D, method=method))
    v = band_limited(shape, modes)
    for other in ([2 * n for n in shape], [3 * n + 1 for n in shape], shape, [2 * m - 1 for m in modes]):
        exact = band_limited(other, modes)
        assert (layer(v, other) - exact).norm() <= 1e-12 * exact.norm()
    single = layer.float()(v.float(), [2 * n for n in shape])                                    # 1e-6: float32
    exact = band_limited([2 * n for n in shape], modes)
    assert (single - exact).norm() <= 1e-6 * exact.norm()


def test_separable_weights_of_the_identity_return_a_band_limited_field_once_for_each_axis():
    layer = SeparableConv(2, 2, (4, 5), dtype=D)
    with torch.no_grad():
        for axis in layer.axes:
            axis.weight.zero_()
            axis.weight[0] = torch.eye(2)
    v, exact = band_limited((12, 13), (4, 5)), band_limited((24, 27), (4, 5))
    assert (layer(v, (24, 27)) - 2 * exact).norm() <= 1e-12 * exact.norm()


def test_a_separable_layer_is_the_sum_of_layers_along_single_axes():
    layer, v = SeparableConv(3, 2, (3, 4, 2), dtype=D), random(2, 7, 9, 6, 3)
    total = torch.zeros(2, 7, 9, 6, 2, dtype=D)
    for axis, weights in enumerate(layer.axes, 1):
        spectrum = torch.fft.rfft(v, dim=axis, norm="forward").movedim(axis, -2)
        m = layer.modes[axis - 1]
        mixed = torch.einsum("...ki,kio->...ko", spectrum[..., :m, :], torch.complex(*weights.weight.detach()))
        total += torch.fft.irfft(mixed, n=v.shape[axis], dim=-2, norm="forward").movedim(-2, axis)
    assert torch.allclose(layer(v), total, rtol=0, atol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_plane_wave_below_the_limit_has_gain_one_along_every_axis_and_above_it_none(axis):
    layer, n, m = identity(SpectralConv(1, 1, (4, 4, 4), dtype=D)), 12, 4
    x = torch.arange(n, dtype=D) / n
    for k in (0, 1, m - 1, m, m + 1):
        wave = torch.cos(2 * torch.pi * k * x + 0.3).reshape([-1 if a == axis else 1 for a in range(3)])
        v = wave.expand(n, n, n)[None, ..., None].contiguous()
        assert torch.allclose(layer(v), v if k < m else torch.zeros_like(v), rtol=0, atol=1e-14)


def test_the_nyquist_mode_of_an_even_grid_is_never_used():
    layer = identity(SpectralConv(1, 1, (8, 8), dtype=D))          # 16 points have modes up to 7 below Nyquist
    checkerboard = (1.0 - 2.0 * (torch.arange(14) % 2)).to(D)
    assert layer.kept((14, 16)) == (7, 8) and layer.kept((15, 17)) == (8, 8)
    assert layer(checkerboard[None, :, None, None].expand(1, 14, 16, 1)).abs().max() < 1e-15


def test_imaginary_parts_at_mode_zero_have_no_effect():
    for method in ("matrix", "fft"):
        layer, v = SpectralConv(3, 3, (4, 4), dtype=D, method=method), random(2, 9, 8, 3)
        before = layer(v)
        with torch.no_grad():
            layer.weights.weight[1].unflatten(0, (7, 4))[0, 0] += 10.0
        assert torch.allclose(layer(v), before, rtol=0, atol=1e-14)


def test_the_same_field_on_a_finer_grid_has_the_same_output():
    layer = SpectralConv(2, 3, (5, 4), dtype=D)
    coarse, fine = layer(band_limited((12, 10), (5, 4))), layer(band_limited((24, 20), (5, 4)))
    assert torch.allclose(fine[:, ::2, ::2], coarse, rtol=0, atol=1e-12)


def test_on_a_coarse_grid_the_low_modes_keep_their_weights():
    full, small = SpectralConv(2, 3, (6, 5), dtype=D), SpectralConv(2, 3, (3, 4), dtype=D)
    with torch.no_grad():
        W = full.weights.weight.unflatten(1, (11, 5))
        small.weights.weight.copy_(torch.cat([W[:, :3, :4], W[:, -2:, :4]], 1).flatten(1, 2))
    v = random(2, 5, 7, 2)
    assert full.kept((5, 7)) == (3, 4)
    assert torch.allclose(full(v), small(v), rtol=0, atol=1e-14)


def test_tucker_weights_equal_dense_ones_of_the_same_tensor_and_keep_their_variance():
    layer = SpectralConv(6, 5, (4, 5), tucker=0.3, dtype=D)
    tucker = layer.weights
    assert isinstance(tucker, TuckerWeights)
    K, L, U, V = tucker.factors
    W = torch.einsum("cabpq,ka,lb,ip,oq->cklio", tucker.core, K, L, U, V).flatten(1, 2).detach()
    whole = SpectralConv(6, 5, (4, 5), dtype=D)
    with torch.no_grad():
        whole.weights.weight.copy_(W)
    for shape in ((9, 12), (5, 7)):
        v = random(2, *shape, 6)
        assert torch.allclose(layer(v), whole(v), rtol=0, atol=1e-13)
    size = lambda module: sum(p.numel() for p in module.parameters())
    assert 0.2 < size(tucker) / size(whole) <= 0.3
    small = torch.float32
    stds = [SpectralConv(6, 5, (4, 5), tucker=0.3, generator=seeded(s))(random(4, 9, 9, 6, dtype=small)).std()
            / SpectralConv(6, 5, (4, 5), generator=seeded(s))(random(4, 9, 9, 6, dtype=small)).std()
            for s in range(30)]
    assert 0.8 < torch.stack(stds).mean() < 1.25                                  # 30 draws of a ratio near one
    assert tucker_ranks((7, 5, 6, 5), 1.0) != tucker_ranks((7, 5, 6, 5), 0.1)


def test_products_of_modes_are_complex_products():
    X, A, B = random(7, 2, 3, 4), random(7, 4, 5, seed=2), random(7, 4, 5, seed=3)
    exact = torch.complex(X[:, 0], X[:, 1]) @ torch.complex(A, B)
    assert torch.allclose(torch.complex(*complex_product(X, A, B).unbind(1)), exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n, to", [(8, 8), (8, 16), (9, 18), (8, 11), (16, 8), (15, 6), (12, 5), (10, 9)])
def test_resizing_keeps_values_at_shared_points_and_drops_what_does_not_fit(n, to):
    fine = random(2, n, 3)
    if to >= n:
        if to % n == 0:                                                           # also with a Nyquist mode in it
            assert torch.allclose(resize(fine, [to])[:, ::to // n], fine, rtol=0, atol=1e-14)
        v = band_limited((n,), ((n + 1) // 2,))
        assert torch.allclose(resize(v, [to]), band_limited((to,), ((n + 1) // 2,)), rtol=0, atol=1e-13)
    else:
        m = (to + 1) // 2
        low, x = band_limited((n,), (m,)), torch.arange(n, dtype=D) / n
        above = torch.cos(2 * torch.pi * m * x + 0.4)[None, :, None]              # would fold onto a lower mode
        assert torch.allclose(resize(low + above, [to]), band_limited((to,), (m,)), rtol=0, atol=1e-13)


def test_resizing_acts_along_each_axis_without_changing_the_amplitude():
    v = band_limited((9, 12, 8), (3, 4, 2))
    assert torch.allclose(resize(v, (15, 7, 8)), band_limited((15, 7, 8), (3, 4, 2)), rtol=0, atol=1e-12)
    with pytest.raises(ProblemError, match="the new grid \\(15, 7\\) has 2; give one size for each axis"):
        resize(v, (15, 7))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_follows_the_dtype_and_keeps_its_weights_in_a_round_trip(name):
    model = MODELS[name](generator=seeded())
    weights = [p.detach().clone() for p in model.parameters()]
    assert not any(p.is_complex() for p in model.parameters())
    v = random(2, 11, 12, 3, dtype=torch.float32)
    single = model(v)
    double = model.double()(v.double())
    assert single.dtype == torch.float32 and double.dtype == D
    assert torch.allclose(single.double(), double, rtol=0, atol=2e-6 * float(double.detach().abs().max()) + 1e-6)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.to(torch.float32).parameters(), strict=True))
    assert torch.equal(model(v), single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(v)
    half.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    assert (half.float() - single).norm() < 0.05 * single.norm() + 0.02 * single.numel()**0.5 # eight bits of mantissa


@pytest.mark.parametrize("name", MODELS)
def test_a_state_holds_plain_tensors_and_serves_another_grid_at_once(name):
    model, other = MODELS[name](generator=seeded(), dtype=D), MODELS[name](generator=seeded(1), dtype=D)
    model(random(1, 9, 10, 3))                                        # tables of one grid are not in the state
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    v = random(2, 14, 17, 3)
    assert torch.equal(other(v), model(v)) and model(v).shape == (2, 14, 17, 2)
    again = type(model)(**{**model.config, "modes": tuple(model.config["modes"])})
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]
    assert "modes=[4, 5]" in repr(model)


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_makes_the_weights_and_torchs_own_generator_is_not_used(name):
    before = torch.get_rng_state()
    a, b, c = MODELS[name](generator=seeded(3)), MODELS[name](generator=seeded(3)), MODELS[name](generator=seeded(4))
    assert torch.equal(before, torch.get_rng_state())
    v = random(1, 9, 9, 3, dtype=torch.float32)
    assert torch.equal(a(v), b(v)) and not torch.allclose(a(v), c(v))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree_with_differences(name):
    model, v = MODELS[name](generator=seeded(), dtype=D, periodic=(True, False)), random(1, 6, 7, 3).requires_grad_()
    moved = [v, *model.parameters()]
    directions = [random(*p.shape, seed=i) for i, p in enumerate(moved)]
    loss = lambda: model(v).square().mean()
    slope = sum((g * t).sum() for g, t in zip(torch.autograd.grad(loss(), moved), directions, strict=True))
    values = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for p, t in zip(moved, directions, strict=True):
                p += step * t
            values.append(loss())
    assert torch.allclose((values[0] - values[1]) / 2e-5, slope, rtol=1e-6)      # central difference: h² and rounding/h


@pytest.mark.parametrize("name", MODELS)
def test_a_periodic_model_commutes_with_shifts(name):
    model, v = MODELS[name](generator=seeded(), dtype=D, periodic=True), random(2, 8, 12, 3)
    shift = lambda u: u.roll((4, 6), (1, 2))       # by grid points of every level of a U
    assert torch.allclose(model(shift(v)), shift(model(v)), rtol=0, atol=1e-11)


def test_a_linear_fno_maps_the_same_field_on_a_finer_grid_to_the_same_output():
    for model in (FNO(2, 1, (4, 5), width=5, layers=1, projection=0, periodic=True, dtype=D),
                  FNO(2, 1, (4, 5), width=5, layers=1, projection=0, periodic=True, dtype=D,
                      factorisation="separable")):
        coarse, fine = band_limited((10, 11), (4, 5)), band_limited((20, 22), (4, 5))
        assert torch.allclose(model(fine)[:, ::2, ::2], model(coarse), rtol=0, atol=1e-11)


def test_the_padded_box_is_as_long_at_every_resolution():
    for n in (33, 65, 129, 257):
        assert (n + padding_of(n, 0.09)) / (n - 1) == pytest.approx(1.09, abs=0.5 / (n - 1))
    assert padding_of(33, 0.0) == 0 and padding_of(2, 0.09) == 1
    model = FNO(1, 1, (4, 4), periodic=(True, False), dtype=D)
    assert model.pads((64, 65)) == (0, 5)
    v = model.pad(random(1, 6, 33, 1))
    assert v.shape == (1, 6, 35, 1) and not v[:, :, 33:].any()


def test_a_step_on_an_axis_with_ends_is_not_seen_on_the_other_side_of_the_box():
    ramp = torch.linspace(0, 1, 33, dtype=D)[None, :, None]
    model = FNO(1, 1, (5,), width=4, dtype=D)
    assert not torch.allclose(model(ramp), FNO(1, 1, (5,), width=4, periodic=True, dtype=D)(ramp))


def test_the_last_layer_has_no_activation():
    model = FNO(1, 1, (3,), width=3, layers=1, projection=0, periodic=True, dtype=D)
    zero = model(torch.zeros(1, 8, 1, dtype=D))
    v = random(1, 8, 1)
    assert torch.allclose(model(2 * v) - zero, 2 * (model(v) - zero), rtol=0, atol=1e-13)


def test_fast_transforms_are_taken_for_many_modes():
    assert prefers_fft((1024,), (256,)) and not prefers_fft((1024,), (16,))
    assert prefers_fft((128, 128), (64, 64)) and not prefers_fft((64, 64), (12, 12))
    assert prefers_fft((16, 16, 16), (8, 8, 8)) and not prefers_fft((64, 64, 64), (8, 8, 8))


@pytest.mark.parametrize("name", ["FNO", "UNO", "FFNO"])
def test_a_model_compiles_to_one_graph(name):
    model, v = MODELS[name](generator=seeded(), dtype=D), random(1, 9, 10, 3)
    expected = model(v)                                                          # also makes the tables
    graphs = []
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=lambda g, _: graphs.append(g) or g.forward)
    assert torch.allclose(compiled(v), expected, rtol=0, atol=1e-13) and len(graphs) == 1
    finer = random(1, 12, 13, 3)
    assert torch.allclose(compiled(finer), model(finer), rtol=0, atol=1e-13)
    torch._dynamo.reset()


@pytest.mark.parametrize("wrong, message", [
    (lambda: SpectralConv(1, 1, ()), r"modes=\(\) must be one to three whole numbers"),
    (lambda: SpectralConv(1, 1, (3, 0)), r"modes=\(3, 0\) must be"),
    (lambda: SpectralConv(1, 1, (3,), method="dft"), "unknown method of spectral layers 'dft'; did you mean 'fft'"),
    (lambda: SpectralConv(1, 1, (3,), tucker=1.5), r"rank=1.5 must be a fraction of the dense weights' parameters"),
    (lambda: FNO(1, 1, (3,), factorisation="tuker"), "unknown factorisation 'tuker'; did you mean 'tucker'"),
    (lambda: FNO(1, 1, (3, 3), periodic=(True,)), r"periodic=\(True,\) must be True, False, or one of them for each"),
    (lambda: FNO(1, 1, (3,), padding=2.0), "padding=2.0 must be a fraction of the box"),
    (lambda: UNO(1, 1, (3,), levels=0), "levels=0 must be at least 1; without halving take FNO"),
    (lambda: FNO(1, 1, (3,))(torch.zeros(2, 1, 1)), "an axis that does not repeat has 1 points; it needs both ends"),
    (lambda: FNO(2, 1, (3, 3))(torch.zeros(2, 8, 8, 1)), r"FNO got \(2, 8, 8, 1\), expected \(B, n_1, n_2, 2\)"),
    (lambda: SpectralConv(2, 1, (3,))(torch.zeros(2, 2, 8)),
     r"a spectral layer got \(2, 2, 8\), expected \(B, n_1, 2\)"),
    (lambda: SpectralConv(1, 1, (3,))(torch.zeros(2, 8, 1, dtype=D)),
     "weights of torch.float32 got torch.float64; convert"),
    (lambda: SpectralConv(1, 1, (3,))(torch.zeros(2, 8, 1), (8, 8)), r"shape=\(8, 8\) must have 1 numbers"),
])
def test_mistakes_are_told_in_a_sentence(wrong, message):
    with pytest.raises(ProblemError, match=message):
        wrong()


def test_the_table_of_steps_has_a_ratio_only_where_the_peer_is_installed():
    rows = operator_steps.measure([operator_steps.Shape((16,), 4, 3, 0.5)], repetitions=2)
    assert rows[0]["milliseconds"]["ours"] > 0 and rows[0]["label"] == "16, 4 channels, m = 3"
    without = [{**rows[0], "milliseconds": {"ours": 3.2}, "ratio": None}]
    last = operator_steps.markdown(without).splitlines()[-1]
    assert last == "| 16, 4 channels, m = 3 | 3 | not installed | – | 0.5 |"
    beside = [{**rows[0], "milliseconds": {"ours": 3.2, "peer": 8.0}, "ratio": 0.4}]
    assert operator_steps.markdown(beside).splitlines()[-1] == "| 16, 4 channels, m = 3 | 3 | 8 | **0.40** | 0.5 |"


def test_the_suite_of_steps_writes_its_table_from_the_rows_that_it_keeps(tmp_path):
    (tmp_path / "operator-steps-cpu.json").write_text('{"rows": [{"label": "16", "target": 0.5, "ratio": 0.4, '
                                                      '"milliseconds": {"ours": 1, "peer": 2.5}}]}')
    assert list(run_suite("operator-steps", out=tmp_path))[-1].endswith("| 16 | 1 | 2 | **0.40** | 0.5 |")
