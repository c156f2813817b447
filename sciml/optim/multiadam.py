"""MultiAdam: an Adam for every loss, and the mean of their steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..balance.balance import GROUPS
from ..errors import ProblemError, look_up

LossGradient = Callable[[int], tuple[Tensor, Tensor]]


class MultiAdam(torch.optim.Optimizer):
    """Adam with moments of every loss, which makes the step independent of the losses' scales.

        m_i ← β1 m_i + (1 − β1) g_i,   v_i ← β2 v_i + (1 − β2) g_i²,   θ ← θ − (η/n) Σ_i m̂_i / (√v̂_i + ε)

    A parameter that a loss does not touch gets nothing from it; the mean is over all n losses even so. With one loss
    this is Adam.

    Args:
        params: Parameters or groups of them.
        lr: η.
        betas: β1 and β2.
        eps: ε; the step is independent of scales as long as √v̂_i ≫ ε.
        groups: "kind": equations against all other conditions; "each": a loss for every condition.

    Source: Yao, Su, Hao, Liu, Su, Zhu (2023), arXiv:2306.02816, algorithm 1. Deviation: ε = 1e-16 instead of 1e-8.
    """

    needs = "gradients"

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.99, 0.99), eps: float = 1e-16,
                 groups: str = "kind"):
        check_adam(lr, betas, eps)
        look_up("groups", groups, dict.fromkeys(GROUPS))
        super().__init__(params, dict(lr=lr, betas=tuple(betas), eps=eps))
        self.groups = groups

    def step(self, gradient: LossGradient, count: int) -> Tensor:  # type: ignore[override]
        """One step.

        Args:
            gradient: From the number of a loss to it and its gradient, shape (P,): parameters one after the other.
            count: How many losses there are.

        Returns:
            The sum of the losses.
        """
        found = [gradient(i) for i in range(count)]          # all of them before any moment moves
        G = torch.stack([g for _, g in found])
        with torch.no_grad():
            start = 0
            for group in self.param_groups:
                for p in group["params"]:
                    self._move(p, G[:, start:start + p.numel()].view(count, *p.shape), group)
                    start += p.numel()
        return torch.stack([loss for loss, _ in found]).sum()

    def _move(self, p: Tensor, g: Tensor, group: dict) -> None:
        state, (beta1, beta2) = self.state[p], group["betas"]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(g), exp_avg_sq=torch.zeros_like(g))
        state["step"] += 1
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        root = (v / (1 - beta2 ** t)).sqrt_().add_(group["eps"])
        p.sub_(group["lr"] / (1 - beta1 ** t) * (m / root).mean(0))


def check_adam(lr: float, betas: tuple[float, float], eps: float) -> None:
    """Refuses constants that make no sense.

    Raises:
        ProblemError: With the first of them.
    """
    if not lr >= 0:
        raise ProblemError(f"lr={lr} must be a number that is not negative")
    if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ProblemError(f"betas={betas} must be two numbers in [0, 1), as in (0.9, 0.999)")
    if not eps >= 0:
        raise ProblemError(f"eps={eps} must be a number that is not negative")
