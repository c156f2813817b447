"""What a mesh file says, before it is a complex: any kinds of cells, groups of any dimension, sets of nodes.

Readers (`gmsh`, `abaqus`, `foreign`) fill a `Raw`; `build` in `read` turns it into a `Complex` or says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Members = list[tuple[int, np.ndarray]]


@dataclass
class Raw:
    """A mesh as it was written.

    Args:
        X: Coordinates of V nodes, shape (V, 2) or (V, 3).
        blocks: Kind (meshio's name) and numbers of nodes, shape (E, k), in the order of VTK.
        groups: By dimension and name, the members: number of a block and positions in it, shape (n,). None of them: the
            file names a group that it does not fill.
        node_sets: Numbers of nodes by name.
        entities: By block, the geometric entity of each cell, shape (E,): cells of one entity turn the same way.
        loose: Nodes that may belong to no cell, such as geometry points.
    """

    X: np.ndarray
    blocks: list[tuple[str, np.ndarray]]
    groups: dict[tuple[int, str], Members] = field(default_factory=dict)
    node_sets: dict[str, np.ndarray] = field(default_factory=dict)
    entities: list[np.ndarray] | None = None
    loose: np.ndarray | None = None

    def put(self, dim: int, name: str, block: int, positions: np.ndarray) -> None:
        """Add members to a group, which is made if it is new."""
        self.groups.setdefault((dim, name), []).append((block, positions))


class Unreadable(Exception):
    """The bytes of a file do not follow its format; the message says what is wrong with them."""
