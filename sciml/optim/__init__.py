"""Optimizers: Gauss–Newton, L-BFGS that reports, and torch's own by name."""

from .build import OPTIMIZERS, build_optimizer, is_second_order, needs, optimizer_name
from .gauss_newton import GaussNewton
from .lbfgs import LBFGS

__all__ = ["LBFGS", "OPTIMIZERS", "GaussNewton", "build_optimizer", "is_second_order", "needs", "optimizer_name"]
