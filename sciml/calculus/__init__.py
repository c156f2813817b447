"""Derivatives: quantities that equations are written in, programs, jets, engines, Jacobians."""

from .activations import ACTIVATIONS, Activation
from .chart import charted, charted_normal, jacobian_determinant
from .engines import ENGINES, Engine, NestedReverse, TaylorForward, engine_for
from .grids import GridAxis, GridFunctions, on_grid
from .indices import IndexSet
from .jacobian import is_complete, taped_jacobian, vmapped_jacobian
from .jet import Jet
from .left import Slope, Tabulated
from .program import Program
from .quantity import Frame, Leaf, Quantity, apply, d, is_mask
from .vectors import Vector, curl, div, dot, grad, laplacian, norm

__all__ = [
    "ACTIVATIONS", "ENGINES", "Activation", "Engine", "Frame", "GridAxis", "GridFunctions", "IndexSet", "Jet",
    "Leaf", "NestedReverse", "Program", "Quantity", "Slope", "Tabulated", "TaylorForward", "Vector", "apply",
    "charted", "charted_normal", "curl", "d", "div", "dot", "engine_for", "grad", "is_complete", "is_mask",
    "jacobian_determinant", "laplacian", "norm", "on_grid", "taped_jacobian", "vmapped_jacobian",
]
