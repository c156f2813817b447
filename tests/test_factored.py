"""The Jacobian by its factors is the Jacobian: products, kernel, diagonal, for every block and every field."""

import pytest
import torch
from test_objective import PROBLEMS, Matrix, heat, objective_of, periodic, with_plain_module

from sciml.calculus import ACTIVATIONS
from sciml.calculus.factored import FactoredJacobian
from sciml.calculus.jet import activate, linear
from sciml.errors import TrainingError
from sciml.fields import Constrained, Field, FieldOptions, build_network
from sciml.optim import memory

FIELDS = {
    "mlp": ("mlp", {}),
    "modified-mlp": ("modified-mlp", {}),
    "piratenet": ("piratenet", dict(depth=1)),
    "siren": ("siren", {}),
    "factorized": ("mlp", dict(factorized=True)),
    "factorized piratenet": ("piratenet", dict(depth=1, factorized=True, adaptive=True)),
    "adaptive slopes": ("mlp", dict(adaptive=True)),
    "fourier features": ("mlp", dict(fourier=3)),
}


def built(problem, name, width=4, **options):
    generator = torch.Generator().manual_seed(0)
    settings = FieldOptions(**{"width": width, "depth": 2, **options})
    field = build_network(name, problem.region.bounds, len(problem.unknowns), settings, generator)
    with torch.no_grad():                       # PirateNet starts with α = 0, where most derivatives vanish
        for p in field.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return field


def assert_factors_agree(objective):
    """Everything that factors give, against the matrix."""
    r, J = objective.linearize()
    values, F = objective.factored()
    R, P = J.shape
    generator = torch.Generator().manual_seed(1)
    v, w = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (P, R))
    size = 1 + float(J.abs().max())
    close = lambda have, want, scale: torch.testing.assert_close(have, want, rtol=0, atol=1e-12 * scale)
    assert F.shape == (R, P)
    close(values, r, 1 + float(r.abs().max()))
    close(F.dense(), J, size)
    close(F @ v, J @ v, P * size)               # sums of P or R terms of this size, in another order
    close(F.transposed(w), J.T @ w, R * size)
    close(F.diagonal(), J.square().sum(0), R * size**2)
    close(F.kernel(), J @ J.T, P * size**2)
    G = J.T @ J
    for columns, blocks in F.unit_blocks():
        n, start = blocks.shape[1], columns.start
        assert len(blocks) * n == columns.stop - columns.start
        for k, block in enumerate(blocks):
            here = slice(start + k * n, start + (k + 1) * n)
            close(block, G[here, here], R * size**2)
    return F


@pytest.mark.parametrize("chunk", [4, 4096])
@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_factors_give_the_jacobian_of_every_kind_of_block(make, chunk):
    F = assert_factors_agree(objective_of(make(), chunk=chunk))
    assert any(p.outer for p in F.pieces)


@pytest.mark.parametrize("name, options", FIELDS.values(), ids=FIELDS.keys())
def test_factors_give_the_jacobian_of_every_field(name, options):
    problem = periodic()
    F = assert_factors_agree(objective_of(problem, field=built(problem, name, **options)))
    matrices = [i for i, shape in enumerate(F.shapes) if len(shape) == 2]
    assert all(any(i in p.outer and i not in p.dense for p in F.pieces) for i in matrices)


def test_wide_layers_with_few_streams_make_the_kernel_by_pairs():
    problem = heat()
    objective = objective_of(problem, field=built(problem, "mlp", width=60), n=5)
    objective.blocks = objective.blocks[1:]            # values only: one stream
    F = assert_factors_agree(objective)
    assert F._pairs_are_cheaper(F.shapes.index((60, 60)))


def test_factors_go_through_hard_constraints():
    problem = heat()
    one = Constrained(built(problem, "mlp"), problem.setting.frame, [1.5], [2.0])
    assert_factors_agree(objective_of(problem, field=one))


def test_weights_of_points_and_transforms_of_rows_are_in_the_factors():
    objective = objective_of(periodic(), chunk=4)
    weights = torch.linspace(0.5, 2.0, 9, dtype=torch.float64)
    name = objective.blocks[0].name
    objective.point_weights[name] = weights
    assert_factors_agree(objective)
    objective.point_weights.clear()
    A = torch.randn(20, 18, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    objective.transforms.append(Matrix((name,), A))
    assert_factors_agree(objective)


def test_a_module_without_a_tape_is_kept_as_a_matrix():
    F = assert_factors_agree(with_plain_module(heat))
    assert not any(p.outer for p in F.pieces)


class Untaped(Field):
    """A field that uses one parameter outside the operations that leave a record."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
        self.hidden = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.last = torch.nn.Parameter(torch.ones(1, 3, dtype=torch.float64))

    def jet(self, x):
        h = activate(linear(x, self.w), ACTIVATIONS["tanh"])
        return linear(h.with_data(h.data * self.hidden), self.last)


def test_a_parameter_that_leaves_no_record_is_noticed():
    F = assert_factors_agree(objective_of(heat(), field=Untaped()))
    assert not any(p.outer for p in F.pieces)


class Computed(Untaped):
    """A weight that is computed from a parameter in a way no record describes."""

    def jet(self, x):
        return linear(activate(linear(x, self.w.exp() * self.hidden), ACTIVATIONS["tanh"]), self.last)


def test_a_weight_computed_from_parameters_is_carried_to_them():
    F = assert_factors_agree(objective_of(heat(), field=Computed()))
    assert any(p.outer for p in F.pieces)


def test_a_jacobian_of_some_parameters_has_their_columns():
    for objective in (objective_of(periodic(), chunk=4), with_plain_module(periodic)):
        r, J = objective.linearize()
        a, b = objective.trainable[-1], objective.trainable[0]
        for _ in range(2):                             # with its comparison with a plain gradient, and without
            values, some = objective.linearize([a, b])
            want = torch.cat([J[:, J.shape[1] - a.numel():], J[:, :b.numel()]], dim=1)
            torch.testing.assert_close(some, want, rtol=0, atol=1e-13 * (1 + float(J.abs().max())))
            torch.testing.assert_close(values, r, rtol=1e-14, atol=0)


def test_factors_take_less_memory_than_the_matrix_of_a_wide_field():
    problem = heat()
    objective = objective_of(problem, field=built(problem, "mlp", width=40, depth=3), n=50)
    F = objective.factored()[1]
    assert F.bytes < 0.25 * 8 * F.shape[0] * F.shape[1]


def test_a_matrix_can_stand_for_its_factors():
    J = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    F = FactoredJacobian.of_matrix(J)
    assert F.shape == (5, 7)
    for have, want in [(F.dense(), J), (F.kernel(), J @ J.T), (F @ J[0], J @ J[0]),
                       (F.transposed(J[:, 0]), J.T @ J[:, 0]), (F.diagonal(), J.square().sum(0))]:
        torch.testing.assert_close(have, want, rtol=0, atol=1e-13)


def test_a_jacobian_that_does_not_fit_is_refused_with_the_method_that_does(monkeypatch):
    objective = objective_of(heat())
    R, P = objective.linearize()[1].shape
    need = 8 * R * P + 16 * min(R, P) ** 2
    monkeypatch.setattr(memory, "free_memory", lambda device: need)
    objective.linearize()
    monkeypatch.setattr(memory, "free_memory", lambda device: need - 1)
    with pytest.raises(TrainingError, match="optimizer=gauss-newton-cg.*keeps the Jacobian by its factors"):
        objective.linearize()
    objective.factored()
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    objective.linearize()


def test_the_memory_that_is_left_is_a_share_of_the_machine():
    have = memory.free_memory(torch.device("cpu"))
    assert have is None or 2**20 < have < 2**50


def test_the_smaller_gram_matrix_and_a_factor_of_it_count():
    assert memory.matrix_bytes(10, 3, torch.float64) == (240, 2 * 9 * 8)
    assert memory.matrix_bytes(3, 10, torch.float32) == (120, 2 * 9 * 4)
