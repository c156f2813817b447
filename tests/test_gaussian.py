"""Gaussian fields: closed-form derivatives, Jacobians, lattices, least squares."""

import pytest
import torch

from sciml import ProblemError
from sciml.calculus.engines import NestedReverse, TaylorForward
from sciml.calculus.gaussian import streams, sums
from sciml.calculus.indices import IndexSet
from sciml.calculus.jacobian import taped_jacobian, vmapped_jacobian
from sciml.fields.gaussian import COVARIANCES, GaussianField, covariances

KINDS = [(d, kind) for d in (1, 2, 3) for kind in COVARIANCES if d > 1 or kind != "full"]


def gaussians(d, kind, generator, outputs=1, train="amplitudes", periods=None):
    centres = torch.rand(7, d, generator=generator, dtype=torch.float64)
    scales = 0.3 + 0.4 * torch.rand(7, d, generator=generator, dtype=torch.float64)
    field = GaussianField(centres, scales, outputs, kind, train, periods)
    with torch.no_grad():
        field.amplitudes.copy_(torch.randn(outputs, 7, generator=generator, dtype=torch.float64))
        if field.rotations is not None:
            field.rotations.copy_(torch.randn(field.rotations.shape, generator=generator, dtype=torch.float64))
    return field


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_all_derivatives_to_order_four_are_those_of_nested_autograd(d, kind, generator):
    field = gaussians(d, kind, generator, outputs=2)
    X = torch.rand(5, d, generator=generator, dtype=torch.float64)
    top = [a for a in IndexSet.closure([(4,) * d], d).indices if sum(a) <= 4]
    requests = {"u": set(top[: len(top) // 2]), "v": set(top[len(top) // 2:])}
    ours = TaylorForward().derivatives(field, X, requests, ("u", "v"))
    nested = NestedReverse().derivatives(plain(field), X, requests, ("u", "v"))
    assert set(ours) == set(nested)
    for key, values in ours.items():
        assert torch.allclose(values, nested[key], rtol=1e-10, atol=1e-9 * float(nested[key].detach().abs().max())), key


def plain(field):
    """The same field by the definition, for autograd."""

    class Plain(torch.nn.Module):
        def forward(self, X):
            log_s = field.log_scales.expand(-1, field.dimension)
            Sigma = torch.diag_embed(torch.exp(2 * log_s)) if field.rotations is None else \
                covariances(log_s, field.rotations)
            delta = X[:, None, :] - field.centres
            q = torch.einsum("nmj,mjk,nmk->nm", delta, torch.linalg.inv(Sigma), delta)
            return torch.exp(-q / 2) @ field.amplitudes.T

    return Plain()


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_first_and_second_gradients_in_points_centres_and_shapes_are_right(d, kind, generator):
    field = gaussians(d, kind, generator, train="shapes")
    X = torch.rand(3, d, generator=generator, dtype=torch.float64).requires_grad_()
    indices = IndexSet.closure([(2,) + (0,) * (d - 1)], d)
    shape = field.shape().detach()
    moved = lambda X, mu, w: streams(X, mu, shape * torch.exp(w) if shape.ndim == 2 else
                                     shape + torch.diag_embed(w * 0.1), indices)
    w = torch.zeros(7, d, dtype=torch.float64).requires_grad_()
    mu = field.centres.detach().requires_grad_()
    assert torch.autograd.gradcheck(moved, (X, mu, w), atol=1e-6, rtol=1e-6)
    assert torch.autograd.gradgradcheck(moved, (X, mu, w), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_sums_that_keep_no_streams_have_the_gradients_of_those_that_do(d, kind, generator, monkeypatch):
    monkeypatch.setattr("sciml.calculus.gaussian.CACHED", 14)            # two points at a time
    field = gaussians(d, kind, generator, outputs=2, train="shapes")
    indices = IndexSet.closure([(2,) + (0,) * (d - 1)], d)
    given = [torch.rand(5, d, generator=generator, dtype=torch.float64), field.centres.detach(),
             field.shape().detach(), field.amplitudes.detach()]
    given = [t.requires_grad_() for t in given]
    weights = torch.randn(len(indices), 5, 2, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((weights * sums(*given, indices)).sum(), given)
    kept = torch.autograd.grad((weights * (streams(*given[:3], indices) @ given[3].T)).sum(), given)
    for a, b in zip(ours, kept, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12 * float(b.abs().max()))
    if d == 2 and kind == "diagonal":
        assert torch.autograd.gradgradcheck(lambda *t: sums(*t, indices), given, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("d", "kind"), KINDS)
def test_the_jacobian_in_all_parameters_is_that_of_reverse_mode(d, kind, generator):
    field = gaussians(d, kind, generator, train="shapes")
    X = torch.rand(4, d, generator=generator, dtype=torch.float64)
    second = (2,) + (0,) * (d - 1)
    zero = (0,) * d

    def residual(u):
        return u["unknown", "u", second] * u["unknown", "u", zero]

    tape: list = []
    u = TaylorForward().derivatives(field, X, {"u": {second, zero}}, ("u",), tape)
    parameters = list(field.parameters())
    ours = taped_jacobian(residual(u)[:, None], tape, parameters)[:, 0]

    def pointwise(values, x):
        moved = torch.func.functional_call(Wrapper(field, second, zero), {f"field.{k}": v for k, v in values.items()},
                                           (x[None],))
        return moved

    class Wrapper(torch.nn.Module):
        def __init__(self, field, second, zero):
            super().__init__()
            self.field = field

        def forward(self, X):
            return residual(TaylorForward().derivatives(self.field, X, {"u": {second, zero}}, ("u",)))

    oracle = vmapped_jacobian(pointwise, field, X)[:, 0]
    scale = float(oracle.abs().max())
    assert torch.allclose(ours, oracle, rtol=1e-8, atol=1e-10 * scale)


def test_images_make_a_field_periodic(generator):
    field = gaussians(2, "diagonal", generator, periods={0: 8.0})
    X = torch.tensor([[-4.0, 0.3], [4.0, 0.3]], dtype=torch.float64)
    with torch.no_grad():
        field.centres[:, 0] = torch.linspace(-4, 3, 7)
    u = TaylorForward().derivatives(field, X, {"u": {(0, 0), (1, 0), (2, 1)}}, ("u",))
    for values in u.values():
        assert abs(float((values[0] - values[1]).detach())) < 1e-12


@pytest.mark.parametrize(("change", "sentence"), [
    (dict(scales=torch.tensor([1.0, -1.0])), "scales positive"),
    (dict(scales=torch.ones(3)), "expected (2,), (2, 1) or (2, 2)"),
    (dict(centres=torch.zeros(2)), "expected (M, D)"),
    (dict(covariance="diag"), "isotropic, diagonal, full"),
    (dict(train="all"), "amplitudes, shapes"),
])
def test_senseless_gaussians_are_refused(change, sentence):
    given = dict(centres=torch.zeros(2, 2), scales=torch.ones(2)) | change
    with pytest.raises(ProblemError) as error:
        GaussianField(**given)
    assert sentence in str(error.value)
