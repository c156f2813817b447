"""Shapes in named coordinates.

Every domain knows its measure, its faces with their normals, which points it contains, the
signed distance, and smooth functions that vanish on its boundary; `Domain` and `Region` say
how.
"""

from .ball import Ball, Disk
from .box import Box, Interval
from .cloud import PointCloud
from .combine import Difference, Intersection, Union
from .domain import Domain
from .mesh import Mesh
from .polygon import Polygon
from .product import Product
from .region import Join, Region
from .unit import unit_points
from .weights import delaunay_weights, voronoi_weights

__all__ = [
    "Ball",
    "Box",
    "Difference",
    "Disk",
    "Domain",
    "Intersection",
    "Interval",
    "Join",
    "Mesh",
    "PointCloud",
    "Polygon",
    "Product",
    "Region",
    "Union",
    "delaunay_weights",
    "unit_points",
    "voronoi_weights",
]
