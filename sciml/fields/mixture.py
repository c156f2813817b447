"""Draws of a Gaussian process whose covariance is a mixture of modulated profiles, as functions of one coordinate.

    k(x, x′) = Σ_q w_q γ(Δ; ρ_q) cos 2πf_q Δ,   Δ = x − x′,        K + ε tr(K)/n Id = L Lᵀ,     φ(x) = L^{-1} k(X, x)

With coefficients of size one the φ make draws of the process at n nodes X, so that a ridge on the coefficients is its
prior. High frequencies f_q are in the functions from the start, which is what networks and plain kernels lack.

    gaussian    γ = exp(−ρ²Δ²/2)                                         a Gaussian spectrum about f_q
    student-t   γ = (1 + r + r²/3) e^{−r},  r = √5 ρ|Δ|  (Matérn-5/2)    that of Student's t, 5 degrees of freedom

Derivatives are written out: automatic ones of |Δ| give 0 instead of −5ρ²/3 − (2πf)² on the diagonal of k″.

Source: Fang, Cooley, Long, Li, Kirby, Zhe (2024), arXiv:2311.04465 (GP-HM). Here ρ is a rate in both profiles; log w, f
and log ρ are kept, and components of less than 1e-8 of the largest weight are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, comb, log, pi, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import ProblemError, look_up
from .axes import Axis, null_space

if TYPE_CHECKING:
    from .build import FieldOptions

JITTER = 1e-13             # ε
CELLS = 2**16              # numbers that are worked on at a time, what a cache holds
NYQUIST = 2.2              # nodes for each cycle of the highest frequency; at 2 the functions alias
PRUNED = 1e-8              # share of the largest weight below which a component is left out


def gaussian(delta: Tensor, rate: Tensor, order: int) -> list[Tensor]:
    """γ = exp(−ρ²Δ²/2) and its derivatives up to an order: γ^(k) = (−ρ)^k He_k(ρΔ) γ."""
    z = rate * delta
    g = torch.exp(-0.5 * z * z)
    before, here, found = torch.zeros_like(z), torch.ones_like(z), [g]
    for k in range(order):
        before, here = here, z * here - k * before
        found.append((-rate) ** (k + 1) * here * g)
    return found


def matern(delta: Tensor, rate: Tensor, order: int) -> list[Tensor]:
    """Matérn-5/2, γ = (1 + r + r²/3) e^{−r} with r = √5 ρ|Δ|, and its derivatives up to order 4, on the diagonal too.

    Raises:
        ProblemError: A higher derivative, which does not exist at Δ = 0.
    """
    if order > 4:
        raise ProblemError("the student-t kernel has derivatives up to order 4; take model.kernel=gaussian")
    a = sqrt(5) * rate
    r, sign = a * delta.abs(), torch.sign(delta)
    e = torch.exp(-r) / 3
    made = [lambda: (3 + 3 * r + r * r) * e, lambda: -a * sign * (r + r * r) * e, lambda: a**2 * (r * r - r - 1) * e,
            lambda: a**3 * sign * (3 * r - r * r) * e, lambda: a**4 * (r * r - 5 * r + 3) * e]
    return [make() for make in made[:order + 1]]


Profile = Callable[[Tensor, Tensor, int], list[Tensor]]
KERNELS: dict[str, Profile] = {"student-t": matern, "matern": matern, "gaussian": gaussian}


def covariance(profile: Profile, x: Tensor, X: Tensor, log_weights: Tensor, frequencies: Tensor, log_rates: Tensor,
               order: int) -> Tensor:
    """∂_x^k k(x, X) for k up to an order, shape (order + 1, N, n), by Leibniz' rule for γ and the cosine.

    Args:
        profile: γ, one of `KERNELS`.
        x, X: Points (N,) and nodes (n,).
        log_weights, frequencies, log_rates: log w, f and log ρ, each of shape (Q,).
        order: The highest derivative.
    """
    rows = max(CELLS // len(X), 1)
    if log_rates.requires_grad or torch.compiler.is_compiling():
        groups = [(log_rates[q], slice(q, q + 1)) for q in range(len(log_rates))]
    else:                                    # components of one rate share a profile, at first all of them
        groups = [(rate, log_rates == rate) for rate in torch.unique(log_rates)]
    parts = []
    for piece in x.split(rows):
        delta = piece[:, None] - X
        total = [torch.zeros_like(delta) for _ in range(order + 1)]
        for log_rate, members in groups:
            waves = _waves(delta, log_weights[members].exp(), 2 * pi * frequencies[members], order)
            profiles = profile(delta, log_rate.exp(), order)
            for k in range(order + 1):
                for j in range(k + 1):
                    total[k] = total[k] + comb(k, j) * profiles[j] * waves[k - j]
        parts.append(torch.stack(total))
    return torch.cat(parts, dim=1)


def _waves(delta: Tensor, w: Tensor, c: Tensor, order: int) -> list[Tensor]:
    """Σ_q w_q cos c_q Δ and its derivatives up to an order."""
    found = [torch.zeros_like(delta) for _ in range(order + 1)]
    for weight, speed in zip(w, c, strict=True):
        phase = speed * delta
        trigonometric = [torch.cos(phase), torch.sin(phase)] if order else [torch.cos(phase)]
        for k in range(order + 1):
            sign = (1, -1, -1, 1)[k % 4]
            found[k] = found[k] + sign * weight * speed**k * trigonometric[k % 2]
    return found


class MixtureAxis(Axis):
    """Whitened functions of a spectral-mixture process at n equally spaced nodes, zero where data are built in.

    Args:
        low, high, held: As in `Axis`.
        n: Nodes, both ends included.
        kernel: One of `KERNELS`.
        components: Q; w_q = 1/Q at first.
        scale: The frequencies are Q equally spaced ones from 0 to this, in cycles per unit of the coordinate.
        rate: ρ, one over the length over which an oscillation keeps its phase.
        dtype: Of what is returned; the functions are made in float64.

    Raises:
        ProblemError: There are too few nodes, for the ends or for the highest frequency.

    Note:
        `assign` another spectrum. It is kept in checkpoints, the functions are not.
    """

    nodes: Tensor
    log_weights: Tensor
    frequencies: Tensor
    log_rates: Tensor

    def __init__(self, low: float, high: float, n: int, kernel: str = "student-t", components: int = 30,
                 scale: float = 20.0, rate: float = 1.0, held: tuple[int, int] = (0, 0),
                 dtype: torch.dtype = torch.float64):
        super().__init__(low, high, held)
        self.stale = False
        self.profile = look_up("model.kernel", kernel, KERNELS)
        if n < 3 + sum(held):
            raise ProblemError(f"{n} nodes along a coordinate are too few; take model.centres of 10 or more")
        least = ceil(NYQUIST * scale * (high - low))
        if n < least:
            raise ProblemError(f"{n} nodes on a coordinate of length {high - low:g} do not carry frequencies up to "
                               f"{scale:g} cycles per unit; take model.centres={ceil(1.5 * least)} or more (at least "
                               f"{least}), or a lower model.frequencies")
        Q, double = components, torch.float64
        self.register_buffer("nodes", torch.linspace(low, high, n, dtype=double), persistent=False)
        self.register_buffer("log_weights", torch.full((Q,), 1 / Q, dtype=double).log())
        self.register_buffer("frequencies", torch.linspace(0, scale, Q, dtype=double))
        self.register_buffer("log_rates", torch.full((Q,), rate, dtype=double).log())
        self.register_buffer("transform", torch.eye(n, dtype=double), persistent=False)
        self.refresh()
        self.to(dtype)
        self.register_load_state_dict_post_hook(_outdate)

    def jets(self, x: Tensor, order: int) -> Tensor:
        if self.stale:
            self.refresh()
        return super().jets(x, order)

    def assign(self, log_weights: Tensor, frequencies: Tensor, log_rates: Tensor) -> None:
        """Sets the spectrum, shapes (Q,); the functions are made anew when they are next asked for."""
        for have, new in zip((self.log_weights, self.frequencies, self.log_rates),
                             (log_weights, frequencies, log_rates), strict=True):
            have.copy_(new)
        self.stale = True

    def raw(self, x: Tensor, order: int) -> Tensor:
        spectrum = self.log_weights, self.frequencies, self.log_rates
        if not torch.compiler.is_compiling():
            keep = self.log_weights > self.log_weights.max() + log(PRUNED)
            spectrum = self.log_weights[keep], self.frequencies[keep], self.log_rates[keep]
        return covariance(self.profile, x, self.nodes, *spectrum, order)

    @torch.no_grad()
    def refresh(self) -> None:
        """Makes the functions for the weights, frequencies and rates as they are."""
        self.stale = False
        dtype, device = self.transform.dtype, self.transform.device
        self.double()
        K = self.raw(self.nodes, 0)[0]
        n = len(K)
        L = torch.linalg.cholesky(K + JITTER * K.trace() * torch.eye(n, dtype=K.dtype, device=device))
        identity = torch.eye(n, dtype=K.dtype, device=device)
        self.transform = torch.linalg.solve_triangular(L.T, identity, upper=True)
        self.transform = self.transform @ null_space(self.rows_held() @ self.transform)
        self.to(dtype)


def _outdate(axis: nn.Module, keys: object) -> None:
    """After a checkpoint is read: the spectrum is another."""
    assert isinstance(axis, MixtureAxis)
    axis.stale = True


def mixture_axes(bounds: Sequence[tuple[float, float]], options: FieldOptions, held: Sequence[tuple[int, int]],
                 periodic: Sequence[bool], dtype: torch.dtype) -> list[MixtureAxis]:
    """The functions of each coordinate of `model=gp`.

    Args:
        bounds: (low, high) by coordinate.
        options: Its `centres`, `kernel`, `components`, `frequencies` and `rate`.
        held: Derivatives that vanish at either end, by coordinate.
        periodic: Which coordinates are; none may be.
        dtype: Of the functions.

    Raises:
        ProblemError: A coordinate is periodic.
    """
    if any(periodic):
        raise ProblemError("model=gp has no periodic functions; take model=gaussian-lattice, or constraints=soft")
    o = options
    return [MixtureAxis(low, high, n, o.kernel, o.components, o.frequencies, o.rate, ends, dtype)
            for (low, high), n, ends in zip(bounds, o.counts(len(bounds)), held, strict=True)]
