"""Marching in time: an operator of one step, applied to its own outputs.

    (w_{k−H+1}, …, w_k) ↦ w_{k+1},   then (w_{k−H+2}, …, ŵ_{k+1}) ↦ ŵ_{k+2}, …

Trained on the first snapshots of random stretches; with push-forward the steps before the last have no gradient, so
that the last one learns to start from what the operator itself produces (Brandstetter, Worrall and Welling 2022,
arXiv:2202.03376).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]


def rollout(step: Step, window: Tensor, count: int, pushforward: bool = False) -> Tensor:
    """Outputs of `count` steps, (B, n_1, …, n_d, count C).

    Args:
        step: From (…, H C) to (…, C).
        window: The last H snapshots, (B, n_1, …, n_d, H C).
        count: Number of steps.
        pushforward: Whether all steps but the last go without gradient.
    """
    found = []
    for k in range(count):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (pushforward and k < count - 1)):
            out = step(window)
        found.append(out)
        window = torch.cat([window[..., out.shape[-1]:], out], -1)
    return torch.cat(found, -1)


def stretch(snapshots: Tensor, history: int, unroll: int, unknowns: int, generator: torch.Generator) -> tuple[Tensor,
                                                                                                              Tensor]:
    """A random stretch of snapshots: the window and what follows it.

    Args:
        snapshots: (B, n_1, …, n_d, K C).
        history: H.
        unroll: Number of snapshots that follow.
        unknowns: C.
    """
    K = snapshots.shape[-1] // unknowns
    first = int(torch.randint(K - history - unroll + 1, (), generator=generator))
    return (snapshots[..., first * unknowns:(first + history) * unknowns],
            snapshots[..., (first + history) * unknowns:(first + history + unroll) * unknowns])
