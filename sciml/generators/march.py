"""Time stepping with a check of stability and halving of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import TrainingError

Step = Callable[[Tensor], Tensor]
PIECE, HALVINGS = 32, 12


def march(
    stepper: Callable[[float], Step], w: Tensor, times: Sequence[float], dt: float, limit: Callable[[Tensor], float]
) -> list[Tensor]:
    """States at the given times.

    Each interval between records takes equal steps of at most `dt`. After every 32 of them (and at the interval's end)
    the state must be finite and the step below the limit at its end; else these steps are repeated with half the step.

    Args:
        stepper: From a step h to the function that makes one.
        w: State at t = 0, batched in any way.
        times: Increasing, ≥ 0.
        dt: Largest step.
        limit: From a state to the largest stable step there.

    Raises:
        TrainingError: Twelve halvings were not enough.
    """
    kept: dict[float, Step] = {}
    t, found, halved = 0.0, [], 0
    for stop in times:
        count = max(1, -int(-(stop - t) / dt // 1)) << halved if stop > t else 0
        h = (stop - t) / count if count else dt
        while count:
            size = float(f"{h:.12e}")  # intervals of a linspace differ in the last digits; one step serves them all
            if size not in kept:
                kept = {size: stepper(size), **dict(list(kept.items())[:3])}
            many, before = min(PIECE, count), w
            for _ in range(many):
                w = kept[size](w)
            if bool(torch.isfinite(torch.view_as_real(w) if w.is_complex() else w).all()) and h <= limit(w):
                count -= many
                continue
            halved += 1
            if halved > HALVINGS:
                raise TrainingError(f"the time step fell below {h:.3g} before t = {stop:g} and the numbers still grow; "
                                    "the grid is too coarse for this equation: more points, or more viscosity")
            w, h, count = before, h / 2, 2 * count
        found.append(w)
        t = stop
    return found
