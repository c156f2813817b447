"""Training: recipes, the loop, and `solve`."""

from .recipe import Recipe, make_recipe
from .solve import load_run, load_solution, solve
from .training import Report, Training

__all__ = ["Recipe", "Report", "Training", "load_run", "load_solution", "make_recipe", "solve"]
