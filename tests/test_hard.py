"""Data built into a field hold exactly for every network; data that contradict each other get a sentence."""

import math

import pytest
import torch

from sciml import (
    Box,
    Dirichlet,
    Disk,
    Equation,
    Initial,
    Neumann,
    Periodic,
    Polygon,
    Problem,
    ProblemError,
    Range,
    Unknown,
    laplacian,
)
from sciml.calculus import ENGINES
from sciml.fields import Constrained, FieldOptions, build_network
from sciml.objective import Objective, TrainableParameters
from sciml.problem import hard

pi = math.pi


def problem(domain, *conditions, unknowns="u", equation=None, **options):
    first = equation or (lambda u: laplacian(u))
    return Problem(domain=domain, unknowns=unknowns, conditions=[Equation(first, name="pde"), *conditions], **options)


def field_of(problem, ansatz, seed=0):
    generator = torch.Generator().manual_seed(seed)
    periods = {problem.coordinates.index(n): p for n, p in ansatz.periods.items()}
    network = build_network(
        "mlp", problem.region.bounds, len(problem.unknowns), FieldOptions(width=5, depth=2), generator, periods=periods
    )
    with torch.no_grad():
        for p in network.parameters():
            p += torch.randn(p.shape, generator=generator, dtype=p.dtype)
    if ansatz.trivial and not any(ansatz.lifts.values()):
        return network
    return Constrained(
        network,
        problem.setting.frame,
        [ansatz.lifts[n] for n in problem.unknowns],
        [ansatz.bubbles[n] for n in problem.unknowns],
    )


def objective_of(problem, ansatz):
    objective = Objective(
        problem, field_of(problem, ansatz), TrainableParameters(problem.trainable), list(problem.blocks)
    )
    generator = torch.Generator().manual_seed(2)
    for block in problem.blocks:
        objective.points[block.name] = block.region.sample(200, generator=generator)
    return objective


UNIT = Box(x=(0, 1), t=(0, 2))
SQUARE = Box(x=(0, 1), y=(-1, 1))
SLAB = Box(x=(0, 1), y=(-1, 1), t=(0, 2))
PROBLEMS = {
    "interval": lambda: problem(Box(x=(-1, 3)), Dirichlet(u=lambda x: x**2)),
    "one end": lambda: problem(Box(x=(-1, 3)), Dirichlet(u=2.0, on="x+"), Neumann(u=0.0, on="x-")),
    "initial": lambda: problem(UNIT, Initial(u=lambda x: torch.exp(x))),
    "late start": lambda: problem(Box(x=(0, 1), t=(1, 3)), Initial(u=lambda x: torch.exp(x), u_t=lambda x: x)),
    "wave": lambda: problem(UNIT, Initial(u=lambda x: torch.sin(pi * x), u_t=lambda x: x * (1 - x)), Dirichlet(u=0.0)),
    "moving wall": lambda: problem(UNIT, Initial(u=0.0, u_t=lambda x: x), Dirichlet(u=lambda x, t: x * torch.sin(t))),
    "piecewise start": lambda: problem(UNIT, Initial(u=lambda x: torch.where(x < 0.5, x, 1 - x)), Dirichlet(u=0.0)),
    "square": lambda: problem(SQUARE, Dirichlet(u=lambda x, y: torch.sin(2 * x + y) + x * y**2)),
    "three sides": lambda: problem(SQUARE, Dirichlet(u=lambda x, y: x * y, on=["x-", "x+", "y-"])),
    "side by side": lambda: problem(
        SQUARE, Dirichlet(u=lambda y: 1 + y, on="x-"), Dirichlet(u=lambda x: 2 + x, on="y+")
    ),
    "heat in the plane": lambda: problem(
        SLAB,
        Initial(u=lambda x, y: torch.sin(pi * x) * y),
        Dirichlet(u=lambda x, y, t: torch.sin(pi * x) * y * (1 + t)),
    ),
    "wave in the plane": lambda: problem(
        SLAB, Initial(u=lambda x, y: x + y, u_t=lambda x, y: x * y), Dirichlet(u=lambda x, y, t: x + y + t * x * y)
    ),
    "periodic": lambda: problem(UNIT, Initial(u=lambda x: torch.sin(2 * pi * x)), Periodic(on="x", derivatives=2)),
    "periodic channel": lambda: problem(
        SLAB,
        Initial(u=lambda x, y: torch.cos(2 * pi * x) * (1 - y**2)),
        Periodic(on="x"),
        Dirichlet(u=0.0, on=["y-", "y+"]),
    ),
    "two periods": lambda: problem(
        SLAB, Initial(u=lambda x, y: torch.cos(2 * pi * x) * torch.sin(pi * y)), Periodic(on="x"), Periodic(on="y")
    ),
    "range": lambda: problem(
        UNIT, Initial(u=lambda x, k: torch.sin(pi * x) * k), Dirichlet(u=0.0), parameters=dict(k=Range(1, 2))
    ),
    "disk, constant": lambda: problem(Disk((0.2, 0), 1.5), Dirichlet(u=3.0)),
    "disk": lambda: problem(Disk((0, 0), 1.5), Dirichlet(u=lambda x, y: x - torch.exp(y))),
    "disk in time": lambda: problem(
        Disk((0, 0), 1.5) * Box(t=(0, 1)), Initial(u=lambda x, y: x), Dirichlet(u=lambda x, t: x + t)
    ),
    "ring": lambda: problem(
        Disk((0, 0), 2.0, name="outer") - Disk((0, 0), 1.0, name="inner"),
        Dirichlet(u=1.0, on="inner"),
        Dirichlet(u=lambda x: x, on="outer"),
    ),
    "plate with a hole": lambda: problem(SQUARE - Disk((0.5, 0), 0.2, name="hole"), Dirichlet(u=2.0, on="hole")),
    "union": lambda: problem(Disk((0, 0), 1.0) | Disk((1, 0), 1.0), Dirichlet(u=lambda x, y: x * y)),
    "polygon": lambda: problem(Polygon([(0, 0), (2, 0), (1, 1.5)]), Dirichlet(u=lambda x: torch.cos(x))),
}


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_built_in_conditions_vanish_for_a_random_network(make):
    p = make()
    ansatz = hard.build(p, "hard")
    assert ansatz.satisfied == {b.name for b in p.blocks if b.hard} and not ansatz.refused
    objective = objective_of(p, ansatz)
    for block in p.blocks:
        if block.name in ansatz.satisfied:
            rows = objective.rows(block, objective.points[block.name]).detach()
            # rounding of values of size 10 to 100; boundary points are exact only to rounding
            assert float(rows.abs().max()) < 1e-12 * max(
                1.0, float(objective.field(objective.points[block.name].X).detach().abs().max()) * 10
            ), block.name
    # the field is not the lift alone: the network still moves it inside
    pde = objective.points["pde"].X
    assert float((objective.field(pde) - field_of(p, ansatz, seed=7)(pde)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_derivatives_of_a_field_with_built_in_data_agree_with_reverse_mode(make):
    p = make()
    field = field_of(p, hard.build(p, "hard"))
    X = p.region.sample(5, generator=torch.Generator().manual_seed(0)).X
    D = X.shape[1]
    second = {tuple(int(i == j) * 2 for i in range(D)) for j in range(D)}
    asked = {"u": {(0,) * D, *second, (1,) * min(D, 2) + (0,) * (D - 2)}}
    have, want = (ENGINES[e].derivatives(field, X, asked, ("u",)) for e in ("taylor", "nested"))
    for key, value in want.items():
        scale = 1 + float(value.detach().abs().max())
        # level functions of CSG domains have roots whose second derivatives cancel
        assert float((have[key] - value).detach().abs().max()) < 1e-9 * scale, key


CONTRADICTIONS = {
    "lid": (
        lambda: problem(SQUARE, Dirichlet(u=1.0, on="y+"), Dirichlet(u=0.0, on=["x-", "x+", "y-"])),
        "where they meet",
    ),
    "initial and boundary": (lambda: problem(UNIT, Initial(u=1.0), Dirichlet(u=0.0)), "where they meet"),
    "velocity": (lambda: problem(UNIT, Initial(u=0.0, u_t=1.0), Dirichlet(u=0.0)), "where they meet"),
    "velocity alone": (lambda: problem(UNIT, Initial(u_t=1.0)), "not all lower ones"),
    "disk": (lambda: problem(Disk((0, 0), 1.0) * Box(t=(0, 1)), Initial(u=1.0), Dirichlet(u=0.0)), "where they meet"),
    "period of the start": (lambda: problem(UNIT, Initial(u=lambda x: x), Periodic(on="x")), "not periodic in 'x'"),
    "kink at the period": (
        lambda: problem(UNIT, Initial(u=lambda x: x * (1 - x)), Periodic(on="x")),
        "not periodic in 'x'",
    ),
    "wall in a period": (lambda: problem(UNIT, Dirichlet(u=0.0, on="x-"), Periodic(on="x")), "not periodic in 'x'"),
    "wall that is not periodic": (
        lambda: problem(SQUARE, Dirichlet(u=lambda x: x, on="y-"), Periodic(on="x")),
        "not periodic in 'x'",
    ),
    "infinite": (lambda: problem(UNIT, Initial(u=lambda x: 1 / (x - x**2)), Dirichlet(u=0.0)), "where they meet"),
    "parameter": (
        lambda: problem(UNIT, Initial(u=lambda x, k: k * x), parameters=dict(k=Unknown(1.0))),
        "unknown parameter 'k'",
    ),
    "normal": (lambda: problem(Disk((0, 0), 1.0), Dirichlet(u=lambda normal: normal.x)), "normal"),
}


@pytest.mark.parametrize("make, reason", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_refused_when_hard_and_stay_in_the_loss_when_auto(make, reason):
    p = make()
    with pytest.raises(ProblemError, match=f"impossible for 'u': .*{reason}"):
        hard.build(p, "hard")
    ansatz = hard.build(p, "auto")
    assert reason in ansatz.refused["u"] and ansatz.trivial and ansatz.lifts == {"u": 0.0}
    left = {b.name for b in p.blocks if b.hard} - ansatz.satisfied
    assert left and all(not n.startswith("periodic") for n in left)


def test_one_unknown_may_be_hard_while_another_stays_in_the_loss():
    p = problem(
        SQUARE,
        Dirichlet(u=1.0, on="y+", name="lid"),
        Dirichlet(u=0.0, on=["x-", "x+", "y-"], name="walls"),
        Dirichlet(v=0.0, name="v"),
        unknowns="u v",
        equation=lambda u, v: (laplacian(u), laplacian(v)),
    )
    ansatz = hard.build(p, "auto")
    assert ansatz.satisfied == {"v"} and set(ansatz.refused) == {"u"} and ansatz.bubbles["u"] == 1.0
    shared = problem(
        SQUARE,
        Dirichlet(u=1.0, v=0.0, on="y+", name="lid"),
        Dirichlet(u=0.0, v=0.0, on=["x-", "x+", "y-"], name="walls"),
        unknowns="u v",
        equation=lambda u, v: (laplacian(u), laplacian(v)),
    )
    assert hard.build(shared, "auto").satisfied == set()  # u's part of each condition is still asked for


def test_a_period_that_holds_for_one_unknown_of_two_stays_in_the_loss():
    p = problem(UNIT, Periodic(on="x", unknowns="u"), unknowns="u v", equation=lambda u, v: (u.t - v.x, v.t - u.x))
    ansatz = hard.build(p, "auto")
    assert not ansatz.periods and not ansatz.satisfied


def test_conditions_on_predicates_and_other_kinds_stay_in_the_loss():
    p = problem(SQUARE, Dirichlet(u=0.0, on=lambda x, y: (x < 1e-9) & (y > 0), name="part"), Neumann(u=0.0, on="y-"))
    ansatz = hard.build(p, "hard")
    assert not ansatz.satisfied and ansatz.trivial


def test_soft_builds_nothing_in_and_an_unknown_mode_is_named():
    p = PROBLEMS["wave"]()
    ansatz = hard.build(p, "soft")
    assert ansatz.trivial and not ansatz.satisfied and ansatz.lifts == {"u": 0.0} and ansatz.bubbles == {"u": 1.0}
    with pytest.raises(ProblemError, match="'firm' is not one of hard, soft, auto"):
        hard.build(p, "firm")


def test_the_lift_of_bilinear_data_is_bilinear_interpolation():
    p = problem(SQUARE, Dirichlet(u=lambda x, y: 1 + x - 2 * y + 3 * x * y))
    ansatz = hard.build(p, "hard")
    field = field_of(p, ansatz)
    with torch.no_grad():
        for q in field.network.last.parameters():
            q.zero_()
    x, y = (X := p.region.sample(20, generator=torch.Generator().manual_seed(0)).X).T
    torch.testing.assert_close(field(X)[:, 0], 1 + x - 2 * y + 3 * x * y, rtol=0, atol=1e-14)  # Coons patches are exact
