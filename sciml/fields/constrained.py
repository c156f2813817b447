"""Fields with known values built in: u = G + B N_θ (see `problem/hard.py` and `problem/lift.py` for G and B)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..calculus import Frame, Jet, Program, d
from ..calculus.indices import MultiIndex
from .field import Field

Alphas = tuple[MultiIndex, ...]
Streams = tuple[list[Tensor | None], list[Tensor | None]]
KEPT, LARGEST = 64, 4096
"""How many sets of points, and of what size, a field keeps its lifts and bubbles for."""


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
        self._programs: dict[Alphas, tuple[Program, tuple[tuple[bool, ...], ...]]] = {}
        self._kept: dict[tuple, tuple[Tensor, Streams]] = {}

    def _program(self, alphas: Alphas):
        if alphas not in self._programs:
            self._programs[alphas] = _derivatives(alphas, self.frame, self.lifts, self.bubbles)
        return self._programs[alphas]

    @property
    def head(self):
        """The network's."""
        return self.network.head

    def _known(self, X: Tensor, alphas: Alphas) -> Streams:
        """∂^α of G and of B at points, each (N, C), or None where all vanish; kept for the next pass over the points.

        A step passes over the same points many times (linearisation, trial steps), and samplers keep them for several.
        """
        key = _place(X, alphas)
        if key in self._kept:
            return self._kept[key][1]
        program, (no_lift, no_bubble) = self._program(alphas)
        columns = {leaf: X[:, self.frame.coordinates.index(leaf[1])] for leaf in program.leaves}
        values = dict(zip(program.names, program(columns, X[:, 0]), strict=True))
        gather = lambda kind, alpha: torch.stack([values[kind, alpha, c] for c in range(len(self.lifts))], dim=-1)
        known = ([None if zero else gather("G", a) for a, zero in zip(alphas, no_lift, strict=True)],
                 [None if zero else gather("B", a) for a, zero in zip(alphas, no_bubble, strict=True)])
        if key is not None:
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (X, known)
        return known

    def jet(self, x: Jet) -> Jet:
        inner = self.network.jet(x).dense()
        indices = x.indices
        G, B = self._known(x.value if x.points is None else x.points, indices.indices)
        streams = []
        for i, terms in enumerate(indices.leibniz()):
            total = G[i]
            for count, b, rest in terms:
                bubble = B[b]
                if bubble is None:
                    continue
                factor = bubble if count == 1 else count * bubble
                total = factor * inner.data[rest] if total is None else torch.addcmul(total, factor, inner.data[rest])
            streams.append(torch.zeros_like(inner.data[0]) if total is None else total)
        return Jet(torch.stack(streams), indices, None, x.tape)


def _place(X: Tensor, alphas: Alphas) -> tuple | None:
    """What tells whether points are the same as before: memory, and how often it was written to.

    None if they cannot be told by it, or should not be kept. (While X is kept its memory is not given to others.)
    """
    if X.requires_grad or len(X) > LARGEST or torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
        return None
    try:
        return alphas, X.data_ptr(), X._version, X.shape, X.stride(), X.dtype, X.device
    except RuntimeError:
        return None                                        # inside vmap a tensor has no memory of its own


class Lifted(nn.Module):
    """u_c = G_c(x) + N_c(x) with any module for N, whose derivatives come from reverse mode.

    Args:
        network: Module (N, D) → (N, C).
        frame: The coordinates that G is written in.
        lifts: G_c, quantities of the coordinates or numbers, one per unknown.
    """

    def __init__(self, network: nn.Module, frame: Frame, lifts: Sequence):
        super().__init__()
        self.network, self.frame = network, frame
        self._program = Program(dict(enumerate(lifts)))

    @property
    def head(self):
        """The network's, if it names one."""
        return getattr(self.network, "head", ())

    def forward(self, X: Tensor) -> Tensor:
        """Values at points X of shape (N, D), shape (N, C)."""
        columns = {key: X[:, self.frame.coordinates.index(key[1])] for key in self._program.leaves}
        return torch.stack(self._program(columns, X[:, 0]), dim=-1) + self.network(X)


def _derivatives(alphas: Alphas, frame: Frame, lifts: Sequence, bubbles: Sequence):
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
