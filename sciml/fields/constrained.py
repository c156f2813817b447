"""Fields with prescribed values built in: u = G + B N_θ (see `problem/hard.py` for G and B)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..calculus import Frame, Jet, Program, d
from ..calculus.indices import MultiIndex
from .field import Field


class Constrained(Field):
    """u_c = G_c(x) + B_c(x) N_c(x) for each unknown c, with all derivatives by Leibniz' rule.

    Args:
        network: N_θ.
        frame: The coordinates that G and B are written in.
        lifts, bubbles: G_c and B_c, quantities of the coordinates or numbers, one per unknown.
    """

    def __init__(self, network: Field, frame: Frame, lifts: Sequence, bubbles: Sequence):
        super().__init__()
        self.network = network
        self.frame = frame
        self.lifts, self.bubbles = tuple(lifts), tuple(bubbles)
        self._programs: dict[tuple[MultiIndex, ...], tuple[Program, tuple[tuple[bool, ...], ...]]] = {}

    def _program(self, alphas: tuple[MultiIndex, ...]):
        if alphas not in self._programs:
            self._programs[alphas] = _derivatives(alphas, self.frame, self.lifts, self.bubbles)
        return self._programs[alphas]

    @property
    def head(self):
        """The network's."""
        return self.network.head

    def jet(self, x: Jet) -> Jet:
        inner = self.network.jet(x).dense()
        indices = x.indices
        program, (no_lift, no_bubble) = self._program(indices.indices)
        X = x.value
        columns = {key: X[:, self.frame.coordinates.index(key[1])] for key in program.leaves}
        values = dict(zip(program.names, program(columns, X[:, 0]), strict=True))
        C = len(self.lifts)
        gather = lambda kind, alpha: torch.stack([values[kind, alpha, c] for c in range(C)], dim=-1)
        B = [None if no_bubble[i] else gather("B", a) for i, a in enumerate(indices.indices)]
        streams = []
        for i, terms in enumerate(indices.leibniz()):
            total: Tensor | None = None if no_lift[i] else gather("G", indices.indices[i])
            for count, b, rest in terms:
                bubble = B[b]
                if bubble is None:
                    continue
                factor = bubble if count == 1 else count * bubble
                total = factor * inner.data[rest] if total is None else torch.addcmul(total, factor, inner.data[rest])
            streams.append(torch.zeros_like(inner.data[0]) if total is None else total)
        return Jet(torch.stack(streams), indices, None, x.tape)


def _derivatives(alphas: tuple[MultiIndex, ...], frame: Frame, lifts: Sequence, bubbles: Sequence):
    """A program for ∂^α of all lifts and bubbles, and for both and each α whether it is zero for all unknowns."""
    outputs, vanish = {}, []
    for kind, parts in (("G", lifts), ("B", bubbles)):
        flags = []
        for alpha in alphas:
            names = [n for n, a in zip(frame.coordinates, alpha, strict=True) for _ in range(a)]
            derivatives = [d(part, *names) for part in parts]
            zero = all(isinstance(q, (int, float)) and q == 0 for q in derivatives)
            flags.append(zero)
            if not zero:
                outputs.update({(kind, alpha, c): q for c, q in enumerate(derivatives)})
        vanish.append(tuple(flags))
    return Program(outputs), tuple(vanish)
