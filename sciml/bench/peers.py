"""Peers of the step-time table; importing this file needs the `bench` extra."""

from __future__ import annotations

from collections.abc import Callable

import deepxde as dde
import torch


def _hessian(y, x, component, i):
    return dde.grad.hessian(y, x, component=component, i=i, j=i)


def _burgers(x, u):
    return dde.grad.jacobian(u, x, i=0, j=1) + u * dde.grad.jacobian(u, x, i=0, j=0) - 0.01 * _hessian(u, x, 0, 0)


def _navier_stokes(x, U):
    u, v = U[:, 0:1], U[:, 1:2]
    d = lambda i, j: dde.grad.jacobian(U, x, i=i, j=j)
    lap = lambda c: _hessian(U, x, c, 0) + _hessian(U, x, c, 1)
    return [d(0, 2) + u * d(0, 0) + v * d(0, 1) + d(2, 0) - 0.01 * lap(0),
            d(1, 2) + u * d(1, 0) + v * d(1, 1) + d(2, 1) - 0.01 * lap(1), d(0, 0) + d(1, 1)]


def _fourth_order(x, u):
    u_xx = _hessian(u, x, 0, 0)
    return (dde.grad.jacobian(u, x, i=0, j=1) + u * dde.grad.jacobian(u, x, i=0, j=0) + u_xx
            + _hessian(u_xx, x, 0, 0))


EQUATIONS = {"Burgers": (_burgers, 2, 1), "Navier–Stokes 2-D": (_navier_stokes, 3, 3),
             "4th order": (_fourth_order, 2, 1)}


def deepxde_step(name: str, N: int, dtype: torch.dtype, device: str) -> Callable[[], object]:
    """Residual and gradient by DeepXDE's gradients on its own network (FNN 4×64 tanh)."""
    residual, D, C = EQUATIONS[name]
    dde.config.set_default_float("float32" if dtype == torch.float32 else "float64")
    net = dde.nn.FNN([D, 64, 64, 64, 64, C], "tanh", "Glorot normal").to(device=device, dtype=dtype)
    X = torch.rand(N, D, device=device, dtype=dtype)

    def step():
        net.zero_grad(set_to_none=True)
        x = X.detach().clone().requires_grad_()
        r = residual(x, net(x))
        dde.grad.clear()
        parts = r if isinstance(r, list) else [r]
        torch.stack([p.square().mean() for p in parts]).sum().backward()

    return step
