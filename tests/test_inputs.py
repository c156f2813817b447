"""Random input functions against their theoretical laws, and as one function at every resolution."""

import math

import h5py
import pytest
import torch
from scipy.special import gamma, kv

from sciml.errors import ProblemError
from sciml.inputs import FourierSeries, FromFile, GaussianRandomField, Matern, RandomNumber
from sciml.inputs.waves import waves

BURGERS = GaussianRandomField("periodic", sigma=25.0, tau=5.0, alpha=2.0)
DARCY = GaussianRandomField("neumann", sigma=3.0, tau=3.0, alpha=2.0, modes=24)
VORTICITY = GaussianRandomField("periodic", sigma=7**1.5, tau=7.0, alpha=2.5, modes=32)
BOXES = {1: {"x": (0.0, 1.0)}, 2: {"x": (0.0, 1.0), "y": (-1.0, 1.0)},
         3: {"x": (0.0, 1.0), "y": (0.0, 2.0), "z": (0.0, 1.0)}}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def grid(n, over="x", lo=0.0, hi=1.0):
    return {c: torch.linspace(lo, hi, n, dtype=torch.float64) for c in over}


@pytest.mark.parametrize(("length", "expected"), [(1.0, 0.594), (2 * math.pi, 1.044)])
def test_the_burgers_field_has_the_published_spread(length, expected):
    field = BURGERS.bind({"x": (0.0, length), "t": (0.0, 1.0)})
    k = torch.arange(1, 129, dtype=torch.float64)
    eigenvalues = (2 * math.pi * k / length) ** 2 + 25
    by_hand = (2 / length * 625 * eigenvalues**-2.0).sum().sqrt()
    assert abs(field.std - float(by_hand)) < 1e-12 * field.std
    assert abs(field.std - expected) < 6e-4                                 # three digits of the source
    draws = field.on_grid(field.draw(4000, seeded()), {"x": torch.linspace(0, length, 33, dtype=torch.float64)})
    assert abs(float(draws.pow(2).mean().sqrt()) / field.std - 1) < 0.02    # few modes carry it: ±1 % at 4000 draws


def test_the_vorticity_field_has_the_published_spread():
    field = VORTICITY.bind(BOXES[1] | {"y": (0.0, 1.0)})
    assert abs(field.std - 0.185) < 6e-4
    draws = field.on_grid(field.draw(500, seeded()), grid(16, "xy"))
    assert abs(float(draws.pow(2).mean().sqrt()) / field.std - 1) < 0.02


def test_the_darcy_field_is_the_cosine_sum_of_the_public_law():
    field = DARCY.bind({"x": (0.0, 1.0), "y": (0.0, 1.0)})
    xi = field.draw(2, seeded())
    assert torch.all(xi[:, 0] == 0)
    axes = grid(21, "xy")
    k = torch.arange(25, dtype=torch.float64)
    C = torch.cos(math.pi * axes["x"][:, None] * k)
    root = torch.where(k > 0, 2 * torch.ones_like(k), 1.0).sqrt()
    e = 3.0 * (math.pi**2 * (k[:, None] ** 2 + k**2) + 9.0) ** -1.0 * root[:, None] * root
    by_hand = C @ (xi.view(2, 25, 25) * e) @ C.T
    assert torch.allclose(field.on_grid(xi, axes), by_hand, atol=1e-12)


def test_two_phases_are_the_sign_of_the_smooth_field():
    box = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    smooth, phases = DARCY.bind(box), GaussianRandomField("neumann", 3.0, 3.0, 2.0, modes=24, values=(3, 12)).bind(box)
    xi = phases.draw(3, seeded())
    g, a = smooth.on_grid(xi, grid(33, "xy")), phases.on_grid(xi, grid(33, "xy"))
    assert torch.equal(a == 12, g >= 0) and torch.equal(a == 3, g < 0)
    with pytest.raises(ProblemError, match="jumps and has no derivatives"):
        phases.on_grid(xi, grid(5, "xy"), (1, 0))


LAWS = [
    *(GaussianRandomField(kind, tau=3.0, alpha=3.0, modes=4) for kind in ("periodic", "neumann", "dirichlet")),
    GaussianRandomField("neumann", sigma=2.0, tau=3.0, alpha=3.0, modes=3, positive="exp", mean=0.5),
    Matern(0.5, 2.5, modes=4), FourierSeries(3, 2.0, kind="dirichlet", law="uniform"), RandomNumber(0.5, 2.0),
]


@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_one_draw_is_one_function_on_grids_and_at_points(law, D):
    law = law.bind(BOXES[D])
    xi = law.draw(2, seeded())
    assert torch.equal(xi, law.draw(2, seeded())) and xi.dtype == torch.float64
    axes = {c: torch.linspace(lo, hi, 4 + i, dtype=torch.float64) for i, (c, (lo, hi)) in enumerate(BOXES[D].items())}
    on_grid = law.on_grid(xi, axes)
    assert on_grid.shape == (2, *(4 + i for i in range(D)))
    X = torch.cartesian_prod(*axes.values()).view(-1, D)
    assert torch.allclose(law.at(xi, X), on_grid.flatten(1), rtol=1e-12, atol=1e-12)
    fine = law.on_grid(xi, {c: torch.linspace(float(x[0]), float(x[-1]), 2 * len(x) - 1, dtype=torch.float64)
                            for c, x in axes.items()})
    assert torch.allclose(fine[(slice(None), *(slice(None, None, 2),) * D)], on_grid, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [(1, 0), (0, 1), (1, 1), (2, 0), (2, 1), (0, 3)])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_derivatives_are_those_of_differences(law, alpha):
    law = law.bind(BOXES[2])
    xi = law.draw(2, seeded(1))
    X = torch.rand(7, 2, generator=seeded(2), dtype=torch.float64)
    i = 0 if alpha[0] else 1
    lower, h = list(alpha), 1e-5
    lower[i] -= 1
    shift = torch.zeros(2, dtype=torch.float64)
    shift[i] = h
    expected = (law.at(xi, X + shift, tuple(lower)) - law.at(xi, X - shift, tuple(lower))) / (2 * h)
    found = law.at(xi, X, alpha)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-7 * float(found.abs().max() + 1))  # h² f''' ≈ 1e-8
    axes = {"x": X[:3, 0], "y": X[:, 1]}
    assert torch.allclose(law.on_grid(xi, axes, alpha).diagonal(dim1=1, dim2=2), found[:, :3], atol=1e-9)


def test_matern_has_materns_covariance_far_from_the_ends():
    length, nu = 0.2, 1.5
    law = Matern(length, nu, 0.7, modes=400, kind="periodic").bind({"x": (0.0, 4.0)})
    r = torch.tensor([0.05, 0.1, 0.2, 0.4, 0.8], dtype=torch.float64)
    e = law.scale()
    phi = waves("periodic", 400, 4.0, torch.cat([r.new_tensor([1.0]), 1.0 + r]))
    found = (phi[:1] * e * e) @ phi[1:].T
    z = math.sqrt(2 * nu) * r / length
    expected = 0.49 * 2 ** (1 - nu) / gamma(nu) * z**nu * torch.as_tensor(kv(nu, z.numpy()))
    assert torch.allclose(found[0], expected, atol=1e-5)   # kept modes end at ω = 628: tail of ω⁻⁴
    assert abs(law.std - 0.7) < 1e-12


def test_a_series_has_the_amplitudes_it_states():
    law = FourierSeries(2, 1.0, 0.5, kind="periodic").bind({"x": (1.0, 4.0)})
    xi = torch.tensor([[0.0, 1.0, 0.0, 0.0, 2.0]], dtype=torch.float64)
    x = torch.linspace(1, 4, 9, dtype=torch.float64)
    angle = 2 * math.pi * (x - 1) / 3
    expected = math.sqrt(2) * 0.5 * (angle.cos() + 2 / 2 * (2 * angle).sin())
    assert torch.allclose(law.on_grid(xi, {"x": x})[0], expected, atol=1e-13)


def test_random_numbers_have_their_law_and_shape():
    uniform = RandomNumber(2.0, 5.0, over=()).bind({"x": (0.0, 1.0)})
    drawn = uniform.draw(4000, seeded())
    assert 2 <= drawn.min() and drawn.max() <= 5 and abs(float(drawn.mean()) - 3.5) < 0.05     # 3.6 standard errors
    assert uniform.on_grid(drawn, {}).shape == (4000,) and uniform.at(drawn, torch.zeros(3, 0)).shape == (4000, 3)
    log = RandomNumber(1e-3, 1e1, log=True).bind({"x": (0.0, 1.0)}).draw(4000, seeded())
    assert abs(float(log.log10().mean()) + 1) < 0.07                                            # 3.8 standard errors


def test_the_seed_alone_decides():
    law = DARCY.bind({"x": (0.0, 1.0), "y": (0.0, 1.0)})
    torch.manual_seed(1)
    first = law.draw(3, seeded(5))
    torch.rand(7)
    assert torch.equal(first, law.draw(3, seeded(5))) and not torch.equal(first, law.draw(3, seeded(6)))
    single = first.to(torch.float32)
    assert law.on_grid(single, grid(5, "xy")).dtype == torch.float32


@pytest.mark.parametrize("nodes", [8, 9])
def test_periodic_functions_of_a_file_are_interpolated_spectrally(tmp_path, nodes):
    law = GaussianRandomField("periodic", modes=3).bind(BOXES[2])
    xi = law.draw(4, seeded())
    axes = {"x": torch.arange(nodes).double() / nodes, "y": -1 + 2 * torch.arange(7).double() / 7}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["inputs/a"] = law.on_grid(xi, axes).numpy()
    read = FromFile(str(tmp_path / "a.h5"), "a", "periodic").bind(BOXES[2])
    order = read.draw(4, seeded(3))
    assert sorted(order[:, 0].tolist()) == [0, 1, 2, 3]
    X = torch.rand(11, 2, generator=seeded(), dtype=torch.float64)
    for alpha in ((0, 0), (1, 0), (0, 2)):
        expected = law.at(xi[order[:, 0].long()], X, alpha)
        assert torch.allclose(read.at(order, X, alpha), expected, atol=1e-12 * float(expected.abs().max()))


def test_functions_of_a_file_are_interpolated_linearly_and_kept_on_their_own_grid(tmp_path):
    x = torch.tensor([0.0, 0.1, 0.4, 1.0], dtype=torch.float64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = torch.stack([x**2, 3 * x]).numpy()
        file["axes/x"] = x.numpy()
    read = FromFile(str(tmp_path / "a.h5"), "a").bind(BOXES[1])
    both = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    assert torch.equal(read.on_grid(both, {"x": x})[1], x**2)
    found = read.on_grid(both, {"x": torch.tensor([0.05, 0.4, 0.7])})
    assert torch.allclose(found[0], 3 * torch.tensor([0.05, 0.4, 0.7], dtype=torch.float64), atol=1e-7)  # float32 axis
    assert torch.allclose(found[1], torch.tensor([0.005, 0.16, 0.58], dtype=torch.float64), atol=1e-7)
    with pytest.raises(ProblemError, match="has 2 functions 'a', but 3 were asked for"):
        read.draw(3, seeded())
    with pytest.raises(ProblemError, match="has no derivatives"):
        read.on_grid(both, {"x": x}, (1,))
    with pytest.raises(ProblemError, match="not at 1.5"):
        read.on_grid(both, {"x": x + 0.5})
    with pytest.raises(ProblemError, match="unknown dataset 'b'"):
        FromFile(str(tmp_path / "a.h5"), "b").bind(BOXES[1])
    with pytest.raises(ProblemError, match="has 1 axes"):
        FromFile(str(tmp_path / "a.h5"), "a").bind(BOXES[2])
    with pytest.raises(ProblemError, match="without the upper end"):
        FromFile(str(tmp_path / "a.h5"), "a", "periodic").bind(BOXES[1])


WRONG = [
    (lambda: FromFile("none.h5", "a"), "there is no file none.h5"),
    (lambda: GaussianRandomField("cosine"), "unknown kind of random field 'cosine'"),
    (lambda: GaussianRandomField(sigma=-1.0), "sigma=-1.0"), (lambda: GaussianRandomField(tau=-1.0), "tau=-1.0"),
    (lambda: GaussianRandomField(modes=0), "modes=0"), (lambda: GaussianRandomField(positive="square"), "positive="),
    (lambda: GaussianRandomField(values=(3, 3)), "two different numbers"),
    (lambda: GaussianRandomField(values=(3, 12), positive="exp"), "not both"),
    (lambda: GaussianRandomField(alpha=1.0).bind(BOXES[2]), "must be above 1"),
    (lambda: GaussianRandomField(modes=(3, 4)).bind(BOXES[1]), "one for each"),
    (lambda: GaussianRandomField(over="z").bind(BOXES[2]), "the box has the coordinates x, y"),
    (lambda: GaussianRandomField(over=()).bind(BOXES[2]), "take RandomNumber"),
    (lambda: BURGERS.on_grid(torch.zeros(1, 257), grid(4)), "does not know its box"),
    (lambda: BURGERS.bind(BOXES[1]).on_grid(torch.zeros(1, 9), grid(4)), "257 coefficients"),
    (lambda: BURGERS.bind(BOXES[1]).on_grid(torch.zeros(1, 257), {}), "add x"),
    (lambda: BURGERS.bind(BOXES[1]).at(torch.zeros(1, 257), torch.zeros(4)), r"shape \(N, 1\)"),
    (lambda: BURGERS.bind(BOXES[1]).on_grid(torch.zeros(1, 257), grid(4), (1, 0)), "one order"),
    (lambda: RandomNumber(2.0, 1.0), "low < high"), (lambda: RandomNumber(0.0, 1.0, log=True), "above 0"),
    (lambda: Matern(0.0), "length=0.0"), (lambda: FourierSeries(amplitude=0.0), "amplitude=0.0"),
    (lambda: FourierSeries(law="cauchy"), "unknown law"),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG, ids=[s for _, s in WRONG])
def test_wrong_arguments_are_told_in_a_sentence(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()
