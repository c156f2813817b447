"""Meshes as such: kinds of cells, complexes of them, maps and quadrature, mesh files; no problem, no field."""

from .complex import Cells, Complex, Facets
from .geometry import facet_quadrature, quadrature, volumes
from .kinds import KINDS, CellKind, lagrange
from .read import from_meshio, read_mesh

__all__ = ["KINDS", "CellKind", "Cells", "Complex", "Facets", "facet_quadrature", "from_meshio", "lagrange",
           "quadrature", "read_mesh", "volumes"]
