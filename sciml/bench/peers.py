"""Peers of the step-time table; importing this file needs the `bench` extra."""

from __future__ import annotations

from collections.abc import Callable

import deepxde as dde
import numpy as np
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


def deepxde_run(contest, clock, seed: int) -> None:
    """DeepXDE's documented recipe, in its default float32; `clock.look` is asked now and then.

    Args:
        contest: See `contests.Contest`.
        clock: See `race.Clock`.
    """
    dde.config.set_default_float("float32")
    dde.config.set_random_seed(seed)
    names = list(contest.axes)
    evolves = names[1] == "t"
    derivative = _derivatives(names)

    def pde(x, y):
        return contest.residual(torch, lambda alpha: derivative(y, x, alpha), y, x)

    exact = lambda X: np.asarray(contest.exact(np, X))
    built_in = "built-in" in contest.special
    if evolves:
        geometry = dde.geometry.GeometryXTime(dde.geometry.Interval(*contest.axes["x"]),
                                              dde.geometry.TimeDomain(*contest.axes["t"]))
        conditions = [dde.icbc.DirichletBC(geometry, exact, lambda _, on: on),
                      dde.icbc.IC(geometry, exact, lambda _, on: on)]
        if contest.speed:
            conditions.append(dde.icbc.OperatorBC(geometry, lambda x, y, _: dde.grad.jacobian(y, x, i=0, j=1),
                                                  lambda x, _: dde.utils.isclose(x[1], 0)))
        data = dde.data.TimePDE(geometry, pde, conditions, num_domain=contest.points[0],
                                num_boundary=contest.points[1], num_initial=contest.points[2])
    else:
        low, high = zip(*contest.axes.values(), strict=True)
        geometry = dde.geometry.Rectangle(low, high)
        conditions = [] if built_in else [dde.icbc.DirichletBC(geometry, exact, lambda _, on: on)]
        data = dde.data.PDE(geometry, pde, conditions, num_domain=contest.points[0], num_boundary=contest.points[1])
    sizes = [2, *contest.layers, 1]
    if "multiscale" in contest.special:
        net = dde.nn.FNN([4 * contest.layers[0], *sizes[1:]], contest.activation, "Glorot uniform")
        net.apply_feature_transform(_multiscale(contest.layers[0]))
    else:
        net = dde.nn.FNN(sizes, contest.activation, "Glorot normal")
    if built_in:
        (a, b), (c, d) = contest.axes.values()
        net.apply_output_transform(lambda x, y: (x[:, :1] - a) * (b - x[:, :1]) * (x[:, 1:] - c) * (d - x[:, 1:]) * y)
    model = dde.Model(data, net)
    options: dict = {"verbose": 0}
    if "decay" in contest.special:
        options["decay"] = ("inverse time", 3000, 0.9)
    callbacks: list = [_Look(clock)]
    if "multiscale" in contest.special:
        model.compile("adam", lr=1e-3, verbose=0)
        losses = model.train(0, verbose=0)[0].loss_train[0]
        options.update(decay=("inverse time", 2000, 0.9), loss_weights=list(5 / np.asarray(losses)))
        callbacks.append(dde.callbacks.PDEPointResampler(period=1))
    model.compile("adam", lr=1e-3, **options)
    model.train(iterations=contest.iterations, callbacks=callbacks, display_every=10**9, verbose=0)
    if contest.polish and not clock.over():
        model.compile("L-BFGS", verbose=0)
        model.train(callbacks=callbacks, display_every=10**9, verbose=0)
    clock.look(model.predict)


def _multiscale(width: int):
    """Random Fourier features of scales (1, 1) and (1, 10) in x and t; its PyTorch back end has no STMsFFN."""
    B = torch.cat([torch.randn(2, width) * torch.tensor([[1.0], [s]]) for s in (1.0, 10.0)], dim=1)

    def features(x):
        z = (x - 0.5) * 2 * 3**0.5 @ B
        return torch.cat([torch.cos(z), torch.sin(z)], dim=1)

    return features


def _derivatives(names):
    def derivative(y, x, alpha):
        indices = [names.index(a) for a in alpha]
        if len(indices) == 1:
            return dde.grad.jacobian(y, x, i=0, j=indices[0])
        return dde.grad.hessian(y, x, i=indices[0], j=indices[1])

    return derivative


class _Look(dde.callbacks.Callback):
    """Looks at the clock every 50 iterations of Adam and after every call of L-BFGS."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.count = clock, 0

    def on_epoch_end(self):
        self.count += 1
        if (self.count % 50 == 0 or self.model.opt_name != "adam") and self.clock.look(self.model.predict):
            self.model.stop_training = True
