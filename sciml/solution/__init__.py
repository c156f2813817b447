"""Solutions, their references, and the folders they are kept in."""

from .load import load_run
from .run import RunFolder
from .solution import Solution
from .trail import Trail
from .truth import Truth, resolve

__all__ = ["RunFolder", "Solution", "Trail", "Truth", "load_run", "resolve"]
