"""Quantities: what `u`, `x` and `nu` are inside a user's equation.

An equation is an ordinary Python function. When a problem is built it is called once with quantities, which record
what is done to them as a graph of torch functions: leaves are derivatives of unknowns, coordinates, unknown
parameters and normals. A derivative of a composite, such as `d(k(x) * u.x, "x")`, is taken on this graph by the rules
of calculus, so that in the end only derivatives of the unknowns themselves are asked of a field. `program.py` turns
the graph into a flat list of tensor operations; the hot loop contains no quantity.

Functions without a rule below (any differentiable elementwise torch function, an `nn.Module` that maps points one by
one) get their derivatives by forward-mode automatic differentiation of the function itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..errors import ProblemError, unknown_name
from .elementwise import REFLECTED, ForwardMode, Indicator, canonical, differentiable, on_numbers
from .left import Slope, Tabulated


class UnknownAttribute(ProblemError, AttributeError):
    """A quantity was asked for a derivative or a function that does not exist."""


@dataclass(frozen=True)
class Frame:
    """The coordinates a problem's quantities live in.

    Args:
        coordinates: All of them, in the order of a field's inputs.
        space: Those that `grad`, `div` and `laplacian` run over.
        expand: Whether derivatives of composites are expanded; if not, d(k u_x, x) stays what it is (`grids.py`).
    """

    coordinates: tuple[str, ...]
    space: tuple[str, ...]
    expand: bool = True
    leaves: dict = field(default_factory=dict, compare=False, repr=False)
    chart: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """What may be differentiated by: the coordinates, then those of the body that they chart (`chart.py`)."""
        return (*self.coordinates, *self.chart)

    def leaf(self, kind: str, name: str, alpha: tuple[int, ...] | None = None) -> Leaf:
        """The leaf of this kind and name; the same object each time."""
        alpha = (0,) * len(self.coordinates) if alpha is None else alpha
        key = (kind, name, alpha)
        if key not in self.leaves:
            self.leaves[key] = Leaf(self, kind, name, alpha)
        return self.leaves[key]


class Quantity:
    """A number at every point, with derivatives; made by the package, used by equations.

    `u.x`, `u.xx`, `u.xt` are derivatives when every letter is a coordinate; otherwise `u.exp()` and the like are
    torch's functions. Use `d(q, "name")` for coordinates with longer names.
    """

    frame: Frame

    def __init__(self, frame: Frame):
        self.frame = frame
        self._derivatives: dict[str, Any] = {}

    def differentiate(self, coordinate: str):
        """∂q/∂coordinate as a quantity or a number."""
        if coordinate not in self._derivatives:
            body = self.frame.chart.get(coordinate)
            self._derivatives[coordinate] = self._differentiate(coordinate) if body is None else body.along(self)
        return self._derivatives[coordinate]

    def _differentiate(self, coordinate: str):
        raise NotImplementedError

    def __getattr__(self, name: str):
        if name.startswith("__") or name in ("frame", "_derivatives"):
            raise AttributeError(name)
        coordinates = self.frame.names
        if all(letter in coordinates for letter in name):
            value = self
            for letter in sorted(name, key=coordinates.index):
                value = d(value, letter)
            return value
        if len(name) > 1 and hasattr(torch.Tensor, name) and callable(getattr(torch, name, None)):
            return lambda *args, **kwargs: getattr(torch, name)(self, *args, **kwargs)
        near = get_close_matches(name, [a + b for a in coordinates for b in ("", *coordinates)], 1)
        hint = f"; did you mean .{near[0]}?" if near else "."
        raise UnknownAttribute(
            f"{self!r} has no derivative or function {name!r}{hint} Derivatives are made of the coordinates "
            f"{', '.join(coordinates)}; for names of several letters write d(q, \"name\")."
        )

    def __bool__(self):
        raise ProblemError(
            "an equation may not branch on the value of an unknown or a coordinate (it differs from point to point); "
            "use torch.where(condition, a, b)"
        )

    def __float__(self):
        raise ProblemError(
            f"{self!r} was given to a function that needs a plain number (math.sin?); use torch's functions, "
            "for example torch.sin"
        )

    def __array__(self, *args, **kwargs):
        raise ProblemError(f"{self!r} was given to a NumPy function; use torch's, for example torch.sin")

    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __len__(self):
        raise ProblemError(f"{self!r} is a number at every point, not a vector; it has no length")

    def __call__(self, *args, **kwargs):
        raise ProblemError(f"{self!r} is already the value at every point; write {self!r} and not {self!r}(…)")

    def __getitem__(self, index):
        raise ProblemError(f"{self!r} is a number at every point; it cannot be indexed")

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return apply(function, args, kwargs or {})

    def __add__(self, other): return _operate(torch.add, self, other)
    def __radd__(self, other): return _operate(torch.add, other, self)
    def __sub__(self, other): return _operate(torch.sub, self, other)
    def __rsub__(self, other): return _operate(torch.sub, other, self)
    def __mul__(self, other): return _operate(torch.mul, self, other)
    def __rmul__(self, other): return _operate(torch.mul, other, self)
    def __truediv__(self, other): return _operate(torch.div, self, other)
    def __rtruediv__(self, other): return _operate(torch.div, other, self)
    def __pow__(self, other): return _operate(torch.pow, self, other)
    def __rpow__(self, other): return _operate(torch.pow, other, self)
    def __neg__(self): return apply(torch.neg, (self,))
    def __pos__(self): return self
    def __abs__(self): return apply(torch.abs, (self,))
    def __lt__(self, other): return apply(torch.lt, (self, other))
    def __le__(self, other): return apply(torch.le, (self, other))
    def __gt__(self, other): return apply(torch.gt, (self, other))
    def __ge__(self, other): return apply(torch.ge, (self, other))
    def __eq__(self, other): return apply(torch.eq, (self, other))
    def __ne__(self, other): return apply(torch.ne, (self, other))
    def __and__(self, other): return apply(torch.logical_and, (self, other))
    def __or__(self, other): return apply(torch.logical_or, (self, other))
    def __invert__(self): return apply(torch.logical_not, (self,))


class Leaf(Quantity):
    """A quantity that comes from outside: ∂^α of an unknown, a coordinate, a parameter, a normal or data.

    Args:
        kind: "unknown", "coordinate", "parameter", "normal", "data" or "test" (a test function).
        name: Its name.
        alpha: The derivative, zero but for unknowns and test functions.
    """

    def __init__(self, frame: Frame, kind: str, name: str, alpha: tuple[int, ...]):
        super().__init__(frame)
        self.kind, self.name, self.alpha = kind, name, alpha

    @property
    def key(self) -> tuple[str, str, tuple[int, ...]]:
        """What identifies the leaf in a program's inputs."""
        return (self.kind, self.name, self.alpha)

    def _differentiate(self, coordinate):
        i = self.frame.coordinates.index(coordinate)
        if self.kind in ("unknown", "test"):
            alpha = tuple(a + (j == i) for j, a in enumerate(self.alpha))
            return self.frame.leaf(self.kind, self.name, alpha)
        if self.kind == "coordinate":
            return 1.0 if self.name == coordinate else 0.0
        if self.kind == "parameter":
            return 0.0
        raise ProblemError(f"the derivative of the {self.kind} {self.name!r} is not known")

    def __repr__(self):
        return self.name + derivative_suffix(self.alpha, self.frame.coordinates)


def derivative_suffix(alpha: tuple[int, ...], coordinates: tuple[str, ...]) -> str:
    """".xxt" for one-letter coordinates, else ".d(theta)²"-like text."""
    if not any(alpha):
        return ""
    if all(len(c) == 1 for c in coordinates):
        return "." + "".join(c * a for c, a in zip(coordinates, alpha, strict=True))
    return "." + "".join(f"d({c})" * a for c, a in zip(coordinates, alpha, strict=True))


class Apply(Quantity):
    """A torch function of quantities, numbers and tensors."""

    def __init__(self, frame: Frame, function, args: tuple, kwargs: dict):
        super().__init__(frame)
        self.function, self.args, self.kwargs = function, args, kwargs

    def _differentiate(self, coordinate):
        if isinstance(self.function, Indicator):
            raise ProblemError(self.function.refusal())
        if self.function in _CONSTANT:
            return 0.0
        if isinstance(self.function, Tabulated):
            return self._chain(coordinate)
        if not self.frame.expand:
            return Apply(self.frame, Slope(coordinate), (self,), {})
        from .rules import RULES  # they are written in quantities themselves; needed while a problem is built

        rule = RULES.get(self.function)
        if rule is not None and not self.kwargs:
            return rule(self, lambda q: _slope(q, coordinate), *self.args)
        return self._forward_mode(coordinate)

    def _chain(self, coordinate):
        """Σ ∂f/∂aᵢ ∂aᵢ/∂coordinate of a function that knows its derivatives."""
        total: Any = 0.0
        for i, argument in enumerate(self.args):
            inner = _slope(argument, coordinate)
            total = total if is_number(inner, 0) else total + apply(self.function.slope(i), self.args) * inner
        return total

    def _forward_mode(self, coordinate):
        names = tuple(k for k, a in self.kwargs.items() if isinstance(a, Quantity))
        args = (*self.args, *(self.kwargs[k] for k in names))
        positions = tuple(i for i, a in enumerate(args) if isinstance(a, Quantity))
        tangents = [_slope(args[i], coordinate) for i in positions]
        if all(is_number(t, 0) for t in tangents):
            return 0.0
        options = tuple((k, a) for k, a in self.kwargs.items() if k not in names)
        derivative = ForwardMode(self.function, names, positions, len(args), options)
        if not isinstance(self.function, ForwardMode) and not differentiable(derivative, args):
            raise ProblemError(f"torch does not know the derivative of {self!r}; write it with other functions, or "
                               "leave it out of d(…) and of derivatives")
        return apply(derivative, (*args, *tangents))

    def __repr__(self):
        name = getattr(self.function, "__name__", type(self.function).__name__)
        text = f"{name}({', '.join(map(repr, self.args))})"
        return text if len(text) < 60 else f"{name}(…)"


def _operate(function, a, b):
    """An operator of two numbers per point; anything else (a `Vector`) may know what to do itself."""
    if not all(isinstance(q, (Quantity, Tensor, Real)) for q in (a, b)):
        return NotImplemented
    return apply(function, (a, b))


def is_number(value, number: float) -> bool:
    """Whether a value is this plain number."""
    return isinstance(value, Real) and value == number


def _slope(value, coordinate: str):
    return value.differentiate(coordinate) if isinstance(value, Quantity) else 0.0


_MASKS = {torch.lt, torch.le, torch.gt, torch.ge, torch.eq, torch.ne, torch.logical_and, torch.logical_or,
          torch.logical_not, torch.logical_xor, torch.isfinite, torch.isnan}
_CONSTANT = {*_MASKS, torch.sign, torch.floor, torch.ceil, torch.round, torch.heaviside,
             torch.floor_divide, torch.zeros_like, torch.ones_like, torch.detach}

def is_mask(value) -> bool:
    """Whether a value is a truth value at every point and not a number."""
    return isinstance(value, Apply) and value.function in _MASKS


_REDUCTIONS = {torch.sum, torch.mean, torch.max, torch.min, torch.prod, torch.norm, torch.amax, torch.amin,
               torch.argmax, torch.cumsum, torch.matmul, torch.dot}


def apply(function, args, kwargs=None):
    """A torch function of quantities, with the sums and products by 0 and 1 simplified away.

    Raises:
        ProblemError: The function mixes points (a sum, a mean, a stack), which a pointwise equation cannot.
    """
    kwargs = kwargs or {}
    if function in REFLECTED:
        return apply(REFLECTED[function], args[::-1])
    function = canonical(function)
    sequences = any(hasattr(a, "__iter__") and not isinstance(a, (Quantity, Tensor, str)) for a in args)
    if sequences or (function in _REDUCTIONS and not (function in (torch.max, torch.min) and len(args) == 2)):
        raise ProblemError(
            f"torch.{function.__name__} mixes points or components; an equation is written point by point. "
            "Use Integral(…) for integrals, and return a dict or a tuple for several components."
        )
    if function in (torch.max, torch.min):
        function = torch.maximum if function is torch.max else torch.minimum
    if not kwargs:
        simple = _simplify(function, args)
        if simple is not None:
            return simple
    frame = next((a.frame for a in (*args, *kwargs.values()) if isinstance(a, Quantity)), None)
    return on_numbers(function, args, kwargs) if frame is None else Apply(frame, function, tuple(args), kwargs)


def _simplify(function, args):
    if function is torch.add:
        if is_number(args[0], 0):
            return args[1]
        if is_number(args[1], 0):
            return args[0]
    elif function is torch.sub:
        if is_number(args[1], 0):
            return args[0]
        if is_number(args[0], 0):
            return negative(args[1])
    elif function is torch.mul:
        if is_number(args[0], 0) or is_number(args[1], 0):
            return 0.0
        if is_number(args[0], 1):
            return args[1]
        if is_number(args[1], 1):
            return args[0]
    elif function is torch.div:
        if is_number(args[0], 0):
            return 0.0
        if is_number(args[1], 1):
            return args[0]
    elif function is torch.pow:
        if is_number(args[1], 0):
            return 1.0
        if is_number(args[1], 1):
            return args[0]
    elif function is torch.where and isinstance(args[0], bool):
        return args[1] if args[0] else args[2]
    return None


def negative(a):
    """−a."""
    return -a if isinstance(a, Real) else apply(torch.neg, (a,))


def d(quantity, *coordinates: str | Quantity):
    """Partial derivative ∂q/∂c₁∂c₂… of any expression.

    Args:
        quantity: An unknown, a coordinate or any expression of them; a plain number has derivative 0.
        coordinates: Names, or the coordinates themselves; `d(q, "x", "x")` is ∂²q/∂x².

    Raises:
        ProblemError: A name is not a coordinate of the problem.
    """
    for coordinate in coordinates:
        name = coordinate.name if isinstance(coordinate, Leaf) and coordinate.kind == "coordinate" else coordinate
        if isinstance(name, Quantity):
            name = next((n for n, body in name.frame.chart.items() if body.value is name), name)
        if isinstance(name, Quantity):
            raise ProblemError(f"d(…, {name!r}): derivatives are taken by coordinates, "
                               f"{', '.join(name.frame.names)}")
        if isinstance(quantity, (Real, Tensor)):
            return 0.0
        if not isinstance(quantity, Quantity):
            raise ProblemError(f"d differentiates a number at every point, got {type(quantity).__name__}; "
                               "differentiate the components, for example d(v.x, \"t\")")
        if name not in quantity.frame.names:
            raise ProblemError(unknown_name("coordinate", name, quantity.frame.names))
        quantity = quantity.differentiate(name)
    return quantity


def substitute(quantity, values: Mapping[Any, object]):
    """A quantity with some of its leaves replaced by numbers or quantities.

    Args:
        quantity: A number or an expression.
        values: Replacement by coordinate name, or by the key (kind, name, α) of any leaf.
    """
    done: dict[int, object] = {}

    def visit(q):
        if not isinstance(q, Quantity):
            return q
        if id(q) not in done:
            if isinstance(q, Leaf):
                named = values.get(q.name, q) if q.kind == "coordinate" else q
                done[id(q)] = values.get(q.key, named)
            else:
                args = tuple(visit(a) for a in q.args)
                kwargs = {k: visit(a) for k, a in q.kwargs.items()}
                kept = isinstance(q.function, Tabulated)
                done[id(q)] = Apply(q.frame, q.function, args, kwargs) if kept else apply(q.function, args, kwargs)
        return done[id(q)]

    return visit(quantity)
