"""SOAP is Adam in the eigenbasis that its formulas give, in the dtype of its parameters."""

import numpy as np
import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml.errors import ProblemError
from sciml.optim import SOAP, build_optimizer, memory


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(shape, steps):
    return [random(*shape, seed=s) * torch.linspace(0.1, 3, shape[-1], dtype=torch.float64) for s in range(steps)]


def feed(optimizer, p, given):
    for g in given:
        p.grad = g.to(p.dtype).clone()
        optimizer.step()


def numpy_soap(W, given, QL, QR, lr, b1, b2, bs, eps, wd, f):
    """The algorithm written down once more, in numpy, from the bases that the first gradient gave."""
    G = given[0]
    L, R = (1 - bs) * G @ G.T, (1 - bs) * G.T @ G
    m, v = np.zeros_like(G), np.zeros_like(G)
    for t, G in enumerate(given[1:], 1):
        rotated = QL.T @ G @ QR
        m, v = b1 * m + (1 - b1) * rotated, b2 * v + (1 - b2) * rotated**2
        W = W - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * QL @ (m / (np.sqrt(v) + eps)) @ QR.T
        W = W - lr * wd * W
        back = QL @ m @ QR.T
        L, R = bs * L + (1 - bs) * G @ G.T, bs * R + (1 - bs) * G.T @ G
        if t % f == 0:
            for A, Q, axis in ((L, QL, 0), (R, QR, 1)):
                order = np.argsort(-np.diag(Q.T @ A @ Q), kind="stable")
                v = np.take(v, order, axis)
                new = np.linalg.qr(A @ Q[:, order])[0]
                QL, QR = (new, QR) if axis == 0 else (QL, new)
            m = QL.T @ back @ QR
    return W


@pytest.mark.parametrize("shape", [(5, 3), (3, 6), (4, 4), (2, 1)])   # L has full rank at its first QR
@pytest.mark.parametrize("options", [
    {}, {"betas": (0.95, 0.95), "frequency": 10, "weight_decay": 0.01}, {"shampoo_beta": 0.5, "frequency": 1},
])
def test_forty_steps_are_those_of_an_independent_implementation(shape, options):
    p = torch.nn.Parameter(random(*shape, seed=99))
    start, given = p.detach().numpy().copy(), gradients(shape, 40)
    optimizer = SOAP([p], lr=1e-2, **options)
    feed(optimizer, p, given[:1])
    bases = [optimizer.state[p][side].numpy().copy() for side in ("QL", "QR")]   # of a null space they are arbitrary
    feed(optimizer, p, given[1:])
    b1, b2 = options.get("betas", (0.9, 0.999))
    want = numpy_soap(start, [g.numpy() for g in given], *bases, 1e-2, b1, b2, options.get("shampoo_beta", b2), 1e-8,
                      options.get("weight_decay", 0.0), options.get("frequency", 2))
    np.testing.assert_allclose(p.detach().numpy(), want, rtol=0, atol=1e-10)  # rounding over 40 changes of basis


def test_the_first_step_leaves_matrices_as_they_are():
    p = torch.nn.Parameter(random(4, 3))
    start, optimizer = p.detach().clone(), SOAP([p])
    (g,) = gradients((4, 3), 1)
    feed(optimizer, p, [g])
    assert torch.equal(p.detach(), start)
    for side, product in (("QL", g @ g.T), ("QR", g.T @ g)):       # bases of eigenvectors, the largest value first
        Q = optimizer.state[p][side]
        values = torch.linalg.eigvalsh(product).flip(0)
        torch.testing.assert_close(Q.T @ product @ Q, values.diag(), rtol=0, atol=1e-13 * float(values[0]))
    feed(optimizer, p, gradients((4, 3), 1))
    assert not torch.equal(p.detach(), start)


@pytest.mark.parametrize("dtype, default, bound", [(torch.float64, torch.float32, 1e-13),
                                                   (torch.float32, torch.float64, 1e-5)])
def test_bases_stay_orthogonal_in_the_dtype_of_the_parameters(dtype, default, bound):
    torch.set_default_dtype(default)
    try:
        p = torch.nn.Parameter(random(12, 7, dtype=dtype))
        optimizer = SOAP([p])
        feed(optimizer, p, gradients((12, 7), 200))
    finally:
        torch.set_default_dtype(torch.float32)
    for side, n in (("QL", 12), ("QR", 7)):
        Q = optimizer.state[p][side]
        assert Q.dtype == dtype
        assert float((Q.T @ Q - torch.eye(n, dtype=dtype)).abs().max()) < bound


def test_bases_turn_to_the_eigenvectors_of_the_averaged_products():
    p = torch.nn.Parameter(random(5, 4))
    optimizer = SOAP([p], shampoo_beta=0.9, frequency=1)
    g = random(5, 4, seed=1) @ torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64))
    feed(optimizer, p, [g] * 60)
    R, Q = optimizer.state[p]["R"], optimizer.state[p]["QR"]
    D = Q.T @ R @ Q
    assert float((D - D.diag().diag()).abs().max()) < 1e-6 * float(D.max())
    assert torch.equal(D.diagonal().argsort(descending=True), torch.arange(4))


@pytest.mark.parametrize("shape", [(5,), ()])
def test_vectors_and_numbers_take_adam(shape):
    p, q = (torch.nn.Parameter(random(*shape)) for _ in range(2))
    given = [random(*shape, seed=s) for s in range(30)]
    feed(SOAP([p], eps=1e-20), p, given)
    feed(torch.optim.Adam([q], lr=1e-3, eps=1e-20), q, given)      # the two differ in where ε stands
    torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-13, atol=1e-14)


def test_long_sides_are_left_alone():
    p, q = (torch.nn.Parameter(random(6, 3)) for _ in range(2))
    given = gradients((6, 3), 20)
    both, one = SOAP([p], max_precond_dim=2, eps=1e-20), SOAP([q], max_precond_dim=3)
    feed(both, p, given)
    feed(one, q, given)
    assert "QL" not in both.state[p] and "QR" not in both.state[p]
    assert "QL" not in one.state[q] and one.state[q]["QR"].shape == (3, 3)
    adam = torch.nn.Parameter(random(6, 3))
    feed(torch.optim.Adam([adam], lr=1e-3, eps=1e-20), adam, given[1:])    # but for the first step
    torch.testing.assert_close(p.detach(), adam.detach(), rtol=1e-12, atol=1e-13)


def test_tensors_of_three_axes_are_matrices_of_the_first_against_the_others():
    p, q = torch.nn.Parameter(random(4, 6)), torch.nn.Parameter(random(4, 6).reshape(4, 2, 3))
    given = gradients((4, 6), 10)
    feed(SOAP([p]), p, given)
    feed(SOAP([q]), q, [g.reshape(4, 2, 3) for g in given])
    assert torch.equal(p.detach().reshape(4, 2, 3), q.detach())


@pytest.mark.parametrize("cut", [1, 4, 5])
def test_it_goes_on_bit_for_bit_in_the_middle_of_a_cycle(cut, tmp_path):
    given = gradients((5, 3), 12)
    p = torch.nn.Parameter(random(5, 3))
    optimizer = SOAP([p], frequency=3)
    feed(optimizer, p, given[:cut])
    torch.save({"p": p.detach(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    feed(optimizer, p, given[cut:])
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    again = torch.nn.Parameter(kept["p"])
    resumed = build_optimizer("soap", [again], {"frequency": 3})
    resumed.load_state_dict(kept["optimizer"])
    feed(resumed, again, given[cut:])
    assert torch.equal(again.detach(), p.detach())


def test_a_parameter_without_a_gradient_stands_still():
    p = torch.nn.Parameter(random(3, 2))
    start = p.detach().clone()
    SOAP([p]).step()
    assert torch.equal(p.detach(), start)


@pytest.mark.parametrize("options, sentence", [
    ({"lr": 0.0}, "lr > 0"), ({"eps": -1.0}, "eps > 0"), ({"weight_decay": -1.0}, "weight_decay ≥ 0"),
    ({"betas": (1.0, 0.9)}, r"in \[0, 1\)"), ({"shampoo_beta": 1.5}, r"in \[0, 1\)"),
    ({"frequency": 0}, "frequency ≥ 1"), ({"max_precond_dim": -1}, "max_precond_dim ≥ 0"),
])
def test_a_wrong_option_gets_a_sentence(options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        SOAP([torch.nn.Parameter(torch.zeros(2, 2))], **options)


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**20)
    with pytest.raises(ProblemError, match="soap needs .* optimizer=adam needs"):
        SOAP([torch.nn.Parameter(torch.zeros(300, 20, dtype=torch.float64))])


def test_it_trains_a_field_with_a_schedule_and_gradient_surgery():
    for options in ({}, {"balance": "config", "constraints": "soft"}):
        solution = sciml.solve(inverse(), optimizer="soap", steps=60, **{"soap.lr": 1e-2}, **options, **SMALL)
        assert solution.history[-1]["loss"] < 0.5 * solution.history[0]["loss"]
