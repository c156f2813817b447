"""A DeepONet that integrates: v ↦ u, u′ = v on (0, 1), u(0) = 0, from 1,000 functions at 101 sensors.

v is Gaussian with the covariance exp(−(x − x′)²/(2·0.2²)), drawn on the sensors; u is the integral of its cubic spline.
"""

from __future__ import annotations

from time import process_time

import torch
from scipy.interpolate import CubicSpline
from torch import Generator, Tensor

from ..operators import DeepONet
from .clouds import relative

SENSORS, LENGTH = 101, 0.2


def functions(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """v and u on the sensors, each (count, 101), float64."""
    s = torch.linspace(0, 1, SENSORS, dtype=torch.float64)
    size, Q = torch.linalg.eigh(torch.exp(-((s[:, None] - s) ** 2) / (2 * LENGTH**2)))
    v = torch.randn(count, SENSORS, generator=generator, dtype=torch.float64) @ (Q * size.clamp(min=0).sqrt()).T
    return v, torch.from_numpy(CubicSpline(s.numpy(), v.numpy(), axis=1).antiderivative()(s.numpy()))


def measure(seed: int, steps: int = 8_000, lr: float = 3e-3, batch: int = 100, **options) -> dict:
    """Trains on 1,000 functions and tests on 200 others, by mean relative L2 errors.

    Args:
        seed: Of weights and functions.
        steps: Of AdamW, a cycle of rates with the peak `lr`.
        batch: Functions of a step.
        options: Of `DeepONet`.
    """
    generator = torch.Generator().manual_seed(seed)
    (v, u), (vt, ut) = ([x.float() for x in functions(count, generator)] for count in (1000, 200))
    X = torch.linspace(0, 1, SENSORS)[:, None]
    settings = {"width": 64, "depth": 3, "functions": 64, "activation": "gelu", **options}
    model = DeepONet(1, 1, SENSORS, **settings, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    start = process_time()
    for _ in range(steps):
        index = torch.randint(len(v), (batch,), generator=generator)
        loss = relative(model(v[index, :, None], X)[..., 0], u[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    cpu = process_time() - start
    with torch.no_grad():
        train, test = (relative(model(a[..., None], X)[..., 0], b) for a, b in ((v, u), (vt, ut)))
    return {"error": float(test.mean()), "worst": float(test.max()), "training": float(train.mean()), "cpu": cpu,
            "steps": steps, "parameters": sum(p.numel() for p in model.parameters())}
