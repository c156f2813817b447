"""Lifts: a known part of an unknown counts in every condition, exactly, and what makes no sense gets a sentence."""

from math import pi

import numpy as np
import pytest
import torch
from torch import nn

import sciml
from sciml import (
    Box,
    Dirichlet,
    Disk,
    Equation,
    Initial,
    Neumann,
    Periodic,
    Problem,
    ProblemError,
    Range,
    Unknown,
    laplacian,
)
from sciml.calculus import ENGINES
from sciml.fields import Lifted
from sciml.objective import build_objective, make_recipe
from sciml.points import Points
from sciml.problem import hard
from sciml.training import Training

SQUARE = Box(x=(0, 1), y=(0, 1))
SMALL = dict(points=60, model=dict(width=6, depth=2), sampler="sobol")


def poisson(*conditions, domain=SQUARE, unknowns="u", equation=None, **options):
    equation = equation or (lambda u: laplacian(u))
    return Problem(domain, unknowns, [Equation(equation, name="pde"), *conditions], **options)


def objective_of(problem, network=None, **options):
    return build_objective(problem, make_recipe({}, {**SMALL, **options}), network)


def points_of(problem, n=20):
    return problem.region.sample(n, generator=torch.Generator().manual_seed(0))


def angle(x, y):
    """1 on the lid y = 1 and 0 on the wall x = 0, with a jump where they meet."""
    return 1 + 2 / pi * torch.atan2(y - 1, x + 1e-15)


# --- what a lift is -----------------------------------------------------------------------------------


def test_an_unknown_is_its_lift_plus_the_network():
    problem = poisson(unknowns="u v", equation=lambda u, v: (laplacian(u), laplacian(v)),
                      parameters=dict(k=3.0), lift=dict(u=lambda x, y, k: torch.sin(k * x) * y))
    field = objective_of(problem)[0].field
    X = points_of(problem).X
    N = field.network(X)
    want = torch.stack([torch.sin(3 * X[:, 0]) * X[:, 1] + N[:, 0], N[:, 1]], dim=1)
    torch.testing.assert_close(field(X), want, rtol=1e-14, atol=1e-14)  # one addition


def test_one_function_may_return_the_lifts_of_all_unknowns():
    def vortex(x, y, k):
        psi = torch.sin(k * x) * y**2
        return dict(u=psi.y, v=-psi.x)

    lifted = lambda lift: poisson(unknowns="u v", equation=lambda u, v: (laplacian(u), laplacian(v)),
                                  parameters=dict(k=3.0), lift=lift)
    X = points_of(lifted({})).X
    apart = dict(u=lambda x, y, k: 2 * y * torch.sin(k * x), v=lambda x, y, k: -k * torch.cos(k * x) * y**2)
    fields = [objective_of(lifted(lift))[0].field for lift in (vortex, apart)]
    torch.testing.assert_close(fields[0](X), fields[1](X), rtol=1e-14, atol=1e-14)  # the same products in another order


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_derivatives_of_a_lift_are_exact(mode):
    problem = poisson(Dirichlet(u=lambda x, y: x * torch.exp(y)), lift=dict(u=lambda x, y: torch.exp(y) * x**2))
    field = objective_of(problem, constraints=mode)[0].field
    X = points_of(problem).X
    asked = {"u": {(0, 0), (1, 0), (2, 0), (1, 1), (0, 2)}}
    have, want = (ENGINES[e].derivatives(field, X, asked, ("u",)) for e in ("taylor", "nested"))
    for key, value in want.items():
        torch.testing.assert_close(have[key], value, rtol=1e-11, atol=1e-11)  # rounding of values below 10²


def test_derivatives_of_a_singular_lift_are_those_of_its_formula():
    problem = poisson(lift=dict(u=angle))
    field = objective_of(problem)[0].field
    with torch.no_grad():
        for p in field.network.last.parameters():
            p.zero_()
    X = points_of(problem).X
    found = ENGINES["taylor"].derivatives(field, X, {"u": {(1, 0), (0, 1), (2, 0), (0, 2)}}, ("u",))
    x, y = X[:, 0], X[:, 1] - 1
    r2 = x**2 + y**2
    want = {(1, 0): -y / r2, (0, 1): x / r2, (2, 0): 2 * x * y / r2**2, (0, 2): -2 * x * y / r2**2}
    for alpha, value in want.items():
        torch.testing.assert_close(found["unknown", "u", alpha], 2 / pi * value, rtol=1e-9, atol=1e-9)  # 1e-15 / r


def test_conditions_of_every_kind_see_the_total():
    exact = lambda x, y: torch.exp(x) * torch.sin(y)
    problem = poisson(
        Dirichlet(u=exact, on="x-"), Neumann(u=lambda x, y: torch.exp(x) * torch.cos(y), on="y+"),
        lift=dict(u=exact))
    objective, _ = objective_of(problem, constraints="soft")
    with torch.no_grad():
        for p in objective.field.network.last.parameters():
            p.zero_()
    for block in problem.blocks:
        points = block.region.sample(20, generator=torch.Generator().manual_seed(0))
        # The lift solves the problem: rounding of terms of size e.
        assert float(objective.values(block, points).detach().abs().max()) < 1e-13, block.name


def test_training_finds_what_the_lift_leaves_out():
    bump = lambda x: torch.exp(-1e4 * (x - 0.5) ** 2)              # 100 times narrower than the domain
    total = lambda x: bump(x) + torch.sin(pi * x)
    def residual(u, x):
        w = bump(x)
        return u.xx - w.x.x + pi**2 * torch.sin(pi * x)
    problem = Problem(Box(x=(0, 1)), "u", [Equation(residual), Dirichlet(u=0.0)], lift=dict(u=bump),
                      reference=dict(u=total))
    solution = sciml.solve(problem, steps=30, points=40, model=dict(width=8, depth=2))
    # Thirty steps of Gauss-Newton reach 1e-7 for one sine; without the lift 40 points would miss the bump: error 0.07.
    assert solution.history[-1]["errors"]["u"] < 1e-5


def test_what_is_kept_of_a_lift_belongs_to_its_points():
    problem = poisson(Dirichlet(u=0.0), lift=dict(u=lambda x, y: torch.sin(3 * x) * y))
    field = objective_of(problem)[0].field
    fresh = lambda X: objective_of(problem)[0].field(X)               # the same network, nothing kept
    X = points_of(problem).X
    assert torch.equal(field(X), field(X)) and len(field._known._kept) == 1
    assert torch.equal(field(X[:7]), fresh(X[:7])) and torch.equal(field(X[7:]), fresh(X[7:]))
    X[:, 0] *= 0.5                                                    # the same memory, other points
    assert torch.equal(field(X), fresh(X))
    for _ in range(100):                                              # memory that may be given again to other points
        X = torch.rand(20, 2, dtype=torch.float64)
        assert torch.equal(field(X), fresh(X)) if _ % 20 == 0 else field(X).isfinite().all()
    assert field._known._kept.size <= field._known._kept.total
    with torch.inference_mode():
        field(X)
    field(X).sum().backward()                                         # inference leaves nothing behind that cannot
    inner = torch.vmap(lambda x: field(x[None])[0])(X)
    torch.testing.assert_close(inner, field(X), rtol=1e-14, atol=1e-14)


# --- with hard constraints ----------------------------------------------------------------------------


def boundary_rows(problem, **options):
    objective, ansatz = objective_of(problem, **options)
    rows = []
    for block in problem.blocks:
        if block.name in ansatz.satisfied:
            points = block.region.sample(50, generator=torch.Generator().manual_seed(0))
            rows.append(objective.rows(block, points).detach().abs().max())
    return float(max(rows)), ansatz


LIFTED = {
    "box": lambda: poisson(Dirichlet(u=lambda x, y: x + y), lift=dict(u=lambda x, y: torch.cos(3 * x + y))),
    "number": lambda: poisson(Dirichlet(u=0.0), lift=dict(u=2.0)),
    "box in time": lambda: Problem(
        Box(x=(0, 1), t=(0, 1)), "u", [Equation(lambda u: u.tt - u.xx, name="pde"), Dirichlet(u=0.0),
                                       Initial(u=lambda x: torch.sin(pi * x), u_t=0.0)],
        lift=dict(u=lambda x, t: torch.cos(x + 2 * t))),
    "disk": lambda: poisson(Dirichlet(u=1.0), domain=Disk((0, 0), 1.0), lift=dict(u=lambda x, y: x**2 + y**2)),
    "period": lambda: Problem(
        Box(x=(0, 1), t=(0, 1)), "u", [Equation(lambda u: u.t - u.x, name="pde"), Periodic(on="x"), Initial(u=0.0)],
        lift=dict(u=lambda x, t: torch.cos(2 * pi * x) * torch.exp(t))),
    "range": lambda: poisson(Dirichlet(u=0.0), domain=Box(x=(0, 1)), parameters=dict(k=Range(1.0, 2.0)),
                             equation=lambda u, k: k * u.xx, lift=dict(u=lambda x, k: k * x)),
}


@pytest.mark.parametrize("make", LIFTED.values(), ids=LIFTED.keys())
def test_hard_constraints_hold_for_lift_and_network_together(make):
    problem = make()
    largest, ansatz = boundary_rows(problem, constraints="hard")
    assert ansatz.satisfied == {b.name for b in problem.blocks if b.hard}
    assert largest < 1e-13                                        # rounding of values of size 1


def test_a_lift_that_takes_data_which_jump_makes_them_hard():
    lid = [Dirichlet(u=1.0, on="y+", name="lid"), Dirichlet(u=0.0, on=["x-"], name="wall")]
    assert "where they meet" in hard.build(poisson(*lid)).refused["u"]
    problem = poisson(*lid, lift=dict(u=angle))
    largest, ansatz = boundary_rows(problem, constraints="hard")
    assert ansatz.satisfied == {"lid", "wall"} and largest < 1e-10   # the lift is 1e-15 / r off the wall
    X = torch.tensor([[1e-4, 1.0], [1e-4, 1 - 1e-9], [1e-9, 1 - 1e-4]], dtype=torch.float64)
    field = objective_of(problem)[0].field
    # The value of the lid holds up to the lid, that of the wall up to the wall: angles of 1e-5.
    torch.testing.assert_close(field(X)[:, 0].detach(), torch.tensor([1.0, 1.0, 0.0]).double(), rtol=0, atol=1e-4)


def test_a_lift_that_jumps_and_misses_data_stays_soft():
    # The wall's 1 − 0 meets the lid's 1 − 1 at the corner: the patch would take the lid's, and miss it just below.
    problem = poisson(Dirichlet(u=1.0, on=["x-", "y+"]), lift=dict(u=angle))
    assert "let it take the data" in hard.build(problem).refused["u"]
    with pytest.raises(ProblemError, match="impossible for 'u': the problem's lift jumps where region"):
        hard.build(problem, "hard")


def test_on_other_domains_than_boxes_a_lift_must_take_the_data_to_be_hard():
    problem = poisson(Dirichlet(u=0.0), domain=Disk((0, 0), 1.0), lift=dict(u=lambda x: x))
    assert "does not take the data on region" in hard.build(problem).refused["u"]
    assert hard.build(problem).lifts["u"] is problem.known["u"]


def test_a_lift_that_is_not_periodic_leaves_the_period_in_the_loss():
    problem = Problem(Box(x=(0, 1), t=(0, 1)), "u", [Equation(lambda u: u.t - u.x), Periodic(on="x")],
                      lift=dict(u=lambda x: x))
    ansatz = hard.build(problem)
    assert not ansatz.periods and not ansatz.satisfied and "not periodic in 'x'" in ansatz.refused["u"]
    with pytest.raises(ProblemError, match="the problem's lift is not periodic in 'x'"):
        hard.build(problem, "hard")


# --- runs ---------------------------------------------------------------------------------------------

FILE = '''"""Flow past a corner.

    Δu = 0
"""
import torch
from sciml import *

problem = Problem(
    domain=Box(x=(0, 1), y=(0, 1)), unknowns="u", conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=0.0)],
    lift=dict(u=lambda x, y: torch.exp(x) * torch.sin(y)), reference=dict(u=0.0),
)
'''


def test_runs_with_a_lift_resume_and_load(tmp_path):
    file = tmp_path / "corner.py"
    file.write_text(FILE, encoding="utf-8")
    problem = sciml.load_problem(file)
    options = dict(seed=1, constraints="soft", **SMALL)
    straight = sciml.solve(problem, steps=4, **options)
    sciml.solve(problem, steps=2, out=tmp_path / "run", **options)
    resumed = sciml.solve(problem, steps=4, out=tmp_path / "run", resume=True, **options)
    loaded = sciml.Solution.load(tmp_path / "run")
    X = points_of(problem).X.numpy()
    assert np.array_equal(straight.predict(X)["u"], resumed.predict(X)["u"])
    assert np.array_equal(loaded.predict(X)["u"], resumed.predict(X)["u"])


def test_a_network_of_the_users_own_gets_the_lift_too():
    lift = lambda x, y: torch.exp(x) * torch.sin(y)
    problem = poisson(Dirichlet(u=lift), lift=dict(u=lift))
    torch.manual_seed(0)
    own = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    training = Training(problem, make_recipe({}, dict(steps=2, points=30)), own)
    field = training.objective.field
    X = points_of(problem).X
    assert isinstance(field, Lifted)
    torch.testing.assert_close(field(X)[:, 0], lift(*X.T) + own(X)[:, 0], rtol=1e-14, atol=1e-14)
    # The lift is harmonic, so the residual is the network's Laplacian alone.
    block = problem.blocks[0]
    found = ENGINES["nested"].derivatives(own, X, {"u": {(2, 0), (0, 2)}}, ("u",))
    torch.testing.assert_close(training.objective.values(block, Points(X, ("x", "y")))[:, 0], sum(found.values()),
                               rtol=1e-10, atol=1e-12)
    assert list(training.run())[-1].step == 2


# --- mistakes -----------------------------------------------------------------------------------------

MISTAKES = {
    "no such unknown": (dict(lift=dict(w=1.0)), "lift: unknown unknown 'w'"),
    "not a table": (dict(lift=lambda x: x), "lift=x must give a number or a function by unknown"),
    "a number for all": (dict(lift=1.0), "lift=1.0 must give a number or a function by unknown"),
    "no such argument": (dict(lift=dict(u=lambda x, z: x * z)), "lift of 'u': .*argument 'z'"),
    "an unknown": (dict(lift=dict(u=lambda x, u: x * u)), "depends on the unknown 'u'; a lift is known beforehand"),
    "a parameter to be found": (
        dict(lift=dict(u=lambda x, k: k * x), parameters=dict(k=Unknown(1.0)),
             equation=lambda u, k: k * laplacian(u)), "depends on the unknown parameter 'k'"),
    "a pair": (dict(lift=dict(u=lambda x, y: (x, y))), "lift of 'u': its data are a tuple"),
    "a text": (dict(lift=dict(u="x")), "lift of 'u': expected a finite number or a function"),
    "nan as a number": (dict(lift=dict(u=float("nan"))), "lift of 'u': expected a finite number"),
    "not finite inside": (dict(lift=dict(u=lambda x: torch.log(x - 0.5))), "lift of 'u': u is nan at x=.*inside"),
    "a derivative that is not finite": (
        dict(lift=dict(u=lambda x: torch.sqrt(torch.relu(x - 0.5)))), "lift of 'u': u.xx is (nan|-?inf) at"),
    "another length": (
        dict(lift=dict(u=lambda x: x + torch.zeros(3, dtype=torch.float64))), "lift of 'u': it fails on 64 points"),
    "a table of points": (
        dict(lift=dict(u=lambda x: x + torch.zeros(5, 1, dtype=torch.float64))), "one number per point"),
}


@pytest.mark.parametrize("options, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_lift_that_makes_no_sense_is_one_sentence(options, message):
    with pytest.raises(ProblemError, match=message) as error:
        poisson(Dirichlet(u=0.0), **options)
    assert "\n" not in str(error.value)
