"""Values at points, kept for the next pass over the same points.

A step passes over its points many times (linearisation, trial steps), and samplers keep them for several. What depends
on the points alone, as a distance to a boundary, the cell that holds them, or a known function, is computed once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

V = TypeVar("V")
LARGEST, TOTAL = 2**16, 2**19


class Kept(Generic[V]):
    """Values by points, the last used ones.

    Points are told by their memory and how often it was written to; while they are kept, nobody else gets it. Points
    with a graph, or of which torch does not say where they are (while it compiles, under `vmap`), are not kept, nor are
    large sets, which come from evaluating a solution and not from training.

    Args:
        largest: Points of a set that is kept.
        total: Points of all of them together.
    """

    def __init__(self, largest: int = LARGEST, total: int = TOTAL):
        self.largest, self.total, self.size = largest, total, 0
        self._found: OrderedDict[tuple, tuple[tuple[Tensor, ...], V]] = OrderedDict()

    def __call__(self, points: tuple[Tensor, ...], make: Callable[[], V], what: Hashable = None) -> V:
        """The value at points, made if it is not there.

        Args:
            points: Tensors of N rows.
            make: Computes it.
            what: Tells apart several values at the same points.
        """
        key = self._key(points, what)
        if key is None:
            return make()
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key][1]
        value = make()
        self._found[key] = points, value
        self.size += len(points[0])
        while self.size > self.total:
            self.size -= len(self._found.popitem(last=False)[1][0][0])
        return value

    def __len__(self) -> int:
        return len(self._found)

    def __deepcopy__(self, memo) -> Kept[V]:
        return Kept(self.largest, self.total)                 # a copied field keeps nothing of the old one's points

    def _key(self, points: tuple[Tensor, ...], what: Hashable) -> tuple | None:
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled() or len(points[0]) > self.largest \
                or any(p.requires_grad for p in points):
            return None
        try:
            return what, *((p.data_ptr(), p._version, p.shape, p.stride(), p.dtype, p.device) for p in points)
        except RuntimeError:
            return None                                       # inside vmap a tensor has no memory of its own
