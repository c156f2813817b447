"""Preconditioners of losses: other norms of residuals and terms in them that keep the solution and lower κ(JᵀJ)."""

from .build import PRECONDITIONERS, build_preconditioner
from .preconditioner import Preconditioner
from .transform import Transform

__all__ = ["PRECONDITIONERS", "Preconditioner", "Transform", "build_preconditioner"]
