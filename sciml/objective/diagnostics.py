"""What a loss looks like to its optimizer: agreement of gradients, kernel traces, effective dimension.

| number | of | says |
|---|---|---|
| `alignment` | the conditions' gradients¹ | 1: they agree; −1: they cancel (for two, the cosine) |
| `alignment_steps` | two consecutive updates | −1: the optimizer goes back and forth |
| `trace NAME` | a condition: mean_n \\|∇r_n\\|² | how fast gradient descent fits it against the others |
| `effective_dimension` | J: Σ σ²/(σ² + μ) | directions that a step with damping μ resolves |

¹ Conditions whose rows a preconditioner mixes have one gradient together.

None of it touches the run: neither parameters nor generators change, and its seconds are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..balance.balance import grouped
from ..balance.diagnose import alignment
from .objective import Objective

LARGEST = 2**25          # entries of a Jacobian that is formed for its singular values
RELATIVE = 1e-8          # μ over the largest σ² for methods without damping


def diagnose(objective: Objective, trail: Sequence[Tensor] = (), damping: float | None = None) -> dict[str, float]:
    """The numbers of the module's table.

    Args:
        objective: At its current parameters and points.
        trail: Parameters after the last steps, oldest first, each of shape (P,); three make `alignment_steps`.
        damping: μ of the optimizer, if it has one.
    """
    found: dict[str, float] = {}
    _, G, _ = objective.gradients(grouped(objective.blocks, "each", [t.blocks for t in objective.transforms]))
    if len(G) > 1:
        found["alignment"] = float(alignment(G))
    if len(trail) >= 3:
        found["alignment_steps"] = float(alignment(torch.stack([trail[-1] - trail[-2], trail[-2] - trail[-3]])))
    for name, trace in objective.traces(256).items():
        found[f"trace {name}"] = float(trace)
    rows = sum(objective.row_count(b) * len(b.components) for b in objective.blocks)
    if rows * G.shape[1] <= LARGEST:
        found["effective_dimension"] = effective_dimension(objective.linearize()[1], damping)
    return found


def effective_dimension(J: Tensor, damping: float | None = None) -> float:
    """d = tr K (K + μ Id)⁻¹ = Σ σ²/(σ² + μ) with K = J Jᵀ, J of shape (R, P); μ defaults to 1e-8 of the largest σ²."""
    squares = torch.linalg.eigvalsh(J @ J.T if J.shape[0] < J.shape[1] else J.T @ J).clamp_min(0)
    mu = RELATIVE * squares[-1] if damping is None else torch.as_tensor(damping, dtype=J.dtype, device=J.device)
    tiny = torch.finfo(J.dtype).tiny
    return float((squares / (squares + mu).clamp_min(tiny)).sum())
