"""Gaussians from points, densities, meshes and maps, and their transport by flows."""

from math import pi

import pytest
import torch

from sciml import Box, ProblemError
from sciml.fields import GaussianField, from_density, from_map, from_mesh, from_points, gaussians_of
from sciml.fields.gaussian import covariances, of_covariances
from sciml.geometry.meshing import mesh_of
from sciml.mesh.mover import equidistribute


def rand(*shape, generator):
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def random_field(D, generator, M=7, C=2):
    scales = 0.3 + rand(M, D, generator=generator)
    field = GaussianField(rand(M, D, generator=generator), scales, C, "full" if D > 1 else "diagonal")
    with torch.no_grad():
        field.amplitudes.copy_(rand(C, M, generator=generator))
        if field.rotations is not None:
            field.rotations.copy_(6 * rand(*field.rotations.shape, generator=generator) - 3)
    return field


@pytest.mark.parametrize("D", [1, 2, 3])
def test_transport_by_an_affine_flow_is_exact(D, generator):
    field = random_field(D, generator)
    A = torch.eye(D, dtype=torch.float64) + 0.7 * (rand(D, D, generator=generator) - 0.5)
    b = rand(D, generator=generator)
    flow = lambda X: X @ A.T + b
    X = 2 * rand(50, D, generator=generator) - 0.5
    moved = field.transport(flow)
    assert torch.allclose(moved(flow(X)), field(X), rtol=0, atol=1e-12)
    thinned = field.transport(flow, density=True)
    assert torch.allclose(thinned(flow(X)) * torch.linalg.det(A).abs(), field(X), rtol=0, atol=1e-12)


def test_a_full_turn_in_steps_brings_every_gaussian_back(generator):
    field = random_field(2, generator)
    angle = torch.tensor(2 * pi / 7, dtype=torch.float64)
    R = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    moved = field
    for _ in range(7):
        moved = moved.transport(lambda X: X @ R.T)
    X = rand(40, 2, generator=generator)
    assert torch.allclose(moved(X), field(X), rtol=0, atol=1e-12)


def test_a_curved_flow_moves_narrow_gaussians_to_second_order(generator):
    flow = lambda X: torch.stack([X[:, 0] + 0.3 * torch.sin(X[:, 1]), X[:, 1]], dim=1)

    def error(s):
        field = GaussianField(torch.tensor([[0.2, 0.5]], dtype=torch.float64), torch.tensor([s]))
        with torch.no_grad():
            field.amplitudes.fill_(1.0)
        X = field.centres.detach() + s * (4 * rand(200, 2, generator=torch.Generator().manual_seed(1)) - 2)
        return float((field.transport(flow)(flow(X)) - field(X)).abs().max().detach())

    assert 1.7 < error(0.02) / error(0.01) < 2.3                     # q differs by F″ s² s / s²: first order in s


def test_a_flow_that_flattens_space_is_refused(generator):
    with pytest.raises(ProblemError, match="flattens space"):
        random_field(2, generator).transport(lambda X: torch.stack([X[:, 0], X[:, 0]], dim=1))
    with pytest.raises(ProblemError, match="must keep their shape"):
        random_field(2, generator).transport(lambda X: X[:, :1])


@pytest.mark.parametrize("D", [1, 2, 3])
def test_a_field_of_given_covariances_has_them(D, generator):
    A = rand(20, D, D, generator=generator) - 0.5
    sigma = A @ A.mT + 1e-3 * torch.eye(D, dtype=torch.float64)
    sigma[0] = torch.eye(D, dtype=torch.float64)                      # no axes to find
    parts = of_covariances(rand(20, D, generator=generator), sigma).parts()
    assert torch.allclose(parts["covariances"], sigma, rtol=1e-11, atol=1e-13)


def test_half_turns_have_an_axis_in_space():
    turns = pi * torch.eye(3, dtype=torch.float64)
    sigma = covariances(torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64).expand(3, 3), turns)
    assert torch.allclose(of_covariances(torch.zeros(3, 3, dtype=torch.float64), sigma).parts()["covariances"], sigma)


def test_gaussians_at_points_are_as_wide_as_their_neighbours_are_far():
    X = torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    field = from_points(X, overlap=1.5, neighbours=1)
    assert torch.allclose(field.shape().detach().exp()[:, 0], torch.tensor([1.5, 1.5, 1.5, 3.0], dtype=torch.float64))
    assert field.count == 4 and not field.amplitudes.detach().any()
    with pytest.raises(ProblemError, match="coincide"):
        from_points(torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(ProblemError, match="M ≥ 2"):
        from_points(torch.zeros(1, 2, dtype=torch.float64))


def test_gaussians_of_a_density_lie_where_it_is_and_along_it(generator):
    X = rand(20000, 2, generator=generator) * 2 - 1
    weights = torch.exp(-0.5 * (X[:, 1] / 0.01) ** 2)       # a ridge along x
    field = from_density(X, weights, 12, generator)
    parts = field.parts()
    assert float(parts["centres"][:, 1].abs().max()) < 0.05
    sigma = parts["covariances"]
    assert bool((sigma[:, 0, 0] > 4 * sigma[:, 1, 1]).all())          # clusters are 1/6 long, the ridge 0.01 wide


def test_clusters_of_even_points_have_the_scale_of_a_lattice(generator):
    X = rand(40000, 1, generator=generator)
    field = from_density(X, torch.ones(40000, dtype=torch.float64), 10, generator, overlap=1.2)
    s = field.shape().detach().exp()[:, 0]
    assert float((s.mean() - 0.12).abs()) < 0.012                     # k-means in one dimension ends near even cells


@pytest.mark.parametrize(("weights", "count", "sentence"), [
    (torch.full((5,), -1.0), 2, "none below zero"), (torch.ones(4), 2, "expected"),
    (torch.ones(5), 6, "ask for fewer")])
def test_senseless_densities_are_refused(weights, count, sentence, generator):
    with pytest.raises(ProblemError, match=sentence):
        from_density(rand(5, 2, generator=generator), weights, count, generator)


def test_gaussians_of_a_mesh_fit_a_function_up_to_its_boundary(generator):
    square = Box(x=(0, 1), y=(0, 1))
    mesh = mesh_of(square, 0.12)
    field, bare = from_mesh(mesh, overlap=1.2), from_mesh(mesh, overlap=1.2, ghosts=0)
    X = square.sample(4000, generator=generator).X
    values = torch.exp(X[:, 0]) * torch.cos(2 * X[:, 1])

    def misfit(f):
        with torch.no_grad():
            parts, D = f.parts(), f.dimension
            q = (X[:, None] - parts["centres"]).square().sum(2) / parts["covariances"][:, 0, 0]
            G = torch.exp(-q / 2)
            a = torch.linalg.lstsq(G, values[:, None], driver="gelsd").solution
            assert D == 2
            return float((G @ a - values[:, None]).norm() / values.norm())

    assert bare.count < field.count
    outside = field.centres.detach()[bare.count:]
    assert bool((square.distance(outside) > 0).all())
    assert misfit(field) < 0.1 * misfit(bare) and misfit(field) < 1e-4


def test_a_surface_mesh_is_refused():
    with pytest.raises(ProblemError, match="volume"):
        from_mesh(mesh_of(Box(x=(0, 1), y=(0, 1)), 0.3).surface())


def test_gaussians_along_a_map_follow_its_jacobian():
    bounds = [(-1.0, 1.0), (-1.0, 1.0)]
    monitor = lambda X: 1 + 10 * torch.exp(-20 * X.square().sum(1))
    movement = equidistribute(monitor, bounds, 24)
    field = from_map(movement, (12, 12), bounds, overlap=1.2)
    parts = field.parts()
    near = parts["centres"].norm(dim=1).argsort()[:4]
    far = parts["centres"].norm(dim=1).argsort()[-4:]
    det = torch.linalg.det(parts["covariances"])
    assert float(det[near].mean()) < 0.2 * float(det[far].mean())     # m differs by 11, the determinant by its square
    again = from_map(movement.__call__, (12, 12), bounds, overlap=1.2).parts()["covariances"]
    assert torch.allclose(parts["covariances"], again, rtol=1e-8)     # its Jacobian by autograd


def test_gaussians_are_found_inside_of_constraints(generator):
    assert gaussians_of(torch.nn.Linear(1, 1)) is None
    field = random_field(2, generator)
    assert gaussians_of(field) is field
