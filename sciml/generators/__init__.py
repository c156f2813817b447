"""Batched classical solvers that make samples for operators, each with its own accuracy."""

from .burgers import Burgers
from .channel import Channel
from .darcy import Darcy
from .elasticity import Elasticity
from .solver import Accuracy, BatchSolver
from .vorticity import Vorticity

__all__ = ["Accuracy", "BatchSolver", "Burgers", "Channel", "Darcy", "Elasticity", "Vorticity"]
