"""An operator learnt on clouds of few points and tried on clouds of many: −Δu = f in the unit square, u = 0.

    f = Σ a_jk sin πjx sin πky,  a_jk ~ N(0, 1/(j² + k²)),  j, k ≤ 4,       u = 15 Σ a_jk/(π²(j² + k²)) sin πjx sin πky

Both functions are exact, and so are the errors. New functions come with every step, on 20 clouds of uniform random
points that stand still.
"""

from __future__ import annotations

from math import pi
from time import process_time

import torch
from torch import Generator, Tensor

from ..geometry import Box
from ..geometry.weights import voronoi_weights
from ..operators import GNO

MODES, CLOUDS, BATCH = 4, 20, 8
TRAINED, TESTED = 512, 2048
WEIGHTS = ("voronoi", "mean", "fixed")
CONVOLUTION = {"radius": 0.2, "width": 16, "layers": 4, "hidden": 32, "projection": 32}


def functions(count: int, generator: Generator) -> Tensor:
    """Coefficients a, shape (count, 4, 4)."""
    k = torch.arange(1, MODES + 1)
    return torch.randn(count, MODES, MODES, generator=generator) / (k[:, None] ** 2 + k**2).sqrt()


def values(a: Tensor, X: Tensor) -> tuple[Tensor, Tensor]:
    """f and u at points (N, 2), each (B, N, 1)."""
    k = torch.arange(1, MODES + 1, dtype=X.dtype)
    S, T = (torch.sin(pi * X[:, d, None] * k) for d in (0, 1))
    at = lambda c: torch.einsum("bij,ni,nj->bn", c.to(X.dtype), S, T)[..., None]
    return at(a), 15 * at(a / (pi**2 * (k[:, None] ** 2 + k**2)))


def cloud(count: int, weights: str, generator: Generator) -> tuple[Tensor, Tensor | None]:
    """Uniform random points (N, 2) and their weights (N,).

    Args:
        count: N.
        weights: "voronoi": areas of cells; "mean": None, the model takes the mean over neighbours; "fixed": 1/512
            whatever N is, so that sums follow the number of points.
        generator: Of the points.
    """
    X = torch.rand(count, 2, generator=generator)
    if weights == "voronoi":
        return X, voronoi_weights(X.double(), Box(x=(0, 1), y=(0, 1))).to(X)
    return X, None if weights == "mean" else torch.full((count,), 1 / TRAINED)


def measure(weights: str, seed: int, steps: int = 300, lr: float = 5e-3, **options) -> dict:
    """Trains on 512 points, tests on 64 functions on 8 other clouds of 512 and of 2,048.

    Args:
        weights: As in `cloud`.
        seed: Of weights, points and functions.
        steps: Of AdamW, a cycle of rates with the peak `lr`.
        options: Of `GNO`.
    """
    generator = torch.Generator().manual_seed(seed)
    model = GNO(1, 1, **{**CONVOLUTION, **options}, generator=generator)
    clouds = [cloud(TRAINED, weights, generator) for _ in range(CLOUDS)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2)
    start = process_time()
    for step in range(steps):
        X, w = clouds[step % CLOUDS]
        f, u = values(functions(BATCH, generator), X)
        loss = relative(model(f, X, w), u).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    cpu = process_time() - start
    found = {"cpu": cpu, "steps": steps, "parameters": sum(p.numel() for p in model.parameters())}
    with torch.no_grad():
        for count, name in ((TRAINED, "error"), (TESTED, "other")):
            errors = []
            for _ in range(8):
                X, w = cloud(count, weights, generator)
                f, u = values(functions(8, generator), X)
                errors.append(relative(model(f, X, w), u))
            found[name] = float(torch.cat(errors).mean())
    return found


def relative(prediction: Tensor, truth: Tensor) -> Tensor:
    """‖û − u‖/‖u‖ of each function, (B,)."""
    return (prediction - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
