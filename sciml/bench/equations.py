"""The three equations of the step-time table, as problems and as raw torch loops.

The raw loops are what a user writes without a package: nested `torch.autograd.grad` on an `nn.Sequential`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..calculus import laplacian
from ..geometry import Box
from ..problem import Equation, Problem


def _burgers(u):
    return u.t + u * u.x - 0.01 * u.xx


def _navier_stokes(u, v, p):
    return {
        "momentum_x": u.t + u * u.x + v * u.y + p.x - 0.01 * laplacian(u),
        "momentum_y": v.t + u * v.x + v * v.y + p.y - 0.01 * laplacian(v),
        "continuity": u.x + v.y,
    }


def _fourth_order(u):
    return u.t + u * u.x + u.xx + u.xxxx


def problems() -> dict[str, Problem]:
    """Burgers (order 2, one unknown), Navier–Stokes 2-D + time (order 2, three), Kuramoto–Sivashinsky (order 4)."""
    line = Box(x=(-1, 1), t=(0, 1))
    return {
        "Burgers": Problem(line, "u", [Equation(_burgers)]),
        "Navier–Stokes 2-D": Problem(Box(x=(0, 1), y=(0, 1), t=(0, 1)), "u v p", [Equation(_navier_stokes)]),
        "4th order": Problem(line, "u", [Equation(_fourth_order)]),
    }


def _grad(y: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]


def raw_burgers(net, X: Tensor) -> Tensor:
    """Residual of Burgers' equation by nested autograd."""
    X = X.requires_grad_()
    u = net(X)
    du = _grad(u, X)
    u_xx = _grad(du[:, 0:1], X)[:, 0:1]
    return du[:, 1:2] + u * du[:, 0:1] - 0.01 * u_xx


def raw_navier_stokes(net, X: Tensor) -> Tensor:
    """Residuals of the Navier–Stokes equations by nested autograd."""
    X = X.requires_grad_()
    U = net(X)
    u, v, p = U[:, 0:1], U[:, 1:2], U[:, 2:3]
    du, dv, dp = _grad(u, X), _grad(v, X), _grad(p, X)
    lap = [_grad(g[:, 0:1], X)[:, 0:1] + _grad(g[:, 1:2], X)[:, 1:2] for g in (du, dv)]
    x = du[:, 2:3] + u * du[:, 0:1] + v * du[:, 1:2] + dp[:, 0:1] - 0.01 * lap[0]
    y = dv[:, 2:3] + u * dv[:, 0:1] + v * dv[:, 1:2] + dp[:, 1:2] - 0.01 * lap[1]
    return torch.cat([x, y, du[:, 0:1] + dv[:, 1:2]], dim=1)


def raw_fourth_order(net, X: Tensor) -> Tensor:
    """Residual of the Kuramoto–Sivashinsky equation by nested autograd."""
    X = X.requires_grad_()
    u = net(X)
    du = _grad(u, X)
    u_x = du[:, 0:1]
    u_xx = _grad(u_x, X)[:, 0:1]
    u_xxx = _grad(u_xx, X)[:, 0:1]
    u_xxxx = _grad(u_xxx, X)[:, 0:1]
    return du[:, 1:2] + u * u_x + u_xx + u_xxxx


RAW = {"Burgers": raw_burgers, "Navier–Stokes 2-D": raw_navier_stokes, "4th order": raw_fourth_order}
