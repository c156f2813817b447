"""References: values that a learned field is scored against, computed by classical methods.

`Grid` is a reference with its stated accuracy; `save` and `load` move it to a file; `SOLVERS`
are the solvers by name, each of which runs at two resolutions to find its accuracy; `recompute`
runs a stored one again. Solvers depend on numpy and scipy only.
"""

from .cavity import Cavity
from .cole_hopf import burgers_exact
from .elliptic import Elliptic, Hole, disk
from .etdrk4 import etdrk4
from .lines import End, dirichlet, lines, neumann
from .reference import Grid, load, load_with_origin, relative_l2, save
from .solvers import SOLVERS, compute, recompute
from .wells import Potential

__all__ = [
    "SOLVERS",
    "Cavity",
    "Elliptic",
    "End",
    "Grid",
    "Hole",
    "Potential",
    "burgers_exact",
    "compute",
    "dirichlet",
    "disk",
    "etdrk4",
    "lines",
    "load",
    "load_with_origin",
    "neumann",
    "recompute",
    "relative_l2",
    "save",
]
