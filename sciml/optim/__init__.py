"""Optimizers: Gauss–Newton, quasi-Newton, Newton–CG, SOAP, methods for several losses, torch's and others by name."""

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
from .gauss_newton_cg import GaussNewtonCG
from .lbfgs import LBFGS
from .least_squares import LeastSquares
from .m_config import MConFIG
from .multiadam import MultiAdam
from .natural import ENGD, ENGDW, SPRING
from .nncg import NystromNewtonCG
from .soap import SOAP
from .varpro import VarPro

__all__ = [
    "BFGS", "DENSE", "ENGD", "ENGDW", "EXTRA", "LBFGS", "OPTIMIZERS", "SOAP", "SPRING", "SSBFGS", "GaussNewton",
    "GaussNewtonCG", "LeastSquares", "MConFIG", "MultiAdam", "NystromNewtonCG", "SSBroyden", "VarPro",
    "build_optimizer", "is_optimizer", "is_second_order", "needs", "optimizer_class", "optimizer_name", "rounds_steps",
]
