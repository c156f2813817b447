"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner.

For a matrix W with gradient Γ of shape (r, c), and orthogonal Q_L of shape (r, r), Q_R of shape (c, c):

    Γ′ = Q_Lᵀ Γ Q_R,    m ← β₁ m + (1−β₁) Γ′,    v ← β₂ v + (1−β₂) Γ′²
    W ← W − lr √(1−β₂ᵗ)/(1−β₁ᵗ) Q_L (m / (√v + ε)) Q_Rᵀ
    L ← βₛ L + (1−βₛ) Γ Γᵀ,    R ← βₛ R + (1−βₛ) Γᵀ Γ

and every f steps one step of orthogonal iteration, Q_L ← qr(L Q_L), columns in the order of falling diag(Q_LᵀLQ_L);
v is permuted with them, and m goes to the new basis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ProblemError
from .memory import demand_memory


class SOAP(torch.optim.Optimizer):
    """Shampoo with Adam in the preconditioner's eigenbasis; vectors and numbers take Adam.

    The first step makes the bases and leaves matrices unchanged. Tensors with more than two axes are taken as
    matrices (first axis, all others).

    Args:
        params: Parameters; every buffer and factorisation has their dtype.
        lr: Learning rate.
        betas: β₁, β₂.
        shampoo_beta: βₛ; None: β₂.
        eps: ε.
        weight_decay: Decoupled; W ← W − lr wd W after the step.
        frequency: f, steps between changes of the bases.
        max_precond_dim: Longest side that is preconditioned; longer ones keep Q = Id.

    Raises:
        ProblemError: A wrong option, or too little memory.

    Source: Vyas et al. (2024), arXiv:2409.11321, algorithm 3. Defaults are those of jaxpi's PINN runs: lr 1e-3,
        β = (0.9, 0.999), f = 2, no weight decay; the paper's for language models are lr 3e-3, β = (0.95, 0.95), f = 10,
        wd 0.01. Deviations: vectors move from the first step on, not the second; nothing is cast to float32 (in
        float64, QᵀQ − Id is then 1e-15 and not 5e-7).
    """

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 shampoo_beta: float | None = None, eps: float = 1e-8, weight_decay: float = 0.0, frequency: int = 2,
                 max_precond_dim: int = 10000):
        rates = [*betas, betas[1] if shampoo_beta is None else shampoo_beta]
        if not (lr > 0 and eps > 0 and weight_decay >= 0):
            raise ProblemError(f"soap needs lr > 0, eps > 0 and weight_decay ≥ 0, not {lr}, {eps} and {weight_decay}")
        if not all(0 <= beta < 1 for beta in rates):
            raise ProblemError(f"soap needs betas and shampoo_beta in [0, 1), not {', '.join(map(str, rates))}")
        if not (frequency >= 1 and max_precond_dim >= 0):
            raise ProblemError(f"soap needs frequency ≥ 1 and max_precond_dim ≥ 0, not {frequency} and "
                               f"{max_precond_dim}")
        super().__init__(params, dict(lr=lr, betas=tuple(betas), shampoo_beta=rates[2], eps=eps,
                                      weight_decay=weight_decay, frequency=int(frequency),
                                      max_precond_dim=int(max_precond_dim)))
        every = [p for g in self.param_groups for p in g["params"]]
        size = sum(p.element_size() * (2 * p.numel() + 2 * sum(n * n for n in self._sides(p))) for p in every)
        demand_memory("soap", size, every[0].device, {"adam": sum(2 * p.numel() * p.element_size() for p in every)})

    def _sides(self, p: Tensor) -> list[int]:
        """Lengths of the sides that are preconditioned."""
        longest = self.param_groups[0]["max_precond_dim"]
        return [n for n in p.reshape(p.shape[0], -1).shape if n <= longest] if p.ndim > 1 else []

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None):  # type: ignore[override]  # torch's has overloads
        """One step from the gradients in `.grad`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, p.grad, group)
        return loss

    def _step(self, p: Tensor, grad: Tensor, group: dict) -> None:
        state = self.state[p]
        G = grad.reshape(p.shape[0], -1) if p.ndim > 1 else grad
        if not state:
            state.update(steps=0, m=torch.zeros_like(G), v=torch.zeros_like(G))
            if p.ndim > 1:
                self._begin(state, G, group)
                return
        (beta1, beta2), t = group["betas"], state["steps"] + 1
        state["steps"] = t
        projected = _project(G, state)
        m = state["m"].mul_(beta1).add_(projected, alpha=1 - beta1)
        v = state["v"].mul_(beta2).addcmul_(projected, projected, value=1 - beta2)
        rate = group["lr"] * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
        p.add_(_back(m / (v.sqrt() + group["eps"]), state).view_as(p), alpha=-rate)
        if group["weight_decay"]:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        if p.ndim > 1:
            self._turn(state, G, group)

    def _begin(self, state: dict, G: Tensor, group: dict) -> None:
        """Bases from the first gradient alone."""
        beta = group["shampoo_beta"]
        for side, product in zip("LR", (G @ G.T, G.T @ G), strict=True):
            if len(product) <= group["max_precond_dim"]:
                state[side] = (1 - beta) * product
                state["Q" + side] = torch.linalg.eigh(state[side]).eigenvectors.flip(1).contiguous()

    def _turn(self, state: dict, G: Tensor, group: dict) -> None:
        """New L and R, and every f steps new bases."""
        beta = group["shampoo_beta"]
        due = state["steps"] % group["frequency"] == 0
        m = _back(state["m"], state) if due else None          # in the old bases
        for side, left in (("L", True), ("R", False)):
            if side not in state:
                continue
            state[side].mul_(beta).add_(G @ G.T if left else G.T @ G, alpha=1 - beta)
            if due:
                Q = state["Q" + side]
                image = state[side] @ Q
                order = (Q * image).sum(0).argsort(descending=True, stable=True)
                state["v"] = state["v"].index_select(0 if left else 1, order)
                state["Q" + side] = torch.linalg.qr(image[:, order]).Q
        if m is not None:
            state["m"] = _project(m, state)


def _project(G: Tensor, state: dict) -> Tensor:
    """Q_Lᵀ Γ Q_R."""
    G = state["QL"].T @ G if "QL" in state else G
    return G @ state["QR"] if "QR" in state else G


def _back(G: Tensor, state: dict) -> Tensor:
    """Q_L Γ Q_Rᵀ."""
    G = state["QL"] @ G if "QL" in state else G
    return G @ state["QR"].T if "QR" in state else G
