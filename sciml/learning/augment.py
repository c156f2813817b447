"""General covariance augmentation: random changes of coordinates of elliptic problems.

    −(a u')' = f,  x = x(ξ):     −(ã ũ')' = f̃,   ã = a/x',  f̃ = f x',  ũ = u(x(ξ)),
    x = ξ + Σ_k c_k sin(πkξ)/(πk),   Σ|c_k| < 1

(Fanaskov, Yu, Rudikov and Oseledets 2023, arXiv:2301.12730).
"""

from __future__ import annotations

import torch

from ..errors import ProblemError
from ..problem import Problem
from .layout import Layout
from .samples import Samples


def covariance(batch: Samples, layout: Layout, problem: Problem, generator: torch.Generator) -> Samples:
    """A batch in other coordinates."""
    raise ProblemError("augment=covariance is not built yet")
