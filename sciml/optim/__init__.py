"""Optimizers: Gauss–Newton, quasi-Newton, Newton–CG, SOAP, and torch's own by name."""

from .broyden import BFGS, SSBFGS, SSBroyden
from .build import OPTIMIZERS, build_optimizer, is_second_order, needs, optimizer_name
from .gauss_newton import GaussNewton
from .lbfgs import LBFGS
from .nncg import NystromNewtonCG
from .soap import SOAP

__all__ = ["BFGS", "LBFGS", "OPTIMIZERS", "SOAP", "SSBFGS", "GaussNewton", "NystromNewtonCG", "SSBroyden",
           "build_optimizer", "is_second_order", "needs", "optimizer_name"]
