"""The suite of problems on meshes: finite elements of any weak form, and the tables."""

import json

import pytest
import torch
from test_weak import laplace, meshed

from sciml import Dirichlet, Equation, Problem, ProblemError, Unknown, Weak
from sciml.bench import SUITES, meshes
from sciml.bench.classical import finite_elements
from sciml.elements.diffusion import diffusion
from sciml.elements.flow import Flow, navier_stokes
from sciml.elements.space import Space
from sciml.errors import TrainingError
from sciml.objective import make_recipe
from sciml.problem import load_problem


def flow(u, v, p, a, b, q):
    inertia = (u * u.x + v * u.y) * a + (u * v.x + v * v.y) * b
    friction = 0.1 * (u.x * a.x + u.y * a.y + v.x * b.x + v.y * b.y)
    return inertia + friction - p * (a.x + b.y) - q * (u.x + v.y)


def test_the_elements_of_a_diffusion_problem_are_those_of_the_solver():
    domain = meshed(4)
    problem = Problem(domain=domain, unknowns="u", conditions=[
        Weak(lambda u, v, x: (1 + x) * laplace(u, v) - v, natural={"x+": lambda u, v: (u - 2) * v}),
        Dirichlet(u=lambda y: y, on="x-"), Dirichlet(u=0.0, on="y-")])
    found = finite_elements(problem)
    expected = diffusion(Space(domain.complex, 1), lambda x, y: 1 + x, 1.0, robin={"x+": (1.0, 2.0)},
                         dirichlet={"x-": lambda x, y: y, "y-": 0.0})
    assert torch.allclose(found["u"], expected["u"], atol=1e-12) and found.numbers["steps"] == 2


def test_the_elements_of_a_flow_are_those_of_taylor_and_hood():
    domain = meshed(4)                                         # the quadrature of both is exact on straight triangles
    problem = Problem(domain=domain, unknowns="u v p", conditions=[
        Weak(flow, tests=dict(a="u", b="v", q="p"), order=dict(a=2, b=2, q=1)),
        Dirichlet(u=lambda y: 4 * y * (1 - y), v=0.0, on="x-"), Dirichlet(u=0.0, v=0.0, on=["y-", "y+"])])
    found = finite_elements(problem)
    expected = navier_stokes(Flow(domain.complex, 0.1, {
        "x-": (lambda x, y: 4 * y * (1 - y), 0.0), "y-": (0.0, 0.0), "y+": (0.0, 0.0)}), tolerance=1e-13)
    for name in "uvp":
        assert torch.allclose(found[name], expected[name], atol=1e-9)


def test_what_has_no_elements_is_refused():
    def stated(*conditions, **options):
        return Problem(domain=meshed(2), unknowns="u", conditions=[*conditions, Dirichlet(u=0.0, on="x-")], **options)

    with pytest.raises(ProblemError, match="parameters to be found"):
        finite_elements(stated(Weak(lambda u, v, k: k * laplace(u, v) - v), parameters=dict(k=Unknown(1.0))))
    with pytest.raises(ProblemError, match="other conditions"):
        finite_elements(stated(Weak(lambda u, v: laplace(u, v) - v), Equation(lambda u: u.x - 1)))
    with pytest.raises(TrainingError, match="does not converge in 3 steps"):
        finite_elements(stated(Weak(lambda u, v: laplace(u, v) - (100 + torch.exp(3 * u)) * v)), steps=3)


def test_every_row_is_a_valid_recipe_and_has_a_file_of_its_own():
    rows = SUITES["meshes"]
    assert len({row.key for row in rows}) == len(rows) == len(meshes.ROWS) + len(meshes.PRECONDITIONED)
    for row in rows:
        problem = load_problem(row.problem)
        make_recipe(problem.defaults, {**row.budget, **row.options})
        assert set(row.unknowns) <= set(problem.unknowns)


def test_the_tables_hold_what_was_kept(tmp_path):
    assert meshes.table("cpu", tmp_path) == meshes.preconditioned("cpu", tmp_path) == ""
    row, other = meshes.ROWS[1], meshes.ROWS[4]
    kept = dict(steps=60, cpu=20.0, parameters=401)
    for seed, error in enumerate((4e-4, 2e-4, 3e-4)):
        (tmp_path / f"{row.key}-cpu-seed{seed}.json").write_text(json.dumps({**kept, "error": error}))
    (tmp_path / f"{other.key}-cpu-seed0.json").write_text(json.dumps({**kept, "error": 1e-3}))
    (tmp_path / f"classical-{row.name}.json").write_text(json.dumps(
        dict(error=9e-3, seconds=0.03, unknowns=487, orders=dict(u=1))))
    lines = meshes.table("cpu", tmp_path).splitlines()
    assert len(lines) == 4 and "| **3.0e-04** | 2.0e-04 – 4.0e-04 | 1e-03 | 401 | 3 | P1, 487 | 9.0e-03 |" in lines[2]
    assert lines[3].endswith("| 1 | – | – | – |")
    plain, galerkin, *_ = meshes.PRECONDITIONED
    for each, error in ((plain, 0.1), (galerkin, 5e-3)):
        (tmp_path / f"{each.key}-cpu-seed0.json").write_text(json.dumps({**kept, "error": error}))
    line = meshes.preconditioned("cpu", tmp_path).splitlines()[2]
    assert "1.0e-01 (1×)" in line and "5.0e-03 (20×)" in line and line.endswith("| – |")


def test_elements_of_a_problem_file_are_measured():
    found = meshes.classical(next(row for row in meshes.ROWS if row.problem == "lshape"), repeats=1)
    assert found["error"] < 1e-2 and found["orders"] == {"u": 1} and found["seconds"] > 0
    assert meshes.classical(next(row for row in meshes.ROWS if row.problem == "drum"), repeats=1) == {}
