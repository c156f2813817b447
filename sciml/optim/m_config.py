"""M-ConFIG: ConFIG on momenta, with the gradient of one loss per step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..balance.balance import GROUPS
from ..balance.config import FALLBACKS, config
from ..errors import look_up
from ..flat import split
from .multiadam import LossGradient, check_adam


class MConFIG(torch.optim.Optimizer):
    """ConFIG of the losses' momenta, one of which is brought up to date in each step, and Adam's division after it.

        i = step mod n:   m_i ← β1 m_i + (1 − β1) g_i,   t_i ← t_i + 1;   no update until every t_i > 0, then t ← t + 1
        ĝ = ConFIG(m_j / (1 − β1^{t_j}));   E = (1 − β1^t) ĝ;   g̃ = (E − β1 E_old) / (1 − β1);   E_old ← E
        s ← β2 s + (1 − β2) g̃²;   θ ← θ − η ĝ / (√(s / (1 − β2^t)) + ε)

    g̃ is the gradient that plain momentum would have needed to become ĝ. A step costs one backward pass, 1/n of a
    step of ConFIG, and adapts more slowly per pass over the losses; compare the two at equal time. The last line is the
    whole outer step, plain gradient descent along it; nothing else fits inside or around it. With one loss this is
    Adam.

    Args:
        params: Parameters or groups of them; the groups share β and ε.
        lr: η.
        betas: β1 and β2.
        eps: ε.
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
        fallback: Of ConFIG, see there: "project" or "none".

    Source: Liu, Chu, Thuerey (2025), arXiv:2408.11104, algorithm 1. Deviation: the fallback for dependent momenta.
    """

    needs = "gradients"
    one_gradient = True

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 groups: str = "each", fallback: str = "project"):
        check_adam(lr, betas, eps)
        look_up("groups", groups, dict.fromkeys(GROUPS))
        look_up("fallback", fallback, dict.fromkeys(FALLBACKS))
        super().__init__(params, dict(lr=lr))
        self.betas, self.eps, self.groups, self.fallback = tuple(betas), float(eps), groups, fallback

    def step(self, gradient: LossGradient, count: int) -> Tensor:  # type: ignore[override]
        """One step.

        Args:
            gradient: From the number of a loss to it and its gradient, shape (P,): parameters one after the other.
            count: How many losses there are.

        Returns:
            The loss whose turn it is; the others are not computed.
        """
        parameters = [p for group in self.param_groups for p in group["params"]]
        state = self.state[parameters[0]]
        i = state.get("step", 0) % count
        loss, g = gradient(i)
        if not state:
            state.update(step=0, outer=0, seen=[0] * count, momenta=g.new_zeros(count, len(g)),
                         old=torch.zeros_like(g), exp_avg_sq=torch.zeros_like(g))
        state["step"] += 1
        state["seen"][i] += 1
        with torch.no_grad():
            state["momenta"][i].lerp_(g, 1 - self.betas[0])
            if all(state["seen"]):
                self._move(self._update(state))
        return loss

    def _update(self, state: dict) -> Tensor:
        """ĝ / (√ŝ + ε), shape (P,)."""
        beta1, beta2 = self.betas
        state["outer"] += 1
        t = state["outer"]
        unbiased = torch.stack([m / (1 - beta1 ** n) for m, n in zip(state["momenta"], state["seen"], strict=True)])
        direction, _ = config(unbiased, fallback=self.fallback)
        momentum = (1 - beta1 ** t) * direction
        virtual = (momentum - beta1 * state["old"]) / (1 - beta1)
        state["old"] = momentum
        state["exp_avg_sq"].mul_(beta2).addcmul_(virtual, virtual, value=1 - beta2)
        return direction / ((state["exp_avg_sq"] / (1 - beta2 ** t)).sqrt() + self.eps)

    def _move(self, update: Tensor) -> None:
        pairs = [(p, group["lr"]) for group in self.param_groups for p in group["params"]]
        for (p, lr), part in zip(pairs, split(update, [p for p, _ in pairs]), strict=True):
            p.sub_(lr * part)
