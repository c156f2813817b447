"""Optimizers: Gauss–Newton, quasi-Newton, Newton–CG, SOAP, torch's own and others by name."""

from .broyden import BFGS, SSBFGS, SSBroyden
from .build import (
    DENSE,
    OPTIMIZERS,
    build_optimizer,
    is_optimizer,
    is_second_order,
    needs,
    optimizer_class,
    optimizer_name,
    rounds_steps,
)
from .extra import EXTRA
from .gauss_newton import GaussNewton
from .lbfgs import LBFGS
from .nncg import NystromNewtonCG
from .soap import SOAP

__all__ = ["BFGS", "DENSE", "EXTRA", "LBFGS", "OPTIMIZERS", "SOAP", "SSBFGS", "GaussNewton", "NystromNewtonCG",
           "SSBroyden", "build_optimizer", "is_optimizer", "is_second_order", "needs", "optimizer_class",
           "optimizer_name", "rounds_steps"]
