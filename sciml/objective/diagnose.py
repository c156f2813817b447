"""Where numbers stop being finite: the condition and the point to name in a sentence."""

from __future__ import annotations

import torch

from ..points import Points
from ..problem import Block
from .objective import Objective


def culprit(objective: Objective) -> str:
    """The condition and point at which a residual, or else its gradient, is not finite."""
    if not all(bool(torch.isfinite(p).all()) for p in objective.trainable):
        return "the field's parameters themselves are not finite"
    if not bool(torch.isfinite(objective.residual()).all()):
        return worst(objective)
    for block in objective.blocks:
        points, data = objective.points[block.name], objective.data.get(block.name, {})
        if block.whole:
            if not _finite_gradient(objective, block, points, data):
                return f"the gradient of condition {block.name!r} at its integral"
            continue
        for start in range(0, len(points), objective.chunk):
            low, high = start, min(start + objective.chunk, len(points))
            if _finite_gradient(objective, block, points[low:high], _cut(data, low, high)):
                continue
            while high - low > 1:                         # halve down to one point
                middle = (low + high) // 2
                if _finite_gradient(objective, block, points[low:middle], _cut(data, low, middle)):
                    low = middle
                else:
                    high = middle
            at = ", ".join(f"{n}={v:.4g}" for n, v in zip(points.names, points.X[low].tolist(), strict=True))
            return f"the gradient of condition {block.name!r} at {at}, where its residual is finite"
    return "the sum of all conditions overflows"


@torch.no_grad()
def worst(objective: Objective) -> str:
    """Sentence about the condition and point with the largest or first non-finite residual."""
    text, largest = "no residual", -1.0
    for block in objective.blocks:
        for points, data, _ in objective.pieces(block):
            size = objective.rows(block, points, data).norm(dim=1)
            bad = ~torch.isfinite(size)
            i = int(bad.float().argmax()) if bool(bad.any()) else int(size.argmax())
            value = float("inf") if bool(bad.any()) else float(size[i])
            if value > largest:
                largest = value
                at = "its integral" if block.whole else ", ".join(
                    f"{n}={v:.4g}" for n, v in zip(points.names, points.X[i].tolist(), strict=True))
                text = f"condition {block.name!r} at {at} (|r| = {float(size[i]):.3g})"
    return text


def _cut(data, low: int, high: int) -> dict:
    return {k: v[low:high] for k, v in data.items()}


def _finite_gradient(objective: Objective, block: Block, points: Points, data) -> bool:
    with torch.enable_grad():
        square = objective.rows(block, points, data).square().sum()
        if not square.requires_grad:
            return True
        slopes = torch.autograd.grad(square, objective.trainable, allow_unused=True)
    return all(g is None or bool(torch.isfinite(g).all()) for g in slopes)
