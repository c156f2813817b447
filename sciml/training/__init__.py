"""Training: the loop, and `solve`."""

from ..objective import Recipe, make_recipe
from .solve import solve
from .training import Report, Training

__all__ = ["Recipe", "Report", "Training", "make_recipe", "solve"]
