"""The objective: the stacked residual that every training method is a view of, and the recipe that it is made by."""

from .build import build_field, build_objective, place_points, point_count, unused_options
from .idle import idle_parts, idle_settings
from .objective import Objective
from .parameters import TrainableParameters
from .recipe import DTYPES, Recipe, make_recipe, recipe_from
from .spectrum import Spectrum, block_jacobians, spectrum

__all__ = [
    "DTYPES", "Objective", "Recipe", "Spectrum", "TrainableParameters", "block_jacobians", "build_field",
    "build_objective", "idle_parts", "idle_settings", "make_recipe", "place_points", "point_count",
    "recipe_from", "spectrum", "unused_options",
]
