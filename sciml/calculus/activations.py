"""Scalar functions σ with their derivatives of every order, for Taylor-mode propagation.

A jet needs σ(z), σ′(z), …, σ^{(m)}(z) at the same z, and its backward pass needs one order more; each function
here shares the expensive part (one tanh, one exponential) among all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import pi, sqrt

import torch
from torch import Tensor


class Activation(ABC):
    """A smooth function of one variable, applied to every element."""

    @abstractmethod
    def derivatives(self, z: Tensor, order: int) -> list[Tensor]:
        """[σ(z), σ′(z), …, σ^{(order)}(z)], each of the shape of z."""


def _horner(coefficients: list[float], t: Tensor) -> Tensor:
    """Value of a polynomial; coefficients from the constant upwards."""
    value = torch.full_like(t, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * t + c
    return value


def _ode_polynomials(right: list[float], order: int) -> list[list[float]]:
    """P_k with σ^{(k)} = P_k(σ) for σ′ = right(σ): P_{k+1} = P_k′ · right."""
    current = [0.0, 1.0]
    found = [current]
    for _ in range(order):
        slope = [i * c for i, c in enumerate(current)][1:]
        following = [0.0] * (len(slope) + len(right) - 1)
        for i, a in enumerate(slope):
            for j, b in enumerate(right):
                following[i + j] += a * b
        current = following
        found.append(current)
    return found


class Tanh(Activation):
    """σ = tanh z, with σ′ = 1 − σ²; σ^{(k)} = σ′ Q_k(σ)."""

    def derivatives(self, z, order):
        t = torch.tanh(z)
        values = [t]
        if order >= 1:
            s = 1 - t * t
            values.append(s)
        if order >= 2:
            values.append(-2 * t * s)
        if order >= 3:
            values.append(s * (4 - 6 * s))
        if order >= 4:
            values.append(t * s * (24 * s - 8))
        for polynomial in _ode_polynomials([1.0, 0.0, -1.0], order)[5:]:
            values.append(_horner(polynomial, t))
        return values[:order + 1]


class Sine(Activation):
    """σ = sin z."""

    def derivatives(self, z, order):
        s, c = torch.sin(z), torch.cos(z)
        return [(s, c, -s, -c)[k % 4] for k in range(order + 1)]


class Cosine(Activation):
    """σ = cos z."""

    def derivatives(self, z, order):
        s, c = torch.sin(z), torch.cos(z)
        return [(c, -s, -c, s)[k % 4] for k in range(order + 1)]


class Sigmoid(Activation):
    """σ = 1/(1 + e^{−z}), with σ′ = σ − σ²."""

    def derivatives(self, z, order):
        s = torch.sigmoid(z)
        return [_horner(p, s) if k else s for k, p in enumerate(_ode_polynomials([0.0, 1.0, -1.0], order))]


class Swish(Activation):
    """z s(z) with the logistic s; (z s)^{(k)} = z s^{(k)} + k s^{(k−1)}."""

    def derivatives(self, z, order):
        s = Sigmoid().derivatives(z, order)
        return [z * s[k] + (k * s[k - 1] if k else 0.0) for k in range(order + 1)]


class Gelu(Activation):
    """z Φ(z) with the normal distribution Φ (the exact form, not the tanh approximation)."""

    def derivatives(self, z, order):
        normal = 0.5 * torch.special.erfc(-z / sqrt(2.0))
        values = [z * normal]
        if order == 0:
            return values
        density = torch.exp(-0.5 * z * z) / sqrt(2.0 * pi)
        values.append(normal + z * density)
        polynomial = [2.0, 0.0, -1.0]                     # σ″ = (2 − z²) φ; then P ← P′ − z P
        for _ in range(order - 1):
            values.append(_horner(polynomial, z) * density)
            slope = [i * c for i, c in enumerate(polynomial)][1:] + [0.0, 0.0]
            shifted = [0.0, *polynomial]
            polynomial = [a - b for a, b in zip(slope, shifted, strict=True)]
        return values


class Identity(Activation):
    """σ = z."""

    def derivatives(self, z, order):
        return [z, torch.ones_like(z), *[torch.zeros_like(z)] * (order - 1)][:order + 1]


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Tanh(), "sin": Sine(), "cos": Cosine(), "sigmoid": Sigmoid(), "swish": Swish(),
    "silu": Swish(), "gelu": Gelu(), "identity": Identity(),
}
