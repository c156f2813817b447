"""Rules of differentiation: ∂f(a, b, …)/∂c as a quantity, for the functions that equations use most.

A rule takes the node f(a, b, …), a function that gives the slope of an argument, and the arguments. Functions that are
not here get forward-mode differentiation (`elementwise.py`).
"""

from __future__ import annotations

import math
from numbers import Real

import torch

from .quantity import Quantity, apply, is_number, negative


def _chain(outer):
    """Rule of a function of one variable from its derivative: (f(g))' = outer(f(g), g) g'."""
    return lambda node, slope, g: _times(outer(node, g), slope(g))


def _times(a, b):
    if is_number(b, 0) or is_number(a, 0):
        return 0.0
    return a * b if isinstance(a, Quantity) or not isinstance(b, Quantity) else b * a


def _power(node, slope, base, exponent):
    if isinstance(exponent, Real):
        if exponent == 2:
            return _times(2.0 * base, slope(base))
        return _times(exponent * apply(torch.pow, (base, exponent - 1)), slope(base))
    growth = 0.0
    if isinstance(exponent, Quantity):
        growth = _times(node * apply(torch.log, (base,)), slope(exponent))
    return growth + _times(exponent * apply(torch.pow, (base, exponent - 1.0)), slope(base)) \
        if isinstance(base, Quantity) else growth


def _quotient(node, slope, a, b):
    top = slope(a)
    bottom = slope(b)
    first = 0.0 if is_number(top, 0) else top / b
    return first if is_number(bottom, 0) else first - node * bottom / b


def _where(node, slope, mask, a, b):
    da, db = slope(a), slope(b)
    return 0.0 if is_number(da, 0) and is_number(db, 0) else apply(torch.where, (mask, da, db))


def _extreme(compare):
    return lambda node, slope, a, b: _where(node, slope, apply(compare, (a, b)), a, b)


def _atan2(node, slope, y, x):
    square = x * x + y * y
    return _times(x / square, slope(y)) - _times(y / square, slope(x))


def _call(function):
    return lambda *args: apply(function, args)


_sin, _cos, _exp, _sign = map(_call, (torch.sin, torch.cos, torch.exp, torch.sign))

RULES = {
    torch.add: lambda n, s, a, b: s(a) + s(b),
    torch.sub: lambda n, s, a, b: s(a) - s(b),
    torch.mul: lambda n, s, a, b: _times(b, s(a)) + _times(a, s(b)),
    torch.div: _quotient,
    torch.pow: _power,
    torch.neg: lambda n, s, a: negative(s(a)),
    torch.square: lambda n, s, a: _times(2.0 * a, s(a)),
    torch.exp: _chain(lambda n, g: n),
    torch.log: _chain(lambda n, g: 1.0 / g),
    torch.log1p: _chain(lambda n, g: 1.0 / (1.0 + g)),
    torch.sqrt: _chain(lambda n, g: 0.5 / n),
    torch.rsqrt: _chain(lambda n, g: -0.5 * n / g),
    torch.reciprocal: _chain(lambda n, g: -n * n),
    torch.sin: _chain(lambda n, g: _cos(g)),
    torch.cos: _chain(lambda n, g: -_sin(g)),
    torch.tan: _chain(lambda n, g: 1.0 + n * n),
    torch.sinh: _chain(lambda n, g: apply(torch.cosh, (g,))),
    torch.cosh: _chain(lambda n, g: apply(torch.sinh, (g,))),
    torch.tanh: _chain(lambda n, g: 1.0 - n * n),
    torch.sigmoid: _chain(lambda n, g: n - n * n),
    torch.atan: _chain(lambda n, g: 1.0 / (1.0 + g * g)),
    torch.erf: _chain(lambda n, g: 2.0 / math.sqrt(math.pi) * _exp(-(g * g))),
    torch.abs: _chain(lambda n, g: _sign(g)),
    torch.relu: _chain(lambda n, g: apply(torch.where, (g > 0, 1.0, 0.0))),
    torch.atan2: _atan2,
    torch.where: _where,
    torch.maximum: _extreme(torch.ge),
    torch.minimum: _extreme(torch.le),
}
