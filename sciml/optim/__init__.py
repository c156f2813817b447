"""Optimizers: Gauss–Newton, L-BFGS that reports, MultiAdam and M-ConFIG for several losses, and torch's own by name."""

from .build import OPTIMIZERS, build_optimizer, is_second_order, needs, optimizer_name
from .gauss_newton import GaussNewton
from .lbfgs import LBFGS
from .m_config import MConFIG
from .multiadam import MultiAdam

__all__ = [
    "LBFGS", "OPTIMIZERS", "GaussNewton", "MConFIG", "MultiAdam", "build_optimizer", "is_second_order", "needs",
    "optimizer_name",
]
