"""Neural PDE solvers: find a field u such that every condition vanishes on its part of the domain."""

__version__ = "0.1.0"
