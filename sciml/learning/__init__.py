"""Learning solution operators: recipe, residuals, training and solution of families of problems."""

from .arrays import ArrayTraining, LearnedOperator, learn
from .models import OPERATORS, POINTS, is_operator
from .recipe import OperatorRecipe, make_operator_recipe
from .solution import OperatorSolution, load_operator_run
from .training import OperatorTraining

__all__ = ["OPERATORS", "POINTS", "ArrayTraining", "LearnedOperator", "OperatorRecipe", "OperatorSolution",
           "OperatorTraining", "is_operator", "learn", "load_operator_run", "make_operator_recipe"]
