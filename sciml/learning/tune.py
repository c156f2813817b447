"""Test-time optimisation: an operator trained further on the residual of a few given inputs, without any solution.

    min_θ |R[u_θ(a), a]| in the norm of training, from the trained θ

By L-BFGS on all parameters, in float64, where the residual's norm is close to the error's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import ProblemError
from .layout import Layout
from .samples import Samples
from .training import OperatorTraining


def tuned(training: OperatorTraining, inputs: Mapping[str, Tensor], layout: Layout, seconds: float) -> Tensor:
    """Solutions of a copy of the operator that was trained further, (B, n_1, …, n_d, C).

    Args:
        training: The trained operator with its equations.
        inputs: Functions by name.
        layout: Their grid, that of the training.
        seconds: Of optimisation.

    Raises:
        ProblemError: There are no equations on the grid, or it is another one.
    """
    if training.recipe.loss == "data" or training.equations is None:
        raise ProblemError("tune needs the equations on the grid, and this operator was trained on data alone; train "
                           "with loss=residual or loss=both")
    if layout.shape != training.layout.shape:
        raise ProblemError(f"tune works on the grid of the training, {training.layout.shape}, got {layout.shape}")
    kept = training.operator
    training.operator = kept.uncompiled()
    training.operator.autocast = False
    try:
        _descend(training, inputs, seconds)
        return training.evaluate(Samples(inputs))
    finally:
        training.operator = kept


def _descend(training: OperatorTraining, inputs: Mapping[str, Tensor], seconds: float) -> None:
    parameters = [p for p in training.operator.model.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(parameters, lr=1.0, max_iter=20, history_size=50, line_search_fn="strong_wolfe")
    channels = training.channels(Samples(inputs))
    start = time.perf_counter()

    def closure():
        optimizer.zero_grad()
        loss = training._residual_loss(training.predict(channels, inputs), inputs)
        loss.backward()
        return loss

    before = float("inf")
    while time.perf_counter() - start < seconds:
        loss = float(optimizer.step(closure).detach())
        if not loss < before * (1 - 1e-9):
            break
        before = loss


