"""L-BFGS that does not stop in silence.

torch's L-BFGS with a strong-Wolfe line search and both of its tolerances at zero. A step that moves nothing (a failed
line search, a curvature history gone bad) clears the history and tries once more from steepest descent; when that moves
nothing either, `stuck` says so and the caller reports it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..flat import flat, place


class LBFGS(torch.optim.LBFGS):
    """Limited-memory BFGS, one call of `step` = `max_iter` iterations on fixed points.

    Args:
        params: Parameters; float64 is strongly advised (float32 ends at 1e-3 or so on most problems).
        history_size: Pairs kept.
        max_iter: Iterations per step.

    Source: Nocedal and Wright (2006), algorithm 7.5; the finding that float32 termination is what makes PINNs
        "fail" is by Xu et al. (2025), arXiv:2505.10949.
    """

    needs = "closure"
    evaluated = False                  # every step begins with loss and gradient

    def __init__(self, params, history_size: int = 100, max_iter: int = 20):
        super().__init__(params, lr=1.0, max_iter=max_iter, max_eval=max_iter * 2, tolerance_grad=0.0,
                         tolerance_change=0.0, history_size=history_size, line_search_fn="strong_wolfe")
        self.stuck = False
        self.restarts = 0

    def _tensors(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]  # torch's says float
        """Up to `max_iter` iterations; sets `stuck` if even steepest descent moves nothing.

        Iterations that end where nothing is finite, or that are interrupted, are taken back.

        Returns:
            The loss before the step.
        """
        before = flat(self._tensors())
        self.stuck = False
        for attempt in (1, 2):
            loss = self._iterate(closure, before)
            if not torch.equal(before, flat(self._tensors())) or not bool(torch.isfinite(loss)):
                return loss
            if attempt == 1:
                self.forget()
                self.restarts += 1
        self.stuck = True
        return loss

    def _iterate(self, closure: Callable[[], Tensor], before: Tensor) -> Tensor:
        done = False
        bound: Tensor | None = None

        def guarded() -> Tensor:
            """The loss; where it is not finite, a large one with no slope, at which the line search turns back."""
            nonlocal bound
            loss = torch.as_tensor(closure()).detach()
            if bound is None:
                bound = 10 * loss.abs() + 1
            elif not bool(torch.isfinite(loss)):
                for group in self.param_groups:
                    for p in group["params"]:
                        p.grad = torch.zeros_like(p)
                return bound
            return loss

        try:
            loss = torch.as_tensor(super().step(guarded))
            done = bool(torch.isfinite(flat(self._tensors())).all())
        finally:
            if not done:
                place(self._tensors(), before)
                self.forget()
        return loss

    def forget(self) -> None:
        """Drops the curvature history (after points were redrawn)."""
        self.state.clear()
