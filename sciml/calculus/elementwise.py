"""Torch functions point by point: one name for each, numbers where torch takes tensors, forward-mode derivatives."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..kept import Kept

_SYNONYMS = {
    torch.multiply: torch.mul, torch.divide: torch.div, torch.true_divide: torch.div,
    torch.subtract: torch.sub, torch.negative: torch.neg, torch.absolute: torch.abs,
    torch.greater: torch.gt, torch.greater_equal: torch.ge, torch.less: torch.lt, torch.less_equal: torch.le,
    torch.not_equal: torch.ne, torch.clip: torch.clamp, torch.arctan: torch.atan, torch.arctan2: torch.atan2,
    torch.nn.functional.tanh: torch.tanh, torch.nn.functional.sigmoid: torch.sigmoid,
    torch.nn.functional.relu: torch.relu, torch.special.expit: torch.sigmoid, torch.special.erf: torch.erf,
    torch.Tensor.__add__: torch.add, torch.Tensor.__radd__: torch.add, torch.Tensor.__mul__: torch.mul,
    torch.Tensor.__rmul__: torch.mul, torch.Tensor.__sub__: torch.sub, torch.Tensor.__truediv__: torch.div,
    torch.Tensor.__pow__: torch.pow,
}
REFLECTED = {
    getattr(torch.Tensor, name): function for name, function in (
        ("__rsub__", torch.sub), ("__rdiv__", torch.div), ("__rtruediv__", torch.div), ("__rpow__", torch.pow))
    if hasattr(torch.Tensor, name)
}
"""Methods f(a, b) that mean function(b, a)."""

_TENSORS_ONLY = {torch.maximum, torch.minimum, torch.fmax, torch.fmin, torch.atan2, torch.hypot, torch.logaddexp,
                 torch.heaviside, torch.where, torch.logical_and, torch.logical_or}
_OPERATORS = {torch.sub: operator.sub, torch.add: operator.add, torch.mul: operator.mul, torch.div: operator.truediv,
              torch.lt: operator.lt, torch.le: operator.le, torch.gt: operator.gt, torch.ge: operator.ge,
              torch.eq: operator.eq, torch.ne: operator.ne}


def canonical(function):
    """The one name of a function: methods and synonyms become the function in `torch`."""
    name = getattr(function, "__name__", "")
    if getattr(torch.Tensor, name, None) is function and not name.startswith("__"):
        function = getattr(torch, name, function)
    return _SYNONYMS.get(function, function)


def evaluate(function, args: Sequence, options: Mapping, like: Tensor):
    """Value of a torch function of tensors and plain numbers, which torch takes in some places only.

    Numbers never become tensors on the host: each would be copied to a CUDA device and waited for, at every step; and
    two numbers in `torch.where` would be rounded to torch's default dtype, float32.

    Args:
        function: A torch function, by its one name.
        args, options: Its arguments.
        like: Tensor that gives dtype and device.
    """
    if not args:
        return function(**options)
    if isinstance(args[0], (int, float)) and function in _OPERATORS and len(args) == 2 and not options:
        return _OPERATORS[function](*args)
    if function in _TENSORS_ONLY or (function in _OPERATORS and isinstance(args[0], (int, float))):
        args = [torch.full((), a, dtype=like.dtype, device=like.device) if isinstance(a, (int, float)) else a
                for a in args]
    return function(*args, **options)


class Indicator:
    """1 in some part of space and 0 elsewhere, as a function of D columns; it has no derivative.

    Values are kept for the next pass over the same points.

    Args:
        name: Of the part.
        inside: Mask (N,) of points (N, D).
    """

    def __init__(self, name: str, inside: Callable[[Tensor], Tensor]):
        self.__name__, self.inside = name, inside
        self._kept: Kept[Tensor] = Kept()

    def __call__(self, *columns: Tensor) -> Tensor:
        X = torch.stack([c.detach() for c in columns], -1)
        return self._kept(columns, lambda: self.inside(X).to(X.dtype))

    def refusal(self) -> str:
        """Why it is not differentiated."""
        return (f"{self.__name__!r}, 1 in that part of the mesh and 0 elsewhere, jumps and has no derivative; write "
                f"Weak(…), where it stays as it is, or one Equation for each part, on={self.__name__!r}")


@dataclass(frozen=True)
class ForwardMode:
    """Directional derivative of an elementwise function: (arguments, tangents) ↦ ∂f·tangents.

    Args:
        function: What is differentiated.
        names: Names of the last arguments; the others are positional.
        positions: Arguments that move, one tangent for each.
        count: Number of arguments.
        options: Keyword arguments that stay.
    """

    function: Any
    names: tuple[str, ...]
    positions: tuple[int, ...]
    count: int
    options: tuple

    def __call__(self, *values):
        primals, given = list(values[:self.count]), values[self.count:]
        like = next(v for v in (*(primals[i] for i in self.positions), *given) if isinstance(v, Tensor))
        spread = lambda v: v.expand_as(like) if isinstance(v, Tensor) else torch.full_like(like, v)
        plain = self.count - len(self.names)

        def along(*moving):
            moved = dict(zip(self.positions, moving, strict=True))
            arguments = [moved.get(i, value) for i, value in enumerate(primals)]
            named = dict(zip(self.names, arguments[plain:], strict=True))
            return evaluate(self.function, arguments[:plain], {**named, **dict(self.options)}, like)

        inputs = tuple(spread(primals[i]) for i in self.positions)
        return torch.func.jvp(along, inputs, tuple(spread(t) for t in given))[1]


def differentiable(derivative: ForwardMode, args: Sequence) -> bool:
    """Whether torch knows the derivative of the function; some, like Bessel's, give 0 without a word.

    Args:
        derivative: Its forward mode.
        args: Arguments, anything at the positions that move.
    """
    trial = lambda: torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    double = lambda a: a.double() if isinstance(a, Tensor) and a.is_floating_point() else a
    values = [trial() if i in derivative.positions else double(a) for i, a in enumerate(args)]
    plain = derivative.count - len(derivative.names)
    with torch.enable_grad():
        named = dict(zip(derivative.names, values[plain:], strict=True))
        value = evaluate(derivative.function, values[:plain], {**named, **dict(derivative.options)},
                         values[derivative.positions[0]])
    return bool(value.requires_grad)


def on_numbers(function, args, kwargs):
    """A torch function of numbers (the result is a number) and tensors (a tensor), in float64."""
    value = function(*map(_exact, args), **kwargs)
    return value if any(isinstance(a, Tensor) for a in args) else value.item()


def _exact(a):
    if isinstance(a, bool) or (isinstance(a, Tensor) and not a.is_floating_point()):
        return torch.as_tensor(a)
    return torch.as_tensor(a, dtype=torch.float64) if isinstance(a, (Real, Tensor)) else a
