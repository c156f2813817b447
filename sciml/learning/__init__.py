"""Learning solution operators: recipe, residuals, training and solution of families of problems."""

from .models import OPERATORS, is_operator
from .recipe import OperatorRecipe, make_operator_recipe
from .solution import OperatorSolution, load_operator_run
from .training import OperatorTraining

__all__ = ["OPERATORS", "OperatorRecipe", "OperatorSolution", "OperatorTraining", "is_operator", "load_operator_run",
           "make_operator_recipe"]
