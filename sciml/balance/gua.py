"""GUA: what the optimizer makes of a direction, projected so that it conflicts with no gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ProblemError, look_up
from ..flat import flat, place, split
from .balance import Projection
from .cone import TOLERANCE, project

METRICS = ("adam", "identity")


class Moments(NamedTuple):
    """What Adam knows of one parameter after its step."""

    first: Tensor                        # m
    second: Tensor                       # v
    corrections: tuple[Tensor, Tensor]   # 1 − β1^t, 1 − β2^t
    root: Tensor                         # √v̂ + ε


class GUA(Projection):
    """The nearest update to the optimizer's own, p in θ ← θ − η p, that conflicts with no gradient.

        p ← argmin_x ½ (x − p)ᵀ D (x − p)  with  G x ≥ 0,      D = √v̂ + ε after Adam, else 1
        where p changed, h = (√v̂ + ε) p:   m ← (1 − ρ_m) m + ρ_m (1 − β1^t) h,    v ← (1 − ρ_v) v + ρ_v (1 − β2^t) h²

    One cone for all parameters. A direction without conflicts does not stay so in an optimizer with momentum or with a
    preconditioner; this takes it back after the optimizer, whichever that is, and tells Adam's moments. What is
    projected is η p, in the metric D / η, so that parameter groups may have rates of their own; a group with η = 0
    stays where it is. Weight decay that the optimizer applies is part of p.

    Args:
        groups: "each": a loss for every condition; "kind": equations against all other conditions.
        metric: "adam": D of torch's Adam, AdamW, NAdam and RAdam, whose second moments belong to the parameters as they
            are (also of other optimizers with a class attribute `diagonal = True` and the same state), and 1 for all
            others; "identity": 1.
        rho_m, rho_v: ρ_m and ρ_v in [0, 1]. The paper has (0.1, 0.03) for Burgers and Schrödinger, (0.5, 0.15) for
            Poisson in 5D, (0.7, 0.2) for Kovasznay, a multi-scale heat equation and Beltrami.
        tolerance: p stays as it is if min_i g_i·p / (|g_i| |p|) ≥ −tolerance.

    Source: Xiao et al. (2026), arXiv:2609.01558. Deviations: the metric D / η for several rates; a projection below
        1e-9 of the update counts as zero, no step. In float32 the rounding of θ − η p is not projected.
    """

    def __init__(self, groups: str = "each", metric: str = "adam", rho_m: float = 0.1, rho_v: float = 0.03,
                 tolerance: float = TOLERANCE):
        super().__init__(groups)
        look_up("gua.metric", metric, dict.fromkeys(METRICS))
        for name, value in (("rho_m", rho_m), ("rho_v", rho_v)):
            if not 0 <= value <= 1:
                raise ProblemError(f"gua.{name}={value} must be in [0, 1]")
        if not 0 <= tolerance < 1:
            raise ProblemError(f"gua.tolerance={tolerance} must be in [0, 1)")
        self.metric, self.tolerance = metric, float(tolerance)
        self.rho_m, self.rho_v = float(rho_m), float(rho_v)

    @torch.no_grad()
    def apply(self, optimizer, parameters, before, gradients):
        moments = self._moments(optimizer, parameters)
        rates = _rates(optimizer, parameters)
        inverse = torch.cat([
            (rate / m.root if m is not None else torch.ones_like(p) * rate).reshape(-1)
            for p, m, rate in zip(parameters, moments, rates, strict=True)])
        after = flat(parameters)
        moved, changed = project(before - after, gradients, inverse, self.tolerance)
        if changed.device.type == "cpu" and not bool(changed):             # elsewhere reading it would wait
            return moved
        placed = torch.where(changed, before - moved, after)               # unchanged bit by bit where p is feasible
        place(parameters, placed)
        for m, rate, part in zip(moments, rates, split(moved, parameters), strict=True):
            if m is not None and (isinstance(rate, Tensor) or rate > 0):
                self._correct(m, m.root * part / rate, changed)
        return moved

    def _moments(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> list[Moments | None]:
        """Adam's moments of every parameter, or None for all of them."""
        plain = type(optimizer).__module__.startswith("torch.optim")
        none: list[Moments | None] = [None] * len(parameters)
        if self.metric == "identity" or not (plain or getattr(optimizer, "diagonal", False)):
            return none
        options = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        found = [_adam(optimizer.state.get(p, {}), options[id(p)], p) for p in parameters]
        return none if any(m is None for m in found) else found

    def _correct(self, moments: Moments, h: Tensor, changed: Tensor) -> None:
        c1, c2 = moments.corrections
        share = changed.to(h.dtype)                                        # 0 leaves a moment bit by bit
        moments.first.lerp_(c1 * h, self.rho_m * share)
        moments.second.lerp_(c2 * h * h, self.rho_v * share)


def _rates(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> list:
    by_id = {id(p): group.get("lr", 1.0) for group in optimizer.param_groups for p in group["params"]}
    return [by_id[id(p)] for p in parameters]


def _adam(state: Mapping, options: Mapping, p: Tensor) -> Moments | None:
    """Moments from the state of torch's Adam and its like; None if this is none."""
    m, v, t = state.get("exp_avg"), state.get("exp_avg_sq"), state.get("step")
    if m is None or v is None or t is None or v.shape != p.shape or "betas" not in options:
        return None
    t = torch.as_tensor(t).double()                                        # torch counts steps in float32
    c1, c2 = ((1 - beta ** t).to(p.dtype) for beta in options["betas"])
    root = (state.get("max_exp_avg_sq", v) / c2).sqrt() + options["eps"]
    return Moments(m, v, (c1, c2), root)
