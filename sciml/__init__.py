"""Neural PDE solvers: find a field u such that every condition vanishes on its part of the domain.

    import sciml
    problem = sciml.load_problem("problems/burgers.py")
    solution = sciml.solve(problem, time=60)
    solution.relative_l2()
"""

__version__ = "0.1.0"

from .calculus import curl, d, div, dot, grad, laplacian, norm
from .errors import ProblemError, SciMLError, TrainingError
from .fields import Field
from .geometry import Ball, Box, Disk, Domain, Interval, Mesh, PointCloud, Polygon
from .inputs import FourierSeries, FromFile, GaussianRandomField, Matern, RandomNumber
from .learning import LearnedOperator, OperatorSolution, learn
from .points import Points
from .problem import (
    Condition,
    Dirichlet,
    Energy,
    Equation,
    Initial,
    Integral,
    Interface,
    Neumann,
    Normalized,
    Observations,
    Periodic,
    Pin,
    Problem,
    Range,
    Robin,
    Unknown,
    Weak,
    load_problem,
)
from .solution import Solution
from .training import solve

__all__ = [
    "Ball", "Box", "Condition", "Dirichlet", "Disk", "Domain", "Energy", "Equation", "Field", "FourierSeries",
    "FromFile", "GaussianRandomField", "Initial", "Integral", "Interface", "Interval", "LearnedOperator", "Matern",
    "Mesh", "Neumann", "Normalized", "Observations", "OperatorSolution", "Periodic", "Pin", "PointCloud", "Points",
    "Polygon", "Problem", "ProblemError", "RandomNumber", "Range", "Robin", "SciMLError", "Solution",
    "TrainingError", "Unknown", "Weak", "curl", "d", "div", "dot", "grad", "laplacian", "learn", "load_problem",
    "norm", "solve",
]
