"""Problems: what a user writes down, checked when it is built."""

from .conditions import (
    Block,
    Condition,
    Dirichlet,
    Equation,
    HardData,
    Initial,
    Integral,
    Interface,
    Neumann,
    Normalized,
    Observations,
    Periodic,
    Pin,
    Robin,
)
from .load import find_problem, load_problem, search_path
from .problem import Problem
from .setting import Range, Setting, Unknown
from .weak import Energy, Weak

__all__ = [
    "Block", "Condition", "Dirichlet", "Energy", "Equation", "HardData", "Initial", "Integral", "Interface", "Neumann",
    "Normalized", "Observations", "Periodic", "Pin", "Problem", "Range", "Robin", "Setting", "Unknown", "Weak",
    "find_problem", "load_problem", "search_path",
]
