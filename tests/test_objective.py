"""The objective's views (losses, residual vector, Jacobian, gradient) agree with each other and with autograd."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sciml
from sciml import (
    Box,
    Dirichlet,
    Disk,
    Equation,
    Initial,
    Integral,
    Neumann,
    Normalized,
    Observations,
    Periodic,
    Pin,
    Points,
    Problem,
    ProblemError,
    Range,
    Robin,
    Unknown,
    d,
    laplacian,
)
from sciml.calculus import ACTIVATIONS, ENGINES
from sciml.calculus.jet import activate, linear, multiply
from sciml.errors import TrainingError
from sciml.fields import Field, FieldOptions, build_network
from sciml.objective import Objective, TrainableParameters, build_objective, make_recipe
from sciml.objective.diagnose import worst
from sciml.precondition import Transform

# float64 rounding of sums of a few dozen rows with second derivatives of size 10
TOLERANCE = 1e-10


def heat():
    return Problem(
        domain=Box(x=(0, 1), t=(0, 1)),
        unknowns="u",
        conditions=[
            Equation(lambda u: u.t - u.xx + u**2),
            Initial(u=lambda x: torch.sin(x), weight=3.0),
            Dirichlet(u=0.0, on=["x-", "x+"]),
        ],
    )


def periodic():
    return Problem(
        domain=Box(x=(0, 1), t=(0, 1)),
        unknowns="u v",
        conditions=[
            Equation(lambda u, v: {"a": u.t + v * u.x, "b": v.t - u.xx}),
            Periodic(on="x", derivatives=2),
            Initial(u=1.0, v=0.0),
        ],
    )


def eigen():
    return Problem(
        domain=Box(x=(0, 1), y=(0, 1)),
        unknowns="psi",
        parameters=dict(E=Unknown(3.0)),
        conditions=[
            Equation(lambda psi, E: laplacian(psi) + E * psi),
            Normalized(psi=1.0, points=16),
            Integral(lambda psi, x: x * psi**3, equals=0.2, over="x", points=4, groups=3),
            Dirichlet(psi=0.0),
        ],
    )


def inverse():
    return Problem(
        domain=Box(x=(0, 1), t=(0, 1)),
        unknowns="u",
        parameters=dict(nu=Unknown(0.3, bounds=(0.1, 0.9)), k=Unknown(-1.0), s=Range(1, 2)),
        conditions=[
            Equation(lambda u, nu, k, s: u.t - nu * u.xx + s * torch.exp(k * u)),
            Initial(u=lambda x, k: k * x),
            Observations(at=dict(x=[0.1, 0.5, 0.9], t=[0.2, 0.4, 0.6], s=[1.5] * 3), u=[1.0, 2.0, 3.0]),
            Pin(at=dict(x=0.0, t=0.0, s=1.0), u=0.0),
        ],
    )


def disk():
    return Problem(
        domain=Disk((0, 0), 1.0),
        unknowns="u v",
        conditions=[
            Equation(lambda u, v, x: (laplacian(u) - x, laplacian(v) * u)),
            Neumann(u=lambda x, y: x * y),
            Robin(v=1.0, alpha=2.0, beta=lambda x: 1 + x * x),
            Equation(lambda u, v, normal: normal.x * u.y - normal.y * v.x, on="boundary", name="shear"),
        ],
    )


PROBLEMS = {
    "each": heat,
    "difference": periodic,
    "integral": eigen,
    "unknown parameters and data": inverse,
    "normals": disk,
}


class Plain(torch.nn.Module):
    """A user's module that knows nothing of jets."""

    def __init__(self, inputs, outputs):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(inputs, 4), torch.nn.Tanh(), torch.nn.Linear(4, outputs))
        self.gain = torch.nn.Parameter(torch.tensor(1.3))
        self.frozen = torch.nn.Parameter(torch.tensor(0.7), requires_grad=False)

    def forward(self, X):
        return self.layers(X * self.gain) * self.frozen + X.sum(1, keepdim=True) ** 3


def objective_of(problem, chunk=4096, field=None, engine=None, dtype=torch.float64, device="cpu", n=9):
    generator = torch.Generator().manual_seed(0)
    if field is None:
        field = build_network(
            "mlp", problem.region.bounds, len(problem.unknowns), FieldOptions(width=4, depth=2), generator, dtype
        )
    parameters = TrainableParameters(problem.trainable, dtype)
    objective = Objective(problem, field, parameters, list(problem.blocks), engine, chunk).to(device)
    for block in problem.blocks:
        points = block.region if isinstance(block.region, Points) else block.region.sample(n, generator=generator)
        objective.points[block.name] = points.to(device, dtype)
        objective.data[block.name] = {k: v.to(device, dtype) for k, v in block.data.items()}
    return objective


def with_plain_module(make, **options):
    problem = make()
    field = Plain(len(problem.coordinates), len(problem.unknowns)).double()
    return objective_of(problem, field=field, **options)


def autograd_jacobian(objective):
    rows = torch.cat(
        [
            (objective.factor(b, rows) * objective.rows(b, p, data)).reshape(-1)
            for b in objective.blocks
            for p, data, rows in objective.pieces(b)
        ]
    )
    parameters = objective.trainable
    J = []
    for r in rows:
        grads = torch.autograd.grad(r, parameters, retain_graph=True, allow_unused=True)
        J.append(
            torch.cat(
                [
                    torch.zeros_like(p).reshape(-1) if g is None else g.reshape(-1)
                    for p, g in zip(parameters, grads, strict=True)
                ]
            )
        )
    return rows.detach(), torch.stack(J)


def assert_close(have, want, tolerance=TOLERANCE):
    scale = 1 + float(want.abs().max())
    torch.testing.assert_close(have, want, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_the_loss_is_the_weighted_sum_of_block_losses_and_the_square_of_the_residual(make, device):
    objective = objective_of(make(), device=device)
    r, losses = objective.residual(), objective.losses()
    loss = objective.loss()
    assert_close(r @ r, loss.detach())
    assert_close(sum(objective.weights[n] * v for n, v in losses.items()).detach(), loss.detach())
    start = 0
    for block in objective.blocks:
        rows = objective.row_count(block) * len(block.components)
        part = r[start : start + rows] @ r[start : start + rows]
        assert_close(part, objective.weights[block.name] * losses[block.name].detach())
        start += rows
    assert start == len(r)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_linearize_gives_the_residual_and_the_jacobian_of_autograd(make, device):
    objective = objective_of(make(), device=device)
    r, J = objective.linearize()
    rows, want = autograd_jacobian(objective)
    assert_close(r, rows)
    assert_close(J, want)
    assert_close(r, objective.residual())
    assert not r.requires_grad and not J.requires_grad


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_module_without_jets_has_the_jacobian_of_autograd(make, device):
    objective = with_plain_module(make, device=device)
    assert objective.engine is ENGINES["nested"]
    r, J = objective.linearize()
    rows, want = autograd_jacobian(objective)
    assert J.shape[1] == sum(p.numel() for p in objective.trainable)
    assert_close(r, rows)
    assert_close(J, want)


@pytest.mark.parametrize("make", [heat, disk])
def test_the_engine_does_not_change_residual_or_jacobian(make):
    taylor, nested = objective_of(make()), objective_of(make(), engine=ENGINES["nested"])
    for a, b in zip(nested.linearize(), taylor.linearize(), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize(
    "build", [lambda make, **o: objective_of(make(), **o), with_plain_module], ids=["jets", "plain"]
)
def test_the_chunk_size_changes_nothing(make, build):
    whole, pieces = build(make), build(make, chunk=4)
    assert_close(pieces.loss().detach(), whole.loss().detach())
    assert_close(pieces.residual(), whole.residual())
    for a, b in zip(pieces.linearize(), whole.linearize(), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
@pytest.mark.parametrize("chunk", [4, 4096])
def test_backward_accumulates_the_gradient_of_the_loss(make, chunk):
    objective = objective_of(make(), chunk=chunk)
    want = torch.autograd.grad(objective.loss(), objective.trainable, allow_unused=True)
    total, losses = objective.backward()
    assert_close(total, objective.loss().detach())
    for p, g in zip(objective.trainable, want, strict=True):
        assert_close(torch.zeros_like(p) if p.grad is None else p.grad, torch.zeros_like(p) if g is None else g)
    for name, value in objective.losses().items():
        assert_close(losses[name], value.detach())
    r, J = objective.linearize()
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in objective.trainable])
    assert_close(2 * J.T @ r, flat)


def test_the_jacobian_agrees_with_finite_differences():
    objective = objective_of(inverse())
    _, J = objective.linearize()
    direction = torch.randn(J.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.nn.utils.parameters_to_vector(objective.trainable).detach()
    eps, moved = 1e-5, []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * eps * direction, objective.trainable)
        moved.append(objective.residual())
    # central differences: O(ε²) = 1e-10 times third derivatives, plus rounding 1e-16/ε
    assert_close(J @ direction, (moved[0] - moved[1]) / (2 * eps), 1e-7)


def test_weights_scale_losses_and_squares_of_rows():
    objective = objective_of(heat())
    before, r, (_, J) = objective.losses(), objective.residual(), objective.linearize()
    objective.weights["equation"] = 4.0
    assert_close(objective.losses()["equation"].detach(), before["equation"].detach())
    assert_close(objective.residual()[:9], 2 * r[:9])
    assert_close(objective.linearize()[1][:9], 2 * J[:9])
    assert objective.weights["initial"] == 3.0


def test_integrals_of_a_known_field_are_exact():
    class Sine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

        def forward(self, X):
            return self.a * 2 * torch.sin(math.pi * X[:, :1]) * torch.sin(math.pi * X[:, 1:])

    problem = Problem(
        domain=Box(x=(0, 1), y=(0, 1)),
        unknowns="psi",
        conditions=[
            Normalized(psi=1.0, points=400),
            Integral(lambda psi, y: psi / torch.sin(math.pi * y), equals=4 / math.pi, over="x", points=20, groups=5),
        ],
    )
    r = objective_of(problem, field=Sine()).residual()
    assert len(r) == 6 and float(r.abs().max()) < 1e-12  # 20 Gauss nodes per axis


def test_periodic_rows_are_differences_of_opposite_faces():
    objective = objective_of(periodic())
    block = next(b for b in objective.blocks if b.combine == "difference")
    points = objective.points[block.name]
    rows = objective.rows(block, points)
    assert rows.shape == (9, 6)  # u, u_x, u_xx, v, v_x, v_xx
    left, right = points.X.clone(), points.X.clone()
    right[:, 0] = 1.0
    field = objective.field
    assert_close(rows[:, 0].detach(), (field(left) - field(right))[:, 0].detach())


def test_the_worst_point_is_named_with_its_condition():
    objective = objective_of(heat())
    objective.points["dirichlet"].X[3] = torch.tensor([1.0, 0.123], dtype=torch.float64)
    with torch.no_grad():
        objective.field.last.bias.fill_(1e3)  # u ≈ 1000: the equation's u² dominates
    assert worst(objective).startswith("condition 'equation' at x=")
    objective.points["dirichlet"].X[3, 1] = math.nan
    sentence = worst(objective)
    assert "condition 'dirichlet' at x=1, t=nan" in sentence and "nan" in sentence
    only = objective_of(eigen())
    only.blocks = [b for b in only.blocks if b.combine == "integral"][:1]
    assert "at its integral" in worst(only)


def test_magnitude_is_the_norm_over_components_at_any_points(generator):
    objective = objective_of(periodic(), chunk=4)
    block = objective.blocks[0]
    points = block.region.sample(11, generator=generator)
    want = objective.values(block, points).detach().square().sum(1).sqrt()
    assert_close(objective.magnitude(block)(points), want)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_float32_stays_float32_and_agrees_to_its_precision(make, device):
    half, full = objective_of(make(), dtype=torch.float32, device=device), objective_of(make(), device=device)
    full.load_state_dict(half.state_dict())
    full.points = {name: points.to(torch.float64) for name, points in half.points.items()}
    r, J = half.linearize()
    assert r.dtype == J.dtype == torch.float32 and half.loss().dtype == torch.float32
    R, K = full.linearize()
    # 1e-7 per operation, a few hundred operations, second derivatives
    assert_close(r.double(), R, 2e-4)
    assert_close(J.double(), K, 2e-4)


def test_bounded_parameters_stay_inside_their_bounds_and_start_where_asked():
    parameters = TrainableParameters({"nu": Unknown(0.3, bounds=(0.1, 0.9)), "k": Unknown(-2.0)})
    assert parameters.values() == pytest.approx({"nu": 0.3, "k": -2.0}, rel=1e-14)
    with torch.no_grad():
        parameters.trained("nu").fill_(50.0)
    assert parameters.values()["nu"] <= 0.9


def test_free_parameters_are_trained_in_units_of_their_initial_values():
    unknowns = {"k": Unknown(-3e-6), "E": Unknown(2e9), "c": Unknown(0.0), "values": Unknown(0.7)}
    parameters = TrainableParameters(unknowns)
    assert [p.item() for p in parameters.parameters()] == [-1.0, 1.0, 0.0, 1.0]
    assert parameters.values() == {n: u.initial for n, u in unknowns.items()}
    other = TrainableParameters({**unknowns, "k": Unknown(5.0)})
    with torch.no_grad():
        parameters.trained("k").fill_(0.3)
    other.load_state_dict(parameters.state_dict())          # a state means the same whatever the start was
    assert other.values() == parameters.values()


# Unscaled, L-BFGS ends at 0.58 k, and Gauss–Newton's smallest damping still holds the E of the next test where it was.
@pytest.mark.parametrize(("optimizer", "steps", "tolerance"), [("gauss-newton", 20, 1e-4), ("lbfgs", 30, 0.02)])
def test_a_diffusivity_of_order_1e_6_is_recovered(optimizer, steps, tolerance):
    L, k = 2e-3, 1e-6
    formula = lambda x, t, k: torch.exp(-k * (math.pi / L) ** 2 * t) * torch.sin(math.pi * x / L)
    x, t = torch.rand(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    problem = Problem(
        domain=Box(x=(0, L), t=(0, 1)),
        unknowns="u",
        parameters=dict(k=Unknown(3e-6)),
        conditions=[
            Equation(lambda u, k: u.t - k * u.xx),
            Initial(u=lambda x: torch.sin(math.pi * x / L)),
            Dirichlet(u=0.0, on=["x-", "x+"]),
            Observations(at=dict(x=L * x, t=t), u=formula(L * x, t, k)),
        ],
    )
    found = sciml.solve(problem, optimizer=optimizer, steps=steps, points=100, model=dict(width=8, depth=2)).parameters
    assert found["k"] == pytest.approx(k, rel=tolerance)


def test_a_stiffness_of_order_1e9_is_recovered():
    E, f = 2e9, 1e9
    x = torch.linspace(0, 1, 20, dtype=torch.float64)
    problem = Problem(
        domain=Box(x=(0, 1)),
        unknowns="u",
        parameters=dict(E=Unknown(1e9)),
        conditions=[
            Equation(lambda u, E: u.xx + f / E),
            Dirichlet(u=0.0),
            Observations(at=dict(x=x), u=f / E * x * (1 - x) / 2),
        ],
    )
    found = sciml.solve(problem, steps=20, points=50, sampler="sobol", model=dict(width=6, depth=1)).parameters
    assert found["E"] == pytest.approx(E, rel=1e-3)


@pytest.mark.parametrize(
    "residual",
    [
        lambda u: u.x - u.std(),
        lambda u: u.x + torch.softmax(u, 0),
        lambda u: u.x + torch.rand_like(u),
        lambda u: u.x - torch.roll(u, 1),
        lambda u: u.x - torch.linalg.norm(u),
    ],
)
def test_a_residual_that_mixes_points_is_refused_when_the_problem_is_built(residual):
    with pytest.raises(ProblemError, match="'equation': the residual at a point depends on the other points"):
        Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Equation(residual)])


class OwnGate(Field):
    """A user's field: one layer and a trainable gate that no recorded operation carries."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2))
        self.gate = torch.nn.Parameter(torch.linspace(0.5, 1.5, 5, dtype=torch.float64))
        self.last = torch.nn.Parameter(torch.linspace(1, 2, 5, dtype=torch.float64).reshape(1, 5))

    def jet(self, x):
        h = activate(linear(x, self.weight), ACTIVATIONS["tanh"])
        return linear(multiply(h, h).with_data(multiply(h, h).data * self.gate), self.last)


def objective_with(field, problem):
    objective = Objective(problem, field, TrainableParameters(problem.trainable), list(problem.blocks), None, 16)
    generator = torch.Generator().manual_seed(1)
    for block in objective.blocks:
        objective.points[block.name] = block.region.sample(40, generator=generator)
    return objective


def test_parameters_outside_the_tape_have_their_columns(caplog):
    objective = objective_with(OwnGate(), heat())
    r, J = objective.linearize()
    rows, want = autograd_jacobian(objective)
    assert_close(r, rows)
    assert_close(J, want)
    assert float(J[:, 10:15].abs().max()) > 0.1
    assert "outside `linear` and `scale`" in caplog.text
    caplog.clear()
    objective.linearize()
    assert not caplog.text


def test_a_field_that_mixes_points_is_refused_by_gauss_newton():
    class Centred(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1, dtype=torch.float64)

        def forward(self, X):
            return self.layer(torch.sin(X)) - self.layer(torch.sin(X)).mean(0)

    with pytest.raises(TrainingError, match="depends on the others"):
        objective_with(Centred(), heat()).linearize()


class HostTraffic(TorchDispatchMode):
    """Counts operations that make a host wait for its device, or copy numbers from Python to it."""

    WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::equal"}

    def __init__(self, also=""):
        super().__init__()
        self.found, self.waiting = [], self.WAITING | {also}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        if name in self.waiting:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def with_numbers():
    """Numbers before and in torch functions, a bounded unknown, a face and its partner."""
    def equation(u, x, k):
        step = torch.where(u > 0.5, 1.0, 0.1)
        return {"a": u.t - k * u.xx + 1.0 / (2.0 + u**2),
                "b": 1.0 - step * torch.clamp(u, min=0.0) + d(torch.relu(u), x)}

    return Problem(
        domain=Box(x=(0, 1), t=(0, 1)), unknowns="u", parameters=dict(k=Unknown(0.5, bounds=(0, 1))),
        conditions=[Equation(equation), Periodic(on="x"), Initial(u=lambda x: torch.sin(2.0 * torch.pi * x))])


@pytest.mark.parametrize("make", [*PROBLEMS.values(), with_numbers], ids=[*PROBLEMS.keys(), "numbers"])
def test_a_first_order_step_waits_for_no_device(make):
    objective = objective_of(make())
    objective.backward()                                # tables are made in the first pass
    with HostTraffic() as traffic:
        objective.backward()
    assert not traffic.found


def test_captured_tensors_are_on_the_device_when_training_starts():
    k = torch.tensor(0.1, dtype=torch.float64)
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", conditions=[Equation(lambda u: u.x - k * u), Pin(
        u=1.0, at=dict(x=0.0))])
    objective, _ = build_objective(problem, make_recipe({}, dict(dtype="float32", model=dict(width=4, depth=1))))
    objective.points["equation"] = Points(torch.rand(5, 1), ("x",))
    with HostTraffic(also="aten::_to_copy") as traffic:
        objective.backward()
    assert not traffic.found


def test_periodic_inputs_are_chosen_on_the_device(generator):
    network = build_network("mlp", [(0, 1), (0, 1), (0, 1)], 1, FieldOptions(width=4, depth=1), generator,
                            periods={1: 1.0})
    X = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    with HostTraffic() as traffic:
        values = network(X)
    assert not traffic.found
    torch.testing.assert_close(network(X + torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)), values)
    assert float((network(X + torch.tensor([1.0, 0.0, 0.0])) - values).detach().abs().max()) > 1e-3


# ---- what balancers and preconditioners see ---------------------------------------------------------------------


class Matrix(Transform):
    """z = A r."""

    def __init__(self, blocks, A):
        super().__init__(blocks)
        self.A = A

    def apply(self, r):
        return self.A @ r

    def transpose(self, z):
        return self.A.T @ z


def flat_gradient(objective):
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in objective.trainable])


@pytest.mark.parametrize("chunk", [4, 4096])
@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_gradients_by_block_add_up_to_the_gradient_of_the_loss(make, chunk):
    objective = objective_of(make(), chunk=chunk)
    losses, G, unweighted = objective.gradients()
    assert all(p.grad is None for p in objective.trainable)
    total, found = objective.backward()
    assert_close(G.sum(0), flat_gradient(objective))
    assert_close(losses.sum(), total)
    assert unweighted.keys() == found.keys()
    names = [b.name for b in objective.blocks]
    pair, two, _ = objective.gradients([names[:1], names[1:]])
    assert_close(two, torch.stack([G[0], G[1:].sum(0)]))
    assert_close(pair, torch.stack([losses[0], losses[1:].sum()]))


@pytest.mark.parametrize("chunk", [4, 4096])
def test_weights_of_points_multiply_the_rows(chunk):
    objective = objective_of(heat(), chunk=chunk)
    r, J = objective.linearize()
    w = torch.linspace(0.5, 2.0, 9, dtype=torch.float64)
    objective.point_weights["equation"] = w
    r2, J2 = objective.linearize()
    factor = torch.cat([w, torch.ones(len(r) - 9, dtype=torch.float64)])
    assert_close(r2, factor * r)
    assert_close(J2, factor[:, None] * J)
    assert_close(objective.residual(), r2)
    total, losses = objective.backward()
    assert_close(total, r2 @ r2)
    assert_close(flat_gradient(objective), 2 * J2.T @ r2)
    assert_close(objective.loss().detach(), r2 @ r2)
    assert objective.total({n: float(v) for n, v in losses.items()}) == pytest.approx(float(r2 @ r2), rel=1e-12)
    for name, value in objective.losses().items():          # reported without weights
        assert_close(losses[name], value.detach())


@pytest.mark.parametrize("chunk", [4, 4096])
@pytest.mark.parametrize("names", [("equation",), ("equation", "initial")])
def test_a_transform_of_rows_is_seen_by_every_view(names, chunk):
    objective = objective_of(heat(), chunk=chunk)
    objective.weights = dict.fromkeys(objective.weights, 1.0)
    count = 9 * len(names)
    raw = torch.cat([objective.rows(b, objective.points[b.name]).reshape(-1)
                     for name in names for b in objective.blocks if b.name == name]).detach()
    A = torch.randn(count + 2, count, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    before, losses = objective.residual(), objective.losses()
    objective.transforms.append(Matrix(names, A))
    r, J = objective.linearize()
    z = A @ raw / (count + 2) ** 0.5
    assert_close(r[-len(z):], z)
    assert len(r) == len(before) + 2
    assert_close(objective.residual(), r)
    total, found = objective.backward()
    assert_close(total, r @ r)
    assert_close(flat_gradient(objective), 2 * J.T @ r)
    graph = torch.autograd.grad(objective.loss(), objective.trainable)
    assert_close(torch.cat([g.reshape(-1) for g in graph]), 2 * J.T @ r)
    for name, value in losses.items():
        assert_close(found[name], value.detach())
    eps, direction = 1e-6, torch.randn(J.shape[1], generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    start = torch.nn.utils.parameters_to_vector(objective.trainable).detach().clone()
    moved = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * eps * direction, objective.trainable)
        moved.append(objective.residual())
    # central differences: O(ε²) = 1e-12 times third derivatives, rounding 1e-16/ε, both times |A| ≈ 10
    assert_close(J @ direction, (moved[0] - moved[1]) / (2 * eps), 1e-7)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_traces_are_mean_squares_of_rows_of_the_jacobian(make):
    objective = objective_of(make(), chunk=4)
    objective.weights = {b.name: float(objective.row_count(b)) for b in objective.blocks}      # J without √(λ/R)
    _, J = objective.linearize()
    start = 0
    for block in objective.blocks:
        rows = objective.row_count(block) * len(block.components)
        want = J[start:start + rows].square().sum() / objective.row_count(block)
        assert_close(objective.traces()[block.name], want, 1e-11)
        start += rows
    few = objective.traces(count=3)
    assert few.keys() == objective.traces().keys()
