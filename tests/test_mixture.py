"""Spectral-mixture processes: closed-form derivatives of the covariance, whitened functions, and what they solve."""

from math import log, pi

import pytest
import torch
from scipy.stats import multivariate_normal

import sciml
from sciml import Box, Dirichlet, Equation, Periodic, Problem, ProblemError
from sciml.calculus import IndexSet
from sciml.fields import MixtureAxis, TensorField
from sciml.fields.mixture import KERNELS, covariance
from sciml.optim.evidence import negative_log_evidence


def spectrum(Q=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.rand(Q, generator=generator, dtype=torch.float64)
    return draw().log(), 3 * draw(), draw() - 0.5


@pytest.mark.parametrize("kernel", KERNELS)
def test_derivatives_of_the_covariance_agree_with_automatic_ones_off_the_diagonal(kernel):
    X, x = torch.linspace(0, 1, 6).double(), torch.tensor([0.13, 0.55, 0.91]).double()
    have = covariance(KERNELS[kernel], x, X, *spectrum(), 4)
    for j in range(len(X)):
        point = x.clone().requires_grad_()
        value = covariance(KERNELS[kernel], point, X[j:j + 1], *spectrum(), 0)[0, :, 0]
        for k in range(5):
            assert torch.allclose(have[k, :, j], value.detach(), rtol=1e-9, atol=1e-9 * float(have[k].abs().max()))
            value = torch.autograd.grad(value.sum(), point, create_graph=True)[0]


@pytest.mark.parametrize("kernel, second, fourth", [("student-t", 5 / 3, 25.0), ("gaussian", 1.0, 3.0)])
def test_derivatives_on_the_diagonal_are_those_of_the_even_series(kernel, second, fourth):
    rate, f = 1.7, 2.3
    c, zero = 2 * pi * f, torch.zeros(1, dtype=torch.float64)
    parts = zero, zero + f, (zero + rate).log()
    k = covariance(KERNELS[kernel], zero, zero, *parts, 4)[:, 0, 0]
    # k = γ cos cΔ, γ = 1 − a Δ²/2 + b Δ⁴/24: k″ = −a − c², k⁗ = b + 6 a c² + c⁴
    a, b = second * rate**2, fourth * rate**4
    want = torch.tensor([1.0, 0.0, -a - c**2, 0.0, b + 6 * a * c**2 + c**4], dtype=torch.float64)
    assert torch.allclose(k, want, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_derivatives_across_the_diagonal_are_differences_of_lower_ones(kernel):
    h = 1e-5
    k = covariance(KERNELS[kernel], torch.tensor([-h, 0.0, h]).double(), torch.zeros(1).double(), *spectrum(), 4)
    for order in range(1, 5):
        difference = (k[order - 1, 2, 0] - k[order - 1, 0, 0]) / (2 * h)
        # O(h) where the fifth derivative jumps, times the size of one order more
        assert abs(float(difference - k[order, 1, 0])) < 1e-3 * float(k[order].abs().max() + k[order - 1].abs().max())


@pytest.mark.parametrize("kernel", KERNELS)
def test_whitened_functions_have_the_covariance_of_the_process_between_nodes(kernel):
    axis = MixtureAxis(0, 1, 40, kernel, components=4, scale=5.0)
    x = torch.linspace(0.03, 0.97, 23).double()
    phi = axis.jets(x, 0)[0]
    want = covariance(axis.profile, x, x, axis.log_weights, axis.frequencies, axis.log_rates, 0)[0]
    # what 40 nodes do not tell of the process: h⁵ for Matérn-5/2, rounding for a smooth kernel
    assert torch.allclose(phi @ phi.T, want, rtol=0, atol=1e-4 if kernel != "gaussian" else 1e-9)


def test_held_ends_hold_for_any_coefficients_and_jets_match_automatic_ones():
    axis = MixtureAxis(0, 1, 25, "gaussian", components=4, scale=5.0, held=(1, 2))
    field = TensorField([axis], 1)
    with torch.no_grad():
        field.weight.copy_(torch.randn(1, 22, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    ends = field.streams(torch.tensor([[0.0], [1.0]]).double(), IndexSet.closure([(1,)], 1)).detach()
    size = float(field.weight.detach().norm())
    assert float(ends[0].abs().max()) < 1e-8 * size and float(ends[1, 1].abs().max()) < 1e-7 * size


def test_components_without_weight_are_left_out():
    axis = MixtureAxis(0, 1, 20, components=3, scale=4.0)
    axis.assign(torch.tensor([-1.0, -1.0, -40.0]), axis.frequencies, axis.log_rates)
    few = MixtureAxis(0, 1, 20, components=2, scale=2.0)
    few.assign(axis.log_weights[:2], few.frequencies, few.log_rates)
    x = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(axis.jets(x, 2), few.jets(x, 2), rtol=1e-9)


def fine(x):
    return torch.sin(40 * x)


def poisson(end=2.0):
    return Problem(Box(x=(0, end)), "u", [Equation(lambda u, x: u.xx + 1600 * fine(x)), Dirichlet(u=fine)],
                   reference=dict(u=fine))


def solved(**options):
    model = dict(name="gp", centres=100, frequencies=10.0, components=12)
    return sciml.solve(poisson(), **{"model": model, "optimizer": "kronecker", "points": 50, **options})


@pytest.mark.parametrize("kernel", ["student-t", "gaussian"])
def test_high_frequencies_in_the_kernel_solve_what_low_ones_do_not(kernel):
    low, high = (solved(**{"model.kernel": kernel, "model.frequencies": f}).relative_l2()["u"] for f in (1.0, 10.0))
    assert high < 1e-4 and low > 10 * high              # 8 nodes for each of 13 waves


def test_a_kernel_survives_a_checkpoint(tmp_path):
    solved(steps=1, out=tmp_path)
    again = sciml.Solution.load(tmp_path, problem=poisson())
    assert again.relative_l2() == pytest.approx(solved().relative_l2(), rel=1e-9)


@pytest.mark.parametrize("options, sentence", [
    ({"model.kernel": "cauchy"}, "unknown model.kernel 'cauchy'"),
    ({"model.components": 0}, "model.components=0 must be at least 1"),
    ({"model.rate": -1.0}, "model.rate=-1.0 positive"),
    ({"model.centres": 4}, "4 nodes along a coordinate are too few"),
    ({"model.centres": 40}, r"40 nodes on a coordinate of length 2 do not carry .* take model.centres=66 or more"),
])
def test_a_wrong_option_gets_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        solved(**options)


def test_a_periodic_process_is_refused():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u, x: u.xx + u - fine(x)), Periodic(on="x")])
    with pytest.raises(ProblemError, match="model=gp has no periodic functions"):
        sciml.solve(problem, model="gp", optimizer="kronecker")


def test_a_fifth_derivative_of_the_student_t_kernel_is_refused():
    with pytest.raises(ProblemError, match="derivatives up to order 4"):
        MixtureAxis(0, 1, 10, components=2, scale=2.0).jets(torch.zeros(1).double(), 5)


# ---- learning the spectrum -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_evidence_is_the_density_of_a_normal_law_at_its_best_amplitude(kernel):
    N, h, noise, symbol = 12, 0.08, 1e-3, {2: 1.0, 1: 0.5, 0: 3.0}
    x = h * torch.arange(N, dtype=torch.float64)
    Y = torch.randn(N, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    have = negative_log_evidence(KERNELS[kernel], spectrum(), symbol, h, Y, noise)
    k = covariance(KERNELS[kernel], x, x, *spectrum(), 4)
    image = sum((-1) ** j * a * b * k[i + j] for i, a in symbol.items() for j, b in symbol.items())   # tested below
    C = (image / image[0, 0] + noise * torch.eye(N, dtype=torch.float64)).numpy()
    best = float((Y * torch.linalg.solve(torch.as_tensor(C), Y)).sum()) / Y.numel()
    density = sum(multivariate_normal(cov=best * C).logpdf(y.numpy()) for y in Y.T)
    assert float(have) == pytest.approx(-density / Y.numel() - 0.5 * (1 + log(2 * pi)), rel=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_covariance_of_the_image_is_the_derivative_in_both_arguments(kernel):
    one, X = torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64)
    k = covariance(KERNELS[kernel], one, X, *spectrum(), 4)[:, 0, 0]
    for i, j in ((1, 1), (2, 1), (2, 2)):
        x, y = one.clone().requires_grad_(), X.clone().requires_grad_()
        value = covariance(KERNELS[kernel], x, y, *spectrum(), 0)[0, 0, 0]
        for variable, count in ((x, i), (y, j)):
            for _ in range(count):
                (value,) = torch.autograd.grad(value.sum(), variable, create_graph=True)
        assert float(value.detach()) == pytest.approx(float((-1) ** j * k[i + j]), rel=1e-9)


LEARNT = {"optimizer": "evidence:25,kronecker", "evidence.points": 150}


def test_the_evidence_finds_the_frequency_and_a_more_accurate_solution():
    before, after = solved(), solved(**LEARNT)
    axis = after.objective.field.network.axes[0]
    strongest = float(axis.frequencies[axis.log_weights.argmax()])
    assert strongest == pytest.approx(40 / (2 * pi), rel=5e-3)
    assert after.relative_l2()["u"] < 0.2 * before.relative_l2()["u"]


def test_learning_resumes_bit_by_bit(tmp_path):
    whole = solved(steps=5, **{**LEARNT, "optimizer": "evidence:4,kronecker"})
    for steps in (2, 5):
        parts = solved(steps=steps, out=tmp_path, resume=steps > 2, **{**LEARNT, "optimizer": "evidence:4,kronecker"})
    for have, want in zip(parts.objective.state_dict().values(), whole.objective.state_dict().values(), strict=True):
        assert torch.equal(have, want)


@pytest.mark.parametrize("options, sentence", [
    ({"model": dict(name="gaussian-lattice", centres=30)}, "learns the kernels of model=gp"),
    ({"evidence.lr": 0.0}, "evidence needs lr > 0"),
    ({"evidence.noise": 0.0}, "evidence needs lr > 0, 0 < noise < 1"),
])
def test_learning_that_makes_no_sense_gets_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        solved(**{**LEARNT, **options})


def test_a_right_side_of_zero_teaches_nothing():
    problem = Problem(Box(x=(0, 1)), "u", [Equation(lambda u: u.xx), Dirichlet(u=0.0)])
    with pytest.raises(ProblemError, match="this one is zero"):
        sciml.solve(problem, model=dict(name="gp", centres=20, frequencies=5.0), **LEARNT)
