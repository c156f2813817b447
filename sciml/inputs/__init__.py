"""Random input functions: what a family of problems varies over."""

from .file import FromFile
from .function import RandomFunction
from .number import RandomNumber
from .spectral import FourierSeries, GaussianRandomField, Matern

__all__ = ["FourierSeries", "FromFile", "GaussianRandomField", "Matern", "RandomFunction", "RandomNumber"]
