"""Fields with known functions added, whose factors are found with the rest.

    u_c(x) = N_c(x) + Σ_j b_cj ψ_j(x)

A network takes known functions as inputs (`known.py`); a basis takes them as further elements: a corner's singular
function, or polynomials, which are all that a smooth basis lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import nn

from ..calculus import Frame, Jet
from ..calculus.jet import add, linear
from .field import Field
from .known import Known


class Enriched(Field):
    """A field that is linear in its parameters, and functions of the coordinates beside it.

    Args:
        network: N, with a head.
        frame: The coordinates that the functions are written in.
        functions: ψ, quantities of the coordinates.
        outputs: C.
        dtype: Of b.

    Attributes:
        factors: b, shape (C, J), part of the head.
    """

    def __init__(self, network: Field, frame: Frame, functions: Sequence, outputs: int,
                 dtype: torch.dtype = torch.float64):
        super().__init__()
        self.collapses = getattr(network, "collapses", False)
        self.network, self.known = network, Known(frame, {"functions": tuple(functions)})
        self.factors = nn.Parameter(torch.zeros(outputs, len(functions), dtype=dtype))

    @property
    def head(self):
        """That of the network, and b."""
        return (*self.network.head, self.factors)

    def jet(self, x: Jet) -> Jet:
        X = x.value if x.points is None else x.points
        streams = self.known(X, x.indices.indices)["functions"]
        zero = X.new_zeros(len(X), self.factors.shape[1])
        beside = Jet(torch.stack([zero if s is None else s for s in streams]), x.indices, None, x.tape)
        return add(self.network.jet(x), linear(beside, self.factors))


def monomials(frame: Frame, bounds: Sequence[tuple[float, float]], degree: int) -> list:
    """Products of powers of the coordinates scaled to [−1, 1], of total degree up to `degree`, as quantities."""
    scaled = [(2 * frame.leaf("coordinate", name) - (low + high)) / (high - low)
              for name, (low, high) in zip(frame.coordinates, bounds, strict=True)]
    found = []
    for powers in product(range(degree + 1), repeat=len(scaled)):
        if sum(powers) <= degree:
            term = 0.0 * scaled[0] + 1.0
            for x, k in zip(scaled, powers, strict=True):
                term = term * x**k if k else term
            found.append(term)
    return found
