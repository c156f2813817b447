"""Functions of the coordinates that are known beforehand, and their derivatives at points.

They multiply a network, are added to it (`constrained.py`), or enter it beside the coordinates: what bends where the
solution has a kink, or is as singular as it is in a corner, is a network's best input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..calculus import Frame, Jet, Program, d
from ..calculus.indices import Stream, parts
from ..calculus.jet import join
from ..kept import Kept

Alphas = tuple[Stream, ...]
Streams = dict[str, list[Tensor | None]]


class Known:
    """Groups of known functions with their derivatives; kept for the next pass over the same points.

    Args:
        frame: The coordinates that the functions are written in.
        groups: Quantities of the coordinates or numbers, in groups by name.
    """

    def __init__(self, frame: Frame, groups: Mapping[str, Sequence]):
        self.frame, self.groups = frame, {name: tuple(functions) for name, functions in groups.items()}
        self._programs: dict[Alphas, tuple[Program, dict[str, tuple[bool, ...]]]] = {}
        self._kept: Kept[Streams] = Kept()

    def __call__(self, X: Tensor, alphas: Alphas) -> Streams:
        """∂^α of each group at points, (N, C), or None where all of it vanish.

        Args:
            X: Points, shape (N, D).
            alphas: The multi-indices and operators.
        """
        return self._kept((X,), lambda: self._streams(X, alphas), alphas)

    def _streams(self, X: Tensor, alphas: Alphas) -> Streams:
        if alphas not in self._programs:
            self._programs[alphas] = self._derivatives(alphas)
        program, vanish = self._programs[alphas]
        columns = {leaf: X[:, self.frame.coordinates.index(leaf[1])] for leaf in program.leaves}
        values = dict(zip(program.names, program(columns, X[:, 0]), strict=True))
        gather = lambda name, alpha: torch.stack([values[name, alpha, c] for c in range(len(self.groups[name]))], -1)
        return {name: [None if zero else gather(name, a) for a, zero in zip(alphas, flags, strict=True)]
                for name, flags in vanish.items()}

    def _derivatives(self, alphas: Alphas) -> tuple[Program, dict[str, tuple[bool, ...]]]:
        """A program for ∂^α of everything, and by group and α whether it is zero for all."""
        outputs, vanish = {}, {}
        for name, functions in self.groups.items():
            flags = []
            for alpha in alphas:
                derivatives = [self._derivative(part, alpha) for part in functions]
                zero = all(isinstance(q, (int, float)) and q == 0 for q in derivatives)
                flags.append(zero)
                if not zero:
                    outputs.update({(name, alpha, c): q for c, q in enumerate(derivatives)})
            vanish[name] = tuple(flags)
        return Program(outputs), vanish

    def _derivative(self, function, stream: Stream):
        """∂^α f or L f."""
        total: Any = 0.0
        for alpha, c in parts(stream):
            along = [n for n, a in zip(self.frame.coordinates, alpha, strict=True) for _ in range(a)]
            total = total + c * d(function, *along)
        return total


class Features(nn.Module):
    """The inputs of a network with known functions of the coordinates beside them.

    Args:
        embedding: What the coordinates themselves become, with a property `outputs`.
        frame: The coordinates that the functions are written in.
        functions: Quantities of the coordinates.
    """

    def __init__(self, embedding: nn.Module, frame: Frame, functions: Sequence):
        super().__init__()
        self.embedding, self.known = embedding, Known(frame, {"features": functions})
        self.outputs = int(embedding.outputs) + len(functions)             # type: ignore[arg-type]

    def forward(self, x: Jet) -> Jet:
        X = x.value if x.points is None else x.points
        streams = self.known(X, x.indices.indices)["features"]
        zero = torch.zeros_like(next(s for s in streams if s is not None))
        beside = Jet(torch.stack([zero if s is None else s for s in streams]), x.indices, None, x.tape)
        return join([self.embedding(x).dense(), beside])
