"""What a low loss may hide: fields with more freedom than their rows determine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ..fields import GaussianField, Nodal, TensorField
from ..objective import Objective
from ..optim import needs
from ..points import Points

if TYPE_CHECKING:
    from .training import Training

SOLVED = (GaussianField, TensorField)
ENOUGH = 2               # rows for each function of a field that is solved for
GAP = 10.0               # held-out over trained mean square residual that is told of
SMALL = 1e-8             # share of the untrained mean square under which a residual is small anyway
FRESH = 1000             # points of a look between the points


def few_rows(objective: Objective, optimizers: Sequence[str]) -> str:
    """A sentence where many fields satisfy the rows, of which training finds any; or nothing.

    Args:
        optimizers: Names; those that solve the equation without its points (kronecker, lines) have no rows.
    """
    if isinstance(objective.field, Nodal):
        return ""
    P = sum(p.numel() for p in objective.trainable)
    tests = {b.name: objective.row_count(b) for b in objective.blocks if b.combine == "test"}
    if tests and sum(tests.values()) < P:
        return (" and ".join(f"{name!r} has {R} test functions" for name, R in tests.items()) +
                f", and the field has {P} parameters: many fields satisfy them, and between the nodes they differ. "
                "Refine the mesh, take order=2, or a smaller model")
    pointless = ("operator", "evidence", "evolution")
    if any(isinstance(m, SOLVED) for m in objective.modules()) and not all(needs(o) in pointless for o in optimizers):
        rows = sum(objective.most_rows(b) * len(b.components) for b in objective.blocks)
        if rows < ENOUGH * P:
            return (f"{rows} rows for the {P} amplitudes of the field are fewer than {ENOUGH} for each: between the "
                    "points it may do what it likes. Give more points=, or fewer model.centres")
    return ""


@torch.no_grad()
def held_out(training: Training) -> dict[str, float]:
    """Mean square residual by condition at fresh points.

    Conditions whose points are given, integrals and weak forms have no others and are left out.
    """
    objective, found = training.objective, {}
    generator = torch.Generator(device=objective.device).manual_seed(training.recipe.seed + 2)
    for block in training.scene.blocks:
        if block.whole or isinstance(block.region, Points):
            continue
        n = min(len(objective.points[block.name]), FRESH)
        points = block.region.sample(n, generator=generator, dtype=objective.dtype, device=objective.device)
        found[block.name] = float(objective.magnitude(block)(points).square().mean())
    return found


@torch.no_grad()
def gaps(training: Training, before: Mapping[str, float]) -> str:
    """A sentence where the residual between the points is far larger than at them; or nothing.

    Args:
        before: Mean square residual of the untrained field by condition.
    """
    losses = {name: float(v) for name, v in training.objective.losses().items()}
    bad = {name: fresh / losses[name] for name, fresh in held_out(training).items()
           if losses[name] and fresh > GAP * losses[name] and fresh > SMALL * before.get(name, 0.0)}
    if not bad:
        return ""
    name, ratio = max(bad.items(), key=lambda item: item[1])
    return (f"the mean square residual of {name!r} is {ratio:.2g} times larger between the points than at them: the "
            "field has more freedom than the points determine, so the loss says little about the error. Give more "
            "points=, a sampler that redraws them (rad), or a smaller model")
