"""Preconditioners of losses: linear maps of residual rows that keep the minimiser and lower κ(JᵀJ)."""

from .transform import Transform

__all__ = ["Transform"]
