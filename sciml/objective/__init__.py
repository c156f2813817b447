"""The objective: the stacked residual that every training method is a view of."""

from .objective import Objective
from .parameters import TrainableParameters

__all__ = ["Objective", "TrainableParameters"]
