"""Diffusion with a random coefficient on a box, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..elements.flux import solve_diffusion
from ..errors import ProblemError
from .solver import BatchSolver, Fields, batches, spacing


@dataclass(frozen=True)
class Darcy(BatchSolver):
    """Darcy flow, −∇·(a∇u) = f with u = 0 on the boundary, by fluxes and preconditioned conjugate gradients.

    The operator and its preconditioner are in `elements/flux.py`; the grid has both ends of every axis.

    Args:
        coefficient: Name of a > 0.
        unknown: Name of u.
        source: f: a number, a function of the coordinates, or the name of an input function.
        tolerance: Of the largest relative residual of a batch.

    Raises:
        ProblemError: A tolerance that is not in (0, 1).

    Note:
        Coefficients that jump leave a first-order error; `accuracy` measures it. The discrete solution is exact to the
        tolerance, as the preconditioned residual sees it.
    """

    coefficient: str = "a"
    unknown: str = "u"
    source: float | str | Callable[..., Tensor] = 1.0
    tolerance: float = 1e-10
    periodic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ProblemError(f"tolerance={self.tolerance!r} of Darcy must be in (0, 1), such as 1e-10")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.coefficient, self.source) if isinstance(self.source, str) else (self.coefficient,)

    def finer(self) -> Darcy:
        return self

    @torch.no_grad()
    def solve(self, inputs: Fields, axes: Fields, times: Tensor | None = None) -> dict[str, Tensor]:
        if times is not None:
            raise ProblemError("Darcy flow is steady and has no times; leave them out")
        h = spacing(axes, (1, 2, 3), "Darcy")
        shape = tuple(len(x) for x in axes.values())
        a = self._input(inputs, self.coefficient, shape)
        inner = (slice(None), *(slice(1, -1) for _ in shape))
        f = self.right_side(inputs, axes).to(a)[inner].expand(len(a), *(n - 2 for n in shape))
        u = torch.zeros_like(a)
        for part in batches(len(a), math.prod(shape), a.device):
            u[part][inner] = solve_diffusion(a[part], f[part], h, self.tolerance)[0]
        return {self.unknown: u}

    def right_side(self, inputs: Fields, axes: Fields) -> Tensor:
        """f at all nodes, shape (B, n_1, …, n_d), or (1, …) where it is the same for all."""
        shape = tuple(len(x) for x in axes.values())
        if isinstance(self.source, str):
            return self._input(inputs, self.source, shape)
        if callable(self.source):
            f = self.source(*torch.meshgrid(*(x.to(torch.float64) for x in axes.values()), indexing="ij"))
            return f.expand(1, *shape)
        return torch.full((1, *shape), float(self.source), dtype=torch.float64)
