"""Vector calculus over the space coordinates: grad, div, curl, laplacian, dot.

All act on quantities and return quantities, so they compose: `div(k * grad(u))`, `laplacian(laplacian(w))`,
`dot(normal, grad(u))`. Time and parameters are not space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real

import torch

from ..errors import ProblemError
from .quantity import Quantity, apply, d


class Vector:
    """Components by coordinate name; adds, scales and multiplies componentwise.

    `v.x` or `v["x"]` is a component. A derivative of a component is `d(v.x, "t")`.
    """

    def __init__(self, components: Mapping[str, object]):
        self._components = dict(components)

    @property
    def names(self) -> tuple[str, ...]:
        """Coordinates of the components."""
        return tuple(self._components)

    def __getitem__(self, key):
        if isinstance(key, int):
            return tuple(self._components.values())[key]
        return self._components[key]

    def __getattr__(self, name):
        if name.startswith("_") or name not in self._components:
            raise AttributeError(f"a vector over {', '.join(self._components)} has no component {name!r}")
        return self._components[name]

    def __iter__(self):
        return iter(self._components.values())

    def __len__(self):
        return len(self._components)

    def _each(self, other, f: Callable) -> Vector:
        if isinstance(other, (Vector, tuple, list)):
            if len(other) != len(self):
                raise ProblemError(f"vectors have {len(self)} and {len(other)} components")
            return Vector({n: f(a, b) for (n, a), b in zip(self._components.items(), other, strict=True)})
        return Vector({n: f(a, other) for n, a in self._components.items()})

    __array_ufunc__ = None

    def __add__(self, other): return self._each(other, lambda a, b: a + b)
    def __radd__(self, other): return self._each(other, lambda a, b: b + a)
    def __sub__(self, other): return self._each(other, lambda a, b: a - b)
    def __rsub__(self, other): return self._each(other, lambda a, b: b - a)
    def __mul__(self, other): return self._each(other, lambda a, b: a * b)
    def __rmul__(self, other): return self._each(other, lambda a, b: b * a)
    def __truediv__(self, other): return self._each(other, lambda a, b: a / b)
    def __neg__(self): return self._each(0.0, lambda a, b: -a)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.mul, torch.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__):
            a, b = args
            return b * a if isinstance(b, cls) else a * b
        raise ProblemError(f"torch.{function.__name__} does not act on vectors; use the components")


def _space(quantity) -> tuple[str, ...]:
    if not isinstance(quantity, Quantity):
        raise ProblemError(f"expected an unknown or an expression of unknowns and coordinates, got {quantity!r}")
    return quantity.frame.space


def grad(q: Quantity) -> Vector:
    """∇q over the space coordinates."""
    return Vector({name: d(q, name) for name in _space(q)})


def _as_vector(v) -> Vector:
    if isinstance(v, Vector):
        return v
    parts = tuple(v)
    space = next((_space(c) for c in parts if isinstance(c, Quantity)), None)
    if space is None or len(space) != len(parts):
        expected = "?" if space is None else len(space)
        raise ProblemError(f"a vector needs one component per space coordinate ({expected}), got {len(parts)}")
    return Vector(dict(zip(space, parts, strict=True)))


def div(v):
    """∇·v of a `Vector` or of a tuple with one component per space coordinate."""
    v = _as_vector(v)
    return _sum(d(v[name], name) for name in v.names)


def laplacian(q: Quantity):
    """Δq = Σ ∂²q/∂xᵢ² over the space coordinates."""
    if isinstance(q, Real):
        return 0.0
    return _sum(d(q, name, name) for name in _space(q))


def curl(v):
    """∇×v: of a scalar in 2-D (∂q/∂y, −∂q/∂x); of a vector in 2-D the scalar ∂v/∂x − ∂u/∂y; in 3-D a vector."""
    if isinstance(v, Quantity):
        names = _space(v)
        if len(names) != 2:
            raise ProblemError(f"the curl of a scalar needs two space coordinates, the problem has {len(names)}")
        x, y = names
        return Vector({x: d(v, y), y: -1.0 * d(v, x)})
    v = _as_vector(v)
    if len(v) == 2:
        x, y = v.names
        return d(v[y], x) - d(v[x], y)
    if len(v) != 3:
        raise ProblemError(f"the curl needs 2 or 3 space coordinates, got {len(v)}")
    x, y, z = v.names
    return Vector({x: d(v[z], y) - d(v[y], z), y: d(v[x], z) - d(v[z], x), z: d(v[y], x) - d(v[x], y)})


def dot(a, b):
    """a·b of two vectors of equal length."""
    if len(a) != len(b):
        raise ProblemError(f"dot product of {len(a)} and {len(b)} components")
    return _sum(p * q for p, q in zip(a, b, strict=True))


def norm(v):
    """|v| = √(v·v)."""
    return apply(torch.sqrt, (dot(v, v),))


def _sum(terms):
    total = 0.0
    for term in terms:
        total = total + term
    return total
