"""The setting that conditions are written in: coordinates, unknowns, parameters, and calling by name.

A user's function asks for what it needs by the names of its arguments; this file finds them, and turns what the
function returns into named components.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real

from torch import Tensor

from ..calculus import Frame, Quantity, Vector, charted_normal, is_mask
from ..calculus.elementwise import Indicator
from ..calculus.quantity import apply
from ..errors import ProblemError, SciMLError, unknown_name
from ..geometry import Domain
from .family import Drawn, input_quantity


@dataclass(frozen=True)
class Unknown:
    """A parameter to be found from data (an inverse problem, an eigenvalue).

    Args:
        initial: Starting value.
        bounds: Optional (low, high); the parameter is kept inside by a smooth map.
    """

    initial: float
    bounds: tuple[float, float] | None = None

    def __post_init__(self):
        if self.bounds is not None and not self.bounds[0] < self.initial < self.bounds[1]:
            raise ProblemError(
                f"an Unknown starts at {self.initial}, outside its bounds {self.bounds}; start inside them")


@dataclass(frozen=True)
class Range:
    """A parameter that varies: the solution is learnt as a function of it too.

    Args:
        low, high: End points, low < high.
    """

    low: float
    high: float

    def __post_init__(self):
        if not self.low < self.high:
            raise ProblemError(f"Range({self.low}, {self.high}) is empty; give the lower end first")


@dataclass(frozen=True)
class Setting:
    """What a condition's functions may ask for.

    Args:
        frame: Coordinates, with parameter axes after the domain's own.
        domain: The domain, times the box of parameter axes.
        unknowns: Names of the field's outputs.
        constants: Fixed parameters.
        trainable: Parameters to be found.
        breaks: Positions of interfaces by coordinate, increasing.
        ranged: Names of the parameter axes.
        fixed: Where Dirichlet data are prescribed, by unknown: the items that conditions were given as `on`.
        tests: Names of test functions that may be asked for.
        inputs: Input functions, one drawn of each.
    """

    frame: Frame
    domain: Domain
    unknowns: tuple[str, ...]
    constants: Mapping[str, float]
    trainable: Mapping[str, Unknown]
    breaks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ranged: tuple[str, ...] = ()
    fixed: Mapping[str, tuple] = field(default_factory=dict)
    tests: tuple[str, ...] = ()
    inputs: Mapping[str, Drawn] = field(default_factory=dict)

    def names(self, normal: bool = False) -> dict[str, object]:
        """Everything that can be asked for by name; parts of the domain only where nothing else is called so."""
        leaf = self.frame.leaf
        found: dict[str, object] = {n: self._indicator(n) for n in self.domain.parts if n.isidentifier()}
        found.update({n: leaf("coordinate", n) for n in self.frame.coordinates})
        found.update({n: body.value for n, body in self.frame.chart.items()})
        found.update({n: leaf("unknown", n) for n in self.unknowns})
        found.update(self.constants)
        found.update({n: leaf("parameter", n) for n in self.trainable})
        found.update({n: leaf("test", n) for n in self.tests})
        found.update({n: input_quantity(drawn, self.frame) for n, drawn in self.inputs.items()})
        if normal:
            found["normal"] = charted_normal(self.frame) if self.frame.chart else \
                Vector({n: leaf("normal", n) for n in self.frame.space})
        return found

    def _indicator(self, part: str) -> Quantity:
        """1 in a part of the domain and 0 elsewhere, of which a coefficient that jumps is made; one for all."""
        kept, key = self.frame.leaves, ("part", part, ())
        if key not in kept:
            domain = self.domain
            indicator = Indicator(part, lambda X: domain.in_part(part, X))
            kept[key] = apply(indicator, tuple(self.frame.leaf("coordinate", n) for n in domain.names))
        return kept[key]

    def call(self, value, where: str, normal: bool = False):
        """A number, or the result of a function called with the arguments it names.

        Args:
            value: Number, tensor of shape (), or function.
            where: The condition, for messages.
            normal: Whether `normal` may be asked for.
        """
        if isinstance(value, Quantity) or not callable(value):
            return number(value, where)
        available = self.names(normal)
        arguments = {}
        try:
            signature = inspect.signature(value)
        except ValueError as error:
            name = getattr(value, "__name__", "f")
            raise ProblemError(f"{where}: {name} does not say which arguments it takes, and they are asked for by "
                               f"name; write lambda {self.frame.coordinates[0]}: "
                               f"{name}({self.frame.coordinates[0]})") from error
        for name, parameter in signature.parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ProblemError(
                    f"{where}: the function takes *args or **kwargs; name its arguments, since they are asked for by "
                    f"name: {', '.join(available)}")
            if name in available:
                arguments[name] = available[name]
            elif parameter.default is parameter.empty:
                hint = " (normal exists on boundaries only)" if name == "normal" else ""
                raise ProblemError(
                    f"{where}: {unknown_name('argument', name, available)}{hint} Arguments are unknowns, coordinates, "
                    "parameters and inputs of the problem.")
        try:
            return value(**arguments)
        except SciMLError as error:
            raise ProblemError(f"{where}: {error}") from error
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ProblemError(
                f"{where}: the function failed on symbolic values ({type(error).__name__}: {error}); write it with "
                "torch functions and arithmetic, point by point") from error


    def datum(self, value, where: str, normal: bool = False):
        """Prescribed data: what `call` gives, which must be one number per point."""
        found = self.call(value, where, normal)
        if not isinstance(found, (Quantity, Real)) and not (isinstance(found, Tensor) and found.ndim == 0):
            raise ProblemError(f"{where}: its data are {_kind(found)}, expected one number per point")
        return found


def _kind(value) -> str:
    if value is None:
        return "None"
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def as_number(value, where: str) -> float:
    """An argument that must be a plain number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ProblemError(f"{where}={value!r} must be a number")
    return float(value)


def number(value, where: str):
    """A Python number from what a user gave as constant data."""
    if isinstance(value, (Quantity, Vector)):
        return value
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ProblemError(
            f"{where}: got a tensor of shape {tuple(value.shape)}; expected a number or a function of the coordinates "
            "(for measured data at points use Observations)")
    try:
        if not isinstance(value, str) and isfinite(found := float(value)):
            return found
    except (TypeError, ValueError):
        pass
    raise ProblemError(f"{where}: expected a finite number or a function, got {value!r}")


def components(result, name: str, where: str) -> dict[str, object]:
    """What an equation returned, as components by name."""
    if isinstance(result, Mapping):
        named = {f"{name}.{key}": value for key, value in result.items()}
    elif isinstance(result, (tuple, list, Vector)):
        named = {f"{name}.{i + 1}": value for i, value in enumerate(result)}
    else:
        named = {name: result}
    if not named:
        raise ProblemError(f"{where}: returned no component")
    for key, value in named.items():
        if is_mask(value) or isinstance(value, bool):
            raise ProblemError(f"{where}: component {key!r} is true or false, expected a number; for left = right "
                               "write left - right")
        if not isinstance(value, (Quantity, Real)) and not (isinstance(value, Tensor) and value.ndim == 0):
            raise ProblemError(f"{where}: component {key!r} is {_kind(value)}, expected an expression of the unknowns "
                               "(one number per point)")
    return named


def function_name(function: Callable, default: str) -> str:
    """Name of a function for reports; lambdas get the default."""
    name = getattr(function, "__name__", default)
    return default if name == "<lambda>" else name


def check_shape(value: Tensor, N: int, where: str) -> None:
    """One number per point, or a sentence."""
    if tuple(value.shape) != (N,):
        raise ProblemError(
            f"{where}: residual has shape {tuple(value.shape)}, expected ({N},); does every function return one value "
            "per point?")

