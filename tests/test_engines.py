"""Taylor mode, nested reverse mode and the Jacobians agree for every network; nested reverse mode is the oracle."""

import shutil
import warnings
from itertools import product

import pytest
import torch

from sciml import Box, Dirichlet, Equation, Initial, Periodic, Problem
from sciml.calculus import ACTIVATIONS, ENGINES, Frame, IndexSet, Jet, engine_for, taped_jacobian, vmapped_jacobian
from sciml.calculus.jet import _Compose, compose
from sciml.errors import ProblemError
from sciml.fields import NETWORKS, Constrained, FieldOptions, build_network, parameter_count
from sciml.objective import Objective, TrainableParameters
from sciml.problem import hard

# Both engines round in another order; four derivatives of a composition of three layers reach 1e2 to 1e4.
TOLERANCE = 1e-10
TAYLOR, NESTED = ENGINES["taylor"], ENGINES["nested"]

OPTIONS = {
    "plain": {},
    "adaptive": dict(adaptive=True),
    "fourier": dict(fourier=3, sigma=0.5),
    "factorized": dict(factorized=True),
    "all": dict(adaptive=True, fourier=3, sigma=0.5, factorized=True, activation="swish"),
    "deep": dict(depth=3),
}
ORDERS = {
    1: [(1,), (2,), (3,), (4,)],
    2: [(1, 1), (2, 2), (1, 3), (4, 0), (0, 3)],
    3: [(1, 1, 1), (2, 0, 1), (0, 2, 2)],
}


def network(name="mlp", dimension=2, outputs=2, seed=0, dtype=torch.float64, periods=None, **options):
    generator = torch.Generator().manual_seed(seed)
    own = {"siren": ("activation", "factorized"), "fourier": ("fourier", "sigma", "factorized")}
    options = {k: v for k, v in options.items() if k not in own.get(name, ())}
    options = FieldOptions(**{**dict(width=4, depth=2), **options})
    bounds = [(-1.0, 1.5), (0.0, 2.0), (0.5, 1.0)][:dimension]
    field = build_network(name, bounds, outputs, options, generator, dtype, periods)
    with torch.no_grad():  # leaves the special starting values (zero biases, α = 0)
        for p in field.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=dtype)
    return field


def points(dimension=2, n=4, dtype=torch.float64, device="cpu"):
    X = torch.rand(n, dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return X.to(device, dtype)


def requests_of(dimension, outputs):
    """Different derivatives of each unknown, of orders 0 to 4."""
    names = ["u", "v", "w"][:outputs]
    asked = {names[0]: set(ORDERS[dimension])}
    for name in names[1:]:
        asked[name] = {(0,) * dimension, ORDERS[dimension][0]}
    return asked, tuple(names)


def assert_same(have, want, tolerance=TOLERANCE):
    assert have.keys() == want.keys()
    for key in want:
        scale = 1 + float(want[key].detach().abs().max())
        torch.testing.assert_close(have[key].detach(), want[key].detach(), rtol=0, atol=tolerance * scale, msg=str(key))


def assert_engines_agree(field, dimension, outputs, device="cpu"):
    X = points(dimension, device=device)
    asked, names = requests_of(dimension, outputs)
    assert_same(TAYLOR.derivatives(field, X, asked, names), NESTED.derivatives(field, X, asked, names))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_taylor_mode_equals_nested_reverse_mode(name, options, device):
    assert_engines_agree(network(name, **options).to(device), 2, 2, device)


@pytest.mark.parametrize("dimension, outputs", [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_engines_agree_for_any_number_of_coordinates_and_unknowns(name, dimension, outputs):
    assert_engines_agree(network(name, dimension, outputs), dimension, outputs)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("harmonics", [1, 3])
def test_the_engines_agree_on_periodic_inputs_and_the_field_is_periodic(name, harmonics):
    field = network(name, periods={1: 2.0}, harmonics=harmonics)
    assert_engines_agree(field, 2, 2)
    X = points()
    shifted = X + torch.tensor([0.0, 2.0])
    torch.testing.assert_close(field(X), field(shifted), rtol=0, atol=1e-13)  # rounding of cos 2πk(x + L)/L
    assert_engines_agree(network(name, periods={0: 2.5, 1: 2.0}, harmonics=harmonics, fourier=2), 2, 2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_derivatives_of_every_activation_agree_with_autograd(activation):
    z = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64, requires_grad=True)
    values = ACTIVATIONS[activation].derivatives(z, 6)
    assert len(values) == 7
    want = values[0]
    for k, value in enumerate(values[1:], 1):
        want = torch.autograd.grad(want.sum(), z, create_graph=True)[0] if want.requires_grad else torch.zeros_like(z)
        # the sixth derivative of tanh reaches 1e2 to 1e3 and its polynomials cancel
        torch.testing.assert_close(value, want, rtol=1e-9, atol=1e-9, msg=f"derivative {k}")
    for order in range(3):
        assert len(ACTIVATIONS[activation].derivatives(z, order)) == order + 1


@pytest.mark.parametrize("name", ["tanh", "sin", "cos", "sigmoid", "silu", "gelu"])
def test_the_values_of_activations_are_those_of_torch(name):
    z = torch.linspace(-4, 4, 9, dtype=torch.float64)
    torch_s = {"silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu}
    want = torch_s.get(name, getattr(torch, name, None))(z)
    torch.testing.assert_close(ACTIVATIONS[name].derivatives(z, 0)[0], want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_engines_agree_for_every_activation(activation):
    assert_engines_agree(network(activation=activation), 2, 2)


@pytest.mark.parametrize(("name", "layers"), [("mlp", 2), ("modified-mlp", 4), ("piratenet", 8), ("siren", 2)])
def test_every_layer_with_an_activation_has_an_adaptive_slope_of_its_own(name, layers):
    field = network(name, adaptive=True)
    slopes = [p for key, p in field.named_parameters() if key.endswith("slope")]
    assert len(slopes) == layers
    field(points()).square().sum().backward()
    assert len({float(p.grad) for p in slopes}) == layers


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_the_value_of_a_field_is_the_value_of_its_jet(name, options):
    field, X = network(name, **options), points()
    found = TAYLOR.derivatives(field, X, {"u": {(0, 0), (2, 1)}, "v": {(0, 0)}}, ("u", "v"))
    torch.testing.assert_close(field(X)[:, 0], found["unknown", "u", (0, 0)], rtol=0, atol=1e-13)
    torch.testing.assert_close(field(X)[:, 1], found["unknown", "v", (0, 0)], rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_stays_float32_and_agrees_to_its_precision(name, device):
    field = network(name, dtype=torch.float32, fourier=3, adaptive=True).to(device)
    asked = {"u": {(2, 1)}, "v": {(0, 0)}}
    found = TAYLOR.derivatives(field, points(dtype=torch.float32, device=device), asked, ("u", "v"))
    assert all(v.dtype == torch.float32 for v in found.values())
    want = TAYLOR.derivatives(field.double(), points(device=device).float().double(), asked, ("u", "v"))
    assert_same({k: v.double() for k, v in found.items()}, want, 1e-4)  # 1e-7 times a few dozen operations and ∂³


def test_one_seed_gives_one_network_and_another_seed_another():
    same = [network(seed=3)(points()) for _ in range(2)]
    assert torch.equal(*same) and not torch.equal(same[0], network(seed=4)(points()))


# ---- hard constraints ------------------------------------------------------------------------------------------


def constrained(name="mlp"):
    frame = Frame(("x", "t"), ("x",))
    x, t = frame.leaf("coordinate", "x"), frame.leaf("coordinate", "t")
    lifts = (torch.sin(3 * x) * (1 + t) + torch.where(x > 0.5, x, 1 - x), 0.0)
    bubbles = (t**2 * x * (1 - x), torch.exp(-t))
    return Constrained(network(name), frame, lifts, bubbles)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engines_agree_on_fields_with_built_in_data(name):
    assert_engines_agree(constrained(name), 2, 2)


def test_a_constrained_field_is_lift_plus_bubble_times_network():
    field, X = constrained(), points()
    x, t = X.T
    N = field.network(X)
    first = torch.sin(3 * x) * (1 + t) + torch.where(x > 0.5, x, 1 - x) + t**2 * x * (1 - x) * N[:, 0]
    torch.testing.assert_close(field(X), torch.stack([first, torch.exp(-t) * N[:, 1]], 1), rtol=1e-14, atol=1e-14)


# ---- Jacobians ---------------------------------------------------------------------------------------------------


def residual_of(streams):
    """A nonlinear residual of two components from second derivatives of two unknowns."""
    u, ux, v, vxy = (streams["unknown", n, a] for n, a in (("u", (0, 0)), ("u", (2, 0)), ("v", (0, 1)), ("v", (1, 1))))
    return torch.stack([u * ux - v, vxy + torch.sin(u)], dim=1)


ASKED = {"u": {(0, 0), (2, 0)}, "v": {(0, 1), (1, 1)}}


def row_by_row(residual, parameters):
    rows = []
    for value in residual.reshape(-1):
        grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    torch.zeros_like(p).reshape(-1) if g is None else g.reshape(-1)
                    for p, g in zip(parameters, grads, strict=True)
                ]
            )
        )
    return torch.stack(rows).reshape(*residual.shape, -1)


def fields():
    for name, (label, options) in product(NETWORKS, OPTIONS.items()):
        yield pytest.param(lambda name=name, options=options: network(name, **options), id=f"{name}-{label}")
    for name in NETWORKS:
        yield pytest.param(lambda name=name: constrained(name), id=f"{name}-constrained")
        yield pytest.param(lambda name=name: network(name, periods={0: 2.5}, harmonics=2), id=f"{name}-periodic")


@pytest.mark.parametrize("make", list(fields()))
def test_the_taped_jacobian_equals_autograd_row_by_row_and_vmap(make, device):
    field, X = make().to(device), points(n=3, device=device)
    parameters = list(field.parameters())
    tape: list = []
    residual = residual_of(TAYLOR.derivatives(field, X, ASKED, ("u", "v"), tape))
    J = taped_jacobian(residual, tape, parameters)
    want = row_by_row(residual, parameters)
    assert J.shape == (3, 2, parameter_count(field))
    scale = 1 + float(want.abs().max())
    torch.testing.assert_close(J, want, rtol=0, atol=TOLERANCE * scale)

    def pointwise(values, x):
        streams = torch.func.functional_call(Streams(field), {f"field.{n}": p for n, p in values.items()}, (x[None],))
        return residual_of(streams)[0]

    torch.testing.assert_close(vmapped_jacobian(pointwise, field, X), want, rtol=0, atol=TOLERANCE * scale)


class Streams(torch.nn.Module):
    """Taylor mode as a forward method, so that `functional_call` can replace the parameters."""

    def __init__(self, field):
        super().__init__()
        self.field = field

    def forward(self, X):
        return TAYLOR.derivatives(self.field, X, ASKED, ("u", "v"))


def test_the_gradient_with_respect_to_points_flows_through_a_jet():
    field, X = network(), points().requires_grad_()
    found = TAYLOR.derivatives(field, X, {"u": {(1, 0), (2, 0)}}, ("u", "v"))
    (slope,) = torch.autograd.grad(found["unknown", "u", (1, 0)].sum(), X)
    torch.testing.assert_close(slope[:, 0], found["unknown", "u", (2, 0)].detach(), rtol=0, atol=1e-12)


# ---- the hand-written adjoint ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted, dense", [([(2,)], True), ([(2,)], False), ([(1, 1), (2, 0)], True), ([(1, 1)], False)]
)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "sin"])
def test_the_hand_written_adjoint_of_an_activation_passes_gradcheck_twice(activation, wanted, dense):
    indices = IndexSet.closure(wanted, len(wanted[0]))
    present = tuple(range(len(indices))) if dense else tuple(i for i, a in enumerate(indices.indices) if sum(a) <= 1)
    data = torch.randn(
        len(present), 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    sigma = ACTIVATIONS[activation]
    run = lambda h: _Compose.apply(h, sigma, indices, present, 0)
    assert torch.equal(run(data), compose(data, sigma, indices, present, 0))
    assert torch.autograd.gradcheck(run, data)
    assert torch.autograd.gradgradcheck(run, data)


# ---- index sets --------------------------------------------------------------------------------------------------


def test_a_closed_set_holds_all_parts_sorted_by_order():
    indices = IndexSet.closure([(2, 1)], 2)
    assert set(indices.indices) == set(product(range(3), range(2))) and indices.indices[0] == (0, 0)
    assert indices.order == 3 and indices.dimension == 2 and len(indices) == 6
    assert [sum(a) for a in indices.indices] == sorted(sum(a) for a in indices.indices)
    assert indices.indices[indices.position((1, 1))] == (1, 1)


def test_the_tables_of_leibniz_and_faa_di_bruno_count_subsets_and_partitions():
    indices = IndexSet.closure([(4,)], 1)
    assert [sum(count for count, _, _ in terms) for terms in indices.leibniz()] == [1, 2, 4, 8, 16]
    bell = [sum(count for _, sums in terms for count, _ in sums) for terms in indices.faa_di_bruno(tuple(range(5)))]
    assert bell == [1, 1, 2, 5, 15]


def test_streams_that_were_not_asked_for_are_zero_in_a_jet_of_coordinates():
    X, indices = points(), IndexSet.closure([(2, 1)], 2)
    jet = Jet.of_coordinates(X, indices)
    assert torch.equal(jet.stream((1, 0)), torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(4, 2))
    assert torch.equal(jet.stream((2, 1)), torch.zeros_like(X)) and torch.equal(jet.dense().stream((2, 1)), 0 * X)


# ---- choosing an engine ------------------------------------------------------------------------------------------


def test_modules_without_jets_get_nested_reverse_mode_and_other_things_a_sentence():
    assert engine_for(network()) is TAYLOR and engine_for(torch.nn.Linear(2, 1)) is NESTED
    with pytest.raises(ProblemError, match="must be a torch.nn.Module, got function"):
        engine_for(lambda X: X)


def test_nested_reverse_mode_gives_zero_for_derivatives_that_vanish_identically():
    linear = torch.nn.Linear(2, 1, dtype=torch.float64)
    found = NESTED.derivatives(linear, points(), {"u": {(1, 0), (2, 0), (1, 1), (3, 0)}}, ("u",))
    want = {(1, 0): linear.weight[0, 0].detach().expand(4), (2, 0): torch.zeros(4).double()}
    for alpha, value in found.items():
        torch.testing.assert_close(value.detach(), want.get(alpha[2], want[2, 0]))


# ---- compilation -------------------------------------------------------------------------------------------------


def small_objective(name="mlp", width=4):
    problem = Problem(
        domain=Box(x=(0, 1), t=(0, 1)),
        unknowns="u v",
        conditions=[
            Equation(lambda u, v, x: (u.t - u.xx + u * v.x, torch.where(x > 0.5, 0.1, v.t))),
            Initial(u=lambda x: torch.sin(x), v=0.0),
            Dirichlet(u=0.0, on="x-"),
            Periodic(on="x", unknowns="v"),
        ],
    )
    ansatz = hard.build(problem, "auto")
    inner = network(name, width=width)
    field = Constrained(inner, problem.setting.frame, list(ansatz.lifts.values()), list(ansatz.bubbles.values()))
    objective = Objective(problem, field, TrainableParameters(problem.trainable), list(problem.blocks))
    generator = torch.Generator().manual_seed(0)
    for block in problem.blocks:
        objective.points[block.name] = block.region.sample(8, generator=generator)
    return objective


def assert_compiled_pass_agrees(name, backend, width):
    objective, plain = small_objective(name, width), small_objective(name, width)
    objective.compile_pass(backend)
    blocks = [b for b in objective.blocks if b.combine == "each"][:1]  # each is a recompilation
    pieces = [objective.points[b.name] for b in blocks]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lru_cache.*")  # tables are constants, not traced
        have = [objective._pass(b, p) for b, p in zip(blocks, pieces, strict=True)]
    want = [plain.values(b, p) for b, p in zip(blocks, pieces, strict=True)]
    for a, b in zip(have, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)  # the compiler may fuse and reorder
    for a, b in zip(
        *(
            torch.autograd.grad(sum(v.square().sum() for v in values), o.trainable)
            for values, o in ((have, objective), (want, plain))
        ),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_pass_is_one_graph_without_breaks_for_the_network_with_most_operations():
    assert_compiled_pass_agrees("piratenet", "eager", 4)


def test_compiling_the_pass_leaves_the_jacobian_alone():
    objective, plain = small_objective(), small_objective()
    assert objective.compile_pass("eager")
    r, J = objective.linearize()
    want_r, want_J = plain.linearize()
    assert float(J.abs().max()) > 0                       # adjoints inside a compiled graph would all be zero
    torch.testing.assert_close(J, want_J, rtol=0, atol=0)
    torch.testing.assert_close(r, want_r, rtol=0, atol=0)


def test_without_a_compiler_the_pass_stays_eager_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda *a, **k: None)
    objective = small_objective()
    assert not objective.compile_pass()
    assert "no C++ compiler was found" in caplog.text
    assert objective._pass == objective.values


@pytest.mark.slow  # the C++ compiler takes most of a minute on a busy core
@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="torch.compile needs a compiler"
)
def test_compiling_the_pass_gives_the_same_numbers():
    assert_compiled_pass_agrees("mlp", "inductor", 2)
