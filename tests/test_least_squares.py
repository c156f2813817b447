"""Gaussian fields on problems: lattices, ghosts, least squares, recipes of the family."""

from math import pi

import pytest
import torch

import sciml
from sciml import Ball, Box, Dirichlet, Disk, Equation, Initial, Periodic, Problem, ProblemError, laplacian
from sciml.objective import build_objective, make_recipe
from sciml.optim import LeastSquares
from sciml.problem import load_problem


def wave(x, y):
    return torch.sin(2 * pi * x) * torch.sin(pi * y)


def membrane(**changes):
    given = dict(domain=Box(x=(-1, 1), y=(-1, 1)), unknowns="u", reference=dict(u=wave), conditions=[
        Equation(lambda u, x, y: laplacian(u) + 5 * pi**2 * wave(x, y)), Dirichlet(u=0.0)])
    return Problem(**given | changes)


def error(problem, **options):
    return sciml.solve(problem, **{"model": "gaussian", **options}).relative_l2()["u"]


def test_a_linear_problem_takes_one_step():
    solution = sciml.solve(membrane(), model="gaussian", set={"model.centres": 20}, constraints="soft")
    assert solution.status == "ok" and solution.steps == 1
    assert solution.relative_l2()["u"] < 1e-6


def test_ghosts_carry_the_accuracy_to_the_boundary():
    without = error(membrane(), constraints="soft",
                    set={"model.overlap": 1.2, "model.centres": 16, "model.ghosts": 0})
    with_ghosts = error(membrane(), constraints="soft",
                        set={"model.overlap": 1.2, "model.centres": 16, "model.ghosts": 4})
    assert with_ghosts < 1e-2 * without


def test_a_nonlinear_problem_takes_newton_steps_until_they_no_longer_pay():
    exact = lambda x: torch.sin(pi * x)
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", reference=dict(u=exact), conditions=[
        Equation(lambda u, x: u.xx + u**3 + pi**2 * exact(x) - exact(x)**3), Dirichlet(u=0.0)])
    solution = sciml.solve(problem, model="gaussian", set={"model.centres": 20})
    assert solution.status == "ok" and 2 <= solution.steps <= 8
    assert solution.relative_l2()["u"] < 1e-8


def test_the_first_step_is_the_least_squares_solution(generator):
    J = torch.randn(30, 6, generator=generator, dtype=torch.float64) @ torch.diag(10.0 ** torch.arange(6.0)).double()
    b = torch.randn(30, generator=generator, dtype=torch.float64)
    theta = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = LeastSquares([theta])
    residual = lambda: (J @ theta - b).detach()
    optimizer.step(lambda: (residual(), J), residual)
    want = torch.linalg.lstsq(J, b[:, None], driver="gelsd").solution[:, 0]
    assert torch.allclose(theta, want, rtol=1e-10) and optimizer.converged


@pytest.mark.parametrize("rows", [4, 30])
def test_damped_steps_solve_the_damped_equations(rows, generator):
    J = torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    J[:, 2] = 0                                            # a Gaussian that no point sees
    r = torch.randn(rows, generator=generator, dtype=torch.float64)
    equations = LeastSquares([torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))]).equations(J)
    assert equations.factor(0.1)
    S = J.norm(dim=0).clamp(min=1e-300)
    A = J / S
    want = torch.linalg.solve(A.T @ A + 0.1 * torch.eye(6, dtype=torch.float64), A.T @ r) / S
    want[2] = 0
    assert torch.allclose(equations.solve(r), want, rtol=1e-9, atol=1e-12)


def test_a_step_that_does_not_lower_the_loss_is_damped(generator):
    theta = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    residual = lambda: torch.atan(theta).detach()          # Newton's method diverges from here
    linearize = lambda: (residual(), (1 / (1 + theta**2))[:, None].detach())
    optimizer = LeastSquares([theta])
    for _ in range(30):
        if optimizer.converged:
            break
        optimizer.step(linearize, residual)
    assert abs(float(theta.detach())) < 1e-6


def test_centres_stay_near_a_domain_that_is_no_box():
    def field(domain):
        problem = membrane(domain=domain, conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=0.0)])
        objective, _ = build_objective(problem, make_recipe({}, {"model": "gaussian", "constraints": "soft"}))
        return objective.field

    disk = Disk((0, 0), 1.0)
    square, round_ = field(Box(x=(-1, 1), y=(-1, 1))), field(disk)
    assert square.count == 28**2 and 0.5 * 28**2 < round_.count < 28**2
    h = float(round_.log_scales[0, 0].detach().exp()) / 1.5
    assert float(disk.distance(round_.centres.detach()).max()) <= 5 * h * (1 + 1e-9)


def test_periodic_coordinates_get_images_and_no_ghosts():
    exact = lambda x, t: torch.sin(x - t)
    problem = Problem(domain=Box(x=(0, 2 * pi), t=(0, 1)), unknowns="u", reference=dict(u=exact), conditions=[
        Equation(lambda u: u.t + u.x), Initial(u=lambda x: torch.sin(x)), Periodic(on="x")])
    assert error(problem, set={"model.centres": (16, 14)}) < 1e-6


def test_features_of_a_problem_and_polynomials_are_added_to_the_gaussians():
    kink = lambda x: torch.abs(x - 0.4)
    exact = lambda x: kink(x) + x**2
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", reference=dict(u=exact), features=[kink], conditions=[
        Equation(lambda u, x: u - exact(x))])
    with_kink = error(problem, set={"model.centres": 8, "model.polynomial": 2})
    without = error(Problem(domain=Box(x=(0, 1)), unknowns="u", reference=dict(u=exact), conditions=[
        Equation(lambda u, x: u - exact(x))]), set={"model.centres": 8})
    assert with_kink < 1e-12 < 1e-3 < without


def test_several_unknowns_share_the_gaussians():
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u v", conditions=[
        Equation(lambda u, v: {"a": u.x - v, "b": v.x + u}), Dirichlet(u=0.0, v=1.0, on="x-")],
        reference=dict(u=lambda x: torch.sin(x), v=lambda x: torch.cos(x)))
    solution = sciml.solve(problem, model="gaussian", set={"model.centres": 16})
    assert max(solution.relative_l2().values()) < 1e-8


def test_a_users_own_gaussians_are_solved_for(generator):
    from sciml.fields import GaussianField
    centres = 2.6 * torch.rand(300, 2, generator=generator, dtype=torch.float64) - 1.3
    field = GaussianField(centres, torch.full((300,), 0.35))
    solution = sciml.solve(membrane(), network=field, optimizer="least-squares", sampler="sobol", points=1200)
    assert solution.relative_l2()["u"] < 1e-3


def test_shapes_are_trained_by_variable_projection(generator):
    bump = lambda x: torch.exp(-200 * (x - 0.37) ** 2)
    problem = Problem(domain=Box(x=(0, 1)), unknowns="u", reference=dict(u=bump), conditions=[
        Equation(lambda u, x: u - bump(x))])
    still = error(problem, optimizer="varpro", steps=1, points=200,
                  set={"model.centres": 8, "model.ghosts": 1, "varpro.body": False})
    moved = error(problem, optimizer="varpro", steps=12, points=200,
                  set={"model.centres": 8, "model.ghosts": 1, "model.overlap": 0.8, "model.train": "shapes"})
    assert still > 0.1 and moved < 1e-8


@pytest.mark.parametrize(("options", "sentence"), [
    ({"model.centres": 1}, "model.centres=1 must be a whole number of at least 2"),
    ({"model.centres": (8, 8, 8)}, "has 3 numbers, and the problem 2 coordinates"),
    ({"model.centres": 8, "model.ghosts": 4}, "leave fewer than two inside"),
    ({"model.covariance": "round"}, "Valid: diagonal, full, isotropic"),
    ({"model.overlap": 9.0}, "from 0.3 to 5"),
])
def test_senseless_options_are_refused(options, sentence):
    with pytest.raises(ProblemError) as found:
        sciml.solve(membrane(), model="gaussian", set=options)
    assert sentence in str(found.value)


def test_asked_for_gaussians_a_problem_tuned_for_a_network_takes_the_recipe_of_gaussians():
    problem = load_problem("helmholtz")
    recipe = make_recipe(problem.defaults, {"model": "gaussian"})
    assert recipe.optimizer == "least-squares" and recipe.points is None and recipe.time is None
    kept = make_recipe(problem.defaults, {"model": "gaussian", "optimizer": "varpro", "points": 50})
    assert kept.optimizer == "varpro" and kept.points == 50
    other = make_recipe(load_problem("helmholtz100").defaults, {"model": "gaussian"})
    assert other.optimizer == "least-squares" and "model" not in other.options
    assert make_recipe(problem.defaults, {"model": "siren"}).points == problem.defaults["points"]


def test_a_gaussian_run_resumes_to_the_same_numbers(tmp_path):
    options = dict(model="gaussian", optimizer="varpro", seed=1, points=100,
                   set={"model.centres": 6, "model.train": "shapes", "model.ghosts": 1})
    problem = load_problem("heat")
    whole = sciml.solve(problem, steps=4, **options)
    sciml.solve(problem, steps=2, out=tmp_path / "run", **options)
    resumed = sciml.solve(problem, steps=4, out=tmp_path / "run", resume=True, **options)
    assert resumed.relative_l2() == whole.relative_l2()
    assert sciml.Solution.load(tmp_path / "run").relative_l2() == whole.relative_l2()


def test_a_function_that_hides_its_arguments_is_refused_with_what_to_write():
    with pytest.raises(ProblemError) as found:
        membrane(conditions=[Equation(lambda u: laplacian(u)), Dirichlet(u=torch.sin)])
    assert "write lambda x: sin(x)" in str(found.value)


def test_least_squares_on_balls_in_three_dimensions():
    exact = lambda x, y, z: 1 - x**2 - y**2 - z**2
    problem = Problem(domain=Ball((0, 0, 0), 1.0), unknowns="u", reference=dict(u=exact), conditions=[
        Equation(lambda u: laplacian(u) + 6), Dirichlet(u=0.0)])
    assert error(problem, constraints="soft", points=1500, set={"model.centres": 9, "model.overlap": 2.0}) < 1e-3


def test_rows_of_conditions_are_brought_to_like_size(caplog):
    options = dict(constraints="soft", set={"model.centres": 20})
    assert error(load_problem("poisson_holes"), **options) < 0.5 * error(
        load_problem("poisson_holes"), balance="fixed", **options)
    sciml.solve(membrane(), model="gaussian", set={"model.centres": 16})            # one condition: nothing to weigh
    assert "changes nothing" not in caplog.text and "balance" not in caplog.text
    split = make_recipe(load_problem("heat").defaults, {"model": "gaussian", "refine": "splat"})
    assert split.balance == "fixed"
    inverse = sciml.solve("inverse_diffusivity", model="gaussian", steps=1)
    assert inverse.config["balance"] == "fixed"


def test_too_few_points_for_the_amplitudes_are_warned_of_before_and_after(caplog):
    rough = membrane(conditions=[Equation(lambda u, x: laplacian(u) - torch.sin(60 * x)), Dirichlet(u=0.0)])
    sciml.solve(rough, model="gaussian", points=330, set={"model.centres": 20}, constraints="soft",
                boundary_points=90)
    assert "420 rows for the 400 amplitudes of the field are fewer than 2 for each" in caplog.text
    assert "larger between the points than at them" in caplog.text


def test_enough_points_give_no_warning(caplog):
    sciml.solve(membrane(), model="gaussian", set={"model.centres": 20}, constraints="soft")
    assert "between the points" not in caplog.text


def test_amplitudes_that_rows_hardly_see_do_not_stay_as_large_as_they_were(generator):
    """Rounding of the size of θ is what u keeps of θ + δ: the solution anew forgets θ, an increment does not."""
    def after(steps, cls):
        draw = lambda *shape: torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        U, V = torch.linalg.qr(draw(60, 20))[0], torch.linalg.qr(draw(20, 20))[0]
        J = U @ torch.diag(torch.logspace(0, -13, 20, dtype=torch.float64)) @ V.T
        b = J @ draw(20)
        theta = torch.nn.Parameter(1e12 * V[:, -1])
        optimizer = cls([theta])
        residual = lambda: (J @ theta - b).detach()
        for _ in range(steps):
            optimizer.step(lambda: (residual(), J), residual)
        return float(residual().norm())

    class Increments(LeastSquares):
        def velocity(self, start, r, J, normal, residual):
            return -normal.solve(r)

    assert after(2, LeastSquares) < 1e-13 < 1e-3 * after(2, Increments)


def test_parameters_that_no_row_sees_stay_where_they_are():
    J = torch.diag(torch.tensor([1.0, 1e-9, 0.0], dtype=torch.float64))
    theta = torch.nn.Parameter(torch.tensor([1e9, 3.0, 7.0], dtype=torch.float64))
    optimizer = LeastSquares([theta])
    residual = lambda: (J @ theta - 1).detach()
    for _ in range(2):
        optimizer.step(lambda: (residual(), J), residual)
    assert float(theta[2]) == 7.0 and float(theta[0]) == pytest.approx(1.0)


def test_a_damped_step_that_gains_next_to_nothing_is_the_last():
    """At the bottom rounding refuses the plain step, and damped ones still find 1e-7 to lower: no reason to go on."""
    theta = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = LeastSquares([theta], damping=1e-3)
    J = torch.tensor([[1e-4], [0.0]], dtype=torch.float64)
    residual = lambda: torch.stack([1e-4 * theta.detach()[0], torch.ones((), dtype=torch.float64)])
    optimizer.step(lambda: (residual(), J), residual)
    assert abs(float(theta)) < 1 and optimizer.converged
