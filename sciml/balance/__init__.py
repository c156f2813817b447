"""Balancers: several losses, or several gradients, to one direction."""

from .balance import Balance, BlockWeights, PointWeights, Projection, Surgery, View
from .build import BALANCERS, build_balance

__all__ = ["BALANCERS", "Balance", "BlockWeights", "PointWeights", "Projection", "Surgery", "View", "build_balance"]
