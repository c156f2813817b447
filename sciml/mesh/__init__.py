"""Meshes as such: kinds of cells, complexes of them, maps and quadrature; no problem, no field."""

from .complex import Cells, Complex, Facets
from .geometry import facet_quadrature, quadrature, volumes
from .kinds import KINDS, CellKind, lagrange

__all__ = ["KINDS", "CellKind", "Cells", "Complex", "Facets", "facet_quadrature", "lagrange", "quadrature", "volumes"]
