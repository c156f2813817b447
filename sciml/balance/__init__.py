"""Balancers: several losses, or several gradients, to one direction."""

from .balance import Balance, BlockWeights, PointWeights, Surgery, View
from .build import BALANCERS, build_balance

__all__ = ["BALANCERS", "Balance", "BlockWeights", "PointWeights", "Surgery", "View", "build_balance"]
