"""Random functions: drawn as coefficients, evaluated on any grid and at any points.

    g(x) = Σ_k w_k Π_d φ^d_{k_d}(x_d)

A draw is a fixed number of coefficients, so that one seed is the same function at every resolution. Functions are
sums of products of functions of one coordinate, so that a grid costs one small matrix product per axis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import ProblemError
from ..geometry.domain import default_space

Law = TypeVar("Law", bound="RandomFunction")
LARGEST = 2**23  # entries of an intermediate tensor at scattered points


@dataclass(frozen=True)
class RandomFunction(ABC):
    """A probability law on functions over a box.

    Args:
        over: Coordinates it depends on; None: the space coordinates, filled in by `bind`. () is a number.
        sides: (lo, hi) by coordinate of `over`, filled in by `bind`.
    """

    over: tuple[str, ...] | None = field(default=None, kw_only=True)
    sides: tuple[tuple[float, float], ...] | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.over, str):
            object.__setattr__(self, "over", (self.over,))
        self._check()

    def bind(self: Law, sides: Mapping[str, tuple[float, float]]) -> Law:
        """A copy that knows its coordinates and their ends.

        Args:
            sides: (lo, hi) by coordinate of the box; more than it needs is allowed.

        Raises:
            ProblemError: The box lacks a coordinate of `over`, or has more than three that it would depend on.
        """
        over = default_space(tuple(sides)) if self.over is None else tuple(self.over)
        missing = [name for name in over if name not in sides]
        if missing:
            raise ProblemError(f"{self._name} is over {', '.join(missing)}, but the box has the coordinates "
                               f"{', '.join(sides)}; name one of these in over=")
        if len(over) > 3:
            raise ProblemError(f"{self._name} would depend on {', '.join(over)}: at most three coordinates are "
                               "possible; name them in over=")
        found = replace(self, over=over, sides=tuple((float(sides[c][0]), float(sides[c][1])) for c in over))
        found._check_bound()
        return found

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Coefficients of `count` functions, shape (B, M), float64, on the generator's device."""

    def on_grid(self, coefficients: Tensor, axes: Mapping[str, Tensor], alpha: tuple[int, ...] | None = None) -> Tensor:
        """The functions, or ∂^α of them, on a grid.

        Args:
            coefficients: From `draw`, shape (B, M); their dtype and device are the result's.
            axes: Points (n_d,) by coordinate, at least those of `over`.
            alpha: Orders of the derivative by coordinate of `over`; None: the function.

        Returns:
            Shape (B, n_1, …, n_D), the axes in the order of `over`.

        Raises:
            ProblemError: Not bound, an axis missing, or a derivative of what has none.
        """
        over = self._bound()
        missing = [name for name in over if name not in axes]
        if missing:
            raise ProblemError(f"{self._name} is over {', '.join(over)}, but axes= has {', '.join(axes) or 'none'}; "
                               f"add {', '.join(missing)}")
        points = [axes[name].detach().to(coefficients.device, torch.float64) for name in over]
        return self._outer(lambda order: self._contract(coefficients, points, order), self._order(alpha))

    def at(self, coefficients: Tensor, X: Tensor, alpha: tuple[int, ...] | None = None) -> Tensor:
        """The functions, or ∂^α of them, at scattered points.

        Args:
            coefficients: From `draw`, shape (B, M).
            X: Points (N, D), columns in the order of `over`.
            alpha: As for `on_grid`.

        Returns:
            Shape (B, N).

        Raises:
            ProblemError: As `on_grid`; X has another number of columns.
        """
        over = self._bound()
        if X.ndim != 2 or X.shape[1] != len(over):
            raise ProblemError(f"{self._name} is over ({', '.join(over)}): its points must have shape "
                               f"(N, {len(over)}), not {tuple(X.shape)}")
        X = X.to(coefficients.device, torch.float64)
        return self._outer(lambda order: self._scatter(coefficients, X, order), self._order(alpha))

    # what a law defines ----------------------------------------------------------------------------------------------

    @abstractmethod
    def _weights(self, coefficients: Tensor) -> Tensor:
        """w of shape (B, K_1, …, K_D)."""

    @abstractmethod
    def _basis(self, d: int, x: Tensor, order: int) -> Tensor | None:
        """Derivative of φ^d at x (n,), shape (n, K_d); None for the identity."""

    def _check(self) -> None:  # noqa: B027 - nothing to check unless a law says so
        """Raises a ProblemError about arguments."""

    def _check_bound(self) -> None:  # noqa: B027
        """Raises a ProblemError about arguments that do not go with the box."""

    def _outer(self, inner: Callable[[tuple[int, ...]], Tensor], alpha: tuple[int, ...]) -> Tensor:
        """∂^α of the function of g, given ∂^β g."""
        return inner(alpha)

    # shared ----------------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _bound(self) -> tuple[str, ...]:
        if self.over is None or self.sides is None:
            raise ProblemError(f"{self._name} does not know its box yet; call bind({{'x': (0, 1), …}}) first")
        return self.over

    def _order(self, alpha: Sequence[int] | None) -> tuple[int, ...]:
        over = self._bound()
        alpha = (0,) * len(over) if alpha is None else tuple(alpha)
        if len(alpha) != len(over) or any(a < 0 for a in alpha):
            raise ProblemError(f"alpha={alpha} must be one order ≥ 0 for each of ({', '.join(over)})")
        return alpha

    def _contract(self, coefficients: Tensor, points: Sequence[Tensor], order: tuple[int, ...]) -> Tensor:
        values = self._weights(coefficients)
        for d, x in enumerate(points):
            table = self._basis(d, x, order[d])
            if table is not None:
                values = torch.movedim(values.movedim(d + 1, -1) @ table.to(values).T, -1, d + 1)
        return values.contiguous()

    def _scatter(self, coefficients: Tensor, X: Tensor, order: tuple[int, ...]) -> Tensor:
        weights = self._weights(coefficients)
        if X.shape[1] == 0:
            return weights[:, None].expand(-1, len(X))
        rest = max(1, math.prod(weights.shape[:-1]))
        return torch.cat([self._product(weights, part, order) for part in X.split(max(1, LARGEST // rest))], 1)

    def _product(self, values: Tensor, X: Tensor, order: tuple[int, ...]) -> Tensor:
        """Last axis by a matrix product, the others by products and sums: (B, K_1, …, K_D) → (B, N)."""
        for d in reversed(range(X.shape[1])):
            table = self._basis(d, X[:, d], order[d])
            if table is None:
                table = torch.eye(len(X), dtype=X.dtype, device=X.device)
            table = table.to(values).T
            values = values @ table if d == X.shape[1] - 1 else (values * table).sum(-2)
        return values


def exponential(inner: Callable[[tuple[int, ...]], Tensor], alpha: tuple[int, ...]) -> Tensor:
    """∂^α e^g from derivatives of g, by Leibniz' rule.

        ∂^α e^g = Σ_{β ≤ α − e_i} (α − e_i choose β) ∂^β e^g · ∂^{α−β} g

    Args:
        inner: ∂^β g by β.
        alpha: Orders by coordinate.
    """
    if not any(alpha):
        return inner(alpha).exp()
    i = next(d for d, a in enumerate(alpha) if a)
    rest = tuple(a - (d == i) for d, a in enumerate(alpha))
    terms = []
    for beta in product(*(range(a + 1) for a in rest)):
        ways = math.prod(math.comb(a, b) for a, b in zip(rest, beta, strict=True))
        terms.append(ways * exponential(inner, beta) * inner(tuple(a - b for a, b in zip(alpha, beta, strict=True))))
    return torch.stack(terms).sum(0)
