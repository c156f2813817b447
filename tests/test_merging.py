"""Merging Gaussians: inner products against quadrature, what merges and what stays."""

import pytest
import torch

from sciml.errors import ProblemError
from sciml.fields import GaussianField
from sciml.fields.gaussian import of_covariances
from sciml.fields.merging import merge, product

D = torch.float64


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def spread(count, D_, seed=1):
    A = random(count, D_, D_, seed=seed)
    return 0.05 * (A @ A.mT + torch.eye(D_, dtype=D))


def grid(n=161, half=4.0):
    x = torch.linspace(-half, half, n, dtype=D)
    return torch.cartesian_prod(x, x), float(x[1] - x[0])**2


def values(field, X):
    return field.features_at(X) @ field.amplitudes.detach().T


def test_inner_products_are_those_of_quadrature():
    mu, sigma = 0.3 * random(2, 2), spread(2, 2)
    field, (X, area) = of_covariances(mu, sigma, torch.ones(1, 2, dtype=D)), grid()
    G = field.features_at(X)
    exact = float((G[:, 0] * G[:, 1]).sum() * area)
    assert float(product(mu[:1], sigma[:1], mu[1:], sigma[1:])) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "full"])
def test_twins_become_what_they_were_before_the_split(covariance):
    mu = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-1.0, 1.0]], dtype=D)
    twice = GaussianField(mu.repeat(2, 1), torch.full((6,), 0.3, dtype=D), 2, covariance)
    with torch.no_grad():
        twice.amplitudes.copy_(random(2, 6))
        X, _ = grid(21)
        before = values(twice, X)
        assert merge(twice) == 3 and twice.count == 3 and twice.covariance == covariance
        assert torch.allclose(values(twice, X), before, rtol=0, atol=1e-12)
        assert merge(twice) == 0


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_near_ones_merge_into_nearly_the_same_function_and_far_ones_stay(covariance):
    mu = torch.tensor([[0.0, 0.0], [0.06, 0.02], [0.9, 0.0], [1.4, 0.0]], dtype=D)
    field = GaussianField(mu, torch.tensor([[0.3, 0.4], [0.32, 0.38], [0.3, 0.3], [0.3, 0.3]], dtype=D), 1, covariance)
    with torch.no_grad():
        field.amplitudes.copy_(torch.tensor([[1.0, 0.5, -1.0, 2.0]], dtype=D))
        X, area = grid()
        before = values(field, X)
        assert merge(field, 0.9, 0.01) == 1 and field.count == 3
        change = values(field, X) - before
        assert 0 < float(change.norm() / before.norm()) < 3e-3
        # the amplitude is the nearest: the change is orthogonal to the new Gaussian
        new = field.features_at(X)[:, -1:]
        assert abs(float((change * new).sum() * area)) < 1e-10
        assert torch.allclose(field.centres[:2], mu[2:])


def test_amplitudes_of_zero_merge_and_a_senseless_bound_is_refused():
    field = GaussianField(torch.zeros(2, 3, dtype=D), torch.ones(2, dtype=D))
    assert merge(field) == 1 and not bool(field.amplitudes.any())
    for wrong in (0.0, 1.0, 2.0):
        with pytest.raises(ProblemError, match="between 0 and 1"):
            merge(field, wrong)
    with pytest.raises(ProblemError, match="positive"):
        merge(field, 0.9, 0.0)


def test_close_ones_of_opposite_signs_and_a_wide_lattice_stay_what_they_are():
    dipole = GaussianField(torch.tensor([[0.0], [0.05]], dtype=D), torch.full((2,), 0.3, dtype=D))
    with torch.no_grad():
        dipole.amplitudes.copy_(torch.tensor([[10.0, -9.0]], dtype=D))
    assert merge(dipole) == 0 and dipole.count == 2
    x = torch.linspace(-1, 1, 12, dtype=D)
    lattice = GaussianField(torch.cartesian_prod(x, x), torch.full((144,), 2.5 * 2 / 11, dtype=D))
    with torch.no_grad():
        lattice.amplitudes.copy_(1e4 * random(1, 144))
        X, area = grid()
        before = values(lattice, X)
        gone = merge(lattice, 0.9, 1e-4)
        assert float((values(lattice, X) - before).norm()) <= max(gone, 1) * 1e-4 * float(before.norm()) * 1.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dimension", [1, 3])
def test_lines_and_small_gaussians_in_space_merge_in_every_dtype(dimension, dtype):
    mu = torch.zeros(5, dimension, dtype=dtype)
    mu[:, 0] = torch.tensor([0.0, 0.01, 0.02, 0.03, 9.0]) * 1e-4
    field = GaussianField(mu, torch.full((5,), 1e-4, dtype=dtype), 1, "full", dtype=dtype)
    with torch.no_grad():
        field.amplitudes.fill_(1.0)
    assert merge(field, 0.99, 0.1) == 3 and field.count == 2
    assert field.rotations.shape == (2, dimension * (dimension - 1) // 2) and field.centres.dtype == dtype
    field.keep(torch.tensor([True, False]))
