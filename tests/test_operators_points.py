"""What is particular to each operator on points: transforms against the FFT, boxes, interpolation, weights, density."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from sciml.errors import ProblemError
from sciml.geometry import Box, Disk, delaunay_weights, voronoi_weights
from sciml.operators import GNO, NUDFT, NUNO, GeoFNO, Waves, kd_boxes, near_pairs
from sciml.operators.geo_fno import lattice
from sciml.operators.nuno import gathered
from sciml.operators.slices import SliceAttention
from sciml.operators.subdomains import box_grids, links


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


GRIDS = [((16,), (5,)), ((9,), (5,)), ((12, 15), (4, 6)), ((8, 9, 10), (3, 2, 4))]


# the non-uniform transform

@pytest.mark.parametrize("grid, modes", GRIDS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_on_a_uniform_grid_the_transform_to_modes_is_the_fft(grid, modes, dtype, tolerance):
    v = random(2, *grid, 3, dtype=dtype)
    waves = Waves(modes)
    re, im = waves.to_modes(v.reshape(2, -1, 3), lattice(grid, v.device))
    axes = list(range(1, len(grid) + 1))
    full = torch.fft.rfftn(v.double(), dim=axes, norm="forward")
    for row, k in enumerate(waves.vectors):
        expected = full[(slice(None), *(q % n for q, n in zip(k, grid, strict=True)))]
        torch.testing.assert_close(re[:, row].double(), expected.real, rtol=0, atol=tolerance)
        torch.testing.assert_close(im[:, row].double(), expected.imag, rtol=0, atol=tolerance)


@pytest.mark.parametrize("grid, modes", GRIDS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_on_a_uniform_grid_the_layer_is_fft_matrices_inverse_fft(grid, modes, dtype, tolerance):
    layer = NUDFT(2, 3, modes, generator()).to(dtype)
    v = random(2, *grid, 2, dtype=dtype)
    axes = list(range(1, len(grid) + 1))
    full = torch.fft.rfftn(v.double(), dim=axes, norm="forward")
    mixed = torch.zeros(*full.shape[:-1], 3, dtype=torch.complex128)
    W = torch.complex(*layer.weight.detach().double())
    for row, k in enumerate(layer.waves.vectors):
        at = (slice(None), *(q % n for q, n in zip(k, grid, strict=True)))
        mixed[at] = full[at] @ W[row]
    for axis in range(len(grid) - 1):
        mixed = torch.fft.ifft(mixed, dim=1 + axis, norm="forward")
    # the last axis by hand: irfft leaves the imaginary parts of k = 0 undefined
    n, m = grid[-1], modes[-1]
    expected = sum((1 if k == 0 else 2) * (mixed[..., k:k + 1, :] * torch.exp(
        2j * torch.pi * k * torch.arange(n, dtype=torch.float64)[:, None] / n)).real for k in range(m))
    found = layer(v.reshape(2, -1, 2), lattice(grid, v.device)).reshape(expected.shape)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * 10)  # sums of 77 modes


def test_a_function_of_few_modes_comes_back_at_other_points_whatever_its_phase():
    """The half spectrum with 2 Re; a flipped one pairs k with −k−1 and fails here by as much as the function."""
    waves = Waves((4, 4))
    G, Y = lattice((12, 12), torch.device("cpu")), torch.rand(50, 2, generator=generator(2), dtype=torch.float64)
    function = lambda X: sum(a * torch.cos(2 * torch.pi * (k * X[:, 0] + q * X[:, 1]) + phase) for a, k, q, phase in
                             [(1.0, 2, 3, 0.3), (0.7, -3, 1, 1.0), (0.5, 3, 0, 2.0), (0.2, 0, 0, 0.1), (0.4, 0, -2, 0)])
    found = waves.to_points(waves.to_modes(function(G)[None, :, None], G), Y)[0, :, 0]
    torch.testing.assert_close(found, function(Y), rtol=0, atol=1e-13)


def test_quadrature_weights_make_coefficients_of_crowded_points_right():
    U = torch.rand(4000, 1, generator=generator(1), dtype=torch.float64) ** 2
    function = torch.cos(4 * torch.pi * U) + 0.5
    w = delaunay_weights(U)
    re = Waves((4,)).to_modes(function[None], U, w)[0, 0, :, 0]
    plain = Waves((4,)).to_modes(function[None], U)[0, 0, :, 0]
    exact = torch.tensor([0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    assert float((re - exact).abs().max()) < 1e-3 < 0.05 < float((plain - exact).abs().max())  # trapezia of 4,000


def test_tables_of_points_that_stand_still_are_made_once_and_new_ones_for_points_written_to():
    waves, X = Waves((3, 3)), torch.rand(20, 2, generator=generator())
    first = waves.tables(X, torch.float32)[0]
    assert waves.tables(X, torch.float32)[0].data_ptr() == first.data_ptr()
    before = first.clone()
    X += 0.1
    assert not torch.equal(waves.tables(X, torch.float32)[0], before)


def test_modes_must_be_numbers_per_coordinate():
    with pytest.raises(ProblemError, match="one whole number per coordinate"):
        Waves((3, 0))


def test_a_map_of_ones_own_unrolls_a_ring_onto_the_torus():
    """In polar places a function of the angle alone has one mode; the layer at these points sees no x, y."""
    t = 2 * torch.pi * torch.rand(300, generator=generator(), dtype=torch.float64)
    r = 1 + torch.rand(300, generator=generator(1), dtype=torch.float64)
    X = torch.stack([r * torch.cos(t), r * torch.sin(t)], 1)
    polar = lambda X: torch.stack([X.norm(dim=-1) - 1, torch.atan2(X[..., 1], X[..., 0]) / (2 * torch.pi)], -1) * \
        torch.tensor([0.5, 1.0], dtype=X.dtype)
    f = GeoFNO(1, 1, ((-2, 2), (-2, 2)), modes=(3, 4), grid=(8, 8), width=8, layers=1, deformation=polar).double()
    torch.testing.assert_close(f.places(X), polar(X))
    assert f(torch.cos(t)[None, :, None], X).shape == (1, 300, 1)


# quadrature weights

def test_delaunay_weights_integrate_linear_functions_exactly():
    X = torch.rand(200, 2, generator=generator(), dtype=torch.float64)
    X = torch.cat([X, torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.float64)])
    w = delaunay_weights(X)
    assert float(w.sum()) == pytest.approx(1.0, abs=1e-12) and bool((w > 0).all())
    assert float((w * (3 * X[:, 0] - X[:, 1])).sum()) == pytest.approx(1.0, abs=1e-12)


def test_delaunay_weights_are_of_second_order_in_two_and_three_dimensions():
    errors = {}
    for D in (1, 2, 3):
        for n in (6, 12):
            axes = torch.linspace(0, 1, n + 1, dtype=torch.float64)
            X = torch.cartesian_prod(*[axes] * D).reshape(-1, D)
            inner = ((X > 0) & (X < 1)).all(1, keepdim=True)
            X = X + inner * 0.2 / n * torch.rand(X.shape, generator=generator(), dtype=torch.float64)
            errors[D, n] = abs(float((delaunay_weights(X) * torch.exp(X.sum(1))).sum()) - (np.e - 1) ** D)
        assert errors[D, 12] < errors[D, 6] / 3, errors                              # 4 for second order


def test_delaunay_weights_leave_out_holes():
    X = torch.from_numpy(np.stack(np.meshgrid(*[np.linspace(-1, 1, 61)] * 2), -1).reshape(-1, 2))
    X = X[X.norm(dim=1) > 0.5]
    w = delaunay_weights(X, lambda C: C.norm(dim=1) > 0.5)
    assert float(w.sum()) == pytest.approx(4 - np.pi / 4, rel=0.01)                  # a rim of cells 1/30 wide


def test_voronoi_weights_have_the_domains_measure_and_integrate():
    for domain, value in ((Box(x=(0, 2), y=(0, 1)), 2.0), (Disk(center=(0, 0), radius=1), np.pi / 4)):
        X = domain.sample(1000, generator=generator(), rule="uniform").X
        w = voronoi_weights(X, domain)
        assert float(w.sum()) == pytest.approx(domain.measure, rel=1e-12)
        integral = float((w * (X[:, 0] if value == 2.0 else X[:, 0] ** 2)).sum())
        assert integral == pytest.approx(value, rel=0.01)                            # cells of 1/30, second order


def test_points_without_volume_have_no_weights():
    with pytest.raises(ProblemError, match="line or plane"):
        delaunay_weights(torch.stack([torch.arange(9.0), torch.arange(9.0)], 1))
    with pytest.raises(ProblemError, match="more points than coordinates"):
        delaunay_weights(torch.zeros(2, 2))
    with pytest.raises(ProblemError, match="expected \\(N, 2\\)"):
        voronoi_weights(torch.zeros(5, 3), Box(x=(0, 1), y=(0, 1)))


# boxes and interpolation

def test_boxes_tile_the_domain_and_follow_the_points():
    X = torch.rand(5000, 2, generator=generator(), dtype=torch.float64) ** 3
    boxes = kd_boxes(X, 8, ((0, 1), (0, 1)))
    assert float((boxes[:, 1] - boxes[:, 0]).prod(1).sum()) == pytest.approx(1.0, abs=1e-12)
    Y = torch.rand(2000, 2, generator=generator(1), dtype=torch.float64)
    holds = ((Y[:, None] >= boxes[:, 0]) & (Y[:, None] < boxes[:, 1])).all(-1)
    assert bool((holds.sum(1) == 1).all())
    size = (boxes[:, 1] - boxes[:, 0]).prod(1)
    centre = boxes.mean(1).norm(dim=1)
    assert size[centre.argmin()] == size.min()                                       # small where points crowd

    def unevenness(boxes):
        total = 0.0
        for low, high in boxes.numpy():
            P = X.numpy()[((X.numpy() >= low) & (X.numpy() < high)).all(1)]
            c = np.histogramdd(P, bins=8, range=list(zip(low, high, strict=True)))[0]
            c = c[c > 0]
            total += (c * np.log(c * 64 / c.sum())).sum()
        return total

    slabs = NUNO(1, 1, boxes=8).boxes.double()
    assert unevenness(boxes) < 0.75 * unevenness(slabs)


def test_boxes_come_from_the_points_they_are_fitted_to_and_not_from_those_evaluated():
    f = NUNO(1, 1, boxes=4, grid=(6, 6), modes=(2, 2), width=4, layers=1, features=2).double()
    f.fit(torch.rand(9, 50, 2, generator=generator(), dtype=torch.float64) ** 2)
    before = f.boxes.clone()
    X = torch.rand(40, 2, generator=generator(3), dtype=torch.float64)
    f(torch.ones(1, 40, 1, dtype=torch.float64), X)
    assert torch.equal(f.boxes, before)
    assert "boxes" in f.state_dict()
    with pytest.raises(ProblemError, match="at least one box"):
        kd_boxes(torch.zeros(4, 3), 2, ((0, 1), (0, 1)))


@pytest.mark.parametrize("D", [1, 2, 3])
def test_interpolation_there_and_back_keeps_linear_functions(D):
    corners = torch.tensor(list(np.ndindex(*[2] * D)), dtype=torch.float64)
    X = torch.cat([corners, torch.rand(80, D, generator=generator(), dtype=torch.float64)])
    boxes = kd_boxes(X, 3, ((0, 1),) * D)
    link = links(X, boxes, (5, 4, 6)[:D])
    linear = lambda Z: (Z * torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)[:D]).sum(-1, keepdim=True) + 0.3
    g = gathered(linear(X)[None], link.into, link.into_weights)
    torch.testing.assert_close(g[0], linear(box_grids(boxes, (5, 4, 6)[:D]).reshape(-1, D)), rtol=0, atol=1e-12)
    torch.testing.assert_close(gathered(g, link.out, link.out_weights)[0], linear(X), rtol=0, atol=1e-12)


def test_interpolation_is_of_second_order():
    errors = []
    for N, n in ((400, 11), (6400, 41)):                                             # a quarter of the distances
        side = torch.linspace(0, 1, n, dtype=torch.float64)
        X = torch.cat([torch.rand(N, 2, generator=generator(), dtype=torch.float64), torch.cartesian_prod(side, side)])
        boxes = kd_boxes(X, 4, ((0, 1), (0, 1)))
        link = links(X, boxes, (n, n))
        function = lambda Z: torch.sin(5 * Z[:, :1]) * torch.cos(4 * Z[:, 1:])
        there_and_back = gathered(gathered(function(X)[None], link.into, link.into_weights), link.out, link.out_weights)
        errors.append(float((there_and_back[0] - function(X)).norm() / function(X).norm()))
    assert errors[1] < errors[0] / 10, errors                                        # 16 for second order


def test_grid_nodes_beyond_the_hull_get_a_mean_of_near_points_and_show_their_distance():
    X = 0.4 + 0.2 * torch.rand(50, 2, generator=generator(), dtype=torch.float64)
    link = links(X, torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64), (5, 5))
    assert bool((link.into_weights >= -1e-12).all())
    torch.testing.assert_close(link.into_weights.sum(-1), torch.ones(1, 25, dtype=torch.float64))
    nearest = cKDTree(X.numpy()).query([0.0, 0.0])[0]
    assert float(link.gap[0, 0]) == pytest.approx(10 * nearest / np.sqrt(2), rel=1e-12)


# neighbours and integrals

def test_pairs_are_those_within_the_radius():
    X, Y = torch.rand(3, 40, 2, generator=generator()).double(), torch.rand(3, 30, 2, generator=generator(1)).double()
    pairs = near_pairs(X, Y, 0.3)
    expected = {(b * 40 + j, b * 30 + i) for b in range(3) for i, j in
                (torch.cdist(Y[b], X[b]) <= 0.3).nonzero().tolist()}
    assert set(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)) == expected
    assert len(pairs.source) == len(expected) == int(pairs.counts.sum())
    assert bool((pairs.target.diff() >= 0).all())
    with pytest.raises(ProblemError, match="must be positive"):
        near_pairs(X, Y, -1.0)


def test_neighbours_of_points_that_stand_still_are_found_once(monkeypatch):
    calls = []
    import sciml.operators.gno as module
    monkeypatch.setattr(module, "near_pairs", lambda *a: calls.append(1) or near_pairs(*a))
    f = GNO(1, 1, width=4, layers=1).double()
    X, v = torch.rand(2, 30, 2, generator=generator(), dtype=torch.float64), random(2, 30, 1)
    f(v, X)
    f(v + 1, X)
    assert len(calls) == 1
    f(v[:, :, :], X.clone())
    assert len(calls) == 2


def test_clouds_that_come_back_in_other_batches_are_searched_once(monkeypatch):
    import sciml.operators.neighbours as neighbours
    import sciml.operators.subdomains as subdomains
    calls = []
    pairs, points = neighbours._pairs, subdomains._from_points
    monkeypatch.setattr(neighbours, "_pairs", lambda *a: calls.append("pairs") or pairs(*a))
    monkeypatch.setattr(subdomains, "_from_points", lambda *a: calls.append("links") or points(*a))
    X, v = torch.rand(4, 30, 2, generator=generator(), dtype=torch.float64), random(4, 30, 1)
    for f in (GNO(1, 1, width=4, layers=1).double(),
              NUNO(1, 1, boxes=2, grid=(4, 4), modes=(2, 2), width=4, layers=1, features=2).double()):
        calls.clear()
        whole = f(v, X)
        for batch in ([3, 1], [0, 2], [2, 3]):
            torch.testing.assert_close(f(v[batch], X[batch]), whole[batch], rtol=0, atol=1e-12)
        assert len(calls) == 4
        if isinstance(f, NUNO):                                                      # other boxes, other links
            f.fit(X**2)
            f(v, X)
            assert len(calls) == 8


def test_a_nuno_with_loaded_boxes_interpolates_in_them():
    make = lambda: NUNO(1, 1, boxes=3, grid=(4, 4), modes=(2, 2), width=4, layers=1, features=2,
                        generator=generator()).double()
    f, g = make(), make()
    X, v = torch.rand(30, 2, generator=generator(), dtype=torch.float64), random(2, 30, 1)
    f.fit(X**2)
    g(v, X)
    g.load_state_dict(f.state_dict())
    assert torch.equal(f(v, X), g(v, X))


def test_the_integral_with_a_constant_kernel_is_the_mean_over_the_ball():
    """κ = 1: the windowed mean of f = 1 is 1, of x the centre, up to the quadrature of 20,000 points."""
    f = GNO(1, 1, radius=0.3, width=2, layers=1).double()
    integral = f.integrals[0]
    with torch.no_grad():
        integral.kernel.layers[-1].weight.zero_()
        integral.kernel.layers[-1].bias.fill_(1.0)
    X = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(20000).double()
    Y = 0.4 + 0.2 * torch.rand(20, 2, generator=generator(), dtype=torch.float64)
    pairs = near_pairs(X, Y, 0.3)
    w = torch.full((1, 20000, 1), 1 / 20000, dtype=torch.float64)
    values = torch.stack([torch.ones(20000, dtype=torch.float64), X[:, 0]], 1)[None]
    found = integral(values, integral.kernels(X, Y, pairs, True, torch.float64), pairs, 20, w)[0]
    torch.testing.assert_close(found, torch.stack([torch.ones(20, dtype=torch.float64), Y[:, 0]], 1), rtol=0, atol=2e-3)


def test_sums_without_weights_grow_with_the_number_of_points():
    """An untrained GNO on a smooth function: from 512 to 2,048 points the output changes by little with weights, and
    by more than twice as much if every point counts as one."""
    f = GNO(1, 1, radius=0.12, width=8, layers=2, hidden=16, generator=generator()).double()
    clouds = [Box(x=(0, 1), y=(0, 1)).sample(N, generator=generator(N), rule="uniform").X for N in (512, 2048)]
    common = 0.1 + 0.8 * torch.rand(40, 2, generator=generator(1), dtype=torch.float64)
    outputs = {}
    for kind in ("weights", "ones"):
        for X in clouds:
            X = torch.cat([common, X])
            w = delaunay_weights(X) if kind == "weights" else torch.full((len(X),), 1 / 552, dtype=torch.float64)
            with torch.no_grad():
                outputs[kind, len(X)] = f(torch.sin(4 * X[:, :1])[None], X, w)[0, :40]
    change = {k: float((outputs[k, 552] - outputs[k, 2088]).norm() / outputs[k, 552].norm())
              for k in ("weights", "ones")}
    assert change["ones"] > 2 * change["weights"], change


# slices

def test_slices_are_weighted_means():
    """With one slice every node gets the same: the quadrature mean of the values, through the linear layers."""
    A = SliceAttention(8, heads=2, slices=1, attention="none", generator=generator()).double()
    x, a = random(3, 20, 8), torch.rand(3, 20, 1, generator=generator(1), dtype=torch.float64)
    a = a / a.sum(1, keepdim=True)
    mean = (a * A.what(x)).sum(1, keepdim=True)
    torch.testing.assert_close(A(x, a), A.last(mean).expand(3, 20, 8), rtol=1e-6, atol=1e-6)  # 1e-7


def test_slice_attention_is_the_formula_written_with_loops():
    A = SliceAttention(6, heads=2, slices=4, generator=generator()).double()
    x, a = random(1, 7, 6), torch.full((1, 7, 1), 1 / 7, dtype=torch.float64)
    where, what = A.where(x)[0], A.what(x)[0]
    heads = []
    for h in range(2):
        part = slice(3 * h, 3 * h + 3)
        w = torch.softmax(where[:, part] @ A.gather.t() / 0.5, 1)
        total = [sum(w[n, g] / 7 for n in range(7)) + 1e-7 for g in range(4)]
        z = torch.stack([sum(w[n, g] * what[n, part] / 7 for n in range(7)) / total[g] for g in range(4)])
        q, k, u = (layer(z) for layer in A.tokens)
        heads.append(w @ (torch.softmax(q @ k.t() / 3**0.5, 1) @ u))
    torch.testing.assert_close(A(x, a)[0], A.last(torch.cat(heads, 1)), rtol=0, atol=1e-12)
