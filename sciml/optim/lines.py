"""The method of lines: coefficients in space as functions of time, integrated by a Runge–Kutta or implicit method.

    a'(t) = f(t, a),   a(t_0) = a_0,        one step: from a knot of the time axis to the next

The integrators are scipy's. Their error control works on |δa| ≤ tolerance |u|, the L² norm where the functions in space
are orthonormal. This is classical numerics and no training: nothing is minimised.

Source: Hairer, Nørsett, Wanner (1993), doi:10.1007/978-3-540-78862-1, for RK45, DOP853 and the control of steps;
Hairer and Wanner (1996), doi:10.1007/978-3-642-05221-7, for Radau and BDF.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from scipy.integrate import BDF, DOP853, RK23, RK45, Radau
from torch import Tensor

from ..errors import NonFiniteError, ProblemError

METHODS: dict[str, Any] = {"RK23": RK23, "RK45": RK45, "DOP853": DOP853, "Radau": Radau, "BDF": BDF}
IMPLICIT = ("Radau", "BDF")
NEGLIGIBLE = 1e-13         # rtol of scipy's control, which works on single coefficients; ours is the absolute one


class Flow(Protocol):
    """An initial value problem: `objective.lines.Lines`."""

    knots: np.ndarray

    def start(self) -> np.ndarray:
        """a_0, shape (m,)."""

    def rate(self, t: float, a: np.ndarray) -> np.ndarray:
        """f(t, a), shape (m,)."""

    def jacobian(self, t: float, a: np.ndarray) -> np.ndarray:
        """∂f/∂a, shape (m, m)."""

    def size(self, t: float, a: np.ndarray) -> float:
        """|u|, what tolerances are relative to."""


class Knot(NamedTuple):
    """Where an integration stands: the number of the knot, a and a' there."""

    number: int
    a: Tensor
    rate: Tensor


class Lines(torch.optim.Optimizer):
    """The method of lines: the coefficients of functions in space are integrated in time, knot by knot.

    Args:
        params: The coefficients of the field, which the caller fills with what `step` returns.
        method: "RK45", "RK23" or "DOP853"; "Radau" or "BDF" for stiff equations and few unknowns.
        tolerance: Of the error of one step of the integrator, relative to the size of u.

    Raises:
        ProblemError: An option makes no sense.

    Attributes:
        failed: Why the integration cannot go on, or an empty string.
    """

    needs = "evolution"
    name = "lines"

    def __init__(self, params, method: str = "RK45", tolerance: float = 1e-6):
        if method not in METHODS:
            raise ProblemError(f"lines.method={method!r} must be one of {', '.join(METHODS)}")
        if not 1e-12 <= tolerance < 1:
            raise ProblemError(f"lines.tolerance={tolerance} must lie between 1e-12 and 1")
        super().__init__(params, dict(method=method, tolerance=tolerance))
        self.at: Knot | None = None
        self.pace = 0.0                                      # the integrator's latest step, for the next piece
        self.evaluations = 0
        self.failed = ""

    @torch.no_grad()
    def begin(self, flow: Flow) -> Knot:
        """The initial state.

        Raises:
            NonFiniteError: It is not finite.
        """
        a = flow.start()
        t = float(flow.knots[0])
        self.at = self._knot(0, a, flow.rate(t, a))
        return self.at

    @torch.no_grad()
    def step(self, flow: Flow) -> Knot:  # type: ignore[override]
        """Integrates to the next knot; where the integrator gives up, stays and says why in `failed`.

        Args:
            flow: The initial value problem.

        Raises:
            NonFiniteError: The state is not finite.
        """
        at = self.at or self.begin(flow)
        t, end = (float(s) for s in flow.knots[at.number:at.number + 2])
        a = at.a.numpy()
        group: dict[str, Any] = self.param_groups[0]
        size = flow.size(t, a) or float(np.linalg.norm(at.rate.numpy())) * (end - t) or 1.0
        options = dict(rtol=NEGLIGIBLE, atol=group["tolerance"] * size / max(len(a), 1)**0.5)
        if group["method"] in IMPLICIT:
            options["jac"] = flow.jacobian
        pace = min(self.pace, end - t) or None
        with np.errstate(all="ignore"):                      # what overflows shows in the result
            solver = METHODS[group["method"]](flow.rate, t, a, end, first_step=pace, **options)
            while solver.status == "running":
                self.failed = solver.step() or ""
                self.pace = max(float(solver.h_abs), 0.0 if solver.status == "running" else self.pace)
        self.evaluations += solver.nfev
        if self.failed:
            self.failed = (f"the integrator {group['method']} gave up at t = {solver.t:.6g} "
                           f"({self.failed.rstrip('.')}); the solution may blow up, or conditions are missing")
            return at
        self.at = self._knot(at.number + 1, solver.y, flow.rate(end, solver.y))
        return self.at

    def _knot(self, number: int, a: np.ndarray, rate: np.ndarray) -> Knot:
        if not (np.isfinite(a).all() and np.isfinite(rate).all()):
            raise NonFiniteError("state of the method of lines")
        return Knot(number, torch.from_numpy(a.copy()), torch.from_numpy(rate.copy()))

    def state_dict(self):
        """Groups, the knot that is reached, and the pace of the integrator."""
        at = None if self.at is None else tuple(self.at)
        return {**super().state_dict(), "at": at, "pace": self.pace, "evaluations": self.evaluations}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores `state_dict`."""
        own = dict(state_dict)
        at = own.pop("at")
        self.at = None if at is None else Knot(*at)
        self.pace, self.evaluations = own.pop("pace"), own.pop("evaluations")
        super().load_state_dict(own)
