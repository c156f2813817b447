"""Line search for the strong Wolfe conditions that still works where a loss no longer resolves its own descent.

    φ(α) = f(x + α p),     φ(α) ≤ φ(0) + c₁ α φ′(0),     |φ′(α)| ≤ c₂ |φ′(0)|

The search keeps a bracket a < b. At a the loss descends and is low enough; b is too far: the slope has turned, the loss
is too high or no lower than at a, or it is not finite. Such a bracket holds a point with both conditions.

Near a minimum the decrease c₁ α φ′(0) is less than the rounding of φ. Within `noise` of φ(0) values therefore decide
nothing, slopes do; and a point that is level with the start is accepted for its slope alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import NamedTuple

from torch import Tensor


class Trial(NamedTuple):
    """A point on the line: α, φ(α), φ′(α), and ∇f there, shape (P,)."""

    alpha: float
    value: float
    slope: float
    gradient: Tensor


@dataclass(frozen=True)
class Wolfe:
    """The strong Wolfe conditions from one start.

    Args:
        start: The trial at α = 0; its slope is negative.
        noise: Difference of values that means nothing.
        c1, c2: Constants of sufficient decrease and of curvature, 0 < c₁ < c₂ < 1.
    """

    start: Trial
    noise: float
    c1: float = 1e-4
    c2: float = 0.9

    def level(self, t: Trial) -> bool:
        """Whether the value is that of the start but for noise."""
        return abs(t.value - self.start.value) <= self.noise

    def decreases(self, t: Trial) -> bool:
        """Sufficient decrease."""
        return t.value <= self.start.value + self.c1 * t.alpha * self.start.slope

    def hold(self, t: Trial) -> bool:
        """Both conditions, the first one but for noise."""
        return (self.decreases(t) or self.level(t)) and abs(t.slope) <= -self.c2 * self.start.slope

    def beyond(self, t: Trial, a: Trial) -> bool:
        """Whether a point with both conditions lies between a and t."""
        if not (isfinite(t.value) and isfinite(t.slope)) or t.slope >= 0:
            return True
        return not self.level(t) and (not self.decreases(t) or t.value >= a.value)


def strong_wolfe(evaluate: Callable[[float], Trial], conditions: Wolfe, first: float, tries: int = 25) -> Trial | None:
    """A point with the strong Wolfe conditions.

    Args:
        evaluate: The trial at α > 0; values that are not finite are allowed.
        conditions: From the start.
        first: First α.
        tries: Evaluations at most.

    Returns:
        The point with its gradient; after `tries` one that only lowers the value; None if there is no such point.

    Source: Nocedal and Wright (2006), algorithms 3.5 and 3.6, eq. 3.59, in one loop over an ordered bracket; Hager
        and Zhang (2005), doi:10.1137/030601880, for values that are level but for noise (their approximate
        Wolfe conditions, with |φ′(α)| ≤ c₂ |φ′(0)| where they allow φ′(α) ≤ (1 − 2 c₁) |φ′(0)|).
    """
    a, b, alpha = conditions.start, None, first
    widths: list[float] = []
    for _ in range(tries):
        t = evaluate(alpha)
        if conditions.hold(t):
            return t
        if conditions.beyond(t, a):
            b = t
        else:
            a, before = t, a
        if b is None:
            alpha = _further(before, a)
            continue
        widths.append(b.alpha - a.alpha)
        slow = len(widths) > 2 and widths[-1] > 0.66 * widths[-3]
        alpha = 0.5 * (a.alpha + b.alpha) if slow else _between(a, b)
        if not a.alpha < alpha < b.alpha:              # the bracket is as narrow as numbers are
            break
    return a if 0 < a.alpha and a.value < conditions.start.value else None


def cubic_minimiser(a: Trial, b: Trial) -> float:
    """Where the cubic with the values and slopes of two trials is least; NaN if it has no minimum."""
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.alpha - b.alpha)
    square = d1 * d1 - a.slope * b.slope
    if not (isfinite(square) and square >= 0):
        return nan
    d2 = sqrt(square) if b.alpha > a.alpha else -sqrt(square)
    bottom = b.slope - a.slope + 2 * d2
    return b.alpha - (b.alpha - a.alpha) * (b.slope + d2 - d1) / bottom if bottom else nan


def _between(a: Trial, b: Trial) -> float:
    """A trial inside the bracket: the cubic's minimum, a tenth of the width off the ends, or the middle."""
    width = b.alpha - a.alpha
    alpha = cubic_minimiser(a, b)
    if not isfinite(alpha) or not a.alpha <= alpha <= b.alpha:
        return a.alpha + 0.5 * width
    return min(max(alpha, a.alpha + 0.1 * width), b.alpha - 0.1 * width)


def _further(before: Trial, a: Trial) -> float:
    """A trial beyond both: the cubic's minimum, 2 to 10 times as far as a."""
    alpha = cubic_minimiser(before, a)
    return min(max(alpha, 2 * a.alpha), 10 * a.alpha) if isfinite(alpha) else 10 * a.alpha
