"""Differential engines: from a field and points to exactly the derivatives that equations ask for.

| engine | works for | cost |
|---|---|---|
| `TaylorForward` | fields that push jets forward (all of ours) | one forward pass with one matrix product per layer |
| `NestedReverse` | any differentiable module (N, D) → (N, C) | one reverse pass per derivative and order |

Both return the same numbers; nested reverse mode is the oracle of the other in the tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import ProblemError
from .indices import IndexSet, MultiIndex
from .jet import Jet

Requests = Mapping[str, set[MultiIndex]]
Streams = dict[tuple[str, str, MultiIndex], Tensor]


class Engine(ABC):
    """Evaluates derivatives of a field's outputs at points."""

    @abstractmethod
    def derivatives(self, field: nn.Module, X: Tensor, requests: Requests, unknowns: tuple[str, ...],
                    tape: list | None = None) -> Streams:
        """∂^α of every requested unknown.

        Args:
            field: Module from (N, D) to (N, C).
            X: Points, shape (N, D).
            requests: Multi-indices by unknown.
            unknowns: Names of the C outputs.
            tape: Collects the records a Jacobian needs; only `TaylorForward` fills it.

        Returns:
            Tensors of shape (N,) by ("unknown", name, α).
        """


class TaylorForward(Engine):
    """Taylor-mode forward propagation of the closure of the requested multi-indices and operators."""

    def derivatives(self, field, X, requests, unknowns, tape=None):
        wanted = {alpha for alphas in requests.values() for alpha in alphas}
        indices = IndexSet.closure(wanted, X.shape[1])
        jet = field.jet(Jet.of_coordinates(X, indices, tape))
        found = {}
        for name, alphas in requests.items():
            c = unknowns.index(name)
            for alpha in alphas:
                found["unknown", name, alpha] = jet.stream(alpha)[:, c]
        return found


class NestedReverse(Engine):
    """Derivatives by reverse-mode differentiation of reverse-mode differentiation.

    One reverse pass gives the derivatives of a stream along all coordinates, and each stream is differentiated once.
    """

    def derivatives(self, field, X, requests, unknowns, tape=None):
        with torch.enable_grad():
            inputs = X.detach().clone().requires_grad_()
            values = field(inputs)
            cache: dict[tuple[str, MultiIndex], Tensor] = {}
            found: Streams = {}
            for name, alphas in requests.items():
                zero = (0,) * X.shape[1]
                cache[name, zero] = values[:, unknowns.index(name)]
                for alpha in alphas:
                    found["unknown", name, alpha] = self._derivative(cache, name, alpha, inputs)
        return found

    def _derivative(self, cache, name, alpha, inputs):
        if (name, alpha) not in cache:
            axis = max(i for i, count in enumerate(alpha) if count)
            lower = tuple(a - (i == axis) for i, a in enumerate(alpha))
            value = self._derivative(cache, name, lower, inputs)
            slopes = None
            if value.requires_grad:
                (slopes,) = torch.autograd.grad(value.sum(), inputs, create_graph=True, allow_unused=True)
            for i in range(inputs.shape[1]):
                raised = tuple(a + (j == i) for j, a in enumerate(lower))
                slope = torch.zeros_like(value) if slopes is None else slopes[:, i]
                cache.setdefault((name, raised), slope)
        return cache[name, alpha]


class PointwiseReverse(Engine):
    """Nested reverse mode by `torch.func`, which composes with `vmap` and `jacrev`: for Jacobians of any module."""

    def derivatives(self, field, X, requests, unknowns, tape=None):
        found = {}
        for name, alphas in requests.items():
            for alpha in alphas:
                f = _component(field, unknowns.index(name))
                for axis, count in enumerate(alpha):
                    for _ in range(count):
                        f = _along(f, axis)
                found["unknown", name, alpha] = f(X)
        return found


def _component(field: nn.Module, c: int):
    return lambda X: field(X)[:, c]


def _along(f, axis: int):
    return lambda X: torch.func.grad(lambda Y: f(Y).sum())(X)[:, axis]


ENGINES: dict[str, Engine] = {"taylor": TaylorForward(), "nested": NestedReverse()}


def engine_for(field: nn.Module) -> Engine:
    """Taylor mode for a field that has a `jet` method, nested reverse mode for any other module."""
    if not isinstance(field, nn.Module):
        raise ProblemError(f"a field must be a torch.nn.Module, got {type(field).__name__}")
    return ENGINES["taylor"] if callable(getattr(field, "jet", None)) else ENGINES["nested"]
