"""Operator models by name, built for a layout, with what goes in and comes out brought to order one.

    û = decode(N(encode(a))),    encode: (a − mean)/std and the coordinates;    decode: one of
        mean + std N                pointwise over the training solutions; one std for all where axes repeat
        G + s B N                   where data are built in (`equations.py`)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ProblemError, look_up, unknown_name
from ..operators import FFNO, FNO, GINO, GNO, NUNO, T1, UNO, DeepONet, GeoFNO, MeshOperator
from .layout import Layout

OWN = ("inputs", "outputs", "periodic", "generator", "dtype")         # arguments that are not the user's


@dataclass(frozen=True)
class OperatorModel:
    """How a model is built and called.

    Args:
        cls: Its class.
        grid: Whether it takes arrays on grids (else functions at points and the points).
        modes: Modes along an axis where the user gives none, by number of axes; None: it has none.
        sensors: Whether it takes the values of its input functions at their nodes, and points.
    """

    cls: Callable[..., nn.Module]
    grid: bool = True
    modes: Mapping[int, int] | None = None
    sensors: bool = False


MODES = {1: 16, 2: 12, 3: 8}
OPERATORS: dict[str, OperatorModel] = {
    "deeponet": OperatorModel(DeepONet, grid=False, sensors=True),
    "fno": OperatorModel(FNO, modes=MODES),
    "ffno": OperatorModel(FFNO, modes=MODES),
    "t1": OperatorModel(T1, modes={1: 32, 2: 16, 3: 8}),
    "uno": OperatorModel(UNO, modes=MODES),
}


POINTS: dict[str, OperatorModel] = {
    "geo-fno": OperatorModel(GeoFNO, grid=False),
    "gino": OperatorModel(GINO, grid=False),
    "gno": OperatorModel(GNO, grid=False),
    "mesh-operator": OperatorModel(MeshOperator, grid=False),
    "nuno": OperatorModel(NUNO, grid=False),
}


MODELS = {**OPERATORS, **POINTS}


def is_operator(model: object) -> bool:
    """Whether a model of this name learns operators; a mapping's name counts."""
    name = model.get("name") if isinstance(model, Mapping) else model
    return isinstance(name, str) and name in MODELS


def build_model(name: str, layout: Layout, options: Mapping[str, object], seed: int, dtype: torch.dtype) -> nn.Module:
    """A model for a layout.

    Args:
        name: In `OPERATORS`.
        layout: Whose channels and axes it takes.
        options: Of its constructor.
        seed: Of its weights.

    Raises:
        ProblemError: An option does not exist or has no sense.
    """
    model: OperatorModel = look_up("operator model", name, OPERATORS)
    if model.sensors:
        return _deeponet(name, model, layout, options, seed).to(dtype)
    parameters = inspect.signature(model.cls).parameters
    valid = [p for p in parameters if p not in OWN]
    given: dict[str, Any] = dict(options)
    for option in given:
        if option not in valid:
            raise ProblemError(unknown_name(f"option of model {name}", option, valid))
    d = len(layout.axes)
    if model.modes is not None:
        if d not in model.modes:
            raise ProblemError(f"model {name} is for grids of one to three axes, and this one has {d}")
        modes = given.setdefault("modes", min(model.modes[d], (min(layout.shape) + 1) // 2))
        given["modes"] = (modes,) * d if isinstance(modes, int) else tuple(modes)
    if "periodic" in parameters:
        given["periodic"] = tuple(a.periodic for a in layout.axes)
    generator = torch.Generator().manual_seed(seed)
    return _made(name, model, {**given, "inputs": layout.sources + d, "outputs": layout.outputs,
                               "generator": generator, "dtype": dtype})


def _deeponet(name: str, model: OperatorModel, layout: Layout, options: Mapping[str, object], seed: int) -> nn.Module:
    """A DeepONet whose sensors are the nodes of the input functions, and whose trunk repeats where an axis does."""
    embedding = ("harmonics", "fourier", "sigma")
    parameters = inspect.signature(model.cls).parameters
    valid = [*(p for p in parameters if p not in (*OWN, "sensors", "bounds", "embedding")), *embedding]
    for option in options:
        if option not in valid:
            raise ProblemError(unknown_name(f"option of model {name}", option, valid))
    given: dict[str, Any] = {k: v for k, v in options.items() if k not in embedding}
    seen: dict[str, Any] = {k: v for k, v in options.items() if k in embedding}
    periods = {i: a.high - a.low for i, a in enumerate(layout.axes) if a.periodic}
    given.update(embedding={**seen, "periods": periods} if periods else seen, inputs=1, outputs=layout.outputs,
                 sensors=layout.sensors, bounds=tuple((a.low, a.high) for a in layout.axes),
                 generator=torch.Generator().manual_seed(seed))
    return _made(name, model, given)


def build_point_model(name: str, inputs: int, outputs: int, bounds: Sequence[tuple[float, float]],
                      options: Mapping[str, object], seed: int, dtype: torch.dtype) -> nn.Module:
    """A model on points.

    Args:
        name: In `POINTS`.
        inputs, outputs: Channels, without coordinates.
        bounds: (low, high) per coordinate of the box that the points lie in.
        options: Of its constructor.
        seed: Of its weights.

    Raises:
        ProblemError: An option does not exist or has no sense.
    """
    model: OperatorModel = look_up("operator model on points", name, POINTS)
    valid = [p for p in inspect.signature(model.cls).parameters if p not in (*OWN, "bounds")]
    for option in options:
        if option not in valid:
            raise ProblemError(unknown_name(f"option of model {name}", option, valid))
    generator = torch.Generator().manual_seed(seed)
    return _made(name, model, {**options, "inputs": inputs, "outputs": outputs, "bounds": tuple(bounds),
                               "generator": generator}).to(dtype)


def _made(name: str, model: OperatorModel, given: dict[str, Any]) -> nn.Module:
    """The module, or a sentence."""
    try:
        return model.cls(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, ProblemError):
            raise
        text = ", ".join(f"{k}={v!r}" for k, v in given.items() if k not in OWN)
        raise ProblemError(f"model {name} does not take {text}: {error}") from error


class Normaliser(nn.Module):
    """(x − mean)/std of channels, or of channels at every node; a field of nodes is interpolated to other grids.

    Args:
        values: What it is fitted to, (B, n_1, …, n_d, C).
        pointwise: Whether each node has its own.
        periodic: Axes that repeat.
        parts: Lengths of functions that follow one another along the first axis, each with one mean and deviation of
            its own; (): none.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, values: Tensor, pointwise: bool, periodic: tuple[bool, ...], parts: tuple[int, ...] = ()):
        super().__init__()
        dims = (0,) if pointwise else tuple(range(values.ndim - 1))
        means, stds = [], []
        for part in values.split(parts, 1) if parts else (values,):
            mean = part.mean(dims, keepdim=True)
            std = (part - mean).square().mean(dims, keepdim=True).sqrt()
            if not pointwise:                          # by channel: a modulus of 1e9 may stand beside a load of 1
                size = part.abs().amax(dims, keepdim=True)
                std = std.maximum(torch.where(size > 0, 1e-6 * size, 1.0))
            repeats = [-1, part.shape[1] if parts else -1, *[-1] * (part.ndim - 2)]
            means.append(mean.expand(repeats))
            stds.append(std.expand(repeats))
        self.register_buffer("mean", torch.cat(means, 1))
        self.register_buffer("std", torch.cat(stds, 1))
        self.periodic = periodic

    def encode(self, values: Tensor) -> Tensor:
        """To order one."""
        return (values - self._on(self.mean, values)) / self._on(self.std, values)

    def decode(self, values: Tensor) -> Tensor:
        """Back."""
        return self._on(self.mean, values) + self._on(self.std, values) * values

    def _on(self, table: Tensor, like: Tensor) -> Tensor:
        table = table.to(like)
        shape = like.shape[1:-1]
        for axis, (n, repeats) in enumerate(zip(shape, self.periodic, strict=True), 1):
            if table.shape[axis] not in (1, n):
                table = _interpolated(table, axis, n, repeats)
        return table


def _interpolated(table: Tensor, axis: int, n: int, periodic: bool) -> Tensor:
    """Linear interpolation along an axis, from nodes to nodes of a grid of the same box."""
    m = table.shape[axis]
    place = torch.arange(n, dtype=torch.float64) * (m / n if periodic else (m - 1) / (n - 1))
    low = place.floor().long().clamp(max=m - 1 if periodic else m - 2)
    share = (place - low).to(table)
    shape = [1] * table.ndim
    shape[axis] = n
    left, right = (table.index_select(axis, i.to(table.device)) for i in (low, (low + 1) % m))
    share = share.reshape(shape)
    return left * (1 - share) + right * share


class Operator(nn.Module):
    """a ↦ u on grids: encoding, model, decoding.

    Args:
        model: The network.
        grid: Whether it takes grids.
        encoder: Of the input channels.
        decoder: Of the outputs; None: an ansatz is added by the caller, G + s B N.
        scale: s.
    """

    scale: Tensor

    def __init__(self, model: nn.Module, grid: bool, encoder: Normaliser, decoder: Normaliser | None,
                 scale: float = 1.0):
        super().__init__()
        self.model, self.grid, self.encoder, self.decoder = model, grid, encoder, decoder
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.autocast = False
        self._compiled: tuple[Callable, ...] = ()          # in a tuple, so that it is no second set of parameters

    @property
    def call(self) -> Callable:
        """The model, compiled or not."""
        return self._compiled[0] if self._compiled else self.model

    def compile_model(self) -> None:
        """Compiles the model; the state stays that of the model."""
        self._compiled = (torch.compile(self.model),)

    def uncompiled(self) -> Operator:
        """A copy with weights of its own, whose model is not compiled."""
        copied = copy(self)
        copied._compiled, copied._modules = (), deepcopy(self._modules)
        return copied

    def forward(self, channels: Tensor, coordinates: Tensor, weights: Tensor | None = None,
                shape: tuple[int, ...] | None = None) -> Tensor:
        """Outputs: values, or s N where there is no decoder.

        Args:
            channels: Input functions, (B, n_1, …, n_d, F) on a grid or (B, N, F) at points.
            coordinates: Of the grid's nodes, scaled, (1, n_1, …, n_d, d), or of the points, (N, D) or (B, N, D).
            weights: Quadrature weights of points, (N,) or (B, N).
            shape: Of the grid that points are the nodes of.
        """
        v = self.encoder.encode(channels)
        # Autocast ends with the model: differences of a residual need all digits.
        with torch.autocast(v.device.type, torch.bfloat16, enabled=self.autocast and torch.is_grad_enabled()):
            if self.grid:
                out = self.call(torch.cat([v, coordinates.expand(len(v), *coordinates.shape[1:])], -1))
            else:
                out = self.call(v, coordinates, weights)
        out = out if shape is None else out.unflatten(1, shape)
        out = out.to(channels.dtype)
        return self.decoder.decode(out) if self.decoder is not None else self.scale.to(out) * out


def resampled(values: Tensor, over: tuple[str, ...], start: Layout, end: Layout) -> Tensor:
    """Functions (B, n, …) over some coordinates of one grid, at the nodes of another; linear between nodes."""
    for axis, name in enumerate(over, 1):
        own, other = (layout.axes[layout.names.index(name)] for layout in (start, end))
        if own.count != other.count:
            values = _interpolated(values, axis, other.count, own.periodic)
    return values


def relative_errors(prediction: Tensor, truth: Tensor, unknowns: int = 1) -> Tensor:
    """‖û − u‖/‖u‖ of each sample and unknown, (B, C).

    Args:
        prediction, truth: (B, n_1, …, n_d, C K), unknowns within times.
        unknowns: C.
    """
    e, u = (x.unflatten(-1, (-1, unknowns)).flatten(1, -2) for x in (prediction - truth, truth))
    size = torch.linalg.vector_norm(u, dim=1)
    return torch.linalg.vector_norm(e, dim=1) / size.clamp(min=1e-12 * float(size.max()) or 1e-30)


def first_differences(values: Tensor, periodic: tuple[bool, ...]) -> Tensor:
    """Differences of neighbours along every axis, flattened, (B, m, C)."""
    parts = []
    for axis, repeats in enumerate(periodic, 1):
        n = values.shape[axis]
        step = values.roll(-1, axis) - values
        parts.append((step if repeats else step.narrow(axis, 0, n - 1)).flatten(1, -2) * n)
    return torch.cat(parts, 1)


