"""Shapes in named coordinates: sampling, membership, faces, normals, measures, distances and level functions."""

from .ball import Ball, Disk
from .box import Box, Interval
from .combine import Difference, Intersection, Union
from .domain import Domain
from .polygon import Polygon
from .product import Product
from .region import Join, Region
from .unit import unit_points

__all__ = [
    "Ball",
    "Box",
    "Difference",
    "Disk",
    "Domain",
    "Intersection",
    "Interval",
    "Join",
    "Polygon",
    "Product",
    "Region",
    "Union",
    "unit_points",
]
